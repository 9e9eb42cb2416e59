//! `auth/providers.json` and `auth/custom_user_data.json`: documented types, what an enabled provider cannot do without,
//! and that the functions, secrets and data sources they name exist. A provider that is switched off may be half
//! configured, as exports of real apps show them.

use serde_json::Value as Json;

use super::Checker;
use super::object::Object;
use crate::limits::{METADATA_FIELD_LENGTH_MAX, SIGNING_KEYS_MAX, SUBJECT_LENGTH_MAX};
use crate::payload::PROVIDERS;

impl Checker<'_> {
    pub(super) fn auth(&mut self) {
        let config = self.config;
        for (name, provider) in &config.auth_providers {
            let file = self.against.places.provider(name);
            if let Some(provider) = Object::of(provider, &file, "", self.problems) {
                self.provider(&file, &provider);
            }
        }
        if let Some(custom) = &config.custom_user_data {
            let file = self.against.places.custom_user_data();
            if let Some(custom) = Object::of(custom, &file, "", self.problems) {
                self.custom_user_data(&file, &custom);
            }
        }
    }

    fn provider(&mut self, file: &str, provider: &Object<'_>) {
        let kind = provider.word("type", PROVIDERS, self.problems);
        let disabled = provider.flag("disabled", self.problems).unwrap_or(false);
        let empty = Json::Object(serde_json::Map::new());
        let config = provider.object("config", self.problems);
        let config = config.or_else(|| Object::of(&empty, file, "config", self.problems));
        let secrets = provider.object("secret_config", self.problems);
        let secrets = secrets.or_else(|| Object::of(&empty, file, "secret_config", self.problems));
        let (Some(config), Some(secrets)) = (config, secrets) else { return };
        for field in provider.objects("metadata_fields", self.problems) {
            self.metadata_field(&field);
        }
        provider.texts("redirect_uris", self.problems);
        provider.texts("domain_restrictions", self.problems);
        let part = Part { file, config: &config, secrets: &secrets, enabled: !disabled };
        match kind {
            Some("local-userpass") => self.userpass(part),
            Some("custom-token") => self.custom_token(part),
            Some("custom-function") => self.function_of(&part, "authFunctionName", "authFunctionId", true),
            Some("oauth2-google" | "oauth2-facebook" | "oauth2-apple") => self.oauth(part),
            _ => {}
        }
    }

    fn metadata_field(&mut self, field: &Object<'_>) {
        field.flag("required", self.problems);
        if field.text("name", self.problems).is_none() {
            field.problem("name", "missing", self.problems);
        }
        let name = field.text("field_name", self.problems).unwrap_or_default();
        if name.chars().count() > METADATA_FIELD_LENGTH_MAX {
            field.problem(
                "field_name",
                format_args!("more than {METADATA_FIELD_LENGTH_MAX} characters"),
                self.problems,
            );
        }
    }

    fn userpass(&mut self, part: Part<'_>) {
        let config = part.config;
        config.flag("autoConfirm", self.problems);
        for key in ["emailConfirmationUrl", "resetPasswordUrl"] {
            config.text(key, self.problems);
        }
        for key in ["confirmEmailSubject", "resetPasswordSubject"] {
            let subject = config.text(key, self.problems).unwrap_or_default();
            if subject.chars().count() > SUBJECT_LENGTH_MAX {
                config.problem(key, format_args!("more than {SUBJECT_LENGTH_MAX} characters"), self.problems);
            }
        }
        for (flag, name, id) in [
            ("runConfirmationFunction", "confirmationFunctionName", "confirmationFunctionId"),
            ("runResetFunction", "resetFunctionName", "resetFunctionId"),
        ] {
            let runs = config.flag(flag, self.problems).unwrap_or(false);
            self.function_of(&part, name, id, runs);
        }
    }

    fn custom_token(&mut self, part: Part<'_>) {
        let Part { file, config, secrets, enabled } = part;
        match config.get("audience") {
            Some(Json::Array(_)) => drop(config.texts("audience", self.problems)),
            Some(Json::String(_)) | None => {}
            Some(_) => config.problem("audience", "must be a string or an array of strings", self.problems),
        }
        config.flag("requireAnyAudience", self.problems);
        config.word("signingAlgorithm", &["HS256", "RS256"], self.problems);
        let fetched = config.flag("useJWKURI", self.problems).unwrap_or(false);
        let address = config.text("jwkURI", self.problems);
        if address.is_some_and(|address| !address.starts_with("https://") && !address.starts_with("http://")) {
            config.problem("jwkURI", "must begin with https:// or http://", self.problems);
        }
        let inline = ["signingKey", "signingKeys"].iter().any(|key| config.get(key).is_some_and(|key| *key != ""));
        let mut keys = Vec::new();
        for key in ["signingKeys", "signingKey"] {
            match secrets.get(key) {
                None => {}
                Some(Json::String(name)) => keys.extend(Some(name.as_str()).filter(|name| !name.is_empty())),
                Some(_) => keys.extend(secrets.texts(key, self.problems)),
            }
        }
        if keys.len() > SIGNING_KEYS_MAX {
            let reason = format!("{} signing keys are more than {SIGNING_KEYS_MAX}", keys.len());
            secrets.problem("signingKeys", reason, self.problems);
        }
        if !enabled {
            return;
        }
        for name in &keys {
            self.secret(file, name);
        }
        if fetched && address.is_none() {
            config.problem("jwkURI", "missing; useJWKURI is true", self.problems);
        }
        if !fetched && keys.is_empty() && !inline {
            let reason = "missing; tokens are checked with it unless useJWKURI is true";
            secrets.problem("signingKeys", reason, self.problems);
        }
    }

    fn oauth(&mut self, part: Part<'_>) {
        part.config.text("clientId", self.problems);
        part.config.flag("openId", self.problems);
        if part.config.get("clientIds").is_some_and(|ids| !ids.is_string()) {
            part.config.texts("clientIds", self.problems);
        }
        if let Some(name) = part.secrets.text("clientSecret", self.problems)
            && part.enabled
        {
            self.secret(part.file, name);
        }
    }

    /// A function named in files, known by id to the Admin API.
    fn function_of(&mut self, part: &Part<'_>, name_key: &str, id_key: &str, needed: bool) {
        let name = part.config.text(name_key, self.problems);
        let id = part.config.text(id_key, self.problems);
        if !needed || !part.enabled {
            return;
        }
        let known_id = |id: &str| self.config.functions.iter().any(|function| function.id.to_hex() == id);
        match name {
            Some(name) if !self.has_function(name) => {
                part.config.problem(name_key, format_args!("function '{name}' does not exist"), self.problems);
            }
            None if !id.is_some_and(known_id) => {
                part.config.problem(name_key, "missing; it must name a function", self.problems);
            }
            _ => {}
        }
    }

    fn custom_user_data(&mut self, file: &str, custom: &Object<'_>) {
        let enabled = custom.flag("enabled", self.problems).unwrap_or(false);
        let mut text = |key: &str| custom.text(key, self.problems);
        let source = text("mongo_service_name");
        let others = ["database_name", "collection_name", "user_id_field"].map(|key| (key, text(key).is_some()));
        let created = text("on_user_creation_function_name");
        if !enabled {
            return;
        }
        match source {
            None => custom.problem("mongo_service_name", "missing; it must name a data source", self.problems),
            Some(name) if !self.config.data_sources.iter().any(|source| source.name == name) => {
                let reason = format!("there is no data source '{name}'");
                custom.problem("mongo_service_name", reason, self.problems);
            }
            Some(_) => {}
        }
        for (key, _) in others.into_iter().filter(|(_, there)| !there) {
            custom.problem(key, "missing", self.problems);
        }
        if let Some(name) = created.filter(|name| !self.has_function(name)) {
            self.problems.add(file, format!("on_user_creation_function_name: function '{name}' does not exist"));
        }
    }
}

/// A provider's settings.
#[derive(Clone, Copy)]
struct Part<'a> {
    file: &'a str,
    config: &'a Object<'a>,
    secrets: &'a Object<'a>,
    enabled: bool,
}

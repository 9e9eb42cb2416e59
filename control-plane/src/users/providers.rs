//! What `auth/providers.json` and `auth/custom_user_data.json` say about logging in.
//!
//! In: an app's configuration and its secrets. Out: [`AuthProviders`]. A provider that is switched off is as good as none.
//!
//! Not here: what can be wrong with the configuration (`check`), and providers that need a browser (OAuth), which are kept and exported and accept nobody.

use std::collections::HashMap;

use serde_json::Value as Json;

use storage::model::user::{ANONYMOUS, CUSTOM_TOKEN, USERPASS};
use storage::model::{
    App, AppConfig, AuthProviders, CustomToken, CustomUserData, MetadataField, SecretText, TokenKeys, Userpass,
};

use crate::api;
use crate::documents::DEFAULT_SERVICE;
use crate::limits::{SIGNING_KEYS_MAX, USER_SESSION_SECONDS};
use crate::payload::API_KEY_PROVIDER;
use crate::settings::AppSettings;

pub(crate) fn read(
    app: &App,
    config: &AppConfig,
    secrets: &HashMap<String, SecretText>,
    settings: &AppSettings,
) -> AuthProviders {
    let refresh_seconds = settings.refresh_seconds.map_or(USER_SESSION_SECONDS, i64::from);
    let mut providers = AuthProviders { refresh_seconds, ..AuthProviders::default() };
    for (name, provider) in &config.auth_providers {
        let kind = kind_of(name, provider);
        providers.ids.push((kind.to_owned(), api::provider_id(app.id, name)));
        if !enabled(provider) {
            continue;
        }
        match kind {
            ANONYMOUS => providers.anonymous = true,
            API_KEY_PROVIDER => providers.api_key = true,
            USERPASS => providers.userpass = Some(userpass(provider)),
            CUSTOM_TOKEN => providers.custom_token = Some(custom_token(app, provider, secrets)),
            _ => {}
        }
    }
    providers.custom_user_data = custom_user_data(config);
    providers.on_user_creation = on_user_creation(config);
    providers
}

fn kind_of<'a>(name: &'a str, provider: &'a Json) -> &'a str {
    provider.get("type").and_then(Json::as_str).unwrap_or(name)
}

/// The API key provider is off unless it says otherwise, the others are on.
fn enabled(provider: &Json) -> bool {
    match provider.get("disabled") {
        Some(Json::Bool(disabled)) => !disabled,
        _ => provider.get("type").and_then(Json::as_str) != Some(API_KEY_PROVIDER),
    }
}

fn field<'a>(provider: &'a Json, part: &str, key: &str) -> Option<&'a Json> {
    provider.get(part)?.get(key).filter(|json| !json.is_null())
}

fn text<'a>(provider: &'a Json, key: &str) -> Option<&'a str> {
    field(provider, "config", key).and_then(Json::as_str).filter(|text| !text.is_empty())
}

fn flag(provider: &Json, key: &str) -> bool {
    field(provider, "config", key).and_then(Json::as_bool).unwrap_or(false)
}

/// A text, or a list of texts; both are in use for the same keys.
fn texts(json: Option<&Json>) -> Vec<&str> {
    match json {
        Some(Json::String(text)) if !text.is_empty() => vec![text],
        Some(Json::Array(items)) => items.iter().filter_map(Json::as_str).filter(|text| !text.is_empty()).collect(),
        _ => Vec::new(),
    }
}

fn userpass(provider: &Json) -> Userpass {
    Userpass {
        auto_confirm: flag(provider, "autoConfirm"),
        runs_confirmation: flag(provider, "runConfirmationFunction"),
    }
}

fn custom_token(app: &App, provider: &Json, secrets: &HashMap<String, SecretText>) -> CustomToken {
    let mut audiences: Vec<String> =
        texts(field(provider, "config", "audience")).into_iter().map(str::to_owned).collect();
    if audiences.is_empty() {
        audiences.push(app.client_app_id.as_str().to_owned());
    }
    let keys = match (fetched_from(provider), algorithm(provider)) {
        (Some(address), _) => TokenKeys::Fetched(address.to_owned()),
        (None, Algorithm::Hs256) => TokenKeys::Hs256(signing_keys(provider, secrets)),
        // Whoever keeps a key in one line writes its line ends out.
        (None, Algorithm::Rs256) => TokenKeys::Rs256(
            signing_keys(provider, secrets)
                .into_iter()
                .map(|key| SecretText::new(key.reveal().replace("\\n", "\n")))
                .collect(),
        ),
    };
    CustomToken { audiences, any_audience: flag(provider, "requireAnyAudience"), keys, metadata: metadata(provider) }
}

enum Algorithm {
    Hs256,
    Rs256,
}

fn algorithm(provider: &Json) -> Algorithm {
    if text(provider, "signingAlgorithm") == Some("RS256") { Algorithm::Rs256 } else { Algorithm::Hs256 }
}

fn fetched_from(provider: &Json) -> Option<&str> {
    flag(provider, "useJWKURI").then(|| text(provider, "jwkURI")).flatten()
}

/// Names of secrets in `secret_config`, or keys themselves in `config`, as the Admin API takes them.
fn signing_keys(provider: &Json, secrets: &HashMap<String, SecretText>) -> Vec<SecretText> {
    let named = secret_names(provider).into_iter().filter_map(|name| secrets.get(name).cloned());
    let given = ["signingKeys", "signingKey"].into_iter().flat_map(|key| texts(field(provider, "config", key)));
    named.chain(given.map(SecretText::new)).take(SIGNING_KEYS_MAX).collect()
}

fn secret_names(provider: &Json) -> Vec<&str> {
    ["signingKeys", "signingKey"].into_iter().flat_map(|key| texts(field(provider, "secret_config", key))).collect()
}

fn metadata(provider: &Json) -> Vec<MetadataField> {
    let fields = provider.get("metadata_fields").and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    fields.iter().filter_map(metadata_field).collect()
}

fn metadata_field(field: &Json) -> Option<MetadataField> {
    let path = path_of(field.get("name").and_then(Json::as_str)?);
    let field_name = match field.get("field_name").and_then(Json::as_str) {
        Some(name) if !name.is_empty() => name.to_owned(),
        _ => path.last()?.clone(),
    };
    let required = field.get("required").and_then(Json::as_bool).unwrap_or(false);
    Some(MetadataField { required, path, field_name })
}

/// `a.b\.c` leads to `b.c` in `a`.
fn path_of(text: &str) -> Vec<String> {
    let mut path = vec![String::new()];
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        match letter {
            '.' => path.push(String::new()),
            '\\' => {
                let part = path.last_mut().expect("it begins with one part");
                match letters.next() {
                    Some('.') => part.push('.'),
                    Some(other) => part.extend(['\\', other]),
                    None => part.push('\\'),
                }
            }
            letter => path.last_mut().expect("it begins with one part").push(letter),
        }
    }
    path
}

fn custom_user_data(config: &AppConfig) -> Option<CustomUserData> {
    let settings = config.custom_user_data.as_ref()?;
    let text = |key: &str| settings.get(key).and_then(Json::as_str).filter(|text| !text.is_empty()).map(str::to_owned);
    if settings.get("enabled").and_then(Json::as_bool) != Some(true) {
        return None;
    }
    let by_id = || {
        let id = text("mongo_service_id")?;
        config.data_sources.iter().find(|source| source.id.to_hex() == id).map(|source| source.name.clone())
    };
    Some(CustomUserData {
        source: text("mongo_service_name").or_else(by_id).unwrap_or_else(|| DEFAULT_SERVICE.to_owned()),
        database: text("database_name")?,
        collection: text("collection_name")?,
        user_id_field: text("user_id_field")?,
    })
}

/// By name in files, by id through the Admin API.
fn on_user_creation(config: &AppConfig) -> Option<String> {
    let settings = config.custom_user_data.as_ref()?;
    let text = |key: &str| settings.get(key).and_then(Json::as_str).filter(|text| !text.is_empty());
    let by_id = || {
        let id = text("on_user_creation_function_id")?;
        config.functions.iter().find(|function| function.id.to_hex() == id).map(|function| function.name.clone())
    };
    text("on_user_creation_function_name").map(str::to_owned).or_else(by_id)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn metadata_names_are_paths_with_escaped_dots() {
        for (name, path, field_name) in [
            ("email", &["email"][..], "email"),
            ("user.profile.name", &["user", "profile", "name"], "name"),
            (r"https://x\.y/claims.role", &["https://x.y/claims", "role"], "role"),
            (r"a\b", &[r"a\b"], r"a\b"),
        ] {
            let field = metadata_field(&json!({ "required": true, "name": name })).unwrap();
            assert_eq!(
                (field.path, field.field_name.as_str()),
                (path.iter().map(ToString::to_string).collect(), field_name)
            );
        }
        let renamed = metadata_field(&json!({ "name": "a.b", "field_name": "c" })).unwrap();
        assert_eq!((renamed.field_name.as_str(), renamed.required), ("c", false));
    }
}

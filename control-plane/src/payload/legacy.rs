//! What older command lines send, in today's shape.
//!
//! In: a payload of any layout. Out: a payload whose functions, data sources, hosting and sync parts are shaped as in
//! layout 20210101; the endpoints that incoming webhooks become; secrets that came along in clear text, taken out of it.
//!
//! The differences: functions as `[{config, source}]`; data sources among `services`, with their rules; hosting and sync
//! without a `config` around them; webhooks, which were endpoints of a service. A webhook becomes the endpoint
//! `/<service>/<webhook>` and a function of that name, as the platform's own converter did it. Its service is kept, so
//! that an export gives back what came.

use serde_json::{Map, Value as Json, json};

use storage::model::SecretText;

use super::Problems;
use crate::layout::Layout;
use crate::limits::{ENTITIES_MAX, NAME_LENGTH_MAX};

/// Types of services that hold documents.
const DATA_SOURCES: &[&str] = &["mongodb-atlas", "mongodb", "datalake"];

/// A payload in today's shape, and what was found on the way.
#[derive(Default)]
pub(super) struct Modern {
    pub layout: Layout,
    pub payload: Map<String, Json>,
    /// What errors call the entries of `functions.config`.
    pub functions: Vec<String>,
    pub webhooks: Vec<Webhook>,
    pub secrets: Vec<(String, SecretText)>,
    pub problems: Problems,
}

/// An incoming webhook as an endpoint and its function.
pub(super) struct Webhook {
    pub place: String,
    pub endpoint: Json,
    pub function: Json,
    pub source: String,
    /// When it had a method that endpoints do not have.
    pub note: Option<String>,
}

pub(super) fn modern(payload: &Map<String, Json>) -> Modern {
    let mut modern = Modern { payload: payload.clone(), ..Modern::default() };
    match Layout::of_version(payload.get("config_version")) {
        Some(layout) => modern.layout = layout,
        None => {
            let version = &payload["config_version"];
            modern.problems.add("config_version", format!("there is no layout {version}"));
        }
    }
    modern.functions();
    modern.flat_parts();
    modern.secrets();
    modern.data_sources();
    modern.webhooks();
    modern
}

impl Modern {
    /// `[{config, source}]` as `{config, sources}`.
    fn functions(&mut self) {
        let list = match self.payload.get("functions") {
            Some(Json::Array(list)) => list.clone(),
            Some(Json::Object(parts)) => {
                let entries = parts.get("config").and_then(Json::as_array).map_or(0, Vec::len);
                self.functions = (0..entries).map(|index| format!("functions/config.json[{index}]")).collect();
                return;
            }
            _ => return,
        };
        let mut config = Vec::new();
        let mut sources = Map::new();
        for (index, item) in list.into_iter().enumerate() {
            let entry = item.get("config").filter(|entry| entry.is_object()).unwrap_or(&item).clone();
            let name = entry.get("name").and_then(Json::as_str).unwrap_or_default();
            self.functions.push(match self.layout.is_old() && !name.is_empty() {
                true => format!("functions/{name}/config.json"),
                false => format!("functions[{index}]"),
            });
            if let Some(source) = item.get("source") {
                sources.insert(format!("{name}.js"), source.clone());
            }
            let mut entry = entry;
            if let Json::Object(fields) = &mut entry {
                fields.shift_remove("source");
            }
            config.push(entry);
        }
        self.payload.insert("functions".to_owned(), json!({ "config": config, "sources": sources }));
    }

    /// Root keys of the old layouts that have a file of their own now.
    fn flat_parts(&mut self) {
        if !self.layout.is_old() {
            return;
        }
        for key in ["hosting", "sync"] {
            let Some(Json::Object(part)) = self.payload.get(key) else { continue };
            if !part.is_empty() && !["config", "metadata", "files"].iter().any(|known| part.contains_key(*known)) {
                let part = json!({ "config": part });
                self.payload.insert(key.to_owned(), part);
            }
        }
    }

    /// `secrets.json`: what providers and services need, by the field that holds the secret's name today.
    fn secrets(&mut self) {
        let Some(secrets) = self.payload.shift_remove("secrets") else { return };
        for part in ["auth_providers", "services"] {
            let Some(Json::Object(owners)) = secrets.get(part) else { continue };
            for (owner, fields) in owners {
                let Json::Object(fields) = fields else {
                    self.problems.add("secrets.json", format!("{part}.{owner}: must be an object"));
                    continue;
                };
                for (field, value) in fields {
                    let Some(reference) = self.named_secret(&secret_name(owner, field), value) else {
                        let reason = format!("{part}.{owner}.{field}: must be a string or an array of strings");
                        self.problems.add("secrets.json", reason);
                        continue;
                    };
                    let entity = if part == "services" { self.service(owner) } else { self.provider(owner) };
                    refer(entity, field, reference);
                }
            }
        }
    }

    /// Takes the texts into the secrets and gives the names that stand for them.
    fn named_secret(&mut self, name: &str, value: &Json) -> Option<Json> {
        match value {
            Json::String(text) => {
                self.secrets.push((name.to_owned(), SecretText::new(text.clone())));
                Some(name.into())
            }
            Json::Array(items) => {
                let texts = items.iter().map(Json::as_str).collect::<Option<Vec<&str>>>()?;
                let names = (0..texts.len()).map(|index| format!("{name}_{index}"));
                let named: Vec<(String, SecretText)> = names.zip(texts.into_iter().map(SecretText::new)).collect();
                let reference = named.iter().map(|(name, _)| name.clone()).collect();
                self.secrets.extend(named);
                Some(reference)
            }
            _ => None,
        }
    }

    fn provider(&mut self, name: &str) -> Option<&mut Json> {
        if self.payload.get("auth_providers").is_some_and(Json::is_array) {
            let all = self.payload.get_mut("auth_providers")?.as_array_mut()?;
            return all.iter_mut().find(|provider| is_named(provider, name));
        }
        self.payload.get_mut("auth")?.get_mut("providers")?.get_mut(name)
    }

    fn service(&mut self, name: &str) -> Option<&mut Json> {
        let of_that_name = |service: &Json| service.get("config").is_some_and(|config| is_named(config, name));
        let found = ["services", "data_sources", "http_endpoints"].into_iter().find_map(|key| {
            let at = self.payload.get(key)?.as_array()?.iter().position(of_that_name)?;
            Some((key, at))
        });
        let (key, at) = found?;
        self.payload.get_mut(key)?.get_mut(at)?.get_mut("config")
    }

    /// Services that hold documents move to the data sources.
    fn data_sources(&mut self) {
        let Some(Json::Array(services)) = self.payload.get("services") else { return };
        let kind =
            |service: &Json| service.pointer("/config/type").and_then(Json::as_str).unwrap_or_default().to_owned();
        let holds_documents = |service: &Json| DATA_SOURCES.contains(&kind(service).as_str());
        let (sources, services): (Vec<Json>, Vec<Json>) = services.iter().cloned().partition(holds_documents);
        if sources.is_empty() {
            return;
        }
        let mut all = self.payload.get("data_sources").and_then(Json::as_array).cloned().unwrap_or_default();
        for source in sources {
            let rules = source.get("rules").and_then(Json::as_array).into_iter().flatten();
            let mut moved = json!({ "config": source["config"], "rules": rules.map(rule).collect::<Vec<_>>() });
            if let Some(rule) = source.get("default_rule") {
                moved["default_rule"] = rule.clone();
            }
            all.push(moved);
        }
        self.payload.insert("data_sources".to_owned(), all.into());
        self.payload.insert("services".to_owned(), services.into());
    }

    fn webhooks(&mut self) {
        for folder in ["services", "http_endpoints"] {
            let Some(Json::Array(services)) = self.payload.get_mut(folder) else { continue };
            let mut services = std::mem::take(services);
            for service in &mut services {
                let config = service.get("config").unwrap_or(service);
                let name = config.get("name").and_then(Json::as_str).unwrap_or_default().to_owned();
                let Some(Json::Array(webhooks)) = service.get_mut("incoming_webhooks") else { continue };
                if self.webhooks.len() + webhooks.len() > ENTITIES_MAX {
                    self.problems.add(folder, format!("more than {ENTITIES_MAX} webhooks"));
                    break;
                }
                for (index, webhook) in webhooks.iter_mut().enumerate() {
                    self.webhook(folder, &name, index, webhook);
                }
            }
            self.payload.insert(folder.to_owned(), services.into());
        }
    }

    fn webhook(&mut self, folder: &str, service: &str, index: usize, webhook: &mut Json) {
        let source = webhook.get("source").and_then(Json::as_str).map(str::to_owned);
        let inside = webhook.get("config").is_some_and(Json::is_object);
        let config = if inside { webhook.get_mut("config") } else { Some(webhook) };
        let Some(Json::Object(config)) = config else {
            let place = format!("{folder}/{service}/incoming_webhooks[{index}]");
            self.problems.add(place, "must be an object with 'config' and 'source'");
            return;
        };
        let name = text(config, "name").to_owned();
        let at = format!("{folder}/{service}/incoming_webhooks/{name}");
        let place = format!("{at}/config.json");
        if service.is_empty() || name.is_empty() {
            self.problems.add(place, "name: missing");
            return;
        }
        let Some(source) = source else {
            self.problems.add(place, format!("webhook '{name}' has no source ({at}/source.js)"));
            return;
        };
        if let Some(Json::Object(options)) = config.get_mut("options") {
            // In clear text it would be shown by every export.
            if let Some(Json::String(secret)) = options.shift_remove("secret").filter(|secret| secret != "") {
                let reference = options.entry("secret_name").or_insert_with(|| secret_name(service, &name).into());
                if let Some(reference) = reference.as_str() {
                    self.secrets.push((reference.to_owned(), SecretText::new(secret)));
                }
            }
        }
        let path = format!("{service}/{name}");
        let options = config.get("options").and_then(Json::as_object).cloned().unwrap_or_default();
        let note = (text(&options, "httpMethod") == "HEAD")
            .then(|| format!("{place}: an endpoint for HEAD alone does not exist, so this one answers every method"));
        let (endpoint, function) = (webhook_endpoint(&path, config, &options), webhook_function(&path, config));
        self.webhooks.push(Webhook { place, endpoint, function, source, note });
    }
}

fn text<'a>(fields: &'a Map<String, Json>, key: &str) -> &'a str {
    fields.get(key).and_then(Json::as_str).unwrap_or_default()
}

fn flag(fields: &Map<String, Json>, key: &str) -> bool {
    fields.get(key).and_then(Json::as_bool).unwrap_or(false)
}

fn is_named(json: &Json, name: &str) -> bool {
    json.get("name").and_then(Json::as_str) == Some(name)
}

/// Puts a secret's name where the entity that needs it looks for it, unless it names one already.
fn refer(entity: Option<&mut Json>, field: &str, reference: Json) {
    let Some(Json::Object(entity)) = entity else { return };
    if let Json::Object(secrets) = entity.entry("secret_config").or_insert_with(|| json!({})) {
        secrets.entry(field).or_insert(reference);
    }
}

fn webhook_endpoint(path: &str, config: &Map<String, Json>, options: &Map<String, Json>) -> Json {
    let method = match text(options, "httpMethod").to_ascii_uppercase().as_str() {
        "" => "POST".to_owned(),
        "ANY" | "ALL" | "*" | "HEAD" => "*".to_owned(),
        method => method.to_owned(),
    };
    let validation = Some(text(options, "validationMethod")).filter(|text| !text.is_empty());
    let mut endpoint = json!({
        "route": format!("/{path}"),
        "http_method": method,
        "function_name": path,
        "validation_method": validation.unwrap_or("NO_VALIDATION"),
        "respond_result": flag(config, "respond_result"),
        "fetch_custom_user_data": flag(config, "fetch_custom_user_data"),
        "create_user_on_auth": flag(config, "create_user_on_auth"),
        "disabled": flag(config, "disabled"),
        // Webhooks answered in Extended JSON.
        "return_type": "EJSON",
    });
    if !text(options, "secret_name").is_empty() {
        endpoint["secret_name"] = text(options, "secret_name").into();
    }
    endpoint
}

fn webhook_function(path: &str, config: &Map<String, Json>) -> Json {
    let mut function = json!({ "name": path, "private": true });
    if let Some(rule) = config.get("can_evaluate").filter(|rule| !rule.is_null()) {
        function["can_evaluate"] = rule.clone();
    }
    if flag(config, "disable_arg_logs") {
        function["disable_arg_logs"] = true.into();
    }
    let (user, script) = (text(config, "run_as_user_id"), text(config, "run_as_user_id_script_source"));
    // Without any of these a webhook ran as the system.
    if !user.is_empty() {
        function["run_as_user_id"] = user.into();
    } else if !script.is_empty() {
        function["run_as_user_id_script_source"] = script.into();
    } else if !flag(config, "run_as_authed_user") {
        function["run_as_system"] = true.into();
    }
    function
}

/// A collection's rules as `rules.json` has them: the oldest ones named their collection in one word.
fn rule(rule: &Json) -> Json {
    let mut rule = rule.clone();
    if let Json::Object(fields) = &mut rule
        && let Some(Json::String(namespace)) = fields.get("namespace").cloned()
        && let Some((database, collection)) = namespace.split_once('.')
        && !fields.contains_key("database")
    {
        fields.shift_remove("namespace");
        fields.insert("database".to_owned(), database.into());
        fields.insert("collection".to_owned(), collection.into());
    }
    rule
}

/// How the platform named secrets that it made itself.
fn secret_name(owner: &str, field: &str) -> String {
    let name = format!("__{owner}_{field}");
    let plain = name.chars().map(|one| if one.is_ascii_alphanumeric() || one == '-' { one } else { '_' });
    plain.take(NAME_LENGTH_MAX).collect()
}

#[cfg(test)]
mod tests {
    use storage::model::{AppConfig, MethodFilter};

    use super::*;
    use crate::payload::{Read, read};

    fn imported(payload: &Json, previous: &AppConfig) -> Read {
        read(payload.as_object().unwrap(), previous, 0)
    }

    fn hooks(webhooks: Json) -> Json {
        json!({
            "config_version": 20210101,
            "services": [{ "config": { "name": "svc", "type": "http" }, "incoming_webhooks": webhooks, "rules": [] }],
        })
    }

    fn webhook(changes: Json) -> Json {
        let mut config =
            json!({ "name": "hook", "options": { "httpMethod": "POST", "validationMethod": "NO_VALIDATION" } });
        for (key, value) in changes.as_object().unwrap() {
            config[key] = value.clone();
        }
        json!({ "config": config, "source": "exports = () => 1;" })
    }

    #[test]
    fn a_webhook_becomes_an_endpoint_that_acts_as_it_did() {
        for (changes, expected) in [
            (json!({}), json!({ "run_as_system": true })),
            (json!({ "run_as_authed_user": true }), json!({})),
            (json!({ "run_as_user_id": "u" }), json!({ "run_as_user_id": "u" })),
            (
                json!({ "run_as_user_id_script_source": "exports = 1" }),
                json!({ "run_as_user_id_script_source": "exports = 1" }),
            ),
            (json!({ "disable_arg_logs": true }), json!({ "disable_arg_logs": true, "run_as_system": true })),
        ] {
            let modern = modern(hooks(json!([webhook(changes.clone())])).as_object().unwrap());
            let mut function = modern.webhooks[0].function.clone();
            let fields = function.as_object_mut().unwrap();
            assert_eq!(fields.shift_remove("name").unwrap(), "svc/hook");
            assert_eq!(fields.shift_remove("private").unwrap(), true);
            assert_eq!(function, expected, "{changes}");
        }
        for (method, expected) in [("GET", MethodFilter::Get), ("ANY", MethodFilter::Any), ("HEAD", MethodFilter::Any)]
        {
            let read = imported(
                &hooks(json!([webhook(json!({ "options": { "httpMethod": method } }))])),
                &AppConfig::default(),
            );
            assert!(read.problems.is_empty(), "{}", read.problems);
            assert_eq!(
                (read.config.endpoints[0].route.as_str(), read.config.endpoints[0].method),
                ("/svc/hook", expected)
            );
        }
    }

    #[test]
    fn a_secret_in_clear_text_becomes_a_secret_and_is_not_kept_in_the_configuration() {
        let options = json!({ "httpMethod": "POST", "validationMethod": "VERIFY_PAYLOAD", "secret": "open sesame" });
        let mut payload = hooks(json!([webhook(json!({ "options": options }))]));
        payload["secrets"] = json!({
            "auth_providers": { "custom-token": { "signingKeys": ["first key", "second key"] } },
            "services": { "svc": { "token": "third" } },
        });
        payload["auth_providers"] = json!([{ "name": "custom-token", "type": "custom-token" }]);
        let read = imported(&payload, &AppConfig::default());
        assert!(read.problems.is_empty(), "{}", read.problems);
        let secrets: Vec<(&str, &str)> =
            read.secrets.iter().map(|(name, text)| (name.as_str(), text.reveal())).collect();
        let expected = [
            ("__custom-token_signingKeys_0", "first key"),
            ("__custom-token_signingKeys_1", "second key"),
            ("__svc_token", "third"),
            ("__svc_hook", "open sesame"),
        ];
        assert_eq!(secrets, expected);
        assert_eq!(read.config.endpoints[0].secret_name.as_deref(), Some("__svc_hook"));
        let keys = &read.config.auth_providers["custom-token"]["secret_config"]["signingKeys"];
        assert_eq!(*keys, json!(["__custom-token_signingKeys_0", "__custom-token_signingKeys_1"]));
        assert_eq!(read.config.opaque["services"][0]["config"]["secret_config"]["token"], "__svc_token");
        let kept = Json::Object(crate::payload::write(&read.config)).to_string();
        for secret in ["open sesame", "third", "first key"] {
            assert!(!kept.contains(secret), "{secret} in {kept}");
        }
    }

    #[test]
    fn a_converted_webhook_stays_converted_and_a_name_that_is_taken_is_reported() {
        let first = imported(&hooks(json!([webhook(json!({}))])), &AppConfig::default());
        assert_eq!(first.warnings.len(), 1, "{:?}", first.warnings);
        // As a directory says it after the app was pulled into it: endpoint, function and webhook.
        let mut pulled = Json::Object(crate::payload::write(&first.config));
        let second = imported(&pulled, &first.config);
        assert!(second.problems.is_empty() && second.warnings.is_empty(), "{:?}", second);
        assert_eq!(second.config.endpoints, first.config.endpoints);
        // The same payload again, which does not mention endpoints.
        let again = imported(&hooks(json!([webhook(json!({}))])), &first.config);
        assert_eq!(again.config.endpoints, first.config.endpoints);
        // A webhook that is gone takes its endpoint with it.
        let mut gone = hooks(json!([]));
        gone["config_version"] = json!(20200603);
        assert_eq!(imported(&gone, &first.config).config.endpoints, []);

        // Whoever edits the one that does not run is told.
        let mut edited = pulled.clone();
        edited["functions"]["sources"]["svc/hook.js"] = json!("exports = () => 'changed';");
        let told = imported(&edited, &first.config).warnings;
        assert!(
            told[0].contains("its source.js is not used: endpoint 'POST /svc/hook' runs functions/svc/hook.js"),
            "{told:?}"
        );

        pulled["endpoints"]["config"][0]["function_name"] = json!("other");
        let clash = imported(&pulled, &first.config).problems.to_string();
        assert!(
            clash.contains("services/svc/incoming_webhooks/hook/config.json: it would be endpoint 'POST /svc/hook'"),
            "{clash}"
        );
        pulled["endpoints"]["config"] = json!([]);
        pulled["functions"]["sources"]["svc/hook.js"] = json!("exports = () => 'changed';");
        let clash = imported(&pulled, &first.config).problems.to_string();
        assert!(clash.contains("it would be function 'svc/hook', which there is already"), "{clash}");
    }

    #[test]
    fn the_oldest_rules_name_their_collection_in_one_word() {
        let payload = json!({ "config_version": 20180301, "services": [{
            "config": { "name": "db", "type": "mongodb-atlas" }, "rules": [{ "namespace": "shop.orders.old", "roles": [] }],
        }] });
        let read = imported(&payload, &AppConfig::default());
        assert_eq!(read.config.data_sources[0].rules[0]["database"], "shop");
        assert_eq!(read.config.data_sources[0].rules[0]["collection"], "orders.old");
        assert!(read.config.opaque.is_empty(), "{:?}", read.config.opaque);
    }
}

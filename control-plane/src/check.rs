//! Would this configuration run? Everything that can be wrong with it without compiling it.
//!
//! In: a configuration as its author wrote it, the names of the app's secrets, and what the author calls the files. Out: all problems, each named by file, key and reason, so
//! that a person mends them in one go.
//!
//! Not here: JSON of the wrong form (`payload`), and syntax errors (the compiler, when the change is published).

mod auth;
mod data_sources;
mod object;

use std::collections::HashSet;

use serde_json::Value as Json;

use storage::access::expression::Expression;
use storage::model::{AppConfig, EndpointConfig, MethodFilter, Validation};

use crate::layout::Places;
use crate::limits;
use crate::payload::{self, Problems, Templates};
use crate::{cors, signature};
use object::Object;

/// Routes below these are the generated Data API's.
const RESERVED_ROUTES: &[&str] = &["/data/v1/action/", "/data/beta/action/"];

/// Versions of the generated Data API.
const DATA_API_VERSIONS: &[&str] = &["v1", "beta"];

/// What a configuration is checked against.
#[derive(Debug, Clone, Copy)]
pub struct Against<'a> {
    /// Names of the secrets there are.
    pub secrets: &'a HashSet<String>,
    /// What errors call the files.
    pub places: &'a Places,
    /// Bytes one function's source may have.
    pub source_bytes_max: usize,
}

pub fn check(config: &AppConfig, against: Against<'_>) -> Problems {
    let mut problems = Problems::default();
    let mut checker = Checker { config, against, problems: &mut problems };
    checker.templates();
    // What templates stand for is checked; one that stands for nothing has just been named.
    let filled = payload::filled(config);
    let mut checker = Checker { config: &filled, against, problems: &mut problems };
    checker.size();
    checker.functions();
    checker.endpoints();
    checker.values();
    checker.origins();
    checker.auth();
    checker.data_sources();
    checker.data_api();
    problems
}

struct Checker<'a> {
    config: &'a AppConfig,
    against: Against<'a>,
    problems: &'a mut Problems,
}

/// The name of an app: 1–32 letters, digits, `_` and `-`, beginning with a letter.
pub fn app_name(name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > limits::APP_NAME_LENGTH_MAX {
        return Err(format!(
            "name: must have 1 to {} characters, not {}",
            limits::APP_NAME_LENGTH_MAX,
            name.chars().count()
        ));
    }
    if !name.starts_with(|first: char| first.is_ascii_alphabetic()) || !name.bytes().all(is_name_byte) {
        return Err(format!("name: '{name}' must begin with a letter and hold only letters, digits, '_' and '-'"));
    }
    Ok(())
}

/// The name of a value, secret, key or data source.
pub fn entity_name(what: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.len() > limits::NAME_LENGTH_MAX {
        return Err(format!("{what} name '{name}' must have 1 to {} characters", limits::NAME_LENGTH_MAX));
    }
    if !name.bytes().all(is_name_byte) {
        return Err(format!("{what} name '{name}' may hold only letters, digits, '_' and '-'"));
    }
    Ok(())
}

/// Whether a text could be the name of a key.
pub fn is_entity_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= limits::NAME_LENGTH_MAX && name.bytes().all(is_name_byte)
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

impl Checker<'_> {
    /// Templates that stand for nothing.
    fn templates(&mut self) {
        let config = self.config;
        let templates = Templates::of(config);
        let places = self.against.places;
        let mut unknown = |file: String, json: &Json| {
            templates.unknown(json, &mut |key, reason| match key {
                "" => self.problems.add(&file, reason),
                key => self.problems.add(&file, format_args!("{key}: {reason}")),
            });
        };
        for (index, function) in config.functions.iter().enumerate() {
            let entry = payload::function_json(config, function, payload::Form::Whole);
            unknown(places.function(index).to_owned(), &entry);
        }
        for (index, endpoint) in config.endpoints.iter().enumerate() {
            unknown(places.endpoint(index).to_owned(), &payload::endpoint_json(endpoint, payload::Form::Whole));
        }
        for value in &config.values {
            unknown(format!("values/{}.json", value.name), &serde_json::json!({ "value": value.value }));
        }
        for (name, provider) in &config.auth_providers {
            unknown(places.provider(name), provider);
        }
        if let Some(custom) = &config.custom_user_data {
            unknown(places.custom_user_data(), custom);
        }
        for source in &config.data_sources {
            unknown(places.data_source(&source.name), &source.config);
            if let Some(rule) = &source.default_rule {
                unknown(places.default_rule(&source.name), rule);
            }
            for rule in &source.rules {
                let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default();
                unknown(places.rule(&source.name, text("database"), text("collection")), rule);
            }
        }
        for origin in &config.allowed_request_origins {
            unknown(format!("{}: allowed_request_origins", places.root()), &origin.as_str().into());
        }
        if let Some(data_api) = config.opaque.get("data_api_config") {
            unknown(places.data_api(), data_api);
        }
    }

    fn size(&mut self) {
        // As it is kept: a deployment is one document, whatever makes it large.
        let bytes = Json::Object(payload::write(self.config)).to_string().len();
        if bytes > limits::CONFIG_BYTES_MAX {
            self.problems
                .add("functions", format!("the app has {bytes} bytes, more than {}", limits::CONFIG_BYTES_MAX));
        }
        let endpoints = self.against.places.endpoints();
        for (file, count) in
            [("functions/config.json", self.config.functions.len()), (endpoints.as_str(), self.config.endpoints.len())]
        {
            if count > limits::ENTITIES_MAX {
                self.problems.add(file, format!("{count} entries are more than {}", limits::ENTITIES_MAX));
            }
        }
    }

    fn functions(&mut self) {
        let mut seen = HashSet::new();
        for (index, function) in self.config.functions.iter().enumerate() {
            let file = self.against.places.function(index);
            let name = &function.name;
            if name.len() > limits::NAME_LENGTH_MAX {
                let reason = format!("function name '{name}' has more than {} characters", limits::NAME_LENGTH_MAX);
                self.problems.add(file, reason);
            }
            if name.is_empty() || name.split('/').any(|part| part.is_empty() || !part.bytes().all(is_name_byte)) {
                self.problems.add(
                    file,
                    format!("function name '{name}' may hold only letters, digits, '_', '-' and '/' between them"),
                );
            }
            if !seen.insert(name) {
                self.problems.add(file, format!("there are two functions named '{name}'"));
            }
            let bytes_max = self.against.source_bytes_max;
            if function.source.len() > bytes_max {
                let bytes = function.source.len();
                self.problems.add(function.path(), format!("the source has {bytes} bytes, more than {bytes_max}"));
            }
            self.expression(file, "can_evaluate", &function.can_evaluate);
        }
    }

    fn endpoints(&mut self) {
        let functions: HashSet<&str> = self.config.functions.iter().map(|function| function.name.as_str()).collect();
        let mut seen: HashSet<(&str, MethodFilter)> = HashSet::new();
        for (index, endpoint) in self.config.endpoints.iter().enumerate() {
            let file = self.against.places.endpoint(index);
            let named = format!("{} {}", endpoint.method.as_str(), endpoint.route);
            if let Err(reason) = route(&endpoint.route) {
                self.problems.add(file, reason);
            }
            if !seen.insert((&endpoint.route, endpoint.method)) {
                self.problems.add(file, format!("there are two endpoints '{named}'"));
            }
            let name = &endpoint.function_name;
            if !name.is_empty() && !functions.contains(name.as_str()) {
                self.problems.add(file, format!("function '{name}' does not exist (endpoint '{named}')"));
            }
            self.secret_of(endpoint, file);
            if let Err(reason) = signature::form(endpoint) {
                self.problems.add(file, reason);
            }
            if let Some(expression) = &endpoint.can_evaluate {
                self.expression(file, "can_evaluate", expression);
            }
        }
    }

    fn secret_of(&mut self, endpoint: &EndpointConfig, file: &str) {
        match (&endpoint.secret_name, endpoint.validation) {
            (_, Validation::None) => {}
            (None, method) => {
                self.problems.add(file, format!("validation_method {} needs a secret_name", method.as_str()));
            }
            (Some(name), _) => self.secret(file, name),
        }
    }

    /// A secret that has to be there.
    fn secret(&mut self, file: &str, name: &str) {
        if !self.against.secrets.contains(name) {
            self.problems.add_missing_secret(file, name);
        }
    }

    fn has_function(&self, name: &str) -> bool {
        self.config.functions.iter().any(|function| function.name == name)
    }

    /// A rule expression, whose syntax is all that can be judged before there is a request.
    fn expression(&mut self, file: &str, at: &str, expression: &Json) {
        if let Err(wrong) = Expression::parse(expression) {
            let place = format!("{at}{}", wrong.at);
            self.problems.add(file, format!("{place}: {}", wrong.reason));
        }
    }

    fn values(&mut self) {
        let mut seen = HashSet::new();
        for value in &self.config.values {
            let file = format!("values/{}.json", value.name);
            if let Err(reason) = entity_name("value", &value.name) {
                self.problems.add(&file, reason);
            }
            if !seen.insert(&value.name) {
                self.problems.add(&file, format!("there are two values named '{}'", value.name));
            }
            if value.from_secret {
                match value.value.as_str() {
                    None => {
                        self.problems.add(&file, "value: must be the name of a secret when from_secret is true");
                    }
                    Some(name) => self.secret(&file, name),
                }
            }
        }
    }

    fn origins(&mut self) {
        if let Err(reason) = cors::policy(self.config) {
            self.problems.add(self.against.places.root(), reason);
        }
        for origin in &self.config.allowed_request_origins {
            let host = origin.split_once("://").filter(|(scheme, _)| {
                !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
            });
            if host.is_none_or(|(_, host)| host.is_empty() || host.contains(['/', '?', '#', ' '])) {
                self.problems.add(
                    self.against.places.root(),
                    format!("allowed_request_origins: '{origin}' must read <scheme>://<host>[:port]"),
                );
            }
        }
    }

    /// The generated Data API: like an endpoint and its function in one.
    fn data_api(&mut self) {
        let Some(config) = self.config.opaque.get("data_api_config") else { return };
        let file = self.against.places.data_api();
        let Some(object) = Object::of(config, &file, "", self.problems) else { return };
        for key in
            ["disabled", "create_user_on_auth", "run_as_system", "fetch_custom_user_data", "log_function_arguments"]
        {
            object.flag(key, self.problems);
        }
        for key in ["run_as_user_id", "run_as_user_id_script_source"] {
            object.text(key, self.problems);
        }
        for (index, version) in object.texts("versions", self.problems).into_iter().enumerate() {
            if !DATA_API_VERSIONS.contains(&version) {
                let known = DATA_API_VERSIONS.join(" or ");
                self.problems.add(&file, format!("versions[{index}]: '{version}' is not {known}"));
            }
        }
        object.word("return_type", &["JSON", "EJSON"], self.problems);
        let words = ["NO_VALIDATION", "SECRET_AS_QUERY_PARAM", "VERIFY_PAYLOAD"];
        let method = object.word("validation_method", &words, self.problems);
        let method = method.or_else(|| object.word("verification_method", &words, self.problems));
        if let Some(method) = method.filter(|method| *method != "NO_VALIDATION") {
            match object.text("secret_name", self.problems) {
                None => self.problems.add(&file, format!("validation_method {method} needs a secret_name")),
                Some(name) => self.secret(&file, name),
            }
        }
        if let Some(expression) = object.get("can_evaluate") {
            self.expression(&file, "can_evaluate", expression);
        }
    }
}

fn route(route: &str) -> Result<(), String> {
    if !route.starts_with('/') {
        return Err(format!("route: '{route}' must begin with '/'"));
    }
    if route.len() > limits::ROUTE_LENGTH_MAX {
        return Err(format!("route: more than {} characters", limits::ROUTE_LENGTH_MAX));
    }
    if let Some(wrong) = route.chars().find(|one| one.is_control() || one.is_whitespace() || matches!(one, '?' | '#')) {
        return Err(format!("route: '{}' holds {wrong:?}, which a path cannot", route.escape_debug()));
    }
    match RESERVED_ROUTES.iter().find(|reserved| route.starts_with(**reserved)) {
        Some(reserved) => Err(format!("route: '{route}' begins with '{reserved}', which is the Data API's")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value as Json, json};
    use storage::model::AppConfig;

    /// Problems of an import beside a function `f` and a secret `s`.
    fn problems_of(endpoints: Json, values: Json) -> Vec<String> {
        let payload = json!({
            "config_version": 20210101,
            "functions": { "config": [{ "name": "f" }], "sources": { "f.js": "exports = () => 1" } },
            "endpoints": { "config": endpoints },
            "values": values,
        });
        problems_in(payload)
    }

    fn problems_in(payload: Json) -> Vec<String> {
        let read = payload::read(payload.as_object().unwrap(), &AppConfig::default(), 0);
        let mut problems = read.problems;
        let secrets = HashSet::from(["s".to_owned()]);
        let against = Against { secrets: &secrets, places: &read.places, source_bytes_max: limits::SOURCE_BYTES_MAX };
        problems.extend(check(&read.config, against));
        problems.lines().to_vec()
    }

    fn endpoint(changes: Json) -> Json {
        let mut endpoint = json!({
            "route": "/a", "http_method": "GET", "function_name": "f", "validation_method": "NO_VALIDATION",
            "respond_result": true, "disabled": false,
        });
        for (key, value) in changes.as_object().unwrap() {
            endpoint[key] = value.clone();
        }
        endpoint
    }

    #[test]
    fn an_endpoint_that_cannot_run_is_named_with_its_reason() {
        for (change, expected) in [
            (json!({}), None),
            (json!({"http_method": "ALL"}), None),
            (json!({"validation_method": "VERIFY_PAYLOAD", "secret_name": "s"}), None),
            (json!({"http_method": null}), Some("http_method: missing")),
            (json!({"http_method": "get"}), Some("http_method: 'get' is not one of")),
            (json!({"function_name": "x"}), Some("function 'x' does not exist (endpoint 'GET /a')")),
            (json!({"validation_method": "VERIFY_PAYLOAD"}), Some("needs a secret_name")),
            (json!({"validation_method": "VERIFY_PAYLOAD", "secret_name": "t"}), Some("secret \"t\" not found")),
            (json!({"validation_method": "HOPE"}), Some("validation_method: 'HOPE' is not one of")),
            (json!({"route": "a"}), Some("route: 'a' must begin with '/'")),
            (json!({"route": "/a b"}), Some("route: '/a b' holds ' '")),
            (json!({"route": "/data/v1/action/find"}), Some("which is the Data API's")),
            (json!({"respond_result": "yes"}), Some("respond_result: must be true or false")),
        ] {
            let found = problems_of(json!([endpoint(json!({"route": "/other"})), endpoint(change.clone())]), json!([]));
            match expected {
                None => assert_eq!(found, Vec::<String>::new(), "{change}"),
                Some(text) => {
                    assert_eq!(found.len(), 1, "{change}: {found:?}");
                    assert!(found[0].starts_with("error validating http_endpoints/config.json[1]: "), "{found:?}");
                    assert!(found[0].contains(text), "{found:?}");
                }
            }
        }
    }

    #[test]
    fn two_endpoints_for_one_request_are_refused() {
        let found = problems_of(
            json!([endpoint(json!({})), endpoint(json!({"http_method": "*"})), endpoint(json!({}))]),
            json!([]),
        );
        assert_eq!(found, ["error validating http_endpoints/config.json[2]: there are two endpoints 'GET /a'"]);
    }

    #[test]
    fn all_problems_are_told_at_once() {
        let found = problems_of(
            json!([endpoint(json!({"function_name": "x"})), endpoint(json!({"http_method": null, "route": "/b"}))]),
            json!([{ "name": "v", "value": "nowhere", "from_secret": true }, { "name": "bad name", "value": 1 }]),
        );
        assert_eq!(found.len(), 4, "{found:?}");
        assert!(found.contains(&"error validating values/v.json: secret \"nowhere\" not found".to_owned()));
    }

    /// What `change` does to a configuration that is right, one file at a time.
    #[test]
    fn every_documented_field_has_its_type_and_what_it_names_must_exist() {
        let right = json!({
            "config_version": 20210101,
            "functions": {
                "config": [{ "name": "f", "can_evaluate": { "%%user.data.email": { "%exists": true } } }],
                "sources": { "f.js": "exports = () => 1" },
            },
            "auth": {
                "providers": {
                    "local-userpass": {
                        "name": "local-userpass", "type": "local-userpass",
                        "config": { "autoConfirm": true, "runResetFunction": true, "resetFunctionName": "f" },
                    },
                    "custom-token": {
                        "name": "custom-token", "type": "custom-token",
                        "config": { "audience": ["a"], "signingAlgorithm": "HS256", "useJWKURI": false },
                        "secret_config": { "signingKeys": ["s"] },
                        "metadata_fields": [{ "required": true, "name": "a.b", "field_name": "c" }],
                    },
                    "custom-function": { "type": "custom-function", "config": { "authFunctionName": "f" } },
                    "oauth2-google": {
                        "type": "oauth2-google", "config": { "clientId": "c" }, "secret_config": { "clientSecret": "s" },
                        "redirect_uris": ["https://a.example"], "domain_restrictions": [],
                    },
                },
                "custom_user_data": {
                    "enabled": true, "mongo_service_name": "db", "database_name": "d", "collection_name": "c",
                    "user_id_field": "id", "on_user_creation_function_name": "f",
                },
            },
            "data_sources": [{
                "config": {
                    "name": "db", "type": "mongodb", "secret_config": { "uri": "s" },
                    "config": { "readPreference": "nearest", "readPreferenceTagSets": [{ "a": "b" }] },
                },
                "default_rule": { "roles": [{ "name": "r", "apply_when": {}, "read": true }], "filters": [] },
                "rules": [{
                    "database": "d", "collection": "c",
                    "roles": [{ "name": "r", "fields": { "a": { "read": true, "fields": { "b": { "write": {} } } } } }],
                    "filters": [{ "name": "n", "apply_when": { "%%true": true }, "query": {}, "projection": { "a": 1 } }],
                }],
            }],
            "data_api_config": { "versions": ["v1"], "return_type": "EJSON", "secret_name": "" },
        });
        let rows: &[(&str, Json, &str)] = &[
            (
                "/functions/config/0/can_evaluate",
                json!({ "%%user.id": { "%like": 1 } }),
                "functions/config.json[0]: can_evaluate",
            ),
            ("/functions/config/0/can_evaluate", json!("yes"), "functions/config.json[0]: can_evaluate"),
            ("/functions/config/0/private", json!("yes"), "functions/config.json[0]: private: must be true or false"),
            (
                "/auth/providers/custom-token/type",
                json!("jwt"),
                "auth/providers.json: custom-token: type: 'jwt' is not one of",
            ),
            (
                "/auth/providers/custom-token/disabled",
                json!(0),
                "auth/providers.json: custom-token: disabled: must be true or false",
            ),
            (
                "/auth/providers/custom-token/config/audience",
                json!(1),
                "config.audience: must be a string or an array of strings",
            ),
            (
                "/auth/providers/custom-token/config/signingAlgorithm",
                json!("none"),
                "config.signingAlgorithm: 'none' is not one of HS256, RS256",
            ),
            ("/auth/providers/custom-token/config/useJWKURI", json!(true), "config.jwkURI: missing; useJWKURI is true"),
            ("/auth/providers/custom-token/config/jwkURI", json!("ftp://x"), "config.jwkURI: must begin with https://"),
            ("/auth/providers/custom-token/secret_config", json!({}), "secret_config.signingKeys: missing"),
            (
                "/auth/providers/custom-token/secret_config/signingKeys",
                json!(["s", "s", "s", "s"]),
                "secret_config.signingKeys: 4 signing keys are more than 3",
            ),
            (
                "/auth/providers/custom-token/secret_config/signingKeys",
                json!(["t"]),
                "auth/providers.json: custom-token: secret \"t\" not found",
            ),
            ("/auth/providers/custom-token/metadata_fields/0/name", json!(""), "metadata_fields[0].name: missing"),
            (
                "/auth/providers/custom-token/metadata_fields/0/field_name",
                json!("x".repeat(65)),
                "metadata_fields[0].field_name: more than 64",
            ),
            ("/auth/providers/custom-token/metadata_fields", json!({}), "metadata_fields: must be an array"),
            (
                "/auth/providers/local-userpass/config/resetFunctionName",
                json!("g"),
                "config.resetFunctionName: function 'g' does not exist",
            ),
            (
                "/auth/providers/local-userpass/config/runConfirmationFunction",
                json!(true),
                "config.confirmationFunctionName: missing",
            ),
            (
                "/auth/providers/local-userpass/config/resetPasswordSubject",
                json!("x".repeat(257)),
                "config.resetPasswordSubject: more than 256",
            ),
            (
                "/auth/providers/custom-function/config/authFunctionName",
                json!("g"),
                "config.authFunctionName: function 'g' does not exist",
            ),
            (
                "/auth/providers/oauth2-google/secret_config/clientSecret",
                json!("t"),
                "oauth2-google: secret \"t\" not found",
            ),
            ("/auth/providers/oauth2-google/redirect_uris", json!([1]), "redirect_uris: must be an array of strings"),
            ("/auth/providers/oauth2-google/config", json!([]), "config: must be an object"),
            (
                "/auth/custom_user_data/mongo_service_name",
                json!("x"),
                "auth/custom_user_data.json: mongo_service_name: there is no data source 'x'",
            ),
            ("/auth/custom_user_data/user_id_field", json!(""), "auth/custom_user_data.json: user_id_field: missing"),
            (
                "/auth/custom_user_data/enabled",
                json!("no"),
                "auth/custom_user_data.json: enabled: must be true or false",
            ),
            ("/auth/custom_user_data/on_user_creation_function_name", json!("g"), "function 'g' does not exist"),
            ("/data_sources/0/config/type", json!("mysql"), "data_sources/db/config.json: type: 'mysql' is not one of"),
            (
                "/data_sources/0/config/config/readPreference",
                json!("primary"),
                "config.readPreferenceTagSets: cannot be combined with",
            ),
            (
                "/data_sources/0/config/config/readPreference",
                json!("close"),
                "config.readPreference: 'close' is not one of",
            ),
            (
                "/data_sources/0/config/secret_config/uri",
                json!("t"),
                "data_sources/db/config.json: secret \"t\" not found",
            ),
            (
                "/data_sources/0/default_rule/roles",
                json!({}),
                "data_sources/db/default_rule.json: roles: must be an array",
            ),
            (
                "/data_sources/0/default_rule/roles/0/name",
                json!(""),
                "data_sources/db/default_rule.json: roles[0].name: missing",
            ),
            (
                "/data_sources/0/rules/0/roles/0/fields/a/fields/b/write",
                json!("no"),
                "data_sources/db/d/c/rules.json: roles[0].fields.a.fields.b.write",
            ),
            (
                "/data_sources/0/rules/0/roles/0/apply_when",
                json!({ "%%unheard": 1 }),
                "data_sources/db/d/c/rules.json: roles[0].apply_when",
            ),
            ("/data_sources/0/rules/0/filters/0/query", json!([]), "filters[0].query: must be an object"),
            ("/data_sources/0/rules/0/database", json!(""), "database: missing"),
            (
                "/data_api_config/versions",
                json!(["v9"]),
                "http_endpoints/data_api_config.json: versions[0]: 'v9' is not v1 or beta",
            ),
            ("/data_api_config/return_type", json!("XML"), "return_type: 'XML' is not one of JSON, EJSON"),
            (
                "/data_api_config/validation_method",
                json!("VERIFY_PAYLOAD"),
                "validation_method VERIFY_PAYLOAD needs a secret_name",
            ),
        ];
        assert_eq!(problems_in(right.clone()), [""; 0]);
        for (pointer, change, expected) in rows {
            let mut wrong = right.clone();
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            wrong.pointer_mut(parent).unwrap()[key] = change.clone();
            let found = problems_in(wrong);
            assert_eq!(found.len(), 1, "{pointer} {change}: {found:?}");
            assert!(found[0].starts_with("error validating ") && found[0].contains(expected), "{expected}\n{found:?}");
        }
        // Half configured is fine as long as it is off.
        for (provider, change) in [("custom-token", json!({})), ("oauth2-google", json!({ "clientSecret": "t" }))] {
            let mut off = right.clone();
            off["auth"]["providers"][provider]["secret_config"] = change;
            off["auth"]["providers"][provider]["disabled"] = json!(true);
            assert_eq!(problems_in(off), [""; 0]);
        }
    }

    #[test]
    fn errors_call_files_as_the_sender_s_layout_does() {
        let endpoints = json!([endpoint(json!({ "function_name": "x" }))]);
        for (version, named, expected) in [
            (json!(20210101), None, "http_endpoints/config.json[0]"),
            (Json::Null, None, "https_endpoints/config.json[0]"),
            (json!(20210101), Some("https_endpoints/config.json"), "https_endpoints/config.json[0]"),
            (Json::Null, Some("somewhere/else.json"), "https_endpoints/config.json[0]"),
        ] {
            let mut payload = json!({ "config_version": version, "endpoints": { "config": endpoints } });
            if let Some(file) = named {
                payload["endpoints"]["file"] = json!(file);
            }
            let found = problems_in(payload);
            let whole = format!("error validating {expected}: function 'x' does not exist (endpoint 'GET /a')");
            assert_eq!(found, [whole]);
        }
        let old = json!({
            "config_version": 20180301,
            "functions": [{ "config": { "name": "f", "private": 1 }, "source": "" }, { "config": { "name": "g" } }],
            "auth_providers": [{ "name": "anon-user", "type": "anon" }],
            "custom_user_data_config": { "enabled": 1 },
            "services": [{ "config": { "name": "db", "type": "mongodb", "config": [] } }],
        });
        let found = problems_in(old);
        for file in [
            "functions/f/config.json: private",
            "functions/g/config.json: function 'g' has no source",
            "auth_providers/anon-user.json: type",
            "stitch.json: custom_user_data_config: enabled",
            "services/db/config.json: config",
        ] {
            assert!(found.iter().any(|line| line.contains(file)), "{file}: {found:?}");
        }
        assert_eq!(
            problems_in(json!({ "config_version": 7 })),
            ["error validating config_version: there is no layout 7"]
        );
    }

    #[test]
    fn a_template_must_stand_for_something() {
        let mut payload = json!({
            "config_version": 20210101,
            "environment": "qa",
            "environments": { "qa.json": { "values": { "secret": "s", "origin": "https://a.example" } } },
            "functions": { "config": [], "sources": { "f.js": "exports = () => 1" } },
            "endpoints": { "config": [endpoint(json!({
                "secret_name": "%(%%environment.values.secret)", "validation_method": "VERIFY_PAYLOAD",
            }))] },
            "allowed_request_origins": ["%(%%environment.values.origin)"],
            "values": [
                { "name": "a", "value": "%(%%environment.values.origin)" },
                { "name": "hidden", "value": "s", "from_secret": true },
            ],
        });
        assert_eq!(problems_in(payload.clone()), [""; 0]);
        payload["environment"] = json!("production");
        let why = |name: &str| format!("environments/production.json has no value '{name}' for this template");
        let found = problems_in(payload.clone());
        for expected in [
            format!("http_endpoints/config.json[0]: secret_name: {}", why("secret")),
            format!("realm_config.json: allowed_request_origins: {}", why("origin")),
            format!("values/a.json: value: {}", why("origin")),
        ] {
            assert!(found.iter().any(|line| line.ends_with(&expected)), "{expected}: {found:?}");
        }
        payload["environment"] = json!("qa");
        payload["endpoints"]["config"][0]["function_name"] = json!("%(%%values.hidden)");
        let found = problems_in(payload);
        assert!(
            found[0].contains("function_name: value 'hidden' holds a secret, which configuration must not show"),
            "{found:?}"
        );
    }

    #[test]
    fn a_source_may_be_as_large_as_the_operator_says() {
        let source = "x".repeat(100);
        let payload = json!({ "functions": { "sources": { "f.js": source } } });
        let read = payload::read(payload.as_object().unwrap(), &AppConfig::default(), 0);
        let secrets = HashSet::new();
        let found = |source_bytes_max| {
            check(&read.config, Against { secrets: &secrets, places: &read.places, source_bytes_max }).lines().to_vec()
        };
        assert_eq!(found(100), [""; 0]);
        assert_eq!(found(99), ["error validating functions/f.js: the source has 100 bytes, more than 99"]);
    }

    #[test]
    fn names_of_apps() {
        for (name, good) in [("a", true), ("my-App_1", true), ("", false), ("1a", false), ("a b", false), ("é", false)]
        {
            assert_eq!(app_name(name).is_ok(), good, "{name}");
        }
        assert!(app_name(&"a".repeat(32)).is_ok());
        assert!(app_name(&"a".repeat(33)).is_err());
    }
}

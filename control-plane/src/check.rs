//! Would this configuration run? Everything that can be wrong with it without compiling it.
//!
//! In: a configuration and the names of the app's secrets. Out: all problems, each named by file, key and reason, so
//! that a person mends them in one go.
//!
//! Not here: JSON of the wrong form (`payload`), and syntax errors (the compiler, when the change is published).

use std::collections::HashSet;

use storage::model::{AppConfig, EndpointConfig, MethodFilter, Validation};

use crate::limits;
use crate::payload::{self, Problems};
use crate::{cors, signature};

/// Routes below these are the generated Data API's.
const RESERVED_ROUTES: &[&str] = &["/data/v1/action/", "/data/beta/action/"];

pub fn check(config: &AppConfig, secrets: &HashSet<String>) -> Problems {
    let mut problems = Problems::default();
    size(config, &mut problems);
    functions(config, &mut problems);
    endpoints(config, secrets, &mut problems);
    values(config, secrets, &mut problems);
    origins(config, &mut problems);
    data_sources(config, &mut problems);
    problems
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

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-'
}

fn size(config: &AppConfig, problems: &mut Problems) {
    // As it is kept: a deployment is one document, whatever makes it large.
    let bytes = serde_json::Value::Object(payload::write(config)).to_string().len();
    if bytes > limits::CONFIG_BYTES_MAX {
        problems.add("functions", format!("the app has {bytes} bytes, more than {}", limits::CONFIG_BYTES_MAX));
    }
    for (file, count) in
        [("functions/config.json", config.functions.len()), ("http_endpoints/config.json", config.endpoints.len())]
    {
        if count > limits::ENTITIES_MAX {
            problems.add(file, format!("{count} entries are more than {}", limits::ENTITIES_MAX));
        }
    }
}

fn functions(config: &AppConfig, problems: &mut Problems) {
    let mut seen = HashSet::new();
    for (index, function) in config.functions.iter().enumerate() {
        let file = if function.declared { format!("functions/config.json[{index}]") } else { function.path() };
        let name = &function.name;
        if name.len() > limits::NAME_LENGTH_MAX {
            problems.add(&file, format!("function name '{name}' has more than {} characters", limits::NAME_LENGTH_MAX));
        }
        if name.is_empty() || name.split('/').any(|part| part.is_empty() || !part.bytes().all(is_name_byte)) {
            problems.add(
                &file,
                format!("function name '{name}' may hold only letters, digits, '_', '-' and '/' between them"),
            );
        }
        if !seen.insert(name) {
            problems.add(&file, format!("there are two functions named '{name}'"));
        }
        if function.source.len() > limits::SOURCE_BYTES_MAX {
            problems.add(function.path(), format!("the source has more than {} bytes", limits::SOURCE_BYTES_MAX));
        }
    }
}

fn endpoints(config: &AppConfig, secrets: &HashSet<String>, problems: &mut Problems) {
    let functions: HashSet<&str> = config.functions.iter().map(|function| function.name.as_str()).collect();
    let mut seen: HashSet<(&str, MethodFilter)> = HashSet::new();
    for (index, endpoint) in config.endpoints.iter().enumerate() {
        let file = format!("http_endpoints/config.json[{index}]");
        let named = format!("{} {}", endpoint.method.as_str(), endpoint.route);
        if let Err(reason) = route(&endpoint.route) {
            problems.add(&file, reason);
        }
        if !seen.insert((&endpoint.route, endpoint.method)) {
            problems.add(&file, format!("there are two endpoints '{named}'"));
        }
        if !functions.contains(endpoint.function_name.as_str()) {
            problems.add(&file, format!("function '{}' does not exist (endpoint '{named}')", endpoint.function_name));
        }
        secret_of(endpoint, secrets, &file, problems);
        if let Err(reason) = signature::form(endpoint) {
            problems.add(&file, reason);
        }
    }
}

fn secret_of(endpoint: &EndpointConfig, secrets: &HashSet<String>, file: &str, problems: &mut Problems) {
    match (&endpoint.secret_name, endpoint.validation) {
        (_, Validation::None) => {}
        (None, method) => problems.add(file, format!("validation_method {} needs a secret_name", method.as_str())),
        (Some(name), _) if !secrets.contains(name) => problems.add(file, format!("secret \"{name}\" not found")),
        (Some(_), _) => {}
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

fn values(config: &AppConfig, secrets: &HashSet<String>, problems: &mut Problems) {
    let mut seen = HashSet::new();
    for value in &config.values {
        let file = format!("values/{}.json", value.name);
        if let Err(reason) = entity_name("value", &value.name) {
            problems.add(&file, reason);
        }
        if !seen.insert(&value.name) {
            problems.add(&file, format!("there are two values named '{}'", value.name));
        }
        if value.from_secret {
            match value.value.as_str() {
                None => problems.add(&file, "value: must be the name of a secret when from_secret is true"),
                Some(name) if !secrets.contains(name) => problems.add(&file, format!("secret \"{name}\" not found")),
                Some(_) => {}
            }
        }
    }
}

fn origins(config: &AppConfig, problems: &mut Problems) {
    if let Err(reason) = cors::policy(config) {
        problems.add("realm_config.json", reason);
    }
    for origin in &config.allowed_request_origins {
        let host = origin.split_once("://").filter(|(scheme, _)| {
            !scheme.is_empty() && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte))
        });
        if host.is_none_or(|(_, host)| host.is_empty() || host.contains(['/', '?', '#', ' '])) {
            problems.add(
                "realm_config.json",
                format!("allowed_request_origins: '{origin}' must read <scheme>://<host>[:port]"),
            );
        }
    }
}

fn data_sources(config: &AppConfig, problems: &mut Problems) {
    if config.data_sources.len() > limits::DATA_SOURCES_MAX {
        problems.add("data_sources", format!("more than {} data sources", limits::DATA_SOURCES_MAX));
    }
    let mut seen = HashSet::new();
    for source in &config.data_sources {
        let file = format!("data_sources/{}/config.json", source.name);
        if let Err(reason) = entity_name("data source", &source.name) {
            problems.add(&file, reason);
        }
        if !seen.insert(&source.name) {
            problems.add(&file, format!("there are two data sources named '{}'", source.name));
        }
        for rule in &source.rules {
            for key in ["database", "collection"] {
                if rule.get(key).and_then(serde_json::Value::as_str).is_none_or(str::is_empty) {
                    problems.add(format_args!("data_sources/{}/rules", source.name), format!("a rule without '{key}'"));
                }
            }
        }
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
            "functions": { "config": [{ "name": "f" }], "sources": { "f.js": "exports = () => 1" } },
            "endpoints": { "config": endpoints },
            "values": values,
        });
        let read = payload::read(payload.as_object().unwrap(), &AppConfig::default(), 0);
        let mut problems = read.problems;
        problems.extend(check(&read.config, &HashSet::from(["s".to_owned()])));
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
            (
                json!({"validation_method": "VERIFY_PAYLOAD", "secret_name": "s", "signature": {"header": "X-Sign"}}),
                None,
            ),
            (
                json!({"signature": {"header": "X-Sign"}}),
                Some("signature: is only for validation_method VERIFY_PAYLOAD"),
            ),
            (
                json!({"validation_method": "VERIFY_PAYLOAD", "secret_name": "s", "signature": {"scheme": "md5"}}),
                Some("signature.scheme: \"md5\" is not one of"),
            ),
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

//! Configuration to JSON, in a key order that never changes, so that two exports of one app differ only where the app
//! does.

use serde_json::{Map, Value as Json, json};

use storage::model::{AppConfig, DataSource, EndpointConfig, FunctionConfig, Value};

/// The whole configuration in the shape of an import, without the app's own record (name, region).
pub fn write(config: &AppConfig) -> Map<String, Json> {
    let mut payload = Map::new();
    let mut put = |key: &str, json: Json| payload.insert(key.to_owned(), json);
    put("environment", config.environment.tag().into());
    put("allowed_request_origins", config.allowed_request_origins.clone().into());
    let environments: Map<String, Json> = config
        .environments
        .iter()
        .map(|(stem, values)| (format!("{stem}.json"), json!({ "values": values })))
        .collect();
    put("environments", environments.into());
    put("values", config.values.iter().map(value_json).collect());
    let mut auth = Map::new();
    if let Some(custom) = &config.custom_user_data {
        auth.insert("custom_user_data".to_owned(), custom.clone());
    }
    auth.insert("providers".to_owned(), Json::Object(config.auth_providers.clone()));
    put("auth", auth.into());
    let declared = config.functions.iter().filter(|function| function.declared);
    let sources: Map<String, Json> = config
        .functions
        .iter()
        .map(|function| (format!("{}.js", function.name), function.source.clone().into()))
        .collect();
    let entries: Vec<Json> = declared.map(|function| function_json(config, function)).collect();
    put("functions", json!({ "config": entries, "sources": sources }));
    put("data_sources", config.data_sources.iter().map(data_source_json).collect());
    put("endpoints", json!({ "config": config.endpoints.iter().map(endpoint_json).collect::<Vec<_>>() }));
    for (key, json) in config.opaque.iter().filter(|(key, _)| *key != "functions") {
        put(key, json.clone());
    }
    payload
}

/// An entry of `functions/config.json`: what was said, and nothing that says the default.
pub(crate) fn function_json(config: &AppConfig, function: &FunctionConfig) -> Json {
    let mut entry = Map::new();
    entry.insert("name".to_owned(), function.name.clone().into());
    entry.insert("private".to_owned(), function.private.into());
    if function.can_evaluate.as_object().is_none_or(|fields| !fields.is_empty()) {
        entry.insert("can_evaluate".to_owned(), function.can_evaluate.clone());
    }
    if function.disable_arg_logs {
        entry.insert("disable_arg_logs".to_owned(), true.into());
    }
    if function.run_as_system {
        entry.insert("run_as_system".to_owned(), true.into());
    }
    if !function.run_as_user_id.is_empty() {
        entry.insert("run_as_user_id".to_owned(), function.run_as_user_id.clone().into());
    }
    if !function.run_as_user_id_script_source.is_empty() {
        entry.insert("run_as_user_id_script_source".to_owned(), function.run_as_user_id_script_source.clone().into());
    }
    let extra = config.opaque.get("functions").and_then(|all| all.get(&function.name)).and_then(Json::as_object);
    entry.extend(extra.into_iter().flatten().map(|(key, json)| (key.clone(), json.clone())));
    entry.into()
}

/// An entry of `http_endpoints/config.json`.
pub(crate) fn endpoint_json(endpoint: &EndpointConfig) -> Json {
    let mut entry = Map::new();
    let mut put = |key: &str, json: Json| entry.insert(key.to_owned(), json);
    put("route", endpoint.route.clone().into());
    put("http_method", endpoint.method.as_str().into());
    put("function_name", endpoint.function_name.clone().into());
    put("validation_method", endpoint.validation.as_str().into());
    if let Some(name) = &endpoint.secret_name {
        put("secret_name", name.clone().into());
    }
    put("respond_result", endpoint.respond_result.into());
    put("fetch_custom_user_data", endpoint.fetch_custom_user_data.into());
    put("create_user_on_auth", endpoint.create_user_on_auth.into());
    put("disabled", endpoint.disabled.into());
    put("return_type", endpoint.return_type.as_str().into());
    if let Some(expression) = &endpoint.can_evaluate {
        put("can_evaluate", expression.clone());
    }
    entry.extend(endpoint.extra.iter().map(|(key, json)| (key.clone(), json.clone())));
    entry.into()
}

pub(crate) fn value_json(value: &Value) -> Json {
    json!({ "name": value.name, "value": value.value, "private": value.private, "from_secret": value.from_secret })
}

fn data_source_json(source: &DataSource) -> Json {
    let mut entry = Map::new();
    entry.insert("config".to_owned(), source.config.clone());
    if let Some(rule) = &source.default_rule {
        entry.insert("default_rule".to_owned(), rule.clone());
    }
    entry.insert("rules".to_owned(), source.rules.clone().into());
    entry.into()
}

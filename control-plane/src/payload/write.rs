//! Configuration to JSON, in a key order that never changes, so that two exports of one app differ only where the app
//! does.

use serde_json::{Map, Value as Json, json};

use storage::model::{AppConfig, DataSource, EndpointConfig, FunctionConfig, ReturnType, Value};

/// Opaque parts that are written with the entities they belong to.
pub(crate) const BESIDE_ENTITIES: &[&str] = &["functions", "environments"];

/// The whole configuration in the shape of an import, without the app's own record (name, region).
pub fn write(config: &AppConfig) -> Map<String, Json> {
    let mut payload = Map::new();
    let mut put = |key: &str, json: Json| payload.insert(key.to_owned(), json);
    put("environment", config.environment.tag().into());
    put("allowed_request_origins", config.allowed_request_origins.clone().into());
    let environments: Map<String, Json> = config
        .environments
        .iter()
        .map(|(stem, values)| (format!("{stem}.json"), environment_json(config, stem, values)))
        .collect();
    put("environments", environments.into());
    put("values", config.values.iter().map(|value| value_json(value, Form::AsWritten)).collect());
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
    let entries: Vec<Json> = declared.map(|function| function_json(config, function, Form::AsWritten)).collect();
    put("functions", json!({ "config": entries, "sources": sources }));
    put("data_sources", config.data_sources.iter().map(data_source_json).collect());
    let endpoints = config.endpoints.iter().map(|endpoint| endpoint_json(endpoint, Form::AsWritten));
    put("endpoints", json!({ "config": endpoints.collect::<Vec<_>>() }));
    for (key, json) in config.opaque.iter().filter(|(key, _)| !BESIDE_ENTITIES.contains(&key.as_str())) {
        put(key, json.clone());
    }
    payload
}

/// How much of an entity is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// What its file said, and what differs from the defaults.
    AsWritten,
    /// Every key, so that two entities can be compared.
    Whole,
}

/// An entry in the making. Known keys come first and in one order, then those nothing acts on.
struct Entry<'a> {
    fields: Map<String, Json>,
    written: &'a [String],
    form: Form,
}

impl<'a> Entry<'a> {
    fn new(form: Form, written: &'a [String]) -> Self {
        Self { fields: Map::new(), written, form }
    }

    fn always(&mut self, key: &str, json: impl Into<Json>) {
        self.fields.insert(key.to_owned(), json.into());
    }

    fn unless_default(&mut self, key: &str, json: impl Into<Json>, is_default: bool) {
        if self.form == Form::Whole || !is_default || self.written.iter().any(|written| written == key) {
            self.always(key, json);
        }
    }

    fn flag(&mut self, key: &str, flag: bool) {
        self.unless_default(key, flag, !flag);
    }

    fn text(&mut self, key: &str, text: &str) {
        self.unless_default(key, text, text.is_empty());
    }

    fn rest(mut self, extra: &Map<String, Json>) -> Json {
        self.fields.extend(extra.iter().map(|(key, json)| (key.clone(), json.clone())));
        self.fields.into()
    }
}

/// An entry of `functions/config.json`.
pub(crate) fn function_json(config: &AppConfig, function: &FunctionConfig, form: Form) -> Json {
    let mut entry = Entry::new(form, &function.written);
    entry.always("name", function.name.clone());
    entry.flag("private", function.private);
    let always_true = function.can_evaluate.as_object().is_some_and(Map::is_empty);
    entry.unless_default("can_evaluate", function.can_evaluate.clone(), always_true);
    entry.flag("disable_arg_logs", function.disable_arg_logs);
    entry.flag("run_as_system", function.run_as_system);
    entry.text("run_as_user_id", &function.run_as_user_id);
    entry.text("run_as_user_id_script_source", &function.run_as_user_id_script_source);
    let extra = config.opaque.get("functions").and_then(|all| all.get(&function.name)).and_then(Json::as_object);
    entry.rest(extra.unwrap_or(&Map::new()))
}

/// An entry of `http_endpoints/config.json`. What App Services documents as required is always there.
pub(crate) fn endpoint_json(endpoint: &EndpointConfig, form: Form) -> Json {
    let mut entry = Entry::new(form, &endpoint.written);
    entry.always("route", endpoint.route.clone());
    entry.always("http_method", endpoint.method.as_str());
    entry.always("function_name", endpoint.function_name.clone());
    entry.always("validation_method", endpoint.validation.as_str());
    // Without a secret there is nothing to name, in whichever form.
    if endpoint.secret_name.is_some() || entry.written.iter().any(|written| written == "secret_name") {
        entry.text("secret_name", endpoint.secret_name.as_deref().unwrap_or_default());
    }
    entry.always("respond_result", endpoint.respond_result);
    entry.flag("fetch_custom_user_data", endpoint.fetch_custom_user_data);
    entry.flag("create_user_on_auth", endpoint.create_user_on_auth);
    entry.always("disabled", endpoint.disabled);
    let is_default = endpoint.return_type == ReturnType::default();
    entry.unless_default("return_type", endpoint.return_type.as_str(), is_default);
    if let Some(expression) = &endpoint.can_evaluate {
        entry.always("can_evaluate", expression.clone());
    }
    entry.rest(&endpoint.extra)
}

/// One of `values/*.json`.
pub(crate) fn value_json(value: &Value, form: Form) -> Json {
    let mut entry = Entry::new(form, &value.written);
    entry.always("name", value.name.clone());
    entry.always("value", value.value.clone());
    entry.flag("private", value.private);
    entry.flag("from_secret", value.from_secret);
    entry.rest(&value.extra)
}

/// One of `environments/*.json`.
pub(crate) fn environment_json(config: &AppConfig, stem: &str, values: &Map<String, Json>) -> Json {
    let mut content = Map::new();
    content.insert("values".to_owned(), Json::Object(values.clone()));
    let extra = config.opaque.get("environments").and_then(|all| all.get(stem)).and_then(Json::as_object);
    content.extend(extra.into_iter().flatten().map(|(key, json)| (key.clone(), json.clone())));
    content.into()
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

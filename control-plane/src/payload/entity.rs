//! One entity of a configuration at a time: an entry of a file, as imports and the Admin API send it.
//!
//! In: JSON, and what errors call the place it came from. Out: the entity, with a stand-in for what was broken, and the
//! problems. What nothing acts on is kept beside it, and so is which keys were written.

use serde_json::{Map, Value as Json};

use storage::model::{
    DataSource, EndpointConfig, EndpointId, FunctionConfig, FunctionId, MethodFilter, ReturnType, ServiceId,
    Validation, Value, ValueId,
};

use super::Problems;
use super::read::{array, is_empty};

/// Keys an instance gives its entities; another instance's mean nothing here.
const INSTANCE_KEYS: &[&str] = &["id", "_id", "last_modified", "function_id", "secret_id"];

/// One entry of `functions/config.json`, with the keys that nothing acts on beside it. The source is not looked for.
pub(crate) fn function_from(entry: &Json, file: &str, problems: &mut Problems) -> (FunctionConfig, Map<String, Json>) {
    let mut fields = Fields::of(entry, file, problems);
    let function = FunctionConfig {
        written: fields.written(),
        name: fields.required_text("name"),
        private: fields.flag("private"),
        can_evaluate: fields.json("can_evaluate").unwrap_or_else(|| Json::Object(Map::new())),
        run_as_system: fields.flag("run_as_system"),
        run_as_user_id: fields.text("run_as_user_id").unwrap_or_default(),
        run_as_user_id_script_source: fields.text("run_as_user_id_script_source").unwrap_or_default(),
        disable_arg_logs: fields.flag("disable_arg_logs"),
        ..blank_function()
    };
    let mut extra = fields.rest();
    extra.shift_remove("source");
    (function, extra)
}

/// A function as `functions/config.json` leaves it when it says nothing.
pub(super) fn blank_function() -> FunctionConfig {
    FunctionConfig {
        id: FunctionId::new(),
        name: String::new(),
        source: String::new(),
        private: false,
        can_evaluate: Json::Object(Map::new()),
        run_as_system: false,
        run_as_user_id: String::new(),
        run_as_user_id_script_source: String::new(),
        disable_arg_logs: false,
        declared: true,
        written: Vec::new(),
        last_modified: 0,
    }
}

/// One entry of `http_endpoints/config.json`.
pub(crate) fn endpoint_from(entry: &Json, file: &str, problems: &mut Problems) -> EndpointConfig {
    let mut fields = Fields::of(entry, file, problems);
    let alias = fields.json("verification_method");
    if let (None, Some(alias)) = (fields.map.get("validation_method"), alias) {
        fields.map.insert("validation_method".to_owned(), alias);
    }
    let written = fields.written();
    let route = fields.required_text("route");
    let method = fields.word("http_method", MethodFilter::parse, "GET, POST, PUT, PATCH, DELETE or *");
    let function_name = fields.required_text("function_name");
    let validation =
        fields.word("validation_method", Validation::parse, "NO_VALIDATION, SECRET_AS_QUERY_PARAM or VERIFY_PAYLOAD");
    let return_type = match fields.text("return_type") {
        None => ReturnType::default(),
        Some(text) => ReturnType::parse(&text).unwrap_or_else(|| {
            fields.problem(format!("return_type: '{text}' is not one of JSON or EJSON"));
            ReturnType::default()
        }),
    };
    EndpointConfig {
        id: EndpointId::new(),
        route,
        method: method.unwrap_or(MethodFilter::Any),
        function_name,
        validation: validation.unwrap_or(Validation::None),
        secret_name: fields.text("secret_name").filter(|name| !name.is_empty()),
        respond_result: fields.flag("respond_result"),
        fetch_custom_user_data: fields.flag("fetch_custom_user_data"),
        create_user_on_auth: fields.flag("create_user_on_auth"),
        disabled: fields.flag("disabled"),
        return_type,
        can_evaluate: fields.json("can_evaluate"),
        written,
        extra: fields.rest(),
    }
}

/// One of `values/*.json`.
pub(crate) fn value_from(entry: &Json, file: &str, problems: &mut Problems) -> Value {
    let mut fields = Fields::of(entry, file, problems);
    Value {
        id: ValueId::new(),
        written: fields.written(),
        name: fields.required_text("name"),
        private: fields.flag("private"),
        from_secret: fields.flag("from_secret"),
        value: fields.json("value").unwrap_or(Json::Null),
        extra: fields.rest(),
    }
}

/// One authentication provider, with its name and type filled in from each other.
pub(crate) fn provider_from(
    entry: &Json,
    name: Option<&str>,
    file: &str,
    problems: &mut Problems,
) -> Map<String, Json> {
    let fields = Fields::of(entry, file, problems);
    let mut provider = fields.rest();
    let text = |provider: &Map<String, Json>, key: &str| provider.get(key).and_then(Json::as_str).map(str::to_owned);
    let name = name.map(str::to_owned).or_else(|| text(&provider, "name")).or_else(|| text(&provider, "type"));
    let Some(name) = name else {
        problems.add(file, "a provider needs a name");
        return provider;
    };
    if text(&provider, "type").is_none() {
        provider.insert("type".to_owned(), Json::String(name.clone()));
    }
    provider.insert("name".to_owned(), Json::String(name));
    provider
}

/// One of `data_sources/*`: `{config, default_rule, rules}`.
pub(crate) fn data_source_from(entry: &Json, index: usize, problems: &mut Problems) -> Option<DataSource> {
    // Some senders have `{name, type, config, rules}` where files have `{config: {name, type, config}, rules}`.
    let mut flat = entry.as_object().cloned().unwrap_or_default();
    flat.retain(|key, _| !matches!(key.as_str(), "default_rule" | "rules"));
    let flat = Json::Object(flat);
    let inner = entry.get("config").filter(|config| config.is_object()).unwrap_or(&Json::Null);
    let config = if inner.get("name").is_none() && flat.get("name").is_some() { &flat } else { inner };
    let name = config.get("name").and_then(Json::as_str).unwrap_or_default();
    if name.is_empty() {
        problems.add(format_args!("data_sources[{index}]/config.json"), "name: missing");
        return None;
    }
    let mut config = config.as_object().cloned().unwrap_or_default();
    config.retain(|key, _| !matches!(key.as_str(), "id" | "_id" | "last_modified"));
    let without_ids = |json: &Json| match json {
        Json::Object(fields) => {
            let kept = fields.iter().filter(|(key, _)| !matches!(key.as_str(), "id" | "_id"));
            Json::Object(kept.map(|(key, value)| (key.clone(), value.clone())).collect())
        }
        other => other.clone(),
    };
    Some(DataSource {
        id: ServiceId::new(),
        name: name.to_owned(),
        kind: config.get("type").and_then(Json::as_str).unwrap_or("mongodb-atlas").to_owned(),
        default_rule: entry.get("default_rule").filter(|rule| !is_empty(rule)).map(without_ids),
        rules: array(entry.get("rules")).iter().map(without_ids).collect(),
        config: Json::Object(config),
    })
}

/// The fields of one entry, taken out one by one; what stays was not understood.
struct Fields<'a> {
    map: Map<String, Json>,
    file: &'a str,
    problems: &'a mut Problems,
}

impl<'a> Fields<'a> {
    fn of(entry: &Json, file: &'a str, problems: &'a mut Problems) -> Self {
        let map = entry.as_object().cloned().unwrap_or_else(|| {
            problems.add(file, "must be an object");
            Map::new()
        });
        Self { map, file, problems }
    }

    /// The keys that are there, without those an instance adds.
    fn written(&self) -> Vec<String> {
        let said = self.map.iter().filter(|(key, json)| !json.is_null() && !INSTANCE_KEYS.contains(&key.as_str()));
        let mut written: Vec<String> = said.map(|(key, _)| key.clone()).collect();
        // Which they are counts, not the order they came in.
        written.sort_unstable();
        written
    }

    fn problem(&mut self, reason: String) {
        self.problems.add(self.file, reason);
    }

    /// The field, unless it is missing or null.
    fn json(&mut self, key: &str) -> Option<Json> {
        self.map.shift_remove(key).filter(|json| !json.is_null())
    }

    fn text(&mut self, key: &str) -> Option<String> {
        match self.json(key)? {
            Json::String(text) => Some(text),
            _ => {
                self.problem(format!("{key}: must be a string"));
                None
            }
        }
    }

    fn required_text(&mut self, key: &str) -> String {
        if self.map.get(key).is_none_or(Json::is_null) {
            self.problem(format!("{key}: missing"));
        }
        self.text(key).unwrap_or_default()
    }

    fn flag(&mut self, key: &str) -> bool {
        match self.json(key) {
            None => false,
            Some(Json::Bool(flag)) => flag,
            Some(_) => {
                self.problem(format!("{key}: must be true or false"));
                false
            }
        }
    }

    /// One of a few words; a missing one is a problem too.
    fn word<T>(&mut self, key: &str, parse: impl Fn(&str) -> Option<T>, words: &str) -> Option<T> {
        let text = self.required_text(key);
        let word = parse(&text);
        if word.is_none() && !text.is_empty() {
            self.problem(format!("{key}: '{text}' is not one of {words}"));
        }
        word
    }

    fn rest(mut self) -> Map<String, Json> {
        self.map.retain(|key, _| !INSTANCE_KEYS.contains(&key.as_str()));
        self.map
    }
}

//! JSON to configuration, forgiving where senders are known to differ: keys may be missing, `null` or empty, lists of
//! entities may be arrays or objects, paths may be written with backslashes.
//!
//! An entity keeps the id of its namesake in the configuration it replaces. Broken entries are kept with a stand-in for
//! the broken part, so that the indexes in later problems are those of the sender's file.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use storage::model::{
    AppConfig, DataSource, EndpointConfig, EndpointId, Environment, FunctionConfig, FunctionId, MethodFilter,
    ReturnType, ServiceId, Validation, Value, ValueId,
};

use super::{Problems, ensure_api_key_provider};

/// Keys of the payload that are acted on or belong to the app's record; every other key is kept as it came.
const KNOWN_KEYS: &[&str] = &[
    "config_version",
    "app_id",
    "id",
    "_id",
    "client_app_id",
    "name",
    "location",
    "provider_region",
    "deployment_model",
    "environment",
    "allowed_request_origins",
    "security",
    "environments",
    "values",
    "auth",
    "auth_providers",
    "custom_user_data",
    "custom_user_data_config",
    "functions",
    "data_sources",
    "endpoints",
    "secrets",
    "last_modified",
    "domain_id",
    "group_id",
    "product",
    "hosting_enabled",
];

/// Keys an instance gives its entities; another instance's mean nothing here.
const INSTANCE_KEYS: &[&str] = &["id", "_id", "last_modified", "function_id", "secret_id"];

/// What came of reading a payload.
#[derive(Debug, Clone, PartialEq)]
pub struct Read {
    pub config: AppConfig,
    pub problems: Problems,
    pub warnings: Vec<String>,
}

/// Reads an import that replaces `previous`. `now` is in epoch seconds and dates what changed.
pub fn read(payload: &Map<String, Json>, previous: &AppConfig, now: i64) -> Read {
    let mut reader = Reader { previous, now, problems: Problems::default(), warnings: Vec::new() };
    let mut config = AppConfig::default();
    reader.environments(payload, &mut config);
    reader.root(payload, &mut config);
    reader.functions(payload, &mut config);
    reader.endpoints(payload, &mut config);
    reader.values(payload, &mut config);
    reader.auth(payload, &mut config);
    reader.data_sources(payload, &mut config);
    for (key, json) in payload {
        if !KNOWN_KEYS.contains(&key.as_str()) && !is_empty(json) {
            config.opaque.insert(key.clone(), json.clone());
        }
    }
    Read { config, problems: reader.problems, warnings: reader.warnings }
}

struct Reader<'a> {
    previous: &'a AppConfig,
    now: i64,
    problems: Problems,
    warnings: Vec<String>,
}

impl Reader<'_> {
    fn root(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        config.environment = match payload.get("environment") {
            None | Some(Json::Null) => self.previous.environment,
            Some(Json::String(tag)) => match tag.as_str() {
                "no-environment" | "none" => Environment::None,
                tag => Environment::parse(tag).unwrap_or_else(|| {
                    self.problems.add("realm_config.json", format!("environment: '{tag}' is not an environment"));
                    Environment::None
                }),
            },
            Some(_) => {
                self.problems.add("realm_config.json", "environment: must be a string");
                Environment::None
            }
        };
        let security = payload.get("security").and_then(|security| security.get("allowed_request_origins"));
        config.allowed_request_origins = match payload.get("allowed_request_origins").or(security) {
            None | Some(Json::Null) => self.previous.allowed_request_origins.clone(),
            Some(json) => strings(json).unwrap_or_else(|| {
                self.problems.add("realm_config.json", "allowed_request_origins: must be an array of strings");
                Vec::new()
            }),
        };
    }

    fn environments(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        let Some(Json::Object(files)) = payload.get("environments") else {
            return self.unless_absent(payload, "environments", "must be an object");
        };
        for (file, content) in files {
            let stem = file.strip_suffix(".json").unwrap_or(file);
            let found = Environment::ALL.into_iter().find(|one| one.file_stem() == stem || one.tag() == stem);
            let Some(environment) = found else {
                self.problems.add(format_args!("environments/{file}"), "there is no environment of that name");
                continue;
            };
            match content.get("values") {
                Some(Json::Object(values)) => {
                    config.environments.insert(environment.file_stem(), values.clone());
                }
                None | Some(Json::Null) => {
                    config.environments.insert(environment.file_stem(), Map::new());
                }
                Some(_) => self.problems.add(format_args!("environments/{file}"), "values: must be an object"),
            }
        }
    }

    fn functions(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        let mut entries: Vec<(String, Json)> = Vec::new();
        let mut sources: BTreeMap<String, String> = BTreeMap::new();
        match payload.get("functions") {
            None | Some(Json::Null) => {}
            Some(Json::Object(parts)) => {
                if let Some(Json::Object(files)) = parts.get("sources") {
                    for (path, source) in files {
                        self.source(path, source, &mut sources);
                    }
                }
                for (index, entry) in array(parts.get("config")).iter().enumerate() {
                    entries.push((format!("functions/config.json[{index}]"), entry.clone()));
                }
            }
            Some(Json::Array(list)) => {
                for (index, item) in list.iter().enumerate() {
                    let entry = item.get("config").filter(|entry| entry.is_object()).unwrap_or(item).clone();
                    if let (Some(name), Some(source)) =
                        (entry.get("name").and_then(Json::as_str), item.get("source").and_then(Json::as_str))
                    {
                        sources.insert(name.to_owned(), source.to_owned());
                    }
                    entries.push((format!("functions[{index}]"), entry));
                }
            }
            Some(_) => self.problems.add("functions", "must be an object or an array"),
        }

        let mut unused = sources.clone();
        for (file, entry) in entries {
            let (mut function, extra) = function_from(&entry, &file, &mut self.problems);
            match sources.get(&function.name) {
                Some(source) => function.source.clone_from(source),
                None if function.name.is_empty() => {}
                None => {
                    self.problems
                        .add(&file, format!("function '{}' has no source ({})", function.name, function.path()));
                }
            }
            unused.remove(&function.name);
            if !extra.is_empty() {
                let all = config.opaque.entry("functions").or_insert_with(|| Json::Object(Map::new()));
                if let Json::Object(all) = all {
                    all.insert(function.name.clone(), Json::Object(extra));
                }
            }
            config.functions.push(function);
        }
        for (name, source) in unused {
            self.warnings.push(format!(
                "functions/{name}.js has no entry in functions/config.json: clients may call function '{name}'"
            ));
            config.functions.push(FunctionConfig { name, source, declared: false, ..blank_function() });
        }
        for function in &mut config.functions {
            function.last_modified = self.now;
            if let Some(old) = self.previous.functions.iter().find(|old| old.name == function.name) {
                function.id = old.id;
                function.last_modified = old.last_modified;
                if function != old {
                    function.last_modified = self.now;
                }
            }
        }
    }

    fn source(&mut self, path: &str, source: &Json, sources: &mut BTreeMap<String, String>) {
        let path = path.replace('\\', "/");
        let path = path.trim_start_matches("./").trim_start_matches('/');
        match (path.strip_suffix(".js"), source.as_str()) {
            (Some(name), Some(source)) => {
                sources.insert(name.to_owned(), source.to_owned());
            }
            (None, _) => self.warnings.push(format!("functions/{path} is not a .js file and was left out")),
            (_, None) => self.problems.add(format_args!("functions/{path}"), "the source must be a string"),
        }
    }

    fn endpoints(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        let list = match payload.get("endpoints") {
            Some(Json::Array(list)) => Some(list.as_slice()),
            Some(Json::Object(parts)) => match parts.get("config") {
                Some(Json::Array(list)) => Some(list.as_slice()),
                None | Some(Json::Null) => None,
                Some(_) => {
                    self.problems.add("http_endpoints/config.json", "must be an array");
                    Some(&[][..])
                }
            },
            None | Some(Json::Null) => None,
            Some(_) => {
                self.problems.add("endpoints", "must be an object with a 'config' array");
                Some(&[][..])
            }
        };
        // Command lines that look for `http_endpoints/` only do not see a project's `https_endpoints/` and send no
        // endpoints at all. Taking that as "remove them" would silence a whole backend.
        let Some(list) = list else {
            if !self.previous.endpoints.is_empty() {
                self.warnings.push(format!(
                    "the import does not mention endpoints: the {} existing ones are kept",
                    self.previous.endpoints.len()
                ));
            }
            config.endpoints.clone_from(&self.previous.endpoints);
            return;
        };
        for (index, entry) in list.iter().enumerate() {
            let file = format!("http_endpoints/config.json[{index}]");
            let mut endpoint = endpoint_from(entry, &file, &mut self.problems);
            let old = self
                .previous
                .endpoints
                .iter()
                .find(|old| (&old.route, old.method) == (&endpoint.route, endpoint.method));
            if let Some(old) = old {
                endpoint.id = old.id;
            }
            config.endpoints.push(endpoint);
        }
    }

    fn values(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        for (index, entry) in array(payload.get("values")).iter().enumerate() {
            let file = match entry.get("name").and_then(Json::as_str) {
                Some(name) => format!("values/{name}.json"),
                None => format!("values[{index}]"),
            };
            let mut value = value_from(entry, &file, &mut self.problems);
            if let Some(old) = self.previous.values.iter().find(|old| old.name == value.name) {
                value.id = old.id;
            }
            config.values.push(value);
        }
    }

    fn auth(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        let auth = payload.get("auth");
        let part = |name: &str, alias: &str| {
            let inside = auth.and_then(|auth| auth.get(name));
            inside.or_else(|| payload.get(alias)).filter(|json| !is_empty(json))
        };
        match part("providers", "auth_providers") {
            None => {}
            Some(Json::Object(providers)) => {
                for (name, entry) in providers {
                    let provider = provider_from(entry, Some(name), "auth/providers.json", &mut self.problems);
                    config.auth_providers.insert(name.clone(), Json::Object(provider));
                }
            }
            Some(Json::Array(list)) => {
                for (index, entry) in list.iter().enumerate() {
                    let file = format!("auth_providers[{index}]");
                    let provider = provider_from(entry, None, &file, &mut self.problems);
                    if let Some(name) = provider.get("name").and_then(Json::as_str) {
                        config.auth_providers.insert(name.to_owned(), Json::Object(provider.clone()));
                    }
                }
            }
            Some(_) => self.problems.add("auth/providers.json", "must be an object"),
        }
        ensure_api_key_provider(&mut config.auth_providers);
        config.custom_user_data =
            part("custom_user_data", "custom_user_data").or_else(|| payload.get("custom_user_data_config")).cloned();
        config.custom_user_data = config.custom_user_data.take().filter(|json| !is_empty(json));
    }

    fn data_sources(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        for (index, entry) in array(payload.get("data_sources")).iter().enumerate() {
            let Some(mut source) = data_source_from(entry, index, &mut self.problems) else { continue };
            if let Some(old) = self.previous.data_sources.iter().find(|old| old.name == source.name) {
                source.id = old.id;
            }
            config.data_sources.push(source);
        }
    }

    fn unless_absent(&mut self, payload: &Map<String, Json>, key: &str, reason: &str) {
        if payload.get(key).is_some_and(|json| !is_empty(json)) {
            self.problems.add(key, reason);
        }
    }
}

// --------------------------------------------------------------------------------------------------- one entity at a time

/// One entry of `functions/config.json`, with the keys that nothing acts on beside it. The source is not looked for.
pub(crate) fn function_from(entry: &Json, file: &str, problems: &mut Problems) -> (FunctionConfig, Map<String, Json>) {
    let mut fields = Fields::of(entry, file, problems);
    let function = FunctionConfig {
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
fn blank_function() -> FunctionConfig {
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
        last_modified: 0,
    }
}

/// One entry of `http_endpoints/config.json`.
pub(crate) fn endpoint_from(entry: &Json, file: &str, problems: &mut Problems) -> EndpointConfig {
    let mut fields = Fields::of(entry, file, problems);
    let route = fields.required_text("route");
    let method = fields.word("http_method", MethodFilter::parse, "GET, POST, PUT, PATCH, DELETE or *");
    let function_name = fields.required_text("function_name");
    let alias = fields.json("verification_method");
    if let (None, Some(alias)) = (fields.map.get("validation_method"), alias) {
        fields.map.insert("validation_method".to_owned(), alias);
    }
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
        extra: fields.rest(),
    }
}

/// One of `values/*.json`.
pub(crate) fn value_from(entry: &Json, file: &str, problems: &mut Problems) -> Value {
    let mut fields = Fields::of(entry, file, problems);
    Value {
        id: ValueId::new(),
        name: fields.required_text("name"),
        private: fields.flag("private"),
        from_secret: fields.flag("from_secret"),
        value: fields.json("value").unwrap_or(Json::Null),
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
    let config = entry.get("config").filter(|config| config.is_object()).unwrap_or(&Json::Null);
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

fn array(json: Option<&Json>) -> &[Json] {
    json.and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn strings(json: &Json) -> Option<Vec<String>> {
    json.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

fn is_empty(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

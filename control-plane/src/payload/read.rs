//! JSON to configuration, forgiving where senders are known to differ: keys may be missing, `null` or empty, lists of
//! entities may be arrays or objects, paths may be written with backslashes.
//!
//! An entity keeps the id of its namesake in the configuration it replaces. Broken entries are kept with a stand-in for
//! the broken part, so that the indexes in later problems are those of the sender's file.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json, json};

use storage::model::{AppConfig, DataSource, EndpointConfig, Environment, FunctionConfig, SecretText};

use super::entity::{blank_function, data_source_from, endpoint_from, function_from, provider_from, value_from};
use super::legacy::{self, Modern};
use super::{Problems, ensure_api_key_provider};
use crate::layout::{Layout, Places};
use crate::limits::LISTED_MAX;

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

/// Parts that are lists of entities with names, each in a file or directory of its own.
pub(crate) const NAMED_LISTS: &[&str] = &["triggers", "log_forwarders", "services", "http_endpoints"];

/// What came of reading a payload.
#[derive(Debug, Clone)]
pub struct Read {
    pub config: AppConfig,
    pub problems: Problems,
    pub warnings: Vec<String>,
    /// What later problems call the files.
    pub places: Places,
    /// Secrets that came along in clear text, by the names under which the configuration refers to them.
    pub secrets: Vec<(String, SecretText)>,
}

/// Reads an import that replaces `previous`. `now` is in epoch seconds and dates what changed.
pub fn read(payload: &Map<String, Json>, previous: &AppConfig, now: i64) -> Read {
    let mut too_long = Problems::default();
    payload.iter().for_each(|(key, json)| long_lists(key, json, 0, &mut too_long));
    let nothing = Map::new();
    let payload = if too_long.is_empty() { payload } else { &nothing };
    let modern = legacy::modern(payload);
    let mut reader = Reader::new(modern.layout, previous, now);
    reader.problems = too_long;
    reader.problems.extend(modern.problems.clone());
    let mut config = reader.config(&modern);
    canonical(&mut config);
    Read {
        config,
        problems: reader.problems,
        warnings: reader.warnings,
        places: reader.places,
        secrets: modern.secrets,
    }
}

/// Names lists with more entries than anything is allowed to have, down to those of a service or data source.
fn long_lists(at: &str, json: &Json, depth: usize, problems: &mut Problems) {
    const DEPTH_MAX: usize = 3;
    let length = match json {
        Json::Array(items) => items.len(),
        Json::Object(fields) => fields.len(),
        _ => return,
    };
    if length > LISTED_MAX {
        problems.add(at, format!("{length} entries are more than {LISTED_MAX}"));
    } else if depth < DEPTH_MAX {
        match json {
            Json::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    long_lists(&format!("{at}[{index}]"), item, depth + 1, problems);
                }
            }
            Json::Object(fields) => {
                // What a value holds is its author's, however long.
                for (key, item) in fields.iter().filter(|(key, _)| !matches!(key.as_str(), "value" | "values")) {
                    long_lists(&format!("{at}.{key}"), item, depth + 1, problems);
                }
            }
            _ => {}
        }
    }
}

/// Reads a configuration that [`super::write`] wrote: entities stay in their order, and nothing is converted again that
/// somebody may have changed since.
pub(super) fn reread(payload: &Map<String, Json>) -> Result<AppConfig, Problems> {
    let previous = AppConfig::default();
    let mut reader = Reader::new(Layout::default(), &previous, 0);
    let config = reader.config(&Modern { payload: payload.clone(), ..Modern::default() });
    reader.problems.into_result().map(|()| config)
}

/// Entities that lie in files of their own in the order of their names, so that the order in which a sender lists a
/// directory makes no difference. Two of one name are told apart by what they are.
fn canonical(config: &mut AppConfig) {
    config.values.sort_by(|left, right| left.name.cmp(&right.name));
    config.data_sources.sort_by(|left, right| left.name.cmp(&right.name));
    let sort = |items: &mut Vec<Json>, keys: [&str; 2]| {
        let text = |json: &Json, key: &str| {
            let named = json.get("config").filter(|config| config.get(key).is_some()).unwrap_or(json);
            named.get(key).and_then(Json::as_str).unwrap_or_default().to_owned()
        };
        items.sort_by_cached_key(|item| (text(item, keys[0]), text(item, keys[1]), item.to_string()));
    };
    for source in &mut config.data_sources {
        sort(&mut source.rules, ["database", "collection"]);
    }
    // Some senders say what is not there: `"custom_resolvers": null`, `"rules": []`.
    let tidy = |json: &mut Json| {
        if let Json::Object(fields) = json {
            fields.retain(|_, json| !is_empty(json));
        }
    };
    for key in ["graphql", "hosting", "sync"] {
        config.opaque.get_mut(key).map(tidy);
    }
    config.opaque.retain(|_, json| !is_empty(json));
    for key in ["services", "http_endpoints"] {
        let services = config.opaque.get_mut(key).and_then(Json::as_array_mut);
        services.into_iter().flatten().for_each(tidy);
    }
    for key in NAMED_LISTS {
        if let Some(Json::Array(items)) = config.opaque.get_mut(*key) {
            sort(items, ["name", ""]);
        }
    }
    if let Some(Json::Array(resolvers)) =
        config.opaque.get_mut("graphql").and_then(|graphql| graphql.get_mut("custom_resolvers"))
    {
        sort(resolvers, ["on_type", "field_name"]);
    }
}

struct Reader<'a> {
    previous: &'a AppConfig,
    now: i64,
    problems: Problems,
    warnings: Vec<String>,
    places: Places,
}

impl<'a> Reader<'a> {
    fn new(layout: Layout, previous: &'a AppConfig, now: i64) -> Self {
        let places = Places { layout, ..Places::default() };
        Self { previous, now, problems: Problems::default(), warnings: Vec::new(), places }
    }

    fn config(&mut self, modern: &Modern) -> AppConfig {
        let payload = &modern.payload;
        let mut config = AppConfig::default();
        self.environments(payload, &mut config);
        self.root(payload, &mut config);
        self.functions(modern, &mut config);
        self.endpoints(modern, &mut config);
        self.date_functions(&mut config);
        self.values(payload, &mut config);
        self.data_sources(payload, &mut config);
        self.auth(payload, &mut config);
        for (key, json) in payload {
            if !KNOWN_KEYS.contains(&key.as_str()) && !is_empty(json) {
                config.opaque.insert(key.clone(), json.clone());
            }
        }
        config
    }

    fn root(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        let file = self.places.root();
        for key in ["location", "provider_region", "deployment_model"] {
            if payload.get(key).is_some_and(|json| !json.is_null() && !json.is_string()) {
                self.problems.add(file, format!("{key}: must be a string"));
            }
        }
        config.environment = match payload.get("environment") {
            None | Some(Json::Null) => self.previous.environment,
            Some(Json::String(tag)) => match tag.as_str() {
                "no-environment" | "none" => Environment::None,
                tag => Environment::parse(tag).unwrap_or_else(|| {
                    let known = "development, testing, qa and production are";
                    self.problems.add(file, format!("environment: '{tag}' is not an environment; {known}"));
                    Environment::None
                }),
            },
            Some(_) => {
                self.problems.add(file, "environment: must be a string");
                Environment::None
            }
        };
        let security = payload.get("security").and_then(|security| security.get("allowed_request_origins"));
        config.allowed_request_origins = match payload.get("allowed_request_origins").or(security) {
            None | Some(Json::Null) => self.previous.allowed_request_origins.clone(),
            Some(json) => strings(json).unwrap_or_else(|| {
                self.problems.add(file, "allowed_request_origins: must be an array of strings");
                Vec::new()
            }),
        };
    }

    fn environments(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        let Some(Json::Object(files)) = payload.get("environments") else {
            return self.unless_absent(payload, "environments", "must be an object");
        };
        let mut extras = Map::new();
        for (file, content) in files {
            let stem = file.strip_suffix(".json").unwrap_or(file);
            let found = Environment::ALL.into_iter().find(|one| one.file_stem() == stem || one.tag() == stem);
            let place = format!("environments/{stem}.json");
            let Some(environment) = found else {
                let known: Vec<&str> = Environment::ALL.into_iter().map(Environment::file_stem).collect();
                self.problems.add(place, format!("is not an environment; there are {}", known.join(", ")));
                continue;
            };
            if !content.is_object() && !content.is_null() {
                self.problems.add(place, "must be an object");
                continue;
            }
            match content.get("values") {
                Some(Json::Object(values)) => {
                    config.environments.insert(environment.file_stem(), values.clone());
                }
                None | Some(Json::Null) => {
                    config.environments.insert(environment.file_stem(), Map::new());
                }
                Some(_) => self.problems.add(place, "values: must be an object of names and values"),
            }
            let mut extra = content.as_object().cloned().unwrap_or_default();
            extra.shift_remove("values");
            if !extra.is_empty() {
                extras.insert(environment.file_stem().to_owned(), Json::Object(extra));
            }
        }
        if !extras.is_empty() {
            config.opaque.insert("environments".to_owned(), Json::Object(extras));
        }
    }

    fn functions(&mut self, modern: &Modern, config: &mut AppConfig) {
        let mut entries: &[Json] = &[];
        let mut sources: BTreeMap<String, String> = BTreeMap::new();
        match modern.payload.get("functions") {
            None | Some(Json::Null) => {}
            Some(Json::Object(parts)) => {
                match parts.get("sources") {
                    Some(Json::Object(files)) => {
                        for (path, source) in files {
                            self.source(path, source, &mut sources);
                        }
                    }
                    None | Some(Json::Null) => {}
                    Some(_) => self.problems.add("functions.sources", "must be an object of paths and sources"),
                }
                entries = array(parts.get("config"));
                if parts.get("config").is_some_and(|config| !config.is_array() && !is_empty(config)) {
                    self.problems.add("functions/config.json", "must be an array");
                }
            }
            Some(_) => self.problems.add("functions", "must be an object or an array"),
        }

        let mut unused = sources.clone();
        for (index, entry) in entries.iter().enumerate() {
            let file = modern.functions.get(index).cloned();
            let file = file.unwrap_or_else(|| format!("functions/config.json[{index}]"));
            let (mut function, extra) = function_from(entry, &file, &mut self.problems);
            match sources.get(&function.name) {
                Some(source) => function.source.clone_from(source),
                None if function.name.is_empty() => {}
                None => {
                    self.problems
                        .add(&file, format!("function '{}' has no source ({})", function.name, function.path()));
                }
            }
            unused.remove(&function.name);
            keep_extra(config, "functions", &function.name, extra);
            self.places.functions.push(file);
            config.functions.push(function);
        }
        for (name, source) in unused {
            let function = FunctionConfig { name, source, declared: false, ..blank_function() };
            self.places.functions.push(function.path());
            config.functions.push(function);
        }
    }

    /// A function keeps the id of its namesake, and the date when nothing about it changed.
    fn date_functions(&mut self, config: &mut AppConfig) {
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
                if sources.insert(name.to_owned(), source.to_owned()).is_some() {
                    self.problems.add(format_args!("functions/{path}"), "there are two sources of this name");
                }
            }
            (None, _) => self.warnings.push(format!("functions/{path} is not a .js file and was left out")),
            (_, None) => self.problems.add(format_args!("functions/{path}"), "the source must be a string"),
        }
    }

    fn endpoints(&mut self, modern: &Modern, config: &mut AppConfig) {
        let named = modern.payload.get("endpoints").and_then(|endpoints| endpoints.get("file")).and_then(Json::as_str);
        let folders = [Layout::Current, Layout::V20210101].map(Layout::endpoints);
        let folder = named.and_then(|file| file.strip_suffix("/config.json"));
        self.places.folder = folders.into_iter().find(|known| Some(*known) == folder);
        let file = self.places.endpoints();
        let list = match modern.payload.get("endpoints") {
            Some(Json::Array(list)) => Some(list.as_slice()),
            Some(Json::Object(parts)) => match parts.get("config") {
                Some(Json::Array(list)) => Some(list.as_slice()),
                None | Some(Json::Null) => None,
                Some(_) => {
                    self.problems.add(&file, "must be an array");
                    Some(&[][..])
                }
            },
            None | Some(Json::Null) => None,
            Some(_) => {
                self.problems.add("endpoints", "must be an object with a 'config' array");
                Some(&[][..])
            }
        };
        match list {
            Some(list) => {
                for (index, entry) in list.iter().enumerate() {
                    let place = format!("{file}[{index}]");
                    let endpoint = endpoint_from(entry, &place, &mut self.problems);
                    self.add_endpoint(config, endpoint, place);
                }
            }
            None => self.keep_endpoints(modern, config),
        }
        for webhook in &modern.webhooks {
            self.webhook(webhook, config, list.is_some());
        }
    }

    fn add_endpoint(&mut self, config: &mut AppConfig, mut endpoint: EndpointConfig, place: String) {
        let same = |old: &&EndpointConfig| (&old.route, old.method) == (&endpoint.route, endpoint.method);
        if let Some(old) = self.previous.endpoints.iter().find(same) {
            endpoint.id = old.id;
        }
        self.places.endpoints.push(place);
        config.endpoints.push(endpoint);
    }

    /// Command lines that look for `http_endpoints/` only do not see a project's `https_endpoints/` and send no
    /// endpoints at all; the oldest ones know webhooks only. Taking that as "remove them" would silence a whole backend.
    fn keep_endpoints(&mut self, modern: &Modern, config: &mut AppConfig) {
        let of_webhook = |one: &EndpointConfig| one.route.strip_prefix('/') == Some(one.function_name.as_str());
        // What came from a webhook last time comes from it again, or goes with it.
        let from_webhooks = self.places.layout.is_old() || !modern.webhooks.is_empty();
        let kept: Vec<&EndpointConfig> =
            self.previous.endpoints.iter().filter(|one| !(from_webhooks && of_webhook(one))).collect();
        if kept.is_empty() {
            return;
        }
        self.warnings.push(format!("the import does not mention endpoints: the {} existing ones are kept", kept.len()));
        for endpoint in kept {
            let place = format!("the kept endpoint '{} {}'", endpoint.method.as_str(), endpoint.route);
            self.places.endpoints.push(place);
            config.endpoints.push(endpoint.clone());
        }
    }

    /// A webhook that an earlier export already shows as an endpoint is that endpoint; otherwise it becomes one.
    fn webhook(&mut self, webhook: &legacy::Webhook, config: &mut AppConfig, endpoints_given: bool) {
        let place = &webhook.place;
        let endpoint = endpoint_from(&webhook.endpoint, place, &mut self.problems);
        let named = format!("{} {}", endpoint.method.as_str(), endpoint.route);
        let same = |old: &&EndpointConfig| (&old.route, old.method) == (&endpoint.route, endpoint.method);
        if let Some(position) = config.endpoints.iter().position(|one| same(&one)) {
            if config.endpoints[position].function_name != endpoint.function_name || !endpoints_given {
                let other = self.places.endpoint(position).to_owned();
                self.problems.add(place, format!("it would be endpoint '{named}', which there is already ({other})"));
            }
            let function = config.functions.iter().find(|function| function.name == endpoint.function_name);
            if let Some(function) = function.filter(|function| function.source != webhook.source) {
                let path = function.path();
                self.warnings.push(format!("{place}: its source.js is not used: endpoint '{named}' runs {path}"));
            }
            return;
        }
        let (mut function, extra) = function_from(&webhook.function, place, &mut self.problems);
        function.source.clone_from(&webhook.source);
        match config.functions.iter().find(|other| other.name == function.name) {
            Some(other) if other.source == function.source => {}
            Some(other) => {
                let path = other.path();
                self.problems
                    .add(place, format!("it would be function '{}', which there is already ({path})", other.name));
                return;
            }
            None => {
                keep_extra(config, "functions", &function.name, extra);
                self.places.functions.push(place.clone());
                config.functions.push(function);
            }
        }
        self.warnings.push(format!("{place}: this webhook is served as endpoint '{named}'"));
        self.warnings.extend(webhook.note.clone());
        self.add_endpoint(config, endpoint, place.clone());
    }

    fn values(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        if payload.get("values").is_some_and(|values| !values.is_array()) {
            self.unless_absent(payload, "values", "must be an array");
        }
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
        if auth.is_some_and(|auth| !auth.is_object()) {
            self.unless_absent(payload, "auth", "must be an object");
        }
        let part = |name: &str, alias: &str| {
            let inside = auth.and_then(|auth| auth.get(name));
            inside.or_else(|| payload.get(alias)).filter(|json| !is_empty(json))
        };
        match part("providers", "auth_providers") {
            None => {}
            Some(Json::Object(providers)) => {
                for (name, entry) in providers {
                    let file = self.places.provider(name);
                    let provider = provider_from(entry, Some(name), &file, &mut self.problems);
                    config.auth_providers.insert(name.clone(), Json::Object(provider));
                }
            }
            Some(Json::Array(list)) => {
                for (index, entry) in list.iter().enumerate() {
                    let file = match entry.get("name").and_then(Json::as_str) {
                        Some(name) => self.places.provider(name),
                        None => format!("auth_providers[{index}]"),
                    };
                    let provider = provider_from(entry, None, &file, &mut self.problems);
                    if let Some(name) = provider.get("name").and_then(Json::as_str) {
                        config.auth_providers.insert(name.to_owned(), Json::Object(provider.clone()));
                    }
                }
            }
            Some(_) => self.problems.add("auth/providers.json", "must be an object"),
        }
        ensure_api_key_provider(&mut config.auth_providers);
        let custom = part("custom_user_data", "custom_user_data").or_else(|| payload.get("custom_user_data_config"));
        config.custom_user_data = custom.filter(|json| !is_empty(json)).cloned();
        if let Some(Json::Object(custom)) = &mut config.custom_user_data {
            self.name_the_service(payload, &config.data_sources, custom);
        }
    }

    /// Some exports name the data source of custom user data by an id, which means nothing in another app. The data
    /// source that came with that id is meant, or the only one there is.
    fn name_the_service(
        &mut self,
        payload: &Map<String, Json>,
        sources: &[DataSource],
        custom: &mut Map<String, Json>,
    ) {
        let Some(Json::String(id)) = custom.shift_remove("mongo_service_id") else { return };
        if id.is_empty() || custom.get("mongo_service_name").and_then(Json::as_str).is_some_and(|name| !name.is_empty())
        {
            return;
        }
        let came_as =
            |config: &Json| ["id", "_id"].iter().any(|key| config.get(key).and_then(Json::as_str) == Some(&id));
        let came = array(payload.get("data_sources"))
            .iter()
            .filter_map(|source| source.get("config"))
            .find(|one| came_as(one));
        let named = came.and_then(|config| config.get("name")).and_then(Json::as_str).map(str::to_owned);
        let ours = sources.iter().find(|source| source.id.to_hex() == id).map(|source| source.name.clone());
        let only = match sources {
            [only] => Some(only.name.clone()),
            _ => None,
        };
        match named.or(ours).or(only) {
            Some(name) => {
                custom.insert("mongo_service_name".to_owned(), name.into());
            }
            None => {
                let reason = format!(
                    "mongo_service_id: '{id}' is not a data source of this app; name one in mongo_service_name"
                );
                self.problems.add(self.places.custom_user_data(), reason);
            }
        }
    }

    fn data_sources(&mut self, payload: &Map<String, Json>, config: &mut AppConfig) {
        if payload.get("data_sources").is_some_and(|sources| !sources.is_array()) {
            self.unless_absent(payload, "data_sources", "must be an array");
        }
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

/// Keeps what nothing acts on beside an entity that has no room for it.
fn keep_extra(config: &mut AppConfig, part: &str, name: &str, extra: Map<String, Json>) {
    if extra.is_empty() {
        return;
    }
    let all = config.opaque.entry(part).or_insert_with(|| json!({}));
    if let Json::Object(all) = all {
        all.insert(name.to_owned(), Json::Object(extra));
    }
}

pub(super) fn array(json: Option<&Json>) -> &[Json] {
    json.and_then(Json::as_array).map_or(&[], Vec::as_slice)
}

fn strings(json: &Json) -> Option<Vec<String>> {
    json.as_array()?.iter().map(|item| item.as_str().map(str::to_owned)).collect()
}

pub(super) fn is_empty(json: &Json) -> bool {
    match json {
        Json::Null => true,
        Json::Array(items) => items.is_empty(),
        Json::Object(fields) => fields.is_empty(),
        _ => false,
    }
}

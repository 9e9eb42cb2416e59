//! What a change would change, in lines a person reads before pressing Enter.
//!
//! In: two configurations. Out: a [`Change`] per entity that differs, none when the second would serve exactly what the
//! first does; and for changed sources the lines that differ.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;

use serde_json::{Map, Value as Json};

use storage::model::{AppConfig, DataSource, EndpointConfig, FunctionConfig};

use crate::payload::{BESIDE_ENTITIES, Form, NAMED_LISTS, endpoint_json, environment_json, function_json, value_json};
use crate::unified;

/// One entity that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// `function`, `auth provider`; empty for a part that is the only one of its kind.
    pub what: &'static str,
    pub name: String,
    pub how: How,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum How {
    Added,
    Removed,
    Changed {
        /// The keys that differ.
        keys: Vec<String>,
        /// The lines of its source that differ, as a unified diff; empty when they are the same.
        source: String,
    },
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let how = match self.how {
            How::Added => "added",
            How::Removed => "removed",
            How::Changed { .. } => "changed",
        };
        match self.what {
            "" => write!(f, "{how} {}", self.name)?,
            what => write!(f, "{how} {what} '{}'", self.name)?,
        }
        match &self.how {
            How::Changed { keys, .. } if !keys.is_empty() => write!(f, ": {}", keys.join(", ")),
            _ => Ok(()),
        }
    }
}

/// A line per difference.
pub fn lines(old: &AppConfig, new: &AppConfig) -> Vec<String> {
    changes(old, new).iter().map(Change::to_string).collect()
}

pub fn changes(old: &AppConfig, new: &AppConfig) -> Vec<Change> {
    let mut changes = Vec::new();
    let mut root = |name: String| {
        let how = How::Changed { keys: Vec::new(), source: String::new() };
        changes.push(Change { what: "", name, how });
    };
    if old.environment != new.environment {
        root(format!("environment from '{}' to '{}'", old.environment.tag(), new.environment.tag()));
    }
    if old.allowed_request_origins != new.allowed_request_origins {
        root(format!("allowed_request_origins to {:?}", new.allowed_request_origins));
    }
    compare(&mut changes, "environment values", &environments(old), &environments(new));
    compare(&mut changes, "value", &values(old), &values(new));
    compare(&mut changes, "function", &functions(old), &functions(new));
    compare(&mut changes, "endpoint", &endpoints(old), &endpoints(new));
    compare(&mut changes, "auth provider", &providers(old), &providers(new));
    compare(&mut changes, "", &custom_user_data(old), &custom_user_data(new));
    compare(&mut changes, "data source", &data_sources(old), &data_sources(new));
    compare(&mut changes, "rules for", &rules(old), &rules(new));
    for (key, what) in [
        ("triggers", "trigger"),
        ("log_forwarders", "log forwarder"),
        ("services", "service"),
        ("http_endpoints", "webhook service"),
    ] {
        compare(&mut changes, what, &listed(old, key), &listed(new, key));
    }
    compare(&mut changes, "", &others(old), &others(new));
    changes
}

/// Entities by the name a person knows them by; each entity is its fields.
type Named = BTreeMap<String, BTreeMap<String, Json>>;

fn compare(changes: &mut Vec<Change>, what: &'static str, old: &Named, new: &Named) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let how = match (old.get(name), new.get(name)) {
            (None, Some(_)) => How::Added,
            (Some(_), None) => How::Removed,
            (Some(old), Some(new)) if old != new => changed(name, old, new),
            _ => continue,
        };
        changes.push(Change { what, name: name.clone(), how });
    }
}

fn changed(name: &str, old: &BTreeMap<String, Json>, new: &BTreeMap<String, Json>) -> How {
    let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    let keys = keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).cloned().collect();
    let source = match (old.get("source"), new.get("source")) {
        (Some(Json::String(old)), Some(Json::String(new))) => unified::diff(&format!("functions/{name}.js"), old, new),
        _ => String::new(),
    };
    How::Changed { keys, source }
}

fn fields(json: Json) -> BTreeMap<String, Json> {
    match json {
        Json::Object(fields) => fields.into_iter().collect(),
        other => BTreeMap::from([("content".to_owned(), other)]),
    }
}

fn functions(config: &AppConfig) -> Named {
    let entry = |function: &FunctionConfig| {
        let mut entry = fields(function_json(config, function, Form::Whole));
        entry.insert("source".to_owned(), function.source.clone().into());
        entry.insert("entry in functions/config.json".to_owned(), function.declared.into());
        (function.name.clone(), entry)
    };
    config.functions.iter().map(entry).collect()
}

fn endpoints(config: &AppConfig) -> Named {
    let name = |endpoint: &EndpointConfig| format!("{} {}", endpoint.method.as_str(), endpoint.route);
    let entry = |endpoint: &EndpointConfig| {
        let mut entry = fields(endpoint_json(endpoint, Form::Whole));
        entry.retain(|key, json| key != "secret_name" || *json != "");
        (name(endpoint), entry)
    };
    config.endpoints.iter().map(entry).collect()
}

fn values(config: &AppConfig) -> Named {
    config.values.iter().map(|value| (value.name.clone(), fields(value_json(value, Form::Whole)))).collect()
}

/// Files without any values are scaffolding.
fn environments(config: &AppConfig) -> Named {
    let content = |stem: &str, values: &Map<String, Json>| {
        let mut content = fields(environment_json(config, stem, values));
        if let Some(Json::Object(values)) = content.remove("values") {
            content.extend(values);
        }
        (stem.to_owned(), content)
    };
    let all = config.environments.iter().map(|(stem, values)| content(stem, values));
    all.filter(|(_, content)| !content.is_empty()).collect()
}

fn providers(config: &AppConfig) -> Named {
    config.auth_providers.iter().map(|(name, provider)| (name.clone(), fields(provider.clone()))).collect()
}

fn custom_user_data(config: &AppConfig) -> Named {
    let custom = config.custom_user_data.iter();
    custom.map(|custom| ("auth/custom_user_data.json".to_owned(), fields(custom.clone()))).collect()
}

fn data_sources(config: &AppConfig) -> Named {
    let entry = |source: &DataSource| {
        let mut entry = fields(source.config.clone());
        entry.insert("default_rule".to_owned(), source.default_rule.clone().unwrap_or(Json::Null));
        (source.name.clone(), entry)
    };
    config.data_sources.iter().map(entry).collect()
}

fn rules(config: &AppConfig) -> Named {
    let (mut named, mut apart) = (Named::new(), Apart::default());
    for source in &config.data_sources {
        for rule in &source.rules {
            let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default();
            let name = format!("{}/{}.{}", source.name, text("database"), text("collection"));
            named.insert(apart.name(name), fields(rule.clone()));
        }
    }
    named
}

fn listed(config: &AppConfig, key: &str) -> Named {
    let (mut named, mut apart) = (Named::new(), Apart::default());
    for item in config.opaque.get(key).and_then(Json::as_array).into_iter().flatten() {
        let about = item.get("config").filter(|config| config.get("name").is_some()).unwrap_or(item);
        let name = about.get("name").and_then(Json::as_str).unwrap_or("unnamed");
        named.insert(apart.name(name.to_owned()), fields(item.clone()));
    }
    named
}

/// Tells entities of one name apart: two of them are still two.
#[derive(Default)]
struct Apart(HashMap<String, usize>);

impl Apart {
    fn name(&mut self, name: String) -> String {
        let times = self.0.entry(name.clone()).or_insert(0);
        *times += 1;
        if *times == 1 { name } else { format!("{name} ({times})") }
    }
}

fn others(config: &AppConfig) -> Named {
    let compared = |key: &str| BESIDE_ENTITIES.contains(&key) || NAMED_LISTS.contains(&key);
    let others = config.opaque.iter().filter(|(key, _)| !compared(key));
    others.map(|(key, json)| (key.clone(), fields(json.clone()))).collect()
}

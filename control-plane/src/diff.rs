//! What a change would change, in lines a person reads before pressing Enter.
//!
//! In: two configurations. Out: a line per difference, none when the second would serve exactly what the first does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value as Json;

use storage::model::{AppConfig, EndpointConfig, FunctionConfig};

use crate::payload::{endpoint_json, function_json, value_json};

pub fn lines(old: &AppConfig, new: &AppConfig) -> Vec<String> {
    let mut lines = Vec::new();
    let tag = |config: &AppConfig| format!("'{}'", config.environment.tag());
    if old.environment != new.environment {
        lines.push(format!("changed environment from {} to {}", tag(old), tag(new)));
    }
    if old.allowed_request_origins != new.allowed_request_origins {
        lines.push(format!("changed allowed_request_origins to {:?}", new.allowed_request_origins));
    }
    compare(&mut lines, "environment values", &environments(old), &environments(new));
    compare(&mut lines, "value", &values(old), &values(new));
    compare(&mut lines, "function", &functions(old), &functions(new));
    compare(&mut lines, "endpoint", &endpoints(old), &endpoints(new));
    compare(&mut lines, "auth provider", &providers(old), &providers(new));
    if old.custom_user_data != new.custom_user_data {
        lines.push("changed auth/custom_user_data.json".to_owned());
    }
    compare(&mut lines, "data source", &data_sources(old), &data_sources(new));
    compare(&mut lines, "", &opaque(old), &opaque(new));
    lines
}

/// Entities by the name a person knows them by; each entity is its fields.
type Named = BTreeMap<String, BTreeMap<String, Json>>;

fn compare(lines: &mut Vec<String>, what: &str, old: &Named, new: &Named) {
    let names: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
    for name in names {
        let named = Entity { what, name };
        match (old.get(name), new.get(name)) {
            (None, Some(_)) => lines.push(format!("added {named}")),
            (Some(_), None) => lines.push(format!("removed {named}")),
            (Some(old), Some(new)) if old != new => {
                let keys: BTreeSet<&String> = old.keys().chain(new.keys()).collect();
                let changed: Vec<&str> =
                    keys.into_iter().filter(|key| old.get(*key) != new.get(*key)).map(String::as_str).collect();
                lines.push(format!("changed {named}: {}", changed.join(", ")));
            }
            _ => {}
        }
    }
}

struct Entity<'a> {
    what: &'a str,
    name: &'a str,
}

impl fmt::Display for Entity<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.what {
            "" => f.write_str(self.name),
            what => write!(f, "{what} '{}'", self.name),
        }
    }
}

fn fields(json: Json) -> BTreeMap<String, Json> {
    match json {
        Json::Object(fields) => fields.into_iter().collect(),
        other => BTreeMap::from([("content".to_owned(), other)]),
    }
}

fn functions(config: &AppConfig) -> Named {
    let entry = |function: &FunctionConfig| {
        let mut entry = fields(function_json(config, function));
        entry.insert("source".to_owned(), function.source.clone().into());
        entry.insert("entry in functions/config.json".to_owned(), function.declared.into());
        (function.name.clone(), entry)
    };
    config.functions.iter().map(entry).collect()
}

fn endpoints(config: &AppConfig) -> Named {
    let name = |endpoint: &EndpointConfig| format!("{} {}", endpoint.method.as_str(), endpoint.route);
    config.endpoints.iter().map(|endpoint| (name(endpoint), fields(endpoint_json(endpoint)))).collect()
}

fn values(config: &AppConfig) -> Named {
    config.values.iter().map(|value| (value.name.clone(), fields(value_json(value)))).collect()
}

fn environments(config: &AppConfig) -> Named {
    let filled = config.environments.iter().filter(|(_, values)| !values.is_empty());
    filled.map(|(stem, values)| ((*stem).to_owned(), fields(Json::Object(values.clone())))).collect()
}

fn providers(config: &AppConfig) -> Named {
    config.auth_providers.iter().map(|(name, provider)| (name.clone(), fields(provider.clone()))).collect()
}

fn data_sources(config: &AppConfig) -> Named {
    let entry = |source: &storage::model::DataSource| {
        let mut entry = fields(source.config.clone());
        entry.insert("default_rule".to_owned(), source.default_rule.clone().unwrap_or(Json::Null));
        entry.insert("rules".to_owned(), source.rules.clone().into());
        (source.name.clone(), entry)
    };
    config.data_sources.iter().map(entry).collect()
}

fn opaque(config: &AppConfig) -> Named {
    let others = config.opaque.iter().filter(|(key, _)| *key != "functions");
    others.map(|(key, json)| (key.clone(), fields(json.clone()))).collect()
}

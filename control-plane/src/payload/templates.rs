//! Templates: `"%(%%environment.values.name)"` or `"%(%%values.name)"`, where it is a whole string, stands for a value.
//!
//! In: a configuration as its author wrote it, which is how it is kept, exported and compared. Out: the configuration as
//! it acts, with the values of the app's environment in place; and the templates that stand for nothing. A template
//! inside a longer string, or as a key, is text like any other: App Services replaced whole strings only, and
//! expressions in rules look much alike.

use serde_json::{Map, Value as Json};

use storage::model::{AppConfig, Environment, Value};

const ENVIRONMENT: &str = "%(%%environment.values.";
const VALUES: &str = "%(%%values.";

/// What the templates of one configuration stand for.
#[derive(Debug, Clone, Copy)]
pub struct Templates<'a> {
    environment: Environment,
    named: Option<&'a Map<String, Json>>,
    values: &'a [Value],
}

impl<'a> Templates<'a> {
    pub fn of(config: &'a AppConfig) -> Self {
        let environment = config.environment;
        Self { environment, named: config.environments.get(environment.file_stem()), values: &config.values }
    }

    /// What a string stands for: `None` when it is no template, an error when there is no such value.
    fn meaning(&self, text: &str) -> Option<Result<Json, String>> {
        let inner = |opening: &str| text.strip_prefix(opening).and_then(|rest| rest.strip_suffix(')'));
        if let Some(name) = inner(ENVIRONMENT) {
            let found = self.named.and_then(|named| named.get(name)).cloned();
            let file = self.environment.file_stem();
            return Some(
                found.ok_or_else(|| format!("environments/{file}.json has no value '{name}' for this template")),
            );
        }
        let name = inner(VALUES)?;
        Some(match self.values.iter().find(|value| value.name == name) {
            None => Err(format!("there is no value '{name}' for this template")),
            Some(value) if value.from_secret => {
                Err(format!("value '{name}' holds a secret, which configuration must not show"))
            }
            Some(value) => Ok(self.without_values().fill(&value.value)),
        })
    }

    /// A value may stand for one of the environment and not for another value: two that named each other would never end.
    fn without_values(self) -> Self {
        Self { values: &[], ..self }
    }

    /// Replaces what stands for something; a template that does not stays as it is.
    pub fn fill(&self, json: &Json) -> Json {
        match json {
            Json::String(text) => match self.meaning(text) {
                Some(Ok(found)) => found,
                _ => json.clone(),
            },
            Json::Array(items) => items.iter().map(|item| self.fill(item)).collect(),
            Json::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), self.fill(value))).collect(),
            other => other.clone(),
        }
    }

    fn fill_text(&self, text: &mut String) {
        if let Some(Ok(Json::String(found))) = self.meaning(text) {
            *text = found;
        }
    }

    /// Tells `found` the key and the reason of every template in `json` that stands for nothing.
    pub fn unknown(&self, json: &Json, found: &mut dyn FnMut(&str, String)) {
        self.walk("", json, found);
    }

    // As deep as serde_json let the sender's document be, which is 128.
    fn walk(&self, at: &str, json: &Json, found: &mut dyn FnMut(&str, String)) {
        match json {
            Json::String(text) => {
                if let Some(Err(reason)) = self.meaning(text) {
                    found(at, reason);
                }
            }
            Json::Array(items) => {
                for (index, item) in items.iter().enumerate() {
                    self.walk(&format!("{at}[{index}]"), item, found);
                }
            }
            Json::Object(fields) => {
                for (key, item) in fields {
                    let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    self.walk(&at, item, found);
                }
            }
            _ => {}
        }
    }
}

/// A value's content as functions see it, except that of a secret.
pub fn value_content(value: &Value, config: &AppConfig) -> Json {
    Templates::of(config).without_values().fill(&value.value)
}

/// The configuration as it acts. Values keep their templates: whoever reads one fills it in.
pub fn filled(config: &AppConfig) -> AppConfig {
    let templates = Templates::of(config);
    let mut filled = config.clone();
    for function in &mut filled.functions {
        templates.fill_text(&mut function.run_as_user_id);
        function.can_evaluate = templates.fill(&function.can_evaluate);
    }
    for endpoint in &mut filled.endpoints {
        templates.fill_text(&mut endpoint.route);
        templates.fill_text(&mut endpoint.function_name);
        if let Some(name) = &mut endpoint.secret_name {
            templates.fill_text(name);
        }
        endpoint.can_evaluate = endpoint.can_evaluate.as_ref().map(|rule| templates.fill(rule));
        let extra = endpoint.extra.iter().map(|(key, json)| (key.clone(), templates.fill(json)));
        endpoint.extra = extra.collect();
    }
    for origin in &mut filled.allowed_request_origins {
        templates.fill_text(origin);
    }
    for source in &mut filled.data_sources {
        source.config = templates.fill(&source.config);
        source.default_rule = source.default_rule.as_ref().map(|rule| templates.fill(rule));
        source.rules = source.rules.iter().map(|rule| templates.fill(rule)).collect();
    }
    for provider in filled.auth_providers.values_mut() {
        *provider = templates.fill(provider);
    }
    filled.custom_user_data = filled.custom_user_data.as_ref().map(|custom| templates.fill(custom));
    if let Some(data_api) = filled.opaque.get_mut("data_api_config") {
        *data_api = templates.fill(data_api);
    }
    filled
}

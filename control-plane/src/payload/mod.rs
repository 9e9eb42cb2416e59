//! The JSON an app's configuration travels as: what an import sends, what a deployment keeps, what an export is cut from.
//!
//! In: JSON from strangers, or from our own records. Out: an [`AppConfig`] and everything that was wrong with the JSON,
//! named by file, key and reason; and the way back. What nothing here acts on passes through unchanged.
//!
//! Not here: whether the configuration makes sense as a whole (`check`), and files (`export`).

mod read;
mod stored;
mod write;

use std::fmt;

use serde_json::{Map, Value as Json, json};

use storage::model::AppConfig;

use crate::limits::PROBLEMS_MAX;

pub use read::{Read, read};
pub(crate) use read::{data_source_from, endpoint_from, function_from, provider_from, value_from};
pub use stored::{Stored, keep, recall};
pub use write::write;
pub(crate) use write::{endpoint_json, function_json, value_json};

/// The provider every app has, enabled or not.
pub const API_KEY_PROVIDER: &str = "api-key";

/// Everything that is wrong with a change, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems(Vec<String>);

impl Problems {
    /// `file` is named as in a configuration directory, with an index or key where there is one.
    pub fn add(&mut self, file: impl fmt::Display, reason: impl fmt::Display) {
        self.0.push(format!("error validating {file}: {reason}"));
    }

    /// A problem whose text is known to clients as it is.
    pub fn add_text(&mut self, text: String) {
        self.0.push(text);
    }

    pub fn extend(&mut self, others: Problems) {
        self.0.extend(others.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn into_result(self) -> Result<(), Problems> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    pub fn lines(&self) -> &[String] {
        &self.0
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.0.iter().take(PROBLEMS_MAX).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(line)?;
        }
        match self.0.len().saturating_sub(PROBLEMS_MAX) {
            0 => Ok(()),
            more => write!(f, "\nand {more} more"),
        }
    }
}

impl std::error::Error for Problems {}

/// What a new app has before its first change: the API key provider, switched off.
pub fn initial() -> AppConfig {
    let mut config = AppConfig::default();
    ensure_api_key_provider(&mut config.auth_providers);
    config
}

fn ensure_api_key_provider(providers: &mut Map<String, Json>) {
    if !providers.contains_key(API_KEY_PROVIDER) {
        providers.insert(
            API_KEY_PROVIDER.to_owned(),
            json!({ "name": API_KEY_PROVIDER, "type": API_KEY_PROVIDER, "disabled": true }),
        );
    }
}

/// Whether the API key provider accepts keys at all.
pub fn api_keys_enabled(config: &AppConfig) -> bool {
    let provider = config.auth_providers.get(API_KEY_PROVIDER);
    provider.is_some_and(|provider| provider.get("disabled").and_then(Json::as_bool) == Some(false))
}

/// Replaces `%(%%environment.values.<name>)`, where it is a whole string, by that value of the app's environment.
pub fn expand(json: &Json, config: &AppConfig) -> Json {
    match json {
        Json::String(text) => {
            let name = text.strip_prefix("%(%%environment.values.").and_then(|rest| rest.strip_suffix(')'));
            let values = config.environments.get(config.environment.file_stem());
            match (name, values) {
                (Some(name), Some(values)) => values.get(name).cloned().unwrap_or_else(|| json.clone()),
                _ => json.clone(),
            }
        }
        Json::Array(items) => items.iter().map(|item| expand(item, config)).collect(),
        Json::Object(fields) => fields.iter().map(|(key, value)| (key.clone(), expand(value, config))).collect(),
        other => other.clone(),
    }
}

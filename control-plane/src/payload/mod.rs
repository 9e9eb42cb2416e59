//! The JSON an app's configuration travels as: what an import sends, what a deployment keeps, what an export is cut from.
//!
//! In: JSON from strangers, or from our own records. Out: an [`AppConfig`] and everything that was wrong with the JSON,
//! named by file, key and reason; and the way back. What nothing here acts on passes through unchanged.
//!
//! Not here: whether the configuration makes sense as a whole (`check`), and files (`export`). Configurations are kept as
//! their authors wrote them; [`filled`] puts environment values in place for whoever acts on one.

mod entity;
mod legacy;
mod read;
mod stored;
mod templates;
mod write;

use std::collections::BTreeSet;
use std::fmt;

use serde_json::{Map, Value as Json, json};

use storage::model::AppConfig;

use crate::limits::PROBLEMS_MAX;

pub(crate) use entity::{data_source_from, endpoint_from, function_from, provider_from, value_from};
pub(crate) use read::NAMED_LISTS;
pub use read::{Read, read};
pub use stored::{Stored, keep, recall};
pub(crate) use templates::{Templates, filled, value_content};
pub use write::write;
pub(crate) use write::{BESIDE_ENTITIES, Form, endpoint_json, environment_json, function_json, value_json};

/// The provider every app has, enabled or not.
pub const API_KEY_PROVIDER: &str = "api-key";

/// Every type of authentication provider.
pub const PROVIDERS: &[&str] = &[
    "anon-user",
    "local-userpass",
    API_KEY_PROVIDER,
    "custom-token",
    "custom-function",
    "oauth2-google",
    "oauth2-facebook",
    "oauth2-apple",
];

/// Everything that is wrong with a change, in the order of the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Problems {
    lines: Vec<String>,
    missing_secrets: BTreeSet<String>,
}

impl Problems {
    /// `file` is named as in a configuration directory, with an index or key where there is one.
    pub fn add(&mut self, file: impl fmt::Display, reason: impl fmt::Display) {
        self.lines.push(format!("error validating {file}: {reason}"));
    }

    /// A secret that has to be created first.
    pub fn add_missing_secret(&mut self, file: impl fmt::Display, name: &str) {
        self.add(file, format_args!("secret \"{name}\" not found"));
        self.missing_secrets.insert(name.to_owned());
    }

    /// A problem whose text is known to clients as it is.
    pub fn add_text(&mut self, text: String) {
        self.lines.push(text);
    }

    pub fn extend(&mut self, others: Problems) {
        self.lines.extend(others.lines);
        self.missing_secrets.extend(others.missing_secrets);
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    pub fn into_result(self) -> Result<(), Problems> {
        if self.is_empty() { Ok(()) } else { Err(self) }
    }

    pub fn lines(&self) -> &[String] {
        &self.lines
    }

    /// In the order of their names.
    pub fn missing_secrets(&self) -> impl Iterator<Item = &str> {
        self.missing_secrets.iter().map(String::as_str)
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, line) in self.lines.iter().take(PROBLEMS_MAX).enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(line)?;
        }
        match self.lines.len().saturating_sub(PROBLEMS_MAX) {
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

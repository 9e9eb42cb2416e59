//! Environment templates: `"%(%%environment.values.name)"` as a whole string becomes the value of that name.
//!
//! The root file's `environment` says whose values. A template inside a longer string, or as a key, is text like any
//! other: App Services replaced whole strings only, and expressions in rules look much alike.

use serde_json::{Map, Value as Json};

use super::DirectoryError;

const OPENING: &str = "%(%%environment.values.";

pub struct Templates {
    /// `environments/production.json`, for errors.
    file: String,
    values: Map<String, Json>,
}

impl Templates {
    /// Chooses the values by the root file's `environment`.
    pub fn new(
        root_file: &str,
        root: &Map<String, Json>,
        environments: &Map<String, Json>,
    ) -> Result<Self, DirectoryError> {
        let tag = match root.get("environment") {
            None | Some(Json::Null) => "",
            Some(Json::String(tag)) => tag,
            Some(_) => return Err(DirectoryError::key(root_file, "environment", "must be a string")),
        };
        let Some(environment) = storage::model::Environment::parse(tag) else {
            let reason = format!("'{tag}' is not an environment; development, testing, qa and production are");
            return Err(DirectoryError::key(root_file, "environment", reason));
        };
        let name = format!("{}.json", environment.file_stem());
        let values = environments.get(&name).and_then(|file| file.get("values")).and_then(Json::as_object);
        Ok(Self { file: format!("environments/{name}"), values: values.cloned().unwrap_or_default() })
    }

    pub fn fill(&self, file: &str, object: &mut Map<String, Json>) -> Result<(), DirectoryError> {
        for (key, value) in object {
            self.walk(file, key, value)?;
        }
        Ok(())
    }

    pub fn fill_value(&self, file: &str, value: &mut Json) -> Result<(), DirectoryError> {
        self.walk(file, "", value)
    }

    // As deep as serde_json let the file be, which is 128.
    fn walk(&self, file: &str, at: &str, value: &mut Json) -> Result<(), DirectoryError> {
        match value {
            Json::String(text) => {
                let Some(name) = text.strip_prefix(OPENING).and_then(|rest| rest.strip_suffix(')')) else {
                    return Ok(());
                };
                let Some(found) = self.values.get(name) else {
                    let reason = format!("{} has no value '{name}' for this template", self.file);
                    return Err(DirectoryError::key(file, at, reason));
                };
                *value = found.clone();
            }
            Json::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.walk(file, &format!("{at}[{index}]"), item)?;
                }
            }
            Json::Object(object) => {
                for (key, item) in object {
                    let at = if at.is_empty() { key.clone() } else { format!("{at}.{key}") };
                    self.walk(file, &at, item)?;
                }
            }
            _ => {}
        }
        Ok(())
    }
}

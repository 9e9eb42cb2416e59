//! One JSON object of a configuration file whose keys are looked at one by one: each has a documented type, and a value
//! of another type is a problem that names file, key and what it should have been.
//!
//! Keys that are missing or null are nobody's problem here, and so are keys that nobody asks for.

use serde_json::{Map, Value as Json};

use crate::payload::Problems;

#[derive(Debug, Clone)]
pub struct Object<'a> {
    fields: &'a Map<String, Json>,
    file: &'a str,
    /// The way to it inside the file; empty for the whole.
    at: String,
}

impl<'a> Object<'a> {
    pub fn of(json: &'a Json, file: &'a str, at: &str, problems: &mut Problems) -> Option<Self> {
        match json {
            Json::Object(fields) => Some(Self { fields, file, at: at.to_owned() }),
            _ => {
                let reason = "must be an object";
                match at {
                    "" => problems.add(file, reason),
                    at => problems.add(file, format_args!("{at}: {reason}")),
                }
                None
            }
        }
    }

    /// The way to one of its keys.
    pub fn at(&self, key: &str) -> String {
        if self.at.is_empty() { key.to_owned() } else { format!("{}.{key}", self.at) }
    }

    pub fn problem(&self, key: &str, reason: impl std::fmt::Display, problems: &mut Problems) {
        problems.add(self.file, format_args!("{}: {reason}", self.at(key)));
    }

    pub fn get(&self, key: &str) -> Option<&'a Json> {
        self.fields.get(key).filter(|json| !json.is_null())
    }

    pub fn keys(&self) -> impl Iterator<Item = &'a String> {
        self.fields.keys()
    }

    /// A string with something in it: an empty one says what a missing one says.
    pub fn text(&self, key: &str, problems: &mut Problems) -> Option<&'a str> {
        match self.get(key)? {
            Json::String(text) => Some(text.as_str()).filter(|text| !text.is_empty()),
            _ => {
                self.problem(key, "must be a string", problems);
                None
            }
        }
    }

    pub fn flag(&self, key: &str, problems: &mut Problems) -> Option<bool> {
        match self.get(key)? {
            Json::Bool(flag) => Some(*flag),
            _ => {
                self.problem(key, "must be true or false", problems);
                None
            }
        }
    }

    /// One of a few words.
    pub fn word(&self, key: &str, words: &[&str], problems: &mut Problems) -> Option<&'a str> {
        let text = self.text(key, problems)?;
        if !words.contains(&text) {
            self.problem(key, format_args!("'{text}' is not one of {}", words.join(", ")), problems);
            return None;
        }
        Some(text)
    }

    pub fn object(&self, key: &str, problems: &mut Problems) -> Option<Object<'a>> {
        Self::of(self.get(key)?, self.file, &self.at(key), problems)
    }

    pub fn array(&self, key: &str, problems: &mut Problems) -> &'a [Json] {
        match self.get(key) {
            None => &[],
            Some(Json::Array(items)) => items,
            Some(_) => {
                self.problem(key, "must be an array", problems);
                &[]
            }
        }
    }

    pub fn objects(&self, key: &str, problems: &mut Problems) -> Vec<Object<'a>> {
        let items = self.array(key, problems).iter().enumerate();
        items
            .filter_map(|(index, item)| Self::of(item, self.file, &self.at(&format!("{key}[{index}]")), problems))
            .collect()
    }

    pub fn texts(&self, key: &str, problems: &mut Problems) -> Vec<&'a str> {
        let items = self.array(key, problems);
        if items.iter().any(|item| !item.is_string()) {
            self.problem(key, "must be an array of strings", problems);
        }
        items.iter().filter_map(Json::as_str).collect()
    }
}

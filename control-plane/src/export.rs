//! An app as the files of a configuration directory.
//!
//! In: an app's record and a configuration. Out: paths and contents, in an order that never changes: JSON with four
//! spaces and a newline at the end, sources byte for byte, secrets never. Importing the files again gives the same app.
//!
//! Not here: reading a directory (the command line does that) and who may export.

use std::collections::{HashMap, HashSet};
use std::io::{self, Cursor, Write};

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::Serialize;
use serde_json::{Map, Value as Json};
use zip::write::SimpleFileOptions;

use storage::model::{App, AppConfig};

use crate::layout::Layout;
use crate::payload::{BESIDE_ENTITIES, Form, NAMED_LISTS, endpoint_json, environment_json, function_json, value_json};

/// Parts of the payload that nothing here acts on and that have files of their own. What is left besides them came in
/// the root file.
const PARTS_WITH_FILES: &[&str] = &["graphql", "hosting", "sync", "data_api_config"];

/// All files of an app, the root file first and the others by name. With `source_control` what belongs to this instance
/// alone (its app id) is left out, so that the files can be pushed to another.
pub fn files(app: &App, config: &AppConfig, layout: Layout, source_control: bool) -> Vec<(String, Vec<u8>)> {
    let mut files = Files::default();
    files.json(layout.root_file(), &root(app, config, layout, source_control));
    if let Some(custom) = &config.custom_user_data {
        files.json("auth/custom_user_data.json", custom);
    }
    files.json("auth/providers.json", &Json::Object(config.auth_providers.clone()));
    data_sources(&mut files, config);
    for (stem, values) in &config.environments {
        files.json(&format!("environments/{stem}.json"), &environment_json(config, stem, values));
    }
    let declared = config.functions.iter().filter(|function| function.declared);
    let entries = declared.map(|function| function_json(config, function, Form::AsWritten));
    files.json("functions/config.json", &entries.collect());
    for function in &config.functions {
        files.add(&function.path(), function.source.clone().into_bytes());
    }
    let endpoints = layout.endpoints();
    let entries = config.endpoints.iter().map(|endpoint| endpoint_json(endpoint, Form::AsWritten));
    files.json(&format!("{endpoints}/config.json"), &entries.collect());
    for value in &config.values {
        files.json(&format!("values/{}.json", value.name), &value_json(value, Form::AsWritten));
    }
    kept_as_it_came(&mut files, config, endpoints);
    files.all[1..].sort_by(|left, right| left.0.cmp(&right.0));
    files.all
}

/// The files as one zip archive with the app's directory as its root.
pub fn zip(files: &[(String, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut archive = zip::ZipWriter::new(Cursor::new(Vec::new()));
    for (path, content) in files {
        archive.start_file(path.as_str(), SimpleFileOptions::default())?;
        archive.write_all(content)?;
    }
    Ok(archive.finish()?.into_inner())
}

fn root(app: &App, config: &AppConfig, layout: Layout, source_control: bool) -> Json {
    let mut root = Map::new();
    let mut put = |key: &str, json: Json| root.insert(key.to_owned(), json);
    if let Some(version) = layout.version() {
        put("config_version", version.into());
        if !source_control {
            put("app_id", app.client_app_id.as_str().into());
        }
    }
    put("name", app.name.clone().into());
    if layout == Layout::V20210101 {
        put("location", app.location.clone().into());
    }
    put("provider_region", app.provider_region.to_string().into());
    put("deployment_model", app.deployment_model.as_str().into());
    if !config.environment.tag().is_empty() {
        put("environment", config.environment.tag().into());
    }
    if !config.allowed_request_origins.is_empty() {
        put("allowed_request_origins", config.allowed_request_origins.clone().into());
    }
    let has_files =
        |key: &str| PARTS_WITH_FILES.iter().chain(NAMED_LISTS).chain(BESIDE_ENTITIES).any(|one| *one == key);
    root.extend(config.opaque.iter().filter(|(key, _)| !has_files(key)).map(|(key, json)| (key.clone(), json.clone())));
    root.into()
}

fn data_sources(files: &mut Files, config: &AppConfig) {
    for source in &config.data_sources {
        let folder = format!("data_sources/{}", source.name);
        files.json(&format!("{folder}/config.json"), &source.config);
        if let Some(rule) = &source.default_rule {
            files.json(&format!("{folder}/default_rule.json"), rule);
        }
        for rule in &source.rules {
            collection(files, &folder, rule);
        }
    }
}

/// `rules.json`, `schema.json`, `relationships.json` and `indexes.json` of one collection.
fn collection(files: &mut Files, source: &str, rule: &Json) {
    let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default();
    let named = format!("{source}/{}/{}", text("database"), text("collection"));
    let folder = files.apart(&format!("{source}/{}/{}", plain(text("database")), plain(text("collection"))), "");
    let mut rule = rule.as_object().cloned().unwrap_or_default();
    let schema = rule.shift_remove("schema").filter(|json| !json.is_null());
    let relationships = rule.shift_remove("relationships").filter(|json| !json.is_null());
    let indexes = rule.shift_remove("indexes").filter(|json| !json.is_null());
    // A collection may have come with a schema and relationships only, or with indexes; then there was no file of rules.
    // It is needed where the folder alone would not say which collection this is.
    let has_rules = rule.keys().any(|key| !matches!(key.as_str(), "database" | "collection"));
    let is_complete = indexes.is_some() || (schema.is_some() && relationships.is_some());
    if has_rules || !is_complete || folder != named {
        files.json(&format!("{folder}/rules.json"), &Json::Object(rule));
    }
    if let Some(schema) = schema {
        files.json(&format!("{folder}/schema.json"), &schema);
    }
    if let Some(relationships) = relationships {
        files.json(&format!("{folder}/relationships.json"), &relationships);
    }
    if let Some(indexes) = indexes {
        files.json(&format!("{folder}/indexes.json"), &indexes);
    }
}

/// Parts that nothing here acts on, in the files they came from.
fn kept_as_it_came(files: &mut Files, config: &AppConfig, endpoints: &str) {
    let part = |key: &str| config.opaque.get(key);
    let list = |key: &str| part(key).and_then(Json::as_array).map_or(&[][..], Vec::as_slice);
    for key in ["triggers", "log_forwarders"] {
        for item in list(key) {
            files.named(key, item);
        }
    }
    for (key, file) in [
        ("graphql", "config"),
        ("graphql", "validation_settings"),
        ("hosting", "config"),
        ("hosting", "metadata"),
        ("sync", "config"),
    ] {
        if let Some(content) = part(key).and_then(|part| part.get(file)).filter(|content| !content.is_null()) {
            files.json(&format!("{key}/{file}.json"), content);
        }
    }
    hosted(files, part("hosting"));
    let graphql = |key: &str| part("graphql").and_then(|graphql| graphql.get(key));
    for resolver in graphql("custom_resolvers").and_then(Json::as_array).into_iter().flatten() {
        let text = |key: &str| resolver.get(key).and_then(Json::as_str).unwrap_or_default();
        let name = format!("{}_{}", text("on_type"), text("field_name"));
        files.json_apart("graphql/custom_resolvers", &plain(&name), resolver);
    }
    if let Some(config) = part("data_api_config") {
        files.json(&format!("{endpoints}/data_api_config.json"), config);
    }
    for (key, folder) in [("http_endpoints", endpoints), ("services", "services")] {
        for service in list(key) {
            legacy_service(files, folder, service);
        }
    }
}

/// Files of static hosting, which travel in Base64.
fn hosted(files: &mut Files, hosting: Option<&Json>) {
    let hosted = hosting.and_then(|hosting| hosting.get("files")).and_then(Json::as_object);
    for (path, content) in hosted.into_iter().flatten() {
        let content = content.as_str().and_then(|text| BASE64.decode(text).ok());
        let parts: Vec<String> = path.split('/').filter(|part| !part.is_empty()).map(plain_part).collect();
        if let (Some(content), false) = (content, parts.is_empty()) {
            files.add(&format!("hosting/files/{}", parts.join("/")), content);
        }
    }
}

/// A service of the days before endpoints: its configuration, rules and incoming webhooks.
fn legacy_service(files: &mut Files, folder: &str, service: &Json) {
    let config = service.get("config").unwrap_or(service);
    let name = config.get("name").and_then(Json::as_str).unwrap_or("unnamed");
    let folder = files.apart(&format!("{folder}/{}", plain(name)), "");
    files.json(&format!("{folder}/config.json"), config);
    for rule in service.get("rules").and_then(Json::as_array).into_iter().flatten() {
        files.named(&format!("{folder}/rules"), rule);
    }
    for webhook in service.get("incoming_webhooks").and_then(Json::as_array).into_iter().flatten() {
        let config = webhook.get("config").unwrap_or(webhook);
        let name = config.get("name").and_then(Json::as_str).unwrap_or("unnamed");
        let folder = format!("{folder}/incoming_webhooks/{}", plain(name));
        files.json(&format!("{folder}/config.json"), config);
        if let Some(source) = webhook.get("source").and_then(Json::as_str) {
            files.add(&format!("{folder}/source.js"), source.as_bytes().to_vec());
        }
    }
}

#[derive(Default)]
struct Files {
    all: Vec<(String, Vec<u8>)>,
    /// Every path and every folder on the way to one, in lower case.
    taken: HashSet<String>,
    /// The last number that was put behind a name.
    numbers: HashMap<String, usize>,
}

impl Files {
    fn add(&mut self, path: &str, content: Vec<u8>) {
        let lower = path.to_lowercase();
        let folders = lower.match_indices('/').map(|(at, _)| lower[..at].to_owned());
        self.taken.extend(folders);
        self.taken.insert(lower);
        self.all.push((path.to_owned(), content));
    }

    fn json(&mut self, path: &str, json: &Json) {
        let mut content = Vec::new();
        let indent = serde_json::ser::PrettyFormatter::with_indent(b"    ");
        let mut writer = serde_json::Serializer::with_formatter(&mut content, indent);
        json.serialize(&mut writer).expect("JSON is written to memory, which takes all of it");
        content.push(b'\n');
        self.add(path, content);
    }

    /// `<folder>/<its name>.json`.
    fn named(&mut self, folder: &str, json: &Json) {
        let name = json.get("name").and_then(Json::as_str).unwrap_or("unnamed");
        self.json_apart(folder, &plain(name), json);
    }

    /// `<folder>/<name>.json`, with a number behind the name when another entity has that file.
    fn json_apart(&mut self, folder: &str, name: &str, json: &Json) {
        let path = self.apart(&format!("{folder}/{name}"), ".json");
        self.json(&path, json);
    }

    /// The path, with a number behind it when something else is there. Some file systems do not tell names apart that
    /// differ in case only, so neither do we.
    fn apart(&mut self, path: &str, ending: &str) -> String {
        let first = format!("{path}{ending}");
        if !self.taken.contains(&first.to_lowercase()) {
            return first;
        }
        let number = self.numbers.entry(first.to_lowercase()).or_insert(1);
        loop {
            *number += 1;
            let numbered = format!("{path}-{number}{ending}");
            if !self.taken.contains(&numbered.to_lowercase()) {
                return numbered;
            }
        }
    }
}

/// A name that came from outside as one path component: it must not lead out of its folder, nor be hidden in it.
fn plain(name: &str) -> String {
    let plain = plain_part(name);
    plain.strip_prefix('.').map(|rest| format!("_{rest}")).unwrap_or(plain)
}

/// The same for a part of a hosted file's path, which may be hidden: `.well-known` is.
fn plain_part(name: &str) -> String {
    let plain: String =
        name.chars().map(|one| if matches!(one, '/' | '\\' | ':' | '\0') { '_' } else { one }).collect();
    if plain.chars().all(|one| one == '.') { "_".to_owned() } else { plain }
}

#[cfg(test)]
mod tests;

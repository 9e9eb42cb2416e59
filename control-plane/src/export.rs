//! An app as the files of a configuration directory.
//!
//! In: an app's record and a configuration. Out: paths and contents, in an order that never changes: JSON with four
//! spaces and a newline at the end, sources byte for byte, secrets never. Importing the files again gives the same app.
//!
//! Not here: reading a directory (the command line does that) and who may export.

use std::io::{self, Cursor, Write};

use serde::Serialize;
use serde_json::{Map, Value as Json, json};
use zip::write::SimpleFileOptions;

use storage::model::{App, AppConfig};

use crate::cors;
use crate::payload::{endpoint_json, function_json, value_json};

/// How the files are laid out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// `realm_config.json` and `http_endpoints/`, as `realm-cli` 2 reads and writes it.
    V20210101,
    /// `root_config.json` and `https_endpoints/`, as `appservices` reads and writes it.
    Current,
}

impl Layout {
    /// `?version=` of an export; without one, the layout that both command lines understand.
    pub fn parse(version: Option<&str>) -> Option<Self> {
        match version {
            None | Some("" | "20210101") => Some(Self::V20210101),
            Some("current" | "latest" | "20230101") => Some(Self::Current),
            Some(_) => None,
        }
    }

    fn endpoints(self) -> &'static str {
        match self {
            Self::V20210101 => "http_endpoints",
            Self::Current => "https_endpoints",
        }
    }
}

/// All files of an app. With `source_control` what belongs to this instance alone (its app id) is left out, so that the
/// files can be pushed to another.
pub fn files(app: &App, config: &AppConfig, layout: Layout, source_control: bool) -> Vec<(String, Vec<u8>)> {
    let mut files = Files(Vec::new());
    files.json(root_file(layout), &root(app, config, layout, source_control));
    if let Some(custom) = &config.custom_user_data {
        files.json("auth/custom_user_data.json", custom);
    }
    files.json("auth/providers.json", &Json::Object(config.auth_providers.clone()));
    data_sources(&mut files, config);
    for (stem, values) in &config.environments {
        files.json(&format!("environments/{stem}.json"), &json!({ "values": values }));
    }
    let declared = config.functions.iter().filter(|function| function.declared);
    files.json("functions/config.json", &declared.map(|function| function_json(config, function)).collect());
    for function in &config.functions {
        files.add(&function.path(), function.source.clone().into_bytes());
    }
    let endpoints = layout.endpoints();
    files.json(&format!("{endpoints}/config.json"), &config.endpoints.iter().map(endpoint_json).collect());
    for value in &config.values {
        files.json(&format!("values/{}.json", value.name), &value_json(value));
    }
    kept_as_it_came(&mut files, config, endpoints);
    files.0
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

fn root_file(layout: Layout) -> &'static str {
    match layout {
        Layout::V20210101 => "realm_config.json",
        Layout::Current => "root_config.json",
    }
}

fn root(app: &App, config: &AppConfig, layout: Layout, source_control: bool) -> Json {
    let mut root = Map::new();
    let mut put = |key: &str, json: Json| root.insert(key.to_owned(), json);
    if layout == Layout::V20210101 {
        put("config_version", 20_210_101.into());
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
    if let Some(cors) = config.opaque.get(cors::KEY) {
        put(cors::KEY, cors.clone());
    }
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
            let text = |key: &str| rule.get(key).and_then(Json::as_str).unwrap_or_default();
            let folder = format!("{folder}/{}/{}", plain(text("database")), plain(text("collection")));
            let mut rule = rule.as_object().cloned().unwrap_or_default();
            let schema = rule.shift_remove("schema").filter(|json| !json.is_null());
            let relationships = rule.shift_remove("relationships").filter(|json| !json.is_null());
            // A collection may have come with a schema only; then there was no file of rules.
            if rule.keys().any(|key| !matches!(key.as_str(), "database" | "collection")) {
                files.json(&format!("{folder}/rules.json"), &Json::Object(rule));
            }
            if let Some(schema) = schema {
                files.json(&format!("{folder}/schema.json"), &schema);
            }
            if let Some(relationships) = relationships {
                files.json(&format!("{folder}/relationships.json"), &relationships);
            }
        }
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
    for key in ["graphql", "hosting", "sync"] {
        if let Some(content) = part(key).and_then(|part| part.get("config")).filter(|config| !config.is_null()) {
            files.json(&format!("{key}/config.json"), content);
        }
    }
    let graphql = |key: &str| part("graphql").and_then(|graphql| graphql.get(key));
    for resolver in graphql("custom_resolvers").and_then(Json::as_array).into_iter().flatten() {
        let text = |key: &str| resolver.get(key).and_then(Json::as_str).unwrap_or_default();
        let name = format!("{}_{}", text("on_type"), text("field_name"));
        files.json(&format!("graphql/custom_resolvers/{}.json", plain(&name)), resolver);
    }
    if let Some(settings) = graphql("validation_settings").filter(|settings| !settings.is_null()) {
        files.json("graphql/validation_settings.json", settings);
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

/// A service of the days before endpoints: its configuration, rules and incoming webhooks.
fn legacy_service(files: &mut Files, folder: &str, service: &Json) {
    let config = service.get("config").unwrap_or(service);
    let name = config.get("name").and_then(Json::as_str).unwrap_or("unnamed");
    let folder = format!("{folder}/{}", plain(name));
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

struct Files(Vec<(String, Vec<u8>)>);

impl Files {
    fn add(&mut self, path: &str, content: Vec<u8>) {
        self.0.push((path.to_owned(), content));
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
        self.json(&format!("{folder}/{}.json", plain(name)), json);
    }
}

/// A name that came from outside as one path component: it must not lead out of its folder.
fn plain(name: &str) -> String {
    let plain: String = name.chars().map(|one| if matches!(one, '/' | '\\' | '\0') { '_' } else { one }).collect();
    if plain.chars().all(|one| one == '.') { "_".to_owned() } else { plain }
}

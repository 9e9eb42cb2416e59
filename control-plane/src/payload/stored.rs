//! A configuration as drafts and deployments keep it: one document with the JSON of an import as text, and the ids that
//! an import does not carry. Text, because a configuration may hold keys (`$`, dots) that mean something to a database.

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;
use serde_json::{Map, Value as Json, json};

use storage::model::AppConfig;

use super::read::reread;
use super::write::write;
use crate::dependencies::Dependencies;

/// What was kept: the configuration, and what its sender should be told about it.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Stored {
    pub config: AppConfig,
    pub warnings: Vec<String>,
    /// The npm packages that functions can require. Imports say nothing of them.
    pub dependencies: Option<Dependencies>,
}

/// The document for a draft or a deployment.
pub fn keep(stored: &Stored) -> RawDocumentBuf {
    let config = &stored.config;
    let functions: Vec<Json> = config
        .functions
        .iter()
        .map(|one| json!([one.name, one.id.to_hex(), one.last_modified, one.declared]))
        .collect();
    let ids = json!({
        "functions": functions,
        "endpoints": config.endpoints.iter().map(|one| one.id.to_hex()).collect::<Vec<_>>(),
        "values": config.values.iter().map(|one| one.id.to_hex()).collect::<Vec<_>>(),
        "data_sources": config.data_sources.iter().map(|one| one.id.to_hex()).collect::<Vec<_>>(),
    });
    rawdoc! {
        "payload": Json::Object(write(config)).to_string(),
        "ids": ids.to_string(),
        "warnings": Json::from(stored.warnings.clone()).to_string(),
        "dependencies": stored.dependencies.as_ref().map_or(Json::Null, Dependencies::to_json).to_string(),
    }
}

/// The way back. The text names what is damaged.
pub fn recall(document: &RawDocument) -> Result<Stored, String> {
    let payload: Map<String, Json> = part(document, "payload")?;
    let ids: Json = part(document, "ids")?;
    let warnings: Vec<String> = part(document, "warnings")?;
    let mut config = reread(&payload).map_err(|problems| format!("the kept configuration is damaged: {problems}"))?;

    let known = ids["functions"].as_array().map_or(&[][..], Vec::as_slice);
    let mut order = std::collections::HashMap::new();
    for (position, entry) in known.iter().enumerate() {
        let name = entry[0].as_str().unwrap_or_default();
        let Some(function) = config.functions.iter_mut().find(|function| function.name == name) else { continue };
        function.id = id(&entry[1])?;
        function.last_modified = entry[2].as_i64().unwrap_or_default();
        function.declared = entry[3].as_bool().unwrap_or_default();
        order.insert(name.to_owned(), position);
    }
    config.functions.sort_by_key(|function| order.get(&function.name).copied().unwrap_or(usize::MAX));
    for (one, hex) in config.endpoints.iter_mut().zip(list(&ids, "endpoints")) {
        one.id = id(hex)?;
    }
    for (one, hex) in config.values.iter_mut().zip(list(&ids, "values")) {
        one.id = id(hex)?;
    }
    for (one, hex) in config.data_sources.iter_mut().zip(list(&ids, "data_sources")) {
        one.id = id(hex)?;
    }
    // Those that were kept before there were any have no such part.
    let dependencies = match document.get_str("dependencies") {
        Ok(_) => Dependencies::from_json(&part(document, "dependencies")?)?,
        Err(_) => None,
    };
    Ok(Stored { config, warnings, dependencies })
}

fn part<T: serde::de::DeserializeOwned>(document: &RawDocument, key: &str) -> Result<T, String> {
    let text = document.get_str(key).map_err(|error| format!("the kept configuration is damaged: {error}"))?;
    serde_json::from_str(text).map_err(|error| format!("the kept configuration is damaged: {key}: {error}"))
}

fn list<'a>(ids: &'a Json, key: &str) -> &'a [Json] {
    ids[key].as_array().map_or(&[], Vec::as_slice)
}

fn id<T: std::str::FromStr>(json: &Json) -> Result<T, String>
where
    T::Err: std::fmt::Display,
{
    json.as_str().unwrap_or_default().parse().map_err(|error| format!("the kept configuration is damaged: {error}"))
}

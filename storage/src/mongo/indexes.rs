//! Indexes and plans, which the server makes and shows itself.
//!
//! In: a key pattern with options, a query. Out: names, specifications and plans as the server shows them, without the
//! names it has for the tenant's databases.

use bson::raw::{RawBson, RawDocument, RawDocumentBuf};
use bson::{Bson, Document, doc};

use super::operations::{Place, decoded};
use super::{Failed, error};
use crate::error::StoreError;
use crate::index;
use crate::store::{Find, IndexInfo};

/// What a server says of a collection that is not there.
const NAMESPACE_NOT_FOUND: i32 = 26;

pub async fn create(at: &Place, keys: &RawDocument, options: &RawDocument) -> Result<String, Failed> {
    let mut specification = doc! { "key": decoded(keys)? };
    specification.extend(decoded(options)?);
    let name = match specification.get("name") {
        Some(Bson::String(name)) => name.clone(),
        Some(_) => return Err(StoreError::caller(14, "TypeMismatch", "the name of an index must be a string").into()),
        None => index::default_name(keys),
    };
    specification.insert("name", name.as_str());
    at.database.run_command(doc! { "createIndexes": at.documents.name(), "indexes": [specification] }).await?;
    Ok(name)
}

pub async fn drop(at: &Place, name: &str) -> Result<(), Failed> {
    at.database.run_command(doc! { "dropIndexes": at.documents.name(), "index": name }).await?;
    Ok(())
}

pub async fn list(at: &Place) -> Result<Vec<IndexInfo>, Failed> {
    let listed = at.database.run_command(doc! { "listIndexes": at.documents.name(), "cursor": {} }).await;
    let listed = match listed.map_err(Failed::from) {
        Err(failed) if failed.code() == Some(NAMESPACE_NOT_FOUND) => return Ok(Vec::new()),
        other => other?,
    };
    // A collection has at most 64 of them, which is one batch.
    let batch = listed.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let batch = batch.map_err(|_| error::not_understood())?;
    batch
        .iter()
        .map(|one| match RawBson::try_from(one.clone()) {
            Ok(RawBson::Document(specification)) => Ok(IndexInfo { specification, building: None }),
            _ => Err(error::not_understood().into()),
        })
        .collect()
}

pub async fn explain(at: &Place, query: Find) -> Result<RawDocumentBuf, Failed> {
    let mut find = doc! { "find": at.documents.name(), "filter": decoded(&query.filter)? };
    if !query.projection.is_empty() {
        find.insert("projection", decoded(&query.projection)?);
    }
    if !query.sort.is_empty() {
        find.insert("sort", decoded(&query.sort)?);
    }
    for (name, number) in [("skip", query.skipped()?), ("limit", query.limit)] {
        if number > 0 {
            find.insert(name, i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
    let explained = at.database.run_command(doc! { "explain": find, "verbosity": "executionStats" }).await?;
    // The rest names the server and what it can do.
    let mut shown = Document::new();
    for part in ["queryPlanner", "executionStats"] {
        if let Some(Bson::Document(part_of)) = explained.get(part) {
            let mut part_of = part_of.clone();
            if let Some(Bson::String(namespace)) = part_of.get_mut("namespace") {
                *namespace = namespace.replacen(at.prefix.as_str(), "", 1);
            }
            shown.insert(part, part_of);
        }
    }
    RawDocumentBuf::try_from(&shown).map_err(|_| error::not_understood().into())
}

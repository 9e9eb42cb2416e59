//! Indexes of a collection in MongoDB, and how it would find a query.
//!
//! These are commands of the server as they are: the driver's own calls take models that leave out what newer servers
//! know, and none of these must be retried by itself.

use bson::raw::{RawDocument, RawDocumentBuf};
use bson::{Bson, Document, doc};
use mongodb::Collection;

use super::Failed;
use crate::error::StoreError;
use crate::index;
use crate::store::{Find, IndexInfo};

type Documents = Collection<RawDocumentBuf>;

/// No such collection.
const NAMESPACE_NOT_FOUND: i32 = 26;

pub async fn create(at: &Documents, keys: RawDocumentBuf, options: RawDocumentBuf) -> Result<String, Failed> {
    let mut specification = doc! { "key": decoded(&keys)? };
    specification.extend(decoded(&options)?);
    let name = match specification.get_str("name") {
        Ok(name) => name.to_owned(),
        Err(_) => index::default_name(&keys),
    };
    specification.insert("name", name.as_str());
    run(at, doc! { "createIndexes": at.name(), "indexes": [specification] }).await?;
    Ok(name)
}

pub async fn drop(at: &Documents, name: &str) -> Result<(), Failed> {
    run(at, doc! { "dropIndexes": at.name(), "index": name }).await.map(|_| ())
}

/// A collection has at most 64, which is less than a first batch.
pub async fn list(at: &Documents) -> Result<Vec<IndexInfo>, Failed> {
    let answer = match run(at, doc! { "listIndexes": at.name() }).await {
        Err(Failed::Driver(error)) if code_of(&error) == Some(NAMESPACE_NOT_FOUND) => return Ok(Vec::new()),
        answer => answer?,
    };
    let batch = answer.get_document("cursor").and_then(|cursor| cursor.get_array("firstBatch"));
    let batch = batch.map_err(|_| StoreError::store("MongoDB's list of indexes has no first batch"))?;
    let indexes = batch.iter().filter_map(Bson::as_document).map(|index| {
        let specification = RawDocumentBuf::try_from(index).map_err(|error| StoreError::store(error.to_string()))?;
        Ok(IndexInfo { specification, building: None })
    });
    indexes.collect()
}

pub async fn explain(at: &Documents, query: Find) -> Result<RawDocumentBuf, Failed> {
    let mut find = doc! { "find": at.name(), "filter": decoded(&query.filter)? };
    for (name, part) in [("projection", &query.projection), ("sort", &query.sort)] {
        if !part.is_empty() {
            find.insert(name, decoded(part)?);
        }
    }
    for (name, number) in [("skip", query.skipped()?), ("limit", query.limit)] {
        if number > 0 {
            find.insert(name, i64::try_from(number).unwrap_or(i64::MAX));
        }
    }
    let explained = run(at, doc! { "explain": find, "verbosity": "executionStats" }).await?;
    Ok(RawDocumentBuf::try_from(&explained).map_err(|error| StoreError::store(error.to_string()))?)
}

async fn run(at: &Documents, command: Document) -> Result<Document, Failed> {
    Ok(at.client().database(&at.namespace().db).run_command(command).await?)
}

fn code_of(error: &mongodb::error::Error) -> Option<i32> {
    match &*error.kind {
        mongodb::error::ErrorKind::Command(command) => Some(command.code),
        _ => None,
    }
}

fn decoded(document: &RawDocument) -> Result<Document, StoreError> {
    Document::try_from(document).map_err(|error| StoreError::bad_value(error.to_string()))
}

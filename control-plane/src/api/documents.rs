//! Documents of a data source, as lines of Extended JSON: `…/services/{service}/documents`. And what they take on disk:
//! `…/storage`. Not part of App Services, whose documents were moved with MongoDB's own tools.
//!
//! In: a collection, or lines. Out: lines, streamed from one snapshot, or how many were stored and what is wrong with the
//! others, by number. Neither lies in memory as a whole: an export is read batch by batch, an import comes in parts.

use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{DefaultBodyLimit, State};
use axum::response::Response;
use axum::routing::{get, post};
use bson::raw::{RawBson, RawDocumentBuf};
use bson::{Bson, Document, rawdoc};
use bytes::Bytes;
use futures_util::future::join_all;
use futures_util::stream::try_unfold;
use metrics::{Counter, counter, describe_counter};
use serde_json::{Value as Json, json};

use storage::{Fault, Find, Namespace, Store, StoreError, Tenant, Update};

use super::error::{ApiError, lines, ok};
use super::indexes::{Service, collection};
use super::request::{InApp, Params, Payload};
use crate::ControlPlane;
use crate::documents::full;
use crate::limits::{EXPORT_BATCH_BYTES, IMPORT_BODY_BYTES_MAX, IMPORT_LINE_ERRORS_MAX};
use crate::settings::AppSettings;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/services/{id}/documents", get(export))
        .merge(
            Router::new()
                .route("/groups/{group}/apps/{app}/services/{id}/documents/import", post(import))
                .layer(DefaultBodyLimit::max(IMPORT_BODY_BYTES_MAX)),
        )
        .route("/groups/{group}/apps/{app}/services/{id}/collections", get(collections))
        .route("/groups/{group}/apps/{app}/storage", get(storage))
        .route("/groups/{group}/apps/{app}/storage/compact", post(compact))
}

/// Looked up once, so that counting is one addition.
static MOVED: LazyLock<Moved> = LazyLock::new(|| {
    describe_counter!("portico_documents_imported_total", "Lines of imports, by whether they were stored.");
    describe_counter!("portico_documents_exported_total", "Documents that exports wrote.");
    let imported = |outcome| counter!("portico_documents_imported_total", "outcome" => outcome);
    Moved {
        stored: imported("stored"),
        refused: imported("refused"),
        exported: counter!("portico_documents_exported_total"),
    }
});

struct Moved {
    stored: Counter,
    refused: Counter,
    exported: Counter,
}

async fn collections(within: InApp, Service(store): Service) -> Result<Response, ApiError> {
    let tenant = Tenant::App(within.app.id);
    let mut all = Vec::new();
    for (database, collection) in store.collections(tenant).await? {
        let count = store.count(&Namespace::new(tenant, &database, &collection), Find::default()).await?;
        all.push(json!({ "database": database, "collection": collection, "count": count }));
    }
    Ok(ok(&all.into()))
}

/// `?database=&collection=&relaxed=`: every document, one a line, in the order of `_id`.
async fn export(within: InApp, Service(store): Service, params: Params) -> Result<Response, ApiError> {
    let (database, name) = collection(&params)?;
    let relaxed = params.is_true("relaxed");
    let at = Namespace::new(Tenant::App(within.app.id), database, name);
    let query = Find { sort: rawdoc! { "_id": 1 }, ..Find::default() };
    let cursor = store.find(&at, query).await?;
    let batches = try_unfold(Some(cursor), move |cursor| async move {
        let Some(mut cursor) = cursor else { return Ok::<_, StoreError>(None) };
        let batch = cursor.next(EXPORT_BATCH_BYTES).await?;
        let mut text = Vec::new();
        for document in &batch.documents {
            write_line(&mut text, document, relaxed)?;
        }
        MOVED.exported.increment(batch.documents.len() as u64);
        Ok(Some((Bytes::from(text), (!batch.exhausted).then_some(cursor))))
    });
    Ok(lines(&format!("{database}.{name}.jsonl"), Body::from_stream(batches)))
}

/// A document and a line end behind it.
pub fn write_line(out: &mut Vec<u8>, document: &RawDocumentBuf, relaxed: bool) -> Result<(), StoreError> {
    let damaged = |error: &dyn std::fmt::Display| StoreError::store(format!("a stored document is damaged: {error}"));
    let document = Bson::Document(Document::try_from(document).map_err(|error| damaged(&error))?);
    let json = if relaxed { document.into_relaxed_extjson() } else { document.into_canonical_extjson() };
    serde_json::to_writer(&mut *out, &json).map_err(|error| damaged(&error))?;
    out.push(b'\n');
    Ok(())
}

/// How a line with an `_id` that is there already is taken.
#[derive(Clone, Copy)]
enum Mode {
    /// Refused, and named.
    Insert,
    /// It replaces what is there.
    Upsert,
}

/// `?database=&collection=&mode=insert|upsert` and lines: every line that can be stored is.
async fn import(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Service(store): Service,
    params: Params,
    payload: Payload,
) -> Result<Response, ApiError> {
    let (database, name) = collection(&params)?;
    let mode = match params.get("mode") {
        None | Some("insert") => Mode::Insert,
        Some("upsert") => Mode::Upsert,
        Some(other) => return Err(ApiError::invalid(format!("mode: '{other}' is none of insert, upsert"))),
    };
    let tenant = Tenant::App(within.app.id);
    let settings = AppSettings::recall(&control.catalog.settings(within.app.id).await?);
    if let Some(why) = full(&*store, tenant, settings.limits(control.limits).storage_mib) {
        return Err(ApiError::storage_full(why));
    }
    let at = Namespace::new(tenant, database, name);
    let mut documents = Vec::new();
    let mut refused = Vec::new();
    let parsed = payload.0.split(|byte| *byte == b'\n').zip(1_usize..);
    for (line, number) in parsed.filter(|(line, _)| !line.trim_ascii().is_empty()) {
        match document(line) {
            Ok(document) => documents.push((number, document)),
            Err(why) => refused.push((number, why)),
        }
    }
    let total = documents.len();
    let failed = match mode {
        Mode::Insert => insert(&*store, &at, documents).await?,
        Mode::Upsert => upsert(&*store, &at, documents).await?,
    };
    let stored = total - failed.len();
    refused.extend(failed);
    refused.sort_unstable_by_key(|(number, _)| *number);
    MOVED.stored.increment(stored as u64);
    MOVED.refused.increment(refused.len() as u64);
    let errors: Vec<Json> = refused
        .iter()
        .take(IMPORT_LINE_ERRORS_MAX)
        .map(|(number, why)| json!({ "line": number, "error": why }))
        .collect();
    Ok(ok(&json!({ "stored": stored, "refused": refused.len(), "errors": errors })))
}

/// The document that a line of Extended JSON is, canonical or relaxed, or what is wrong with it.
pub fn document(line: &[u8]) -> Result<RawDocumentBuf, String> {
    let json: Json = serde_json::from_slice(line).map_err(|error| format!("not JSON: {error}"))?;
    match Bson::try_from(json).map_err(|error| format!("not Extended JSON: {error}"))? {
        Bson::Document(document) => RawDocumentBuf::try_from(&document).map_err(|error| error.to_string()),
        _ => Err("not a document".to_owned()),
    }
}

/// Lines that were not stored, and why. An error that is nobody's line ends it all; what was stored before it stays.
type Failed = Result<Vec<(usize, String)>, StoreError>;

async fn insert(store: &dyn Store, at: &Namespace, mut documents: Vec<(usize, RawDocumentBuf)>) -> Failed {
    let mut failed = Vec::new();
    // The store tells of the first document it refuses; those after it are sent again.
    while !documents.is_empty() {
        let numbers: Vec<usize> = documents.iter().map(|(number, _)| *number).collect();
        let sent = documents.iter().map(|(_, document)| document.clone()).collect();
        let inserted = store.insert(at, sent, true).await?;
        let Some(error) = inserted.error else { break };
        if error.fault != Fault::Caller {
            return Err(error);
        }
        let at = inserted.ids.len();
        failed.extend(numbers.get(at).map(|number| (*number, error.message)));
        documents.drain(..(at + 1).min(documents.len()));
    }
    Ok(failed)
}

async fn upsert(store: &dyn Store, at: &Namespace, documents: Vec<(usize, RawDocumentBuf)>) -> Failed {
    let mut failed = Vec::new();
    let mut put = Vec::new();
    for (number, document) in documents {
        match document.get("_id").ok().flatten() {
            None => failed.push((number, "it has no _id, by which mode upsert finds what to replace".to_owned())),
            Some(id) => {
                let filter = rawdoc! { "_id": { "$eq": RawBson::from(id) } };
                let update = Update { filter, update: document.clone().into(), upsert: true, ..Update::default() };
                put.push(async move { (number, store.update(at, update).await) });
            }
        }
    }
    // Together, so that they share commits.
    for (number, outcome) in join_all(put).await {
        match outcome {
            Ok(_) => {}
            Err(error) if error.fault == Fault::Caller => failed.push((number, error.message)),
            Err(error) => return Err(error),
        }
    }
    Ok(failed)
}

/// What the app's documents take, what they may take, and how often they were asked for since the server's start.
async fn storage(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let bytes = control.sources.usual().disk_bytes(Tenant::App(within.app.id));
    let active = control.snapshots.load().find(within.app.client_app_id.as_str()).cloned();
    let operations = active.as_ref().map(|app| app.operations.now()).unwrap_or_default();
    let settings = AppSettings::recall(&control.catalog.settings(within.app.id).await?);
    let most = u64::from(settings.limits(control.limits).storage_mib) * 1024 * 1024;
    let operations = json!({ "reads": operations.reads, "writes": operations.writes });
    Ok(ok(&json!({ "bytes": bytes, "bytes_max": most, "operations": operations })))
}

/// Gives back what is free in the app's file.
async fn compact(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let compacted = control.sources.usual().compact(Tenant::App(within.app.id)).await?;
    Ok(ok(&json!({ "bytes_before": compacted.before, "bytes": compacted.after })))
}

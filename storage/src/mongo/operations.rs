//! Each command of the store as the driver's call of the same meaning. The calls are chosen so that the driver may retry
//! them where the server can tell a repeated write from a new one; a raw command would never be retried.

use std::time::Duration;

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::{Bson, Document, doc};
use futures_util::TryStreamExt;
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ReturnDocument, UpdateModifications};
use mongodb::raw_batch_cursor::RawBatchCursor;
use mongodb::{Client, Collection};

use super::names::Owned;
use super::{Failed, error};
use crate::error::StoreError;
use crate::limits;
use crate::store::{Change, Delete, Find, Inserted, Modified, Modify, Update, Updated};
use crate::value::check;

pub type Documents = Collection<RawDocumentBuf>;

pub async fn find(at: &Documents, query: Find, time: Duration) -> Result<RawBatchCursor, Failed> {
    let skip = query.skipped()?;
    let Find { filter, projection, sort, limit, variables, .. } = query;
    let mut find = at.find(decoded(&filter)?).max_time(time).batch_size(limits::CURSOR_BATCH_DOCUMENTS);
    if !projection.is_empty() {
        find = find.projection(decoded(&projection)?);
    }
    if !sort.is_empty() {
        find = find.sort(decoded(&sort)?);
    }
    if skip > 0 {
        find = find.skip(skip);
    }
    if limit > 0 {
        find = find.limit(i64::try_from(limit).unwrap_or(i64::MAX));
    }
    if let Some(variables) = given(&variables)? {
        find = find.let_vars(variables);
    }
    Ok(find.batch().await?)
}

pub async fn count(at: &Documents, query: Find, time: Duration) -> Result<u64, Failed> {
    if let Some(variables) = given(&query.variables)? {
        return count_with(at, query, variables, time).await;
    }
    let mut count = at.count_documents(decoded(&query.filter)?).max_time(time);
    if query.skipped()? > 0 {
        count = count.skip(query.skipped()?);
    }
    if query.limit > 0 {
        count = count.limit(query.limit);
    }
    Ok(count.await?)
}

/// The pipeline that the driver makes of a count as well, which takes no variables there.
async fn count_with(at: &Documents, query: Find, variables: Document, time: Duration) -> Result<u64, Failed> {
    let mut stages = vec![doc! { "$match": decoded(&query.filter)? }];
    for (stage, number) in [("$skip", query.skipped()?), ("$limit", query.limit)] {
        if number > 0 {
            stages.push(doc! { stage: i64::try_from(number).unwrap_or(i64::MAX) });
        }
    }
    stages.push(doc! { "$group": { "_id": 1, "n": { "$sum": 1 } } });
    let mut counted = at.aggregate(stages).let_vars(variables).max_time(time).await?;
    // Of nothing there is no group.
    let Some(group) = counted.try_next().await? else { return Ok(0) };
    let count = match group.get("n") {
        Some(Bson::Int32(count)) => u64::try_from(*count).ok(),
        Some(Bson::Int64(count)) => u64::try_from(*count).ok(),
        _ => None,
    };
    count.ok_or_else(|| error::database(8, "the database's answer was not understood".to_owned()).into())
}

/// Documents that cannot be stored are found here, before anything is sent, as the embedded store finds them: the others
/// are inserted, or those before it where the order matters.
pub async fn insert(
    at: &Documents,
    documents: Vec<RawDocumentBuf>,
    ordered: bool,
    prefix: &str,
) -> Result<Inserted, Failed> {
    let mut first_error: Option<StoreError> = None;
    let mut sent: Vec<(usize, RawDocumentBuf)> = Vec::with_capacity(documents.len());
    for (index, document) in documents.into_iter().enumerate() {
        match check::to_store(document) {
            Ok(document) => sent.push((index, document)),
            Err(error) => {
                first_error.get_or_insert(error.at(index));
                if ordered {
                    break;
                }
            }
        }
    }
    let mut refused: Vec<(usize, StoreError)> = Vec::new();
    if !sent.is_empty() {
        let outcome = at.insert_many(sent.iter().map(|(_, document)| document)).ordered(ordered).await;
        match outcome {
            Ok(_) => {}
            Err(failed) => refused = write_errors(failed, prefix)?,
        }
    }
    let stopped = match (ordered, refused.first()) {
        (true, Some((at, _))) => *at,
        _ => sent.len(),
    };
    let is_in = |at: usize| at < stopped && !refused.iter().any(|(refused, _)| *refused == at);
    let ids = sent.iter().enumerate().filter(|(at, _)| is_in(*at)).map(|(_, (_, document))| id_of(document)).collect();
    let of_server = refused.into_iter().next().map(|(at, error)| error.at(sent[at].0));
    // The one of the smallest index, whoever found it.
    let error = [first_error, of_server].into_iter().flatten().min_by_key(|error| error.index);
    Ok(Inserted { ids, error })
}

/// What single documents of a batch were refused for, by their place in it, in order.
fn write_errors(failed: Error, prefix: &str) -> Result<Vec<(usize, StoreError)>, Failed> {
    let ErrorKind::InsertMany(batch) = &*failed.kind else { return Err(failed.into()) };
    let Some(errors) = batch.write_errors.as_ref().filter(|errors| !errors.is_empty()) else {
        return Err(match &batch.write_concern_error {
            Some(concern) => {
                let text = format!("the write was applied, but its write concern was not met: {}", concern.message);
                Failed::Own(error::database(concern.code, text))
            }
            None => failed.into(),
        });
    };
    let mut refused: Vec<_> =
        errors.iter().map(|one| (one.index, error::server(one.code, &one.message, prefix))).collect();
    refused.sort_by_key(|(at, _)| *at);
    Ok(refused)
}

pub async fn update(at: &Documents, update: Update) -> Result<Updated, Failed> {
    let Update { filter, update, array_filters, multi, upsert, variables } = update;
    let (filter, variables) = (decoded(&filter)?, given(&variables)?);
    let updated = match change_of(update)? {
        Sent::Replacement(_) if multi => {
            let text = "multi update is not supported for replacement-style update";
            return Err(StoreError::caller(9, "FailedToParse", text).into());
        }
        Sent::Replacement(replacement) => {
            let mut run = at.replace_one(filter, replacement).upsert(upsert);
            if let Some(variables) = variables {
                run = run.let_vars(variables);
            }
            run.await?
        }
        Sent::Modifications(change) => {
            let mut run = if multi { at.update_many(filter, change) } else { at.update_one(filter, change) };
            if !array_filters.is_empty() {
                run = run.array_filters(all_decoded(&array_filters)?);
            }
            if let Some(variables) = variables {
                run = run.let_vars(variables);
            }
            run.upsert(upsert).await?
        }
    };
    // The server counts an upserted document as neither; so does the store.
    Ok(Updated {
        matched: updated.matched_count,
        modified: updated.modified_count,
        upserted_id: updated.upserted_id.map(raw_value).transpose()?,
    })
}

pub async fn modify(at: &Documents, modify: Modify) -> Result<Modified, Failed> {
    let Modify { filter, sort, projection, update, array_filters, upsert, after, variables } = modify;
    let (filter, variables) = (decoded(&filter)?, given(&variables)?);
    let sort = (!sort.is_empty()).then(|| decoded(&sort)).transpose()?;
    let projection = (!projection.is_empty()).then(|| decoded(&projection)).transpose()?;
    let which = if after { ReturnDocument::After } else { ReturnDocument::Before };
    let document = match update {
        None => {
            let mut run = at.find_one_and_delete(filter);
            if let Some(sort) = sort {
                run = run.sort(sort);
            }
            if let Some(projection) = projection {
                run = run.projection(projection);
            }
            if let Some(variables) = variables {
                run = run.let_vars(variables);
            }
            run.await?
        }
        Some(update) => match change_of(update)? {
            Sent::Replacement(replacement) => {
                let mut run = at.find_one_and_replace(filter, replacement).upsert(upsert).return_document(which);
                if let Some(sort) = sort {
                    run = run.sort(sort);
                }
                if let Some(projection) = projection {
                    run = run.projection(projection);
                }
                if let Some(variables) = variables {
                    run = run.let_vars(variables);
                }
                run.await?
            }
            Sent::Modifications(change) => {
                let mut run = at.find_one_and_update(filter, change).upsert(upsert).return_document(which);
                if let Some(sort) = sort {
                    run = run.sort(sort);
                }
                if let Some(projection) = projection {
                    run = run.projection(projection);
                }
                if !array_filters.is_empty() {
                    run = run.array_filters(all_decoded(&array_filters)?);
                }
                if let Some(variables) = variables {
                    run = run.let_vars(variables);
                }
                run.await?
            }
        },
    };
    // The server does not say whether a document that was found is different now, nor, before an upsert, whether there
    // was one; it is taken for changed.
    let changed = document.is_some() || upsert;
    Ok(Modified { document, changed })
}

/// Without a time for the server, since not every server knows one for it; the caller's own ends the wait.
pub async fn distinct(at: &Documents, path: &str, filter: RawDocumentBuf) -> Result<Vec<RawBson>, Failed> {
    let values = at.distinct(path, decoded(&filter)?).await?;
    values.into_iter().map(raw_value).collect()
}

pub async fn delete(at: &Documents, delete: Delete) -> Result<u64, Failed> {
    let filter = decoded(&delete.filter)?;
    let mut run = if delete.multi { at.delete_many(filter) } else { at.delete_one(filter) };
    if let Some(variables) = given(&delete.variables)? {
        run = run.let_vars(variables);
    }
    let deleted = run.await?;
    Ok(deleted.deleted_count)
}

/// Databases with their collections, by the names the tenant has for them.
pub async fn collections(client: &Client, owned: &Owned) -> Result<Vec<(String, String)>, Error> {
    let mut all = Vec::new();
    for name in client.list_database_names().await? {
        if let Some(database) = owned.database(&name) {
            let collections = client.database(&name).list_collection_names().await?;
            let shown = collections.into_iter().filter(|collection| !collection.starts_with("system."));
            all.extend(shown.map(|collection| (database.to_owned(), collection)));
        }
    }
    all.sort_unstable();
    Ok(all)
}

pub async fn drop_databases(client: &Client, owned: &Owned) -> Result<(), Error> {
    for name in client.list_database_names().await? {
        if owned.database(&name).is_some() {
            client.database(&name).drop().await?;
        }
    }
    Ok(())
}

/// A change as the driver takes it, which has calls of their own for the two kinds.
enum Sent {
    Modifications(UpdateModifications),
    Replacement(RawDocumentBuf),
}

fn change_of(update: Change) -> Result<Sent, StoreError> {
    let update = match update {
        Change::Pipeline(stages) => return Ok(Sent::Modifications(all_decoded(&stages)?.into())),
        Change::Document(update) => update,
    };
    let first = update.iter().next().and_then(Result::ok);
    match first {
        Some((name, _)) if name.as_str().starts_with('$') => Ok(Sent::Modifications(decoded(&update)?.into())),
        _ => Ok(Sent::Replacement(update)),
    }
}

/// The `let` of a command, where it has one: not every server knows the option.
fn given(variables: &RawDocument) -> Result<Option<Document>, StoreError> {
    (!variables.is_empty()).then(|| decoded(variables)).transpose()
}

/// Commands are small and the driver takes them decoded; documents that are stored or read never pass here.
pub fn decoded(command: &RawDocument) -> Result<Document, StoreError> {
    check::document(command)?;
    Document::try_from(command).map_err(|error| StoreError::caller(22, "InvalidBSON", format!("invalid BSON: {error}")))
}

fn all_decoded(commands: &[RawDocumentBuf]) -> Result<Vec<Document>, StoreError> {
    commands.iter().map(|command| decoded(command)).collect()
}

fn raw_value(value: Bson) -> Result<RawBson, Failed> {
    RawBson::try_from(value).map_err(|_| error::not_understood().into())
}

fn id_of(document: &RawDocument) -> RawBson {
    document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null).into()
}

//! Each command of the store as the driver's call of the same meaning. The calls are chosen so that the driver may retry
//! them where the server can tell a repeated write from a new one; a raw command would never be retried.
//!
//! Every call takes the session of the transaction it is part of, or none.

use std::time::Duration;

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::{Bson, Document, doc};
use mongodb::error::{Error, ErrorKind};
use mongodb::options::{ReturnDocument, UpdateModifications};
use mongodb::{Client, ClientSession, Collection, Database};

use super::cursor::Replies;
use super::names::{At, Owned};
use super::{Failed, error};
use crate::error::StoreError;
use crate::limits;
use crate::store::{Change, Delete, Find, Inserted, Modified, Modify, Update, Updated};
use crate::value::check;

/// Where an operation works.
pub struct Place {
    pub documents: Collection<RawDocumentBuf>,
    pub database: Database,
    /// What the database's name begins with that the tenant does not see.
    pub prefix: String,
    /// How long the operation may take.
    pub time: Duration,
}

/// The session of the transaction that an operation is part of, if it is part of one.
pub type In<'s> = Option<&'s mut ClientSession>;

impl Place {
    pub fn new(client: &Client, at: At, time: Duration) -> Self {
        let database = client.database(&at.database);
        Self { documents: database.collection(&at.collection), database, prefix: at.prefix, time }
    }
}

/// Sets those options of one of the driver's calls that are given: not every server knows all of them.
macro_rules! with {
    ($call:expr, $($option:ident: $value:expr),+ $(,)?) => {{
        let mut call = $call;
        $(if let Some(value) = $value {
            call = call.$option(value);
        })+
        call
    }};
}

/// The same for the calls that open a cursor, which are another one with a session.
macro_rules! replies {
    ($call:expr, $session:expr) => {
        match $session {
            None => Replies::Plain($call.batch().await?),
            Some(session) => Replies::InTransaction($call.session(session).batch().await?),
        }
    };
}

pub async fn find(at: &Place, session: In<'_>, query: Find) -> Result<Replies, Failed> {
    let skip = query.skipped()?;
    let find = at.documents.find(decoded(&query.filter)?).max_time(at.time).batch_size(limits::CURSOR_BATCH_DOCUMENTS);
    let find = with!(
        find,
        projection: given(&query.projection)?,
        sort: given(&query.sort)?,
        skip: (skip > 0).then_some(skip),
        limit: number(query.limit),
        let_vars: given(&query.variables)?,
    );
    Ok(replies!(find, session))
}

pub async fn aggregate(
    at: &Place,
    session: In<'_>,
    pipeline: Vec<Document>,
    variables: &RawDocument,
) -> Result<Replies, Failed> {
    let run = at.documents.aggregate(pipeline).max_time(at.time).batch_size(limits::CURSOR_BATCH_DOCUMENTS);
    let run = with!(run, let_vars: given(variables)?);
    Ok(replies!(run, session))
}

/// The pipeline that the driver's own count is as well, which takes no variables there.
pub async fn count(at: &Place, mut session: In<'_>, query: Find) -> Result<u64, Failed> {
    let mut stages = vec![doc! { "$match": decoded(&query.filter)? }];
    for (stage, amount) in [("$skip", query.skipped()?), ("$limit", query.limit)] {
        stages.extend(number(amount).map(|amount| doc! { stage: amount }));
    }
    stages.push(doc! { "$group": { "_id": 1, "n": { "$sum": 1 } } });
    let mut counted = aggregate(at, session.as_deref_mut(), stages, &query.variables).await?;
    let Some(reply) = counted.next(session).await? else { return Ok(0) };
    // Of nothing there is no group.
    let Some(group) = reply.doc_slices()?.into_iter().next() else { return Ok(0) };
    let count = match group.map_err(|_| error::not_understood())? {
        RawBsonRef::Document(group) => match group.get("n") {
            Ok(Some(RawBsonRef::Int32(count))) => u64::try_from(count).ok(),
            Ok(Some(RawBsonRef::Int64(count))) => u64::try_from(count).ok(),
            _ => None,
        },
        _ => None,
    };
    count.ok_or_else(|| error::not_understood().into())
}

/// Documents that cannot be stored are found here, before anything is sent, as the embedded store finds them: the others
/// are inserted, or those before it where the order matters.
pub async fn insert(
    at: &Place,
    session: In<'_>,
    documents: Vec<RawDocumentBuf>,
    ordered: bool,
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
        let insert = at.documents.insert_many(sent.iter().map(|(_, document)| document)).ordered(ordered);
        match with!(insert, session: session).await {
            Ok(_) => {}
            Err(failed) => refused = write_errors(failed, &at.prefix)?,
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

pub async fn update(at: &Place, session: In<'_>, update: Update) -> Result<Updated, Failed> {
    let Update { filter, update, array_filters, multi, upsert, variables } = update;
    let (filter, variables) = (decoded(&filter)?, given(&variables)?);
    let updated = match change_of(update)? {
        Sent::Replacement(_) if multi => {
            let text = "multi update is not supported for replacement-style update";
            return Err(StoreError::caller(9, "FailedToParse", text).into());
        }
        Sent::Replacement(replacement) => {
            let replace = at.documents.replace_one(filter, replacement).upsert(upsert);
            with!(replace, let_vars: variables, session: session).await?
        }
        Sent::Modifications(change) => {
            let update = match multi {
                true => at.documents.update_many(filter, change),
                false => at.documents.update_one(filter, change),
            };
            let array_filters = filters(&array_filters)?;
            with!(update.upsert(upsert), array_filters: array_filters, let_vars: variables, session: session).await?
        }
    };
    // The server counts an upserted document as neither; so does the store.
    Ok(Updated {
        matched: updated.matched_count,
        modified: updated.modified_count,
        upserted_id: updated.upserted_id.map(raw_value).transpose()?,
    })
}

pub async fn modify(at: &Place, session: In<'_>, modify: Modify) -> Result<Modified, Failed> {
    let Modify { filter, sort, projection, update, array_filters, upsert, after, variables } = modify;
    let (filter, variables) = (decoded(&filter)?, given(&variables)?);
    let (sort, projection) = (given(&sort)?, given(&projection)?);
    let which = if after { ReturnDocument::After } else { ReturnDocument::Before };
    let at = &at.documents;
    let document = match update.map(change_of).transpose()? {
        None => {
            let delete = at.find_one_and_delete(filter);
            with!(delete, sort: sort, projection: projection, let_vars: variables, session: session).await?
        }
        Some(Sent::Replacement(replacement)) => {
            let replace = at.find_one_and_replace(filter, replacement).upsert(upsert).return_document(which);
            with!(replace, sort: sort, projection: projection, let_vars: variables, session: session).await?
        }
        Some(Sent::Modifications(change)) => {
            let update = at.find_one_and_update(filter, change).upsert(upsert).return_document(which);
            let update = with!(update, array_filters: filters(&array_filters)?);
            with!(update, sort: sort, projection: projection, let_vars: variables, session: session).await?
        }
    };
    // The server does not say whether a document that was found is different now, nor, before an upsert, whether there
    // was one; it is taken for changed.
    let changed = document.is_some() || upsert;
    Ok(Modified { document, changed })
}

/// Without a time for the server, since not every server knows one for it; the caller's own ends the wait.
pub async fn distinct(
    at: &Place,
    session: In<'_>,
    path: String,
    filter: RawDocumentBuf,
) -> Result<Vec<RawBson>, Failed> {
    let values = with!(at.documents.distinct(path, decoded(&filter)?), session: session).await?;
    values.into_iter().map(raw_value).collect()
}

pub async fn delete(at: &Place, session: In<'_>, delete: Delete) -> Result<u64, Failed> {
    let (filter, variables) = (decoded(&delete.filter)?, given(&delete.variables)?);
    let run = if delete.multi { at.documents.delete_many(filter) } else { at.documents.delete_one(filter) };
    Ok(with!(run, let_vars: variables, session: session).await?.deleted_count)
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

/// An option that is a document, when it is not empty.
fn given(option: &RawDocument) -> Result<Option<Document>, StoreError> {
    (!option.is_empty()).then(|| decoded(option)).transpose()
}

/// An option that is a number, when it is not 0.
fn number(option: u64) -> Option<i64> {
    (option > 0).then(|| i64::try_from(option).unwrap_or(i64::MAX))
}

fn filters(array_filters: &[RawDocumentBuf]) -> Result<Option<Vec<Document>>, StoreError> {
    (!array_filters.is_empty()).then(|| all_decoded(array_filters)).transpose()
}

/// Commands are small and the driver takes them decoded; documents that are stored or read never pass here.
pub fn decoded(command: &RawDocument) -> Result<Document, StoreError> {
    check::document(command)?;
    Document::try_from(command).map_err(|error| StoreError::caller(22, "InvalidBSON", format!("invalid BSON: {error}")))
}

pub fn all_decoded(commands: &[RawDocumentBuf]) -> Result<Vec<Document>, StoreError> {
    commands.iter().map(|command| decoded(command)).collect()
}

fn raw_value(value: Bson) -> Result<RawBson, Failed> {
    RawBson::try_from(value).map_err(|_| error::not_understood().into())
}

fn id_of(document: &RawDocument) -> RawBson {
    document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null).into()
}

//! What one write does inside a transaction it shares with its neighbours.
//!
//! In: a task and the open transaction. Out: an answer to give once the commit is on disk. A task first finds out all it
//! will change and only then changes it, so one that fails leaves nothing behind and its neighbours stay whole.

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use futures_channel::oneshot;
use redb::{ReadableTable, Table, WriteTransaction};

use super::access_path::AccessPath;
use super::file::table;
use super::scan::crossed;
use crate::error::StoreError;
use crate::filter::Filter;
use crate::limits;
use crate::projection::Projection;
use crate::sort::{Direction, Sort};
use crate::store::{Inserted, Modified, Updated};
use crate::update::Change;
use crate::value::{check, key};

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub struct Write {
    /// `database.collection`; empty for a task on the whole file.
    pub collection: String,
    /// About how much memory it holds while it waits.
    pub bytes: usize,
    pub task: Task,
}

pub enum Task {
    Insert { documents: Vec<RawDocumentBuf>, ordered: bool, reply: Reply<Inserted> },
    Update { filter: Filter, change: Change, multi: bool, upsert: bool, reply: Reply<Updated> },
    Modify { modification: Box<Modification>, reply: Reply<Modified> },
    Delete { filter: Filter, multi: bool, reply: Reply<u64> },
    DropFile { reply: Reply<()> },
}

/// A `Modify`, understood.
pub struct Modification {
    pub filter: Filter,
    pub sort: Sort,
    pub projection: Option<Projection>,
    /// `None` deletes.
    pub change: Option<Change>,
    pub upsert: bool,
    pub after: bool,
}

/// To be called once the commit's fate is known.
pub type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What a write came to, before the commit.
pub struct Performed {
    pub changed: bool,
    pub acknowledge: Acknowledge,
}

/// Why a write could not be performed.
enum Stop {
    /// Its own fault; the others go on.
    Refused(StoreError),
    /// The file's; nothing of the transaction can be kept.
    Broken(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

impl Write {
    pub fn stands_alone(&self) -> bool {
        matches!(self.task, Task::DropFile { .. })
    }

    /// Whether it may bring a document into a file that does not exist yet.
    pub fn may_insert(&self) -> bool {
        match &self.task {
            Task::Insert { .. } | Task::Update { upsert: true, .. } => true,
            Task::Modify { modification, .. } => modification.upsert,
            _ => false,
        }
    }

    /// Does its changes in the transaction. An error is the file's: the whole transaction is lost, and it has been told
    /// to the one who waits for this write.
    pub fn perform(self, transaction: &WriteTransaction) -> Result<Performed, StoreError> {
        let collection = self.collection.as_str();
        match self.task {
            Task::Insert { documents, ordered, reply } => {
                let outcome = insert(transaction, collection, documents, ordered);
                settle(outcome, reply, |inserted| !inserted.ids.is_empty())
            }
            Task::Update { filter, change, multi, upsert, reply } => {
                let outcome = update(transaction, collection, &filter, &change, multi, upsert);
                settle(outcome, reply, |updated| updated.modified > 0 || updated.upserted_id.is_some())
            }
            Task::Modify { modification, reply } => {
                let outcome = modify(transaction, collection, &modification);
                settle(outcome, reply, |modified| modified.changed)
            }
            Task::Delete { filter, multi, reply } => {
                let outcome = delete(transaction, collection, &filter, multi);
                settle(outcome, reply, |deleted| *deleted > 0)
            }
            Task::DropFile { reply } => {
                drop(reply.send(Err(StoreError::store("a file cannot be removed inside a transaction"))));
                Ok(Performed { changed: false, acknowledge: Box::new(|_| {}) })
            }
        }
    }

    /// Its answer when there is no file to work on.
    pub fn find_nothing(self) {
        match self.task {
            Task::Insert { reply, .. } => drop(reply.send(Ok(Inserted::default()))),
            Task::Update { reply, .. } => drop(reply.send(Ok(Updated::default()))),
            Task::Modify { reply, .. } => drop(reply.send(Ok(Modified::default()))),
            Task::Delete { reply, .. } => drop(reply.send(Ok(0))),
            Task::DropFile { reply } => drop(reply.send(Ok(()))),
        }
    }

    pub fn fail(self, error: StoreError) {
        match self.task {
            Task::Insert { reply, .. } => drop(reply.send(Err(error))),
            Task::Update { reply, .. } => drop(reply.send(Err(error))),
            Task::Modify { reply, .. } => drop(reply.send(Err(error))),
            Task::Delete { reply, .. } => drop(reply.send(Err(error))),
            Task::DropFile { reply } => drop(reply.send(Err(error))),
        }
    }
}

fn settle<T: Send + 'static>(
    outcome: Result<T, Stop>,
    reply: Reply<T>,
    changed: impl FnOnce(&T) -> bool,
) -> Result<Performed, StoreError> {
    let (changed, answer) = match outcome {
        Ok(answer) => (changed(&answer), Ok(answer)),
        Err(Stop::Refused(error)) => (false, Err(error)),
        Err(Stop::Broken(error)) => {
            let error = StoreError::store(format!("the store's file could not be written: {error}"));
            drop(reply.send(Err(error.clone())));
            return Err(error);
        }
    };
    // Whoever stopped waiting does not hear it; the write stands all the same.
    let acknowledge = Box::new(move |fate: Result<(), StoreError>| drop(reply.send(fate.and(answer))));
    Ok(Performed { changed, acknowledge })
}

fn insert(
    transaction: &WriteTransaction,
    collection: &str,
    documents: Vec<RawDocumentBuf>,
    ordered: bool,
) -> Result<Inserted, Stop> {
    let mut table = transaction.open_table(table(collection))?;
    let mut inserted = Inserted::default();
    for (index, document) in documents.into_iter().enumerate() {
        let outcome = match check::to_store(document) {
            Ok(document) => insert_one(&mut table, collection, &document)?,
            Err(error) => Err(error),
        };
        match outcome {
            Ok(id) => inserted.ids.push(id),
            Err(error) => {
                inserted.error.get_or_insert(error.at(index));
                if ordered {
                    break;
                }
            }
        }
    }
    Ok(inserted)
}

type Documents<'txn> = Table<'txn, &'static [u8], &'static [u8]>;

/// The outer error is the file's, the inner one the document's.
fn insert_one(
    table: &mut Documents<'_>,
    collection: &str,
    document: &RawDocument,
) -> Result<Result<RawBson, StoreError>, Stop> {
    let id = document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null);
    let key = key::encode(id);
    if table.get(key.as_slice())?.is_some() {
        return Ok(Err(duplicate(collection, id)));
    }
    table.insert(key.as_slice(), document.as_bytes())?;
    Ok(Ok(id.into()))
}

fn duplicate(collection: &str, id: RawBsonRef<'_>) -> StoreError {
    let shown = bson::Bson::try_from(id).map(|id| id.to_string()).unwrap_or_default();
    StoreError::duplicate_key(format!(
        "Duplicate key error: E11000 duplicate key error collection: {collection} index: _id_ dup key: {{ _id: {shown} }}"
    ))
}

fn update(
    transaction: &WriteTransaction,
    collection: &str,
    filter: &Filter,
    change: &Change,
    multi: bool,
    upsert: bool,
) -> Result<Updated, Stop> {
    let mut table = transaction.open_table(table(collection))?;
    let mut updated = Updated::default();
    let mut planned: Vec<(Vec<u8>, RawDocumentBuf)> = Vec::new();
    let mut planned_bytes = 0;
    let seen = each_match(&table, filter, |key, document| {
        updated.matched += 1;
        if let Some(after) = change.apply(document, filter).map_err(Stop::Refused)? {
            planned_bytes += key.len() + after.as_bytes().len();
            if planned_bytes > limits::UPDATE_BYTES_MAX {
                return Err(Stop::Refused(too_much("update")));
            }
            planned.push((key.to_vec(), after));
        }
        Ok(multi)
    });
    seen?;
    if updated.matched == 0 && upsert {
        let document = change.upsert(filter).map_err(Stop::Refused)?;
        let id = insert_one(&mut table, collection, &document)?.map_err(Stop::Refused)?;
        updated.upserted_id = Some(id);
        return Ok(updated);
    }
    updated.modified = planned.len() as u64;
    for (key, after) in planned {
        table.insert(key.as_slice(), after.as_bytes())?;
    }
    Ok(updated)
}

fn modify(transaction: &WriteTransaction, collection: &str, modification: &Modification) -> Result<Modified, Stop> {
    let Modification { filter, sort, projection, change, upsert, after } = modification;
    let mut table = transaction.open_table(table(collection))?;
    let shown = |document: RawDocumentBuf| match projection {
        Some(projection) => projection.apply(&document),
        None => document,
    };
    let mut first: Option<(Vec<u8>, Vec<u8>, RawDocumentBuf)> = None;
    let in_order = sort.walk() == Some(Direction::Up);
    each_match(&table, filter, |key, document| {
        let rank = if in_order { Vec::new() } else { sort.key(document).map_err(Stop::Refused)? };
        if first.as_ref().is_none_or(|(other, ..)| rank < *other) {
            first = Some((rank, key.to_vec(), document.to_owned()));
        }
        Ok(!in_order)
    })?;
    match (first, change) {
        (None, Some(change)) if *upsert => {
            let document = change.upsert(filter).map_err(Stop::Refused)?;
            insert_one(&mut table, collection, &document)?.map_err(Stop::Refused)?;
            Ok(Modified { document: after.then(|| shown(document)), changed: true })
        }
        (None, _) => Ok(Modified::default()),
        (Some((_, key, before)), None) => {
            table.remove(key.as_slice())?;
            Ok(Modified { document: Some(shown(before)), changed: true })
        }
        (Some((_, key, before)), Some(change)) => {
            let changed = change.apply(&before, filter).map_err(Stop::Refused)?;
            if let Some(document) = &changed {
                table.insert(key.as_slice(), document.as_bytes())?;
            }
            let is_different = changed.is_some();
            let document = if *after { changed.unwrap_or(before) } else { before };
            Ok(Modified { document: Some(shown(document)), changed: is_different })
        }
    }
}

fn delete(transaction: &WriteTransaction, collection: &str, filter: &Filter, multi: bool) -> Result<u64, Stop> {
    let mut table = transaction.open_table(table(collection))?;
    let mut planned: Vec<Vec<u8>> = Vec::new();
    let mut planned_bytes = 0;
    each_match(&table, filter, |key, _| {
        planned_bytes += key.len();
        if planned_bytes > limits::UPDATE_BYTES_MAX {
            return Err(Stop::Refused(too_much("delete")));
        }
        planned.push(key.to_vec());
        Ok(multi)
    })?;
    for key in &planned {
        table.remove(key.as_slice())?;
    }
    Ok(planned.len() as u64)
}

fn too_much(what: &str) -> StoreError {
    StoreError::caller(
        146,
        "ExceededMemoryLimit",
        format!("one {what} may change at most {} bytes: narrow its filter", limits::UPDATE_BYTES_MAX),
    )
}

/// Shows `see` each document the filter means, in the order of `_id`, until it says that it has enough.
fn each_match(
    table: &Documents<'_>,
    filter: &Filter,
    mut see: impl FnMut(&[u8], &RawDocument) -> Result<bool, Stop>,
) -> Result<(), Stop> {
    let mut offer = |key: &[u8], bytes: &[u8]| {
        let document = RawDocument::from_bytes(bytes)
            .map_err(|error| Stop::Refused(StoreError::store(format!("a stored document is damaged: {error}"))))?;
        if filter.matches(document) { see(key, document) } else { Ok(true) }
    };
    match AccessPath::of(filter) {
        AccessPath::Keys(keys) => {
            for key in keys {
                if let Some(found) = table.get(key.as_slice())?
                    && !offer(&key, found.value())?
                {
                    break;
                }
            }
        }
        AccessPath::Range(from, to) if crossed(&from, &to) => {}
        AccessPath::Range(from, to) => {
            let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
            for entry in table.range::<&[u8]>(bounds)? {
                let (key, value) = entry?;
                if !offer(key.value(), value.value())? {
                    break;
                }
            }
        }
    }
    Ok(())
}

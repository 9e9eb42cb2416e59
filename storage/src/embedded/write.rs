//! What one write does inside a transaction it shares with its neighbours.
//!
//! In: a task and the open transaction. Out: an answer to give once the commit is on disk. A task first finds out all it
//! will change and only then changes it, so one that fails leaves nothing behind and its neighbours stay whole.

use bson::raw::{RawDocument, RawDocumentBuf};
use futures_channel::oneshot;
use redb::WriteTransaction;

use super::changes::{Opening, Place, Watchers};
use super::collection::{Collection, Stop};
use super::file::Opened;
use super::indexing::Work;
use super::output::Outgoing;
use super::transaction::Commit;
use crate::changes::history_lost;
use crate::error::StoreError;
use crate::expression::Variables;
use crate::filter::{self, Filter};
use crate::limits;
use crate::projection::Projection;
use crate::sort::Sort;
use crate::store::{Compacted, Inserted, Modified, Modify, Updated};
use crate::update::{self, Change};
use crate::value::check;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub struct Write {
    /// `database.collection`; empty for a task on the whole file.
    pub collection: String,
    /// About how much memory it holds while it waits.
    pub bytes: usize,
    pub task: Task,
}

pub enum Task {
    Insert {
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
        reply: Reply<Inserted>,
    },
    Update {
        filter: Filter,
        change: Change,
        multi: bool,
        upsert: bool,
        reply: Reply<Updated>,
    },
    Modify {
        modification: Box<Modification>,
        reply: Reply<Modified>,
    },
    Delete {
        filter: Filter,
        multi: bool,
        reply: Reply<u64>,
    },
    /// Everything a transaction wrote.
    Commit {
        commit: Commit,
        reply: Reply<()>,
    },
    Indexes(Work),
    /// What a pipeline ends with.
    Output {
        outgoing: Box<Outgoing>,
        reply: Reply<()>,
    },
    /// Changes are recorded from now on for somebody who watches.
    Watch {
        opening: Opening,
        reply: Reply<Place>,
    },
    /// The file is made as small as it can be.
    Compact {
        reply: Reply<Compacted>,
    },
    DropFile {
        reply: Reply<()>,
    },
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

impl Modification {
    pub fn parse(modify: Modify) -> Result<Self, StoreError> {
        let Modify { filter, sort, projection, update, array_filters, upsert, after, variables } = modify;
        let variables = Variables::of(&variables)?;
        let filter = filter::parse_given(&filter, &variables)?;
        let filter = if upsert { filter.for_upsert()? } else { filter };
        let change = update.map(|update| update::parse(&update, &array_filters, &variables)).transpose()?;
        let (sort, projection) = (Sort::parse(&sort)?, Projection::parse(&projection, &variables)?);
        if after && projection.as_ref().is_some_and(Projection::is_positional) {
            // Which member was matched is known of the document as it was.
            return Err(StoreError::bad_value("Cannot use a positional projection and return the new document"));
        }
        Ok(Self { filter, sort, projection, change, upsert, after })
    }

    /// As much of a document as is asked for.
    pub fn shown(&self, document: &RawDocument) -> Result<RawDocumentBuf, StoreError> {
        match &self.projection {
            Some(projection) => projection.apply(document, &self.filter),
            None => Ok(document.to_owned()),
        }
    }
}

/// To be called once the commit's fate is known.
pub type Acknowledge = Box<dyn FnOnce(Result<(), StoreError>) + Send>;

/// What a write came to, before the commit.
pub struct Performed {
    pub changed: bool,
    pub acknowledge: Acknowledge,
}

/// The file cannot be written; nothing of the transaction can be kept.
pub struct Broken {
    pub error: redb::Error,
    /// To be told with the others.
    pub acknowledge: Acknowledge,
}

impl Write {
    /// Whether it shares its transaction with nobody: it is no transaction at all, or must be undone as a whole.
    pub fn stands_alone(&self) -> bool {
        matches!(self.task, Task::DropFile { .. } | Task::Compact { .. } | Task::Output { .. })
    }

    /// Whether it is about the file and not about what is in it.
    pub fn is_of_file(&self) -> bool {
        matches!(self.task, Task::DropFile { .. } | Task::Compact { .. })
    }

    /// Whether it may bring a document into a file that does not exist yet.
    pub fn may_insert(&self) -> bool {
        match &self.task {
            Task::Insert { .. }
            | Task::Update { upsert: true, .. }
            | Task::Commit { .. }
            | Task::Output { .. }
            | Task::Watch { .. } => true,
            Task::Indexes(work) => work.may_insert(),
            Task::Modify { modification, .. } => modification.upsert,
            _ => false,
        }
    }

    /// Whether it can only make the data smaller, and so may use the last of a disk.
    pub fn only_removes(&self) -> bool {
        match &self.task {
            Task::Delete { .. } => true,
            Task::Modify { modification, .. } => modification.change.is_none(),
            Task::Indexes(work) => work.only_removes(),
            _ => false,
        }
    }

    /// Does its changes in the transaction. An error is the file's: the whole transaction is lost.
    pub fn perform(
        self,
        transaction: &WriteTransaction,
        opened: &Opened,
        watchers: &Watchers,
    ) -> Result<Performed, Broken> {
        let collection = self.collection.as_str();
        match self.task {
            Task::Insert { documents, ordered, reply } => {
                let outcome = insert(transaction, opened, collection, documents, ordered);
                settle(outcome, reply, |inserted| !inserted.ids.is_empty())
            }
            Task::Update { filter, change, multi, upsert, reply } => {
                let outcome = update(transaction, opened, collection, &filter, &change, multi, upsert);
                settle(outcome, reply, |updated| updated.modified > 0 || updated.upserted_id.is_some())
            }
            Task::Modify { modification, reply } => {
                let outcome = modify(transaction, opened, collection, &modification);
                settle(outcome, reply, |modified| modified.changed)
            }
            Task::Delete { filter, multi, reply } => {
                let outcome = delete(transaction, opened, collection, &filter, multi);
                settle(outcome, reply, |deleted| *deleted > 0)
            }
            Task::Commit { commit, reply } => {
                let mut changed = false;
                let outcome = commit.perform(transaction, opened).map(|different| changed = different);
                settle(outcome, reply, |()| changed)
            }
            Task::Indexes(work) => work.perform(transaction, opened, collection),
            Task::Output { outgoing, reply } => {
                let mut changed = false;
                let outcome = outgoing.write(transaction, opened, collection).map(|written| changed = written);
                settle(outcome, reply, |()| changed)
            }
            Task::Watch { opening, reply } => {
                let outcome = opened.changes.open(transaction, &opened.database, watchers, &opening);
                settle(outcome, reply, |_| true)
            }
            task @ (Task::DropFile { .. } | Task::Compact { .. }) => {
                let write = Self { collection: String::new(), bytes: 0, task };
                write.fail(StoreError::store("a file cannot be replaced inside a transaction"));
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
            Task::Indexes(work) => work.find_nothing(&self.collection),
            Task::Commit { reply, .. } | Task::Output { reply, .. } | Task::DropFile { reply } => {
                drop(reply.send(Ok(())));
            }
            Task::Compact { reply } => drop(reply.send(Ok(Compacted { before: 0, after: 0 }))),
            Task::Watch { reply, .. } => drop(reply.send(Err(history_lost()))),
        }
    }

    pub fn fail(self, error: StoreError) {
        match self.task {
            Task::Insert { reply, .. } => drop(reply.send(Err(error))),
            Task::Update { reply, .. } => drop(reply.send(Err(error))),
            Task::Modify { reply, .. } => drop(reply.send(Err(error))),
            Task::Delete { reply, .. } => drop(reply.send(Err(error))),
            Task::Indexes(work) => work.fail(error),
            Task::Commit { reply, .. } | Task::Output { reply, .. } | Task::DropFile { reply } => {
                drop(reply.send(Err(error)));
            }
            Task::Compact { reply } => drop(reply.send(Err(error))),
            Task::Watch { reply, .. } => drop(reply.send(Err(error))),
        }
    }
}

fn settle<T: Send + 'static>(
    outcome: Result<T, Stop>,
    reply: Reply<T>,
    changed: impl FnOnce(&T) -> bool,
) -> Result<Performed, Broken> {
    let (changed, answer) = match outcome {
        Ok(answer) => (changed(&answer), Ok(answer)),
        Err(Stop::Refused(error)) => (false, Err(error)),
        Err(Stop::Broken(error)) => {
            let lost = || StoreError::store("the store's file could not be written");
            let acknowledge =
                Box::new(move |fate: Result<(), StoreError>| drop(reply.send(fate.and_then(|()| Err(lost())))));
            return Err(Broken { error, acknowledge });
        }
    };
    // Whoever stopped waiting does not hear it; the write stands all the same.
    let acknowledge = Box::new(move |fate: Result<(), StoreError>| drop(reply.send(fate.and(answer))));
    Ok(Performed { changed, acknowledge })
}

fn insert(
    transaction: &WriteTransaction,
    opened: &Opened,
    name: &str,
    documents: Vec<RawDocumentBuf>,
    ordered: bool,
) -> Result<Inserted, Stop> {
    let mut collection = Collection::open(transaction, opened, name)?;
    let mut inserted = Inserted::default();
    for (index, document) in documents.into_iter().enumerate() {
        let outcome = check::to_store(document).map_err(Stop::Refused);
        match outcome.and_then(|document| collection.insert(&document)) {
            Ok(id) => inserted.ids.push(id),
            Err(Stop::Refused(error)) => {
                inserted.error.get_or_insert(error.at(index));
                if ordered {
                    break;
                }
            }
            Err(broken) => return Err(broken),
        }
    }
    Ok(inserted)
}

fn update(
    transaction: &WriteTransaction,
    opened: &Opened,
    name: &str,
    filter: &Filter,
    change: &Change,
    multi: bool,
    upsert: bool,
) -> Result<Updated, Stop> {
    let mut collection = Collection::open(transaction, opened, name)?.wholly(change.is_replacement());
    let mut updated = Updated::default();
    let mut planned: Vec<(Vec<u8>, RawDocumentBuf)> = Vec::new();
    let mut planned_bytes = 0;
    collection.each_match(filter, !multi, |key, document| {
        updated.matched += 1;
        if let Some(after) = change.apply(document, filter).map_err(Stop::Refused)? {
            planned_bytes += key.len() + after.as_bytes().len();
            if planned_bytes > limits::UPDATE_BYTES_MAX {
                return Err(Stop::Refused(too_much("update")));
            }
            planned.push((key.to_vec(), after));
        }
        Ok(multi)
    })?;
    if updated.matched == 0 && upsert {
        let document = change.upsert(filter).map_err(Stop::Refused)?;
        updated.upserted_id = Some(collection.insert(&document)?);
        return Ok(updated);
    }
    updated.modified = planned.len() as u64;
    collection.replace_all(&planned)?;
    Ok(updated)
}

fn modify(
    transaction: &WriteTransaction,
    opened: &Opened,
    name: &str,
    modification: &Modification,
) -> Result<Modified, Stop> {
    let Modification { filter, sort, change, upsert, after, .. } = modification;
    let wholly = change.as_ref().is_some_and(Change::is_replacement);
    let mut collection = Collection::open(transaction, opened, name)?.wholly(wholly);
    // Before anything is changed, since a projection may fail.
    let shown = |document: &RawDocument| modification.shown(document).map_err(Stop::Refused);
    let mut first: Option<(Vec<u8>, Vec<u8>, RawDocumentBuf)> = None;
    let (plan, in_order) = collection.plan(filter, sort, true)?;
    collection.each_planned(plan, filter, |key, document| {
        let rank = if in_order { Vec::new() } else { sort.key(document).map_err(Stop::Refused)? };
        if first.as_ref().is_none_or(|(other, ..)| rank < *other) {
            first = Some((rank, key.to_vec(), document.to_owned()));
        }
        Ok(!in_order)
    })?;
    match (first, change) {
        (None, Some(change)) if *upsert => {
            let document = change.upsert(filter).map_err(Stop::Refused)?;
            let answer = after.then(|| shown(&document)).transpose()?;
            collection.insert(&document)?;
            Ok(Modified { document: answer, changed: true })
        }
        (None, _) => Ok(Modified::default()),
        (Some((_, key, before)), None) => {
            let answer = shown(&before)?;
            collection.remove(&key)?;
            Ok(Modified { document: Some(answer), changed: true })
        }
        (Some((_, key, before)), Some(change)) => {
            let changed = change.apply(&before, filter).map_err(Stop::Refused)?;
            let answer = shown(changed.as_ref().filter(|_| *after).unwrap_or(&before))?;
            if let Some(document) = &changed {
                collection.replace(&key, document)?;
            }
            Ok(Modified { document: Some(answer), changed: changed.is_some() })
        }
    }
}

fn delete(
    transaction: &WriteTransaction,
    opened: &Opened,
    name: &str,
    filter: &Filter,
    multi: bool,
) -> Result<u64, Stop> {
    let mut collection = Collection::open(transaction, opened, name)?;
    let mut planned: Vec<Vec<u8>> = Vec::new();
    let mut planned_bytes = 0;
    collection.each_match(filter, !multi, |key, _| {
        planned_bytes += key.len();
        if planned_bytes > limits::UPDATE_BYTES_MAX {
            return Err(Stop::Refused(too_much("delete")));
        }
        planned.push(key.to_vec());
        Ok(multi)
    })?;
    for key in &planned {
        collection.remove(key)?;
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

//! Making, dropping and using up indexes, as writes among the other writes of a file.
//!
//! In: what to do to an index, and the transaction it shares with its neighbours. Out: an answer once the commit is on
//! disk. A collection that is small gets its index in one commit. Otherwise each commit takes in a slice and the next
//! slice is queued behind the writes that wait, so the collection stays readable and writable; what is written meanwhile
//! goes into the index as well.

use std::sync::{Arc, mpsc};

use futures_channel::oneshot;
use redb::WriteTransaction;

use super::builds::Builds;
use super::collection::{Collection, Stop};
use super::expiry;
use super::file::Opened;
use super::house::House;
use super::indexes::{self, Entry, table_name};
use super::pool::closed;
use super::write::{Broken, Performed, Task, Write};
use crate::error::StoreError;
use crate::index::{self, ID_INDEX, Index};
use crate::limits;
use crate::namespace::Tenant;

type Reply<T> = oneshot::Sender<Result<T, StoreError>>;

pub enum Work {
    Create {
        index: Box<Index>,
        build: Continuation,
    },
    /// The next slice of a build: documents behind this key.
    Step {
        index: String,
        after: Vec<u8>,
        build: Continuation,
    },
    /// `*`: all but that of `_id`.
    Drop {
        index: String,
        reply: Reply<()>,
    },
    /// Documents whose date in the index is not after `until` (milliseconds), some of them; how many went.
    Expire {
        index: String,
        until: i64,
        reply: mpsc::Sender<Result<usize, StoreError>>,
    },
}

/// Who waits for a build, and how it goes on.
pub struct Continuation {
    pub house: Arc<House>,
    pub tenant: Tenant,
    pub reply: Reply<String>,
}

/// What a step of a build came to.
enum Stepped {
    Done,
    More(Vec<u8>),
    /// The index cannot be; what there was of it is gone.
    Failed(StoreError),
    /// It was there before.
    Known,
}

impl Work {
    pub fn may_insert(&self) -> bool {
        matches!(self, Self::Create { .. })
    }

    /// Whether it can only make the data smaller, and so may use the last of a disk.
    pub fn only_removes(&self) -> bool {
        matches!(self, Self::Drop { .. } | Self::Expire { .. })
    }

    pub fn fail(self, error: StoreError) {
        match self {
            Self::Create { build, .. } | Self::Step { build, .. } => drop(build.reply.send(Err(error))),
            Self::Drop { reply, .. } => drop(reply.send(Err(error))),
            Self::Expire { reply, .. } => drop(reply.send(Err(error))),
        }
    }

    pub fn find_nothing(self, collection: &str) {
        match self {
            Self::Expire { reply, .. } => drop(reply.send(Ok(0))),
            work => work.fail(StoreError::caller(26, "NamespaceNotFound", format!("ns not found {collection}"))),
        }
    }

    pub fn perform(
        self,
        transaction: &WriteTransaction,
        opened: &Opened,
        collection: &str,
    ) -> Result<Performed, Broken> {
        match self {
            Self::Create { index, build } => {
                let name = index.name.clone();
                let stepped = create(transaction, opened, collection, *index, &build);
                settle_step(stepped, opened, collection, name, build)
            }
            Self::Step { index, after, build } => {
                let stepped = step(transaction, opened, collection, &index, Some(after));
                settle_step(stepped, opened, collection, index, build)
            }
            Self::Drop { index, reply } => {
                let outcome = remove(transaction, opened, collection, &index);
                settle(outcome, |_| true, move |answer| drop(reply.send(answer)))
            }
            Self::Expire { index, until, reply } => {
                let outcome = expiry::remove(transaction, opened, collection, &index, until);
                settle(outcome, |removed| *removed > 0, move |answer| drop(reply.send(answer)))
            }
        }
    }
}

fn create(
    transaction: &WriteTransaction,
    opened: &Opened,
    collection: &str,
    index: Index,
    build: &Continuation,
) -> Result<Stepped, Stop> {
    let opened_collection = Collection::open(transaction, opened, collection)?;
    let (mut entries, total) = (opened_collection.indexes().to_vec(), opened_collection.len()?);
    drop(opened_collection);
    if index.name == ID_INDEX {
        return Ok(Stepped::Known);
    }
    for entry in &entries {
        if !index::agree(&index, &entry.index).map_err(Stop::Refused)? {
            if entry.building {
                let text = format!("the index {} is being built already", index.name);
                return Err(Stop::Refused(StoreError::caller(40333, "IndexBuildAlreadyInProgress", text)));
            }
            return Ok(Stepped::Known);
        }
    }
    // That of `_id` has no entry here.
    if entries.len() + 2 > limits::INDEXES_MAX {
        let text = format!("add index fails, too many indexes for {collection}: {} are allowed", limits::INDEXES_MAX);
        return Err(Stop::Refused(StoreError::caller(67, "CannotCreateIndex", text)));
    }
    if index.expire_after_seconds.is_some() {
        build.house.expiring(build.tenant).map_err(Stop::Refused)?;
    }
    let name = index.name.clone();
    entries.push(Entry { index, arrays: 0, building: true });
    indexes::write(transaction, collection, &entries)?;
    opened.builds.begin(collection, &name, total);
    step(transaction, opened, collection, &name, None)
}

fn step(
    transaction: &WriteTransaction,
    opened: &Opened,
    name: &str,
    index: &str,
    after: Option<Vec<u8>>,
) -> Result<Stepped, Stop> {
    let mut collection = Collection::open(transaction, opened, name)?;
    let mine = |entry: &Entry| entry.building && entry.index.name == index;
    let Some(at) = collection.indexes().iter().position(mine) else {
        let text = format!("the index {index} was dropped, or the store's file was opened anew, before it was built");
        return Err(Stop::Refused(StoreError::caller(276, "IndexBuildAborted", text)));
    };
    let filled = match opened.builds.failure(name, index) {
        Some(error) => Err(Stop::Refused(error)),
        None => collection.fill(at, after, limits::INDEX_STEP_DOCUMENTS, limits::INDEX_STEP_BYTES, &mut || {
            opened.builds.advance(name, index);
        }),
    };
    let mut entries = collection.indexes().to_vec();
    drop(collection);
    match filled {
        Ok(Some(last)) => Ok(Stepped::More(last)),
        Ok(None) => {
            entries[at].building = false;
            indexes::write(transaction, name, &entries)?;
            Ok(Stepped::Done)
        }
        Err(Stop::Refused(error)) => {
            entries.remove(at);
            transaction.delete_table(indexes::table(&table_name(name, index)))?;
            indexes::write(transaction, name, &entries)?;
            Ok(Stepped::Failed(error))
        }
        Err(broken) => Err(broken),
    }
}

fn remove(transaction: &WriteTransaction, opened: &Opened, collection: &str, index: &str) -> Result<(), Stop> {
    if index == ID_INDEX {
        return Err(Stop::Refused(StoreError::caller(72, "InvalidOptions", "cannot drop _id index")));
    }
    let entries = Collection::open(transaction, opened, collection)?.indexes().to_vec();
    let (gone, kept): (Vec<_>, Vec<_>) =
        entries.into_iter().partition(|entry| index == "*" || entry.index.name == index);
    if gone.is_empty() && index != "*" {
        let text = format!("index not found with name [{index}]");
        return Err(Stop::Refused(StoreError::caller(27, "IndexNotFound", text)));
    }
    for entry in &gone {
        transaction.delete_table(indexes::table(&table_name(collection, &entry.index.name)))?;
        // Whoever builds it finds it gone.
        opened.builds.end(collection, &entry.index.name);
    }
    indexes::write(transaction, collection, &kept)
}

fn settle_step(
    stepped: Result<Stepped, Stop>,
    opened: &Opened,
    collection: &str,
    index: String,
    build: Continuation,
) -> Result<Performed, Broken> {
    let builds = Arc::clone(&opened.builds);
    let collection = collection.to_owned();
    let changed = |stepped: &Stepped| !matches!(stepped, Stepped::Known);
    settle(stepped, changed, move |outcome| {
        let outcome = match outcome {
            Ok(Stepped::More(after)) => return go_on(&builds, collection, index, after, build),
            // The one that is there, or that somebody else builds, is not this one's to end.
            Ok(Stepped::Known) => Ok(index),
            Ok(Stepped::Done) => {
                builds.end(&collection, &index);
                Ok(index)
            }
            Ok(Stepped::Failed(error)) => {
                builds.end(&collection, &index);
                Err(error)
            }
            Err(error) => Err(error),
        };
        // Whoever stopped waiting does not hear it; the index stands all the same.
        drop(build.reply.send(outcome));
    })
}

fn go_on(builds: &Builds, collection: String, index: String, after: Vec<u8>, build: Continuation) {
    let Continuation { house, tenant, reply } = build;
    if house.writers.is_finishing() {
        builds.end(&collection, &index);
        return drop(reply.send(Err(closed())));
    }
    let next = Continuation { house: Arc::clone(&house), tenant, reply };
    let task = Task::Indexes(Work::Step { index, after, build: next });
    house.write_on(tenant, Write { collection, bytes: limits::INDEX_STEP_BYTES, task });
}

fn settle<T: Send + 'static>(
    outcome: Result<T, Stop>,
    changed: impl FnOnce(&T) -> bool,
    tell: impl FnOnce(Result<T, StoreError>) + Send + 'static,
) -> Result<Performed, Broken> {
    let (changed, answer) = match outcome {
        Ok(answer) => (changed(&answer), Ok(answer)),
        Err(Stop::Refused(error)) => (false, Err(error)),
        Err(Stop::Broken(error)) => {
            let lost = || StoreError::store("the store's file could not be written");
            let acknowledge = Box::new(move |fate: Result<(), StoreError>| tell(fate.and_then(|()| Err(lost()))));
            return Err(Broken { error, acknowledge });
        }
    };
    Ok(Performed { changed, acknowledge: Box::new(move |fate| tell(fate.and(answer))) })
}

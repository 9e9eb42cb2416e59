//! One transaction between its beginning and its end: its snapshot, what it wrote, and the cursors that read in it.
//!
//! Whoever ends it, its owner, a failed operation, or the file that needs its pages back, everything it holds is let go at
//! that moment, whoever else still holds a handle.

use std::collections::{BTreeSet, HashMap};
use std::mem::replace;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bson::raw::RawDocumentBuf;

use super::super::file::{Availability, File};
use super::super::house::House;
use super::super::view::{OwnWrites, Table, View};
use super::commit::Commit;
use super::unique::Taken;
use super::{Change, too_large, write_conflict};
use crate::error::StoreError;
use crate::limits;
use crate::store::Cursor;
use crate::transaction::{ended_by, expired, no_such};

pub struct Shared {
    number: u64,
    pub file: Arc<File>,
    lifetime: Duration,
    began: Instant,
    state: Mutex<State>,
}

enum State {
    Open(Work),
    Committing,
    Committed,
    /// With what everything that still comes is answered.
    Ended(StoreError),
}

#[derive(Default)]
struct Work {
    /// Taken when the first operation begins.
    view: Option<View>,
    own: Arc<OwnWrites>,
    taken: Taken,
    /// Which of them were replaced rather than updated.
    wholly: BTreeSet<(String, Vec<u8>)>,
    /// Of `own`: keys and documents.
    bytes: usize,
    cursors: HashMap<u64, Box<dyn Cursor>>,
    cursors_made: u64,
}

impl Shared {
    pub fn new(number: u64, file: Arc<File>, lifetime: Duration) -> Self {
        let state = Mutex::new(State::Open(Work::default()));
        Self { number, file, lifetime, began: Instant::now(), state }
    }

    pub fn number(&self) -> u64 {
        self.number
    }

    /// What it sees now. Blocks when it is the first operation; for the store's own threads.
    pub fn view(&self, house: &House) -> Result<View, StoreError> {
        if let Some(view) = self.with(|work| Ok(work.seen()))? {
            return Ok(view);
        }
        // Outside of the lock: opening the file may end all its transactions, this one as well.
        let view = View::now(&self.file, house.opened(&self.file, false)?)?;
        self.with(|work| {
            work.view.get_or_insert(view);
            Ok(work.seen())
        })?
        .ok_or_else(|| StoreError::store("a transaction lost its snapshot"))
    }

    /// The same where that takes no waiting.
    pub fn view_at_hand(&self) -> Result<Option<View>, StoreError> {
        self.with(|work| {
            if work.view.is_none()
                && let Availability::Open(opened) = self.file.availability()
            {
                work.view = Some(View::now(&self.file, Some(opened))?);
            }
            Ok(work.seen())
        })
    }

    /// Changes documents of a collection, in its own eyes. Refused when somebody else changed one of them since the
    /// snapshot was taken, or is about to. Blocks; for the store's own threads.
    pub fn write(&self, house: &House, collection: &str, changes: Vec<Change>, wholly: bool) -> Result<(), StoreError> {
        let view = self.view(house)?;
        let newest = View::now(&self.file, house.opened(&self.file, false)?)?;
        if let Some(opened) = view.opened()
            && newest.opened().is_none_or(|current| !Arc::ptr_eq(opened, current))
        {
            return Err(no_such("the file it read from was closed or removed", true));
        }
        let (own, before) = (view.own(collection), view.table(collection)?);
        let newest = newest.table(collection)?;
        for (key, _) in &changes {
            let mine = own.as_ref().is_some_and(|own| own.contains_key(key));
            if !mine && !same(&view, before.as_ref(), newest.as_ref(), key)? {
                return Err(write_conflict(collection));
            }
        }
        let shifts = self.with(|work| work.taken.check(&view, collection, &changes))?;
        let bytes = self.with(|work| {
            let own = work.own.get(collection);
            let added = changes.iter().map(|(key, after)| {
                let before = own.and_then(|own| own.get(key));
                let (was, is) = (before.map_or(0, |before| size(key, before.as_deref())), size(key, after.as_ref()));
                is as isize - was as isize
            });
            let bytes = work.bytes.saturating_add_signed(added.sum());
            if bytes > limits::TRANSACTION_BYTES_MAX { Err(too_large(bytes)) } else { Ok(bytes) }
        })?;
        let keys = changes.iter().map(|(key, _)| key.as_slice());
        self.file.transactions.claim(self.number, collection, keys, bytes)?;
        self.with(|work| {
            work.bytes = bytes;
            work.taken.apply(shifts);
            let documents = Arc::make_mut(&mut work.own).entry(collection.to_owned()).or_default();
            let documents = Arc::make_mut(documents);
            for (key, after) in changes {
                if wholly {
                    work.wholly.insert((collection.to_owned(), key.clone()));
                }
                documents.insert(key, after.map(Arc::new));
            }
            Ok(())
        })
    }

    /// Takes a cursor in its care, and gives its number.
    pub fn keep(&self, cursor: Box<dyn Cursor>) -> Result<u64, StoreError> {
        self.with(|work| {
            work.cursors_made += 1;
            work.cursors.insert(work.cursors_made, cursor);
            Ok(work.cursors_made)
        })
    }

    pub fn take_cursor(&self, number: u64) -> Result<Option<Box<dyn Cursor>>, StoreError> {
        self.with(|work| Ok(work.cursors.remove(&number)))
    }

    pub fn return_cursor(&self, number: u64, cursor: Box<dyn Cursor>) -> Result<(), StoreError> {
        self.with(|work| {
            work.cursors.insert(number, cursor);
            Ok(())
        })
    }

    /// Its owner lost interest in a cursor.
    pub fn drop_cursor(&self, number: u64) {
        let dropped = match &mut *self.lock() {
            State::Open(work) => work.cursors.remove(&number),
            _ => None,
        };
        drop(dropped);
    }

    pub fn check(&self) -> Result<(), StoreError> {
        self.with(|_| Ok(()))
    }

    /// What is to be committed; `None` when there is nothing, or it is committed already.
    pub fn begin_commit(&self) -> Result<Option<Commit>, StoreError> {
        let lived = self.began.elapsed() > self.lifetime;
        let mut state = self.lock();
        match &*state {
            State::Open(_) if !lived => {}
            State::Open(_) => {
                drop(state);
                self.expire(Instant::now());
                return Err(self.gone());
            }
            State::Committed => return Ok(None),
            State::Committing => {
                return Err(no_such("its commit was begun before and its outcome is not known", false));
            }
            State::Ended(why) => return Err(why.clone()),
        }
        let State::Open(work) = replace(&mut *state, State::Committing) else { return Ok(None) };
        if work.own.values().all(|documents| documents.is_empty()) {
            *state = State::Committed;
            drop(state);
            self.file.transactions.leave(self.number);
            return Ok(None);
        }
        drop(state);
        let Work { view, own, wholly, bytes, .. } = work;
        Ok(view.map(|view| Commit { view, own, wholly, bytes }))
    }

    pub fn end_commit(&self, outcome: &Result<(), StoreError>) {
        *self.lock() = match outcome {
            Ok(()) => State::Committed,
            Err(error) => State::Ended(ended_by(error)),
        };
        self.file.transactions.leave(self.number);
    }

    /// An operation failed, and the transaction with it.
    pub fn fail(&self, error: &StoreError) {
        self.end(ended_by(error));
    }

    pub fn expire(&self, now: Instant) {
        if now.duration_since(self.began) > self.lifetime {
            self.end(expired(self.lifetime));
        }
    }

    /// Lets go of everything, unless it is over or being committed.
    pub fn end(&self, why: StoreError) {
        let mut state = self.lock();
        let State::Open(_) = &*state else { return };
        let work = replace(&mut *state, State::Ended(why));
        drop(state);
        // Cursors and the snapshot go outside of the lock: a last reference closes a file.
        drop(work);
        self.file.transactions.leave(self.number);
    }

    fn gone(&self) -> StoreError {
        match &*self.lock() {
            State::Ended(why) => why.clone(),
            State::Open(_) | State::Committing | State::Committed => no_such("it has been committed", false),
        }
    }

    fn with<T>(&self, see: impl FnOnce(&mut Work) -> Result<T, StoreError>) -> Result<T, StoreError> {
        self.expire(Instant::now());
        let mut state = self.lock();
        if let State::Open(work) = &mut *state {
            return see(work);
        }
        drop(state);
        Err(self.gone())
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Work {
    fn seen(&self) -> Option<View> {
        self.view.as_ref().map(|view| view.with(Arc::clone(&self.own)))
    }
}

/// Whether both tables have the same under a key. A document that was changed and changed back is as it was.
fn same(view: &View, one: Option<&Table>, other: Option<&Table>, key: &[u8]) -> Result<bool, StoreError> {
    let failed = |error: redb::StorageError| view.failure(&error);
    let find = |table: Option<&Table>| table.map(|table| table.get(key)).transpose().map_err(failed);
    let (one, other) = (find(one)?.flatten(), find(other)?.flatten());
    Ok(one.as_ref().map(|found| found.value()) == other.as_ref().map(|found| found.value()))
}

fn size(key: &[u8], document: Option<&RawDocumentBuf>) -> usize {
    key.len() + document.map_or(0, |document| document.as_bytes().len())
}

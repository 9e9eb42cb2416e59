//! One tenant's file: whether it exists, whether it is open, and the writes that wait for it.
//!
//! Not here: what the writes do (`write`), and when they run (`writer`).

use std::collections::VecDeque;
use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Builder, Database, TableDefinition};

use super::house::House;
use super::transaction::Ledger;
use super::write::Write;
use crate::error::StoreError;
use crate::limits;

pub struct File {
    path: PathBuf,
    cache_bytes: usize,
    state: RwLock<State>,
    writes: Mutex<Writes>,
    last_use: AtomicU64,
    pub transactions: Ledger,
}

enum State {
    /// Perhaps on disk, perhaps not; not looked at yet, or closed again.
    Closed,
    /// Not on disk. Only this process makes files, so this stays true until it does.
    Absent,
    Open(Arc<Opened>),
    /// A read, write or sync failed. The next use opens the file anew and walks all of it, since what is in the file may
    /// not be what was thought to be.
    Failed,
    /// The store was closed.
    Shut(StoreError),
}

struct Writes {
    waiting: VecDeque<Write>,
    bytes: usize,
    /// Whether a thread has been asked to work on them, or is at it.
    scheduled: bool,
}

/// An open database. Whoever holds one keeps the file from being closed as idle.
pub struct Opened {
    pub database: Database,
}

/// What a caller that must not block can learn about a file.
pub enum Availability {
    Open(Arc<Opened>),
    /// There is no file and so no document.
    Nothing,
    Unknown,
}

impl File {
    pub fn new(path: PathBuf, cache_bytes: usize) -> Self {
        Self {
            path,
            cache_bytes,
            state: RwLock::new(State::Closed),
            writes: Mutex::new(Writes { waiting: VecDeque::new(), bytes: 0, scheduled: false }),
            last_use: AtomicU64::new(0),
            transactions: Ledger::default(),
        }
    }

    pub fn availability(&self) -> Availability {
        // While a thread opens the file the lock is taken, and the caller goes the way through the threads.
        let Ok(state) = self.state.try_read() else { return Availability::Unknown };
        match &*state {
            State::Open(opened) => Availability::Open(Arc::clone(opened)),
            State::Absent => Availability::Nothing,
            State::Closed | State::Failed | State::Shut(_) => Availability::Unknown,
        }
    }

    /// The database, and whether this call opened it.
    pub fn open(&self, create: bool) -> Result<(Option<Arc<Opened>>, bool), StoreError> {
        if let State::Open(opened) = &*self.state.read().unwrap_or_else(PoisonError::into_inner) {
            return Ok((Some(Arc::clone(opened)), false));
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        let failed = match &*state {
            State::Open(opened) => return Ok((Some(Arc::clone(opened)), false)),
            State::Shut(error) => return Err(error.clone()),
            State::Absent if !create => return Ok((None, false)),
            State::Failed => true,
            State::Absent | State::Closed => false,
        };
        let present = self.path.try_exists().map_err(|error| self.failure("looked for", &error))?;
        if !present && !create {
            *state = State::Absent;
            return Ok((None, false));
        }
        let database = Builder::new()
            .set_cache_size(self.cache_bytes)
            .set_check_integrity_on_open(failed)
            .create(&self.path)
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => StoreError::store(format!(
                    "{} is in use: another process, or an unfinished query, has it open",
                    self.path.display()
                )),
                error => self.failure("opened", &error),
            })?;
        if !present {
            // The name of a new file must survive power loss as its content does.
            sync_directory(&self.path).map_err(|error| self.failure("made", &error))?;
        }
        let opened = Arc::new(Opened { database });
        *state = State::Open(Arc::clone(&opened));
        Ok((Some(opened), true))
    }

    pub fn touch(&self, house: &House) {
        self.last_use.store(house.tick(), Ordering::Relaxed);
    }

    pub fn last_use(&self) -> u64 {
        self.last_use.load(Ordering::Relaxed)
    }

    pub fn is_open(&self) -> bool {
        matches!(&*self.state.read().unwrap_or_else(PoisonError::into_inner), State::Open(_))
    }

    /// Closes the file unless somebody holds it or writes wait for it; whether it is closed now.
    pub fn close_if_idle(&self) -> bool {
        if self.lock_writes().scheduled {
            return false;
        }
        let Ok(mut state) = self.state.try_write() else { return false };
        match &*state {
            // The one here: references are only made under the lock that is held now.
            State::Open(opened) if Arc::strong_count(opened) > 1 => false,
            State::Open(_) => {
                *state = State::Closed;
                true
            }
            _ => true,
        }
    }

    /// Something that should have been on disk is not known to be. Nothing is acknowledged through this database again.
    pub fn fail(&self) {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        if matches!(&*state, State::Open(_)) {
            *state = State::Failed;
        }
    }

    /// Removes the file. Cursors that still read from it keep what they see.
    pub fn remove(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State::Closed;
        match fs::remove_file(&self.path) {
            Ok(()) => sync_directory(&self.path).map_err(|error| self.failure("removed", &error))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.failure("removed", &error)),
        }
        *state = State::Absent;
        Ok(())
    }

    pub fn shut(&self, why: StoreError) {
        *self.state.write().unwrap_or_else(PoisonError::into_inner) = State::Shut(why);
    }

    /// Whether a thread must be asked to work on the writes.
    pub fn enqueue(&self, write: Write) -> Result<bool, StoreError> {
        let mut writes = self.lock_writes();
        let bytes = write.bytes;
        if writes.waiting.len() >= limits::WAITING_WRITES_MAX
            || (writes.bytes > 0 && writes.bytes + bytes > limits::WAITING_BYTES_MAX)
        {
            return Err(StoreError::store(
                "too many writes of this app are waiting for the disk; send fewer at once, or try again",
            ));
        }
        writes.bytes += bytes;
        writes.waiting.push_back(write);
        Ok(!std::mem::replace(&mut writes.scheduled, true))
    }

    /// The writes that go into the next commit together.
    pub fn next_group(&self) -> Vec<Write> {
        let mut writes = self.lock_writes();
        let mut group = Vec::new();
        let mut bytes = 0;
        while group.len() < limits::GROUP_WRITES_MAX && bytes < limits::GROUP_BYTES_MAX {
            // Removing the file is nobody's neighbour.
            let alone = writes.waiting.front().is_some_and(Write::stands_alone);
            if alone && !group.is_empty() {
                break;
            }
            let Some(write) = writes.waiting.pop_front() else { break };
            bytes += write.bytes;
            writes.bytes -= write.bytes;
            group.push(write);
            if alone {
                break;
            }
        }
        group
    }

    /// Whether more writes wait, so that the thread must come again.
    pub fn more_writes(&self) -> bool {
        let mut writes = self.lock_writes();
        writes.scheduled = !writes.waiting.is_empty();
        writes.scheduled
    }

    /// An error of the disk or of the file, for the operator's log and the caller.
    pub fn failure(&self, what: &str, error: &dyn fmt::Display) -> StoreError {
        tracing::error!(file = %self.path.display(), %error, "the store's file could not be {what}");
        StoreError::store(format!("the store's file could not be {what}: {error}"))
    }

    fn lock_writes(&self) -> MutexGuard<'_, Writes> {
        self.writes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The table of one collection: keys of `_id`s to documents.
pub fn table(collection: &str) -> TableDefinition<'_, &'static [u8], &'static [u8]> {
    TableDefinition::new(collection)
}

impl fmt::Debug for File {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "File({})", self.path.display())
    }
}

/// Makes the entry of `path` in its directory survive power loss.
pub fn sync_directory(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => fs::File::open(".")?.sync_all(),
        Some(parent) => fs::File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

//! One tenant's file: whether it exists, whether it is open, and the writes that wait for it.
//!
//! Not here: what the writes do (`write`), and when they run (`writer`).

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

use redb::{Builder, Database, StorageBackend, TableDefinition};

use super::backup::{self, Parts};
use super::builds::Builds;
use super::changes::{Log, Watchers};
use super::disk::{Disk, Lease};
use super::house::House;
use super::indexes;
use super::transaction::Ledger;
use super::write::Write;
use crate::error::StoreError;
use crate::limits;
use crate::store::Compacted;

pub struct File {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    cache_bytes: usize,
    state: RwLock<State>,
    writes: Mutex<Writes>,
    last_use: AtomicU64,
    pub transactions: Ledger,
    pub watchers: Arc<Watchers>,
    /// Whether the last write was refused for want of space, so that the log tells it once.
    full: AtomicBool,
    /// Groups of writes that were begun.
    groups: AtomicU64,
}

enum State {
    /// Perhaps on disk, perhaps not; not looked at yet, or closed again.
    Closed,
    /// Not on disk. Only this process makes files, so this stays true until it does.
    Absent,
    Open(Arc<Opened>),
    /// It was open and failed, and could not be opened anew yet.
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
    pub indexes: indexes::Cache,
    pub builds: Arc<Builds>,
    lease: Lease,
    failed: AtomicBool,
    /// What this database knows of the log of changes in it.
    pub changes: Log,
}

impl Opened {
    /// A read, write or sync of this database failed. Nothing is acknowledged through it any more: the next use of the
    /// file takes it away from this database, opens it anew from the disk and walks all of it, since what is in the file
    /// may not be what was thought to be. Never blocks.
    pub fn fail(&self) {
        self.failed.store(true, Ordering::Release);
    }

    fn has_failed(&self) -> bool {
        self.failed.load(Ordering::Acquire)
    }
}

/// What a caller that must not block can learn about a file.
pub enum Availability {
    Open(Arc<Opened>),
    /// There is no file and so no document.
    Nothing,
    Unknown,
}

impl File {
    pub fn new(disk: Arc<dyn Disk>, path: PathBuf, cache_bytes: usize) -> Self {
        Self {
            path,
            disk,
            cache_bytes,
            state: RwLock::new(State::Closed),
            writes: Mutex::new(Writes { waiting: VecDeque::new(), bytes: 0, scheduled: false }),
            last_use: AtomicU64::new(0),
            transactions: Ledger::default(),
            watchers: Arc::default(),
            full: AtomicBool::new(false),
            groups: AtomicU64::new(0),
        }
    }

    pub fn availability(&self) -> Availability {
        // While a thread opens the file the lock is taken, and the caller goes the way through the threads.
        let Ok(state) = self.state.try_read() else { return Availability::Unknown };
        match &*state {
            State::Open(opened) if !opened.has_failed() => Availability::Open(Arc::clone(opened)),
            State::Absent => Availability::Nothing,
            State::Open(_) | State::Closed | State::Failed | State::Shut(_) => Availability::Unknown,
        }
    }

    /// The database, and whether this call opened it.
    pub fn open(&self, create: bool) -> Result<(Option<Arc<Opened>>, bool), StoreError> {
        if let State::Open(opened) = &*self.state.read().unwrap_or_else(PoisonError::into_inner)
            && !opened.has_failed()
        {
            return Ok((Some(Arc::clone(opened)), false));
        }
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        match &*state {
            State::Open(opened) if opened.has_failed() => {
                opened.lease.end();
                *state = State::Failed;
            }
            State::Open(opened) => return Ok((Some(Arc::clone(opened)), false)),
            State::Shut(error) => return Err(error.clone()),
            State::Absent if !create => return Ok((None, false)),
            State::Failed | State::Absent | State::Closed => {}
        }
        let anew = matches!(&*state, State::Failed);
        let present = self.disk.exists(&self.path).map_err(|error| self.disk_failure("looked for", &error))?;
        if !present && !create {
            *state = State::Absent;
            return Ok((None, false));
        }
        let opened = if present { self.open_present(anew) } else { self.make() };
        let opened = match opened {
            Ok(opened) => Arc::new(opened),
            Err(error) => {
                // What was begun may be half done.
                *state = State::Failed;
                return Err(error);
            }
        };
        *state = State::Open(Arc::clone(&opened));
        Ok((Some(opened), true))
    }

    fn open_present(&self, anew: bool) -> Result<Opened, StoreError> {
        let backend = self.disk.open(&self.path, anew).map_err(|error| self.disk_failure("opened", &error))?;
        if anew {
            // It may have failed between getting its name and keeping it.
            self.disk.sync_name(&self.path).map_err(|error| self.disk_failure("opened", &error))?;
        }
        self.database(backend, anew)
    }

    /// A file that is not complete, as a crash in the middle would leave it, must not have the name: redb refuses it for
    /// good. So it gets its name when it is complete, and one that was left behind is begun anew.
    fn make(&self) -> Result<Opened, StoreError> {
        let unfinished = self.path.with_extension("unfinished");
        let failure = |error: &io::Error| self.disk_failure("made", error);
        let backend = self.disk.make(&unfinished).map_err(|error| failure(&error))?;
        let opened = self.database(backend, false)?;
        self.disk.rename(&unfinished, &self.path).map_err(|error| failure(&error))?;
        self.disk.sync_name(&self.path).map_err(|error| failure(&error))?;
        Ok(opened)
    }

    fn database(&self, backend: Box<dyn StorageBackend>, check: bool) -> Result<Opened, StoreError> {
        let lease = Lease::on(backend);
        let database = Builder::new()
            .set_cache_size(self.cache_bytes)
            .set_check_integrity_on_open(check)
            .create_with_backend(lease.clone())
            .map_err(|error| match error {
                redb::DatabaseError::DatabaseAlreadyOpen => {
                    StoreError::store(format!("{} is in use: another process has it open", self.path.display()))
                }
                error => self.failed("opened", error.into()),
            })?;
        Ok(Opened {
            database,
            indexes: indexes::Cache::default(),
            builds: Arc::default(),
            lease,
            failed: AtomicBool::new(false),
            changes: Log::default(),
        })
    }

    pub fn touch(&self, house: &House) {
        self.last_use.store(house.tick(), Ordering::Relaxed);
    }

    pub fn last_use(&self) -> u64 {
        self.last_use.load(Ordering::Relaxed)
    }

    /// Grows with every group of writes, before the group is performed.
    pub fn writes_seen(&self) -> u64 {
        self.groups.load(Ordering::SeqCst)
    }

    pub fn path(&self) -> &Path {
        &self.path
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
            State::Open(opened) if opened.has_failed() => {
                opened.lease.end();
                *state = State::Failed;
                true
            }
            State::Open(_) => {
                *state = State::Closed;
                true
            }
            _ => true,
        }
    }

    /// Removes the file. Cursors that still read from it keep what they see.
    pub fn remove(&self) -> Result<(), StoreError> {
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        *state = State::Closed;
        match self.disk.remove(&self.path) {
            Ok(()) => self.disk.sync_name(&self.path).map_err(|error| self.disk_failure("removed", &error))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(self.disk_failure("removed", &error)),
        }
        *state = State::Absent;
        Ok(())
    }

    /// Puts a copy that has nothing free in the file's place. For the file's writer, so that nothing is written meanwhile;
    /// whoever reads the old one goes on with it.
    pub fn compact(&self, opened: &Opened) -> Result<Compacted, StoreError> {
        if opened.builds.any() {
            let text = "an index is being built; compact when it is ready";
            return Err(StoreError::caller(12587, "BackgroundOperationInProgressForNamespace", text));
        }
        let failure = |error: &io::Error| self.disk_failure("compacted", error);
        let before = self.disk_bytes();
        let smaller = self.path.with_extension("compacting");
        match self.disk.remove(&smaller) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failure(&error)),
            _ => {}
        }
        backup::copy_to(self, opened, &smaller, Parts::All, &AtomicU64::new(0))?;
        let mut state = self.state.write().unwrap_or_else(PoisonError::into_inner);
        self.disk.rename(&smaller, &self.path).map_err(|error| failure(&error))?;
        // From here on the old database must not be written to, whatever happens: its file has no name any more.
        *state = State::Failed;
        self.disk.sync_name(&self.path).map_err(|error| failure(&error))?;
        *state = State::Open(Arc::new(self.open_present(false)?));
        drop(state);
        Ok(Compacted { before, after: self.disk_bytes() })
    }

    /// Bytes of disk it takes; 0 when it is not there.
    pub fn disk_bytes(&self) -> u64 {
        std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len())
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

    /// Refuses what the disk may have no room for. Asked before every commit: running into the end of the disk costs the
    /// open database, and this costs one look.
    pub fn check_space(&self, group: &[Write]) -> Result<(), StoreError> {
        let needed = group.iter().map(|write| 2 * write.bytes + limits::COMMIT_BYTES_PER_WRITE).sum::<usize>();
        let needed = limits::DISK_RESERVE_BYTES + needed as u64;
        let full = match self.disk.free(&self.path) {
            Ok(free) => free < needed,
            Err(error) => {
                // A disk that does not tell may still have room.
                tracing::debug!(file = %self.path.display(), %error, "how full the disk is could not be asked");
                false
            }
        };
        if full != self.full.swap(full, Ordering::Relaxed) {
            let file = self.path.display();
            if full {
                tracing::error!(%file, needed, "the disk is full: writes are refused until there is space");
            } else {
                tracing::info!(%file, "the disk has space again: writes go on");
            }
        }
        if full { Err(StoreError::out_of_disk_space()) } else { Ok(()) }
    }

    /// For the store's own work, which waits like the others and is never too much.
    pub fn enqueue_own(&self, write: Write) -> bool {
        let mut writes = self.lock_writes();
        writes.bytes += write.bytes;
        writes.waiting.push_back(write);
        !std::mem::replace(&mut writes.scheduled, true)
    }

    /// The writes that go into the next commit together.
    pub fn next_group(&self) -> Vec<Write> {
        self.groups.fetch_add(1, Ordering::SeqCst);
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

    /// An error of redb, told as what it is: when the disk is full, whoever waits can do something about it.
    pub fn failed(&self, what: &str, error: redb::Error) -> StoreError {
        match error {
            redb::Error::Io(error) => self.disk_failure(what, &error),
            error => self.failure(what, &error),
        }
    }

    fn disk_failure(&self, what: &str, error: &io::Error) -> StoreError {
        let told = self.failure(what, error);
        if is_full(error) { StoreError::out_of_disk_space() } else { told }
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

/// Whether the disk, or what the process may use of it, is used up.
fn is_full(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

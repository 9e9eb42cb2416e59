//! A disk in memory that fails when it is told to, and remembers what it was asked.
//!
//! Faults, and why a correct system survives each:
//! - the n-th read, write, sync or change of length fails, once or from then on: nothing that needed it is acknowledged,
//!   and what was acknowledged before lies in other pages;
//! - a write that fails was written up to some sector of 512 bytes: what it overwrote was free, or is checksummed;
//! - a sync fails and what it should have brought to the disk is lost there, all or half of it, while the kernel goes on
//!   showing it as if it were written (as Linux does): it is believed only after it was read from the disk again;
//! - the disk has no room for another page, though the file's length may grow (files have holes);
//! - power is lost: what was not synced is there or not, in any combination, and a write may be torn. [`Image`]s are made
//!   of the recorded operations for that.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use portico_storage::embedded::Disk;
use redb::StorageBackend;

pub const SECTOR: usize = 512;
const PAGE: u64 = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Read,
    Write,
    Sync,
    SetLength,
}

/// What a failing sync leaves on the disk of what it should have brought there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Landed {
    Nothing,
    Half,
    Everything,
}

#[derive(Debug, Clone, Copy)]
pub struct Fault {
    pub kind: Kind,
    /// Which operation of that kind, from 0.
    pub nth: u64,
    /// Until [`FaultyDisk::heal`]; else once.
    pub lasting: bool,
    pub error: io::ErrorKind,
    /// Of a failing write: how many sectors are written.
    pub sectors: usize,
    /// Of a failing sync.
    pub landed: Landed,
}

/// What was asked of a file, in order.
#[derive(Debug, Clone)]
pub enum Event {
    Write(u64, Arc<[u8]>),
    SetLength(u64),
    /// Everything before it is on the disk.
    Synced,
    /// It has its name. Before that, a loss of power leaves no file.
    Named,
    /// Put there by the test: everything up to this step was acknowledged.
    Acknowledged(usize),
}

#[derive(Debug, Default)]
pub struct FaultyDisk {
    files: Mutex<BTreeMap<PathBuf, Arc<Mutex<SimulatedFile>>>>,
    control: Arc<Control>,
}

#[derive(Debug, Default)]
struct Control {
    fault: Mutex<Option<Fault>>,
    /// Operations of each kind so far.
    counts: [AtomicU64; 4],
    fired: AtomicBool,
    recording: AtomicBool,
    /// Bytes in pages ever written that the disk can hold; 0: any number.
    capacity: AtomicU64,
    used: AtomicU64,
    silent: AtomicBool,
    opened_anew: AtomicBool,
}

/// One file: what reads see, what is on the disk, and what has been asked since the last sync.
#[derive(Debug, Default)]
struct SimulatedFile {
    cached: Vec<u8>,
    synced: Vec<u8>,
    waiting: Vec<Event>,
    events: Vec<Event>,
    pages: BTreeSet<u64>,
}

impl FaultyDisk {
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// A disk that holds one file.
    pub fn with(path: &Path, content: Vec<u8>) -> Arc<Self> {
        let disk = Self::new();
        disk.put(path, content);
        disk
    }

    pub fn put(&self, path: &Path, content: Vec<u8>) {
        let file = SimulatedFile { cached: content.clone(), synced: content, ..SimulatedFile::default() };
        lock(&self.files).insert(path.to_owned(), Arc::new(Mutex::new(file)));
    }

    /// From now on, operations are counted anew and this fault waits for its turn.
    pub fn plan(&self, fault: Fault) {
        self.control.counts.iter().for_each(|count| count.store(0, Ordering::SeqCst));
        self.control.fired.store(false, Ordering::SeqCst);
        *lock(&self.control.fault) = Some(fault);
    }

    pub fn heal(&self) {
        *lock(&self.control.fault) = None;
    }

    pub fn has_fired(&self) -> bool {
        self.control.fired.load(Ordering::SeqCst)
    }

    /// Whether a file was opened anew, or begun anew, after the fault.
    pub fn was_opened_anew(&self) -> bool {
        self.control.opened_anew.load(Ordering::SeqCst)
    }

    /// As `leave_room`, but the disk does not tell when it is asked.
    pub fn leave_room_unsaid(&self, bytes: u64) {
        self.leave_room(bytes);
        self.control.silent.store(true, Ordering::SeqCst);
    }

    /// Bytes that can be stored from now on, beyond what is.
    pub fn leave_room(&self, bytes: u64) {
        self.control.capacity.store(self.control.used.load(Ordering::SeqCst) + bytes, Ordering::SeqCst);
        self.control.silent.store(false, Ordering::SeqCst);
    }

    pub fn record(&self) {
        self.control.recording.store(true, Ordering::SeqCst);
    }

    pub fn acknowledged(&self, path: &Path, step: usize) {
        self.file(path, |file| file.events.push(Event::Acknowledged(step)));
    }

    pub fn events(&self, path: &Path) -> Vec<Event> {
        self.file(path, |file| file.events.clone())
    }

    /// What is left after power was lost now: nothing that was not synced.
    pub fn after_power_loss(&self, path: &Path) -> Option<Vec<u8>> {
        let file = lock(&self.files).get(path).cloned()?;
        let synced = lock(&file).synced.clone();
        Some(synced)
    }

    fn file<T>(&self, path: &Path, act: impl FnOnce(&mut SimulatedFile) -> T) -> T {
        let file = Arc::clone(&lock(&self.files)[path]);
        let mut file = lock(&file);
        act(&mut file)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Disk for FaultyDisk {
    fn make_directory(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        Ok(lock(&self.files).contains_key(path))
    }

    fn make(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        self.control.opened_anew.store(true, Ordering::SeqCst);
        // Nothing of one that is there, no page either.
        let _ = self.remove(path);
        let file = Arc::clone(lock(&self.files).entry(path.to_owned()).or_default());
        Ok(Box::new(Opened { file, control: Arc::clone(&self.control) }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut files = lock(&self.files);
        let file = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
        lock(&file).events.push(Event::Named);
        files.insert(to.to_owned(), file);
        Ok(())
    }

    fn open(&self, path: &Path, anew: bool) -> io::Result<Box<dyn StorageBackend>> {
        let file = Arc::clone(lock(&self.files).get(path).ok_or(io::ErrorKind::NotFound)?);
        if anew {
            self.control.opened_anew.store(true, Ordering::SeqCst);
            let mut file = lock(&file);
            let mut fresh = file.synced.clone();
            file.waiting.iter().for_each(|event| event.apply(&mut fresh));
            file.cached = fresh;
        }
        Ok(Box::new(Opened { file, control: Arc::clone(&self.control) }))
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let removed = lock(&self.files).remove(path).ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))?;
        self.control.used.fetch_sub(lock(&removed).pages.len() as u64 * PAGE, Ordering::SeqCst);
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        Ok(lock(&self.files).keys().filter(|path| path.parent() == Some(directory)).cloned().collect())
    }

    fn sync_name(&self, _: &Path) -> io::Result<()> {
        Ok(())
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        let capacity = self.control.capacity.load(Ordering::SeqCst);
        if capacity == 0 || self.control.silent.load(Ordering::SeqCst) {
            return Ok(u64::MAX);
        }
        Ok(capacity.saturating_sub(self.control.used.load(Ordering::SeqCst)))
    }
}

#[derive(Debug)]
struct Opened {
    file: Arc<Mutex<SimulatedFile>>,
    control: Arc<Control>,
}

impl Control {
    /// The fault, when it is this operation's turn.
    fn fault(&self, kind: Kind) -> Option<Fault> {
        let number = self.counts[kind as usize].fetch_add(1, Ordering::SeqCst);
        let fault = (*lock(&self.fault))?;
        let due = fault.kind == kind && (number == fault.nth || fault.lasting && number > fault.nth);
        if due {
            self.opened_anew.store(false, Ordering::SeqCst);
            self.fired.store(true, Ordering::SeqCst);
        }
        due.then_some(fault)
    }

    /// Room for the pages a write touches for the first time.
    fn allocate(&self, pages: &mut BTreeSet<u64>, offset: u64, length: usize) -> io::Result<()> {
        let capacity = self.capacity.load(Ordering::SeqCst);
        for page in offset / PAGE..(offset + length as u64).div_ceil(PAGE) {
            if pages.contains(&page) {
                continue;
            }
            if capacity > 0 && self.used.load(Ordering::SeqCst) + PAGE > capacity {
                return Err(io::ErrorKind::StorageFull.into());
            }
            self.used.fetch_add(PAGE, Ordering::SeqCst);
            pages.insert(page);
        }
        Ok(())
    }
}

impl Event {
    pub fn apply(&self, image: &mut Vec<u8>) {
        match self {
            Self::Write(offset, data) => {
                let (from, to) = (*offset as usize, *offset as usize + data.len());
                // A write reaches the disk without the change of length before it: the file is as long as it must be.
                if image.len() < to {
                    image.resize(to, 0);
                }
                image[from..to].copy_from_slice(data);
            }
            Self::SetLength(length) => image.resize(*length as usize, 0),
            Self::Synced | Self::Named | Self::Acknowledged(_) => {}
        }
    }
}

impl SimulatedFile {
    fn ask(&mut self, event: Event, recording: bool) {
        event.apply(&mut self.cached);
        if recording {
            self.events.push(event.clone());
        }
        self.waiting.push(event);
    }
}

impl StorageBackend for Opened {
    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.file).cached.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        if let Some(fault) = self.control.fault(Kind::Read) {
            return Err(fault.error.into());
        }
        let file = lock(&self.file);
        let from = offset as usize;
        let found = file.cached.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if let Some(fault) = self.control.fault(Kind::SetLength) {
            return Err(fault.error.into());
        }
        lock(&self.file).ask(Event::SetLength(length), self.control.recording.load(Ordering::SeqCst));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut file = lock(&self.file);
        let waiting = std::mem::take(&mut file.waiting);
        if let Some(fault) = self.control.fault(Kind::Sync) {
            let landed = match fault.landed {
                Landed::Nothing => 0,
                Landed::Half => waiting.len() / 2,
                Landed::Everything => waiting.len(),
            };
            waiting[..landed].iter().for_each(|event| event.apply(&mut file.synced));
            return Err(fault.error.into());
        }
        waiting.iter().for_each(|event| event.apply(&mut file.synced));
        if self.control.recording.load(Ordering::SeqCst) {
            file.events.push(Event::Synced);
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let fault = self.control.fault(Kind::Write);
        let mut file = lock(&self.file);
        if offset as usize + data.len() > file.cached.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.control.allocate(&mut file.pages, offset, data.len())?;
        let written = fault.map_or(data.len(), |fault| data.len().min(fault.sectors * SECTOR));
        let recording = self.control.recording.load(Ordering::SeqCst);
        if written > 0 {
            file.ask(Event::Write(offset, data[..written].into()), recording);
        }
        fault.map_or(Ok(()), |fault| Err(fault.error.into()))
    }
}

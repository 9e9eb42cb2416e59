//! The seam between the store's files and the disk they lie on.
//!
//! In: paths. Out: what redb reads and writes through, and the few other things the store asks of a disk. [`FileSystem`]
//! is the one that is used; tests put a disk with faults in its place.
//!
//! Also here: [`Lease`], which takes a file away from a database that must not use it any more, while queries still hold
//! that database.
//! Not here: what is in a file (redb), and when one is opened, failed and opened anew (`file`).

use std::fmt;
use std::fs;
use std::io;
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};
use rustix::fs::{Advice, fadvise, statvfs};

/// Where the store's files lie.
pub trait Disk: fmt::Debug + Send + Sync + 'static {
    /// Makes a directory with its parents, so that it survives power loss.
    fn make_directory(&self, path: &Path) -> io::Result<()>;
    fn exists(&self, path: &Path) -> io::Result<bool>;
    /// An empty file, in place of one that may be there.
    fn make(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>>;
    /// Opens a file that is there. With `anew`, something went wrong with it before: what is remembered of it in memory
    /// may never have reached the disk, so what is read next must come from there.
    fn open(&self, path: &Path, anew: bool) -> io::Result<Box<dyn StorageBackend>>;
    /// Gives a file, which may be open, another name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// The files in a directory.
    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>>;
    /// Makes the entry of a file in its directory survive power loss.
    fn sync_name(&self, path: &Path) -> io::Result<()>;
    /// Bytes that can still be stored where a file lies.
    fn free(&self, path: &Path) -> io::Result<u64>;
}

/// The operating system's.
#[derive(Debug)]
pub struct FileSystem;

impl Disk for FileSystem {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path)?;
        fs::File::open(path)?.sync_all()?;
        self.sync_name(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        path.try_exists()
    }

    fn make(&self, path: &Path) -> io::Result<Box<dyn StorageBackend>> {
        let file = fs::OpenOptions::new().read(true).write(true).create(true).truncate(true).open(path)?;
        backend(file)
    }

    fn open(&self, path: &Path, anew: bool) -> io::Result<Box<dyn StorageBackend>> {
        let file = fs::OpenOptions::new().read(true).write(true).open(path)?;
        if anew {
            // After a sync that failed, Linux holds the pages it could not write for clean. They would be read as if
            // they were on the disk, and a later commit would be built on them and lost with them.
            fadvise(&file, 0, None, Advice::DontNeed)?;
        }
        backend(file)
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(directory)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn sync_name(&self, path: &Path) -> io::Result<()> {
        fs::File::open(directory_of(path))?.sync_all()
    }

    fn free(&self, path: &Path) -> io::Result<u64> {
        let disk = statvfs(directory_of(path))?;
        Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
    }
}

fn backend(file: fs::File) -> io::Result<Box<dyn StorageBackend>> {
    Ok(Box::new(FileBackend::new(file).map_err(io::Error::other)?))
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent.as_os_str().is_empty() => Path::new("."),
        Some(parent) => parent,
        None => path,
    }
}

/// A file as long as it is not taken away. Two databases on one file would destroy it, so the old one must have nothing
/// left when the new one opens; a query that still reads through the old one gets an error.
#[derive(Debug, Clone)]
pub struct Lease(Arc<RwLock<Option<Box<dyn StorageBackend>>>>);

impl Lease {
    pub fn on(backend: Box<dyn StorageBackend>) -> Self {
        Self(Arc::new(RwLock::new(Some(backend))))
    }

    /// Takes the file away, after the reads and writes under way have ended, and releases its locks.
    pub fn end(&self) {
        let backend = self.0.write().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = backend.map(|backend| backend.close()) {
            tracing::warn!(%error, "a file of the store could not be closed");
        }
    }

    fn with<T>(&self, act: impl FnOnce(&dyn StorageBackend) -> io::Result<T>) -> io::Result<T> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(backend) => act(&**backend),
            None => Err(io::Error::other("the file was closed after a failure: ask again")),
        }
    }

    fn lock<T>(&self, act: impl FnOnce(&dyn StorageBackend) -> Result<T, BackendError>) -> Result<T, BackendError> {
        match &*self.0.read().unwrap_or_else(PoisonError::into_inner) {
            Some(backend) => act(&**backend),
            None => Err(BackendError::Unsupported),
        }
    }
}

impl StorageBackend for Lease {
    fn len(&self) -> io::Result<u64> {
        self.with(|backend| backend.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.with(|backend| backend.read(offset, out))
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.with(|backend| backend.set_len(len))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|backend| backend.sync_data())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.with(|backend| backend.write(offset, data))
    }

    fn close(&self) -> io::Result<()> {
        match self.0.write().unwrap_or_else(PoisonError::into_inner).take() {
            Some(backend) => backend.close(),
            None => Ok(()),
        }
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|backend| backend.try_lock_range(start, end))
    }

    fn try_lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|backend| backend.try_lock_shared_range(start, end))
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|backend| backend.lock_range(start, end))
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|backend| backend.lock_shared_range(start, end))
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.lock(|backend| backend.unlock_range(start, end))
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.lock(|backend| backend.query_lock_range(start, end))
    }
}

//! All files of one store, which of them are open, and the threads that work on them.
//!
//! In: a tenant. Out: its [`File`]. Not here: what is read or written.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use super::Options;
use super::file::{File, Opened};
use super::pool::{Pool, closed};
use super::write::Write;
use super::writer;
use crate::error::StoreError;
use crate::namespace::Tenant;

#[derive(Debug)]
pub struct House {
    dir: PathBuf,
    options: Options,
    files: RwLock<HashMap<Tenant, Arc<File>>>,
    /// At most `open_files_max`, unless more are in use at once.
    open: Mutex<Vec<Arc<File>>>,
    /// Counts uses, so that the longest unused file is the one with the least number.
    clock: AtomicU64,
    pub readers: Pool,
    pub writers: Pool,
}

impl House {
    pub fn open(dir: &Path, options: Options) -> Result<Arc<Self>, StoreError> {
        let apps = dir.join("apps");
        options
            .disk
            .make_directory(&apps)
            .and_then(|()| options.disk.sync_name(dir))
            .map_err(|error| StoreError::store(format!("cannot make the directory {}: {error}", apps.display())))?;
        let house = Arc::new(Self {
            dir: dir.to_owned(),
            files: RwLock::default(),
            open: Mutex::default(),
            clock: AtomicU64::new(0),
            readers: Pool::start("store-read", options.reader_threads)?,
            writers: Pool::start("store-write", options.writer_threads)?,
            options,
        });
        let catalog = house.file(Tenant::System)?;
        if let Err(error) = house.opened(&catalog, true) {
            house.close();
            return Err(error);
        }
        Ok(house)
    }

    pub fn file(&self, tenant: Tenant) -> Result<Arc<File>, StoreError> {
        if let Some(file) = self.files.read().unwrap_or_else(PoisonError::into_inner).get(&tenant) {
            return Ok(Arc::clone(file));
        }
        let (path, cache) = match tenant {
            Tenant::System => (self.dir.join("catalog.redb"), self.options.catalog_cache_bytes),
            Tenant::App(id) => {
                (self.dir.join("apps").join(format!("{}.redb", id.to_hex())), self.options.app_cache_bytes)
            }
            Tenant::Users(id) => {
                (self.dir.join("apps").join(format!("{}.users.redb", id.to_hex())), self.options.app_cache_bytes)
            }
        };
        let disk = Arc::clone(&self.options.disk);
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        Ok(Arc::clone(files.entry(tenant).or_insert_with(|| Arc::new(File::new(disk, path, cache)))))
    }

    /// The file's database, opened if need be: a file that is missing is made when `create`, else it is `None`.
    /// Blocks; for the store's own threads.
    pub fn opened(&self, file: &Arc<File>, create: bool) -> Result<Option<Arc<Opened>>, StoreError> {
        file.touch(self);
        let (opened, newly) = file.open(create)?;
        if newly {
            self.keep_few_open(file);
        }
        Ok(opened)
    }

    pub fn transaction_lifetime(&self) -> Duration {
        self.options.transaction_lifetime
    }

    pub fn write(self: &Arc<Self>, tenant: Tenant, write: Write) -> Result<(), StoreError> {
        let file = self.file(tenant)?;
        if file.enqueue(write)? {
            let house = Arc::clone(self);
            self.writers.submit(Box::new(move || writer::write_group(&house, &file)))?;
        }
        Ok(())
    }

    pub fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::Relaxed)
    }

    fn keep_few_open(&self, newcomer: &Arc<File>) {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.retain(|file| !Arc::ptr_eq(file, newcomer) && file.is_open());
        let too_many = (open.len() + 1).saturating_sub(self.options.open_files_max);
        if too_many > 0 {
            open.sort_by_key(|file| file.last_use());
            let mut closed = 0;
            open.retain(|file| {
                let close = closed < too_many && file.close_if_idle();
                closed += usize::from(close);
                !close
            });
        }
        open.push(Arc::clone(newcomer));
    }

    pub fn close(&self) {
        self.readers.finish();
        self.writers.finish();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        for file in files.values() {
            file.shut(closed());
        }
    }
}

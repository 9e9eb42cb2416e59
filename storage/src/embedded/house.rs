//! All files of one store, which of them are open, and the threads that work on them.
//!
//! In: a tenant. Out: its [`File`]. Not here: what is read or written.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use super::Options;
use super::changes::Watchers;
use super::disk::Disk;
use super::expiry;
use super::file::{File, Opened};
use super::indexes::Entries;
use super::pool::{Pool, closed};
use super::view::View;
use super::write::Write;
use super::writer;
use crate::error::StoreError;
use crate::model::AppId;
use crate::namespace::Tenant;

/// Beside a file whose documents may expire lies an empty one with this extension.
const MARK: &str = "expires";

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
    /// Whose files may have indexes by which documents expire.
    expiring: Mutex<HashSet<Tenant>>,
    sweeper: Mutex<Option<(mpsc::Sender<()>, JoinHandle<()>)>>,
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
            expiring: Mutex::new(marked(&*options.disk, &apps)?),
            sweeper: Mutex::default(),
            options,
        });
        house.start_sweeper()?;
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
        let path = self.dir.join(self.name_of(tenant));
        let cache = match tenant {
            Tenant::System => self.options.catalog_cache_bytes,
            Tenant::App(_) | Tenant::Users(_) => self.options.app_cache_bytes,
        };
        let disk = Arc::clone(&self.options.disk);
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let mut file = File::new(disk, path, cache);
            file.watchers = Arc::new(Watchers::new(self.options.changes_kept, self.options.changes_bytes_max));
            Arc::new(file)
        };
        Ok(Arc::clone(files.entry(tenant).or_insert_with(made)))
    }

    /// Where a tenant's file lies in the store's directory.
    pub fn name_of(&self, tenant: Tenant) -> String {
        match tenant {
            Tenant::System => "catalog.redb".to_owned(),
            Tenant::App(id) => format!("apps/{}.redb", id.to_hex()),
            Tenant::Users(id) => format!("apps/{}.users.redb", id.to_hex()),
        }
    }

    /// Those that have a file, the catalog first.
    pub fn tenants_with_files(&self) -> Result<Vec<Tenant>, StoreError> {
        let apps = self.dir.join("apps");
        let cannot = |error: io::Error| StoreError::store(format!("cannot list {}: {error}", apps.display()));
        let mut tenants = vec![Tenant::System];
        for path in self.options.disk.list(&apps).map_err(cannot)? {
            let name = path.file_name().and_then(|name| name.to_str()).and_then(|name| name.strip_suffix(".redb"));
            let Some(name) = name else { continue };
            tenants.extend(match name.strip_suffix(".users") {
                Some(id) => id.parse().ok().map(Tenant::Users),
                None => name.parse().ok().map(Tenant::App),
            });
        }
        Ok(tenants)
    }

    /// Bytes of disk that all files take.
    pub fn disk_bytes(&self) -> Result<u64, StoreError> {
        let bytes =
            |tenant| std::fs::metadata(self.dir.join(self.name_of(tenant))).map_or(0, |metadata| metadata.len());
        Ok(self.tenants_with_files()?.into_iter().map(bytes).sum())
    }

    /// The file's database, opened if need be: a file that is missing is made when `create`, else it is `None`.
    /// Blocks; for the store's own threads.
    pub fn opened(&self, file: &Arc<File>, create: bool) -> Result<Option<Arc<Opened>>, StoreError> {
        file.touch(self);
        let (opened, newly) = file.open(create)?;
        if newly {
            self.keep_few_open(file);
            // It may have been put there from a backup.
            self.mark_if_expiring(file, opened.clone())?;
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

    /// A write that follows another of the store's own on the thread of the file's writer.
    pub fn write_on(self: &Arc<Self>, tenant: Tenant, write: Write) {
        match self.file(tenant) {
            Ok(file) => {
                if file.enqueue_own(write) {
                    let house = Arc::clone(self);
                    self.writers.resubmit(Box::new(move || writer::write_group(&house, &file)));
                }
            }
            Err(error) => write.fail(error),
        }
    }

    /// Remembers, also after a restart, that documents of a tenant may expire.
    pub fn expiring(&self, tenant: Tenant) -> Result<(), StoreError> {
        let mut expiring = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
        if expiring.insert(tenant) {
            let mark = self.file(tenant)?.path().with_extension(MARK);
            let disk = &self.options.disk;
            disk.make(&mark).and_then(|_| disk.sync_name(&mark)).map_err(|error| {
                expiring.remove(&tenant);
                StoreError::store(format!("cannot make {}: {error}", mark.display()))
            })?;
        }
        Ok(())
    }

    /// Forgets it, unless the file was written to since `writes` was read.
    pub fn no_longer_expiring(&self, tenant: Tenant, writes: u64) -> Result<(), StoreError> {
        let mut expiring = self.expiring.lock().unwrap_or_else(PoisonError::into_inner);
        let file = self.file(tenant)?;
        if file.writes_seen() != writes {
            return Ok(());
        }
        expiring.remove(&tenant);
        match self.options.disk.remove(&file.path().with_extension(MARK)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::store(format!("cannot remove the mark of {}: {error}", file.path().display())))
            }
            _ => Ok(()),
        }
    }

    pub fn tenants_that_expire(&self) -> Vec<Tenant> {
        self.expiring.lock().unwrap_or_else(PoisonError::into_inner).iter().copied().collect()
    }

    fn mark_if_expiring(&self, file: &Arc<File>, opened: Option<Arc<Opened>>) -> Result<(), StoreError> {
        let indexes = View::now(file, opened)?.all_indexes()?;
        let expires = |entries: &Entries| entries.iter().any(|entry| entry.index.expire_after_seconds.is_some());
        if !indexes.iter().any(|(_, entries)| expires(entries)) {
            return Ok(());
        }
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        let tenant = files.iter().find(|(_, known)| Arc::ptr_eq(known, file)).map(|(tenant, _)| *tenant);
        drop(files);
        tenant.map_or(Ok(()), |tenant| self.expiring(tenant))
    }

    fn start_sweeper(self: &Arc<Self>) -> Result<(), StoreError> {
        let (close, closing) = mpsc::channel();
        // Only for as long as somebody else holds the house.
        let (house, interval) = (Arc::downgrade(self), self.options.expiry_interval);
        let thread = std::thread::Builder::new()
            .name("store-expire".to_owned())
            .spawn(move || expiry::sweep(&house, interval, &closing))
            .map_err(|error| StoreError::store(format!("cannot start the store's threads: {error}")))?;
        *self.sweeper.lock().unwrap_or_else(PoisonError::into_inner) = Some((close, thread));
        Ok(())
    }

    /// A file that is written to sees to its transactions itself; this is for those that nobody comes back to.
    pub fn sweep_transactions(&self) {
        let files: Vec<_> = self.files.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        files.iter().for_each(|file| file.transactions.sweep());
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
        let sweeper = self.sweeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((close, thread)) = sweeper {
            drop(close);
            // It ends by returning, after the lot it waits for.
            let _ = thread.join();
        }
        self.readers.finish();
        self.writers.finish();
        self.open.lock().unwrap_or_else(PoisonError::into_inner).clear();
        let files = self.files.read().unwrap_or_else(PoisonError::into_inner);
        for file in files.values() {
            file.shut(closed());
            file.watchers.ring();
        }
    }
}

/// The apps with a mark beside their file.
fn marked(disk: &dyn Disk, apps: &Path) -> Result<HashSet<Tenant>, StoreError> {
    let cannot = |error: io::Error| StoreError::store(format!("cannot list {}: {error}", apps.display()));
    let mut marked = HashSet::new();
    for path in disk.list(apps).map_err(cannot)? {
        if path.extension().is_some_and(|extension| extension == MARK)
            && let Some(id) =
                path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse::<AppId>().ok())
        {
            marked.insert(Tenant::App(id));
        }
    }
    Ok(marked)
}

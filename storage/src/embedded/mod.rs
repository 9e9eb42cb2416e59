//! The local store: one redb file for each tenant, a query engine over raw BSON on top.
//!
//! In: the commands of [`Store`]. Out: their answers; a write is answered after its bytes were synced to the disk.
//! Not here: what filters and updates mean (`filter`, `update`), and any caller's thread: files are opened, scanned and
//! written on the store's own threads. The one exception is a read of one `_id` in a file that is already open, which is
//! answered at once where it was asked: readers never wait for writers, and it touches a handful of pages.
//!
//! Files: `<dir>/catalog.redb` is Portico's own, `<dir>/apps/<app id>.redb` each app's. They are made by the first write,
//! opened on first use, and closed when too many are open, the longest unused first.

mod access_path;
mod backup;
mod builds;
mod changes;
mod collection;
mod cursor;
mod disk;
mod expiry;
mod explain;
mod file;
mod house;
mod indexes;
mod indexing;
mod output;
mod pipeline;
mod plan;
mod pool;
mod scan;
mod transaction;
mod view;
mod walk;
mod write;
mod writer;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bson::raw::{RawBson, RawDocumentBuf};
use futures_channel::oneshot;
use futures_util::FutureExt;
use futures_util::future::ready;

use crate::backup::Progress;
use crate::changes::{ChangeStream, Watch, Watched};
use crate::error::StoreError;
use crate::expression::Variables;
use crate::filter::Filter;
use crate::limits;
use crate::namespace::{Namespace, Tenant};
use crate::store::{
    self, Aggregate, Answer, Compacted, Cursor, Delete, Find, IndexInfo, Inserted, Modified, Modify, Store, Update,
    Updated,
};
use crate::transaction::Transaction;
use crate::update::Change;
use crate::value::path;
use crate::{filter, index, update};

pub use disk::{Disk, FileSystem};

use changes::{Opening, Stream};
use cursor::{OpenCursor, Sliced};
use file::{Availability, File};
use house::House;
use indexing::{Continuation, Work};
use output::Outgoing;
use pipeline::Piped;
use scan::{Query, Scan};
use transaction::OpenTransaction;
use view::View;
use write::{Modification, Task, Write};

/// How much the store may use. [`Options::default`] takes the numbers of [`crate::limits`].
#[derive(Debug, Clone)]
pub struct Options {
    pub reader_threads: usize,
    pub writer_threads: usize,
    pub open_files_max: usize,
    pub app_cache_bytes: usize,
    pub catalog_cache_bytes: usize,
    /// How long changes are kept for those who watch, and how many bytes of them.
    pub changes_kept: Duration,
    pub changes_bytes_max: u64,
    /// How long a transaction may stay open.
    pub transaction_lifetime: Duration,
    /// Where the files lie: the file system, except in tests.
    pub disk: Arc<dyn Disk>,
    /// How often expired documents are looked for.
    pub expiry_interval: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            reader_threads: limits::READER_THREADS,
            writer_threads: limits::WRITER_THREADS,
            open_files_max: limits::OPEN_FILES_MAX,
            app_cache_bytes: limits::APP_CACHE_BYTES,
            catalog_cache_bytes: limits::CATALOG_CACHE_BYTES,
            changes_kept: limits::CHANGES_KEPT,
            changes_bytes_max: limits::CHANGES_BYTES_MAX,
            transaction_lifetime: limits::TRANSACTION_LIFETIME,
            disk: Arc::new(FileSystem),
            expiry_interval: limits::EXPIRY_INTERVAL,
        }
    }
}

/// What is done with work that has begun: it goes on on readers' threads until it is answered.
type Run<T> = fn(Arc<House>, Box<dyn Sliced>, oneshot::Sender<Result<T, StoreError>>);

/// The embedded store. Dropping it finishes the writes that were accepted and closes all files, as [`Embedded::close`].
#[derive(Debug)]
pub struct Embedded {
    house: Arc<House>,
}

impl Embedded {
    /// Makes the directory if it is missing and opens the catalog's file, so that a second process on the same directory,
    /// or a disk that cannot be written, is found out now.
    pub fn open(dir: &Path, options: Options) -> Result<Self, StoreError> {
        let house = House::open(dir, options)?;
        Ok(Self { house })
    }

    /// Accepts nothing more, finishes the writes that were accepted, ends queries, closes all files. Blocks until done; the
    /// second time it does nothing.
    pub fn close(&self) {
        self.house.close();
    }

    /// Bytes of disk that all files take. Looks at each of them.
    pub fn disk_bytes_of_all(&self) -> Result<u64, StoreError> {
        self.house.disk_bytes()
    }

    fn write<'a, T: Send + 'static>(
        &'a self,
        namespace: &'a Namespace,
        bytes: usize,
        task: impl FnOnce(oneshot::Sender<Result<T, StoreError>>) -> Task,
    ) -> Answer<'a, T> {
        if let Err(error) = check_namespace(namespace) {
            return ready(Err(error)).boxed();
        }
        let (reply, answer) = oneshot::channel();
        let write = Write { collection: namespace.to_string(), bytes: WRITE_BYTES + bytes, task: task(reply) };
        match self.house.write(namespace.tenant, write) {
            Ok(()) => arrival(answer),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    /// Runs what a view is needed for on a reader's thread, up to what is answered.
    fn read<'a, T: Send + 'static>(
        &'a self,
        file: Arc<File>,
        begin: impl FnOnce(View) -> Result<Box<dyn Sliced>, StoreError> + Send + 'static,
        run: Run<T>,
    ) -> Answer<'a, T> {
        let (reply, answer) = oneshot::channel();
        let house = Arc::clone(&self.house);
        let submitted = self.house.readers.submit(Box::new(move || {
            let opened = house.opened(&file, false);
            match opened.and_then(|opened| View::now(&file, opened)).and_then(begin) {
                Ok(work) => run(house, work, reply),
                // Nobody waits any more when this cannot be sent.
                Err(error) => drop(reply.send(Err(error))),
            }
        }));
        match submitted {
            Ok(()) => arrival(answer),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    fn scan<'a, T: Send + 'static>(
        &'a self,
        file: Arc<File>,
        collection: String,
        query: Query,
        nothing: fn() -> T,
        run: impl FnOnce(Arc<House>, Scan, oneshot::Sender<Result<T, StoreError>>) + Send + 'static,
    ) -> Answer<'a, T> {
        let (reply, answer) = oneshot::channel();
        let house = Arc::clone(&self.house);
        let submitted = self.house.readers.submit(Box::new(move || {
            let scan = house
                .opened(&file, false)
                .and_then(|opened| View::now(&file, opened))
                .and_then(|view| Scan::begin(view, &collection, query));
            match scan {
                Ok(Some(scan)) => run(house, scan, reply),
                // Nobody waits any more when these cannot be sent.
                Ok(None) => drop(reply.send(Ok(nothing()))),
                Err(error) => drop(reply.send(Err(error))),
            }
        }));
        match submitted {
            Ok(()) => arrival(answer),
            Err(error) => ready(Err(error)).boxed(),
        }
    }
}

impl Embedded {
    /// Something short to find out in a view of what is committed, on a reader's thread.
    fn look<'a, T: Send + 'static>(
        &'a self,
        file: Arc<File>,
        collection: String,
        see: impl FnOnce(View, &str) -> Result<T, StoreError> + Send + 'static,
    ) -> Answer<'a, T> {
        let (reply, answer) = oneshot::channel();
        let house = Arc::clone(&self.house);
        let submitted = self.house.readers.submit(Box::new(move || {
            let view = house.opened(&file, false).and_then(|opened| View::now(&file, opened));
            // Nobody waits any more when this cannot be sent.
            drop(reply.send(view.and_then(|view| see(view, &collection))));
        }));
        match submitted {
            Ok(()) => arrival(answer),
            Err(error) => ready(Err(error)).boxed(),
        }
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.close();
    }
}

impl Store for Embedded {
    fn backend(&self) -> &'static str {
        "embedded"
    }

    fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>> {
        let query = match check_namespace(namespace).and_then(|()| Query::parse(&query)) {
            Ok(query) => query,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let file = match self.house.file(namespace.tenant) {
            Ok(file) => file,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let collection = namespace.to_string();
        match file.availability() {
            Availability::Nothing => return ready(Ok(OpenCursor::of(Vec::new()))).boxed(),
            Availability::Open(opened) if query.is_point() => {
                file.touch(&self.house);
                let found = View::now(&file, Some(opened)).and_then(|view| scan::point(&view, &collection, &query));
                return ready(found.map(|found| OpenCursor::of(found.into_iter().collect()))).boxed();
            }
            Availability::Open(_) | Availability::Unknown => {}
        }
        self.scan(
            file,
            collection,
            query,
            || OpenCursor::of(Vec::new()),
            |house, scan, reply| {
                cursor::first_batch(house, Box::new(scan), reply);
            },
        )
    }

    fn aggregate<'a>(&'a self, namespace: &'a Namespace, aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
        let parsed = Piped::parse(&aggregate).and_then(|piped| {
            // One that makes its documents itself needs no collection, and so may be asked of one that cannot be.
            if !piped.pipeline().is_sourceless() {
                check_namespace(namespace)?;
            }
            Ok(piped)
        });
        let (piped, file) = match parsed.and_then(|piped| Ok((piped, self.house.file(namespace.tenant)?))) {
            Ok(found) => found,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let (database, collection) = (namespace.database.clone(), namespace.collection.clone());
        let Some(output) = piped.pipeline().output().cloned() else {
            let begin = move |view| piped.begin(view, &database, &collection);
            return self.read(file, begin, cursor::first_batch);
        };
        let destination = output.destination();
        let into = Namespace {
            tenant: namespace.tenant,
            database: destination.database.clone().unwrap_or_else(|| database.clone()),
            collection: destination.collection.clone(),
        };
        if let Err(error) = check_namespace(&into) {
            return ready(Err(error)).boxed();
        }
        let globals = piped.globals().clone();
        let documents = self.read(file, move |view| piped.begin(view, &database, &collection), cursor::everything);
        async move {
            let documents = documents.await?;
            let bytes = bytes_of(&documents);
            let outgoing = Box::new(Outgoing { output, documents, globals });
            self.write(&into, bytes, |reply| Task::Output { outgoing, reply }).await?;
            Ok(OpenCursor::of(Vec::new()))
        }
        .boxed()
    }

    fn count<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, u64> {
        let parsed = check_namespace(namespace).and_then(|()| Query::parse(&query));
        let (query, file) = match parsed.and_then(|query| Ok((query, self.house.file(namespace.tenant)?))) {
            Ok(found) => found,
            Err(error) => return ready(Err(error)).boxed(),
        };
        if matches!(file.availability(), Availability::Nothing) {
            return ready(Ok(0)).boxed();
        }
        self.scan(file, namespace.to_string(), query.counting(), || 0, cursor::count)
    }

    fn insert<'a>(
        &'a self,
        namespace: &'a Namespace,
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
    ) -> Answer<'a, Inserted> {
        let bytes = bytes_of(&documents);
        self.write(namespace, bytes, |reply| Task::Insert { documents, ordered, reply })
    }

    fn update<'a>(&'a self, namespace: &'a Namespace, update: Update) -> Answer<'a, Updated> {
        let Update { filter, update: change, array_filters, .. } = &update;
        let bytes = filter.as_bytes().len() + change.bytes() + bytes_of(array_filters);
        match understood(update) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(Understood { filter, change, multi, upsert }) => {
                self.write(namespace, bytes, |reply| Task::Update { filter, change, multi, upsert, reply })
            }
        }
    }

    fn modify<'a>(&'a self, namespace: &'a Namespace, modify: Modify) -> Answer<'a, Modified> {
        let Modify { filter, update, array_filters, .. } = &modify;
        let bytes = filter.as_bytes().len() + update.as_ref().map_or(0, store::Change::bytes) + bytes_of(array_filters);
        match Modification::parse(modify) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(modification) => {
                let modification = Box::new(modification);
                self.write(namespace, bytes, |reply| Task::Modify { modification, reply })
            }
        }
    }

    fn distinct<'a>(
        &'a self,
        namespace: &'a Namespace,
        path: &'a str,
        filter: RawDocumentBuf,
    ) -> Answer<'a, Vec<RawBson>> {
        let query = Find { filter, ..Find::default() };
        let parsed = check_namespace(namespace).and_then(|()| check_path(path)).and_then(|()| Query::parse(&query));
        let (query, file) = match parsed.and_then(|query| Ok((query, self.house.file(namespace.tenant)?))) {
            Ok(found) => found,
            Err(error) => return ready(Err(error)).boxed(),
        };
        if matches!(file.availability(), Availability::Nothing) {
            return ready(Ok(Vec::new())).boxed();
        }
        let seen = cursor::Distinct::new(path::Path::new(path));
        self.scan(file, namespace.to_string(), query, Vec::new, |house, scan, reply| {
            cursor::distinct(house, Box::new(scan), seen, reply);
        })
    }

    fn collections(&self, tenant: Tenant) -> Answer<'_, Vec<(String, String)>> {
        let file = match self.house.file(tenant) {
            Ok(file) => file,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let (reply, answer) = oneshot::channel();
        let house = Arc::clone(&self.house);
        let submitted = self.house.readers.submit(Box::new(move || {
            let view = house.opened(&file, false).and_then(|opened| View::now(&file, opened));
            // Nobody waits any more when this cannot be sent.
            drop(reply.send(view.and_then(|view| view.collections())));
        }));
        match submitted {
            Ok(()) => arrival(answer),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    fn delete<'a>(&'a self, namespace: &'a Namespace, delete: Delete) -> Answer<'a, u64> {
        let parsed =
            Variables::of(&delete.variables).and_then(|variables| filter::parse_given(&delete.filter, &variables));
        match parsed {
            Err(error) => ready(Err(error)).boxed(),
            Ok(filter) => self.write(namespace, delete.filter.as_bytes().len(), |reply| Task::Delete {
                filter,
                multi: delete.multi,
                reply,
            }),
        }
    }

    fn begin(&self, tenant: Tenant) -> Answer<'_, Arc<dyn Transaction>> {
        let begun = OpenTransaction::begin(&self.house, tenant);
        ready(begun.map(|transaction| Arc::new(transaction) as Arc<dyn Transaction>)).boxed()
    }

    fn create_index<'a>(
        &'a self,
        namespace: &'a Namespace,
        keys: RawDocumentBuf,
        options: RawDocumentBuf,
    ) -> Answer<'a, String> {
        match index::parse(&keys, &options) {
            Err(error) => ready(Err(error)).boxed(),
            Ok(index) => self.write(namespace, keys.as_bytes().len() + options.as_bytes().len(), |reply| {
                let build = Continuation { house: Arc::clone(&self.house), tenant: namespace.tenant, reply };
                Task::Indexes(Work::Create { index: Box::new(index), build })
            }),
        }
    }

    fn drop_index<'a>(&'a self, namespace: &'a Namespace, name: &'a str) -> Answer<'a, ()> {
        let index = name.to_owned();
        self.write(namespace, name.len(), |reply| Task::Indexes(Work::Drop { index, reply }))
    }

    fn list_indexes<'a>(&'a self, namespace: &'a Namespace) -> Answer<'a, Vec<IndexInfo>> {
        let found = check_namespace(namespace).and_then(|()| self.house.file(namespace.tenant));
        match found {
            Err(error) => ready(Err(error)).boxed(),
            Ok(file) => self.look(file, namespace.to_string(), |view, collection| explain::indexes(&view, collection)),
        }
    }

    fn explain<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, RawDocumentBuf> {
        let parsed = check_namespace(namespace).and_then(|()| Query::parse(&query));
        let (query, file) = match parsed.and_then(|query| Ok((query, self.house.file(namespace.tenant)?))) {
            Ok(found) => found,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let planned = self
            .look(file, namespace.to_string(), |view, collection| explain::Explained::plan(view, collection, query));
        let house = Arc::clone(&self.house);
        async move {
            let explained = planned.await?;
            let (reply, answer) = oneshot::channel();
            let again = Arc::clone(&house);
            house.readers.submit(Box::new(move || explained.run(again, reply)))?;
            arrival(answer).await
        }
        .boxed()
    }

    fn watch(&self, watched: Watched, watch: Watch) -> Answer<'_, Box<dyn ChangeStream>> {
        let named = match &watched {
            Watched::Collection(namespace) => check_namespace(namespace),
            Watched::Database { tenant, database } => check_namespace(&Namespace::new(*tenant, database, "c")),
            Watched::Tenant(_) => Ok(()),
        };
        let opening = named.and_then(|()| Opening::parse(&watched, &watch));
        let opened = opening.and_then(|(opening, shown)| {
            let file = self.house.file(watched.tenant())?;
            let present = file.watchers.enter(&opening.scope)?;
            Ok((opening, shown, file, present))
        });
        let (opening, shown, file, present) = match opened {
            Ok(opened) => opened,
            Err(error) => return ready(Err(error)).boxed(),
        };
        let (scope, bell) = (opening.scope.clone(), file.watchers.bell());
        let (reply, answer) = oneshot::channel();
        let write = Write { collection: String::new(), bytes: WRITE_BYTES, task: Task::Watch { opening, reply } };
        if let Err(error) = self.house.write(watched.tenant(), write) {
            return ready(Err(error)).boxed();
        }
        async move {
            let place = answer.await.unwrap_or_else(|_| Err(gave_up()))?;
            let stream = Stream::new(Arc::clone(&self.house), file, scope, place, bell, present, shown);
            Ok(Box::new(stream) as Box<dyn ChangeStream>)
        }
        .boxed()
    }

    fn disk_bytes(&self, tenant: Tenant) -> Option<u64> {
        self.house.file(tenant).ok().map(|file| file.disk_bytes())
    }

    fn compact(&self, tenant: Tenant) -> Answer<'_, Compacted> {
        let (reply, answer) = oneshot::channel();
        let write = Write { collection: String::new(), bytes: WRITE_BYTES, task: Task::Compact { reply } };
        match self.house.write(tenant, write) {
            Ok(()) => arrival(answer),
            Err(error) => ready(Err(error)).boxed(),
        }
    }

    fn backup(&self, into: PathBuf, progress: Arc<Progress>) -> Answer<'_, ()> {
        let (reply, answer) = oneshot::channel();
        let house = Arc::clone(&self.house);
        // A thread of its own: it takes as long as the disk does, and readers must not wait for it.
        let started = std::thread::Builder::new().name("store-backup".to_owned()).spawn(move || {
            // Nobody waits any more when this cannot be sent.
            drop(reply.send(backup::backup(&house, &into, &progress)));
        });
        match started {
            Ok(_) => arrival(answer),
            Err(error) => ready(Err(StoreError::store(format!("cannot start a backup: {error}")))).boxed(),
        }
    }

    fn drop_tenant(&self, tenant: Tenant) -> Answer<'_, ()> {
        let (reply, answer) = oneshot::channel();
        let write = Write { collection: String::new(), bytes: WRITE_BYTES, task: Task::DropFile { reply } };
        match self.house.write(tenant, write) {
            Ok(()) => arrival(answer),
            Err(error) => ready(Err(error)).boxed(),
        }
    }
}

/// What a waiting write costs beside what it brings along.
const WRITE_BYTES: usize = 512;

fn bytes_of(documents: &[RawDocumentBuf]) -> usize {
    documents.iter().map(|document| document.as_bytes().len()).sum()
}

fn arrival<'a, T: Send + 'static>(answer: oneshot::Receiver<Result<T, StoreError>>) -> Answer<'a, T> {
    answer.map(|answer| answer.unwrap_or_else(|_| Err(gave_up()))).boxed()
}

fn gave_up() -> StoreError {
    StoreError::store("the store gave up on this operation")
}

/// An `Update`, understood.
#[derive(Clone)]
struct Understood {
    filter: Filter,
    change: Change,
    multi: bool,
    upsert: bool,
}

fn understood(update: Update) -> Result<Understood, StoreError> {
    let Update { filter, update, array_filters, multi, upsert, variables } = update;
    let variables = Variables::of(&variables)?;
    let filter = filter::parse_given(&filter, &variables)?;
    let filter = if upsert { filter.for_upsert()? } else { filter };
    let change = update::parse(&update, &array_filters, &variables)?;
    if multi && change.is_replacement() {
        let text = "multi update is not supported for replacement-style update";
        return Err(StoreError::caller(9, "FailedToParse", text));
    }
    Ok(Understood { filter, change, multi, upsert })
}

fn check_path(path: &str) -> Result<(), StoreError> {
    if path.is_empty() || path.split('.').any(str::is_empty) {
        let text = "FieldPath field names may not be empty strings.";
        return Err(StoreError::caller(40352, "Location40352", text));
    }
    Ok(())
}

/// What MongoDB demands of the names, so that a tenant can move there later.
pub(crate) fn check_namespace(namespace: &Namespace) -> Result<(), StoreError> {
    let Namespace { database, collection, .. } = namespace;
    let refused = |what: &str| {
        let text = format!("Invalid namespace specified '{namespace}': {what}");
        Err(StoreError::caller(73, "InvalidNamespace", text))
    };
    if database.is_empty() || database.len() > 63 {
        return refused("the database's name must have 1 to 63 bytes");
    }
    if database.contains(['/', '\\', '.', ' ', '"', '$', '\0']) {
        return refused("the database's name must not contain any of /\\. \"$ or a zero byte");
    }
    if collection.is_empty() || collection.len() > 255 {
        return refused("the collection's name must have 1 to 255 bytes");
    }
    if collection.contains(['$', '\0']) || collection.starts_with('.') || collection.ends_with('.') {
        return refused("the collection's name must not contain $ or a zero byte, nor begin or end with a dot");
    }
    Ok(())
}

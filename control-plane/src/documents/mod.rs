//! Documents for running functions.
//!
//! In: one command of a call, as BSON from a host. A host may be owned by an attacker, so the command is hostile input:
//! read totally, bounded in depth, every key known or refused. Whose documents and as whom was decided when the call was
//! admitted; a command can only name a function of the app's that is configured to run as system. Out: `{"v": result}`, or
//! why not, in MongoDB's words where it has some.
//!
//! Not here: what the rules mean (`storage::access`) and what a filter means (`storage`).

pub(crate) mod command;
mod counts;
mod restrict;
mod sessions;
pub mod sources;

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use bson::raw::{RawArrayBuf, RawBson, RawDocumentBuf};
use bson::rawdoc;
use futures_util::future::BoxFuture;

use isolate_pool::limits::BATCH_BYTES_MAX;
use isolate_pool::services::Refusal;
use storage::access::{self, Denied};
use storage::model::{ActiveApp, RunAs};
use storage::{Aggregate, Cursor, Fault, Find, Modify, Namespace, Store, StoreError, Tenant, Update};

use crate::limits::{OPEN_CURSORS_MAX, READ_DOCUMENTS_MAX};
use command::{Command, Operation};
use sessions::Sessions;
use sources::Sources;

/// The data source an app has without configuring any.
pub const DEFAULT_SERVICE: &str = "mongodb-atlas";

/// One call's access to documents, with the cursors it has open.
pub struct DocumentSession {
    /// In the store of this Portico.
    here: Arc<Inner>,
    sources: Arc<Sources>,
    /// By data source, in other stores, made by the first operation there.
    elsewhere: Mutex<HashMap<String, Arc<Inner>>>,
}

struct Inner {
    store: Arc<dyn Store>,
    app: Arc<ActiveApp>,
    system: bool,
    cursors: Mutex<Cursors>,
    sessions: Sessions,
}

#[derive(Default)]
struct Cursors {
    open: HashMap<i64, OpenCursor>,
    made: i64,
}

struct OpenCursor {
    cursor: Box<dyn Cursor>,
    /// Documents it has given out.
    read: u64,
}

impl DocumentSession {
    pub fn new(sources: Arc<Sources>, app: Arc<ActiveApp>, system: bool) -> Self {
        let here = Arc::new(Inner::new(sources.usual().clone(), app, system));
        Self { here, sources, elsewhere: Mutex::default() }
    }

    /// Answers one operation (see [`isolate_pool::HostCall::Documents`]).
    pub fn documents(&self, command: Vec<u8>) -> BoxFuture<'static, Result<Vec<u8>, Refusal>> {
        let inner = match Command::read(&command) {
            Ok(command) => self.place_of(&command.service).map(|inner| (inner, command)),
            Err(refusal) => Err(refusal),
        };
        Box::pin(async move {
            let (inner, command) = inner?;
            inner.run(command).await.map(RawDocumentBuf::into_bytes)
        })
    }

    /// The call is over: what it left open of transactions is aborted.
    pub fn end(&self) {
        self.here.sessions.end_all();
        for inner in self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner).values() {
            inner.sessions.end_all();
        }
    }

    /// The call's side of the store that a data source lies in. A name the app does not have is refused there.
    fn place_of(&self, source: &str) -> Result<Arc<Inner>, Refusal> {
        let Inner { app, system, .. } = &*self.here;
        if !app.sources.contains_key(source) {
            return Ok(self.here.clone());
        }
        let mut elsewhere = self.elsewhere.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = elsewhere.get(source) {
            return Ok(known.clone());
        }
        let Some(store) = self.sources.elsewhere(app, source).map_err(told)? else { return Ok(self.here.clone()) };
        let inner = Arc::new(Inner::new(store, app.clone(), *system));
        elsewhere.insert(source.to_owned(), inner.clone());
        Ok(inner)
    }
}

impl Inner {
    fn new(store: Arc<dyn Store>, app: Arc<ActiveApp>, system: bool) -> Self {
        Self { store, app, system, cursors: Mutex::default(), sessions: Sessions::default() }
    }

    async fn run(&self, command: Command) -> Result<RawDocumentBuf, Refusal> {
        let counted = counts::place(&command.operation);
        let outcome = self.answer(command).await;
        if let Some(place) = counted {
            counts::operation(place, &*self.store, outcome.is_ok());
        }
        outcome
    }

    async fn answer(&self, command: Command) -> Result<RawDocumentBuf, Refusal> {
        let Command { service, function, namespace, session, operation } = command;
        match (&operation, session) {
            (Operation::CommitTransaction, Some(at)) => return self.sessions.commit(at).await.map(|()| nothing()),
            (Operation::AbortTransaction, Some(at)) => return self.sessions.abort(at).await.map(|()| nothing()),
            (Operation::EndSession, Some(at)) => {
                self.sessions.end(at.session);
                return Ok(nothing());
            }
            _ => {}
        }
        match operation {
            Operation::GetMore { cursor } => return self.more(cursor).await,
            Operation::CloseCursor { cursor } => {
                self.lock().open.remove(&cursor);
                return Ok(rawdoc! { "v": RawBson::Null });
            }
            _ => {}
        }
        if service != DEFAULT_SERVICE && !self.app.rules.contains_key(&service) {
            return Err(refusal("ServiceNotFound", format!("service not found: '{service}'")));
        }
        let (database, collection) = namespace;
        let system = self.system || function.is_some_and(|name| self.runs_as_system(&name));
        let permit = |wanted: &access::Operation| match system {
            true => Ok(()),
            false => access::permit(self.app.rules.get(&service), &database, &collection, *wanted),
        };
        let mut allowed = operation.access().iter().map(permit);
        match allowed.find_map(Result::err) {
            None => {}
            Some(Denied::ReadsNothing) => return Ok(operation.nothing_there()),
            Some(denied) => return Err(refusal(denied.code_name(), denied.to_string())),
        }
        if let Operation::BulkWrite { operations, .. } = &operation {
            let mut wanted = operations.iter().flat_map(Operation::access);
            let denied = wanted.find_map(|wanted| permit(wanted).err());
            if let Some(denied) = denied {
                return Err(refusal(denied.code_name(), denied.to_string()));
            }
        }
        if !system {
            restrict::check(&operation)?;
        }
        let tenant = Tenant::App(self.app.id);
        self.count(&operation, tenant)?;
        let namespace = Namespace::new(tenant, database, collection);
        match session {
            None => self.perform(&*self.store, &namespace, operation).await,
            Some(at) => {
                let transaction = self.sessions.enter(at, &service, &*self.store, tenant).await?;
                self.perform(&*transaction, &namespace, operation).await
            }
        }
    }

    /// Counts an operation, and refuses one that may add to an app that takes all the disk it may.
    fn count(&self, operation: &Operation, tenant: Tenant) -> Result<(), Refusal> {
        let accesses = |operation: &Operation| match operation {
            // The rules look at what it reads; what it leaves behind takes room like anything else.
            Operation::Aggregate(aggregate) if aggregate.writes() => vec![access::Operation::Insert],
            other => other.access().to_vec(),
        };
        let mut wanted = accesses(operation);
        if let Operation::BulkWrite { operations, .. } = operation {
            wanted.extend(operations.iter().flat_map(accesses));
        }
        if wanted.iter().all(|wanted| *wanted == access::Operation::Read) {
            self.app.operations.read();
            return Ok(());
        }
        self.app.operations.write();
        let adds = wanted.iter().any(|wanted| matches!(wanted, access::Operation::Insert | access::Operation::Update));
        match adds.then(|| full(&*self.store, tenant, self.app.limits.storage_mib)).flatten() {
            Some(why) => Err(refusal(QUOTA_EXCEEDED, why)),
            None => Ok(()),
        }
    }

    /// Whether a function that a host names runs as system whoever calls it. A host can lie about which of the app's
    /// functions is running; so an app none of whose functions runs as system is safe from a host that is owned.
    fn runs_as_system(&self, function: &str) -> bool {
        self.app.functions.get(function).is_some_and(|function| function.run_as == RunAs::System)
    }

    async fn perform(
        &self,
        store: &dyn Store,
        at: &Namespace,
        operation: Operation,
    ) -> Result<RawDocumentBuf, Refusal> {
        match operation {
            Operation::InsertOne { document } => {
                let inserted = store.insert(at, vec![document], true).await.map_err(told)?;
                if let Some(error) = inserted.error {
                    return Err(told(error));
                }
                let id = inserted.ids.into_iter().next().unwrap_or(RawBson::Null);
                Ok(rawdoc! { "v": { "insertedId": id } })
            }
            Operation::InsertMany { documents, ordered } => {
                let inserted = store.insert(at, documents, ordered).await.map_err(told)?;
                if let Some(error) = inserted.error {
                    return Err(told(error));
                }
                let ids: RawArrayBuf = inserted.ids.into_iter().collect();
                Ok(rawdoc! { "v": { "insertedIds": ids } })
            }
            Operation::Find(query) => self.find(store, at, query).await,
            Operation::Aggregate(aggregate) => self.aggregate(store, at, aggregate).await,
            Operation::Collections => {
                let all = store.collections(at.tenant).await.map_err(told)?;
                let of_database = all.into_iter().filter(|(database, _)| *database == at.database);
                Ok(rawdoc! { "v": RawArrayBuf::from_iter(of_database.map(|(_, collection)| collection)) })
            }
            Operation::Databases => {
                let all = store.collections(at.tenant).await.map_err(told)?;
                let names: BTreeSet<_> = all.into_iter().map(|(database, _)| database).collect();
                Ok(rawdoc! { "v": RawArrayBuf::from_iter(names) })
            }
            Operation::FindOne(query) => {
                let mut cursor = store.find(at, query).await.map_err(told)?;
                let batch = cursor.next(BATCH_BYTES_MAX).await.map_err(told)?;
                let found = batch.documents.into_iter().next().map_or(RawBson::Null, RawBson::Document);
                Ok(rawdoc! { "v": found })
            }
            Operation::Count(query) => {
                let count = store.count(at, query).await.map_err(told)?;
                Ok(rawdoc! { "v": count_of(count) })
            }
            Operation::Update(update) => self.update(store, at, update).await,
            Operation::Delete(delete) => {
                let deleted = store.delete(at, delete).await.map_err(told)?;
                Ok(rawdoc! { "v": { "deletedCount": count_of(deleted) } })
            }
            Operation::Modify(modify) => {
                let modified = store.modify(at, modify).await.map_err(told)?;
                Ok(rawdoc! { "v": modified.document.map_or(RawBson::Null, RawBson::Document) })
            }
            Operation::Distinct { path, filter } => {
                let values = store.distinct(at, &path, filter).await.map_err(told)?;
                Ok(rawdoc! { "v": RawArrayBuf::from_iter(values) })
            }
            Operation::BulkWrite { operations, ordered } => self.bulk_write(store, at, operations, ordered).await,
            Operation::GetMore { .. }
            | Operation::CloseCursor { .. }
            | Operation::CommitTransaction
            | Operation::AbortTransaction
            | Operation::EndSession => {
                unreachable!("commands about a cursor or a session were answered before the namespace was looked at")
            }
        }
    }

    async fn update(&self, store: &dyn Store, at: &Namespace, update: Update) -> Result<RawDocumentBuf, Refusal> {
        let updated = store.update(at, update).await.map_err(told)?;
        let mut result = rawdoc! {
            "matchedCount": count_of(updated.matched),
            "modifiedCount": count_of(updated.modified),
        };
        if let Some(id) = updated.upserted_id {
            result.append(bson::raw::cstr!("upsertedId"), id);
        }
        Ok(rawdoc! { "v": result })
    }

    /// Answers nothing, as App Services did. What came before an error stays done, and so does what comes after it when the
    /// operations are not in order.
    async fn bulk_write(
        &self,
        store: &dyn Store,
        at: &Namespace,
        operations: Vec<Operation>,
        ordered: bool,
    ) -> Result<RawDocumentBuf, Refusal> {
        let mut failed = None;
        for operation in operations {
            // Boxed, since it may not hold another bulk write but the compiler cannot know.
            if let Err(refusal) = Box::pin(self.perform(store, at, operation)).await {
                failed.get_or_insert(refusal);
                if ordered {
                    break;
                }
            }
        }
        match failed {
            Some(refusal) => Err(refusal),
            None => Ok(rawdoc! { "v": RawBson::Null }),
        }
    }

    async fn find(&self, store: &dyn Store, at: &Namespace, mut query: Find) -> Result<RawDocumentBuf, Refusal> {
        self.room_for_cursor()?;
        // One more than may be returned, so that the limit is met with an error and not with silence.
        query.limit = match query.limit {
            0 => READ_DOCUMENTS_MAX + 1,
            limit => limit.min(READ_DOCUMENTS_MAX + 1),
        };
        let cursor = store.find(at, query).await.map_err(told)?;
        self.batch(None, OpenCursor { cursor, read: 0 }).await
    }

    async fn aggregate(
        &self,
        store: &dyn Store,
        at: &Namespace,
        aggregate: Aggregate,
    ) -> Result<RawDocumentBuf, Refusal> {
        self.room_for_cursor()?;
        let cursor = store.aggregate(at, aggregate).await.map_err(told)?;
        self.batch(None, OpenCursor { cursor, read: 0 }).await
    }

    fn room_for_cursor(&self) -> Result<(), Refusal> {
        match self.lock().open.len() {
            0..OPEN_CURSORS_MAX => Ok(()),
            _ => Err(refusal("CursorLimit", format!("a call may have at most {OPEN_CURSORS_MAX} cursors open"))),
        }
    }

    async fn more(&self, id: i64) -> Result<RawDocumentBuf, Refusal> {
        let open = self.lock().open.remove(&id);
        let open = open.ok_or_else(|| Refusal {
            code: "CursorNotFound".to_owned(),
            message: format!("cursor id {id} not found"),
            number: 43,
            label: None,
        })?;
        self.batch(Some(id), open).await
    }

    /// The next documents of a cursor, which is kept when there are more.
    async fn batch(&self, id: Option<i64>, mut open: OpenCursor) -> Result<RawDocumentBuf, Refusal> {
        let batch = open.cursor.next(BATCH_BYTES_MAX).await.map_err(told)?;
        open.read += batch.documents.len() as u64;
        if open.read > READ_DOCUMENTS_MAX {
            return Err(refusal("QueryLimit", format!("a query returns at most {READ_DOCUMENTS_MAX} documents")));
        }
        let mut documents = RawArrayBuf::new();
        for document in batch.documents {
            documents.push(document);
        }
        let id = match batch.exhausted {
            true => 0,
            false => {
                let mut cursors = self.lock();
                let id = id.unwrap_or_else(|| {
                    cursors.made += 1;
                    cursors.made
                });
                cursors.open.insert(id, open);
                id
            }
        };
        Ok(rawdoc! { "v": documents, "cursor": id })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Cursors> {
        self.cursors.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Operation {
    /// What the rules must allow for it.
    fn access(&self) -> &'static [access::Operation] {
        use access::Operation as Access;
        match self {
            Self::InsertOne { .. } | Self::InsertMany { .. } => &[Access::Insert],
            Self::Find(_) | Self::FindOne(_) | Self::Count(_) | Self::Aggregate(_) | Self::Distinct { .. } => {
                &[Access::Read]
            }
            Self::Modify(Modify { update: None, .. }) => &[Access::Delete, Access::Read],
            Self::Modify(Modify { upsert: true, .. }) => &[Access::Update, Access::Insert, Access::Read],
            Self::Modify(_) => &[Access::Update, Access::Read],
            Self::Update(Update { upsert: true, .. }) => &[Access::Update, Access::Insert],
            Self::Update(_) => &[Access::Update],
            Self::Delete(_) => &[Access::Delete],
            // A bulk write needs what each of its operations needs.
            Self::BulkWrite { .. }
            | Self::GetMore { .. }
            | Self::CloseCursor { .. }
            | Self::CommitTransaction
            | Self::AbortTransaction
            | Self::EndSession => &[],
            // For the system only, whom rules do not concern.
            Self::Collections | Self::Databases => &[],
        }
    }

    /// What a caller sees who may read nothing here.
    fn nothing_there(&self) -> RawDocumentBuf {
        match self {
            Self::Find(_) | Self::Aggregate(_) => rawdoc! { "v": RawArrayBuf::new(), "cursor": 0_i64 },
            Self::Count(_) => rawdoc! { "v": 0_i64 },
            Self::Distinct { .. } => rawdoc! { "v": RawArrayBuf::new() },
            _ => rawdoc! { "v": RawBson::Null },
        }
    }
}

fn count_of(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

fn refusal(code: &str, message: String) -> Refusal {
    Refusal { code: code.to_owned(), message, number: 0, label: None }
}

/// What an app that takes all the disk it may is told by.
pub const QUOTA_EXCEEDED: &str = "StorageQuotaExceeded";

/// Why nothing more may be added to an app's documents, when nothing may. One look at the file's length, which a write is
/// worth.
pub fn full(store: &dyn Store, tenant: Tenant, storage_mib: u32) -> Option<String> {
    let (bytes, most) = (store.disk_bytes(tenant)?, u64::from(storage_mib) * 1024 * 1024);
    (bytes >= most).then(|| {
        format!(
            "the app's documents take {bytes} bytes of the {most} they may: delete some and compact, or have the limit \
             storage_mib raised"
        )
    })
}

fn nothing() -> RawDocumentBuf {
    rawdoc! { "v": RawBson::Null }
}

/// A store's error as a function sees it. What broke inside the store is for the operator; that somebody's database does
/// not answer is said to everybody, in words that name no host.
fn told(error: StoreError) -> Refusal {
    let label = error.label;
    counts::failure(&error);
    match error.fault {
        Fault::Caller | Fault::Database => {
            Refusal { code: error.code_name.to_owned(), message: error.message, number: error.code, label }
        }
        // Said in words that are for everybody, and logged where it was noticed.
        Fault::Store if error == StoreError::out_of_disk_space() => {
            Refusal { code: error.code_name.to_owned(), message: error.message, number: error.code, label }
        }
        Fault::Store => {
            tracing::error!(%error, "the document store failed");
            Refusal {
                code: "InternalServerError".to_owned(),
                message: "the document store failed".to_owned(),
                number: error.code,
                label,
            }
        }
    }
}

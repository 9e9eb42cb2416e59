//! The seam between Portico and where documents live.
//!
//! In: typed commands, each naming its tenant through a [`Namespace`], with filters, updates and documents as raw BSON.
//! Out: counts, ids, and batches of raw BSON bounded in bytes.
//!
//! Not here: who may do what (`access`), what a deployed function calls these operations (`isolate-pool`), and any thread:
//! a future may be polled from any executor, resolves without blocking it, and is ready at once when the answer is.

use std::path::PathBuf;
use std::sync::Arc;

use bson::raw::{RawArrayBuf, RawBson, RawDocumentBuf};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};

use crate::backup::Progress;
use crate::changes::{ChangeStream, Watch, Watched};
use crate::error::{StoreError, location};
use crate::namespace::{Namespace, Tenant};
use crate::transaction::Transaction;

pub type Answer<'a, T> = BoxFuture<'a, Result<T, StoreError>>;

/// A query. Absent options are empty documents or zero.
#[derive(Debug, Clone, Default)]
pub struct Find {
    pub filter: RawDocumentBuf,
    pub projection: RawDocumentBuf,
    pub sort: RawDocumentBuf,
    /// Less than 0 is refused with `Location51024`.
    pub skip: i64,
    /// 0: no limit.
    pub limit: u64,
    /// The `let` of the command: what expressions name as `$$name`.
    pub variables: RawDocumentBuf,
}

impl Find {
    /// How many documents to leave out.
    pub fn skipped(&self) -> Result<u64, StoreError> {
        u64::try_from(self.skip)
            .map_err(|_| location!(51024, "Skip value must be non-negative, but received: {}", self.skip))
    }
}

/// What an update does to a document.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// Operators (`$set` …), or a whole document that replaces the one found.
    Document(RawDocumentBuf),
    /// Stages that compute the new document from the old one.
    Pipeline(Vec<RawDocumentBuf>),
}

#[derive(Debug, Clone, Default)]
pub struct Update {
    pub filter: RawDocumentBuf,
    pub update: Change,
    /// Which members of arrays `$[name]` in the update stands for.
    pub array_filters: Vec<RawDocumentBuf>,
    pub multi: bool,
    pub upsert: bool,
    /// As of [`Find`].
    pub variables: RawDocumentBuf,
}

#[derive(Debug, Clone, Default)]
pub struct Delete {
    pub filter: RawDocumentBuf,
    pub multi: bool,
    /// As of [`Find`].
    pub variables: RawDocumentBuf,
}

/// Finds one document and changes or deletes it in the same step.
#[derive(Debug, Clone, Default)]
pub struct Modify {
    pub filter: RawDocumentBuf,
    /// Which of several that match: the first in this order.
    pub sort: RawDocumentBuf,
    /// Of the document returned.
    pub projection: RawDocumentBuf,
    /// `None` deletes.
    pub update: Option<Change>,
    pub array_filters: Vec<RawDocumentBuf>,
    pub upsert: bool,
    /// Return the document as it is afterwards, rather than as it was.
    pub after: bool,
    /// As of [`Find`].
    pub variables: RawDocumentBuf,
}

impl Change {
    /// About how much memory it takes.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Document(document) => document.as_bytes().len(),
            Self::Pipeline(stages) => stages.iter().map(|stage| stage.as_bytes().len()).sum(),
        }
    }
}

impl Default for Change {
    fn default() -> Self {
        Self::Document(RawDocumentBuf::new())
    }
}

impl From<RawDocumentBuf> for Change {
    fn from(document: RawDocumentBuf) -> Self {
        Self::Document(document)
    }
}

/// A pipeline of stages.
#[derive(Debug, Clone, Default)]
pub struct Aggregate {
    /// Each member is a document with one stage; whatever else is in it is for the store to refuse.
    pub pipeline: RawArrayBuf,
    /// What its expressions know as `$$name` (`let`).
    pub variables: RawDocumentBuf,
}

impl Aggregate {
    /// Whether it has effects: its last stage is `$out` or `$merge`.
    pub fn writes(&self) -> bool {
        let Some(Ok(last)) = (&self.pipeline).into_iter().last() else { return false };
        let stage = last.as_document().and_then(|stage| stage.iter().next()?.ok());
        stage.is_some_and(|(name, _)| matches!(name.as_str(), "$out" | "$merge"))
    }
}

/// What an insert did. When `error` is set, the documents before it (ordered) were inserted all the same.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Inserted {
    /// `_id`s of what was inserted, in order.
    pub ids: Vec<RawBson>,
    pub error: Option<StoreError>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Updated {
    pub matched: u64,
    pub modified: u64,
    pub upserted_id: Option<RawBson>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Modified {
    /// `None` when nothing matched, and before an upsert.
    pub document: Option<RawDocumentBuf>,
    /// Whether anything is different now.
    pub changed: bool,
}

/// An index of a collection.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexInfo {
    /// As MongoDB's `listIndexes` shows it: `{ v, key, name, unique … }`.
    pub specification: RawDocumentBuf,
    /// While it is being built: it is kept up already, and not used yet.
    pub building: Option<IndexProgress>,
}

/// Documents that are in an index that is being built, and that will be.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IndexProgress {
    pub done: u64,
    pub total: u64,
}

/// What a compaction came to, in bytes of disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Compacted {
    pub before: u64,
    pub after: u64,
}

/// One batch of a cursor.
#[derive(Debug, Default)]
pub struct Batch {
    pub documents: Vec<RawDocumentBuf>,
    /// Whether this was the last one.
    pub exhausted: bool,
}

/// An open query. Sees the collection as it was when the query began. Dropping it releases what it holds.
pub trait Cursor: Send {
    /// The next documents, at least one unless exhausted, at most about `bytes_max` of them (a single larger document is
    /// returned alone). Whoever stops waiting ends the cursor, and so does an error: asked again it says so
    /// (`CursorKilled`, 237), and never that there is no more.
    fn next(&mut self, bytes_max: usize) -> Answer<'_, Batch>;
}

/// What such a cursor says.
pub(crate) fn cursor_killed() -> StoreError {
    StoreError::caller(
        237,
        "CursorKilled",
        "the cursor has failed, or nobody waited for the documents it was asked for",
    )
}

/// Where documents live. "Acknowledged" (a write future that resolved to `Ok`) means on stable storage: it survives
/// `kill -9` and power loss.
pub trait Store: Send + Sync + 'static {
    /// What kind of store it is, in a word for figures.
    fn backend(&self) -> &'static str;
    fn find<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, Box<dyn Cursor>>;
    /// The documents of a pipeline. One that ends in `$out` or `$merge` has none, and has written when this is answered.
    fn aggregate<'a>(&'a self, _namespace: &'a Namespace, _aggregate: Aggregate) -> Answer<'a, Box<dyn Cursor>> {
        ready(Err(StoreError::unsupported("pipelines are not supported here"))).boxed()
    }
    fn count<'a>(&'a self, namespace: &'a Namespace, query: Find) -> Answer<'a, u64>;
    /// Documents without `_id` get a new ObjectId, put first.
    fn insert<'a>(
        &'a self,
        namespace: &'a Namespace,
        documents: Vec<RawDocumentBuf>,
        ordered: bool,
    ) -> Answer<'a, Inserted>;
    fn update<'a>(&'a self, namespace: &'a Namespace, update: Update) -> Answer<'a, Updated>;
    fn modify<'a>(&'a self, namespace: &'a Namespace, modify: Modify) -> Answer<'a, Modified>;
    /// The values at a path in the documents that match, each once; arrays give their elements.
    fn distinct<'a>(
        &'a self,
        namespace: &'a Namespace,
        path: &'a str,
        filter: RawDocumentBuf,
    ) -> Answer<'a, Vec<RawBson>>;
    /// How many documents were deleted.
    fn delete<'a>(&'a self, namespace: &'a Namespace, delete: Delete) -> Answer<'a, u64>;
    /// Database and name of each collection of a tenant, in order.
    fn collections(&self, _tenant: Tenant) -> Answer<'_, Vec<(String, String)>> {
        ready(Err(StoreError::unsupported("collections cannot be listed here"))).boxed()
    }
    /// Begins a transaction on a tenant's documents. Its snapshot is taken by the first operation in it.
    fn begin(&self, _tenant: Tenant) -> Answer<'_, Arc<dyn Transaction>> {
        refuse("a transaction")
    }
    /// Makes an index, if it is not there already, and answers its name when it is built: `keys` is `{ a: 1, "b.c": -1 }`,
    /// `options` is `{ name, unique, sparse, partialFilterExpression, expireAfterSeconds }`, each optional. The building
    /// goes on when nobody waits for the answer any more.
    fn create_index<'a>(
        &'a self,
        _namespace: &'a Namespace,
        _keys: RawDocumentBuf,
        _options: RawDocumentBuf,
    ) -> Answer<'a, String> {
        refuse("creating indexes")
    }
    /// By name; `*` drops all but that of `_id`.
    fn drop_index<'a>(&'a self, _namespace: &'a Namespace, _name: &'a str) -> Answer<'a, ()> {
        refuse("dropping indexes")
    }
    /// That of `_id` first; none when the collection does not exist.
    fn list_indexes<'a>(&'a self, _namespace: &'a Namespace) -> Answer<'a, Vec<IndexInfo>> {
        refuse("listing indexes")
    }
    /// How a query is found, and what it takes to find all of it: `{ queryPlanner, executionStats }` as MongoDB has them.
    fn explain<'a>(&'a self, _namespace: &'a Namespace, _query: Find) -> Answer<'a, RawDocumentBuf> {
        refuse("explain")
    }
    /// Tells of changes from now on, or from where the options say.
    fn watch(&self, _watched: Watched, _watch: Watch) -> Answer<'_, Box<dyn ChangeStream>> {
        refuse("watching changes")
    }
    /// Bytes of disk that a tenant's documents take here, with what is free between them; `None` where it is not this
    /// store that knows.
    fn disk_bytes(&self, _tenant: Tenant) -> Option<u64> {
        None
    }
    /// Gives back what is free in a tenant's file. Its readers go on, its writers wait.
    fn compact(&self, _tenant: Tenant) -> Answer<'_, Compacted> {
        refuse("compacting")
    }
    /// Copies what all tenants have, each as it is at one moment, into a directory that must not be there yet. Everything
    /// goes on meanwhile; `progress` tells how far it is.
    fn backup(&self, _into: PathBuf, _progress: Arc<Progress>) -> Answer<'_, ()> {
        refuse("a backup")
    }
    /// Everything a tenant has, gone. For a deleted app.
    fn drop_tenant(&self, tenant: Tenant) -> Answer<'_, ()>;
}

/// What a store answers that cannot do something.
fn refuse<'a, T: Send + 'a>(what: &str) -> Answer<'a, T> {
    ready(Err(StoreError::unsupported(format!("{what} is not supported by this data source")))).boxed()
}

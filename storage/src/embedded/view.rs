//! What an operation sees: one snapshot of a file and, inside a transaction, what the transaction itself wrote on top.
//!
//! In: a file and its database. Out: tables of the snapshot, and the transaction's own documents of a collection. A view
//! is cheap to clone and keeps its file open; the pages of its snapshot cannot be used again as long as it lives.
//!
//! Not here: how the two are merged (`scan`), and how long a transaction may keep its view (`transaction`).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use bson::raw::RawDocumentBuf;
use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, TableError};

use super::file::{File, Opened, table};
use crate::error::StoreError;

pub type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;

/// What a transaction wrote into one collection: keys of `_id`s to documents, `None` where it deleted one.
pub type OwnDocuments = BTreeMap<Vec<u8>, Option<Arc<RawDocumentBuf>>>;

/// By collection. Shared with the scans that began before the next write, which copies what it changes.
pub type OwnWrites = BTreeMap<String, Arc<OwnDocuments>>;

#[derive(Clone)]
pub struct View {
    pub file: Arc<File>,
    /// `None` when there was no file.
    snapshot: Option<Arc<Snapshot>>,
    own: Option<Arc<OwnWrites>>,
}

struct Snapshot {
    read: ReadTransaction,
    /// Behind the snapshot, since fields are dropped in this order.
    opened: Arc<Opened>,
}

impl View {
    /// What is committed at this moment.
    pub fn now(file: &Arc<File>, opened: Option<Arc<Opened>>) -> Result<Self, StoreError> {
        let snapshot = opened.map(|opened| {
            let read = opened.database.begin_read().map_err(|error| failure(file, &opened, &error))?;
            Ok(Arc::new(Snapshot { read, opened }))
        });
        Ok(Self { file: Arc::clone(file), snapshot: snapshot.transpose()?, own: None })
    }

    /// The same snapshot with these writes on top.
    pub fn with(&self, own: Arc<OwnWrites>) -> Self {
        Self { own: Some(own), ..self.clone() }
    }

    /// The database it reads from.
    pub fn opened(&self) -> Option<&Arc<Opened>> {
        self.snapshot.as_ref().map(|snapshot| &snapshot.opened)
    }

    /// `None` when the snapshot has no such collection.
    pub fn table(&self, collection: &str) -> Result<Option<Table>, StoreError> {
        let Some(snapshot) = &self.snapshot else { return Ok(None) };
        match snapshot.read.open_table(table(collection)) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// `None` when the transaction wrote nothing there, or there is no transaction.
    pub fn own(&self, collection: &str) -> Option<Arc<OwnDocuments>> {
        self.own.as_ref()?.get(collection).cloned()
    }

    /// The snapshot could not be read.
    pub fn failure(&self, error: &dyn fmt::Display) -> StoreError {
        match &self.snapshot {
            Some(snapshot) => failure(&self.file, &snapshot.opened, error),
            None => self.file.failure("read", error),
        }
    }
}

fn failure(file: &File, opened: &Opened, error: &dyn fmt::Display) -> StoreError {
    opened.fail();
    file.failure("read", error)
}

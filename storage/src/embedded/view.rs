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
use redb::{ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable, TableError, TableHandle};

use super::file::{File, Opened, table};
use super::indexes::{self, CATALOGUE, Entries, table_name};
use crate::error::StoreError;
use crate::store::IndexProgress;

pub type Table = ReadOnlyTable<&'static [u8], &'static [u8]>;
pub type EntryTable = ReadOnlyTable<&'static [u8], u32>;
type Catalogue = ReadOnlyTable<&'static str, &'static [u8]>;

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

    /// The indexes of a collection, but that of `_id`.
    pub fn indexes(&self, collection: &str) -> Result<Entries, StoreError> {
        let Some((snapshot, rows)) = self.catalogue()? else { return Ok(Arc::new([])) };
        let row = rows.get(collection).map_err(|error| self.failure(&error))?;
        snapshot.opened.indexes.parsed(collection, row.as_ref().map(|row| row.value()))
    }

    /// Those of all collections that have any.
    pub fn all_indexes(&self) -> Result<Vec<(String, Entries)>, StoreError> {
        let Some((snapshot, rows)) = self.catalogue()? else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for row in rows.iter().map_err(|error| self.failure(&error))? {
            let (collection, row) = row.map_err(|error| self.failure(&error))?;
            let collection = collection.value();
            all.push((collection.to_owned(), snapshot.opened.indexes.parsed(collection, Some(row.value()))?));
        }
        Ok(all)
    }

    /// The entries of an index; `None` when it never had any.
    pub fn entries(&self, collection: &str, index: &str) -> Result<Option<EntryTable>, StoreError> {
        let Some(snapshot) = &self.snapshot else { return Ok(None) };
        match snapshot.read.open_table(indexes::table(&table_name(collection, index))) {
            Ok(table) => Ok(Some(table)),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// How far the building of an index has come; `None` when nobody builds it.
    pub fn progress(&self, collection: &str, index: &str) -> Option<IndexProgress> {
        self.snapshot.as_ref()?.opened.builds.progress(collection, index)
    }

    fn catalogue(&self) -> Result<Option<(&Snapshot, Catalogue)>, StoreError> {
        let Some(snapshot) = &self.snapshot else { return Ok(None) };
        match snapshot.read.open_table(CATALOGUE) {
            Ok(table) => Ok(Some((snapshot, table))),
            Err(TableError::TableDoesNotExist(_)) => Ok(None),
            Err(error) => Err(self.failure(&error)),
        }
    }

    /// Database and name of each collection, in order. Tables with a `$` in their names are the store's own.
    pub fn collections(&self) -> Result<Vec<(String, String)>, StoreError> {
        let Some(snapshot) = &self.snapshot else { return Ok(Vec::new()) };
        let tables = snapshot.read.list_tables().map_err(|error| self.failure(&error))?;
        let names = tables.filter_map(|table| {
            let (database, collection) = table.name().split_once('.').filter(|_| !table.name().contains('$'))?;
            Some((database.to_owned(), collection.to_owned()))
        });
        let mut names: Vec<_> = names.collect();
        names.sort_unstable();
        Ok(names)
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

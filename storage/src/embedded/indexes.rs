//! Which indexes the collections of a file have, and the tables their entries lie in.
//!
//! In: a row of the file's catalogue of indexes. Out: the indexes of a collection, parsed once for as long as the row
//! stays the same. Index and documents change in one transaction, so a snapshot always shows them in agreement.
//!
//! Tables: `$indexes` holds a row for each collection that has indexes; `<collection>$<index>` holds the entries of one.
//! No collection's name has a `$`. An entry's key is the document's key in the index followed by the key of its `_id`,
//! and its value is the length of the first.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;
use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::collection::Stop;
use crate::error::StoreError;
use crate::index::{self, Index};

pub const CATALOGUE: TableDefinition<'_, &'static str, &'static [u8]> = TableDefinition::new("$indexes");

/// An index of a collection as its file has it.
#[derive(Debug, Clone)]
pub struct Entry {
    pub index: Index,
    /// A bit for each part at which some document has had an array.
    pub arrays: u32,
    /// Not all documents are in it yet: it is kept up, and not read.
    pub building: bool,
}

pub type Entries = Arc<[Entry]>;

/// Rows that were parsed, by collection.
#[derive(Debug, Default)]
pub struct Cache(Mutex<HashMap<String, (Vec<u8>, Entries)>>);

impl Cache {
    /// The indexes a row of the catalogue describes.
    pub fn parsed(&self, collection: &str, row: Option<&[u8]>) -> Result<Entries, StoreError> {
        let Some(row) = row else { return Ok(Arc::new([])) };
        let mut rows = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, entries)) = rows.get(collection)
            && known == row
        {
            return Ok(Arc::clone(entries));
        }
        let entries: Entries = decode(row)?.into();
        rows.insert(collection.to_owned(), (row.to_vec(), Arc::clone(&entries)));
        Ok(entries)
    }
}

/// The table of an index's entries.
pub fn table_name(collection: &str, index: &str) -> String {
    format!("{collection}${index}")
}

pub fn table(name: &str) -> TableDefinition<'_, &'static [u8], u32> {
    TableDefinition::new(name)
}

/// What a transaction sees.
pub fn read(transaction: &WriteTransaction, cache: &Cache, collection: &str) -> Result<Entries, Stop> {
    let rows = transaction.open_table(CATALOGUE)?;
    let row = rows.get(collection)?;
    cache.parsed(collection, row.as_ref().map(|row| row.value())).map_err(Stop::Refused)
}

pub fn write(transaction: &WriteTransaction, collection: &str, entries: &[Entry]) -> Result<(), Stop> {
    let mut rows = transaction.open_table(CATALOGUE)?;
    if entries.is_empty() {
        rows.remove(collection)?;
    } else {
        rows.insert(collection, encode(entries).as_bytes())?;
    }
    Ok(())
}

fn encode(entries: &[Entry]) -> RawDocumentBuf {
    let mut list = RawArrayBuf::new();
    for Entry { index, arrays, building } in entries {
        let specification = index.specification.clone();
        list.push(rawdoc! { "specification": specification, "arrays": i64::from(*arrays), "building": *building });
    }
    rawdoc! { "indexes": list }
}

fn decode(row: &[u8]) -> Result<Vec<Entry>, StoreError> {
    let damaged = || StoreError::store("the list of a collection's indexes is damaged");
    let row = RawDocument::from_bytes(row).map_err(|_| damaged())?;
    let list = row.get_array("indexes").map_err(|_| damaged())?;
    let entries = list.into_iter().map(|one| {
        let Ok(RawBsonRef::Document(one)) = one else { return Err(damaged()) };
        let arrays = one.get_i64("arrays").ok().and_then(|arrays| u32::try_from(arrays).ok());
        Ok(Entry {
            index: index::stored(one.get_document("specification").map_err(|_| damaged())?)?,
            arrays: arrays.ok_or_else(damaged)?,
            building: one.get_bool("building").map_err(|_| damaged())?,
        })
    });
    entries.collect()
}

//! A collection inside a write transaction: the one place where documents change.
//!
//! In: keys of `_id`s and whole documents. Out: the change made, or the reason why it was not; a change that is refused
//! leaves nothing behind. Whatever has to follow a change in the same commit (an index, a log of changes) hooks in here.
//! Not here: which documents are meant, and what becomes of them (`write`).

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use redb::{ReadableTable, Table, WriteTransaction};

use super::access_path::AccessPath;
use super::file::table;
use super::scan::crossed;
use crate::error::StoreError;
use crate::filter::Filter;
use crate::value::key;

/// Why something in a transaction could not be done.
pub enum Stop {
    /// The fault of the one write that asked; the others go on.
    Refused(StoreError),
    /// The file's; nothing of the transaction can be kept.
    Broken(redb::Error),
}

impl<E: Into<redb::Error>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Broken(error.into())
    }
}

pub struct Collection<'txn> {
    /// `database.collection`.
    name: &'txn str,
    documents: Table<'txn, &'static [u8], &'static [u8]>,
}

impl<'txn> Collection<'txn> {
    /// Makes the collection if it is missing.
    pub fn open(transaction: &'txn WriteTransaction, name: &'txn str) -> Result<Self, Stop> {
        Ok(Self { name, documents: transaction.open_table(table(name))? })
    }

    pub fn get(&self, key: &[u8]) -> Result<Option<RawDocumentBuf>, Stop> {
        let found = self.documents.get(key)?;
        found.map(|found| RawDocumentBuf::from_bytes(found.value().to_vec()).map_err(damaged)).transpose()
    }

    /// A checked document that has an `_id`, which is the answer.
    pub fn insert(&mut self, document: &RawDocument) -> Result<RawBson, Stop> {
        let id = document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null);
        let key = key::encode(id);
        if self.documents.get(key.as_slice())?.is_some() {
            return Err(Stop::Refused(duplicate(self.name, id)));
        }
        self.documents.insert(key.as_slice(), document.as_bytes())?;
        Ok(id.into())
    }

    /// A document that is there by one with the same `_id`.
    pub fn replace(&mut self, key: &[u8], after: &RawDocument) -> Result<(), Stop> {
        self.documents.insert(key, after.as_bytes())?;
        Ok(())
    }

    /// A document that is there.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Stop> {
        self.documents.remove(key)?;
        Ok(())
    }

    /// Shows `see` each document the filter means, in the order of `_id`, until it says that it has enough.
    pub fn each_match(
        &self,
        filter: &Filter,
        mut see: impl FnMut(&[u8], &RawDocument) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let mut offer = |key: &[u8], bytes: &[u8]| {
            let document = RawDocument::from_bytes(bytes).map_err(damaged)?;
            if filter.matches(document).map_err(Stop::Refused)? { see(key, document) } else { Ok(true) }
        };
        match AccessPath::of(filter) {
            AccessPath::Keys(keys) => {
                for key in keys {
                    if let Some(found) = self.documents.get(key.as_slice())?
                        && !offer(&key, found.value())?
                    {
                        break;
                    }
                }
            }
            AccessPath::Range(from, to) if crossed(&from, &to) => {}
            AccessPath::Range(from, to) => {
                let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                for entry in self.documents.range::<&[u8]>(bounds)? {
                    let (key, value) = entry?;
                    if !offer(key.value(), value.value())? {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

pub fn duplicate(collection: &str, id: RawBsonRef<'_>) -> StoreError {
    let shown = bson::Bson::try_from(id).map(|id| id.to_string()).unwrap_or_default();
    StoreError::duplicate_key(format!(
        "Duplicate key error: E11000 duplicate key error collection: {collection} index: _id_ dup key: {{ _id: {shown} }}"
    ))
}

fn damaged(error: bson::error::Error) -> Stop {
    Stop::Refused(StoreError::store(format!("a stored document is damaged: {error}")))
}

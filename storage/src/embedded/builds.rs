//! Indexes that are being built: how far each has come, and what became of those nobody builds any more.
//!
//! A build lives as long as the process and the open database it began in; the catalogue's row says "building" until the
//! commit that finishes it. A row that says so while nobody builds is an orphan of a crash, and the next write to its
//! collection removes it: after a crash an index is there whole, or not at all.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use redb::WriteTransaction;

use super::collection::Stop;
use super::indexes::{self, Entries, Entry, table_name};
use crate::error::StoreError;
use crate::store::IndexProgress;

#[derive(Debug, Default)]
pub struct Builds(Mutex<HashMap<(String, String), Build>>);

#[derive(Debug, Default)]
struct Build {
    progress: IndexProgress,
    /// A write that was made meanwhile does not go with the index.
    failed: Option<StoreError>,
}

impl Builds {
    pub fn begin(&self, collection: &str, index: &str, total: u64) {
        let progress = IndexProgress { done: 0, total };
        self.lock().insert(key(collection, index), Build { progress, failed: None });
    }

    pub fn end(&self, collection: &str, index: &str) {
        self.lock().remove(&key(collection, index));
    }

    pub fn any(&self) -> bool {
        !self.lock().is_empty()
    }

    pub fn progress(&self, collection: &str, index: &str) -> Option<IndexProgress> {
        self.lock().get(&key(collection, index)).map(|build| build.progress)
    }

    pub fn advance(&self, collection: &str, index: &str) {
        if let Some(build) = self.lock().get_mut(&key(collection, index)) {
            build.progress.done += 1;
            // Documents that came meanwhile count too.
            build.progress.total = build.progress.total.max(build.progress.done);
        }
    }

    pub fn fail(&self, collection: &str, index: &str, error: StoreError) {
        if let Some(build) = self.lock().get_mut(&key(collection, index)) {
            build.failed.get_or_insert(error);
        }
    }

    pub fn failure(&self, collection: &str, index: &str) -> Option<StoreError> {
        self.lock().get(&key(collection, index))?.failed.clone()
    }

    /// The indexes of a collection but those that were being built when the process ended, which are removed.
    pub fn without_orphans(
        &self,
        transaction: &WriteTransaction,
        collection: &str,
        entries: Entries,
    ) -> Result<Entries, Stop> {
        let is_orphan = |entry: &Entry| entry.building && self.progress(collection, &entry.index.name).is_none();
        if !entries.iter().any(is_orphan) {
            return Ok(entries);
        }
        for entry in entries.iter().filter(|entry| is_orphan(entry)) {
            transaction.delete_table(indexes::table(&table_name(collection, &entry.index.name)))?;
        }
        let kept: Vec<Entry> = entries.iter().filter(|entry| !is_orphan(entry)).cloned().collect();
        indexes::write(transaction, collection, &kept)?;
        Ok(kept.into())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(String, String), Build>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn key(collection: &str, index: &str) -> (String, String) {
    (collection.to_owned(), index.to_owned())
}

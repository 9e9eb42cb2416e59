//! A transaction's writes, all in one commit of the file.
//!
//! In: what it wrote, the snapshot it read, and the open write transaction it shares with its neighbours. Out: everything
//! changed, or nothing and the reason. What a neighbour in the same group changed before counts as changed.

use std::collections::BTreeSet;
use std::sync::Arc;

use bson::raw::{RawDocument, RawDocumentBuf};
use redb::WriteTransaction;

use super::super::changes::Change;
use super::super::collection::{Collection, Stop};
use super::super::file::Opened;
use super::super::view::{OwnWrites, Table, View};
use super::write_conflict;

pub struct Commit {
    pub view: View,
    pub own: Arc<OwnWrites>,
    /// Which documents were replaced rather than updated.
    pub wholly: BTreeSet<(String, Vec<u8>)>,
    pub bytes: usize,
}

/// One change of one document, with the way back.
struct Step<'c> {
    collection: &'c str,
    key: &'c [u8],
    before: Option<RawDocumentBuf>,
    after: Option<&'c RawDocument>,
    wholly: bool,
    /// The collection has a unique index, so documents may have exchanged what is in it.
    exclusive: bool,
}

/// What a step does to a document at once.
struct Move<'c> {
    collection: &'c str,
    key: &'c [u8],
    before: Option<&'c RawDocument>,
    after: Option<&'c RawDocument>,
}

impl Commit {
    /// Whether anything is different now.
    pub fn perform(&self, transaction: &WriteTransaction, opened: &Opened) -> Result<bool, Stop> {
        let steps = self.plan(transaction, opened)?;
        let mut moves: Vec<_> = steps.iter().flat_map(Step::moves).collect();
        // What goes may make room in a unique index for what comes.
        moves.sort_by_key(|step| step.after.is_some());
        for at in 0..moves.len() {
            match moves[at].take(transaction, opened) {
                Ok(()) => {}
                Err(Stop::Refused(error)) => {
                    // The way back passes through states that were all valid.
                    for step in moves[..at].iter().rev() {
                        step.take_back(transaction, opened)?;
                    }
                    return Err(Stop::Refused(error));
                }
                Err(broken) => return Err(broken),
            }
        }
        // Those who watch are told when all of it has been done.
        for step in &steps {
            step.tell(transaction, opened)?;
        }
        Ok(!steps.is_empty())
    }

    /// Refused when a document is not any more what the snapshot has.
    fn plan(&self, transaction: &WriteTransaction, opened: &Opened) -> Result<Vec<Step<'_>>, Stop> {
        let mut steps = Vec::new();
        for (name, documents) in self.own.iter().filter(|(_, documents)| !documents.is_empty()) {
            let seen = self.view.table(name).map_err(Stop::Refused)?;
            let collection = Collection::open(transaction, opened, name)?;
            let exclusive = collection.indexes().iter().any(|entry| entry.index.unique);
            for (key, after) in documents.iter() {
                let after = after.as_ref().map(|document| &***document);
                let before = collection.get(key)?;
                if before.as_ref().map(|document| document.as_bytes().to_vec()) != self.seen(seen.as_ref(), key)? {
                    return Err(Stop::Refused(write_conflict(name)));
                }
                if before.as_deref().map(RawDocument::as_bytes) != after.map(RawDocument::as_bytes) {
                    let wholly = self.wholly.contains(&(name.clone(), key.clone()));
                    steps.push(Step { collection: name, key, before, after, wholly, exclusive });
                }
            }
        }
        Ok(steps)
    }

    fn seen(&self, table: Option<&Table>, key: &[u8]) -> Result<Option<Vec<u8>>, Stop> {
        let found = table.map(|table| table.get(key)).transpose();
        let found = found.map_err(|error| Stop::Refused(self.view.failure(&error)))?;
        Ok(found.flatten().map(|found| found.value().to_vec()))
    }
}

impl Step<'_> {
    /// Where a unique index is, a document goes with its values before another one comes with them.
    fn moves(&self) -> impl Iterator<Item = Move<'_>> {
        let to = |before, after| Move { collection: self.collection, key: self.key, before, after };
        let (before, after) = (self.before.as_deref(), self.after);
        let twice = self.exclusive && before.is_some() && after.is_some();
        let first = if twice { to(before, None) } else { to(before, after) };
        [first].into_iter().chain(twice.then(|| to(None, after)))
    }

    fn tell(&self, transaction: &WriteTransaction, opened: &Opened) -> Result<(), Stop> {
        let change = match (self.before.as_deref(), self.after) {
            (None, Some(after)) => Change::Insert(after),
            (Some(before), Some(after)) if self.wholly => Change::Replace(before, after),
            (Some(before), Some(after)) => Change::Update(before, after),
            (Some(before), None) => Change::Delete(before),
            (None, None) => return Ok(()),
        };
        Collection::open(transaction, opened, self.collection)?.tell(&change)
    }
}

impl Move<'_> {
    fn take(&self, transaction: &WriteTransaction, opened: &Opened) -> Result<(), Stop> {
        self.change(transaction, opened, self.before, self.after)
    }

    fn take_back(&self, transaction: &WriteTransaction, opened: &Opened) -> Result<(), Stop> {
        self.change(transaction, opened, self.after, self.before)
    }

    fn change(
        &self,
        transaction: &WriteTransaction,
        opened: &Opened,
        before: Option<&RawDocument>,
        after: Option<&RawDocument>,
    ) -> Result<(), Stop> {
        let mut collection = Collection::open(transaction, opened, self.collection)?.untold();
        match (before, after) {
            (None, Some(after)) => collection.insert(after).map(drop),
            (Some(_), Some(after)) => collection.replace(self.key, after),
            (Some(_), None) => collection.remove(self.key),
            (None, None) => Ok(()),
        }
    }
}

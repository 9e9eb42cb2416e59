//! The writes of a transaction: found through its own eyes, kept in its memory.
//!
//! Each does to documents what its namesake outside of transactions does (`write`); what differs is where they come from
//! and where they go.

use std::collections::HashSet;
use std::sync::Arc;

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};

use super::super::collection::duplicate_id;
use super::super::scan::{Query, key_of};
use super::super::view::{OwnDocuments, Table, View};
use super::super::write::Modification;
use super::super::{Understood, cursor};
use super::{Change, Operation, Reply, too_large};
use crate::error::StoreError;
use crate::limits;
use crate::store::{Inserted, Modified, Updated};
use crate::value::check;

pub fn insert(operation: &Operation, documents: Vec<RawDocumentBuf>, ordered: bool) -> Result<Inserted, StoreError> {
    let mut inserted = Inserted::default();
    let mut changes: Vec<Change> = Vec::with_capacity(documents.len());
    let mut keys = HashSet::new();
    let room = Room::of(operation)?;
    for (index, document) in documents.into_iter().enumerate() {
        let outcome = check::to_store(document).and_then(|document| {
            let key = key_of(&document);
            if keys.contains(&key) || room.is_taken(&key)? {
                return Err(duplicate_id(&operation.collection, id_of(&document)));
            }
            keys.insert(key.clone());
            Ok((key, document))
        });
        match outcome {
            Ok((key, document)) => {
                inserted.ids.push(id_of(&document).into());
                changes.push((key, Some(document)));
            }
            Err(error) => {
                inserted.error.get_or_insert(error.at(index));
                if ordered {
                    break;
                }
            }
        }
    }
    operation.write(changes)?;
    Ok(inserted)
}

fn insert_one(operation: &Operation, document: RawDocumentBuf) -> Result<RawBson, StoreError> {
    let (key, id) = (key_of(&document), RawBson::from(id_of(&document)));
    if Room::of(operation)?.is_taken(&key)? {
        return Err(duplicate_id(&operation.collection, id_of(&document)));
    }
    operation.write(vec![(key, Some(document))])?;
    Ok(id)
}

/// Where documents are to be inserted, as the transaction sees it.
struct Room {
    view: View,
    table: Option<Table>,
    own: Option<Arc<OwnDocuments>>,
}

impl Room {
    fn of(operation: &Operation) -> Result<Self, StoreError> {
        let view = operation.shared.view(&operation.house)?;
        let (table, own) = (view.table(&operation.collection)?, view.own(&operation.collection));
        Ok(Self { view, table, own })
    }

    fn is_taken(&self, key: &[u8]) -> Result<bool, StoreError> {
        if let Some(own) = self.own.as_ref().and_then(|own| own.get(key)) {
            return Ok(own.is_some());
        }
        let Some(table) = &self.table else { return Ok(false) };
        let found = table.get(key).map_err(|error| self.view.failure(&error))?;
        Ok(found.is_some())
    }
}

/// What an update or a delete will do.
#[derive(Default)]
struct Plan {
    matched: u64,
    changes: Vec<Change>,
    bytes: usize,
}

impl Plan {
    fn add(&mut self, key: Vec<u8>, after: Option<RawDocumentBuf>) -> Result<(), StoreError> {
        self.bytes += key.len() + after.as_ref().map_or(0, |document| document.as_bytes().len());
        if self.bytes > limits::TRANSACTION_BYTES_MAX {
            return Err(too_large(self.bytes));
        }
        self.changes.push((key, after));
        Ok(())
    }
}

pub fn update(operation: Operation, query: Query, understood: Understood, reply: Reply<Updated>) {
    let see = {
        let Understood { filter, change, .. } = understood.clone();
        move |plan: &mut Plan, document: &RawDocument| {
            plan.matched += 1;
            match change.apply(document, &filter)? {
                Some(after) => plan.add(key_of(document), Some(after)),
                None => Ok(()),
            }
        }
    };
    each(operation, query, Plan::default(), see, move |operation, plan| {
        let outcome = plan.and_then(|plan| {
            let (matched, modified) = (plan.matched, plan.changes.len() as u64);
            if matched == 0 && understood.upsert {
                let document = understood.change.upsert(&understood.filter)?;
                let id = insert_one(operation, document)?;
                return Ok(Updated { upserted_id: Some(id), ..Updated::default() });
            }
            operation.write_changed(plan.changes, understood.change.is_replacement())?;
            Ok(Updated { matched, modified, upserted_id: None })
        });
        drop(reply.send(outcome));
    });
}

pub fn delete(operation: Operation, query: Query, reply: Reply<u64>) {
    let see = |plan: &mut Plan, document: &RawDocument| plan.add(key_of(document), None);
    each(operation, query, Plan::default(), see, |operation, plan| {
        let outcome = plan.and_then(|plan| {
            let deleted = plan.changes.len() as u64;
            operation.write(plan.changes)?;
            Ok(deleted)
        });
        drop(reply.send(outcome));
    });
}

/// The query finds the one document that is meant, if there is one.
pub fn modify(operation: Operation, query: Query, modification: Modification, reply: Reply<Modified>) {
    let see = |first: &mut Option<RawDocumentBuf>, document: &RawDocument| {
        *first = Some(document.to_owned());
        Ok(())
    };
    each(operation, query, None, see, move |operation, first| {
        drop(reply.send(first.and_then(|first| modified(operation, &modification, first))));
    });
}

fn modified(
    operation: &Operation,
    modification: &Modification,
    first: Option<RawDocumentBuf>,
) -> Result<Modified, StoreError> {
    let Modification { filter, change, upsert, after, .. } = modification;
    match (first, change) {
        (None, Some(change)) if *upsert => {
            let document = change.upsert(filter)?;
            let shown = after.then(|| modification.shown(&document)).transpose()?;
            insert_one(operation, document)?;
            Ok(Modified { document: shown, changed: true })
        }
        (None, _) => Ok(Modified::default()),
        (Some(before), None) => {
            let shown = modification.shown(&before)?;
            operation.write(vec![(key_of(&before), None)])?;
            Ok(Modified { document: Some(shown), changed: true })
        }
        (Some(before), Some(change)) => {
            let changed = change.apply(&before, filter)?;
            let shown = modification.shown(changed.as_ref().filter(|_| *after).unwrap_or(&before))?;
            let is_different = changed.is_some();
            if let Some(document) = changed {
                operation.write(vec![(key_of(&before), Some(document))])?;
            }
            Ok(Modified { document: Some(shown), changed: is_different })
        }
    }
}

/// Shows `see` all that the query finds, a batch at a time on readers' threads, and ends with `done`.
fn each<T: Send + 'static>(
    operation: Operation,
    query: Query,
    state: T,
    mut see: impl FnMut(&mut T, &RawDocument) -> Result<(), StoreError> + Send + 'static,
    done: impl FnOnce(&Operation, Result<T, StoreError>) + Send + 'static,
) {
    match operation.scan(query) {
        Ok(Some(scan)) => {
            let house = operation.house.clone();
            let batch = move |state: &mut T, documents: Vec<RawDocumentBuf>| {
                documents.iter().try_for_each(|document| see(state, document))
            };
            cursor::fold(house, Box::new(scan), state, batch, move |state| done(&operation, state));
        }
        Ok(None) => done(&operation, Ok(state)),
        Err(error) => done(&operation, Err(error)),
    }
}

fn id_of(document: &RawDocument) -> RawBsonRef<'_> {
    document.get("_id").ok().flatten().unwrap_or(RawBsonRef::Null)
}

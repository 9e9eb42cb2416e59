//! What the indexes say to the writes of a transaction, before its commit asks them: a value that only one document may
//! have is refused when another has it in the transaction's eyes.
//!
//! A statement is looked at as a whole: documents may exchange their values in one. The commit checks again, against what
//! others have committed meanwhile.

use std::collections::{BTreeMap, HashMap, HashSet};

use super::super::collection::duplicate;
use super::super::view::{EntryTable, View};
use super::Change;
use crate::error::StoreError;

/// Values of unique indexes that documents of the transaction have, by index: keys to the keys of `_id`s.
#[derive(Default)]
pub struct Taken(HashMap<String, BTreeMap<Vec<u8>, Vec<u8>>>);

/// What one statement does to the values of one index.
pub struct Shift {
    index: String,
    gone: Vec<Vec<u8>>,
    new: BTreeMap<Vec<u8>, Vec<u8>>,
}

impl Taken {
    /// What these changes mean, if no index objects.
    pub fn check(&self, view: &View, collection: &str, changes: &[Change]) -> Result<Vec<Shift>, StoreError> {
        let entries = view.indexes(collection)?;
        let own = view.own(collection);
        let changed: HashSet<&[u8]> = changes.iter().map(|(id, _)| id.as_slice()).collect();
        let mut shifts = Vec::new();
        // One that is being built refuses nothing.
        for index in entries.iter().filter(|entry| !entry.building).map(|entry| &entry.index) {
            let name = format!("{collection}${}", index.name);
            let table = if index.unique { view.entries(collection, &index.name)? } else { None };
            let taken = self.0.get(&name);
            let mut shift = Shift { index: name, gone: Vec::new(), new: BTreeMap::new() };
            for (id, after) in changes {
                if let Some(Some(before)) = own.as_ref().and_then(|own| own.get(id))
                    && index.unique
                {
                    shift.gone.extend(index.keys(before)?.keys);
                }
                let Some(after) = after else { continue };
                // Also for the others: a document that cannot be indexed is refused here.
                let keys = index.keys(after)?.keys;
                for key in keys.into_iter().filter(|_| index.unique) {
                    let outside = |owner: &[u8]| owner != id.as_slice() && !changed.contains(owner);
                    let here = shift.new.get(&key).is_some_and(|owner| owner != id);
                    let mine = taken.and_then(|taken| taken.get(&key)).is_some_and(|owner| outside(owner));
                    let there = match &table {
                        Some(table) if !(here || mine) => owner(view, table, &key)?.is_some_and(|owner| {
                            outside(&owner) && !own.as_ref().is_some_and(|own| own.contains_key(&owner))
                        }),
                        _ => false,
                    };
                    if here || mine || there {
                        return Err(duplicate(collection, &index.name, &index.show(after, &key)));
                    }
                    shift.new.insert(key, id.clone());
                }
            }
            if index.unique {
                shifts.push(shift);
            }
        }
        Ok(shifts)
    }

    pub fn apply(&mut self, shifts: Vec<Shift>) {
        for Shift { index, gone, new } in shifts {
            let taken = self.0.entry(index).or_default();
            for key in gone {
                taken.remove(&key);
            }
            taken.extend(new);
        }
    }
}

/// Whose value it is in the snapshot.
fn owner(view: &View, table: &EntryTable, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
    let mut found = table.range(key..).map_err(|error| view.failure(&error))?;
    let Some(entry) = found.next() else { return Ok(None) };
    let (entry, length) = entry.map_err(|error| view.failure(&error))?;
    let owner = entry.value().strip_prefix(key).filter(|_| length.value() as usize == key.len());
    Ok(owner.map(<[u8]>::to_vec))
}

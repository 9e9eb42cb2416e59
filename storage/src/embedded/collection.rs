//! A collection inside a write transaction: the one place where documents change.
//!
//! In: keys of `_id`s and whole documents. Out: the change made, or the reason why it was not; a change that is refused
//! leaves nothing behind. Whatever has to follow a change in the same commit (indexes, a log of changes) hooks in here.
//! Not here: which documents are meant, and what becomes of them (`write`).

use bson::raw::{RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use redb::{ReadableTable, Table, WriteTransaction};

use super::changes::{Change, Recording};
use super::file::{Opened, table};
use super::indexes::{self, Entries, table_name};
use super::plan::{Indexed, Plan};
use super::scan::crossed;
use super::walk::{self, Tables, Walk};
use crate::error::StoreError;
use crate::filter::Filter;
use crate::index::Keys;
use crate::sort::Sort;
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
    transaction: &'txn WriteTransaction,
    opened: &'txn Opened,
    /// Whether those who watch are told.
    recording: Option<Recording>,
    /// Whether a document that is replaced was meant to be, rather than updated.
    wholly: bool,
    documents: Table<'txn, &'static [u8], &'static [u8]>,
    entries: Entries,
    /// Those of the indexes that were needed so far; a table can be open once in a transaction.
    tables: Vec<Option<EntryTable<'txn>>>,
}

type EntryTable<'txn> = Table<'txn, &'static [u8], u32>;

/// What one document's change means for one index.
struct Shift {
    /// The index's place.
    at: usize,
    gone: Vec<Vec<u8>>,
    new: Vec<Vec<u8>>,
    /// As [`Keys::arrays`].
    arrays: u32,
}

impl<'txn> Collection<'txn> {
    /// Makes the collection if it is missing.
    pub fn open(transaction: &'txn WriteTransaction, opened: &'txn Opened, name: &'txn str) -> Result<Self, Stop> {
        let entries = indexes::read(transaction, &opened.indexes, name)?;
        let entries = opened.builds.without_orphans(transaction, name, entries)?;
        let tables = entries.iter().map(|_| None).collect();
        let recording = opened.changes.recording(&opened.database, name)?;
        let documents = transaction.open_table(table(name))?;
        Ok(Self { name, transaction, opened, recording, wholly: false, documents, entries, tables })
    }

    /// Documents that are there are replaced as a whole, and those who watch are told so.
    pub fn wholly(self, wholly: bool) -> Self {
        Self { wholly, ..self }
    }

    /// Nobody is told of what happens here.
    pub fn untold(self) -> Self {
        Self { recording: None, ..self }
    }

    /// Tells those who watch of something that happened here.
    pub fn tell(&self, change: &Change<'_>) -> Result<(), Stop> {
        match self.recording {
            Some(recording) => self.opened.changes.record(self.transaction, self.name, recording, change),
            None => Ok(()),
        }
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
            return Err(Stop::Refused(duplicate_id(self.name, id)));
        }
        let shifts = self.shifts(&key, None, Some(document))?;
        self.apply(&key, shifts)?;
        self.documents.insert(key.as_slice(), document.as_bytes())?;
        self.tell(&Change::Insert(document))?;
        Ok(id.into())
    }

    /// A document that is there by one with the same `_id`.
    pub fn replace(&mut self, key: &[u8], after: &RawDocument) -> Result<(), Stop> {
        self.reindex(key, after)?;
        self.put(key, after)
    }

    /// Several documents, all or none: what the indexes say to any of them is found out before one is changed.
    pub fn replace_all(&mut self, planned: &[(Vec<u8>, RawDocumentBuf)]) -> Result<(), Stop> {
        if !self.entries.is_empty() {
            let mut done: Vec<(&[u8], Vec<Shift>)> = Vec::new();
            for (key, after) in planned {
                match self.reindex(key, after) {
                    Ok(shifts) => done.push((key, shifts)),
                    Err(Stop::Refused(error)) => {
                        for (key, shifts) in done.into_iter().rev() {
                            let back = |Shift { at, gone, new, arrays }| Shift { at, gone: new, new: gone, arrays };
                            self.apply(key, shifts.into_iter().map(back).collect())?;
                        }
                        return Err(Stop::Refused(error));
                    }
                    Err(broken) => return Err(broken),
                }
            }
        }
        planned.iter().try_for_each(|(key, after)| self.put(key, after))
    }

    /// A document that is there.
    pub fn remove(&mut self, key: &[u8]) -> Result<(), Stop> {
        if !self.entries.is_empty() {
            let before = self.get(key)?;
            let shifts = self.shifts(key, before.as_deref(), None)?;
            self.apply(key, shifts)?;
        }
        let before = self.documents.remove(key)?;
        if self.recording.is_some()
            && let Some(before) = before.map(|before| before.value().to_vec())
        {
            self.tell(&Change::Delete(RawDocument::from_bytes(&before).map_err(damaged)?))?;
        }
        Ok(())
    }

    /// How the documents that the filter means are found, and whether they then come in the order asked for.
    pub fn plan(&mut self, filter: &Filter, sort: &Sort, limited: bool) -> Result<(Plan, bool), Stop> {
        let entries = Entries::clone(&self.entries);
        let plan = Plan::choose(filter, sort, limited, &entries, &mut |at, bounds, max| {
            self.open_entries(at)?;
            self.entries(at).map_or(Ok(0), |entries| Ok::<_, Stop>(walk::count(entries, bounds, max)?))
        })?;
        let sorts = match &plan {
            Plan::Keys(_) | Plan::Range(..) => sort.walk() == Some(crate::sort::Direction::Up),
            Plan::Indexed(indexed) => indexed.sorts || sort.is_natural(),
        };
        Ok((plan, sorts))
    }

    /// Shows `see` each document the filter means, until it says that it has enough.
    pub fn each_match(
        &mut self,
        filter: &Filter,
        limited: bool,
        see: impl FnMut(&[u8], &RawDocument) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let (plan, _) = self.plan(filter, &Sort::default(), limited)?;
        self.each_planned(plan, filter, see)
    }

    pub fn each_planned(
        &mut self,
        plan: Plan,
        filter: &Filter,
        mut see: impl FnMut(&[u8], &RawDocument) -> Result<bool, Stop>,
    ) -> Result<(), Stop> {
        let mut offer = |key: &[u8], bytes: &[u8], met: &dyn Fn(&RawDocument) -> Result<bool, StoreError>| {
            let document = RawDocument::from_bytes(bytes).map_err(damaged)?;
            let meant =
                filter.matches(document).and_then(|meant| Ok(meant && met(document)?)).map_err(Stop::Refused)?;
            if meant { see(key, document) } else { Ok(true) }
        };
        match plan {
            Plan::Keys(keys) => {
                for key in keys {
                    if let Some(found) = self.documents.get(key.as_slice())?
                        && !offer(&key, found.value(), &|_| Ok(true))?
                    {
                        break;
                    }
                }
            }
            Plan::Range(from, to) if crossed(&from, &to) => {}
            Plan::Range(from, to) => {
                let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                for entry in self.documents.range::<&[u8]>(bounds)? {
                    let (key, value) = entry?;
                    if !offer(key.value(), value.value(), &|_| Ok(true))? {
                        break;
                    }
                }
            }
            Plan::Indexed(indexed) => {
                self.open_planned(&indexed)?;
                let mut walk = Walk::new(indexed);
                while let Some(met) = walk.next(self)? {
                    if let Some(found) = self.documents.get(met.id.as_slice())?
                        && !offer(&met.id, found.value(), &|document| walk.is_first(&met, document))?
                    {
                        break;
                    }
                }
            }
        }
        Ok(())
    }

    /// Up to so many documents or bytes behind a key, into the index at a place; the last key, when there may be more.
    /// The indexes' refusals are the caller's to deal with; `counted` is told of each document.
    pub fn fill(
        &mut self,
        at: usize,
        after: Option<Vec<u8>>,
        documents_max: usize,
        bytes_max: usize,
        counted: &mut dyn FnMut(),
    ) -> Result<Option<Vec<u8>>, Stop> {
        let from = after.map_or(std::ops::Bound::Unbounded, std::ops::Bound::Excluded);
        let bounds = (from.as_ref().map(Vec::as_slice), std::ops::Bound::Unbounded);
        let (mut found, mut bytes) = (Vec::new(), 0);
        for entry in self.documents.range::<&[u8]>(bounds)? {
            let (key, value) = entry?;
            let keys = self.entries[at]
                .index
                .keys(RawDocument::from_bytes(value.value()).map_err(damaged)?)
                .map_err(Stop::Refused)?;
            bytes += value.value().len();
            found.push((key.value().to_vec(), keys));
            counted();
            if found.len() >= documents_max || bytes >= bytes_max {
                break;
            }
        }
        let more = found.len() >= documents_max || bytes >= bytes_max;
        let last = found.last().filter(|_| more).map(|(key, _)| key.clone());
        for (key, Keys { keys, arrays }) in found {
            if self.entries[at].index.unique {
                self.check_unique(at, &key, &keys, None)?;
            }
            self.apply(&key, vec![Shift { at, gone: Vec::new(), new: keys, arrays }])?;
        }
        Ok(last)
    }

    /// Documents in the collection.
    pub fn len(&self) -> Result<u64, Stop> {
        Ok(redb::ReadableTableMetadata::len(&self.documents)?)
    }

    pub fn indexes(&self) -> &Entries {
        &self.entries
    }

    fn put(&mut self, key: &[u8], after: &RawDocument) -> Result<(), Stop> {
        let before = self.documents.insert(key, after.as_bytes())?;
        if self.recording.is_some()
            && let Some(before) = before.map(|before| before.value().to_vec())
        {
            let before = RawDocument::from_bytes(&before).map_err(damaged)?;
            self.tell(&match self.wholly {
                true => Change::Replace(before, after),
                false => Change::Update(before, after),
            })?;
        }
        Ok(())
    }

    fn reindex(&mut self, key: &[u8], after: &RawDocument) -> Result<Vec<Shift>, Stop> {
        if self.entries.is_empty() {
            return Ok(Vec::new());
        }
        let before = self.get(key)?;
        let shifts = self.shifts(key, before.as_deref(), Some(after))?;
        self.apply(key, shifts)
    }

    /// What a change of the document under `id` means for each index, if none of them objects.
    fn shifts(
        &mut self,
        id: &[u8],
        before: Option<&RawDocument>,
        after: Option<&RawDocument>,
    ) -> Result<Vec<Shift>, Stop> {
        let mut shifts = Vec::new();
        let entries = Entries::clone(&self.entries);
        for (at, entry) in entries.iter().enumerate() {
            // What the index did not take in while it was being built, it has no entries of.
            let gone = before.map(|before| entry.index.keys(before).unwrap_or_default()).unwrap_or_default();
            let checked = after.map_or(Ok(Keys::default()), |after| entry.index.keys(after)).map_err(Stop::Refused);
            let checked = checked.and_then(|Keys { keys, arrays }| {
                let (gone, new) = (without(&gone.keys, &keys), without(&keys, &gone.keys));
                if entry.index.unique && !new.is_empty() {
                    self.check_unique(at, id, &new, after)?;
                }
                Ok(Shift { at, gone, new, arrays })
            });
            match checked {
                Ok(shift) => shifts.push(shift),
                // An index that is not there yet refuses nothing; it will not come to be.
                Err(Stop::Refused(error)) if entry.building => {
                    self.opened.builds.fail(self.name, &entry.index.name, error);
                    shifts.push(Shift { at, gone: gone.keys, new: Vec::new(), arrays: 0 });
                }
                Err(stop) => return Err(stop),
            }
        }
        Ok(shifts)
    }

    /// `document` is the one the keys are of, when it is at hand.
    fn check_unique(
        &mut self,
        at: usize,
        id: &[u8],
        keys: &[Vec<u8>],
        document: Option<&RawDocument>,
    ) -> Result<(), Stop> {
        let table = self.open_entries(at)?;
        let mut taken = None;
        for key in keys {
            let Some(entry) = table.range(key.as_slice()..)?.next() else { continue };
            let (found, length) = entry?;
            if let Some(owner) = found.value().strip_prefix(key.as_slice())
                && length.value() as usize == key.len()
                && owner != id
            {
                taken = Some(key);
                break;
            }
        }
        let Some(key) = taken else { return Ok(()) };
        let index = &self.entries[at].index;
        let shown = match document {
            Some(document) => index.show(document, key),
            None => self.get(id)?.map(|document| index.show(&document, key)).unwrap_or_default(),
        };
        Err(Stop::Refused(duplicate(self.name, &index.name, &shown)))
    }

    fn apply(&mut self, id: &[u8], shifts: Vec<Shift>) -> Result<Vec<Shift>, Stop> {
        for Shift { at, gone, new, arrays } in &shifts {
            if gone.is_empty() && new.is_empty() {
                continue;
            }
            let table = self.open_entries(*at)?;
            for key in gone {
                table.remove([key.as_slice(), id].concat().as_slice())?;
            }
            for key in new {
                let length = u32::try_from(key.len()).unwrap_or(u32::MAX);
                table.insert([key.as_slice(), id].concat().as_slice(), length)?;
            }
            if !new.is_empty() && arrays & !self.entries[*at].arrays != 0 {
                self.note_arrays(*at, *arrays)?;
            }
        }
        Ok(shifts)
    }

    /// From now on plans know that a document has an array there.
    fn note_arrays(&mut self, at: usize, arrays: u32) -> Result<(), Stop> {
        let mut entries = self.entries.to_vec();
        entries[at].arrays |= arrays;
        indexes::write(self.transaction, self.name, &entries)?;
        self.entries = entries.into();
        Ok(())
    }

    fn open_entries(&mut self, at: usize) -> Result<&mut EntryTable<'txn>, Stop> {
        let slot = &mut self.tables[at];
        Ok(match slot {
            Some(table) => table,
            None => {
                let name = table_name(self.name, &self.entries[at].index.name);
                slot.insert(self.transaction.open_table(indexes::table(&name))?)
            }
        })
    }

    fn open_planned(&mut self, indexed: &Indexed) -> Result<(), Stop> {
        indexed.indexes().try_for_each(|at| self.open_entries(at).map(|_| ()))
    }
}

impl Tables for Collection<'_> {
    fn documents(&self) -> &impl ReadableTable<&'static [u8], &'static [u8]> {
        &self.documents
    }

    fn entries(&self, at: usize) -> Option<&impl ReadableTable<&'static [u8], u32>> {
        self.tables.get(at)?.as_ref()
    }
}

/// Those of the first that are not in the second; both ascending.
fn without(keys: &[Vec<u8>], others: &[Vec<u8>]) -> Vec<Vec<u8>> {
    keys.iter().filter(|key| others.binary_search(key).is_err()).cloned().collect()
}

/// Somebody else has this `_id`.
pub fn duplicate_id(collection: &str, id: RawBsonRef<'_>) -> StoreError {
    let shown = bson::Bson::try_from(id).map(|id| id.to_string()).unwrap_or_default();
    duplicate(collection, crate::index::ID_INDEX, &format!("{{ _id: {shown} }}"))
}

pub fn duplicate(collection: &str, index: &str, shown: &str) -> StoreError {
    StoreError::duplicate_key(format!(
        "Duplicate key error: E11000 duplicate key error collection: {collection} index: {index} dup key: {shown}"
    ))
}

fn damaged(error: bson::error::Error) -> Stop {
    Stop::Refused(StoreError::store(format!("a stored document is damaged: {error}")))
}

//! The ledger of a catalog that several nodes share: which apps changed, in order, and which are being changed now.
//!
//! In: an app that changed. Out: the changes since a version, for whoever serves an older one. It is one small document,
//! replaced only by whoever read it last, so that every change has a number of its own and none is seen before those with
//! smaller ones. A change is written first and numbered then; a node that reads the number and then the records sees it.
//!
//! A node that is about to change an app leaves a mark, so that others wait, and so that a crash between the change and
//! its number is noticed: whoever finds the mark of a node that gave no sign for a while numbers the change in its place.
//!
//! Not here: what changed (the records say), and how long a mark without a sign is believed (control-plane).

use bson::oid::ObjectId;
use bson::raw::{CString, RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::mapping::Fields;
use super::{Catalog, by_id, damaged};
use crate::error::StoreError;
use crate::limits::{LEDGER_RECENT, LEDGER_TRIES};
use crate::model::AppId;
use crate::store::{Find, Update};

const ID: &str = "apps";
/// MongoDB's code for an `_id` that is taken.
const DUPLICATE_KEY: i32 = 11000;

/// Who is changing an app.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The node.
    pub holder: ObjectId,
    /// Grows as long as the node is alive.
    pub beat: i64,
}

#[derive(Debug, Clone, PartialEq, Default)]
pub struct Ledger {
    /// Grows whenever anything in here changes.
    pub revision: i64,
    /// The number of the last change.
    pub version: i64,
    /// The apps of the last changes, oldest first; the last one's number is `version`.
    recent: Vec<AppId>,
    pub marks: Vec<(AppId, Mark)>,
}

impl Ledger {
    /// Numbers a change. Gives its number.
    pub fn raise(&mut self, app: AppId) -> i64 {
        self.version += 1;
        self.recent.push(app);
        let surplus = self.recent.len().saturating_sub(LEDGER_RECENT);
        self.recent.drain(..surplus);
        self.version
    }

    /// The apps that changed since a version, each once with the number of its last change. `None` when that is too long
    /// ago to know, or when this is not the ledger the version was of.
    pub fn since(&self, version: i64) -> Option<Vec<(AppId, i64)>> {
        let missed = usize::try_from(self.version.checked_sub(version)?).ok()?;
        let first = self.recent.len().checked_sub(missed)?;
        let mut changed: Vec<(AppId, i64)> = Vec::new();
        for (number, app) in (version + 1..).zip(&self.recent[first..]) {
            match changed.iter_mut().find(|(other, _)| other == app) {
                Some((_, last)) => *last = number,
                None => changed.push((*app, number)),
            }
        }
        Some(changed)
    }

    pub fn mark(&self, app: AppId) -> Option<Mark> {
        self.marks.iter().find(|(marked, _)| *marked == app).map(|(_, mark)| *mark)
    }

    pub fn set_mark(&mut self, app: AppId, mark: Option<Mark>) {
        self.marks.retain(|(marked, _)| *marked != app);
        self.marks.extend(mark.map(|mark| (app, mark)));
    }
}

impl Catalog {
    /// The ledger, unless it is still what it was at `revision`. Before anything changed it is empty.
    pub async fn ledger_after(&self, revision: i64) -> Result<Option<Ledger>, StoreError> {
        let filter = rawdoc! { "_id": ID, "revision": { "$ne": revision } };
        let find = Find { filter, limit: 1, ..Find::default() };
        let mut cursor = self.store.find(&self.collections.ledger, find).await?;
        let batch = cursor.next(crate::limits::CATALOG_BATCH_BYTES).await?;
        batch.documents.first().map(|record| read(record)).transpose()
    }

    pub async fn ledger(&self) -> Result<Ledger, StoreError> {
        let found = self.get(&self.collections.ledger, ID).await?;
        Ok(found.as_deref().map(read).transpose()?.unwrap_or_default())
    }

    /// Changes the ledger, in one step for everybody who looks. `edit` sees it as it is now, once more whenever somebody
    /// else was faster; when it gives `None`, nothing is written.
    pub async fn edit_ledger<T>(
        &self,
        mut edit: impl FnMut(&mut Ledger) -> Option<T>,
    ) -> Result<Option<T>, StoreError> {
        for _ in 0..LEDGER_TRIES {
            let mut ledger = self.ledger().await?;
            let before = ledger.revision;
            let Some(result) = edit(&mut ledger) else { return Ok(None) };
            ledger.revision += 1;
            if self.replace_ledger(before, &ledger).await? {
                return Ok(Some(result));
            }
        }
        Err(StoreError::store("too many nodes change apps at once; try again"))
    }

    async fn replace_ledger(&self, before: i64, ledger: &Ledger) -> Result<bool, StoreError> {
        let at = &self.collections.ledger;
        if before == 0 {
            let inserted = self.store.insert(at, vec![written(ledger)], true).await?;
            return match inserted.error {
                None => Ok(true),
                Some(error) if error.code == DUPLICATE_KEY => Ok(false),
                Some(error) => Err(error),
            };
        }
        let filter = rawdoc! { "_id": ID, "revision": before };
        let update = Update { filter, update: written(ledger).into(), ..Update::default() };
        Ok(self.store.update(at, update).await?.matched > 0)
    }

    /// A document about the whole installation that is written once: gives what is there now.
    pub async fn settle_meta(&self, key: &str, value: RawDocumentBuf) -> Result<RawDocumentBuf, StoreError> {
        let record = rawdoc! { "_id": key, "value": value.clone() };
        let inserted = self.store.insert(&self.collections.meta, vec![record], true).await?;
        match inserted.error {
            None => Ok(value),
            Some(error) if error.code == DUPLICATE_KEY => Ok(self.meta(key).await?.unwrap_or(value)),
            Some(error) => Err(error),
        }
    }

    /// Sets fields of such a document, takes others out, and leaves the rest alone. Fields' names hold no dots.
    pub async fn edit_meta(&self, key: &str, set: &[(String, i64)], unset: &[String]) -> Result<(), StoreError> {
        let path = |field: &str| {
            CString::try_from(format!("value.{field}"))
                .map_err(|_| StoreError::bad_value("a field's name must not hold a zero character"))
        };
        let (mut setting, mut unsetting) = (RawDocumentBuf::new(), RawDocumentBuf::new());
        for (field, value) in set {
            setting.append(path(field)?, *value);
        }
        for field in unset {
            unsetting.append(path(field)?, "");
        }
        let mut update = RawDocumentBuf::new();
        for (operator, fields) in [(bson::raw::cstr!("$set"), setting), (bson::raw::cstr!("$unset"), unsetting)] {
            if !fields.is_empty() {
                update.append(operator, fields);
            }
        }
        let update = Update { filter: by_id(key), update: update.into(), upsert: true, ..Update::default() };
        self.store.update(&self.collections.meta, update).await.map(drop)
    }
}

fn written(ledger: &Ledger) -> RawDocumentBuf {
    let mut marks = RawArrayBuf::new();
    for (app, mark) in &ledger.marks {
        marks.push(rawdoc! { "app": app.0, "holder": mark.holder, "beat": mark.beat });
    }
    rawdoc! {
        "_id": ID,
        "revision": ledger.revision,
        "version": ledger.version,
        "recent": ledger.recent.iter().map(|app| app.0).collect::<RawArrayBuf>(),
        "marks": marks,
    }
}

fn read(record: &RawDocument) -> Result<Ledger, StoreError> {
    let fields = Fields(record);
    let list = |name: &str| record.get_array(name).map_err(|_| damaged(&format!("{name} is not an array"), record));
    let mut recent = Vec::new();
    for app in list("recent")? {
        let id = app.ok().and_then(RawBsonRef::as_object_id);
        recent.push(AppId(id.ok_or_else(|| damaged("a recent app is not an id", record))?));
    }
    let mut marks = Vec::new();
    for mark in list("marks")? {
        let Ok(RawBsonRef::Document(mark)) = mark else { return Err(damaged("a mark is not a document", record)) };
        let fields = Fields(mark);
        let (holder, beat) = (fields.id("holder")?, fields.number("beat")?);
        marks.push((AppId(fields.id("app")?), Mark { holder, beat }));
    }
    Ok(Ledger { revision: fields.number("revision")?, version: fields.number("version")?, recent, marks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changed_since_is_known_for_a_while() {
        let mut ledger = Ledger::default();
        let (a, b) = (AppId::new(), AppId::new());
        assert_eq!(ledger.since(0), Some(vec![]));
        assert_eq!((ledger.raise(a), ledger.raise(b), ledger.raise(a)), (1, 2, 3));
        assert_eq!(ledger.since(0), Some(vec![(a, 3), (b, 2)]));
        assert_eq!(ledger.since(2), Some(vec![(a, 3)]));
        assert_eq!((ledger.since(3), ledger.since(4)), (Some(vec![]), None), "a version of another ledger");
        for _ in 0..LEDGER_RECENT {
            ledger.raise(b);
        }
        assert_eq!(ledger.since(2), None, "that is too long ago");
        assert_eq!(ledger.since(3).unwrap(), [(b, 3 + LEDGER_RECENT as i64)]);
        let mark = Mark { holder: ObjectId::new(), beat: 7 };
        ledger.set_mark(a, Some(mark));
        ledger.revision = 9;
        assert_eq!(read(&written(&ledger)).unwrap(), ledger);
        ledger.set_mark(a, None);
        assert_eq!(ledger.mark(a), None);
    }
}

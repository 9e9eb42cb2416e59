//! Small records of one kind, all of an app's in one document: `{ _id: app, items: { <id in hex>: record } }`.
//!
//! In: an app, an id, a record. Out: the app's records with one point read. Adding or removing one is one update that
//! touches nothing else, so two at once do not lose each other.
//! Not here: records that grow large (configurations, code), since the document holds at most 16 MiB.

use bson::oid::ObjectId;
use bson::raw::{CString, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::{by_id, damaged, get};
use crate::error::StoreError;
use crate::model::AppId;
use crate::namespace::Namespace;
use crate::store::{Store, Update};

pub(super) struct Members(pub(super) Namespace);

impl Members {
    pub async fn list<T>(
        &self,
        store: &dyn Store,
        app: AppId,
        read: fn(&RawDocument) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        items(get(store, &self.0, by_id(app.0)).await?.as_deref(), read)
    }

    pub async fn put(
        &self,
        store: &dyn Store,
        app: AppId,
        id: ObjectId,
        record: RawDocumentBuf,
    ) -> Result<(), StoreError> {
        let mut set = RawDocumentBuf::new();
        set.append(item(id), record);
        let update =
            Update { filter: by_id(app.0), update: rawdoc! { "$set": set }.into(), upsert: true, ..Update::default() };
        store.update(&self.0, update).await.map(drop)
    }

    /// Removes a record whose app is not known: looks through all apps' documents for it.
    pub async fn remove(&self, store: &dyn Store, id: ObjectId) -> Result<(), StoreError> {
        let mut filter = RawDocumentBuf::new();
        filter.append(item(id), rawdoc! { "$exists": true });
        self.unset(store, filter, id).await
    }

    pub async fn remove_from(&self, store: &dyn Store, app: AppId, id: ObjectId) -> Result<(), StoreError> {
        self.unset(store, by_id(app.0), id).await
    }

    async fn unset(&self, store: &dyn Store, filter: RawDocumentBuf, id: ObjectId) -> Result<(), StoreError> {
        let mut unset = RawDocumentBuf::new();
        unset.append(item(id), "");
        let update = Update { filter, update: rawdoc! { "$unset": unset }.into(), ..Update::default() };
        store.update(&self.0, update).await.map(drop)
    }
}

/// The records in an app's document.
pub(super) fn items<T>(
    record: Option<&RawDocument>,
    read: fn(&RawDocument) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let Some(record) = record else { return Ok(Vec::new()) };
    let items = match record.get("items") {
        Ok(Some(RawBsonRef::Document(items))) => items,
        Ok(None) => return Ok(Vec::new()),
        _ => return Err(damaged("items is not a document", record)),
    };
    items
        .iter()
        .map(|item| match item {
            Ok((_, RawBsonRef::Document(item))) => read(item),
            _ => Err(damaged("an item is not a document", record)),
        })
        .collect()
}

fn item(id: ObjectId) -> CString {
    CString::try_from(format!("items.{}", id.to_hex())).expect("hexadecimal digits hold no zero byte")
}

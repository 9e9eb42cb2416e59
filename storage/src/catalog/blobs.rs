//! Bytes that belong to an app and may be larger than a document: what its packages were installed from, and the script
//! they became. Cut into documents; a list beside them says what there is.
//!
//! In: an app, an id made from what the bytes are, the bytes. Out: the bytes, whole or not at all.
//! Not here: what is in them, and when they are no longer needed.

use bson::oid::ObjectId;
use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;
use bson::spec::BinarySubtype;

use super::members::Members;
use super::{by_id, damaged, get};
use crate::error::StoreError;
use crate::limits::BLOB_PART_BYTES;
use crate::model::AppId;
use crate::namespace::Namespace;
use crate::store::{Delete, Store, Update};

pub(super) struct Blobs {
    pub list: Members,
    pub parts: Namespace,
}

/// An entry of the list.
struct Listed {
    id: ObjectId,
    parts: i64,
}

impl Blobs {
    /// Parts first, so that whatever is listed is there.
    pub async fn put(&self, store: &dyn Store, app: AppId, id: ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        let mut count: i64 = 0;
        for part in bytes.chunks(BLOB_PART_BYTES) {
            let mut record = RawDocumentBuf::new();
            record.append(bson::raw::cstr!("_id"), part_id(app, id, count));
            let content = bson::Binary { subtype: BinarySubtype::Generic, bytes: part.to_vec() };
            record.append(bson::raw::cstr!("bytes"), content);
            let filter = by_id(part_id(app, id, count));
            store
                .update(
                    &self.parts,
                    Update { filter, update: record.into(), multi: false, upsert: true, ..Update::default() },
                )
                .await?;
            count += 1;
        }
        self.list.put(store, app, id, rawdoc! { "_id": id, "parts": count }).await
    }

    pub async fn has(&self, store: &dyn Store, app: AppId, id: ObjectId) -> Result<bool, StoreError> {
        Ok(self.find(store, app, id).await?.is_some())
    }

    pub async fn bytes(&self, store: &dyn Store, app: AppId, id: ObjectId) -> Result<Option<Vec<u8>>, StoreError> {
        let Some(listed) = self.find(store, app, id).await? else { return Ok(None) };
        let mut bytes = Vec::new();
        for part in 0..listed.parts {
            let Some(record) = get(store, &self.parts, by_id(part_id(app, id, part))).await? else { return Ok(None) };
            let content = record.get_binary("bytes").map_err(|error| damaged(&error.to_string(), &record))?;
            bytes.extend_from_slice(content.bytes);
        }
        Ok(Some(bytes))
    }

    /// Forgets all but those that are kept.
    pub async fn keep(&self, store: &dyn Store, app: AppId, kept: &[ObjectId]) -> Result<(), StoreError> {
        for listed in self.list.list(store, app, listed_from).await? {
            if kept.contains(&listed.id) {
                continue;
            }
            self.list.remove_from(store, app, listed.id).await?;
            for part in 0..listed.parts {
                let filter = by_id(part_id(app, listed.id, part));
                store.delete(&self.parts, Delete { filter, multi: false, ..Delete::default() }).await?;
            }
        }
        Ok(())
    }

    async fn find(&self, store: &dyn Store, app: AppId, id: ObjectId) -> Result<Option<Listed>, StoreError> {
        let all = self.list.list(store, app, listed_from).await?;
        Ok(all.into_iter().find(|listed| listed.id == id))
    }
}

fn listed_from(record: &RawDocument) -> Result<Listed, StoreError> {
    let id = record.get_object_id("_id").map_err(|error| damaged(&error.to_string(), record))?;
    let parts = record.get_i64("parts").map_err(|error| damaged(&error.to_string(), record))?;
    Ok(Listed { id, parts })
}

fn part_id(app: AppId, id: ObjectId, part: i64) -> String {
    format!("{}/{}/{part}", app.0.to_hex(), id.to_hex())
}

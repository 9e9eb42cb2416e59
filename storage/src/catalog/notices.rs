//! Notices to nodes that share a catalog: something changed that they may remember.
//!
//! In: a user who changed, an administrator's session that ended. Out: the notices of the last while. Every notice is a
//! document of its own, so that writing one waits for nobody; their ids begin with the time, so that the new ones are one
//! range of `_id`. Clocks of nodes differ: whoever reads looks back further than they may, and skips what it has seen.
//!
//! Not here: changes of apps, which are numbered (`ledger`).

use bson::oid::ObjectId;
use bson::raw::{RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::mapping::Fields;
use super::{Catalog, damaged};
use crate::error::StoreError;
use crate::limits;
use crate::model::AppId;
use crate::store::{Delete, Find};

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    User {
        app: AppId,
        id: String,
    },
    /// `until`: when its tokens expire anyway, epoch seconds.
    AdminSession {
        id: String,
        until: i64,
    },
}

impl Catalog {
    pub async fn put_notice(&self, notice: &Notice) -> Result<(), StoreError> {
        let inserted = self.store.insert(&self.collections.notices, vec![written(notice)], true).await?;
        inserted.error.map_or(Ok(()), Err)
    }

    /// What was noticed since a time, epoch seconds, in no particular order.
    pub async fn notices(&self, since: u32) -> Result<Vec<(ObjectId, Notice)>, StoreError> {
        let find = Find { filter: rawdoc! { "_id": { "$gte": first_of(since) } }, ..Find::default() };
        let mut cursor = self.store.find(&self.collections.notices, find).await?;
        let mut notices = Vec::new();
        loop {
            let batch = cursor.next(limits::CATALOG_BATCH_BYTES).await?;
            for record in &batch.documents {
                notices.push((Fields(record).id("_id")?, read(record)?));
            }
            if batch.exhausted {
                return Ok(notices);
            }
        }
    }

    /// Forgets those from before a time. Several may do so at once.
    pub async fn forget_notices(&self, before: u32) -> Result<(), StoreError> {
        let filter = rawdoc! { "_id": { "$lt": first_of(before) } };
        self.store
            .delete(&self.collections.notices, Delete { filter, multi: true, ..Delete::default() })
            .await
            .map(drop)
    }
}

fn first_of(seconds: u32) -> ObjectId {
    ObjectId::from_parts(seconds, [0; 5], [0; 3])
}

fn written(notice: &Notice) -> RawDocumentBuf {
    let id = ObjectId::new();
    match notice {
        Notice::User { app, id: user } => rawdoc! { "_id": id, "kind": "user", "app": app.0, "id": user.as_str() },
        Notice::AdminSession { id: session, until } => {
            rawdoc! { "_id": id, "kind": "admin-session", "id": session.as_str(), "until": *until }
        }
    }
}

fn read(record: &RawDocument) -> Result<Notice, StoreError> {
    let fields = Fields(record);
    let id = fields.text("id")?.to_owned();
    match fields.text("kind")? {
        "user" => Ok(Notice::User { app: AppId(fields.id("app")?), id }),
        "admin-session" => Ok(Notice::AdminSession { id, until: fields.seconds("until")? }),
        _ => Err(damaged("kind is none of its words", record)),
    }
}

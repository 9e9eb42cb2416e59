//! The documents apps keep about their users (`auth/custom_user_data.json`).
//!
//! In: a user's id. Out: the document whose user field holds that id, as text or as an ObjectId; when there are both, the
//! text wins. It is read for every request that asks for it, so that a change is seen at once.

use std::sync::Arc;

use bson::oid::ObjectId;
use bson::raw::{CString, RawArrayBuf, RawBson, RawDocumentBuf};
use bson::rawdoc;
use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use storage::model::{ActiveApp, CustomUserData};
use storage::{Find, Namespace, StoreError, Tenant};

use super::{NotKnown, Users, document_json};
use crate::limits::CUSTOM_DATA_BYTES_MAX;

impl Users {
    /// A user's custom data as Extended JSON; `{}` when there are none, or the app keeps none.
    pub fn custom_data(
        self: &Arc<Self>,
        app: Arc<ActiveApp>,
        user_id: String,
    ) -> BoxFuture<'static, Result<String, NotKnown>> {
        let users = self.clone();
        Box::pin(async move {
            let Some(kept) = &app.auth.custom_user_data else { return Ok("{}".to_owned()) };
            Ok(users
                .custom_data_of(&app, kept, &user_id)
                .await?
                .map_or_else(|| "{}".to_owned(), |data| data.to_string()))
        })
    }

    pub(super) async fn custom_data_of(
        &self,
        app: &ActiveApp,
        kept: &CustomUserData,
        user_id: &str,
    ) -> Result<Option<Json>, StoreError> {
        let Ok(field) = CString::try_from(kept.user_id_field.as_str()) else { return Ok(None) };
        let mut ids: RawArrayBuf = [RawBson::String(user_id.to_owned())].into_iter().collect();
        if let Ok(id) = ObjectId::parse_str(user_id) {
            ids.push(id);
        }
        let mut filter = RawDocumentBuf::new();
        filter.append(&field, rawdoc! { "$in": ids });
        // Text sorts before ObjectIds.
        let mut sort = RawDocumentBuf::new();
        sort.append(&field, 1);
        let at = Namespace::new(Tenant::App(app.id), kept.database.as_str(), kept.collection.as_str());
        let find = Find { filter, sort, limit: 1, ..Find::default() };
        let mut cursor = self.sources.of(app, &kept.source)?.find(&at, find).await?;
        let found = cursor.next(CUSTOM_DATA_BYTES_MAX).await?.documents;
        Ok(found.first().map(document_json))
    }
}

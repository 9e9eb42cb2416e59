//! What a node needs of the catalog to serve an app: its record, the configuration that is live, secrets, keys, settings.
//! No code: hosts ask for that when they need it.
//!
//! In: one app, or all of them. Out: [`ServedRecords`]. One app is a handful of point reads; all of them are a walk over
//! each collection and the live deployments in large batches, so that a node starts with ten thousand apps in seconds.
//!
//! Not here: what requests are checked against (control-plane makes that of it).

use std::collections::HashMap;

use bson::oid::ObjectId;
use bson::raw::{RawArrayBuf, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use super::records::{Deployment, StoredApiKey, StoredSecret};
use super::{Catalog, by_id, damaged, mapping, members};
use crate::error::StoreError;
use crate::limits::{self, SERVED_READ_AT_ONCE};
use crate::model::{App, AppId};
use crate::namespace::Namespace;
use crate::store::Find;

#[derive(Debug, Clone, PartialEq)]
pub struct ServedRecords {
    pub app: App,
    /// Without its code cache.
    pub deployment: Deployment,
    pub secrets: Vec<StoredSecret>,
    pub api_keys: Vec<StoredApiKey>,
    /// As of [`Catalog::settings`].
    pub settings: RawDocumentBuf,
}

impl ServedRecords {
    /// One document of everything, as caches keep it.
    pub fn to_document(&self) -> RawDocumentBuf {
        let secrets: RawArrayBuf = self.secrets.iter().map(mapping::secret_to).collect();
        let api_keys: RawArrayBuf = self.api_keys.iter().map(mapping::api_key_to).collect();
        rawdoc! {
            "app": mapping::app_to(&self.app),
            "deployment": mapping::deployment_to(&self.deployment),
            "secrets": secrets,
            "api_keys": api_keys,
            "settings": self.settings.clone(),
        }
    }

    /// The way back.
    pub fn from_document(document: &RawDocument) -> Result<Self, StoreError> {
        Ok(Self {
            app: mapping::app_from(&mapping::document_field(document, "app")?)?,
            deployment: mapping::deployment_from(&mapping::document_field(document, "deployment")?)?,
            secrets: listed(document, "secrets", mapping::secret_from)?,
            api_keys: listed(document, "api_keys", mapping::api_key_from)?,
            settings: mapping::document_field(document, "settings")?,
        })
    }
}

fn listed<T>(
    document: &RawDocument,
    name: &str,
    read: fn(&RawDocument) -> Result<T, StoreError>,
) -> Result<Vec<T>, StoreError> {
    let list = document.get_array(name).map_err(|_| damaged(&format!("{name} is not an array"), document))?;
    list.into_iter()
        .map(|item| match item {
            Ok(RawBsonRef::Document(item)) => read(item),
            _ => Err(damaged(&format!("an item of {name} is not a document"), document)),
        })
        .collect()
}

impl Catalog {
    /// What one app is served from. `None` when there is no such app, or when nothing of it is live.
    pub async fn served(&self, id: AppId) -> Result<Option<ServedRecords>, StoreError> {
        let Some(app) = self.app(id).await? else { return Ok(None) };
        let Some(live) = app.live else { return Ok(None) };
        let find = Find { filter: by_id(live.0), projection: without_code(), limit: 1, ..Find::default() };
        let (deployment, secrets, api_keys, settings) = futures_util::try_join!(
            self.first(&self.collections.deployments, find),
            self.secrets(id),
            self.api_keys(id),
            self.settings(id)
        )?;
        let deployment = deployment.ok_or_else(|| missing(&app))?;
        let deployment = mapping::deployment_from(&deployment)?;
        Ok(Some(ServedRecords { app, deployment, secrets, api_keys, settings }))
    }

    /// What all apps are served from, handed over one by one. An app whose records are damaged is an error of its own. Gives
    /// all apps there are, also those of which nothing is live.
    pub async fn served_all(
        &self,
        mut each: impl FnMut(&App, Result<ServedRecords, StoreError>),
    ) -> Result<Vec<App>, StoreError> {
        let all = &*self.collections;
        let apps = self.apps().await?;
        let secrets = self.whole(&all.secrets.0).await?;
        let api_keys = self.whole(&all.api_keys.0).await?;
        let settings = self.whole(&all.settings).await?;
        let mut records = |app: &App, deployment: &RawDocument| {
            let id = app.id.0;
            each(app, {
                let read = || {
                    Ok(ServedRecords {
                        deployment: mapping::deployment_from(deployment)?,
                        secrets: members::items(secrets.get(&id).map(|record| &**record), mapping::secret_from)?,
                        api_keys: members::items(api_keys.get(&id).map(|record| &**record), mapping::api_key_from)?,
                        settings: match settings.get(&id) {
                            Some(record) => mapping::document_field(record, "value")?,
                            None => RawDocumentBuf::new(),
                        },
                        app: app.clone(),
                    })
                };
                read()
            });
        };
        let mut lost = Vec::new();
        for some in apps.chunks(SERVED_READ_AT_ONCE) {
            let mut wanted: HashMap<ObjectId, &App> = some.iter().filter_map(|app| Some((app.live?.0, app))).collect();
            let ids: RawArrayBuf = wanted.keys().copied().collect();
            let filter = rawdoc! { "_id": { "$in": ids } };
            let find = Find { filter, projection: without_code(), ..Find::default() };
            let mut cursor = self.store.find(&all.deployments, find).await?;
            loop {
                let batch = cursor.next(limits::CATALOG_BATCH_BYTES).await?;
                for deployment in &batch.documents {
                    let id = mapping::Fields(deployment).id("_id")?;
                    if let Some(app) = wanted.remove(&id) {
                        records(app, deployment);
                    }
                }
                if batch.exhausted {
                    break;
                }
            }
            lost.extend(wanted.into_values().cloned());
        }
        for app in &lost {
            each(app, Err(missing(app)));
        }
        Ok(apps)
    }

    /// All documents of a collection by their ids.
    async fn whole(&self, at: &Namespace) -> Result<HashMap<ObjectId, RawDocumentBuf>, StoreError> {
        let mut cursor = self.store.find(at, Find::default()).await?;
        let mut whole = HashMap::new();
        loop {
            let batch = cursor.next(limits::CATALOG_BATCH_BYTES).await?;
            for record in batch.documents {
                whole.insert(mapping::Fields(&record).id("_id")?, record);
            }
            if batch.exhausted {
                return Ok(whole);
            }
        }
    }

    async fn first(&self, at: &Namespace, find: Find) -> Result<Option<RawDocumentBuf>, StoreError> {
        let mut cursor = self.store.find(at, find).await?;
        let batch = cursor.next(limits::CATALOG_BATCH_BYTES).await?;
        Ok(batch.documents.into_iter().next())
    }
}

fn without_code() -> RawDocumentBuf {
    rawdoc! { "code_cache": 0 }
}

fn missing(app: &App) -> StoreError {
    let live = app.live.map(|live| live.to_hex()).unwrap_or_default();
    StoreError::store(format!("catalog: the live deployment {live} is missing"))
}

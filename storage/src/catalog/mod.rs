//! Apps, drafts, deployments, secrets and keys, kept through [`Store`] like any other documents.
//!
//! In: records of [`crate::model`] and [`records`]. Out: the same, by id, by app, by group.
//! Not here: what a configuration means, sealing of secrets (both control-plane), and who may read what.
//!
//! What is asked for app by app lies in one document whose `_id` is the app's (secrets, keys, the list of deployments,
//! the draft, the settings), so that starting ten thousand apps is point reads, and so that adding a secret is one
//! atomic update. A deployment's configuration and code lie in a document of their own.

mod blobs;
mod ledger;
mod mapping;
mod members;
mod notices;
mod records;
mod served;
mod users;

use std::cmp::Reverse;
use std::fmt;
use std::sync::Arc;

use bson::oid::ObjectId;
use bson::raw::{RawArrayBuf, RawBson, RawDocument, RawDocumentBuf};
use bson::rawdoc;

use crate::error::StoreError;
use crate::limits;
use crate::model::{ApiKeyId, App, AppId, DeploymentId, GroupId, SecretId};
use crate::namespace::{Namespace, Tenant};
use crate::store::{Delete, Find, Store, Update};

use blobs::Blobs;
pub use ledger::{Ledger, Mark};
use members::Members;
pub use notices::Notice;
pub use records::{Deployment, DeploymentStatus, DeploymentSummary, Draft, StoredApiKey, StoredSecret};
pub use served::ServedRecords;
pub use users::{NotCreated, UserPage};

/// The catalog of one Portico. Cheap to clone; every clone is the same catalog.
#[derive(Clone)]
pub struct Catalog {
    store: Arc<dyn Store>,
    collections: Arc<Collections>,
}

/// Names are made once: every call needs one by reference.
struct Collections {
    apps: Namespace,
    drafts: Namespace,
    deployments: Namespace,
    deployment_lists: Members,
    secrets: Members,
    api_keys: Members,
    settings: Namespace,
    meta: Namespace,
    ledger: Namespace,
    notices: Namespace,
    blobs: Blobs,
}

impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Catalog")
    }
}

impl Catalog {
    pub fn new(store: Arc<dyn Store>) -> Self {
        let named = |collection: &str| Namespace::new(Tenant::System, "portico", collection);
        Self {
            store,
            collections: Arc::new(Collections {
                apps: named("apps"),
                drafts: named("drafts"),
                deployments: named("deployments"),
                deployment_lists: Members(named("deployment_lists")),
                secrets: Members(named("secrets")),
                api_keys: Members(named("api_keys")),
                settings: named("settings"),
                meta: named("meta"),
                ledger: named("ledger"),
                notices: named("notices"),
                blobs: Blobs { list: Members(named("blob_lists")), parts: named("blob_parts") },
            }),
        }
    }

    /// The store the catalog is kept in, for what else lives there.
    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub async fn apps(&self) -> Result<Vec<App>, StoreError> {
        self.apps_where(RawDocumentBuf::new()).await
    }

    pub async fn apps_of(&self, group: GroupId) -> Result<Vec<App>, StoreError> {
        self.apps_where(rawdoc! { "group": group.0 }).await
    }

    pub async fn app(&self, id: AppId) -> Result<Option<App>, StoreError> {
        let found = self.get(&self.collections.apps, id.0).await?;
        found.as_deref().map(mapping::app_from).transpose()
    }

    /// Looks through all apps; requests are served from the snapshot instead.
    pub async fn app_by_client_id(&self, client_app_id: &str) -> Result<Option<App>, StoreError> {
        let found = self.apps_where(rawdoc! { "client_app_id": client_app_id }).await?;
        Ok(found.into_iter().next())
    }

    /// Adds the app, or replaces what was known about it.
    pub async fn put_app(&self, app: &App) -> Result<(), StoreError> {
        self.put(&self.collections.apps, app.id.0, mapping::app_to(app)).await
    }

    /// The app and everything it had: its record, draft, deployments, secrets, keys, settings, users and documents. The record
    /// goes first, so that a crash in between leaves garbage and never half an app.
    pub async fn delete_app(&self, id: AppId) -> Result<(), StoreError> {
        let all = &*self.collections;
        self.remove(&all.apps, id.0).await?;
        self.remove(&all.drafts, id.0).await?;
        let deployments = self.deployment_summaries(id).await?.into_iter().map(|deployment| deployment.id.0);
        let listed = rawdoc! { "_id": { "$in": deployments.collect::<RawArrayBuf>() } };
        self.store.delete(&all.deployments, Delete { filter: listed, multi: true, ..Delete::default() }).await?;
        for members in [&all.deployment_lists, &all.secrets, &all.api_keys] {
            self.remove(&members.0, id.0).await?;
        }
        self.remove(&all.settings, id.0).await?;
        self.store.drop_tenant(Tenant::Users(id)).await?;
        all.blobs.keep(&*self.store, id, &[]).await?;
        self.remove(&all.blobs.list.0, id.0).await?;
        self.store.drop_tenant(Tenant::App(id)).await
    }

    pub async fn draft(&self, app: AppId) -> Result<Option<Draft>, StoreError> {
        let found = self.get(&self.collections.drafts, app.0).await?;
        found.as_deref().map(mapping::draft_from).transpose()
    }

    /// Replaces the app's draft: there is at most one.
    pub async fn put_draft(&self, draft: &Draft) -> Result<(), StoreError> {
        self.put(&self.collections.drafts, draft.app.0, mapping::draft_to(draft)).await
    }

    pub async fn delete_draft(&self, app: AppId) -> Result<(), StoreError> {
        self.remove(&self.collections.drafts, app.0).await
    }

    /// The newest `limit` deployments of an app, newest first, without what they deployed.
    pub async fn deployments(&self, app: AppId, limit: usize) -> Result<Vec<DeploymentSummary>, StoreError> {
        let mut all = self.deployment_summaries(app).await?;
        all.truncate(limit);
        Ok(all)
    }

    /// One deployment with its configuration and code.
    pub async fn deployment(&self, id: DeploymentId) -> Result<Option<Deployment>, StoreError> {
        let found = self.get(&self.collections.deployments, id.0).await?;
        found.as_deref().map(mapping::deployment_from).transpose()
    }

    /// The deployment itself is written before the list names it, so that whatever is listed can be loaded.
    pub async fn put_deployment(&self, deployment: &Deployment) -> Result<(), StoreError> {
        let all = &*self.collections;
        self.put(&all.deployments, deployment.id.0, mapping::deployment_to(deployment)).await?;
        let summary = mapping::summary_to(&deployment.summary());
        all.deployment_lists.put(&*self.store, deployment.app, deployment.id.0, summary).await
    }

    /// Forgets all but the newest `keep` deployments. The one that is live is kept in any case.
    pub async fn prune_deployments(&self, app: AppId, keep: usize) -> Result<(), StoreError> {
        let live = self.app(app).await?.and_then(|app| app.live);
        let old = self.deployment_summaries(app).await?.into_iter().skip(keep);
        for deployment in old.filter(|deployment| Some(deployment.id) != live) {
            self.collections.deployment_lists.remove_from(&*self.store, app, deployment.id.0).await?;
            self.remove(&self.collections.deployments, deployment.id.0).await?;
        }
        Ok(())
    }

    pub async fn secrets(&self, app: AppId) -> Result<Vec<StoredSecret>, StoreError> {
        self.collections.secrets.list(&*self.store, app, mapping::secret_from).await
    }

    pub async fn put_secret(&self, secret: &StoredSecret) -> Result<(), StoreError> {
        let item = mapping::secret_to(secret);
        self.collections.secrets.put(&*self.store, secret.app, secret.id.0, item).await
    }

    pub async fn delete_secret(&self, id: SecretId) -> Result<(), StoreError> {
        self.collections.secrets.remove(&*self.store, id.0).await
    }

    pub async fn api_keys(&self, app: AppId) -> Result<Vec<StoredApiKey>, StoreError> {
        self.collections.api_keys.list(&*self.store, app, mapping::api_key_from).await
    }

    pub async fn put_api_key(&self, key: &StoredApiKey) -> Result<(), StoreError> {
        self.collections.api_keys.put(&*self.store, key.app, key.id.0, mapping::api_key_to(key)).await
    }

    pub async fn delete_api_key(&self, id: ApiKeyId) -> Result<(), StoreError> {
        self.collections.api_keys.remove(&*self.store, id.0).await
    }

    /// Keeps bytes of an app under an id that says what they are; keeping the same again changes nothing.
    pub async fn put_blob(&self, app: AppId, id: ObjectId, bytes: &[u8]) -> Result<(), StoreError> {
        self.collections.blobs.put(&*self.store, app, id, bytes).await
    }

    pub async fn has_blob(&self, app: AppId, id: ObjectId) -> Result<bool, StoreError> {
        self.collections.blobs.has(&*self.store, app, id).await
    }

    pub async fn blob(&self, app: AppId, id: ObjectId) -> Result<Option<Vec<u8>>, StoreError> {
        self.collections.blobs.bytes(&*self.store, app, id).await
    }

    /// Forgets all bytes of an app but those named.
    pub async fn keep_blobs(&self, app: AppId, kept: &[ObjectId]) -> Result<(), StoreError> {
        self.collections.blobs.keep(&*self.store, app, kept).await
    }

    /// What the operator or the Admin API set for an app beside its configuration; empty when nothing was.
    pub async fn settings(&self, app: AppId) -> Result<RawDocumentBuf, StoreError> {
        Ok(self.value_of(&self.collections.settings, app.0).await?.unwrap_or_default())
    }

    pub async fn put_settings(&self, app: AppId, settings: &RawDocumentBuf) -> Result<(), StoreError> {
        let record = rawdoc! { "_id": app.0, "value": settings.clone() };
        self.put(&self.collections.settings, app.0, record).await
    }

    /// One document about the whole installation, such as the admin key's.
    pub async fn meta(&self, key: &str) -> Result<Option<RawDocumentBuf>, StoreError> {
        self.value_of(&self.collections.meta, key).await
    }

    pub async fn put_meta(&self, key: &str, value: &RawDocumentBuf) -> Result<(), StoreError> {
        self.put(&self.collections.meta, key, rawdoc! { "_id": key, "value": value.clone() }).await
    }

    async fn apps_where(&self, filter: RawDocumentBuf) -> Result<Vec<App>, StoreError> {
        let mut cursor = self.store.find(&self.collections.apps, Find { filter, ..Find::default() }).await?;
        let mut apps = Vec::new();
        loop {
            let batch = cursor.next(limits::CATALOG_BATCH_BYTES).await?;
            for document in &batch.documents {
                apps.push(mapping::app_from(document)?);
            }
            if batch.exhausted {
                return Ok(apps);
            }
        }
    }

    async fn deployment_summaries(&self, app: AppId) -> Result<Vec<DeploymentSummary>, StoreError> {
        let mut all = self.collections.deployment_lists.list(&*self.store, app, mapping::summary_from).await?;
        all.sort_by_key(|deployment| Reverse((deployment.deployed_at, deployment.id)));
        Ok(all)
    }

    async fn value_of(&self, at: &Namespace, id: impl Into<RawBson>) -> Result<Option<RawDocumentBuf>, StoreError> {
        let found = self.get(at, id).await?;
        found.as_deref().map(|record| mapping::document_field(record, "value")).transpose()
    }

    async fn get(&self, at: &Namespace, id: impl Into<RawBson>) -> Result<Option<RawDocumentBuf>, StoreError> {
        get(&*self.store, at, by_id(id)).await
    }

    async fn put(&self, at: &Namespace, id: impl Into<RawBson>, record: RawDocumentBuf) -> Result<(), StoreError> {
        let update = Update { filter: by_id(id), update: record.into(), upsert: true, ..Update::default() };
        self.store.update(at, update).await.map(drop)
    }

    async fn remove(&self, at: &Namespace, id: ObjectId) -> Result<(), StoreError> {
        self.store.delete(at, Delete { filter: by_id(id), multi: false, ..Delete::default() }).await.map(drop)
    }
}

/// The first document that matches.
async fn get(store: &dyn Store, at: &Namespace, filter: RawDocumentBuf) -> Result<Option<RawDocumentBuf>, StoreError> {
    let mut cursor = store.find(at, Find { filter, limit: 1, ..Find::default() }).await?;
    let batch = cursor.next(limits::CATALOG_BATCH_BYTES).await?;
    Ok(batch.documents.into_iter().next())
}

fn by_id(id: impl Into<RawBson>) -> RawDocumentBuf {
    rawdoc! { "_id": id.into() }
}

/// The name every damaged record's error begins with, so that an operator knows which file to look at.
fn damaged(what: &str, record: &RawDocument) -> StoreError {
    let id = record.get("_id").ok().flatten().map(|id| format!("{id:?}")).unwrap_or_default();
    StoreError::store(format!("catalog: the record {id} is damaged: {what}"))
}

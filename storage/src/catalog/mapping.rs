//! Records to BSON and back, field by field. What was written by an earlier build must stay readable: a new field is
//! read as its default when it is missing, and no field ever changes its meaning.
//!
//! Not here: where the documents are kept. A record that cannot be read is the store's fault, never the caller's.

use bson::oid::ObjectId;
use bson::raw::{RawBinaryRef, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::rawdoc;
use bson::spec::BinarySubtype;

use super::damaged;
use super::records::{Deployment, DeploymentStatus, DeploymentSummary, Draft, StoredApiKey, StoredSecret};
use crate::error::StoreError;
use crate::model::{
    ApiKeyId, App, AppId, ClientAppId, DeploymentId, DeploymentModel, DomainId, DraftId, Environment, GroupId,
    ProviderRegion, SecretId,
};

pub(super) fn app_to(app: &App) -> RawDocumentBuf {
    rawdoc! {
        "_id": app.id.0,
        "client_app_id": app.client_app_id.as_str(),
        "group": app.group.0,
        "domain": app.domain.0,
        "name": app.name.as_str(),
        "location": app.location.as_str(),
        "cloud": app.provider_region.cloud.as_str(),
        "region": app.provider_region.region.as_str(),
        "deployment_model": app.deployment_model.as_str(),
        "environment": app.environment.tag(),
        "product": app.product.as_str(),
        "created_at": app.created_at,
        "last_modified": app.last_modified,
        "live": optional(app.live.map(|id| id.0)),
    }
}

pub(super) fn app_from(record: &RawDocument) -> Result<App, StoreError> {
    let fields = Fields(record);
    Ok(App {
        id: AppId(fields.id("_id")?),
        client_app_id: ClientAppId::new(fields.text("client_app_id")?),
        group: GroupId(fields.id("group")?),
        domain: DomainId(fields.id("domain")?),
        name: fields.text("name")?.to_owned(),
        location: fields.text("location")?.to_owned(),
        provider_region: ProviderRegion {
            cloud: fields.text("cloud")?.to_owned(),
            region: fields.text("region")?.to_owned(),
        },
        deployment_model: fields.word("deployment_model", DeploymentModel::parse)?,
        environment: fields.word("environment", Environment::parse)?,
        product: fields.text("product")?.to_owned(),
        created_at: fields.seconds("created_at")?,
        last_modified: fields.seconds("last_modified")?,
        live: fields.optional_id("live")?.map(DeploymentId),
    })
}

pub(super) fn draft_to(draft: &Draft) -> RawDocumentBuf {
    rawdoc! {
        "_id": draft.app.0,
        "draft": draft.id.0,
        "user_id": draft.user_id.as_str(),
        "config": draft.config.clone(),
    }
}

pub(super) fn draft_from(record: &RawDocument) -> Result<Draft, StoreError> {
    let fields = Fields(record);
    Ok(Draft {
        id: DraftId(fields.id("draft")?),
        app: AppId(fields.id("_id")?),
        user_id: fields.text("user_id")?.to_owned(),
        config: document_field(record, "config")?,
    })
}

pub(super) fn summary_to(summary: &DeploymentSummary) -> RawDocumentBuf {
    rawdoc! {
        "_id": summary.id.0,
        "app": summary.app.0,
        "name": summary.name.as_str(),
        "draft": optional(summary.draft.map(|id| id.0)),
        "user_id": summary.user_id.as_str(),
        "deployed_at": summary.deployed_at,
        "origin": summary.origin.as_str(),
        "status": summary.status.as_str(),
        "status_error_message": summary.status_error_message.as_str(),
    }
}

pub(super) fn summary_from(record: &RawDocument) -> Result<DeploymentSummary, StoreError> {
    let fields = Fields(record);
    Ok(DeploymentSummary {
        id: DeploymentId(fields.id("_id")?),
        app: AppId(fields.id("app")?),
        name: fields.text("name")?.to_owned(),
        draft: fields.optional_id("draft")?.map(DraftId),
        user_id: fields.text("user_id")?.to_owned(),
        deployed_at: fields.seconds("deployed_at")?,
        origin: fields.text("origin")?.to_owned(),
        status: fields.word("status", DeploymentStatus::parse)?,
        status_error_message: fields.text("status_error_message")?.to_owned(),
    })
}

pub(super) fn deployment_to(deployment: &Deployment) -> RawDocumentBuf {
    let mut record = summary_to(&deployment.summary());
    record.append(bson::raw::cstr!("config"), &deployment.config);
    record.append(bson::raw::cstr!("code_cache"), &deployment.code_cache);
    if let Some(packages) = deployment.packages {
        record.append(bson::raw::cstr!("packages"), packages);
    }
    record
}

pub(super) fn deployment_from(record: &RawDocument) -> Result<Deployment, StoreError> {
    let DeploymentSummary { id, app, name, draft, user_id, deployed_at, origin, status, status_error_message } =
        summary_from(record)?;
    Ok(Deployment {
        id,
        app,
        name,
        draft,
        user_id,
        deployed_at,
        origin,
        status,
        status_error_message,
        config: document_field(record, "config")?,
        code_cache: document_field(record, "code_cache")?,
        packages: record.get_object_id("packages").ok(),
    })
}

pub(super) fn secret_to(secret: &StoredSecret) -> RawDocumentBuf {
    rawdoc! {
        "_id": secret.id.0,
        "app": secret.app.0,
        "name": secret.name.as_str(),
        "sealed": bytes(&secret.sealed),
    }
}

pub(super) fn secret_from(record: &RawDocument) -> Result<StoredSecret, StoreError> {
    let fields = Fields(record);
    Ok(StoredSecret {
        id: SecretId(fields.id("_id")?),
        app: AppId(fields.id("app")?),
        name: fields.text("name")?.to_owned(),
        sealed: fields.bytes("sealed")?.to_vec(),
    })
}

pub(super) fn api_key_to(key: &StoredApiKey) -> RawDocumentBuf {
    rawdoc! {
        "_id": key.id.0,
        "app": key.app.0,
        "name": key.name.as_str(),
        "hash": bytes(&key.hash),
        "disabled": key.disabled,
    }
}

pub(super) fn api_key_from(record: &RawDocument) -> Result<StoredApiKey, StoreError> {
    let fields = Fields(record);
    let hash = fields.bytes("hash")?.try_into().map_err(|_| damaged("hash is not 32 bytes", record))?;
    Ok(StoredApiKey {
        id: ApiKeyId(fields.id("_id")?),
        app: AppId(fields.id("app")?),
        name: fields.text("name")?.to_owned(),
        hash,
        disabled: fields.flag("disabled")?,
    })
}

/// A copy of an embedded document; a missing one is empty.
pub(super) fn document_field(record: &RawDocument, name: &str) -> Result<RawDocumentBuf, StoreError> {
    match record.get(name) {
        Ok(Some(RawBsonRef::Document(document))) => Ok(document.to_owned()),
        Ok(None) => Ok(RawDocumentBuf::new()),
        _ => Err(damaged(&format!("{name} is not a document"), record)),
    }
}

fn optional(id: Option<ObjectId>) -> RawBson {
    id.map_or(RawBson::Null, RawBson::ObjectId)
}

pub(super) fn bytes(bytes: &[u8]) -> RawBson {
    RawBsonRef::Binary(RawBinaryRef { subtype: BinarySubtype::Generic, bytes }).into()
}

/// Typed access to a record, each failure naming the field.
pub(super) struct Fields<'a>(pub &'a RawDocument);

impl<'a> Fields<'a> {
    fn get<T>(&self, name: &str, what: &str, read: impl FnOnce(RawBsonRef<'a>) -> Option<T>) -> Result<T, StoreError> {
        let value = self.0.get(name).ok().flatten().and_then(read);
        value.ok_or_else(|| damaged(&format!("{name} is not {what}"), self.0))
    }

    pub fn id(&self, name: &str) -> Result<ObjectId, StoreError> {
        self.get(name, "an id", RawBsonRef::as_object_id)
    }

    pub fn optional_id(&self, name: &str) -> Result<Option<ObjectId>, StoreError> {
        match self.0.get(name) {
            Ok(None | Some(RawBsonRef::Null)) => Ok(None),
            _ => self.id(name).map(Some),
        }
    }

    pub fn text(&self, name: &str) -> Result<&'a str, StoreError> {
        self.get(name, "text", RawBsonRef::as_str)
    }

    pub fn word<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Result<T, StoreError> {
        self.get(name, "one of its known words", |value| value.as_str().and_then(parse))
    }

    pub fn seconds(&self, name: &str) -> Result<i64, StoreError> {
        self.get(name, "a time in seconds", RawBsonRef::as_i64)
    }

    pub fn number(&self, name: &str) -> Result<i64, StoreError> {
        self.get(name, "a number", RawBsonRef::as_i64)
    }

    pub fn flag(&self, name: &str) -> Result<bool, StoreError> {
        self.get(name, "true or false", RawBsonRef::as_bool)
    }

    pub fn bytes(&self, name: &str) -> Result<&'a [u8], StoreError> {
        self.get(name, "bytes", |value| value.as_binary().map(|binary| binary.bytes))
    }
}

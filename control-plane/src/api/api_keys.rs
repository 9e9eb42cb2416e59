//! Server API keys: `…/api_keys`. A key is shown once, when it is made; what is kept is its digest. A caller may bring a
//! key along, so that devices in the field keep the one they have.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, put};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use storage::catalog::StoredApiKey;
use storage::model::{ApiKeyId, App};

use super::error::{ApiError, created, no_content, ok};
use super::request::{InApp, Item, Payload};
use crate::limits::{API_KEY_LENGTH_MAX, API_KEY_LENGTH_MIN, API_KEYS_MAX};
use crate::publish::PublishError;
use crate::{ControlPlane, check, vault};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/api_keys", get(list).post(create))
        .route("/groups/{group}/apps/{app}/api_keys/{id}", get(one).delete(delete))
        .route("/groups/{group}/apps/{app}/api_keys/{id}/enable", put(enable))
        .route("/groups/{group}/apps/{app}/api_keys/{id}/disable", put(disable))
}

fn key_json(key: &StoredApiKey) -> Json {
    json!({ "_id": key.id.to_hex(), "name": key.name, "disabled": key.disabled })
}

async fn list(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let keys = control.catalog.api_keys(within.app.id).await?;
    Ok(ok(&keys.iter().map(key_json).collect()))
}

async fn one(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ApiKeyId>,
) -> Result<Response, ApiError> {
    Ok(ok(&key_json(&control.api_key(&within.app, id).await?)))
}

async fn create(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let name = fields.get("name").and_then(Json::as_str).ok_or_else(|| ApiError::missing("name"))?;
    check::entity_name("API key", name).map_err(ApiError::invalid)?;
    let text = match fields.get("key") {
        None | Some(Json::Null) => new_key()?,
        Some(Json::String(key)) => brought(key)?,
        Some(_) => return Err(ApiError::invalid("key: must be a string")),
    };
    let _alone = control.fleet.alone(within.app.id).await?;
    let known = control.catalog.api_keys(within.app.id).await?;
    if known.len() >= API_KEYS_MAX {
        return Err(ApiError::invalid(format!("an app may have at most {API_KEYS_MAX} API keys")));
    }
    let hash: [u8; 32] = Sha256::digest(&text).into();
    if known.iter().any(|key| key.name == name || key.hash == hash) {
        let message = format!("an API key of this name or content already exists: '{name}'");
        return Err(ApiError::conflict("APIKeyAlreadyExists", message));
    }
    let key = StoredApiKey { id: ApiKeyId::new(), app: within.app.id, name: name.to_owned(), hash, disabled: false };
    control.catalog.put_api_key(&key).await?;
    control.changed(within.app.id).await.map_err(PublishError::from)?;
    let mut shown = key_json(&key);
    shown["key"] = text.into();
    Ok(created(&shown))
}

async fn delete(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ApiKeyId>,
) -> Result<Response, ApiError> {
    let _alone = control.fleet.alone(within.app.id).await?;
    let key = control.api_key(&within.app, id).await?;
    control.catalog.delete_api_key(key.id).await?;
    control.changed(within.app.id).await.map_err(PublishError::from)?;
    Ok(no_content())
}

async fn enable(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ApiKeyId>,
) -> Result<Response, ApiError> {
    control.set_disabled(&within.app, id, false).await
}

async fn disable(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ApiKeyId>,
) -> Result<Response, ApiError> {
    control.set_disabled(&within.app, id, true).await
}

impl ControlPlane {
    async fn api_key(&self, app: &App, id: ApiKeyId) -> Result<StoredApiKey, ApiError> {
        let found = self.catalog.api_keys(app.id).await?.into_iter().find(|key| key.id == id);
        found.ok_or_else(|| ApiError::not_found("APIKeyNotFound", format!("API key not found: '{id}'")))
    }

    async fn set_disabled(&self, app: &App, id: ApiKeyId, disabled: bool) -> Result<Response, ApiError> {
        let _alone = self.fleet.alone(app.id).await?;
        let key = self.api_key(app, id).await?;
        self.catalog.put_api_key(&StoredApiKey { disabled, ..key }).await?;
        self.changed(app.id).await.map_err(PublishError::from)?;
        Ok(no_content())
    }
}

/// 64 letters and digits, as App Services made them.
pub(super) fn new_key() -> Result<String, ApiError> {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
    let random: [u8; 64] = vault::random().map_err(ApiError::internal)?;
    Ok(random.iter().map(|byte| char::from(LETTERS[usize::from(*byte) % LETTERS.len()])).collect())
}

pub(super) fn brought(key: &str) -> Result<String, ApiError> {
    if !(API_KEY_LENGTH_MIN..=API_KEY_LENGTH_MAX).contains(&key.len()) {
        let message = format!("key: must have {API_KEY_LENGTH_MIN} to {API_KEY_LENGTH_MAX} characters");
        return Err(ApiError::invalid(message));
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(ApiError::invalid("key: may hold only visible ASCII characters, since it travels in a header"));
    }
    Ok(key.to_owned())
}

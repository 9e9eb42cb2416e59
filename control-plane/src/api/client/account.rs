//! What users do with their own session and account: `…/auth/profile`, `…/auth/session`, `…/auth/delete`,
//! `…/auth/api_keys`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{delete, get, post, put};
use serde_json::{Value as Json, json};
use sha2::{Digest, Sha256};

use storage::model::UserKey;

use super::{AccessOf, RefreshOf, linked, refused};
use crate::ControlPlane;
use crate::api::api_keys::new_key;
use crate::api::error::{ApiError, created, no_content, ok};
use crate::api::request::{Item, Payload};
use crate::check::is_entity_name;
use crate::limits::USER_KEYS_MAX;
use crate::users::{Kind, NotMade, document_json};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/auth/profile", get(profile))
        .route("/auth/session", post(extend).delete(end))
        .route("/auth/delete", delete(leave))
        .route("/auth/api_keys", get(keys).post(create_key))
        .route("/auth/api_keys/{id}", get(key).delete(delete_key))
        .route("/auth/api_keys/{id}/enable", put(enable_key))
        .route("/auth/api_keys/{id}/disable", put(disable_key))
}

async fn profile(AccessOf { app, user, .. }: AccessOf) -> Response {
    let identities: Vec<Json> = user
        .user()
        .identities
        .iter()
        .map(|one| json!({ "id": one.id, "provider_type": one.provider_type, "provider_id": one.provider_id }))
        .collect();
    ok(&json!({
        "user_id": user.id,
        "domain_id": app.domain.to_hex(),
        "identities": identities,
        "data": document_json(&user.user().data),
        "type": user.kind().name(),
    }))
}

async fn extend(
    State(control): State<Arc<ControlPlane>>,
    RefreshOf { app, user, session }: RefreshOf,
) -> Result<Response, ApiError> {
    let access = control.users.extend_session(&app, &user, &session).await;
    let access = access.map_err(|error| linked(&app, &control, refused(error)))?;
    Ok(created(&json!({ "access_token": access })))
}

async fn end(
    State(control): State<Arc<ControlPlane>>,
    RefreshOf { app, session, .. }: RefreshOf,
) -> Result<Response, ApiError> {
    control.users.end_session(&app, &session).await?;
    Ok(no_content())
}

async fn leave(
    State(control): State<Arc<ControlPlane>>,
    AccessOf { app, user, .. }: AccessOf,
) -> Result<Response, ApiError> {
    if user.kind() == Kind::Server {
        return Err(linked(&app, &control, ApiError::invalid("a server key is deleted by an administrator")));
    }
    control.users.delete(app.id, user.user()).await?;
    Ok(no_content())
}

fn key_json(key: &UserKey) -> Json {
    json!({ "_id": key.id.to_hex(), "name": key.name, "disabled": key.disabled })
}

/// Keys are of people; a server has one already.
fn person(of: &RefreshOf) -> Result<&str, ApiError> {
    match of.user.kind() {
        Kind::Normal => Ok(&of.user.id),
        Kind::Server => Err(ApiError::bad_session("must authenticate first")),
    }
}

async fn keys(State(control): State<Arc<ControlPlane>>, of: RefreshOf) -> Result<Response, ApiError> {
    let keys = control.users.keys(of.app.id, person(&of)?).await?;
    Ok(ok(&keys.iter().map(key_json).collect()))
}

async fn key(
    State(control): State<Arc<ControlPlane>>,
    of: RefreshOf,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    Ok(ok(&key_json(&control.key_of(&of, &id).await?)))
}

async fn create_key(
    State(control): State<Arc<ControlPlane>>,
    of: RefreshOf,
    payload: Payload,
) -> Result<Response, ApiError> {
    let made = async {
        let user = person(&of)?;
        let body = payload.object()?;
        let name = body.get("name").and_then(Json::as_str).filter(|name| !name.is_empty());
        let name = name.ok_or_else(|| ApiError::invalid("'name' is a required string"))?;
        if !is_entity_name(name) {
            return Err(ApiError::invalid("can only contain ASCII letters, numbers, underscores, and hyphens"));
        }
        let text = new_key()?;
        let hash: [u8; 32] = Sha256::digest(&text).into();
        let key = control.users.add_key(of.app.id, user, name, hash).await.map_err(|error| match error {
            NotMade::IdTaken => ApiError::conflict("APIKeyAlreadyExists", "API key with name already exists"),
            NotMade::Invalid(_) => ApiError::invalid(format!("a user may have at most {USER_KEYS_MAX} API keys")),
            other => other.into(),
        })?;
        let mut shown = key_json(&key);
        shown["key"] = text.into();
        Ok(created(&shown))
    };
    made.await.map_err(|error| linked(&of.app, &control, error))
}

async fn delete_key(
    State(control): State<Arc<ControlPlane>>,
    of: RefreshOf,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let key = control.key_of(&of, &id).await?;
    control.users.delete_key(of.app.id, &key).await?;
    Ok(no_content())
}

async fn enable_key(
    State(control): State<Arc<ControlPlane>>,
    of: RefreshOf,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let key = control.key_of(&of, &id).await?;
    control.users.set_key_disabled(of.app.id, key, false).await?;
    Ok(no_content())
}

async fn disable_key(
    State(control): State<Arc<ControlPlane>>,
    of: RefreshOf,
    Item(id): Item<String>,
) -> Result<Response, ApiError> {
    let key = control.key_of(&of, &id).await?;
    control.users.set_key_disabled(of.app.id, key, true).await?;
    Ok(no_content())
}

impl ControlPlane {
    async fn key_of(&self, of: &RefreshOf, id: &str) -> Result<UserKey, ApiError> {
        let keys = self.users.keys(of.app.id, person(of)?).await?;
        let missing = || linked(&of.app, self, ApiError::not_found("APIKeyNotFound", "API key not found"));
        keys.into_iter().find(|key| key.id.to_hex() == id).ok_or_else(missing)
    }
}

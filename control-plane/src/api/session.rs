//! Logging in and staying so: `/auth/…`.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, post};
use bson::oid::ObjectId;
use serde::Deserialize;
use serde_json::{Value as Json, json};

use super::error::{ApiError, created, no_content, ok};
use super::request::{Caller, Logging, Payload, Refreshing};
use crate::ControlPlane;
use crate::admins::Admin;
use crate::publish::now_seconds;

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/auth/providers", get(providers))
        .route("/auth/providers/mongodb-cloud/login", post(login_with_key))
        .route("/auth/providers/local-userpass/login", post(login_with_password))
        .route("/auth/profile", get(profile))
        .route("/auth/session", post(refresh).delete(end))
}

async fn providers(State(control): State<Arc<ControlPlane>>) -> Response {
    let local = !control.admins.has_local_login();
    ok(&json!([
        { "name": "mongodb-cloud", "type": "mongodb-cloud", "disabled": false },
        { "name": "local-userpass", "type": "local-userpass", "disabled": local },
    ]))
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct KeyLogin {
    username: String,
    api_key: String,
}

async fn login_with_key(
    State(control): State<Arc<ControlPlane>>,
    _: Logging,
    payload: Payload,
) -> Result<Response, ApiError> {
    let login: KeyLogin = payload.parse()?;
    let admin = control.admins.by_key_pair(&login.username, &login.api_key).ok_or_else(ApiError::not_authorized)?;
    Ok(session(&control, &admin))
}

#[derive(Deserialize)]
struct PasswordLogin {
    username: String,
    password: String,
}

async fn login_with_password(
    State(control): State<Arc<ControlPlane>>,
    _: Logging,
    payload: Payload,
) -> Result<Response, ApiError> {
    let login: PasswordLogin = payload.parse()?;
    if !control.admins.has_local_login() {
        let message = "logging in with a name and a password is not set up here; use an API key pair";
        return Err(ApiError::bad_login(message));
    }
    let admin = control.admins.by_password(&login.username, &login.password);
    let admin = admin.ok_or_else(|| ApiError::bad_login("invalid username/password"))?;
    Ok(session(&control, &admin))
}

fn session(control: &ControlPlane, admin: &Admin) -> Response {
    let (access_token, refresh_token) = control.sessions.begin(&admin.user_id, now_seconds());
    ok(&json!({
        "access_token": access_token,
        "refresh_token": refresh_token,
        "user_id": admin.user_id,
        "device_id": ObjectId::new().to_hex(),
    }))
}

async fn profile(Caller(admin): Caller) -> Response {
    let roles: Vec<Json> = admin
        .roles
        .iter()
        .map(|(group, role)| json!({ "role_name": role.as_str(), "group_id": group.to_hex() }))
        .collect();
    ok(&json!({
        "user_id": admin.user_id,
        "domain_id": admin.user_id,
        "identities": [{ "id": admin.name, "provider_type": "mongodb-cloud", "provider_id": admin.user_id }],
        "data": { "email": admin.name, "name": admin.name },
        "type": "normal",
        "roles": roles,
    }))
}

async fn refresh(State(control): State<Arc<ControlPlane>>, Refreshing(session): Refreshing) -> Response {
    created(&json!({ "access_token": control.sessions.extend(&session, now_seconds()) }))
}

async fn end(State(control): State<Arc<ControlPlane>>, Refreshing(session): Refreshing) -> Result<Response, ApiError> {
    control.sessions.end(&session, now_seconds()).await?;
    Ok(no_content())
}

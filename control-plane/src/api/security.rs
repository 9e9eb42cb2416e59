//! From where an app may be called: `…/security/…`. Origins are configuration and go through drafts; the access list is
//! the instance's own and acts at once.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::response::Response;
use axum::routing::{get, patch};
use axum::{Extension, Router};
use bson::oid::ObjectId;
use serde_json::{Value as Json, json};

use storage::model::AppId;

use super::error::{ApiError, created, no_content, ok};
use super::request::{InApp, Item, Payload, Peer};
use crate::ControlPlane;
use crate::change::ChangeError;
use crate::limits::{ACCESS_LIST_MAX, USER_SESSION_SECONDS, USER_SESSION_SECONDS_MAX, USER_SESSION_SECONDS_MIN};
use crate::publish::PublishError;
use crate::settings::{AccessEntry, AppSettings, network};

pub fn routes() -> Router<Arc<ControlPlane>> {
    Router::new()
        .route("/groups/{group}/apps/{app}/security/allowed_request_origins", get(origins).post(set_origins))
        .route("/groups/{group}/apps/{app}/security/cors", get(cors).put(set_cors))
        .route("/groups/{group}/apps/{app}/security/access_list", get(access_list).post(add))
        .route("/groups/{group}/apps/{app}/security/access_list/{id}", patch(change).delete(remove))
        .route("/groups/{group}/apps/{app}/security/refresh_token_expiration", get(session_life).put(set_session_life))
}

async fn origins(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    Ok(ok(&control.working_config(&within.app).await?.config.allowed_request_origins.into()))
}

/// Replaces the list.
async fn set_origins(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let origins: Vec<String> = payload.parse()?;
    let set: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            stored.config.allowed_request_origins = origins;
            Ok(())
        })
        .await;
    set?;
    Ok(no_content())
}

/// Not part of App Services: which headers of the app's own pages may send and read.
async fn cors(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let config = control.working_config(&within.app).await?.config;
    Ok(ok(config.opaque.get(crate::cors::KEY).unwrap_or(&json!({}))))
}

/// Replaces the policy.
async fn set_cors(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let policy = Json::Object(payload.object()?);
    crate::cors::parse(&policy).map_err(ApiError::invalid)?;
    let set: Result<(), ChangeError<ApiError>> = control
        .change(within.app.id, &within.sender, |stored| {
            stored.config.opaque.insert(crate::cors::KEY.to_owned(), policy);
            Ok(())
        })
        .await;
    set?;
    Ok(no_content())
}

/// How long users stay logged in.
async fn session_life(State(control): State<Arc<ControlPlane>>, within: InApp) -> Result<Response, ApiError> {
    let settings = AppSettings::recall(&control.catalog.settings(within.app.id).await?);
    let seconds = settings.refresh_seconds.map_or(USER_SESSION_SECONDS, i64::from);
    Ok(ok(&json!({ "expiration_time_seconds": seconds })))
}

async fn set_session_life(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let seconds = fields.get("expiration_time_seconds").and_then(Json::as_i64);
    let seconds = seconds.ok_or_else(|| ApiError::missing("expiration_time_seconds"))?;
    if !(USER_SESSION_SECONDS_MIN..=USER_SESSION_SECONDS_MAX).contains(&seconds) {
        let bounds = format!("{USER_SESSION_SECONDS_MIN} to {USER_SESSION_SECONDS_MAX}");
        return Err(ApiError::invalid(format!("expiration_time_seconds: must be {bounds}, not {seconds}")));
    }
    control
        .edit_settings(within.app.id, |settings| {
            settings.refresh_seconds = u32::try_from(seconds).ok();
            Ok(())
        })
        .await?;
    Ok(no_content())
}

fn entry_json(entry: &AccessEntry, peer: Option<IpAddr>) -> Json {
    let includes = |peer: IpAddr| network(&entry.address).is_some_and(|network| network.contains(&peer));
    json!({
        "_id": entry.id.to_hex(),
        "address": entry.address,
        "comment": entry.comment,
        "includes_current": peer.map_or(entry.includes_current, includes),
    })
}

/// The address of whoever asks, where it is known.
fn current(peer: Option<Extension<Peer>>) -> Option<IpAddr> {
    peer.map(|Extension(peer)| peer.0.to_canonical())
}

async fn access_list(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    peer: Option<Extension<Peer>>,
) -> Result<Response, ApiError> {
    let peer = current(peer);
    let settings = AppSettings::recall(&control.catalog.settings(within.app.id).await?);
    let entries: Vec<Json> = settings.access_list.iter().map(|entry| entry_json(entry, peer)).collect();
    let mut list = json!({ "allowed_ips": entries });
    if let Some(address) = peer {
        list["current_ip"] = address.to_string().into();
    }
    Ok(ok(&list))
}

/// An address, or with `use_current` that of whoever asks.
async fn add(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    peer: Option<Extension<Peer>>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let fields = payload.object()?;
    let peer = current(peer);
    let use_current = fields.get("use_current").and_then(Json::as_bool).unwrap_or_default();
    let address = match peer.filter(|_| use_current) {
        Some(address) => address.to_string(),
        None => address_of(fields.get("address"))?.ok_or_else(|| ApiError::missing("address"))?,
    };
    let comment = fields.get("comment").and_then(Json::as_str).unwrap_or_default().to_owned();
    let entry = AccessEntry { id: ObjectId::new(), address, comment, includes_current: false };
    let json = entry_json(&entry, peer);
    control
        .edit_settings(within.app.id, |settings| {
            if settings.access_list.len() >= ACCESS_LIST_MAX {
                return Err(ApiError::invalid(format!("an access list has at most {ACCESS_LIST_MAX} entries")));
            }
            if settings.access_list.iter().any(|other| other.address == entry.address) {
                let message = format!("'{}' is on the access list already", entry.address);
                return Err(ApiError::conflict("AllowedIPAlreadyExists", message));
            }
            settings.access_list.push(entry);
            Ok(())
        })
        .await?;
    Ok(created(&json))
}

async fn change(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ObjectId>,
    peer: Option<Extension<Peer>>,
    payload: Payload,
) -> Result<Response, ApiError> {
    let peer = current(peer);
    let fields = payload.object()?;
    let address = address_of(fields.get("address"))?;
    let comment = fields.get("comment").and_then(Json::as_str).map(str::to_owned);
    let json = control
        .edit_settings(within.app.id, |settings| {
            let entry = settings.access_list.iter_mut().find(|entry| entry.id == id).ok_or_else(|| missing(id))?;
            entry.address = address.unwrap_or_else(|| entry.address.clone());
            entry.comment = comment.unwrap_or_else(|| entry.comment.clone());
            Ok(entry_json(entry, peer))
        })
        .await?;
    Ok(ok(&json))
}

async fn remove(
    State(control): State<Arc<ControlPlane>>,
    within: InApp,
    Item(id): Item<ObjectId>,
) -> Result<Response, ApiError> {
    control
        .edit_settings(within.app.id, |settings| {
            let before = settings.access_list.len();
            settings.access_list.retain(|entry| entry.id != id);
            if settings.access_list.len() == before { Err(missing(id)) } else { Ok(()) }
        })
        .await?;
    Ok(no_content())
}

impl ControlPlane {
    async fn edit_settings<T>(
        &self,
        app: AppId,
        edit: impl FnOnce(&mut AppSettings) -> Result<T, ApiError>,
    ) -> Result<T, ApiError> {
        let _alone = self.fleet.alone(app).await?;
        let mut settings = AppSettings::recall(&self.catalog.settings(app).await?);
        let result = edit(&mut settings)?;
        self.catalog.put_settings(app, &settings.keep()).await?;
        self.changed(app).await.map_err(PublishError::from)?;
        Ok(result)
    }
}

fn address_of(json: Option<&Json>) -> Result<Option<String>, ApiError> {
    match json {
        None | Some(Json::Null) => Ok(None),
        Some(Json::String(address)) if network(address).is_some() => Ok(Some(address.clone())),
        Some(Json::String(address)) => {
            Err(ApiError::invalid(format!("address: '{address}' is not an IP address or a network in CIDR form")))
        }
        Some(_) => Err(ApiError::invalid("address: must be a string")),
    }
}

fn missing(id: ObjectId) -> ApiError {
    ApiError::not_found("AllowedIPNotFound", format!("allowed IP not found: 'ObjectID(\"{id}\")'"))
}

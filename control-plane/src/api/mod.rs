//! The Admin API, one resource a file, in the order of App Services' public reference; and the client API (`client`).
//!
//! In: requests under `/api/admin/v3.0` and `/api/private/v1.0`. Out: JSON, errors included, for whatever address and
//! method. Every handler's signature says what was proven before it runs: an [`request::InApp`] is an app of a group of
//! the caller, whom the method is allowed to.
//!
//! Not here: what a change does (`change`, `publish`), and users' requests, which the gateway answers.

mod api_keys;
mod apps;
mod auth_providers;
mod backups;
mod client;
mod debug;
mod dependencies;
pub(crate) mod documents;
mod drafts;
mod endpoints;
mod error;
mod functions;
mod import;
mod indexes;
mod limits;
mod logs;
mod regions;
mod request;
mod secrets;
mod security;
mod services;
mod session;
#[cfg(test)]
pub(crate) mod tests;
mod users;
mod values;

use std::fmt;
use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::json;
use sha2::{Digest, Sha256};

use crate::ControlPlane;
use crate::limits::ADMIN_BODY_BYTES_MAX;
pub(crate) use auth_providers::id_of as provider_id;
use error::{ApiError, ok};

pub(crate) use backups::Backups;
pub use request::{Correlated, Peer};

/// Where the Admin API begins.
const ROOT: &str = "/api/admin/v3.0";

pub fn router(control: Arc<ControlPlane>) -> Router {
    let admin = Router::new()
        .merge(session::routes())
        .merge(apps::routes())
        .merge(drafts::routes())
        .merge(import::routes())
        .merge(endpoints::routes())
        .merge(functions::routes())
        .merge(debug::routes())
        .merge(values::routes())
        .merge(secrets::routes())
        .merge(api_keys::routes())
        .merge(auth_providers::routes())
        .merge(users::routes())
        .merge(services::routes())
        .merge(indexes::routes())
        .merge(security::routes())
        .merge(limits::routes())
        .merge(dependencies::routes())
        .merge(documents::routes())
        .merge(backups::routes())
        .merge(logs::routes())
        .layer(middleware::from_fn_with_state(control.clone(), while_store_is_away));
    Router::new()
        .nest(ROOT, admin)
        .merge(client::routes())
        .merge(crate::page::routes())
        .route("/api/private/v1.0/version", get(version))
        .layer(DefaultBodyLimit::max(ADMIN_BODY_BYTES_MAX))
        .method_not_allowed_fallback(|| async { ApiError::wrong_method() })
        .fallback(|| async { ApiError::no_such_route() })
        .layer(middleware::from_fn(client::browsers))
        .with_state(control)
}

/// What the Admin API shows and changes is in the store. A node that started without it knows nothing of that, not even
/// which sessions were ended.
async fn while_store_is_away(State(control): State<Arc<ControlPlane>>, request: Request, next: Next) -> Response {
    let health = control.fleet_health();
    if health.from_kept {
        return ApiError::store_away(&health.store_down.unwrap_or_default()).into_response();
    }
    next.run(request).await
}

async fn version() -> Response {
    ok(&json!({ "version": env!("CARGO_PKG_VERSION") }))
}

/// An id, 24 hexadecimal digits, for what is known by name only: the same for the same name, another for another owner.
fn derived_id(owner: impl fmt::Display, what: &str, name: &str) -> String {
    hex::encode(&Sha256::digest(format!("{owner}\0{what}\0{name}"))[..12])
}

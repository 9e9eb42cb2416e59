//! What handlers ask of a request, each proven once: who sends it, that the group and the app are theirs, the item's id,
//! the body within its bound.
//!
//! In: a request. Out: an extractor's value, or the error that ends it. A foreign group or app and one that does not
//! exist look alike.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use axum::extract::rejection::BytesRejection;
use axum::extract::{FromRequest, FromRequestParts, Query, RawPathParams, Request};
use bytes::Bytes;
use http::header::AUTHORIZATION;
use http::request::Parts;
use http::{HeaderMap, Method};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value as Json};

use storage::model::{App, AppId, CorrelationId, GroupId};
use storage::rates::{Scope, Tally};

use super::error::ApiError;
use crate::ControlPlane;
use crate::admins::{Admin, Role};
use crate::limits::{ADMIN_BODY_BYTES_MAX, IMPORT_BODY_BYTES_MAX};
use crate::publish::Sender;
use crate::sessions::{BadToken, SessionOf, TokenKind};

type State = Arc<ControlPlane>;

/// Somebody with a valid access token.
pub struct Caller(pub Admin);

/// A caller and a group of theirs, which they may also change if the request would.
pub struct InGroup {
    pub admin: Admin,
    pub group: GroupId,
}

/// A caller and an app in a group of theirs.
pub struct InApp {
    pub app: App,
    pub sender: Sender,
}

/// The `{id}` at the end of the path.
pub struct Item<T>(pub T);

/// The query parameters; of a repeated one, the last.
pub struct Params(pub HashMap<String, String>);

/// The body of an ordinary request.
pub struct Payload(pub Bytes);

/// Where a request came from, put among its extensions by whoever has the socket.
#[derive(Debug, Clone, Copy)]
pub struct Peer(pub IpAddr);

/// The id that answers and log entries of a request carry, put there by the same; without it one is made up.
#[derive(Debug, Clone, Copy)]
pub struct Correlated(pub CorrelationId);

/// A login that does not come too soon after others from its address. Wrong passwords are counted by account
/// (`users::failures`); this bounds what trying many accounts costs us.
pub struct Logging;

/// A refresh token's session.
pub struct Refreshing(pub SessionOf);

impl FromRequestParts<State> for Caller {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        let session = control.sessions.read(bearer(&parts.headers)?, TokenKind::Access)?;
        let admin = control.admins.by_user_id(&session.user_id).ok_or(BadToken::Ended)?;
        if let Some(rate) = control.rates.settings.admin_key {
            let (now, mut tally) = (control.rates.ns(Instant::now()), Tally::default());
            let taken = control.rates.take_of(Scope::AdminKey, None, admin.user_id.as_bytes(), rate, now, &mut tally);
            taken.map_err(|limited| ApiError::limited(limited, tally))?;
        }
        Ok(Self(admin))
    }
}

impl FromRequestParts<State> for Logging {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        if let Some(rate) = control.rates.settings.login
            && let Some(Peer(address)) = parts.extensions.get::<Peer>()
        {
            let (now, mut tally) = (control.rates.ns(Instant::now()), Tally::default());
            let taken = control.rates.take_of_address(Scope::Login, None, *address, rate, now, &mut tally);
            taken.map_err(|limited| ApiError::limited(limited, tally))?;
        }
        Ok(Self)
    }
}

impl FromRequestParts<State> for Refreshing {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        let session = control.sessions.read(bearer(&parts.headers)?, TokenKind::Refresh)?;
        control.admins.by_user_id(&session.user_id).ok_or(BadToken::Ended)?;
        Ok(Self(session))
    }
}

impl FromRequestParts<State> for InGroup {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        let Caller(admin) = Caller::from_request_parts(parts, control).await?;
        let text = path(parts, control, "group").await?;
        let missing = || ApiError::not_found("GroupNotFound", format!("group not found: '{text}'"));
        let group: GroupId = text.parse().map_err(|_| missing())?;
        let role = admin.role_in(group).ok_or_else(missing)?;
        if role == Role::ReadOnly && parts.method != Method::GET {
            return Err(ApiError::forbidden("this key pair may read this group and change nothing in it"));
        }
        Ok(Self { admin, group })
    }
}

impl FromRequestParts<State> for InApp {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        let InGroup { admin, group } = InGroup::from_request_parts(parts, control).await?;
        let text = path(parts, control, "app").await?;
        let missing = || ApiError::not_found("AppNotFound", format!("app not found: '{text}'"));
        let id: AppId = text.parse().map_err(|_| missing())?;
        let app = control.catalog.app(id).await?.filter(|app| app.group == group).ok_or_else(missing)?;
        let origin = parts.headers.get("x-baas-request-origin").and_then(|value| value.to_str().ok());
        let sender = Sender { user_id: admin.user_id.clone(), origin: origin.unwrap_or_default().to_owned() };
        Ok(Self { app, sender })
    }
}

impl<T: FromStr + Send> FromRequestParts<State> for Item<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        let text = path(parts, control, "id").await?;
        text.parse().map(Self).map_err(|_| ApiError::not_found("NotFound", format!("not found: '{text}'")))
    }
}

impl FromRequestParts<State> for Params {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &State) -> Result<Self, ApiError> {
        Query::try_from_uri(&parts.uri)
            .map(|Query(parameters)| Self(parameters))
            .map_err(|_| ApiError::invalid("the query string cannot be read"))
    }
}

impl FromRequest<State> for Payload {
    type Rejection = ApiError;

    async fn from_request(request: Request, control: &State) -> Result<Self, ApiError> {
        let large = request.uri().path().ends_with("/import") || request.uri().path().ends_with("/push");
        let bytes_max = if large { IMPORT_BODY_BYTES_MAX } else { ADMIN_BODY_BYTES_MAX };
        Bytes::from_request(request, control).await.map(Self).map_err(|rejection| match rejection {
            BytesRejection::FailedToBufferBody(error) if error.status() == ApiError::too_large_status() => {
                ApiError::too_large(bytes_max)
            }
            _ => ApiError::invalid("the request body could not be read"),
        })
    }
}

impl Payload {
    pub fn parse<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        serde_json::from_slice(&self.0).map_err(|error| ApiError::invalid(format!("request body: {error}")))
    }

    pub fn object(&self) -> Result<Map<String, Json>, ApiError> {
        match self.parse()? {
            Json::Object(fields) => Ok(fields),
            _ => Err(ApiError::invalid("request body: must be a JSON object")),
        }
    }

    /// An object, where no body and `null` count as an empty one.
    pub fn optional_object(&self) -> Result<Map<String, Json>, ApiError> {
        if self.0.trim_ascii().is_empty() || self.0.trim_ascii() == b"null" { Ok(Map::new()) } else { self.object() }
    }
}

impl Params {
    /// A parameter that has something in it.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    pub fn is_true(&self, name: &str) -> bool {
        self.get(name) == Some("true")
    }
}

fn bearer(headers: &HeaderMap) -> Result<&str, BadToken> {
    let value = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok()).ok_or(BadToken::Foreign)?;
    let (scheme, token) = value.split_once(' ').ok_or(BadToken::Foreign)?;
    if scheme.eq_ignore_ascii_case("bearer") { Ok(token.trim()) } else { Err(BadToken::Foreign) }
}

pub async fn path(parts: &mut Parts, control: &State, name: &str) -> Result<String, ApiError> {
    let parameters = RawPathParams::from_request_parts(parts, control).await.map_err(|_| ApiError::no_such_route())?;
    let found = parameters.iter().find(|(key, _)| *key == name).map(|(_, value)| value.to_owned());
    found.ok_or_else(ApiError::no_such_route)
}

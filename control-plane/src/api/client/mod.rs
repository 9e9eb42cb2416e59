//! The client API: users logging in, their sessions, and calls of functions by their client libraries.
//!
//! In: requests under `/api/client/v2.0`. Out: JSON, errors included, with a link to the app's log. An extractor says what
//! was proven before a handler runs: [`ClientApp`] is an app that is served and open to the caller's address and origin,
//! [`AccessOf`] and [`RefreshOf`] are a session of a user of such an app.
//!
//! Not here: logins that need a browser or a function, confirmation and reset by mail, linking of identities, calls of
//! services and watching. Each is refused by name.

mod account;
mod functions;
mod login;

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{FromRequestParts, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};

use storage::model::{ActiveApp, CorrelationId};
use storage::rates::{Scope, Tally};

use super::error::{ApiError, no_content};
use super::request::{Peer, path};
use crate::ControlPlane;
use crate::users::{KnownUser, NotKnown, TokenKind, TokenOf, Why};

type State = Arc<ControlPlane>;

/// Where the client API begins.
const ROOT: &str = "/api/client/v2.0";

pub fn routes() -> Router<State> {
    let routes = Router::new().merge(login::routes()).merge(account::routes()).merge(functions::routes());
    Router::new().nest(ROOT, routes)
}

/// An app that is served and that the caller may speak to.
pub struct ClientApp(pub Arc<ActiveApp>);

/// A user with an access token of theirs.
pub struct AccessOf {
    pub app: Arc<ActiveApp>,
    pub user: KnownUser,
    pub session: TokenOf,
    /// What the caller's address has left.
    pub tally: Tally,
}

/// A user with a refresh token of theirs.
pub struct RefreshOf {
    pub app: Arc<ActiveApp>,
    pub user: KnownUser,
    pub session: TokenOf,
}

impl FromRequestParts<State> for ClientApp {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        let id = path(parts, control, "app").await?;
        let app = control.snapshots.load().find(&id).cloned();
        let app = app.ok_or_else(|| ApiError::no_such_client_app(&id))?;
        open_to(&app, parts, control)?;
        Ok(Self(app))
    }
}

impl FromRequestParts<State> for AccessOf {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        let (app, user, session, tally) = session_of(parts, control, TokenKind::Access).await?;
        Ok(Self { app, user, session, tally })
    }
}

impl FromRequestParts<State> for RefreshOf {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, control: &State) -> Result<Self, ApiError> {
        let (app, user, session, _) = session_of(parts, control, TokenKind::Refresh).await?;
        Ok(Self { app, user, session })
    }
}

async fn session_of(
    parts: &mut Parts,
    control: &State,
    kind: TokenKind,
) -> Result<(Arc<ActiveApp>, KnownUser, TokenOf, Tally), ApiError> {
    let token = bearer(&parts.headers).ok_or_else(ApiError::no_token)?.to_owned();
    let token = token.as_str();
    // A path below an app must be met with a token of that app; elsewhere the token says which app it is of.
    let named = path(parts, control, "app").await.ok();
    let id =
        named.or_else(|| control.users.app_of_token(token)).ok_or_else(|| ApiError::bad_session("malformed token"))?;
    let app = control.snapshots.load().find(&id).cloned().ok_or_else(|| ApiError::no_such_client_app(&id))?;
    let tally = open_to(&app, parts, control)?;
    let (user, session) = control.users.by_session(&app, token, kind).await.map_err(|error| match error.why {
        Why::Broken => linked(&app, control, refused(error)),
        _ => ApiError::bad_session(error.detail.trim_start_matches("bearer: ")),
    })?;
    if user.user().disabled {
        return Err(ApiError::bad_session("user disabled"));
    }
    Ok((app, user, session, tally))
}

/// Whether an app's access list and origins let this request in, and whether its address may ask again.
fn open_to(app: &ActiveApp, parts: &Parts, control: &ControlPlane) -> Result<Tally, ApiError> {
    let mut tally = Tally::default();
    if let Some(Peer(address)) = parts.extensions.get::<Peer>() {
        if !app.admits(*address) {
            return Err(ApiError::address_not_allowed(*address));
        }
        if let Some(rate) = app.limits.rates.address {
            let now = control.rates.ns(Instant::now());
            let taken = control.rates.take_of_address(Scope::Address, Some(app.id), *address, rate, now, &mut tally);
            taken.map_err(|limited| linked(app, control, ApiError::limited(limited, tally.clone())))?;
        }
    }
    let origin = parts.headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok());
    match origin {
        Some(origin) if !app.allowed_request_origins.is_empty() => {
            let listed = app.allowed_request_origins.iter().any(|allowed| allowed == origin);
            if listed { Ok(tally) } else { Err(ApiError::origin_not_allowed(origin)) }
        }
        _ => Ok(tally),
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

fn peer(parts: &Parts) -> Option<IpAddr> {
    parts.extensions.get::<Peer>().map(|peer| peer.0)
}

/// What a client is told of credentials that stand for nobody. The reason is for the operator.
fn refused(error: NotKnown) -> ApiError {
    tracing::debug!(reason = error.detail, "a login was refused");
    match error.why {
        Why::NoSuchUser | Why::Pending | Why::OnCreation { .. } => ApiError::unauthorized("AuthError"),
        Why::Disabled => ApiError::user_disabled(),
        Why::BadSession => ApiError::bad_session(&error.detail),
        Why::Busy => ApiError::too_many_logins(),
        Why::Broken => ApiError::internal(error.detail),
    }
}

/// The error with the place in the log where more could stand.
fn linked(app: &ActiveApp, control: &ControlPlane, error: ApiError) -> ApiError {
    error.with_link(link(app, control, CorrelationId::new()))
}

fn link(app: &ActiveApp, control: &ControlPlane, correlation: CorrelationId) -> String {
    format!("{}/groups/{}/apps/{}/logs?co_id={correlation}", control.place.base_url, app.group, app.id)
}

/// What browsers need to see of the client API: which page may read the answer, and before that whether it may ask at all.
/// Stands before the routes, since a page asks with a method that none of them takes.
pub async fn browsers(request: Request, next: Next) -> Response {
    if !request.uri().path().starts_with(ROOT) {
        return next.run(request).await;
    }
    let origin = request.headers().get(header::ORIGIN).cloned();
    let asks_first =
        request.method() == Method::OPTIONS && request.headers().contains_key(header::ACCESS_CONTROL_REQUEST_METHOD);
    let mut response = if asks_first { no_content() } else { next.run(request).await };
    let Some(origin) = origin else { return response };
    let refused = response.status() == StatusCode::FORBIDDEN;
    let headers = response.headers_mut();
    if !refused {
        headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    headers.append(header::VARY, HeaderValue::from_static("Origin"));
    if headers.contains_key("ratelimit") {
        let told = HeaderValue::from_static("RateLimit-Policy, RateLimit, Retry-After");
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, told);
    }
    if asks_first {
        let methods = HeaderValue::from_static("GET, POST, PUT, PATCH, DELETE");
        headers.insert(header::ACCESS_CONTROL_ALLOW_METHODS, methods);
        let names = HeaderValue::from_static("Authorization, Content-Type, Accept, X-Baas-Location, X-Stitch-Location");
        headers.insert(header::ACCESS_CONTROL_ALLOW_HEADERS, names);
        headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("600"));
    }
    response.into_response()
}

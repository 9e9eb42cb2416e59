//! Every status code of the Admin API, and what an error looks like: `{"error": text, "error_code": code}` with
//! `application/json` exactly, since clients compare the type to the letter.
//!
//! In: what was wrong, named by whoever found it. Out: a response. What is our own fault is told to the operator's log
//! and not to the client.

use std::net::IpAddr;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value as Json, json};

use isolate_pool::{Failure, FailureKind};
use storage::model::NotAnId;
use storage::rates::{Limited, Tally};
use storage::{Fault, StoreError};

use crate::change::ChangeError;
use crate::documents::QUOTA_EXCEEDED;
use crate::limits::RETRY_AFTER_S;
use crate::payload::Problems;
use crate::publish::PublishError;
use crate::runner::error_code;
use crate::sessions::BadToken;
use crate::users::NotMade;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Secrets that have to be created before the request can succeed.
    missing_secrets: Vec<String>,
    /// Where in an app's log more stands; users' programs are told.
    link: Option<String>,
    /// When to come again.
    limits: Option<Box<Limits>>,
}

/// What a caller who came too often is told beside the body.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Limits {
    retry_after_s: u64,
    tally: Tally,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), missing_secrets: Vec::new(), link: None, limits: None }
    }

    pub fn with_link(self, link: String) -> Self {
        Self { link: Some(link), ..self }
    }

    pub fn has_link(&self) -> bool {
        self.link.is_some()
    }

    /// The status, for the log.
    pub fn status(&self) -> u16 {
        self.status.as_u16()
    }

    /// The code and the text, for the log.
    pub fn said(&self) -> (&'static str, &str) {
        (self.code, &self.message)
    }

    // What users' programs are told, in the words that client libraries know.

    /// Before an app is known there is no code either.
    pub fn no_such_client_app(id: &str) -> Self {
        Self::not_found("", format!("cannot find app using Client App ID '{id}'"))
    }

    pub fn no_token() -> Self {
        let message = "expected Authorization header with JWT (Bearer schema)";
        Self::new(StatusCode::UNAUTHORIZED, "MissingAuthReq", message)
    }

    pub fn bad_session(why: &str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidSession", format!("invalid session: {why}"))
    }

    /// Credentials that stand for nobody; `code` tells wrong passwords from the rest.
    pub fn unauthorized(code: &'static str) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, code, "unauthorized")
    }

    pub fn user_disabled() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "UserDisabled", "user disabled")
    }

    pub fn too_many_logins() -> Self {
        let message = "too many authentication attempts; try again later";
        Self::new(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", message)
    }

    /// An app takes all the disk it may.
    pub fn storage_full(message: String) -> Self {
        Self::new(StatusCode::INSUFFICIENT_STORAGE, QUOTA_EXCEEDED, message)
    }

    /// Somebody came more often than a rate allows.
    pub fn limited(limited: Limited, tally: Tally) -> Self {
        let limits = Some(Box::new(Limits { retry_after_s: limited.wait_s, tally }));
        Self { limits, ..Self::new(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", limited.to_string()) }
    }

    pub fn no_provider(name: &str) -> Self {
        let message = format!("auth provider not found: authentication via '{name}' is unsupported");
        Self::new(StatusCode::NOT_FOUND, "AuthProviderNotFound", message)
    }

    /// The app's own function did not let a user be made.
    pub fn not_made(why: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", format!("failed to create user: {why}"))
    }

    pub fn address_not_allowed(address: IpAddr) -> Self {
        let message = format!("IP address '{address}' is not on the access list");
        Self::new(StatusCode::FORBIDDEN, "IPNotAllowed", message)
    }

    pub fn origin_not_allowed(origin: &str) -> Self {
        let origin: String = origin.chars().take(256).collect();
        let message = format!("request origin '{origin}' is not allowed");
        Self::new(StatusCode::FORBIDDEN, "OriginNotAllowed", message)
    }

    pub fn rule_not_matched(function: &str) -> Self {
        let message = format!("rule not matched for function \"{function}\"");
        Self::new(StatusCode::FORBIDDEN, "FunctionExecutionError", message)
    }

    /// This node started without the store.
    pub fn store_away(why: &str) -> Self {
        let message = format!(
            "the store that holds this server's records cannot be read ({why}); apps are served as this node last knew \
             them, and nothing can be looked at or changed until the store is back"
        );
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// The request says something that cannot be.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InvalidParameter", message)
    }

    pub fn missing(what: &str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "MissingParameter", format!("{what}: missing"))
    }

    /// Something that others still refer to.
    pub fn in_use(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "InUse", message)
    }

    /// A login that proved nothing. The text is the one every command line shows.
    pub fn not_authorized() -> Self {
        let message = "failed to authenticate with MongoDB Cloud API: You are not authorized for this resource.";
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    /// A way of logging in that this Portico does not offer, or that did not fit.
    pub fn bad_login(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", message)
    }

    pub fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message)
    }

    /// Not there, or not the caller's: the two look alike.
    pub fn not_found(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, message)
    }

    pub fn no_such_route() -> Self {
        Self::not_found("NotFound", "there is nothing at this address")
    }

    pub fn wrong_method() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", "this address does not take this method")
    }

    pub fn conflict(code: &'static str, message: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, code, message)
    }

    /// A token of users that nobody here signed.
    pub fn bad_signature() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidSession", "signature is invalid")
    }

    pub fn already_confirmed() -> Self {
        Self::new(StatusCode::BAD_REQUEST, "UserAlreadyConfirmed", "already confirmed")
    }

    pub fn message(&self) -> &str {
        &self.message
    }

    pub fn too_large(bytes_max: usize) -> Self {
        let message = format!("request too large: this address takes at most {bytes_max} bytes");
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestTooLarge", message)
    }

    /// The status by which a body that exceeded its bound is told from one that broke off.
    pub fn too_large_status() -> StatusCode {
        StatusCode::PAYLOAD_TOO_LARGE
    }

    /// Something App Services did and Portico does not.
    pub fn not_supported(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_IMPLEMENTED, "NotSupported", message)
    }

    /// Our fault. `what` is for the operator.
    pub fn internal(what: impl std::fmt::Display) -> Self {
        tracing::error!(%what, "an Admin API request failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalServerError", "internal server error")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({ "error": self.message });
        if !self.code.is_empty() {
            body["error_code"] = self.code.into();
        }
        if !self.missing_secrets.is_empty() {
            body["missing_secrets"] = self.missing_secrets.into();
        }
        if let Some(link) = self.link {
            body["link"] = link.into();
        }
        let mut response = answer(self.status, &body);
        if let Some(limits) = self.limits {
            response.headers_mut().insert(header::RETRY_AFTER, limits.retry_after_s.into());
            tell_limits(&limits.tally, &mut response);
        }
        response
    }
}

/// Says on an answer what its caller has left.
pub fn tell_limits(tally: &Tally, response: &mut Response) {
    if tally.is_empty() {
        return;
    }
    for (name, value) in [("ratelimit-policy", tally.policy()), ("ratelimit", tally.limits())] {
        if let Ok(value) = HeaderValue::from_str(&value) {
            response.headers_mut().insert(name, value);
        }
    }
}

impl From<BadToken> for ApiError {
    fn from(bad: BadToken) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "InvalidSession", bad.message())
    }
}

impl From<StoreError> for ApiError {
    fn from(error: StoreError) -> Self {
        match error.fault {
            Fault::Caller => Self::invalid(error.message),
            Fault::Store => Self::internal(error),
            Fault::Database => Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", error.message),
        }
    }
}

/// A function that failed for a user's program.
impl From<Failure> for ApiError {
    fn from(failure: Failure) -> Self {
        let status = match failure.kind {
            FailureKind::Threw if failure.code == "NoMatchingRuleFound" => StatusCode::FORBIDDEN,
            FailureKind::NotFound => StatusCode::NOT_FOUND,
            FailureKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            FailureKind::Recycled | FailureKind::Crashed | FailureKind::Cancelled | FailureKind::Platform => {
                StatusCode::INTERNAL_SERVER_ERROR
            }
            FailureKind::Threw
            | FailureKind::RunTime
            | FailureKind::Memory
            | FailureKind::AsyncQueue
            | FailureKind::Invalid => StatusCode::BAD_REQUEST,
        };
        // Whoever finds no room may find some in a moment.
        let limits = (failure.kind == FailureKind::Unavailable)
            .then(|| Box::new(Limits { retry_after_s: RETRY_AFTER_S, tally: Tally::default() }));
        Self { limits, ..Self::new(status, error_code(&failure), failure.message) }
    }
}

impl From<NotMade> for ApiError {
    fn from(error: NotMade) -> Self {
        match error {
            NotMade::IdTaken => Self::conflict("UserAlreadyExists", "a user of this id exists already"),
            NotMade::IdentityTaken { .. } => Self::conflict("AccountNameInUse", "name already in use"),
            NotMade::Invalid(what) => Self::new(StatusCode::BAD_REQUEST, "BadRequest", what),
            NotMade::Busy => {
                let message = "too many passwords wait to be hashed; try again later";
                Self::new(StatusCode::TOO_MANY_REQUESTS, "RateLimitExceeded", message)
            }
            NotMade::Store(error) => error.into(),
        }
    }
}

impl From<Problems> for ApiError {
    fn from(problems: Problems) -> Self {
        let missing_secrets = problems.missing_secrets().map(str::to_owned).collect();
        Self { missing_secrets, ..Self::invalid(problems.to_string()) }
    }
}

impl From<NotAnId> for ApiError {
    fn from(error: NotAnId) -> Self {
        Self::invalid(error.to_string())
    }
}

impl From<PublishError> for ApiError {
    fn from(error: PublishError) -> Self {
        match error {
            PublishError::Invalid(problems) => problems.into(),
            PublishError::DoesNotCompile(text) => Self::new(StatusCode::BAD_REQUEST, "FunctionSyntaxError", text),
            PublishError::DoesNotInstall(text) => Self::new(StatusCode::BAD_REQUEST, "InvalidDependencies", text),
            PublishError::Platform(what) => Self::internal(what),
            PublishError::Store(error) => error.into(),
        }
    }
}

impl From<ChangeError<ApiError>> for ApiError {
    fn from(error: ChangeError<ApiError>) -> Self {
        match error {
            ChangeError::Edit(error) => error,
            ChangeError::Publish(error) => error.into(),
        }
    }
}

/// 200 with JSON.
pub fn ok(json: &Json) -> Response {
    answer(StatusCode::OK, json)
}

/// 201 with JSON.
pub fn created(json: &Json) -> Response {
    answer(StatusCode::CREATED, json)
}

/// 202 with JSON: it goes on by itself.
pub fn accepted(json: &Json) -> Response {
    answer(StatusCode::ACCEPTED, json)
}

/// 201 without a body, and so without a type.
pub fn empty_created() -> Response {
    StatusCode::CREATED.into_response()
}

/// 204.
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 200 with a zip archive to be saved under `filename`.
pub fn archive(filename: &str, bytes: Vec<u8>) -> Response {
    attachment(filename, "application/zip", bytes)
}

/// 200 with a file to be saved under `filename`.
pub fn attachment(filename: &str, content_type: &'static str, bytes: Vec<u8>) -> Response {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{filename}\""));
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(disposition) = disposition {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

/// 200 with lines of JSON, sent as they are made, to be saved under `filename`.
pub fn lines(filename: &str, body: Body) -> Response {
    let mut response = archive(filename, Vec::new());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
    *response.body_mut() = body;
    response
}

fn answer(status: StatusCode, json: &Json) -> Response {
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

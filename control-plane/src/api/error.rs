//! Every status code of the Admin API, and what an error looks like: `{"error": text, "error_code": code}` with
//! `application/json` exactly, since clients compare the type to the letter.
//!
//! In: what was wrong, named by whoever found it. Out: a response. What is our own fault is told to the operator's log
//! and not to the client.

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value as Json, json};

use storage::model::NotAnId;
use storage::{Fault, StoreError};

use crate::change::ChangeError;
use crate::payload::Problems;
use crate::publish::PublishError;
use crate::sessions::BadToken;

/// What a client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiError {
    status: StatusCode,
    code: &'static str,
    message: String,
    /// Secrets that have to be created before the request can succeed.
    missing_secrets: Vec<String>,
}

impl ApiError {
    fn new(status: StatusCode, code: &'static str, message: impl Into<String>) -> Self {
        Self { status, code, message: message.into(), missing_secrets: Vec::new() }
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
        let mut body = json!({ "error": self.message, "error_code": self.code });
        if !self.missing_secrets.is_empty() {
            body["missing_secrets"] = self.missing_secrets.into();
        }
        answer(self.status, &body)
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

/// 204.
pub fn no_content() -> Response {
    StatusCode::NO_CONTENT.into_response()
}

/// 200 with a zip archive to be saved under `filename`.
pub fn archive(filename: &str, bytes: Vec<u8>) -> Response {
    let disposition = HeaderValue::from_str(&format!("attachment; filename=\"{filename}\""));
    let mut response = Response::new(Body::from(bytes));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/zip"));
    if let Ok(disposition) = disposition {
        response.headers_mut().insert(header::CONTENT_DISPOSITION, disposition);
    }
    response
}

fn answer(status: StatusCode, json: &Json) -> Response {
    let mut response = Response::new(Body::from(json.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

//! One log entry: what the gateway hands over when a request is answered.
//!
//! Made on a gateway core, so it holds references and raw bytes; turning it into JSON, with credentials redacted, is the
//! log thread's work.

use std::sync::Arc;

use storage::model::{ActiveApp, ActiveEndpoint, ActiveFunction, CorrelationId};

/// What kind of request an entry is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogKind {
    Endpoint,
    Function,
}

/// One request's entry.
#[derive(Debug, Clone)]
pub struct LogEntry {
    pub kind: LogKind,
    pub correlation: CorrelationId,
    pub app: Arc<ActiveApp>,
    /// None when the request was refused before an endpoint was found.
    pub endpoint: Option<Arc<ActiveEndpoint>>,
    /// What was called, or would have been. None when the request was refused before that was known.
    pub function: Option<Arc<ActiveFunction>>,
    /// What it was called with, an array in Extended JSON. Not for endpoints, whose arguments are the request.
    pub arguments: Option<String>,
    /// Whether they were longer than [`crate::limits::LOGGED_BODY_BYTES_MAX`], and are left out for it.
    pub arguments_truncated: bool,
    /// Path only.
    pub request_url: String,
    pub request_method: String,
    pub remote_ip: String,
    /// Epoch milliseconds.
    pub started_ms: i64,
    /// Epoch milliseconds.
    pub completed_ms: i64,
    pub user_id: Option<String>,
    /// What the client was sent.
    pub status: u16,
    pub error: Option<LoggedError>,
    /// Bytes × milliseconds.
    pub mem_time_usage: u64,
    /// One per `console.*` call.
    pub messages: Vec<String>,
    pub request: Option<RequestRecord>,
}

#[derive(Debug, Clone)]
pub struct LoggedError {
    pub message: String,
    pub code: String,
    /// Where in the function's source, when it was a function that failed.
    pub stack: String,
    /// More than the client was told: which credential failed and why, or which limit was met.
    pub reason: String,
}

/// The request as it came, for `endpoint_args`.
#[derive(Debug, Clone)]
pub struct RequestRecord {
    pub query: Option<String>,
    /// `Name: value` lines ended by CRLF, already checked.
    pub headers: Vec<u8>,
    /// At most [`crate::limits::LOGGED_BODY_BYTES_MAX`].
    pub body: Vec<u8>,
    pub body_truncated: bool,
}

//! Running a function for somebody who is no endpoint: the Admin API's trial calls, and whoever else the control plane
//! serves.
//!
//! In: a [`FunctionCall`]. Out: [`Ran`], always; a call that could not be run is an outcome too. Who has the hosts (the
//! gateway) gives a [`Runner`]; until it has, and in a process without hosts, calls end as `Unavailable`.
//!
//! Not here: who may call what, and what a caller is told (`api`).

use std::sync::Arc;
use std::time::Instant;

use bson::Bson;
use bson::raw::RawDocumentBuf;
use futures_util::future::BoxFuture;
use serde_json::Value as Json;

use isolate_pool::{ConsoleLine, Failure, FailureKind, Identity, Outcome};
use storage::model::{ActiveApp, ActiveFunction, BundleId, CorrelationId};

use crate::ControlPlane;
use crate::limits::LOGGED_BODY_BYTES_MAX;
use crate::logs::{LogEntry, LogKind, LoggedError, now_ms};

/// One call of one function.
#[derive(Debug, Clone)]
pub struct FunctionCall {
    pub app: Arc<ActiveApp>,
    /// The app's own, or one that was made for this call.
    pub bundle: BundleId,
    pub function: String,
    pub identity: Identity,
    /// One BSON document `{"0": …, "1": …}`.
    pub arguments: Vec<u8>,
}

/// A call that is over, with what its function said.
#[derive(Debug, Clone)]
pub struct Ran {
    pub outcome: Outcome,
    pub console: Vec<ConsoleLine>,
}

/// Someone who has isolate hosts.
pub trait Runner: Send + Sync + 'static {
    fn run(&self, call: FunctionCall) -> BoxFuture<'static, Ran>;
}

/// Whose request a call answers, for its log entry.
#[derive(Debug, Clone)]
pub(crate) struct Origin {
    pub correlation: CorrelationId,
    /// Path only.
    pub url: String,
    pub method: String,
    pub remote_ip: String,
    pub user_id: Option<String>,
    /// What whoever asked is sent when the function fails.
    pub failed_status: fn(&Failure) -> u16,
}

impl Ran {
    fn unavailable(message: &str) -> Self {
        let failure = Failure::new(FailureKind::Unavailable, message);
        Self { outcome: Outcome { result: Err(failure), cpu_us: 0, heap_bytes: 0 }, console: Vec::new() }
    }
}

impl ControlPlane {
    /// Gives the control plane the hosts to run functions on. The first one given stays.
    pub fn run_with(&self, runner: Arc<dyn Runner>) {
        // A second set of hosts in one process would be a mistake of whoever starts it, and harms nobody.
        let _ = self.runner.set(runner);
    }

    /// Runs a function without a word in the app's log.
    pub async fn run(&self, call: FunctionCall) -> Ran {
        match self.runner.get() {
            Some(runner) => runner.run(call).await,
            None => Ran::unavailable("this process runs no functions"),
        }
    }

    /// Runs a function and writes its `FUNCTION` entry.
    pub(crate) async fn run_logged(
        &self,
        call: FunctionCall,
        function: Arc<ActiveFunction>,
        arguments: String,
        origin: Origin,
    ) -> Ran {
        let app = call.app.clone();
        let (started, started_ms) = (Instant::now(), now_ms());
        let ran = self.run(call).await;
        let elapsed_ms = started.elapsed().as_millis() as i64;
        let failure = ran.outcome.result.as_ref().err();
        let entry = LogEntry {
            arguments_truncated: arguments.len() > LOGGED_BODY_BYTES_MAX,
            arguments: (!function.disable_arg_logs && arguments.len() <= LOGGED_BODY_BYTES_MAX).then_some(arguments),
            completed_ms: started_ms + elapsed_ms,
            status: failure.map_or(200, origin.failed_status),
            error: failure.map(|failure| LoggedError {
                message: failure.message.clone(),
                code: error_code(failure).to_owned(),
                stack: failure.stack.clone(),
                reason: String::new(),
            }),
            mem_time_usage: ran.outcome.heap_bytes.saturating_mul(elapsed_ms.max(1) as u64),
            messages: ran.console.iter().map(|line| line.text.clone()).collect(),
            ..blank(app, Some(function), origin, started_ms)
        };
        self.logs.append(vec![entry]);
        ran
    }

    /// Writes the `FUNCTION` entry of a call that was refused before anything ran.
    pub(crate) fn log_refused(
        &self,
        app: Arc<ActiveApp>,
        function: Option<Arc<ActiveFunction>>,
        origin: Origin,
        status: u16,
        error: LoggedError,
    ) {
        let entry = LogEntry { status, error: Some(error), ..blank(app, function, origin, now_ms()) };
        self.logs.append(vec![entry]);
    }
}

/// The entry of a call that has begun.
fn blank(app: Arc<ActiveApp>, function: Option<Arc<ActiveFunction>>, origin: Origin, started_ms: i64) -> LogEntry {
    LogEntry {
        kind: LogKind::Function,
        correlation: origin.correlation,
        app,
        endpoint: None,
        function,
        arguments: None,
        arguments_truncated: false,
        request_url: origin.url,
        request_method: origin.method,
        remote_ip: origin.remote_ip,
        started_ms,
        completed_ms: started_ms,
        user_id: origin.user_id,
        status: 200,
        error: None,
        mem_time_usage: 0,
        messages: Vec::new(),
        request: None,
    }
}

/// The `error_code` App Services gives a failure.
pub(crate) fn error_code(failure: &Failure) -> &'static str {
    match failure.kind {
        FailureKind::Threw if matches!(failure.code.as_str(), "NoMatchingRuleFound" | "NotPermitted") => {
            "NoMatchingRuleFound"
        }
        FailureKind::Threw | FailureKind::Memory | FailureKind::AsyncQueue | FailureKind::Invalid => {
            "FunctionExecutionError"
        }
        FailureKind::RunTime => "ExecutionTimeLimitExceeded",
        FailureKind::NotFound => "FunctionNotFound",
        FailureKind::Unavailable => "ServiceUnavailable",
        FailureKind::Recycled | FailureKind::Crashed | FailureKind::Cancelled | FailureKind::Platform => {
            "InternalServerError"
        }
    }
}

/// Arguments in Extended JSON, canonical or relaxed, as the BSON document a host takes. `Err` names the argument.
pub fn arguments_from(arguments: &[Json]) -> Result<Vec<u8>, String> {
    let mut document = RawDocumentBuf::new();
    for (at, argument) in arguments.iter().enumerate() {
        let wrong = |error: &dyn std::fmt::Display| format!("arguments[{at}]: {error}");
        let value = Bson::try_from(argument.clone()).map_err(|error| wrong(&error))?;
        let value = bson::raw::RawBson::try_from(value).map_err(|error| wrong(&error))?;
        let key = bson::raw::CString::try_from(at.to_string()).map_err(|error| wrong(&error))?;
        document.append(key, value);
    }
    Ok(document.into_bytes())
}

#[cfg(test)]
mod tests {
    use bson::raw::RawDocument;
    use serde_json::json;

    use super::*;

    #[test]
    fn arguments_keep_their_types_and_plain_numbers_are_small_where_they_fit() {
        let given = [
            json!({ "$numberLong": "5" }),
            json!(5),
            json!(1.5),
            json!({ "a": { "$oid": "65a1b2c3d4e5f60718293a4b" } }),
        ];
        let bytes = arguments_from(&given).unwrap();
        let read = RawDocument::from_bytes(&bytes).unwrap();
        assert_eq!(read.get_i64("0").ok(), Some(5));
        assert_eq!(read.get_i32("1").ok(), Some(5));
        assert_eq!(read.get_f64("2").ok(), Some(1.5));
        assert!(read.get_document("3").unwrap().get_object_id("a").is_ok());
    }

    #[test]
    fn an_argument_that_is_no_extended_json_is_named() {
        let error = arguments_from(&[json!(1), json!({ "$oid": "short" })]).unwrap_err();
        assert!(error.starts_with("arguments[1]: "), "{error}");
    }
}

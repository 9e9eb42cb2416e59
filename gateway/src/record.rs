//! What is written down of a request once it is answered: its log entry, and the process's figures.
//!
//! In: how it ended and what was answered. Out: an entry for the app's log (none before an app is known), counters and
//! latencies, a line of the access log, a trace. Credentials are taken out when the entry is written, on the log's own thread.

use std::sync::Arc;
use std::time::SystemTime;

use control_plane::limits::LOGGED_BODY_BYTES_MAX;
use control_plane::logs::{LogEntry, LogKind, LoggedError, RequestRecord};
use isolate_pool::{Failure, FailureKind};
use storage::model::{ActiveApp, AppLimits};

use crate::core::Core;
use crate::families::Family;
use crate::journey::Walked;
use crate::observe::Stages;
use crate::observe::access::Entry;
use crate::observe::traces::Finished;
use crate::refusal::Refused;
use crate::request::Request;
use crate::respond::Answer;

pub fn endpoint(core: &Core, request: &Request<'_>, walked: Result<Walked, Refused>, answer: &Answer, stages: Stages) {
    let elapsed = request.started.elapsed();
    core.parts.metrics.request(Family::Endpoint, answer.status, elapsed);
    let app = match &walked {
        Ok(Walked::Called(done)) => Some(&done.app),
        Ok(Walked::Asked(_)) => None,
        Err(refused) => {
            core.parts.metrics.refused(&refused.refusal);
            refused.app.as_ref()
        }
    };
    access(core, Family::Endpoint, request, answer.status, Some(answer.body.len()), app);
    if let Some(timed) = stages.timed() {
        core.parts.metrics.stages(&timed.took);
        if let Some(trace) = timed.trace {
            core.trace(Finished {
                trace,
                started_ms: request.started_ms,
                took_ns: elapsed.as_nanos() as u64,
                stages: timed.took,
                method: request.method.to_owned(),
                path: request.path.to_owned(),
                status: answer.status,
                peer: request.peer,
                protocol: request.protocol,
                correlation: request.correlation.to_hex(),
                app: app.map(|app| app.client_app_id.as_str().to_owned()),
            });
        }
    }
    let (app, endpoint, user_id, mem_time_usage, messages, stack, reason) = match walked {
        // Nothing was called.
        Ok(Walked::Asked(_)) => return,
        Ok(Walked::Called(done)) => {
            let outcome = done.ended.outcome;
            let lines = done.ended.console.into_iter().map(|line| line.text).collect();
            let usage = outcome.heap_bytes.saturating_mul((elapsed.as_millis() as u64).max(1));
            let failure = outcome.result.err();
            let reason = failure.as_ref().map(|failure| limit_met(failure, &done.app.limits)).unwrap_or_default();
            let stack = failure.map(|failure| failure.stack).unwrap_or_default();
            (done.app, Some(done.endpoint), done.user_id, usage, lines, stack, reason)
        }
        Err(refused) => {
            let Some(app) = refused.app.filter(|_| !refused.quiet) else { return };
            let said = refused.said.map(|said| said.0).unwrap_or_default();
            let lines = said.into_iter().map(|line| line.text).collect();
            (app, refused.endpoint, refused.user_id, 0, lines, String::new(), refused.detail.into_string())
        }
    };
    let hide = endpoint.as_ref().is_some_and(|endpoint| endpoint.function.disable_arg_logs);
    core.log(LogEntry {
        kind: LogKind::Endpoint,
        correlation: request.correlation,
        app,
        function: endpoint.as_ref().map(|endpoint| endpoint.function.clone()),
        arguments: None,
        arguments_truncated: false,
        endpoint,
        request_url: request.path.to_owned(),
        request_method: request.method.to_owned(),
        remote_ip: request.peer.to_string(),
        started_ms: request.started_ms,
        completed_ms: request.started_ms + elapsed.as_millis() as i64,
        user_id,
        status: answer.status,
        error: answer.error.as_ref().map(|(message, code)| LoggedError {
            message: message.clone(),
            code: (*code).to_owned(),
            stack,
            reason,
        }),
        mem_time_usage,
        messages,
        request: (!hide).then(|| RequestRecord {
            query: request.query.map(str::to_owned),
            headers: request.header_lines.to_vec(),
            body: request.body[..request.body.len().min(LOGGED_BODY_BYTES_MAX)].to_vec(),
            body_truncated: request.body.len() > LOGGED_BODY_BYTES_MAX,
        }),
    });
}

/// A line of the access log, if there is one. `response_bytes`: `None` where the body goes out in pieces.
pub fn access(
    core: &Core,
    family: Family,
    request: &Request<'_>,
    status: u16,
    response_bytes: Option<usize>,
    app: Option<&Arc<ActiveApp>>,
) {
    if core.parts.access.is_none() {
        return;
    }
    core.accessed(Entry {
        started_ms: request.started_ms,
        correlation: request.correlation,
        peer: request.peer,
        protocol: request.protocol,
        scheme: if request.secure { "https" } else { "http" },
        method: request.method.to_owned(),
        host: request.header_text("host").unwrap_or_default().to_owned(),
        path: request.path.to_owned(),
        family,
        app: app.map(|app| app.client_app_id.clone()),
        status,
        request_bytes: request.body.len(),
        response_bytes,
        took: request.started.elapsed(),
    });
}

/// Which limit a failure is about, since the client's words do not say.
fn limit_met(failure: &Failure, limits: &AppLimits) -> String {
    match failure.kind {
        FailureKind::RunTime => format!("the limit is run_time_ms = {}", limits.run_time_ms),
        FailureKind::Memory => format!("the limit is heap_mib = {}", limits.heap_mib),
        _ => String::new(),
    }
}

/// Epoch milliseconds now.
pub fn epoch_ms() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

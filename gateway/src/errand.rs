//! Functions that run on the way of a request, before its own: the script that decides as whom a function runs, what a
//! rule expression calls, what an app does when a user is made.
//!
//! In: a function's name, as whom it runs, its arguments. Out: what it gave, as Extended JSON, or why it gave nothing, for
//! the log. What it says goes where the request's own console goes.
//!
//! Not here: the request's own function (invoke).

use std::rc::Rc;
use std::sync::Arc;

use bson::raw::{CString, RawBson, RawDocumentBuf};
use control_plane::users::SYSTEM_USER;
use isolate_pool::{Call, ConsoleLine, Identity, Invocation, RequestParts};
use serde_json::Value as Json;
use storage::access::expression::value_of;
use storage::model::{ActiveApp, ActiveEndpoint, RunAs};

use crate::core::Core;
use crate::http1::target;
use crate::request::Request;

pub fn system() -> Identity {
    Identity { user_json: SYSTEM_USER.to_owned(), system: true }
}

/// What is to be run.
pub struct Errand<'a> {
    pub function: &'a str,
    pub identity: &'a Identity,
    pub request: Option<RequestParts<'a>>,
}

/// What a request's parts borrow from.
pub struct Parts {
    raw_query: Option<String>,
    remote_ip: String,
}

impl Parts {
    pub fn of(request: &Request<'_>) -> Self {
        let raw_query = request.query.map(|query| {
            // What was ASCII is still ASCII with whole pairs gone.
            String::from_utf8_lossy(&target::without(query.as_bytes(), "secret")).into_owned()
        });
        Self { raw_query, remote_ip: request.peer.to_string() }
    }

    pub fn request<'a>(&'a self, request: &'a Request<'_>, endpoint: &'a ActiveEndpoint) -> RequestParts<'a> {
        RequestParts {
            method: request.method,
            route: &endpoint.route,
            raw_query: self.raw_query.as_deref(),
            full_query: request.query,
            remote_ip: &self.remote_ip,
            headers: &request.headers,
        }
    }
}

pub async fn run(
    core: &Rc<Core>,
    app: &Arc<ActiveApp>,
    errand: Errand<'_>,
    arguments: &[Json],
    console: &mut Vec<ConsoleLine>,
) -> Result<Json, String> {
    let values = arguments.iter().map(|argument| value_of(argument).unwrap_or(RawBson::Undefined)).collect();
    run_with(core, app, errand, values, console).await
}

pub async fn run_with(
    core: &Rc<Core>,
    app: &Arc<ActiveApp>,
    errand: Errand<'_>,
    arguments: Vec<RawBson>,
    console: &mut Vec<ConsoleLine>,
) -> Result<Json, String> {
    let mut document = RawDocumentBuf::new();
    for (index, argument) in arguments.into_iter().enumerate() {
        document.append(CString::try_from(index.to_string()).expect("digits hold no zero byte"), argument);
    }
    // A function that is the system's runs as the system whoever sends for it.
    let own = app.functions.get(errand.function).is_some_and(|function| function.run_as == RunAs::System);
    let identity = match own && !errand.identity.system {
        true => &Identity { system: true, ..errand.identity.clone() },
        false => errand.identity,
    };
    let invocation = Invocation {
        app: app.id,
        bundle: app.bundle,
        function: errand.function,
        identity,
        call: Call::Function { arguments: document.as_bytes(), request: errand.request },
        run_time_ms: app.limits.run_time_ms,
        heap_mib: app.limits.heap_mib,
    };
    let session = core.parts.control.session(app.clone(), identity.system);
    let ended = core.hosts.call(&invocation, session).await;
    console.extend(ended.console);
    match ended.outcome.result {
        Ok(response) => {
            serde_json::from_slice(&response.body).map_err(|error| format!("its answer is no JSON: {error}"))
        }
        Err(failure) => Err(failure.message),
    }
}

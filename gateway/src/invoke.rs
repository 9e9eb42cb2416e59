//! Runs the function: hands the request to a host and waits for how it ends.
//!
//! In: a request that may run. Out: how it ended, with what its function said. Never fails itself: a call that could not
//! be run is an outcome too.

use std::rc::Rc;
use std::sync::Arc;

use isolate_pool::{Call, Format, Invocation, RequestParts, Respond};
use storage::model::{ActiveApp, ActiveEndpoint, ReturnType};

use crate::authorize::Allowed;
use crate::core::Core;
use crate::hosts::Ended;
use crate::http1::target;
use crate::request::Request;

/// A request whose function has run.
pub struct Done {
    pub app: Arc<ActiveApp>,
    pub endpoint: Arc<ActiveEndpoint>,
    pub user_id: Option<String>,
    /// What the answer was to be written in.
    pub format: Format,
    pub ended: Ended,
}

pub async fn run(core: &Rc<Core>, request: &Request<'_>, allowed: Allowed) -> Done {
    let Allowed { app, endpoint, permit, identity, user_id, console } = allowed;
    let raw_query = request.query.map(|query| target::without(query.as_bytes(), "secret"));
    // What was ASCII is still ASCII with whole pairs gone.
    let raw_query = raw_query.as_ref().map(|query| std::str::from_utf8(query).unwrap_or_default());
    let remote_ip = request.peer.to_string();
    // Senders of webhooks have never known plain JSON, nor asked for it.
    let format = match request.is_webhook() {
        true => Format::Ejson,
        false => format(request.header_items("accept"), endpoint.return_type),
    };
    let respond = match endpoint.respond_result {
        false => Respond::Nothing,
        true if request.is_webhook() => Respond::ResultWithoutStatus,
        true => Respond::Result,
    };
    let invocation = Invocation {
        app: app.id,
        bundle: app.bundle,
        function: &endpoint.function.name,
        identity: &identity,
        call: Call::Endpoint {
            request: RequestParts {
                method: request.method,
                route: &endpoint.route,
                // A query that held nothing but the secret was a query all the same.
                raw_query,
                full_query: request.query,
                remote_ip: &remote_ip,
                headers: &request.headers,
            },
            body: (!request.body.is_empty()).then_some(request.body),
            respond,
            format,
        },
        run_time_ms: app.limits.run_time_ms,
        heap_mib: app.limits.heap_mib,
    };
    let session = core.parts.control.session(app.clone(), identity.system);
    let mut ended = core.hosts.call(&invocation, session).await;
    if !console.is_empty() {
        ended.console.splice(0..0, console);
    }
    drop(permit);
    Done { app, endpoint, user_id, format, ended }
}

/// `Accept` decides when it names one of the two media types, the one with the higher weight first; otherwise the endpoint's
/// own return type.
fn format<'a>(accept: impl Iterator<Item = &'a str>, return_type: ReturnType) -> Format {
    let default = match return_type {
        ReturnType::Json => Format::Json,
        ReturnType::Ejson => Format::Ejson,
    };
    let mut best: Option<(f32, Format)> = None;
    for range in accept {
        let mut parts = range.split(';').map(str::trim);
        let named = match parts.next() {
            Some(media) if media.eq_ignore_ascii_case("application/json") => Format::Json,
            Some(media) if media.eq_ignore_ascii_case("application/ejson") => Format::Ejson,
            _ => continue,
        };
        let weight = parts
            .find_map(|parameter| parameter.strip_prefix("q=").or_else(|| parameter.strip_prefix("Q=")))
            .and_then(|weight| weight.parse().ok())
            .unwrap_or(1.0f32);
        if weight > 0.0 && best.is_none_or(|(other, _)| weight > other) {
            best = Some((weight, named));
        }
    }
    best.map_or(default, |(_, format)| format)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accept_names_the_format_or_leaves_it_to_the_endpoint() {
        for (accept, return_type, expected) in [
            (None, ReturnType::Json, Format::Json),
            (None, ReturnType::Ejson, Format::Ejson),
            (Some("*/*"), ReturnType::Ejson, Format::Ejson),
            (Some("application/json"), ReturnType::Ejson, Format::Json),
            (Some("application/ejson"), ReturnType::Json, Format::Ejson),
            (Some("text/html, application/ejson;q=0.5, application/json;q=0.9"), ReturnType::Ejson, Format::Json),
            (Some("application/json, application/ejson"), ReturnType::Ejson, Format::Json),
            (Some("application/json;q=0"), ReturnType::Ejson, Format::Ejson),
        ] {
            let items = accept.into_iter().flat_map(|accept: &str| accept.split(','));
            assert_eq!(format(items, return_type), expected, "{accept:?}");
        }
    }
}

//! What a client is sent. The only place in the gateway where a status code is chosen.
//!
//! In: how a request ended, or why it was refused. Out: an [`Answer`], ready to be encoded.

use std::borrow::Cow;

use isolate_pool::{Failure, FailureKind, Format, ResponseContent};
use serde_json::json;
use storage::model::ActiveApp;
use storage::rates::Tally;

use crate::core::Core;
use crate::cors::{self, Preflight};
use crate::http1::Reason;
use crate::invoke::Done;
use crate::limits::{PEER_RETRY_AFTER_S, PREFLIGHT_AGE_S, RETRY_AFTER_S};
use crate::peers;
use crate::refusal::{Refusal, Refused};
use crate::request::Request;

/// A header as it is written: its name and its value.
pub type Header = (Cow<'static, str>, String);

/// A response before it is encoded.
#[derive(Debug, Default)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<Header>,
    pub body: Vec<u8>,
    /// For the log: what the client was told, with its code.
    pub error: Option<(String, &'static str)>,
}

const JSON: &str = "application/json";
const EJSON: &str = "application/ejson";

/// The answer of a function that ran, or the error for one that failed.
pub fn outcome(core: &Core, request: &Request<'_>, done: &mut Done) -> Answer {
    let bytes_max = done.app.limits.response_bytes_max as usize;
    let mut answer = match &mut done.ended.outcome.result {
        Ok(response) if response.body.len() > bytes_max => {
            let (code, bytes) = ("FunctionExecutionError", response.body.len());
            let message = format!("the response has {bytes} bytes, more than response_bytes_max = {bytes_max}");
            error(core, request, Some(&done.app), 400, Some(code), message)
        }
        Ok(response) => {
            let mut headers: Vec<Header> = Vec::with_capacity(response.headers.len() + 4);
            let typed = response.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
            let content_type = match response.content {
                ResponseContent::Empty => None,
                ResponseContent::Json => Some(JSON),
                ResponseContent::Ejson => Some(EJSON),
                // Text given to setBody is taken to be in the format that was asked for.
                ResponseContent::Raw if done.format == Format::Ejson => Some(EJSON),
                ResponseContent::Raw => Some(JSON),
            };
            if let (false, Some(content_type)) = (typed, content_type) {
                headers.push((Cow::Borrowed("Content-Type"), content_type.to_owned()));
            }
            // What nodes tell each other is not for functions to say.
            let theirs = response.headers.drain(..).filter(|(name, _)| !name.eq_ignore_ascii_case(peers::HEADER));
            headers.extend(theirs.map(|(name, value)| (Cow::Owned(name), value)));
            Answer { status: response.status, headers, body: std::mem::take(&mut response.body), error: None }
        }
        Err(failure) => {
            let (status, code) = of_failure(failure);
            let mut answer = error(core, request, Some(&done.app), status, Some(code), failure.message.clone());
            if failure.kind == FailureKind::Unavailable {
                answer.headers.push((Cow::Borrowed("Retry-After"), RETRY_AFTER_S.to_string()));
            }
            answer
        }
    };
    finish(request, &done.app, &mut answer);
    answer
}

/// What a browser is told before its page may call. It is about the route, not about this request, so it says nothing of the
/// app beyond what any caller could find out.
pub fn preflight(request: &Request<'_>, preflight: &mut Preflight) -> Answer {
    let headers = vec![
        (Cow::Borrowed("Access-Control-Allow-Origin"), std::mem::take(&mut preflight.origin)),
        (Cow::Borrowed("Vary"), "Origin".to_owned()),
        (Cow::Borrowed("Access-Control-Allow-Methods"), std::mem::take(&mut preflight.methods)),
        (Cow::Borrowed("Access-Control-Allow-Headers"), std::mem::take(&mut preflight.headers)),
        (Cow::Borrowed("Access-Control-Max-Age"), PREFLIGHT_AGE_S.to_string()),
        (Cow::Borrowed("x-appservices-request-id"), request.correlation.to_hex()),
    ];
    Answer { status: 204, headers, ..Answer::default() }
}

/// The error a refused request is answered with.
pub fn refusal(core: &Core, request: &Request<'_>, refused: &Refused) -> Answer {
    let (status, code, message) = of_refusal(&refused.refusal);
    let mut answer = error(core, request, refused.app.as_deref(), status, code, message);
    if let Refusal::MethodNotServed { allowed, .. } = &refused.refusal {
        answer.headers.push((Cow::Borrowed("Allow"), allowed.clone()));
    }
    match &refused.refusal {
        Refusal::RegionDown { .. } | Refusal::RegionFull { .. } => {
            answer.headers.push((Cow::Borrowed("Retry-After"), PEER_RETRY_AFTER_S.to_string()));
        }
        // For the node that sent it on; no client sees it.
        Refusal::Misdirected { .. } => answer.headers.push((Cow::Borrowed(peers::HEADER), "region".to_owned())),
        Refusal::NotAPeer { distrust } => {
            answer.headers.push((Cow::Borrowed(peers::HEADER), distrust.word().to_owned()));
        }
        Refusal::RateLimited(limited) => {
            answer.headers.push((Cow::Borrowed("Retry-After"), limited.wait_s.to_string()));
        }
        Refusal::TooManyCalls | Refusal::NoRoom => {
            answer.headers.push((Cow::Borrowed("Retry-After"), RETRY_AFTER_S.to_string()));
        }
        _ => {}
    }
    if let Some(app) = &refused.app {
        finish(request, app, &mut answer);
    }
    answer
}

/// Sends the client to the region its app lives in. For this time only: apps can move.
pub fn elsewhere(request: &Request<'_>, app: &ActiveApp, location: String) -> Answer {
    let headers = vec![(Cow::Borrowed("Location"), location)];
    let mut answer = Answer { status: 307, headers, ..Answer::default() };
    finish(request, app, &mut answer);
    answer
}

fn of_failure(failure: &Failure) -> (u16, &'static str) {
    match failure.kind {
        // What was given to `response` or to the platform's own objects cannot be; the message names it.
        FailureKind::Threw if failure.code == "InvalidParameter" => (400, "InvalidParameter"),
        // No rule at all is a matter of configuration; a rule that says no is an answer to this very request.
        FailureKind::Threw if failure.code == "NoMatchingRuleFound" => (403, "NoMatchingRuleFound"),
        FailureKind::Threw if failure.code == "NotPermitted" => (400, "NoMatchingRuleFound"),
        FailureKind::Threw | FailureKind::Memory | FailureKind::AsyncQueue | FailureKind::Invalid => {
            (400, "FunctionExecutionError")
        }
        FailureKind::RunTime => (400, "ExecutionTimeLimitExceeded"),
        FailureKind::NotFound => (404, "FunctionNotFound"),
        // The platform's doing: the caller may try again, knowing that the call may have had effects.
        FailureKind::Recycled | FailureKind::Crashed => (500, "InternalServerError"),
        FailureKind::Unavailable => (503, "ServiceUnavailable"),
        FailureKind::Cancelled | FailureKind::Platform => (500, "InternalServerError"),
    }
}

fn of_refusal(refusal: &Refusal) -> (u16, Option<&'static str>, String) {
    let (status, code, message): (u16, &'static str, Cow<'static, str>) = match refusal {
        Refusal::UnknownApp { client_app_id } => {
            return (404, None, format!("cannot find app using Client App ID '{client_app_id}'"));
        }
        Refusal::EndpointNotFound => (404, "EndpointNotFound", "endpoint not found".into()),
        Refusal::MethodNotServed { method, .. } => {
            (405, "EndpointNotFound", format!("endpoint does not support method '{method}'").into())
        }
        Refusal::BadPath => (400, "InvalidParameter", "the request path is not valid percent-encoded UTF-8".into()),
        Refusal::AddressNotAllowed { address } => {
            (403, "IPNotAllowed", format!("IP address '{address}' is not on the access list").into())
        }
        Refusal::OriginNotAllowed { origin } => {
            (403, "OriginNotAllowed", format!("request origin '{origin}' is not allowed").into())
        }
        Refusal::TooManyCalls => (429, "RateLimitExceeded", "too many requests".into()),
        Refusal::NoRoom => (503, "ServiceUnavailable", "the server has no room for this call now; try again".into()),
        Refusal::RateLimited(limited) => (429, "RateLimitExceeded", limited.to_string().into()),
        Refusal::RequestTooLarge => (413, "RequestTooLarge", "request too large".into()),
        Refusal::UnknownCoding { coding } => {
            (415, "InvalidParameter", format!("Content-Encoding '{coding}' is neither gzip nor br").into())
        }
        Refusal::BadCoding { coding } => {
            (400, "InvalidParameter", format!("the request body is not valid {coding}").into())
        }
        Refusal::Platform => (500, "InternalServerError", "internal server error".into()),
        Refusal::NoCredentials => (400, "InvalidParameter", "no authentication methods were specified".into()),
        Refusal::SeveralCredentials => {
            (400, "InvalidParameter", "more than one kind of authentication was specified".into())
        }
        Refusal::IncompleteCredentials => (
            400,
            "MissingParameter",
            "must specify some form of authentication (either email+password, api-key, or jwt) in the request header or body"
                .into(),
        ),
        Refusal::NoSuchUser => (401, "InvalidSession", "invalid session: error finding user for endpoint".into()),
        Refusal::BadSession => (401, "InvalidSession", "invalid session".into()),
        Refusal::UserDisabled => (401, "UserDisabled", "user disabled".into()),
        Refusal::WrongSecret => (401, "IncomingWebhookAuthFailed", "invalid secret".into()),
        Refusal::WrongSignature => (401, "IncomingWebhookAuthFailed", "invalid signature".into()),
        Refusal::RuleNotMatched { function } => {
            (403, "FunctionExecutionError", format!("rule not matched for function \"{function}\"").into())
        }
        Refusal::TooManyLogins => {
            (429, "RateLimitExceeded", "too many authentication attempts; try again later".into())
        }
        Refusal::Broken => (500, "InternalServerError", "internal server error".into()),
        Refusal::RegionDown { region } => {
            (503, "ServiceUnavailable", format!("the app lives in {region}, which cannot be reached at present").into())
        }
        Refusal::RegionFull { region } => (
            503,
            "ServiceUnavailable",
            format!("the app lives in {region}, for which too many requests are waiting").into(),
        ),
        Refusal::RegionLate { region } => {
            (504, "GatewayTimeout", format!("the app lives in {region}, which did not answer in time").into())
        }
        Refusal::RegionBroken { region } => (
            502,
            "BadGateway",
            format!("the app lives in {region}, and the connection there broke; the call may have had effects").into(),
        ),
        Refusal::RegionDistrusts { region } => {
            (502, "BadGateway", format!("the app lives in {region}, which does not take requests from here").into())
        }
        Refusal::Misdirected { region } => {
            (421, "MisdirectedRequest", format!("the app lives in {region}, which is not here").into())
        }
        Refusal::NotAPeer { .. } => (403, "NotAPeer", "this request does not come from a peer".into()),
    };
    (status, Some(code), message.into_owned())
}

/// `{"error", "error_code", "link"}`; before an app is known only `error`.
fn error(
    core: &Core,
    request: &Request<'_>,
    app: Option<&ActiveApp>,
    status: u16,
    code: Option<&'static str>,
    message: String,
) -> Answer {
    let mut body = json!({ "error": message });
    if let Some(code) = code {
        body["error_code"] = code.into();
    }
    if let Some(app) = app {
        let base = &core.parts.node.base_url;
        let link = format!("{base}/groups/{}/apps/{}/logs?co_id={}", app.group, app.id, request.correlation);
        body["link"] = link.into();
    }
    Answer {
        status,
        headers: vec![(Cow::Borrowed("Content-Type"), JSON.to_owned())],
        body: body.to_string().into_bytes(),
        error: Some((message, code.unwrap_or_default())),
    }
}

/// What every answer of an app carries: its correlation id, and leave for the browser that asked.
fn finish(request: &Request<'_>, app: &ActiveApp, answer: &mut Answer) {
    answer.headers.push((Cow::Borrowed("x-appservices-request-id"), request.correlation.to_hex()));
    cors::open(request, app, &mut answer.headers);
}

/// Says what the caller of a limited endpoint has left; to a page, too.
pub fn tell_limits(tally: &Tally, answer: &mut Answer) {
    if tally.is_empty() {
        return;
    }
    answer.headers.push((Cow::Borrowed("RateLimit-Policy"), tally.policy()));
    answer.headers.push((Cow::Borrowed("RateLimit"), tally.limits()));
    cors::expose(&mut answer.headers, "RateLimit-Policy, RateLimit, Retry-After");
}

/// The answer to bytes that are no request. The connection closes after it.
pub fn not_a_request(reason: Reason) -> Answer {
    let status = match reason {
        Reason::BadRequestLine
        | Reason::BadTarget
        | Reason::BadHeader
        | Reason::BareLineEnd
        | Reason::MissingHost
        | Reason::BadHost
        | Reason::BadLength
        | Reason::LengthAndCoding
        | Reason::BadCoding
        | Reason::BadChunk
        | Reason::ChunkExtensionsTooLong
        | Reason::BadTrailer => 400,
        Reason::BodyTooLarge => 413,
        Reason::TargetTooLong => 414,
        Reason::UnknownExpectation => 417,
        Reason::TooManyHeaders | Reason::HeadTooLarge | Reason::TrailersTooLong => 431,
        Reason::Tunnel | Reason::MethodTooLong | Reason::UnknownCoding => 501,
        Reason::UnsupportedVersion => 505,
    };
    let mut answer = plain(status, reason.sentence());
    if status == 413 {
        let body = json!({ "error": "request too large", "error_code": "RequestTooLarge" });
        answer.body = body.to_string().into_bytes();
    }
    answer
}

/// The sender stopped in the middle of a request.
pub fn too_slow() -> Answer {
    plain(408, "the request did not arrive in time")
}

/// Plain HTTP came to a listener with TLS. The connection closes after it.
pub fn tls_is_spoken_here() -> Answer {
    plain(400, "this port speaks HTTPS; begin the URL with https://")
}

/// The same is to be asked over TLS, by the same method and with the same body.
pub fn to_https(location: String) -> Answer {
    let mut answer = plain(308, "this is served over HTTPS only");
    answer.headers.push((Cow::Borrowed("Location"), location));
    answer
}

/// What an authority that checks a name expects.
pub fn acme_challenge(proof: String) -> Answer {
    let headers = vec![(Cow::Borrowed("Content-Type"), "application/octet-stream".to_owned())];
    Answer { status: 200, headers, body: proof.into_bytes(), error: None }
}

/// Nothing is served at this path, or not on this listener.
pub fn nothing_here() -> Answer {
    plain(404, "nothing is served at this path")
}

/// The side runtime is gone or did not answer.
pub fn control_plane_gone() -> Answer {
    plain(503, "the control plane is not available")
}

/// `/health`: this process serves. A store or a Redis that is gone is told and does not make it ill: what is known goes on
/// being served, and a balancer that took every node away would help nobody. A node that started without the store serves
/// what it had kept on its disk, and says so.
pub fn health(core: &Core) -> Answer {
    let snapshot = core.parts.snapshots.load();
    let fleet = core.parts.control.fleet_health();
    let status = if core.leaving() { "draining" } else { "ok" };
    let mut body = json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "apps": snapshot.len(),
        "snapshot_version": snapshot.version(),
        "catalog_version": fleet.version,
        "config_age_ms": fleet.config_age.as_millis() as u64,
        "config_from": if fleet.from_kept { "disk" } else { "store" },
        "store": if fleet.store_down.is_none() { "ok" } else { "down" },
        "redis": match &fleet.redis {
            None => "none",
            Some(redis) if redis.down.is_none() => "ok",
            Some(_) => "down",
        },
        "redis_age_ms": fleet.redis.and_then(|redis| redis.age).map(|age| age.as_millis() as u64),
    });
    if !core.parts.peers.is_alone() {
        body["region"] = core.parts.node.region.to_string().into();
        body["peers"] = core.parts.peers.describe();
    }
    // A load balancer that asks while we drain is to send its requests elsewhere.
    Answer { status: if core.leaving() { 503 } else { 200 }, ..json_answer(body.to_string()) }
}

/// `/metrics`: the Prometheus text.
pub fn metrics(core: &Core) -> Answer {
    Answer {
        status: 200,
        headers: vec![(Cow::Borrowed("Content-Type"), "text/plain; version=0.0.4".to_owned())],
        body: core.parts.metrics.render().into_bytes(),
        error: None,
    }
}

fn json_answer(body: String) -> Answer {
    Answer {
        status: 200,
        headers: vec![(Cow::Borrowed("Content-Type"), JSON.to_owned())],
        body: body.into_bytes(),
        error: None,
    }
}

/// A short JSON error outside any app.
pub fn plain(status: u16, message: impl Into<String>) -> Answer {
    let message = message.into();
    Answer {
        status,
        headers: vec![(Cow::Borrowed("Content-Type"), JSON.to_owned())],
        body: json!({ "error": message }).to_string().into_bytes(),
        error: Some((message, "")),
    }
}

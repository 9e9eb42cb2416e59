//! Pages of other origins: which may call, what their browser is told beforehand, and what its page may read afterwards.
//!
//! In: an app that a request has reached. Out: a call that may go on, or the answer to a preflight, which is the
//! platform's own: no function runs, nobody is asked who they are, and the app's log has no entry, since nothing was
//! called. A request without `Origin` is no page's and passes.
//!
//! Headers with credentials of long life (`apiKey`, `password`) are not let through unless the app's own policy names
//! them: what a page knows, its visitors know. `Access-Control-Allow-Credentials` is never sent, since no credential of
//! ours is one that a browser adds by itself.

use std::borrow::Cow;
use std::sync::Arc;

use storage::model::{ActiveApp, MethodFilter};

use crate::refusal::{Refusal, Refused};
use crate::request::Request;
use crate::respond::Header;
use crate::route::Reached;

/// A request whose origin may call.
pub enum Cleared<'r> {
    Call(Reached<'r>),
    Preflight(Preflight),
}

/// What a browser is told before its page may call.
pub struct Preflight {
    pub app: Arc<ActiveApp>,
    pub origin: String,
    /// Methods served on the route.
    pub methods: String,
    /// Headers its page may send.
    pub headers: String,
}

/// Headers every app lets pages send.
const ALLOWED_HEADERS: &str = "Authorization, Content-Type, Accept";

/// Methods of an endpoint that answers all; a preflight must name them.
const EVERY_METHOD: &str = "GET, POST, PUT, PATCH, DELETE, HEAD, OPTIONS";

pub fn check<'r>(request: &Request<'r>, reached: Reached<'r>) -> Result<Cleared<'r>, Refused> {
    let Some(origin) = request.header("origin") else { return Ok(Cleared::Call(reached)) };
    if !is_allowed(&reached.app, origin) {
        let origin = String::from_utf8_lossy(origin).chars().take(256).collect();
        return Err(Refused::at_app(Refusal::OriginNotAllowed { origin }, reached.app));
    }
    if !is_preflight(request) {
        return Ok(Cleared::Call(reached));
    }
    let Some(methods) = methods(&reached) else {
        return Err(Refused::at_app(Refusal::EndpointNotFound, reached.app));
    };
    let mut headers = ALLOWED_HEADERS.to_owned();
    for name in &reached.app.cors.allowed_headers {
        headers.push_str(", ");
        headers.push_str(name);
    }
    let origin = String::from_utf8_lossy(origin).into_owned();
    Ok(Cleared::Preflight(Preflight { app: reached.app, origin, methods, headers }))
}

/// Whether a browser asks if its page may call.
pub fn is_preflight(request: &Request<'_>) -> bool {
    request.method == "OPTIONS"
        && request.header("origin").is_some()
        && request.header("access-control-request-method").is_some()
}

/// Lets the page that asked read an answer: any answer, errors too, since a page that cannot read an error cannot say
/// what is wrong. A function that sets the header itself knows better.
pub fn open(request: &Request<'_>, app: &ActiveApp, headers: &mut Vec<Header>) {
    let Some(origin) = request.header_text("origin") else { return };
    let own = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("access-control-allow-origin"));
    if own || !is_allowed(app, origin.as_bytes()) {
        return;
    }
    headers.push((Cow::Borrowed("Access-Control-Allow-Origin"), origin.to_owned()));
    if !app.cors.exposed_headers.is_empty() {
        headers.push((Cow::Borrowed("Access-Control-Expose-Headers"), app.cors.exposed_headers.join(", ")));
    }
    vary(headers, "Origin");
}

/// Lets the page that asked read headers of ours, beside what the app's policy lets it read. Nothing where no page may.
pub fn expose(headers: &mut Vec<Header>, names: &str) {
    let opened = headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("access-control-allow-origin"));
    match headers.iter_mut().find(|(name, _)| name.eq_ignore_ascii_case("access-control-expose-headers")) {
        Some((_, value)) => {
            value.push_str(", ");
            value.push_str(names);
        }
        None if opened => headers.push((Cow::Borrowed("Access-Control-Expose-Headers"), names.to_owned())),
        None => {}
    }
}

/// Says that the answer depends on a request header, beside what a function said of the kind.
pub fn vary(headers: &mut Vec<Header>, name: &str) {
    match headers.iter_mut().find(|(other, _)| other.eq_ignore_ascii_case("vary")) {
        Some((_, value)) if value.trim() == "*" => {}
        Some((_, value)) => {
            if !value.split(',').any(|other| other.trim().eq_ignore_ascii_case(name)) {
                value.push_str(", ");
                value.push_str(name);
            }
        }
        None => headers.push((Cow::Borrowed("Vary"), name.to_owned())),
    }
}

/// Schemes and host names have no case, whoever wrote the list.
fn is_allowed(app: &ActiveApp, origin: &[u8]) -> bool {
    let allowed = &app.allowed_request_origins;
    allowed.is_empty() || allowed.iter().any(|allowed| allowed.as_bytes().eq_ignore_ascii_case(origin))
}

fn methods(reached: &Reached<'_>) -> Option<String> {
    let endpoints = reached.app.routes.get(reached.route.as_deref()?)?;
    if endpoints.iter().any(|endpoint| endpoint.method == MethodFilter::Any) {
        return Some(EVERY_METHOD.to_owned());
    }
    let methods: Vec<&str> = endpoints.iter().map(|endpoint| endpoint.method.as_str()).collect();
    Some(methods.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_answer_depends_on_is_said_once_beside_what_the_function_said() {
        for (before, after) in [
            (None, "Origin"),
            (Some("Accept"), "Accept, Origin"),
            (Some("accept, origin"), "accept, origin"),
            (Some("*"), "*"),
        ] {
            let mut headers: Vec<Header> = Vec::new();
            if let Some(before) = before {
                headers.push((Cow::Borrowed("vary"), before.to_owned()));
            }
            vary(&mut headers, "Origin");
            assert_eq!(headers.len(), 1, "{before:?}");
            assert_eq!(headers[0].1, after, "{before:?}");
        }
    }
}

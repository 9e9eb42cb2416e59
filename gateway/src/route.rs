//! Finds the endpoint a request is meant for.
//!
//! In: a request and the snapshot of this moment. Out: the app and its endpoint, or "no such app", "no such route",
//! "wrong method".
//!
//! Not here: who is calling (authenticate), whether they may (authorize). A route is found the same way for everyone.

use std::borrow::Cow;
use std::sync::Arc;

use storage::model::{ActiveApp, ActiveEndpoint, MethodFilter};

use crate::core::Core;
use crate::http1::target;
use crate::refusal::{Refusal, Refused};
use crate::request::Request;

/// The app and endpoint of a request.
#[derive(Debug)]
pub struct Routed {
    pub app: Arc<ActiveApp>,
    pub endpoint: Arc<ActiveEndpoint>,
}

pub fn find(core: &Core, request: &Request<'_>) -> Result<Routed, Refused> {
    let (client_app_id, route) = split(request.path, request.named.app);
    let unknown =
        || Refused::before_app(Refusal::UnknownApp { client_app_id: client_app_id.chars().take(64).collect() });
    let app = core.parts.snapshots.load().find(client_app_id).cloned().ok_or_else(unknown)?;
    if !core.parts.node.serves(request.named.door, app.deployment_model, &app.provider_region) {
        return Err(unknown());
    }
    let Some(route) = route else { return Err(Refused::at_app(Refusal::EndpointNotFound, app)) };
    let route: Cow<'_, str> = match target::path(route.as_bytes()) {
        Ok(route) => route,
        Err(_) => return Err(Refused::at_app(Refusal::BadPath, app)),
    };
    let Some(endpoints) = app.routes.get(route.as_ref()) else {
        return Err(Refused::at_app(Refusal::EndpointNotFound, app));
    };
    match pick(endpoints, request.method) {
        Some(endpoint) => Ok(Routed { endpoint: endpoint.clone(), app }),
        None => {
            let allowed = endpoints.iter().map(|endpoint| endpoint.method.as_str()).collect::<Vec<_>>().join(", ");
            let method = request.method.chars().take(32).collect();
            Err(Refused::at_app(Refusal::MethodNotServed { method, allowed }, app))
        }
    }
}

/// The app id and the route in `/app/<id>/endpoint<route>`, or in `/endpoint<route>` when the host names the app. No route
/// when the path stops short of one.
fn split<'a>(path: &'a str, host_app: Option<&'a str>) -> (&'a str, Option<&'a str>) {
    let (app, rest) = match path.strip_prefix("/app/") {
        Some(rest) => match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, ""),
        },
        None => (host_app.unwrap_or_default(), path),
    };
    (app, rest.strip_prefix("/endpoint").filter(|route| route.starts_with('/')))
}

/// The endpoint that names the method, or else one that answers all.
fn pick<'a>(endpoints: &'a [Arc<ActiveEndpoint>], method: &str) -> Option<&'a Arc<ActiveEndpoint>> {
    let by = |filter: MethodFilter| endpoints.iter().find(move |endpoint| endpoint.method == filter);
    let named = MethodFilter::parse(method).filter(|filter| *filter != MethodFilter::Any && filter.as_str() == method);
    named.and_then(by).or_else(|| by(MethodFilter::Any))
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn the_app_comes_from_the_path_or_from_the_host() {
        for (path, host_app, expected) in [
            ("/app/a-b/endpoint/hello", None, ("a-b", Some("/hello"))),
            ("/app/a-b/endpoint/hello/latest", None, ("a-b", Some("/hello/latest"))),
            ("/endpoint/hello", Some("a-b"), ("a-b", Some("/hello"))),
            ("/app/c-d/endpoint/hello", Some("a-b"), ("c-d", Some("/hello"))),
            ("/app/a-b/endpoint", None, ("a-b", None)),
            ("/app/a-b/endpointhello", None, ("a-b", None)),
            ("/app/a-b", None, ("a-b", None)),
            ("/app/", None, ("", None)),
        ] {
            assert_eq!(split(path, host_app), expected, "{path}");
        }
    }
}

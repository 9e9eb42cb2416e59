//! Finds the app a request has reached, and then the endpoint it is meant for.
//!
//! In: a request and the snapshot of this moment. Out: the app and the route asked for, or "no such app"; then the
//! endpoint, or "no such route", "wrong method". Two steps, because an app's access list and allowed origins come before
//! its endpoints: whoever is not let in learns nothing of what is there.
//!
//! Not here: who is calling (authenticate), whether they may (authorize). A route is found the same way for everyone.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use storage::model::{ActiveApp, ActiveEndpoint, DeploymentModel, MethodFilter, Snapshot};

use crate::core::Core;
use crate::http1::target;
use crate::limits::{NEAR_MISS_EVERY_MS, NEAR_MISSES_MAX};
use crate::node::{Door, Reach};
use crate::refusal::{Refusal, Refused};
use crate::request::Request;
use crate::webhook::Webhook;

/// The app a request has reached.
#[derive(Debug)]
pub struct Reached<'r> {
    pub app: Arc<ActiveApp>,
    /// Decoded; none when the path stops short of one.
    pub route: Option<Cow<'r, str>>,
}

/// The app and endpoint of a request.
#[derive(Debug)]
pub struct Routed {
    pub app: Arc<ActiveApp>,
    pub endpoint: Arc<ActiveEndpoint>,
}

/// The app of the id in the path or in the host.
pub fn app<'r>(core: &Core, request: &Request<'r>) -> Result<Reached<'r>, Refused> {
    let (client_app_id, route) = split(request.path, request.named.app);
    let unknown =
        || Refused::before_app(Refusal::UnknownApp { client_app_id: client_app_id.chars().take(64).collect() });
    let snapshot = core.parts.snapshots.load();
    let Some(app) = snapshot.find(client_app_id).cloned() else {
        tell_near_misses(core, &snapshot, client_app_id);
        return Err(unknown());
    };
    let is_here = match core.parts.node.reach(request.named.door, app.deployment_model, &app.provider_region) {
        Reach::Here => true,
        // What is to go to a peer has gone there before; what is left is a browser's question, or an app whose region has
        // no node that we know: then it is served by whoever is asked, unless that region was asked for by name.
        Reach::Away => request.named.door == Door::Plain || core.parts.peers.of(&app.provider_region).is_some(),
        Reach::Nowhere => false,
    };
    if !is_here {
        tell_wrong_door(core, request.named.door, &app);
        return Err(unknown());
    }
    let decoded = match route {
        None => Ok(None),
        Some(Cow::Borrowed(route)) => target::path(route.as_bytes()).map(Some),
        Some(Cow::Owned(route)) => target::path(route.as_bytes()).map(|route| Some(Cow::Owned(route.into_owned()))),
    };
    match decoded {
        Ok(route) => Ok(Reached { app, route }),
        Err(_) => Err(Refused::at_app(Refusal::BadPath, app)),
    }
}

/// The endpoint for the request's route and method.
pub fn endpoint(request: &Request<'_>, reached: Reached<'_>) -> Result<Routed, Refused> {
    let Reached { app, route } = reached;
    let Some(endpoints) = route.and_then(|route| app.routes.get(route.as_ref())) else {
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

/// The app id in a path, or in its host; what an endpoint's bounds are looked up by before the request is whole.
pub fn client_app_id<'a>(path: &'a str, host_app: Option<&'a str>) -> &'a str {
    split(path, host_app).0
}

/// The app id and the route in `/app/<id>/endpoint<route>`, or in `/endpoint<route>` when the host names the app, or those
/// an old webhook's path stands for. No route when the path stops short of one.
fn split<'a>(path: &'a str, host_app: Option<&'a str>) -> (&'a str, Option<Cow<'a, str>>) {
    let (app, rest) = match path.strip_prefix("/app/") {
        Some(rest) => match rest.find('/') {
            Some(at) => (&rest[..at], &rest[at..]),
            None => (rest, ""),
        },
        None => match Webhook::of(path) {
            Some(webhook) => return (webhook.app, Some(Cow::Owned(webhook.route()))),
            None => (host_app.unwrap_or_default(), path),
        },
    };
    (app, rest.strip_prefix("/endpoint").filter(|route| route.starts_with('/')).map(Cow::Borrowed))
}

/// The endpoint that names the method, or else one that answers all.
fn pick<'a>(endpoints: &'a [Arc<ActiveEndpoint>], method: &str) -> Option<&'a Arc<ActiveEndpoint>> {
    let by = |filter: MethodFilter| endpoints.iter().find(move |endpoint| endpoint.method == filter);
    let named = MethodFilter::parse(method).filter(|filter| *filter != MethodFilter::Any && filter.as_str() == method);
    named.and_then(by).or_else(|| by(MethodFilter::Any))
}

// --- for the operator's log -----------------------------------------------------------------------------------------

/// The client is told nothing of other apps; the operator, who may be the client, is told which were perhaps meant. Not
/// for every request, since anybody can send unknown ids as fast as they like.
fn tell_near_misses(core: &Core, snapshot: &Snapshot, client_app_id: &str) {
    if !core.may_tell(Duration::from_millis(NEAR_MISS_EVERY_MS)) {
        return;
    }
    let near: Vec<&str> = snapshot
        .apps()
        .map(|app| app.client_app_id.as_str())
        .filter(|other| is_near(client_app_id, other))
        .take(NEAR_MISSES_MAX)
        .collect();
    let asked: String = client_app_id.chars().take(64).collect();
    tracing::warn!(client_app_id = asked, near_misses = near.join(", "), "a request named an app that is not here");
}

fn tell_wrong_door(core: &Core, door: Door<'_>, app: &ActiveApp) {
    if !core.may_tell(Duration::from_millis(NEAR_MISS_EVERY_MS)) {
        return;
    }
    let why = match (door, app.deployment_model) {
        (Door::Global, DeploymentModel::Local) => "it is LOCAL, and the global host serves GLOBAL apps only",
        (Door::Elsewhere { .. }, _) => "the host is that of another region, and either the app or no [[peer]] is there",
        _ => "it is LOCAL and lives in another region than this host's",
    };
    tracing::warn!(
        client_app_id = app.client_app_id.as_str(),
        lives_in = %app.provider_region,
        why,
        "a request named an app that is here, through a host it cannot be reached by"
    );
}

/// The same name with other letters behind it, the same letters behind another name, or the same but for case. Compared
/// once a second at most, over perhaps ten thousand apps, on a core that has other things to do: so no edit distances.
fn is_near(asked: &str, other: &str) -> bool {
    let halves = |id: &str| id.rsplit_once('-').map(|(name, letters)| (name.to_ascii_lowercase(), letters.to_owned()));
    if asked.is_empty() || asked.len() > 64 {
        return false;
    }
    if asked.eq_ignore_ascii_case(other) || other.rsplit_once('-').is_some_and(|(name, _)| name == asked) {
        return true;
    }
    match (halves(asked), halves(other)) {
        (Some((name, letters)), Some((other_name, other_letters))) => {
            name == other_name || (letters == other_letters && letters.len() >= 5)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_app_comes_from_the_path_or_from_the_host() {
        let hook = "/api/client/v2.0/app/a-b/service/http/incoming_webhook/hook";
        for (path, host_app, expected) in [
            ("/app/a-b/endpoint/hello", None, ("a-b", Some("/hello"))),
            ("/app/a-b/endpoint/hello/latest", None, ("a-b", Some("/hello/latest"))),
            ("/endpoint/hello", Some("a-b"), ("a-b", Some("/hello"))),
            ("/app/c-d/endpoint/hello", Some("a-b"), ("c-d", Some("/hello"))),
            ("/app/a-b/endpoint", None, ("a-b", None)),
            ("/app/a-b/endpointhello", None, ("a-b", None)),
            ("/app/a-b", None, ("a-b", None)),
            ("/app/", None, ("", None)),
            (hook, None, ("a-b", Some("/http/hook"))),
        ] {
            let (app, route) = split(path, host_app);
            assert_eq!((app, route.as_deref()), expected, "{path}");
        }
    }

    #[test]
    fn near_misses_are_what_a_person_would_call_so() {
        for (asked, other, near) in [
            ("myapp-abcdf", "myapp-abcde", true),
            ("MyApp-abcde", "myapp-abcde", true),
            ("myapp", "myapp-abcde", true),
            ("yourapp-abcde", "myapp-abcde", true),
            ("myapp-abcde", "shop-vwxyz", false),
            ("a-b", "c-b", false),
            ("", "myapp-abcde", false),
        ] {
            assert_eq!(is_near(asked, other), near, "{asked} {other}");
        }
    }
}

//! Lets a request in: from an address the app allows, and while the app has calls to spare.
//!
//! In: the app; then the endpoint. Out: the same, and at last a place among the app's calls, given back when the call is
//! over.
//!
//! Not here: which origin a page has (cors), who is calling (authenticate).

use std::sync::Arc;

use storage::model::{ActiveApp, ActiveEndpoint};

use crate::core::{Core, Permit};
use crate::limits::LIMITED_LOG_EVERY_MS;
use crate::refusal::{Refusal, Refused};
use crate::request::Request;
use crate::route::{Reached, Routed};

/// A request that may take an app's time.
pub struct Admitted {
    pub app: Arc<ActiveApp>,
    pub endpoint: Arc<ActiveEndpoint>,
    pub permit: Permit,
}

/// From where.
pub fn address<'r>(request: &Request<'r>, reached: Reached<'r>) -> Result<Reached<'r>, Refused> {
    match reached.app.admits(request.peer) {
        true => Ok(reached),
        false => Err(Refused::at_app(Refusal::AddressNotAllowed { address: request.peer }, reached.app)),
    }
}

/// Whether the host that would run it has room, before anything is done for it.
pub fn room(core: &Core, request: &Request<'_>, routed: Routed) -> Result<Routed, Refused> {
    if core.hosts.has_room(routed.app.id, request.started) {
        return Ok(routed);
    }
    let Routed { app, endpoint } = routed;
    let detail = "calls of this app waited too long for a host's thread, so new ones are refused until they do not; \
                  further refusals of this second are not written down";
    let quiet = !app.calls.may_tell(core.wheel.now_ms(), LIMITED_LOG_EVERY_MS);
    Err(Refused::at_endpoint(Refusal::NoRoom, app, endpoint).because(detail).quietly(quiet))
}

/// Whether the app may have one more call in progress.
pub fn call(core: &Core, routed: Routed) -> Result<Admitted, Refused> {
    let Routed { app, endpoint } = routed;
    match app.calls.enter(app.limits.calls_max) {
        Some(permit) => Ok(Admitted { app, endpoint, permit }),
        None => {
            let detail = format!("{} calls of this app are in progress, as many as calls_max", app.limits.calls_max);
            metrics::counter!("portico_shed_total", "reason" => "calls_max").increment(1);
            let quiet = !app.calls.may_tell(core.wheel.now_ms(), LIMITED_LOG_EVERY_MS);
            Err(Refused::at_endpoint(Refusal::TooManyCalls, app, endpoint).because(detail).quietly(quiet))
        }
    }
}

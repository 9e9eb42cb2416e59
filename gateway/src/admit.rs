//! Lets a request in: from an address the app allows, and while the app has calls to spare.
//!
//! In: the app; then the endpoint. Out: the same, and at last a place among the app's calls, given back when the call is
//! over.
//!
//! Not here: which origin a page has (cors), who is calling (authenticate).

use std::sync::Arc;

use storage::model::{ActiveApp, ActiveEndpoint};

use crate::core::Permit;
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

/// Whether there is room.
pub fn call(routed: Routed) -> Result<Admitted, Refused> {
    let Routed { app, endpoint } = routed;
    match app.calls.enter(app.limits.calls_max) {
        Some(permit) => Ok(Admitted { app, endpoint, permit }),
        None => {
            let detail = format!("{} calls of this app are in progress, as many as calls_max", app.limits.calls_max);
            Err(Refused::at_endpoint(Refusal::TooManyCalls, app, endpoint).because(detail))
        }
    }
}

//! Lets a request in: from an address the app allows, from an origin it allows, and while the app has calls to spare.
//!
//! In: the app and endpoint. Out: the same with a place among the app's calls, given back when the call is over.
//!
//! Not here: who is calling.

use std::rc::Rc;
use std::sync::Arc;

use storage::model::{ActiveApp, ActiveEndpoint};

use crate::core::{Core, Permit};
use crate::refusal::{Refusal, Refused};
use crate::request::Request;
use crate::route::Routed;

/// A request that may take an app's time.
pub struct Admitted {
    pub app: Arc<ActiveApp>,
    pub endpoint: Arc<ActiveEndpoint>,
    pub permit: Permit,
}

pub fn check(core: &Rc<Core>, request: &Request<'_>, routed: Routed) -> Result<Admitted, Refused> {
    let Routed { app, endpoint } = routed;
    if !app.admits(request.peer) {
        return Err(Refused::at_endpoint(Refusal::AddressNotAllowed { address: request.peer }, app, endpoint));
    }
    if !app.allowed_request_origins.is_empty()
        && let Some(origin) = request.header("origin")
        && !app.allowed_request_origins.iter().any(|allowed| allowed.as_bytes() == origin)
    {
        let origin = String::from_utf8_lossy(origin).chars().take(256).collect();
        return Err(Refused::at_endpoint(Refusal::OriginNotAllowed { origin }, app, endpoint));
    }
    match core.permit(app.id, app.limits.calls_max) {
        Some(permit) => Ok(Admitted { app, endpoint, permit }),
        None => Err(Refused::at_endpoint(Refusal::TooManyCalls, app, endpoint)),
    }
}

//! Request bodies that come compressed, for operators who want them undone (`decode_requests`). Without the setting the
//! function sees the bytes that were sent, as it did on App Services.
//!
//! In: a request that may run. Out: its body as it was before it was compressed, or a refusal. After `authorize`, because a
//! signature covers the bytes as received, and because bodies of strangers are not worth the work. Bounded by the app's
//! own request limit, and done off the core: how long it takes is the sender's choice.

use std::rc::Rc;

use crate::authorize::Allowed;
use crate::coding::{self, Coding, Undecodable};
use crate::core::Core;
use crate::refusal::{Refusal, Refused};
use crate::request::Request;

/// The body to run with instead of the one received; none when that is the same.
pub async fn body(core: &Rc<Core>, request: &Request<'_>, allowed: &Allowed) -> Result<Option<Vec<u8>>, Refused> {
    if !core.parts.edge.decode_requests || request.body.is_empty() {
        return Ok(None);
    }
    let Some(named) = request.header_text("content-encoding") else { return Ok(None) };
    let refused = |refusal: Refusal, detail: String| {
        let refused = Refused::at_endpoint(refusal, allowed.app.clone(), allowed.endpoint.clone()).because(detail);
        Refused { user_id: allowed.user_id.clone(), ..refused }
    };
    let mut names = named.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "identity");
    let coding = match (names.next(), names.next()) {
        (None, _) => return Ok(None),
        (Some(name), None) if Coding::named(name).is_some() => Coding::named(name),
        // Codings over codings are how one byte becomes a million.
        _ => None,
    };
    let Some(coding) = coding else {
        let coding = named.chars().take(64).collect();
        return Err(refused(Refusal::UnknownCoding { coding }, String::new()));
    };
    let max = allowed.app.limits.request_bytes_max as usize;
    let body = request.body.to_vec();
    let workers = &core.parts.workers;
    let work = async {
        let place = workers.wait_for_place().await?;
        workers.run(place, move || coding::decode(coding, &body, max)).await
    };
    let decoded = core.remote.wait(work).await;
    match decoded {
        Some(Ok(plain)) => Ok(Some(plain)),
        Some(Err(Undecodable::TooLarge)) => Err(refused(
            Refusal::RequestTooLarge,
            format!("decoded, the body is larger than request_bytes_max = {max}"),
        )),
        Some(Err(Undecodable::Malformed)) => {
            Err(refused(Refusal::BadCoding { coding: coding.name() }, "the body does not decode".to_owned()))
        }
        None => Err(refused(Refusal::Platform, "the thread that decodes bodies is gone".to_owned())),
    }
}

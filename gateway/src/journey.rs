//! One request, from bytes to response. This is the page to read first.
//!
//! Each step takes what the step before it proved, by value, and returns it with one more fact. No step checks again what
//! another has proved, and none can run before its facts are there. A step that refuses says why, in terms of
//! [`Refusal`](crate::refusal::Refusal); what the client is told for it is `respond`'s affair alone.
//!
//! The app a request finds is the app it ends with, whatever is deployed meanwhile.

use std::rc::Rc;

use crate::core::Core;
use crate::refusal::Refused;
use crate::request::Request;
use crate::respond::{self, Answer};
use crate::{admit, authenticate, authorize, invoke, record, route};

/// Answers one endpoint request.
pub async fn answer(core: &Rc<Core>, request: &Request<'_>) -> Answer {
    let mut walked = walk(core, request).await;
    let answer = match &mut walked {
        Ok(done) => respond::outcome(core, request, done),
        Err(refused) => respond::refusal(core, request, refused),
    };
    record::endpoint(core, request, walked, &answer);
    answer
}

async fn walk(core: &Rc<Core>, request: &Request<'_>) -> Result<invoke::Done, Refused> {
    let routed = route::find(core, request)?;
    let admitted = admit::check(core, request, routed)?;
    let known = authenticate::caller(request, admitted)?;
    let allowed = authorize::check(request, known)?;
    Ok(invoke::run(core, request, allowed).await)
}

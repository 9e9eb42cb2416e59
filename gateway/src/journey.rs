//! One request, from bytes to response. This is the page to read first.
//!
//! Each step takes what the step before it proved, by value, and returns it with one more fact. No step checks again what
//! another has proved, and none can run before its facts are there. A step that refuses says why, in terms of
//! [`Refusal`](crate::refusal::Refusal); what the client is told for it is `respond`'s affair alone.
//!
//! The app a request finds is the app it ends with, whatever is deployed meanwhile.

use std::rc::Rc;

use storage::rates::Tally;

use crate::core::Core;
use crate::cors::{Cleared, Preflight};
use crate::observe::{Stage, Stages};
use crate::refusal::Refused;
use crate::request::Request;
use crate::respond::{self, Answer};
use crate::{admit, authenticate, authorize, compress, cors, decode, invoke, rates, record, route};

/// How far a request came that nobody refused.
pub enum Walked {
    /// Its function has run.
    Called(invoke::Done),
    /// A browser asked whether its page may call.
    Asked(Preflight),
}

/// Answers one endpoint request.
pub async fn answer(core: &Rc<Core>, request: &Request<'_>) -> Answer {
    let mut stages = Stages::begin(core, request);
    let mut tally = Tally::default();
    let mut walked = walk(core, request, &mut tally, &mut stages).await;
    let mut answer = match &mut walked {
        Ok(Walked::Called(done)) => respond::outcome(core, request, done),
        Ok(Walked::Asked(preflight)) => respond::preflight(request, preflight),
        Err(refused) => respond::refusal(core, request, refused),
    };
    respond::tell_limits(&tally, &mut answer);
    compress::body(core, request, &mut answer).await;
    stages.end(Stage::Respond, ());
    record::endpoint(core, request, walked, &answer, stages);
    answer
}

async fn walk(
    core: &Rc<Core>,
    request: &Request<'_>,
    tally: &mut Tally,
    stages: &mut Stages,
) -> Result<Walked, Refused> {
    let reached = route::app(core, request)?;
    let reached = admit::address(request, reached)?;
    let reached = match cors::check(request, reached)? {
        Cleared::Call(reached) => reached,
        Cleared::Preflight(preflight) => return Ok(Walked::Asked(preflight)),
    };
    let routed = stages.end(Stage::Route, route::endpoint(request, reached))?;
    let routed = admit::room(core, request, routed)?;
    let routed = rates::request(core, request, routed, tally)?;
    let admitted = stages.end(Stage::Admit, admit::call(core, routed))?;
    let known = stages.end(Stage::Authenticate, authenticate::caller(core, request, admitted).await)?;
    let known = rates::user(core, request, known, tally)?;
    let allowed = stages.end(Stage::Authorize, authorize::check(core, request, known).await)?;
    let decoded = stages.end(Stage::Decode, decode::body(core, request, &allowed).await)?;
    let plain = decoded.as_deref().map(|body| request.decoded(body));
    let done = invoke::run(core, plain.as_ref().unwrap_or(request), allowed).await;
    Ok(Walked::Called(stages.end(Stage::Invoke, done)))
}

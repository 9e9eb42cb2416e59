//! Checks what a request must prove beside who it is: a shared secret in the query or a signature of its body, and the
//! rule expressions of its endpoint and function.
//!
//! In: a request whose identity is known. Out: one that may run. Where there is no expression, nothing is waited for.

use std::borrow::Cow;
use std::rc::Rc;
use std::sync::Arc;

use control_plane::guard::Surroundings;
use isolate_pool::{ConsoleLine, Identity};
use storage::access::expression::{Answers, Expression, Step, value_of};
use storage::model::{ActiveApp, ActiveEndpoint, Validation};

use crate::authenticate::Known;
use crate::core::{Core, Permit};
use crate::errand::{self, Errand};
use crate::http1::target;
use crate::refusal::{Refusal, Refused};
use crate::request::Request;
use crate::signature;

/// A request that may run.
pub struct Allowed {
    pub app: Arc<ActiveApp>,
    pub endpoint: Arc<ActiveEndpoint>,
    pub permit: Permit,
    pub identity: Identity,
    pub user_id: Option<String>,
    /// What functions said that ran on the way, for the log.
    pub console: Vec<ConsoleLine>,
}

pub async fn check(core: &Rc<Core>, request: &Request<'_>, known: Known) -> Result<Allowed, Refused> {
    let Known { app, endpoint, permit, identity, user_id, mut console } = known;
    let refusal: Option<(Refusal, Cow<'static, str>)> = match (endpoint.validation, &endpoint.secret) {
        (Validation::None, _) => None,
        (Validation::SecretAsQueryParam, Some(secret)) => {
            let presented = request.query.and_then(|query| target::first(query.as_bytes(), "secret"));
            let matches = presented.as_ref().is_some_and(|presented| secret.matches(presented.as_bytes()));
            let missing = if presented.is_some() { "is wrong" } else { "is missing" };
            (!matches).then(|| (Refusal::WrongSecret, format!("the secret query parameter {missing}").into()))
        }
        (Validation::VerifyPayload, Some(secret)) => {
            let signed =
                signature::check(&endpoint.signature, request, secret.reveal().as_bytes(), request.started_ms / 1_000);
            signed.err().map(|reason| (Refusal::WrongSignature, reason.into()))
        }
        // A deployment without the secret is refused, so this is a secret deleted by hand; nobody can know it.
        (Validation::SecretAsQueryParam, None) => {
            Some((Refusal::WrongSecret, "the endpoint's secret does not exist".into()))
        }
        (Validation::VerifyPayload, None) => {
            Some((Refusal::WrongSignature, "the endpoint's secret does not exist".into()))
        }
    };
    let refusal = match refusal {
        None if endpoint.guard.is_some() || endpoint.function.guard.is_some() => {
            // In a box, since its room would otherwise be kept in every connection.
            let guarded = Box::pin(guarded(core, request, &app, &endpoint, &identity, &mut console)).await;
            let rule = || Refusal::RuleNotMatched { function: endpoint.function.name.clone() };
            guarded.err().map(|detail| (rule(), detail.into()))
        }
        refusal => refusal,
    };
    match refusal {
        None => Ok(Allowed { app, endpoint, permit, identity, user_id, console }),
        Some((refusal, detail)) => {
            let refused = Refused::at_endpoint(refusal, app, endpoint).because(detail).having_said(console);
            Err(Refused { user_id, ..refused })
        }
    }
}

/// Whether the expressions of the endpoint and of its function hold; if not, why not, for the log. The functions they
/// call run as whoever called.
async fn guarded(
    core: &Rc<Core>,
    request: &Request<'_>,
    app: &Arc<ActiveApp>,
    endpoint: &ActiveEndpoint,
    identity: &Identity,
    console: &mut Vec<ConsoleLine>,
) -> Result<(), String> {
    let parts = errand::Parts::of(request);
    let parts = parts.request(request, endpoint);
    let surroundings = Surroundings::new(&app.expansions, &identity.user_json, parts, &endpoint.function.name);
    let guards = [("function", &endpoint.function.guard), ("endpoint", &endpoint.guard)];
    for (whose, guard) in guards.into_iter().filter_map(|(whose, guard)| Some((whose, guard.as_ref()?))) {
        let no = |why: &str| Err(format!("can_evaluate of the {whose}: {why}"));
        match holds(core, app, guard, &surroundings, identity, parts, console).await {
            Ok(true) => {}
            Ok(false) => return no("it is false"),
            Err(why) => return no(&why),
        }
    }
    Ok(())
}

async fn holds(
    core: &Rc<Core>,
    app: &Arc<ActiveApp>,
    guard: &Expression,
    surroundings: &Surroundings<'_>,
    identity: &Identity,
    request: isolate_pool::RequestParts<'_>,
    console: &mut Vec<ConsoleLine>,
) -> Result<bool, String> {
    let mut answers = Answers::default();
    // Each call answers one of the expression's functions, so this ends.
    loop {
        match guard.evaluate(surroundings, &answers) {
            Step::Is(held) => return Ok(held),
            Step::Fails(why) => return Err(why),
            Step::Call(called) => {
                let errand = Errand { function: &called.name, identity, request: Some(request) };
                let answer = match app.functions.contains_key(&called.name) {
                    true => errand::run_with(core, app, errand, called.arguments.clone(), console).await,
                    false => Err("there is no such function".to_owned()),
                };
                let answer = answer.and_then(|json| value_of(&json).ok_or_else(|| "its answer is no value".to_owned()));
                answers.put(&called, answer);
            }
        }
    }
}

//! Checks what a request must prove beside who it is: a shared secret in the query, or a signature of its body.
//!
//! In: a request whose identity is known. Out: one that may run.

use std::borrow::Cow;
use std::sync::Arc;

use isolate_pool::Identity;
use storage::model::{ActiveApp, ActiveEndpoint, Validation};

use crate::authenticate::Known;
use crate::core::Permit;
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
}

pub fn check(request: &Request<'_>, known: Known) -> Result<Allowed, Refused> {
    let Known { app, endpoint, permit, identity, user_id } = known;
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
    let refusal = refusal.or_else(|| {
        let rule = || Refusal::RuleNotMatched { function: endpoint.function.name.clone() };
        let refused = "can_evaluate is a rule expression, which this version refuses";
        endpoint.function.guarded.then(|| (rule(), refused.into()))
    });
    match refusal {
        None => Ok(Allowed { app, endpoint, permit, identity, user_id }),
        Some((refusal, detail)) => {
            let refused = Refused::at_endpoint(refusal, app, endpoint).because(detail);
            Err(Refused { user_id, ..refused })
        }
    }
}

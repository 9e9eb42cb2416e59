//! Checks what a request must prove beside who it is: a shared secret in the query, or a signature of its body.
//!
//! In: a request whose identity is known. Out: one that may run.

use std::sync::Arc;

use hmac::{Hmac, KeyInit, Mac};
use isolate_pool::Identity;
use sha2::Sha256;
use storage::model::{ActiveApp, ActiveEndpoint, Validation};

use crate::authenticate::Known;
use crate::core::Permit;
use crate::http1::target;
use crate::refusal::{Refusal, Refused};
use crate::request::Request;

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
    let refusal = match (endpoint.validation, &endpoint.secret) {
        (Validation::None, _) => None,
        (Validation::SecretAsQueryParam, Some(secret)) => {
            let presented = request.query.and_then(|query| target::first(query.as_bytes(), "secret"));
            let matches = presented.is_some_and(|presented| secret.matches(presented.as_bytes()));
            (!matches).then_some((Refusal::WrongSecret, "the secret query parameter is missing or wrong"))
        }
        (Validation::VerifyPayload, Some(secret)) => {
            let signed = request
                .header("endpoint-signature")
                .is_some_and(|signature| is_signature(signature, secret.reveal().as_bytes(), request.body));
            (!signed).then_some((Refusal::WrongSignature, "the Endpoint-Signature header is missing or wrong"))
        }
        // A deployment without the secret is refused, so this is a secret deleted by hand; nobody can know it.
        (Validation::SecretAsQueryParam, None) => Some((Refusal::WrongSecret, "the endpoint's secret does not exist")),
        (Validation::VerifyPayload, None) => Some((Refusal::WrongSignature, "the endpoint's secret does not exist")),
    };
    let refusal = refusal.or_else(|| {
        let rule = || Refusal::RuleNotMatched { function: endpoint.function.name.clone() };
        endpoint.function.guarded.then(|| (rule(), "can_evaluate is a rule expression, which this version refuses"))
    });
    match refusal {
        None => Ok(Allowed { app, endpoint, permit, identity, user_id }),
        Some((refusal, detail)) => {
            let refused = Refused::at_endpoint(refusal, app, endpoint).because(detail);
            Err(Refused { user_id, ..refused })
        }
    }
}

/// `sha256=<64 lowercase hex digits>` of HMAC-SHA256 over the body's bytes as received.
fn is_signature(header: &[u8], key: &[u8], body: &[u8]) -> bool {
    let Some(digits) = header.strip_prefix(b"sha256=") else { return false };
    let mut signature = [0; 32];
    if digits.iter().any(u8::is_ascii_uppercase) || hex::decode_to_slice(digits, &mut signature).is_err() {
        return false;
    }
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    mac.update(body);
    mac.verify_slice(&signature).is_ok()
}

#[cfg(test)]
mod tests {
    use super::is_signature;

    #[test]
    fn the_documented_signature_is_good_and_others_are_not() {
        let good = b"sha256=d4f0537db4e230d7a6028a6f7c3bb1b57c9d16f39176d78697e559ac333e0b36";
        let key = b"Super5ecr3tPa55w0rd";
        assert!(is_signature(good, key, b"{ \"message\": \"Hello!\" }"));
        assert!(!is_signature(good, key, b"{\"message\":\"Hello!\"}"));
        assert!(!is_signature(good, b"other", b"{ \"message\": \"Hello!\" }"));
        assert!(!is_signature(&good[7..], key, b"{ \"message\": \"Hello!\" }"));
        assert!(!is_signature(&good.to_ascii_uppercase(), key, b"{ \"message\": \"Hello!\" }"));
        assert!(!is_signature(b"sha256=", key, b""));
    }
}

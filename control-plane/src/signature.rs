//! `signature` in an endpoint's entry: which header a sender that is not ours puts its signature in, and how it is made.
//!
//! In: the key as it came, `{"header": …, "scheme": …, "tolerance_s": …}`, each of which may be left out. Out: a
//! [`SignatureForm`], or the key and what is wrong with it. App Services had no such key; it is kept and exported as it
//! came.

use serde_json::Value as Json;

use storage::model::signature::TOLERANCE_S;
use storage::model::{EndpointConfig, SignatureForm, SignatureScheme, Validation};

use crate::cors::is_header_name;
use crate::limits::SIGNATURE_TOLERANCE_S_MAX;

const KEY: &str = "signature";

pub fn form(endpoint: &EndpointConfig) -> Result<SignatureForm, String> {
    match endpoint.extra.get(KEY) {
        None | Some(Json::Null) => Ok(SignatureForm::default()),
        Some(_) if endpoint.validation != Validation::VerifyPayload => {
            Err("signature: is only for validation_method VERIFY_PAYLOAD".to_owned())
        }
        Some(json) => parse(json),
    }
}

fn parse(json: &Json) -> Result<SignatureForm, String> {
    let Json::Object(fields) = json else { return Err("signature: must be an object".to_owned()) };
    if let Some(other) = fields.keys().find(|key| !matches!(key.as_str(), "header" | "scheme" | "tolerance_s")) {
        return Err(format!("signature.{other}: is none of header, scheme and tolerance_s"));
    }
    let scheme = match fields.get("scheme") {
        None => SignatureScheme::Sha256,
        Some(scheme) => scheme.as_str().and_then(SignatureScheme::parse).ok_or_else(|| {
            let known = SignatureScheme::ALL.map(SignatureScheme::as_str).join(", ");
            format!("signature.scheme: {scheme} is not one of {known}")
        })?,
    };
    let header = match fields.get("header") {
        None => scheme.usual_header().map(str::to_owned),
        Some(Json::String(name)) if is_header_name(name) => Some(name.clone()),
        Some(other) => return Err(format!("signature.header: {other} cannot be the name of a header")),
    };
    let tolerance_s = match fields.get("tolerance_s") {
        None => TOLERANCE_S,
        Some(json) => json
            .as_u64()
            .and_then(|seconds| u32::try_from(seconds).ok())
            .filter(|seconds| (1..=SIGNATURE_TOLERANCE_S_MAX).contains(seconds))
            .ok_or_else(|| format!("signature.tolerance_s: {json} is not between 1 and {SIGNATURE_TOLERANCE_S_MAX}"))?,
    };
    Ok(SignatureForm { header, scheme, tolerance_s })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_form_is_read_or_named_with_what_is_wrong() {
        let github = parse(&json!({ "header": "X-Hub-Signature-256" })).unwrap();
        assert_eq!((github.header.as_deref(), github.scheme), (Some("X-Hub-Signature-256"), SignatureScheme::Sha256));
        let stripe = parse(&json!({ "scheme": "stripe", "tolerance_s": 60 })).unwrap();
        assert_eq!((stripe.header.as_deref(), stripe.tolerance_s), (Some("Stripe-Signature"), 60));
        for (wrong, reason) in [
            (json!("X-Hub-Signature-256"), "signature: must be an object"),
            (json!({ "headers": "X" }), "signature.headers: is none of header, scheme and tolerance_s"),
            (json!({ "header": "a b" }), "signature.header: \"a b\" cannot be the name of a header"),
            (json!({ "scheme": "md5" }), "signature.scheme: \"md5\" is not one of sha256, hex, base64, stripe, slack"),
            (json!({ "tolerance_s": 0 }), "signature.tolerance_s: 0 is not between 1 and 86400"),
        ] {
            assert_eq!(parse(&wrong), Err(reason.to_owned()));
        }
    }
}

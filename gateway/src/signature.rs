//! Whether a body was signed by somebody who knows a secret, in the ways senders write that down.
//!
//! In: the form an endpoint is configured for, a request, the secret, the time. Out: that it is signed, or what was
//! missing, for the app's log. The bytes that were received are what is signed, never a second spelling of them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use storage::model::{SignatureForm, SignatureScheme};

use crate::request::Request;

/// The platform's header, and the one that incoming webhooks had; the form is the same.
const OURS: [&str; 2] = ["endpoint-signature", "x-hook-signature"];

/// Where Slack puts the time it signed with.
const SLACK_TIME: &str = "x-slack-request-timestamp";

/// `Err` says what is wrong, without repeating what was sent.
pub fn check(form: &SignatureForm, request: &Request<'_>, key: &[u8], now_s: i64) -> Result<(), String> {
    let (name, value) = match &form.header {
        Some(name) => (name.as_str(), request.header(name)),
        None => {
            let found = OURS.iter().find_map(|name| Some((*name, request.header(name)?)));
            found.map_or((OURS[0], None), |(name, value)| (name, Some(value)))
        }
    };
    let value = value.ok_or_else(|| format!("there is no {name} header"))?;
    let signed = match form.scheme {
        SignatureScheme::Sha256 => value
            .strip_prefix(b"sha256=")
            .and_then(digits)
            .is_some_and(|signature| is_signature(key, &[request.body], &signature)),
        SignatureScheme::Hex => digits(value).is_some_and(|signature| is_signature(key, &[request.body], &signature)),
        SignatureScheme::Base64 => {
            STANDARD.decode(value).is_ok_and(|signature| is_signature(key, &[request.body], &signature))
        }
        SignatureScheme::Stripe => {
            let part = |wanted: &'static [u8]| {
                value.split(|byte| *byte == b',').filter_map(move |part| part.trim_ascii().strip_prefix(wanted))
            };
            let time = part(b"t=").next().ok_or_else(|| format!("the {name} header has no t="))?;
            fresh(time, now_s, form.tolerance_s).map_err(|reason| format!("the {name} header: {reason}"))?;
            part(b"v1=").filter_map(digits).any(|signature| is_signature(key, &[time, b".", request.body], &signature))
        }
        SignatureScheme::Slack => {
            let time = request.header(SLACK_TIME).ok_or_else(|| format!("there is no {SLACK_TIME} header"))?;
            fresh(time, now_s, form.tolerance_s).map_err(|reason| format!("the {SLACK_TIME} header: {reason}"))?;
            value
                .strip_prefix(b"v0=")
                .and_then(digits)
                .is_some_and(|signature| is_signature(key, &[b"v0:", time, b":", request.body], &signature))
        }
    };
    if signed {
        Ok(())
    } else {
        Err(format!("the {name} header is not the body's signature ({})", form.scheme.as_str()))
    }
}

/// 64 lower-case hexadecimal digits.
fn digits(text: &[u8]) -> Option<[u8; 32]> {
    let mut signature = [0; 32];
    let lower = !text.iter().any(u8::is_ascii_uppercase);
    (lower && hex::decode_to_slice(text, &mut signature).is_ok()).then_some(signature)
}

/// Compared in a time that says nothing about where the two differ.
fn is_signature(key: &[u8], pieces: &[&[u8]], signature: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else { return false };
    pieces.iter().for_each(|piece| mac.update(piece));
    mac.verify_slice(signature).is_ok()
}

/// A signature is good for a while around its time; clocks differ in both directions.
fn fresh(time: &[u8], now_s: i64, tolerance_s: u32) -> Result<(), String> {
    let signed_s: i64 = std::str::from_utf8(time)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))
        .and_then(|text| text.parse().ok())
        .ok_or("its time is not a number of seconds")?;
    let apart = now_s.abs_diff(signed_s);
    if apart > u64::from(tolerance_s) {
        return Err(format!("its time is {apart} s from ours, more than tolerance_s = {tolerance_s}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};
    use std::time::Instant;

    use storage::model::CorrelationId;

    use super::*;
    use crate::node::{Door, Named};

    const SECRET: &[u8] = b"Super5ecr3tPa55w0rd";
    const BODY: &[u8] = b"{ \"message\": \"Hello!\" }";
    const GOOD: &str = "d4f0537db4e230d7a6028a6f7c3bb1b57c9d16f39176d78697e559ac333e0b36";

    fn signed(form: &SignatureForm, headers: &[(&str, &str)], body: &[u8], key: &[u8], now_s: i64) -> bool {
        let request = Request {
            method: "POST",
            path: "/",
            query: None,
            named: Named { door: Door::Plain, app: None },
            headers: headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect(),
            header_lines: b"",
            body,
            peer: IpAddr::V4(Ipv4Addr::LOCALHOST),
            forwarded: false,
            protocol: "HTTP/1.1",
            from_proxy: false,
            secure: false,
            correlation: CorrelationId::new(),
            started: Instant::now(),
            started_ms: 0,
        };
        check(form, &request, key, now_s).is_ok()
    }

    fn form(scheme: SignatureScheme, header: Option<&str>) -> SignatureForm {
        SignatureForm { header: header.map(str::to_owned), scheme, tolerance_s: 300 }
    }

    fn hex_of(key: &[u8], text: &str) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
        mac.update(text.as_bytes());
        hex::encode(mac.finalize().into_bytes())
    }

    #[test]
    fn the_documented_signatures_are_good_and_others_are_not() {
        let ours = SignatureForm::default();
        let prefixed = format!("sha256={GOOD}");
        for (headers, body, key, good) in [
            (&[("Endpoint-Signature", prefixed.as_str())][..], BODY, SECRET, true),
            (&[("X-Hook-Signature", &prefixed)], BODY, SECRET, true),
            (&[("X-Hub-Signature-256", &prefixed)], BODY, SECRET, false),
            (&[("Endpoint-Signature", &prefixed)], b"{\"message\":\"Hello!\"}", SECRET, false),
            (&[("Endpoint-Signature", &prefixed)], BODY, b"other", false),
            (&[("Endpoint-Signature", GOOD)], BODY, SECRET, false),
            (&[("Endpoint-Signature", &prefixed.to_uppercase())], BODY, SECRET, false),
            (&[("Endpoint-Signature", "sha256=")], b"", SECRET, false),
            // A sender that has our header and gets it wrong is not saved by the old one.
            (&[("Endpoint-Signature", "sha256=00"), ("X-Hook-Signature", &prefixed)], BODY, SECRET, false),
            (
                &[("X-Hook-Signature", "sha256=828ee180512eaf8a6229eda7eea72323f68e9c0f0093b11a578b0544c5777862")],
                b"{\"message\":\"MESSAGE\"}",
                b"12345",
                true,
            ),
        ] {
            assert_eq!(signed(&ours, headers, body, key, 0), good, "{headers:?}");
        }
    }

    #[test]
    fn other_senders_headers_are_read_where_the_endpoint_says_so() {
        let github = form(SignatureScheme::Sha256, Some("X-Hub-Signature-256"));
        // GitHub's own documented example.
        let value = "sha256=757107ea0eb2509fc211221cce984b8a37570b6d7586c22c46f4379c8b043e17";
        let key = b"It's a Secret to Everybody";
        assert!(signed(&github, &[("x-hub-signature-256", value)], b"Hello, World!", key, 0));
        assert!(!signed(&github, &[("x-hub-signature-256", value)], b"Hello, World?", key, 0));
        assert!(!signed(&github, &[("Endpoint-Signature", value)], b"Hello, World!", key, 0));
        let plain = form(SignatureScheme::Hex, Some("X-Signature"));
        assert!(signed(&plain, &[("X-Signature", GOOD)], BODY, SECRET, 0));
        let shop = form(SignatureScheme::Base64, Some("X-Shopify-Hmac-Sha256"));
        let encoded = STANDARD.encode(hex::decode(GOOD).unwrap());
        assert!(signed(&shop, &[("X-Shopify-Hmac-Sha256", &encoded)], BODY, SECRET, 0));
        assert!(!signed(&shop, &[("X-Shopify-Hmac-Sha256", GOOD)], BODY, SECRET, 0));
    }

    #[test]
    fn a_signature_with_a_time_in_it_grows_old() {
        let stripe = form(SignatureScheme::Stripe, Some("Stripe-Signature"));
        let digits = hex_of(b"whsec", "1700000000.{}");
        let header = format!("t=1700000000,v1={},v1={digits},v0=old", "0".repeat(64));
        for (now_s, good) in
            [(1_700_000_000, true), (1_700_000_300, true), (1_699_999_700, true), (1_700_000_301, false)]
        {
            assert_eq!(signed(&stripe, &[("Stripe-Signature", &header)], b"{}", b"whsec", now_s), good, "{now_s}");
        }
        for wrong in [format!("v1={digits}"), format!("t=soon,v1={digits}"), format!("t=1700000001,v1={digits}")] {
            assert!(!signed(&stripe, &[("Stripe-Signature", &wrong)], b"{}", b"whsec", 1_700_000_000), "{wrong}");
        }
        let slack = form(SignatureScheme::Slack, Some("X-Slack-Signature"));
        // Slack's own documented example.
        let body = b"token=xyzz0WbapA4vBCDEFasx0q6G&team_id=T1DC2JH3J&team_domain=testteamnow&channel_id=G8PSS9T3V&channel_name=foobar&user_id=U2CERLKJA&user_name=roadrunner&command=%2Fwebhook-collect&text=&response_url=https%3A%2F%2Fhooks.slack.com%2Fcommands%2FT1DC2JH3J%2F397700885554%2F96rGlfmibIGlgcZRskXaIFfN&trigger_id=398738663015.47445629121.803a0bc887a14d10d2c447fce8b6703c";
        let key = b"8f742231b10e8888abcd99yyyzzz85a5";
        let headers = [
            ("X-Slack-Signature", "v0=a2114d57b48eac39b9ad189dd8316235a7b4a8d21a10bd27519666489c69b503"),
            ("X-Slack-Request-Timestamp", "1531420618"),
        ];
        assert!(signed(&slack, &headers, body, key, 1_531_420_618));
        assert!(!signed(&slack, &headers, body, key, 1_531_420_619 + 300));
        assert!(!signed(&slack, &headers[..1], body, key, 1_531_420_618));
    }
}

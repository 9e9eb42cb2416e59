//! What a node tells another about a request it sends on: who sent it, under which correlation id, to which host; and the
//! proof that it was a node that said so.
//!
//! In, on the sending side: those facts, the method, the target, the secret that nodes share, the time. Out: the value of
//! one header. On the receiving side the other way round, or why the header is not believed. The proof covers everything
//! but the body, so that large bodies cost nothing; whoever can change bytes between nodes is kept out by TLS. It is good
//! for [`PEER_CLOCK_MS`], since clocks differ.
//!
//! A request that carries such a header was sent on once and is never sent on again. Not here: who is asked for what
//! (`forward`).

use std::borrow::Cow;
use std::net::IpAddr;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;
use storage::model::{CorrelationId, SecretText};

use crate::limits::PEER_CLOCK_MS;
use crate::node::Node;
use crate::request::Request;

/// The header's name. On an answer it says that the node did not take the request, and why not.
pub const HEADER: &str = "x-portico-peer";

/// What the sending node says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claims {
    pub sender: IpAddr,
    pub correlation: CorrelationId,
    /// The `Host` the client asked, since the one between nodes is the receiver's own.
    pub host: String,
}

/// Why claims are not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Distrust {
    /// They are not of our form, or of another version.
    Form,
    /// They were signed with another secret, or for another request.
    Secret,
    /// They were signed so many milliseconds ago; negative: from now.
    Clock(i64),
}

impl Distrust {
    /// What the sending node is told, in a word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Form => "form",
            Self::Secret => "secret",
            Self::Clock(_) => "clock",
        }
    }
}

impl Claims {
    /// The header's value: `v1;<ms>;<address>;<co_id>;<host in hex>;<mac>`.
    pub fn sign(&self, secret: &SecretText, method: &str, target: &str, now_ms: i64) -> String {
        let Self { sender, correlation, host } = self;
        let said = format!("v1;{now_ms};{sender};{correlation};{}", hex::encode(host));
        let proof = hex::encode(mac(secret, method, target, &said).finalize().into_bytes());
        format!("{said};{proof}")
    }

    pub fn verify(
        secret: &SecretText,
        method: &str,
        target: &str,
        value: &[u8],
        now_ms: i64,
    ) -> Result<Self, Distrust> {
        let text = std::str::from_utf8(value).map_err(|_| Distrust::Form)?;
        let (said, proof) = text.rsplit_once(';').ok_or(Distrust::Form)?;
        let proof = hex::decode(proof).map_err(|_| Distrust::Form)?;
        // Before anything that was said is looked at.
        mac(secret, method, target, said).verify_slice(&proof).map_err(|_| Distrust::Secret)?;
        let parts: Vec<&str> = said.split(';').collect();
        let ["v1", written_ms, sender, correlation, host] = parts.as_slice() else { return Err(Distrust::Form) };
        let written_ms: i64 = written_ms.parse().map_err(|_| Distrust::Form)?;
        let age_ms = now_ms.saturating_sub(written_ms);
        if age_ms.unsigned_abs() > PEER_CLOCK_MS {
            return Err(Distrust::Clock(age_ms));
        }
        Ok(Self {
            sender: sender.parse().map_err(|_| Distrust::Form)?,
            correlation: correlation.parse().map_err(|_| Distrust::Form)?,
            host: hex::decode(host).ok().and_then(|host| String::from_utf8(host).ok()).ok_or(Distrust::Form)?,
        })
    }

    /// The header lines of `request` as its client sent them, for the app's log: with the client's `Host`, without ours.
    pub fn header_lines(&self, request: &Request<'_>) -> Vec<u8> {
        let mut lines = Vec::with_capacity(request.header_lines.len());
        for (name, value) in self.headers(request) {
            lines.extend_from_slice(name.as_bytes());
            lines.extend_from_slice(b": ");
            lines.extend_from_slice(value);
            lines.extend_from_slice(b"\r\n");
        }
        lines
    }

    /// The request as the client sent it to the other node. `lines`: what [`Self::header_lines`] gave.
    pub fn restore<'b>(&'b self, node: &Node, request: &Request<'b>, lines: &'b [u8]) -> Request<'b> {
        Request {
            named: node.read_host(&self.host),
            headers: self.headers(request),
            header_lines: lines,
            peer: self.sender,
            correlation: self.correlation,
            forwarded: true,
            ..*request
        }
    }

    fn headers<'b>(&'b self, request: &Request<'b>) -> Vec<(&'b str, &'b [u8])> {
        let host = std::iter::once(("host", self.host.as_bytes()));
        let others = request.headers.iter().copied().filter(|(name, _)| {
            !name.eq_ignore_ascii_case(HEADER) && !name.eq_ignore_ascii_case("host") && !name.starts_with(':')
        });
        host.chain(others).collect()
    }
}

/// The path that says which app is meant whatever the host: the host between nodes is the receiver's own.
pub fn path<'a>(path: &'a str, host_app: Option<&str>) -> Cow<'a, str> {
    match host_app {
        Some(app) if path.starts_with("/endpoint/") => format!("/app/{app}{path}").into(),
        _ => path.into(),
    }
}

fn mac(secret: &SecretText, method: &str, target: &str, said: &str) -> Hmac<Sha256> {
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()).expect("HMAC takes keys of any length");
    // What it is for comes first, so that nothing signed with the same secret for another purpose passes for this.
    for part in ["portico peer request", method, target, said] {
        mac.update(part.as_bytes());
        mac.update(b"\n");
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn claims_are_believed_as_they_were_signed_and_not_otherwise() {
        let secret = SecretText::new("0123456789abcdef0123456789abcdef");
        let claims = Claims {
            sender: "2001:db8::7".parse().unwrap(),
            correlation: CorrelationId::new(),
            host: "a-b.eu-west-1.aws.data.example.org:8443".to_owned(),
        };
        let now = 1_700_000_000_000;
        let value = claims.sign(&secret, "POST", "/app/a-b/endpoint/x?y=1", now);
        let open = |secret: &SecretText, method, target, value: &str, now| {
            Claims::verify(secret, method, target, value.as_bytes(), now)
        };
        let target = "/app/a-b/endpoint/x?y=1";
        assert_eq!(open(&secret, "POST", target, &value, now + 1000), Ok(claims.clone()));
        let late = PEER_CLOCK_MS as i64 + 1;
        let other = SecretText::new("fedcba9876543210fedcba9876543210");
        let moved = value.replace("2001:db8::7", "2001:db8::8");
        for (secret, method, target, value, now, distrust) in [
            (&other, "POST", target, value.as_str(), now, Distrust::Secret),
            (&secret, "GET", target, &value, now, Distrust::Secret),
            (&secret, "POST", "/app/a-b/endpoint/z", &value, now, Distrust::Secret),
            (&secret, "POST", target, &moved, now, Distrust::Secret),
            (&secret, "POST", target, &value, now + late, Distrust::Clock(late)),
            (&secret, "POST", target, &value, now - late, Distrust::Clock(-late)),
            (&secret, "POST", target, "", now, Distrust::Form),
            (&secret, "POST", target, "v1;1;2;3;4;zz", now, Distrust::Form),
            (&secret, "POST", target, &value[..value.len() - 2], now, Distrust::Secret),
        ] {
            assert_eq!(open(secret, method, target, value, now), Err(distrust), "{method} {target} {value}");
        }
    }

    #[test]
    fn the_app_stands_in_the_path_between_nodes() {
        for (before, host_app, after) in [
            ("/endpoint/x", Some("a-b"), "/app/a-b/endpoint/x"),
            ("/app/c-d/endpoint/x", Some("a-b"), "/app/c-d/endpoint/x"),
            ("/app/c-d/endpoint/x", None, "/app/c-d/endpoint/x"),
            ("/api/client/v2.0/app/a-b/location", None, "/api/client/v2.0/app/a-b/location"),
        ] {
            assert_eq!(path(before, host_app), after);
        }
    }
}

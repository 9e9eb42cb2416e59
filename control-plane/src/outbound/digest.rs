//! HTTP Digest authentication (RFC 7616): from a server's challenge to the `Authorization` that answers it.
//!
//! In: `WWW-Authenticate` values. Out: the header, for MD5 and SHA-256 and their `-sess` forms, with `qop=auth` or, for old
//! servers, without any. Not here: `auth-int`, user name hashing, and keeping a nonce for the next request.

use md5::Md5;
use sha2::{Digest as _, Sha256};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Hash {
    Md5,
    Sha256,
}

impl Hash {
    fn hex(self, text: &str) -> String {
        match self {
            Self::Md5 => hex::encode(Md5::digest(text)),
            Self::Sha256 => hex::encode(Sha256::digest(text)),
        }
    }
}

/// A challenge we can answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Challenge {
    hash: Hash,
    session: bool,
    realm: String,
    nonce: String,
    opaque: Option<String>,
    /// `qop=auth` is on offer.
    qop: bool,
    /// As the server wrote it, to be repeated.
    algorithm: Option<String>,
}

impl Challenge {
    /// The strongest challenge among the headers that we can answer.
    pub fn find<'a>(headers: impl Iterator<Item = &'a str>) -> Option<Self> {
        headers.flat_map(challenges).filter_map(Self::read).max_by_key(|challenge| challenge.hash)
    }

    fn read(parameters: Vec<(String, String)>) -> Option<Self> {
        let get = |name: &str| parameters.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
        let algorithm = get("algorithm");
        let (hash, session) = match algorithm.as_deref().map(str::to_ascii_lowercase).as_deref() {
            None | Some("md5") => (Hash::Md5, false),
            Some("md5-sess") => (Hash::Md5, true),
            Some("sha-256") => (Hash::Sha256, false),
            Some("sha-256-sess") => (Hash::Sha256, true),
            _ => return None,
        };
        let offered = get("qop");
        let qop =
            offered.as_deref().is_some_and(|list| list.split(',').any(|one| one.trim().eq_ignore_ascii_case("auth")));
        if offered.is_some() && !qop {
            return None;
        }
        Some(Self { hash, session, realm: get("realm")?, nonce: get("nonce")?, opaque: get("opaque"), qop, algorithm })
    }

    /// The `Authorization` header. `uri` is the request's target, `cnonce` is fresh randomness.
    pub fn answer(&self, username: &str, password: &str, method: &str, uri: &str, cnonce: &str) -> String {
        const COUNT: &str = "00000001";
        let Self { hash, realm, nonce, .. } = self;
        let mut secret = hash.hex(&format!("{username}:{realm}:{password}"));
        if self.session {
            secret = hash.hex(&format!("{secret}:{nonce}:{cnonce}"));
        }
        let request = hash.hex(&format!("{method}:{uri}"));
        let response = if self.qop {
            hash.hex(&format!("{secret}:{nonce}:{COUNT}:{cnonce}:auth:{request}"))
        } else {
            hash.hex(&format!("{secret}:{nonce}:{request}"))
        };
        let quoted = |text: &str| text.replace('\\', "\\\\").replace('"', "\\\"");
        let (username, realm, nonce) = (quoted(username), quoted(realm), quoted(nonce));
        let mut header = format!(
            r#"Digest username="{username}", realm="{realm}", nonce="{nonce}", uri="{uri}", response="{response}""#
        );
        if let Some(algorithm) = &self.algorithm {
            header.push_str(&format!(", algorithm={algorithm}"));
        }
        if let Some(opaque) = &self.opaque {
            header.push_str(&format!(r#", opaque="{}""#, quoted(opaque)));
        }
        if self.qop || self.session {
            header.push_str(&format!(r#", cnonce="{cnonce}""#));
        }
        if self.qop {
            header.push_str(&format!(", qop=auth, nc={COUNT}"));
        }
        header
    }
}

/// The parameters of every Digest challenge in one header value, which may hold several challenges of several schemes.
fn challenges(header: &str) -> Vec<Vec<(String, String)>> {
    let mut found: Vec<Vec<(String, String)>> = Vec::new();
    let mut ours = false;
    for part in split_outside_quotes(header) {
        let part = part.trim();
        // `Scheme name=value` begins a challenge, `name=value` goes on with it.
        let (scheme, parameter) = match part.split_once(|c: char| c.is_ascii_whitespace()) {
            Some((scheme, rest)) if !scheme.contains('=') => (Some(scheme), rest.trim()),
            _ => (None, part),
        };
        if let Some(scheme) = scheme {
            ours = scheme.eq_ignore_ascii_case("digest");
            if ours {
                found.push(Vec::new());
            }
        }
        if let (true, Some((name, value)), Some(challenge)) = (ours, parameter.split_once('='), found.last_mut()) {
            challenge.push((name.trim().to_ascii_lowercase(), unquoted(value.trim())));
        }
    }
    found
}

fn split_outside_quotes(text: &str) -> Vec<&str> {
    let (mut parts, mut from, mut quoted, mut escaped) = (Vec::new(), 0, false, false);
    for (at, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

fn unquoted(value: &str) -> String {
    let Some(inner) = value.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')) else { return value.to_owned() };
    let mut text = String::with_capacity(inner.len());
    let mut characters = inner.chars();
    while let Some(character) = characters.next() {
        text.extend(if character == '\\' { characters.next() } else { Some(character) });
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 7616 §3.9.1.
    #[test]
    fn the_standards_own_example() {
        let common = r#"realm="http-auth@example.org", qop="auth, auth-int", nonce="7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v", opaque="FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS""#;
        let md5 = format!("Digest {common}, algorithm=MD5");
        let sha = format!("Digest {common}, algorithm=SHA-256");
        let cnonce = "f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ";
        let answer = |header: &str| {
            let challenge = Challenge::find([header].into_iter()).unwrap();
            challenge.answer("Mufasa", "Circle of Life", "GET", "/dir/index.html", cnonce)
        };
        assert!(answer(&md5).contains(r#"response="8ca523f5e9506fed4657c9700eebdbec""#), "{}", answer(&md5));
        assert!(
            answer(&sha).contains(r#"response="753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1""#)
        );
        // Several challenges, in one header or two: the strongest is answered.
        for headers in [vec![md5.as_str(), sha.as_str()], vec![&format!("Basic realm=\"x, y\", {md5}, {sha}")]] {
            let challenge = Challenge::find(headers.into_iter()).unwrap();
            assert_eq!(challenge.hash, Hash::Sha256);
        }
    }

    #[test]
    fn an_old_server_without_qop_is_answered_the_old_way() {
        // RFC 2069's form.
        let header = r#"Digest realm="testrealm@host.com", nonce="dcd98b7102dd2f0e8b11d0f600bfb0c093", opaque="5ccc069c403ebaf9f0171e9517f40e41""#;
        let challenge = Challenge::find([header].into_iter()).unwrap();
        let answer = challenge.answer("Mufasa", "Circle Of Life", "GET", "/dir/index.html", "unused");
        assert!(answer.contains(r#"response="670fd8c2df070c60b045671b8b24ff02""#), "{answer}");
        assert!(!answer.contains("qop"), "{answer}");
    }

    #[test]
    fn what_cannot_be_answered_is_not() {
        for header in
            ["Basic realm=\"a\"", "Digest realm=\"a\"", "Digest realm=\"a\", nonce=\"n\", algorithm=WHAT", "Digest", ""]
        {
            assert_eq!(Challenge::find([header].into_iter()), None, "{header}");
        }
    }
}

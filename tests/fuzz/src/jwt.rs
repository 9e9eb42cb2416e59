//! Tokens: those that others signed (the `custom-token` provider), those of our own sessions, and key sets of issuers.
//!
//! The first byte of an input says what the rest is: a token as a stranger presents it; a header and claims, each on a line,
//! which are signed here as the issuer would, or as the server itself would; or a key set.
//!
//! Promises: only what one of the keys signed is accepted, with the algorithm that was agreed, within its time, for who is
//! asked; what is accepted says exactly whose it is; whatever fits is accepted. A token with one letter changed, of another
//! app, of another kind or for another purpose is worth nothing.

use std::sync::{Arc, LazyLock};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use control_plane::limits::{ISSUER_KEYS_MAX, TOKEN_BYTES_MAX};
use control_plane::strangers::{Proven, Purpose, Signers, UserSessions, Vault, app_of, verify};
use control_plane::users::{Fetch, TokenKind};
use futures_util::FutureExt;
use futures_util::future::{BoxFuture, ready};
use hmac::{Hmac, KeyInit, Mac};
use serde_json::{Map, Value as Json};
use sha2::Sha256;
use storage::model::{AppId, CustomToken, MetadataField, SecretText, TokenKeys};

use crate::dice::Dice;

const NOW: i64 = 1_700_000_000;
const KEYS: [&str; 2] = ["a key of at least thirty-two letters", "0123456789abcdef0123456789abcdef"];
const AUDIENCE: &str = "shop-abcde";
const GOOD_HEADER: &[u8] = br#"{"alg":"HS256","typ":"JWT"}"#;

static VAULT: LazyLock<Arc<Vault>> = LazyLock::new(|| Arc::new(Vault::of(&"5a".repeat(32)).expect("64 digits")));

fn app(number: u8) -> AppId {
    AppId::from_bytes([number; 12])
}

pub fn run(data: &[u8]) {
    let Some((what, rest)) = data.split_first() else { return };
    match what % 4 {
        0 => {
            if let Ok(token) = std::str::from_utf8(rest) {
                presented(token);
            }
        }
        1 => {
            let (header, claims) = parts(rest);
            of_an_issuer(header, claims);
        }
        2 => {
            let (header, claims) = parts(rest);
            of_a_session(header, claims);
        }
        _ => key_set(rest),
    }
}

pub fn seeds() -> Vec<Vec<u8>> {
    let claims = |claims: &str| [GOOD_HEADER, b"\n", claims.as_bytes()].concat();
    let good = r#"{"sub":"u1","aud":"shop-abcde","exp":1700000060,"iat":1699999999,"user":{"email":"a@b.c"}}"#;
    let access = r#"{"typ":"access","sub":"u1","iss":"s1","exp":1700000060,"iat":1699999999,"portico_n":0}"#;
    let refresh = r#"{"typ":"refresh","sub":"u1","baas_id":"s1","exp":1700000060,"iat":1699999999,"portico_n":3}"#;
    let keys = r#"{"keys":[{"kty":"RSA","use":"sig","alg":"RS256","kid":"a","n":"AQAB","e":"AQAB"},{"kty":"EC"}]}"#;
    let token = signed(GOOD_HEADER, good.as_bytes(), KEYS[1].as_bytes());
    [
        (0, token.clone().into_bytes()),
        (0, signed(br#"{"alg":"none"}"#, good.as_bytes(), b"").into_bytes()),
        (0, token.replace('.', "..").into_bytes()),
        (1, claims(good)),
        (1, claims(r#"{"sub":"u1","aud":["x","shop-abcde"],"exp":1700000060.5,"nbf":1700000000,"iat":null}"#)),
        (1, claims(r#"{"sub":"","aud":null,"exp":-9223372036854775808}"#)),
        (1, [br#"{"alg":"RS256","kid":"a","jwk":{},"crit":["exp"]}"#, b"\n".as_slice(), good.as_bytes()].concat()),
        (2, claims(access)),
        (2, claims(refresh)),
        (3, keys.as_bytes().to_vec()),
    ]
    .into_iter()
    .map(|(what, rest): (u8, Vec<u8>)| [&[what][..], &rest].concat())
    .collect()
}

fn parts(rest: &[u8]) -> (&[u8], &[u8]) {
    let line = rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len());
    (&rest[..line], rest.get(line + 1..).unwrap_or_default())
}

fn signed(header: &[u8], claims: &[u8], key: &[u8]) -> String {
    let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
    let signature = URL_SAFE_NO_PAD.encode(mac(&message, key));
    format!("{message}.{signature}")
}

fn mac(message: &str, key: &[u8]) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes keys of any length");
    mac.update(message.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

/// What a token says when one of `keys` signed it; found without the code that is tried here.
fn said(token: &str, keys: &[&[u8]]) -> Option<(Json, Map<String, Json>)> {
    let (message, signature) = token.rsplit_once('.')?;
    let (header, claims) = message.split_once('.')?;
    let signature = URL_SAFE_NO_PAD.decode(signature).ok()?;
    keys.iter().any(|key| mac(message, key) == signature).then_some(())?;
    let header = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(header).ok()?).ok()?;
    let claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()?;
    Some((header, claims))
}

// --- of others ------------------------------------------------------------------------------------------------------

struct Document(Vec<u8>);

impl Fetch for Document {
    fn get(&self, _: &str) -> BoxFuture<'static, Result<Vec<u8>, String>> {
        ready(Ok(self.0.clone())).boxed()
    }
}

fn provider(keys: TokenKeys) -> CustomToken {
    let field = |path: &[&str]| MetadataField {
        required: false,
        path: path.iter().map(ToString::to_string).collect(),
        field_name: path[path.len() - 1].to_owned(),
    };
    let metadata = vec![field(&["user", "email"]), field(&["roles"])];
    CustomToken { audiences: vec![AUDIENCE.to_owned()], any_audience: false, keys, metadata }
}

fn custom(keys: &[&str]) -> CustomToken {
    provider(TokenKeys::Hs256(keys.iter().map(|key| SecretText::new(*key)).collect()))
}

fn verified(provider: &CustomToken, document: &[u8], token: &str) -> Result<Proven, String> {
    let signers = Signers::new(Arc::new(Document(document.to_vec())));
    verify(provider, &signers, token, NOW).now_or_never().expect("nothing is waited for")
}

fn presented(token: &str) {
    let accepted = verified(&custom(&KEYS), b"", token);
    if accepted.is_ok() {
        check_proven(token, accepted.as_ref());
    }
    // A public key is public, and an empty key is no key.
    assert!(verified(&custom(&[]), b"", token).is_err(), "without a key nobody is believed");
    let _ = app_of(token);
    read_session(token);
}

fn of_an_issuer(header: &[u8], claims: &[u8]) {
    let token = signed(header, claims, KEYS[1].as_bytes());
    let proven = verified(&custom(&KEYS), b"", &token);
    check_proven(&token, proven.as_ref());
    let foreign = signed(header, claims, b"a key that nobody here has ever seen");
    assert!(verified(&custom(&KEYS), b"", &foreign).is_err(), "another's key proves nothing");
    if proven.is_ok() {
        changed(&token, |token| verified(&custom(&KEYS), b"", token).is_ok());
        read_session(&token);
        let document = br#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#;
        let other = verified(&provider(TokenKeys::Fetched("http://issuer".to_owned())), document, &token);
        assert!(other.is_err(), "the token does not choose its algorithm");
    }
}

/// Holds what came of a token against what it says.
fn check_proven(token: &str, proven: Result<&Proven, &String>) {
    let keys = KEYS.map(str::as_bytes);
    let Some((header, claims)) = said(token, &keys) else {
        assert!(proven.is_err(), "what nobody signed is not believed");
        return;
    };
    let time = |name: &str| claims.get(name).and_then(|time| time.as_i64().or(time.as_f64().map(|time| time as i64)));
    let subject = claims.get("sub").and_then(Json::as_str).unwrap_or_default();
    let for_us = match claims.get("aud") {
        Some(Json::Array(several)) => several.contains(&Json::from(AUDIENCE)),
        other => other == Some(&Json::from(AUDIENCE)),
    };
    match proven {
        Ok(proven) => {
            assert_eq!(header.get("alg"), Some(&Json::from("HS256")), "the algorithm is the provider's");
            assert!(time("exp").is_some_and(|time| time > NOW) && for_us && !subject.is_empty());
            assert_eq!(proven.subject, subject, "a token is whose it says");
            assert!(storage::value::check::document(&proven.data).is_ok(), "what it says can be kept");
            assert!(token.len() <= TOKEN_BYTES_MAX);
        }
        Err(why) => {
            let in_time = time("exp").is_some_and(|time| time > NOW)
                && ["nbf", "iat"].iter().all(|name| match claims.get(*name) {
                    None | Some(Json::Null) => true,
                    Some(_) => time(name).is_some_and(|time| time <= NOW),
                });
            let plain = token.starts_with(&URL_SAFE_NO_PAD.encode(GOOD_HEADER)) && token.len() < 4096;
            // Claims that are there twice may be refused (RFC 7519, section 4), also by another spelling.
            let text =
                token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok()).unwrap_or_default();
            let text = String::from_utf8_lossy(&text);
            let once = |name: &str| text.matches(name).count() <= 1;
            let plain =
                plain && !text.contains('\\') && ["exp", "nbf", "iat", "iss", "aud", "sub"].into_iter().all(once);
            assert!(!(plain && in_time && for_us && !subject.is_empty()), "a good token is accepted: {why}");
        }
    }
}

/// No token with another letter in it is accepted.
fn changed(token: &str, accepted: impl Fn(&str) -> bool) {
    let mut dice = Dice::of(token.as_bytes());
    for _ in 0..3 {
        let mut letters = token.as_bytes().to_vec();
        let at = dice.below(letters.len());
        letters[at] = match letters[at] {
            b'A' => b'B',
            _ => b'A',
        };
        let other = String::from_utf8(letters).expect("letters of base64 are ASCII");
        assert!(!accepted(&other), "a token that was changed at {at} is worth nothing");
    }
}

// --- of our own -----------------------------------------------------------------------------------------------------

fn of_a_session(header: &[u8], claims: &[u8]) {
    let key = VAULT.key_of_app(Purpose::UserSessions, app(1));
    let token = signed(header, claims, &key);
    read_session(&token);
    assert!(verified(&custom(&KEYS), b"", &token).is_err(), "a session of ours is no token of an issuer");
    let sessions = UserSessions::new(VAULT.clone());
    if [TokenKind::Access, TokenKind::Refresh].iter().any(|kind| sessions.read(app(1), &token, *kind, NOW).is_ok()) {
        changed(&token, |token| sessions.read(app(1), token, TokenKind::Access, NOW).is_ok());
        changed(&token, |token| sessions.read(app(1), token, TokenKind::Refresh, NOW).is_ok());
        for purpose in [Purpose::AdminSessions, Purpose::AppSecrets] {
            let other = signed(header, claims, &VAULT.key_of_app(purpose, app(1)));
            assert!(sessions.read(app(1), &other, TokenKind::Access, NOW).is_err(), "a key has one purpose");
        }
    }
}

fn read_session(token: &str) {
    let sessions = UserSessions::new(VAULT.clone());
    for (kind, name) in [(TokenKind::Access, "access"), (TokenKind::Refresh, "refresh")] {
        assert!(sessions.read(app(2), token, kind, NOW).is_err(), "a session is one of its app");
        let Ok(session) = sessions.read(app(1), token, kind, NOW) else { continue };
        let key = VAULT.key_of_app(Purpose::UserSessions, app(1));
        let (header, claims) = said(token, &[&key]).expect("only what we signed is accepted");
        assert_eq!(header.get("alg"), Some(&Json::from("HS256")));
        let text = |name: &str| claims.get(name).and_then(Json::as_str).unwrap_or_default();
        let number = |name: &str| claims.get(name).and_then(Json::as_i64);
        assert_eq!(text("typ"), name, "a token is of one kind");
        assert!(session.expires_at > NOW && number("exp") == Some(session.expires_at));
        assert_eq!((session.user_id.as_str(), Some(session.number)), (text("sub"), number("portico_n")));
    }
}

// --- key sets -------------------------------------------------------------------------------------------------------

fn key_set(document: &[u8]) {
    let signers = Signers::new(Arc::new(Document(document.to_vec())));
    for kid in [None, Some("a"), Some("")] {
        let keys = signers.keys("http://issuer", kid).now_or_never().expect("nothing is waited for");
        if let Ok(keys) = keys {
            assert!(!keys.is_empty() && keys.len() <= ISSUER_KEYS_MAX, "a set has some keys and not too many");
        }
    }
    let claims = br#"{"sub":"u1","aud":"shop-abcde","exp":1700000060}"#;
    for header in [br#"{"alg":"RS256","kid":"a"}"#.as_slice(), GOOD_HEADER] {
        let token = signed(header, claims, KEYS[0].as_bytes());
        let by = provider(TokenKeys::Fetched("http://issuer".to_owned()));
        assert!(verified(&by, document, &token).is_err(), "nobody signed this with a key of the set");
    }
}

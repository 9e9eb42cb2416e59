//! Public keys of token issuers, fetched from the addresses that apps name (JWKS).
//!
//! In: an address and the `kid` of a token. Out: the keys to try. What was fetched is kept for some minutes; a `kid` that
//! is not among them causes another look, since issuers change their keys, but not more than one in a few seconds,
//! whatever strangers write into their tokens. Requests that need the same keys wait for one fetch. An issuer that cannot
//! be reached does not lock everybody out: its last keys stay good for a day.
//!
//! Not here: which addresses may be reached at all ([`Fetch`]), and what is verified with the keys.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures_util::future::BoxFuture;
use jsonwebtoken::DecodingKey;
use serde_json::Value as Json;

use crate::limits::{ISSUER_KEYS_LIFE, ISSUER_KEYS_MAX, ISSUER_KEYS_STALE_LIFE, ISSUER_LOOK_AGAIN, ISSUERS_MAX};

/// Gets a small document from an address outside; refuses what the operator closed.
pub trait Fetch: Send + Sync + 'static {
    fn get(&self, address: &str) -> BoxFuture<'static, Result<Vec<u8>, String>>;
}

/// Characters of a key's name that an error shows; the name is a stranger's.
const SHOWN_KID_MAX: usize = 64;

pub struct Signers {
    fetch: Arc<dyn Fetch>,
    issuers: Mutex<HashMap<String, Arc<Issuer>>>,
}

#[derive(Default)]
struct Issuer {
    known: Mutex<Known>,
    /// Held by whoever fetches; the others wait and find what it found.
    fetching: tokio::sync::Mutex<()>,
}

#[derive(Default, Clone)]
struct Known {
    keys: Vec<Signer>,
    /// When `keys` were fetched.
    fetched: Option<Instant>,
    /// When they were last asked for, with what success.
    looked: Option<(Instant, Result<(), String>)>,
}

#[derive(Clone)]
struct Signer {
    kid: Option<String>,
    key: DecodingKey,
}

impl Signers {
    pub fn new(fetch: Arc<dyn Fetch>) -> Self {
        Self { fetch, issuers: Mutex::default() }
    }

    /// The keys a token with this `kid` may be signed with; all of them when it names none.
    pub async fn keys(&self, address: &str, kid: Option<&str>) -> Result<Vec<DecodingKey>, String> {
        let issuer = self.issuer(address);
        if let Some(keys) = issuer.known().fresh(kid) {
            return Ok(keys);
        }
        let _alone = issuer.fetching.lock().await;
        let known = issuer.known();
        if let Some(keys) = known.fresh(kid) {
            return Ok(keys);
        }
        let looked = match &known.looked {
            Some((when, outcome)) if when.elapsed() < ISSUER_LOOK_AGAIN => outcome.clone(),
            _ => self.look(&issuer, address).await,
        };
        let found = issuer.known().usable(kid);
        match (found, looked) {
            (Some(keys), _) => Ok(keys),
            (None, Err(why)) => Err(format!("the keys at {address} cannot be had: {why}")),
            (None, Ok(())) => {
                let kid: String = kid.unwrap_or_default().chars().take(SHOWN_KID_MAX).collect();
                Err(format!("there is no RSA key '{}' at {address}", kid.escape_debug()))
            }
        }
    }

    async fn look(&self, issuer: &Issuer, address: &str) -> Result<(), String> {
        let outcome = self.fetch.get(address).await.and_then(|document| read(&document));
        let now = Instant::now();
        let mut known = issuer.known.lock().unwrap_or_else(PoisonError::into_inner);
        let outcome = outcome.map(|keys| {
            known.keys = keys;
            known.fetched = Some(now);
        });
        known.looked = Some((now, outcome.clone()));
        outcome
    }

    fn issuer(&self, address: &str) -> Arc<Issuer> {
        let mut issuers = self.issuers.lock().unwrap_or_else(PoisonError::into_inner);
        if !issuers.contains_key(address) && issuers.len() >= ISSUERS_MAX {
            // Nobody has so many in use; what is needed is fetched again.
            issuers.clear();
        }
        issuers.entry(address.to_owned()).or_default().clone()
    }
}

impl Issuer {
    fn known(&self) -> Known {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Known {
    fn fresh(&self, kid: Option<&str>) -> Option<Vec<DecodingKey>> {
        self.fetched.filter(|fetched| fetched.elapsed() < ISSUER_KEYS_LIFE).and_then(|_| self.of(kid))
    }

    fn usable(&self, kid: Option<&str>) -> Option<Vec<DecodingKey>> {
        self.fetched.filter(|fetched| fetched.elapsed() < ISSUER_KEYS_STALE_LIFE).and_then(|_| self.of(kid))
    }

    fn of(&self, kid: Option<&str>) -> Option<Vec<DecodingKey>> {
        let asked = |signer: &&Signer| kid.is_none() || signer.kid.as_deref() == kid;
        let keys: Vec<_> = self.keys.iter().filter(asked).map(|signer| signer.key.clone()).collect();
        (!keys.is_empty()).then_some(keys)
    }
}

/// The RSA keys for signatures in a key set.
fn read(document: &[u8]) -> Result<Vec<Signer>, String> {
    let set: Json = serde_json::from_slice(document).map_err(|error| format!("not JSON: {error}"))?;
    let keys = set.get("keys").and_then(Json::as_array).ok_or("it has no 'keys'")?;
    let text = |key: &Json, name: &str| key.get(name).and_then(Json::as_str).map(str::to_owned);
    let fits = |key: &&Json| {
        text(key, "kty").as_deref() == Some("RSA")
            && text(key, "use").is_none_or(|usage| usage == "sig")
            && text(key, "alg").is_none_or(|algorithm| algorithm == "RS256")
    };
    let signer = |key: &Json| {
        let decoding = DecodingKey::from_rsa_components(&text(key, "n")?, &text(key, "e")?).ok()?;
        Some(Signer { kid: text(key, "kid"), key: decoding })
    };
    Ok(keys.iter().filter(fits).filter_map(signer).take(ISSUER_KEYS_MAX).collect())
}

#[cfg(test)]
pub mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use serde_json::json;

    use super::*;

    /// An issuer that serves the documents it is given, in order, the last one again and again.
    #[derive(Default)]
    pub struct Script {
        pub documents: Vec<Result<Json, String>>,
        pub asked: AtomicUsize,
    }

    impl Fetch for Script {
        fn get(&self, _: &str) -> BoxFuture<'static, Result<Vec<u8>, String>> {
            let at = self.asked.fetch_add(1, Ordering::SeqCst).min(self.documents.len().saturating_sub(1));
            let document = self.documents.get(at).cloned().unwrap_or_else(|| Err("nobody there".to_owned()));
            Box::pin(async move {
                tokio::task::yield_now().await;
                document.map(|document| document.to_string().into_bytes())
            })
        }
    }

    fn set(kids: &[&str]) -> Json {
        let keys: Vec<Json> = kids
            .iter()
            .map(|kid| json!({ "kty": "RSA", "use": "sig", "kid": kid, "n": "AQAB", "e": "AQAB" }))
            .collect();
        json!({ "keys": keys })
    }

    #[tokio::test]
    async fn many_who_need_the_same_keys_wait_for_one_fetch() {
        let script = Arc::new(Script { documents: vec![Ok(set(&["a", "b"]))], ..Script::default() });
        let signers = Signers::new(script.clone());
        let asked = (0..50).map(|_| signers.keys("http://issuer", Some("b")));
        let found = futures_util::future::join_all(asked).await;
        assert!(found.iter().all(|keys| keys.as_ref().is_ok_and(|keys| keys.len() == 1)));
        assert_eq!(signers.keys("http://issuer", None).await.unwrap().len(), 2);
        assert_eq!(script.asked.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn a_stranger_who_invents_names_of_keys_causes_one_fetch() {
        let script = Arc::new(Script { documents: vec![Ok(set(&["a"]))], ..Script::default() });
        let signers = Signers::new(script.clone());
        for number in 0..20 {
            let refused = signers.keys("http://issuer", Some(&number.to_string())).await.err();
            assert_eq!(refused, Some(format!("there is no RSA key '{number}' at http://issuer")));
        }
        assert_eq!(script.asked.load(Ordering::SeqCst), 1);
        assert!(signers.keys("http://issuer", Some("a")).await.is_ok());
    }

    #[tokio::test]
    async fn an_issuer_that_cannot_be_reached_is_said_so_and_not_asked_again_at_once() {
        let script = Arc::new(Script::default());
        let signers = Signers::new(script.clone());
        for _ in 0..3 {
            let refused = signers.keys("http://issuer", Some("a")).await.err();
            assert_eq!(refused.as_deref(), Some("the keys at http://issuer cannot be had: nobody there"));
        }
        assert_eq!(script.asked.load(Ordering::SeqCst), 1);
    }

    #[test]
    fn keys_for_other_purposes_are_left_out() {
        let mut document = set(&["a"]);
        for other in [
            json!({ "kty": "EC", "kid": "b", "x": "AQAB" }),
            json!({ "kty": "RSA", "kid": "c", "use": "enc", "n": "AQAB", "e": "AQAB" }),
            json!({ "kty": "RSA", "kid": "d", "alg": "RS512", "n": "AQAB", "e": "AQAB" }),
            json!({ "kty": "RSA", "kid": "e" }),
        ] {
            document["keys"].as_array_mut().unwrap().push(other);
        }
        let kids: Vec<_> = read(document.to_string().as_bytes()).unwrap().into_iter().map(|one| one.kid).collect();
        assert_eq!(kids, [Some("a".to_owned())]);
        assert!(read(b"{}").is_err() && read(b"<html>").is_err());
    }
}

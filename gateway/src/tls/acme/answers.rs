//! Our side of an authority's challenges: what it finds when it comes to see whether a name is ours.
//!
//! `http-01`: any token is answered with the account's thumbprint. That proves the account and nothing else, so it is safe to say
//! to everybody, and every machine that has the account's key can answer for an order that another one placed.
//!
//! `tls-alpn-01`: a certificate that holds the proof, for as long as the order is open, to be had from any core of this
//! process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::{ArcSwap, ArcSwapOption};
use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, CustomExtension, KeyPair, PublicKeyData};
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};

use crate::limits;

/// Where an authority looks for the answer to `http-01`.
const HTTP_PATH: &str = "/.well-known/acme-challenge/";

/// The protocol an authority asks for when it checks `tls-alpn-01`.
pub const ALPN: &[u8] = b"acme-tls/1";

#[derive(Debug, Default)]
pub struct Answers {
    thumbprint: ArcSwapOption<String>,
    proofs: ArcSwap<HashMap<String, Arc<CertifiedKey>>>,
    writing: Mutex<()>,
}

impl Answers {
    /// From now on `http-01` is answered for the account that has this thumbprint.
    pub fn answer_http_for(&self, thumbprint: String) {
        self.thumbprint.store(Some(Arc::new(thumbprint)));
    }

    /// What to answer at `path`, if that is where an authority looks.
    pub fn http(&self, path: &str) -> Option<String> {
        let token = path.strip_prefix(HTTP_PATH)?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        if token.is_empty() || token.len() > limits::ACME_TOKEN_BYTES_MAX || !token.bytes().all(plain) {
            return None;
        }
        let thumbprint = self.thumbprint.load();
        Some(format!("{token}.{}", thumbprint.as_ref()?))
    }

    /// Shows the proof for `name` until [`Self::forget`]. `digest`: SHA-256 of the key authorization.
    pub fn prove(&self, name: &str, digest: &[u8], provider: &CryptoProvider) -> Result<(), String> {
        let proof = proof(name, digest, provider)?;
        self.change(|proofs| {
            proofs.insert(name.to_owned(), Arc::new(proof));
        });
        Ok(())
    }

    pub fn forget(&self, name: &str) {
        self.change(|proofs| {
            proofs.remove(name);
        });
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, Arc<CertifiedKey>>)) {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut proofs = HashMap::clone(&self.proofs.load());
        change(&mut proofs);
        self.proofs.store(Arc::new(proofs));
    }
}

/// Whether this is an authority on its round. No client asks for this protocol, or for it alone.
pub fn is_challenge(hello: &ClientHello<'_>) -> bool {
    hello.alpn().is_some_and(|mut protocols| protocols.next() == Some(ALPN) && protocols.next().is_none())
}

impl ResolvesServerCert for Answers {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        self.proofs.load().get(hello.server_name()?).cloned()
    }
}

/// RFC 8737: a certificate for the name alone, with the proof in an extension that must be understood.
fn proof(name: &str, digest: &[u8], provider: &CryptoProvider) -> Result<CertifiedKey, String> {
    let make = || {
        let mut params = CertificateParams::new(vec![name.to_owned()])?;
        params.custom_extensions = vec![CustomExtension::new_acme_identifier(digest)];
        let key = KeyPair::generate()?;
        Ok((params.self_signed(&key)?, key))
    };
    let (certificate, key) = make().map_err(|error: rcgen::Error| format!("the proof for {name}: {error}"))?;
    let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    // Not by the way that compares the two: it would have to understand the extension, which is for authorities only.
    let key = provider.key_provider.load_private_key(key).map_err(|error| format!("the proof for {name}: {error}"))?;
    Ok(CertifiedKey::new(vec![certificate.der().clone()], key))
}

/// RFC 7638: what an account's key is called in proofs.
pub fn thumbprint(account_key: &PrivatePkcs8KeyDer<'_>) -> Result<String, String> {
    let key = KeyPair::try_from(account_key).map_err(|error| format!("the account's key: {error}"))?;
    // An uncompressed point: 4, x, y.
    let point = key.der_bytes();
    let Some((&[4], coordinates)) = point.split_first_chunk::<1>().filter(|(_, rest)| rest.len() == 64) else {
        return Err("the account's key is not one of the curve P-256".to_owned());
    };
    let (x, y) = coordinates.split_at(32);
    let encode = |bytes: &[u8]| BASE64_URL_SAFE_NO_PAD.encode(bytes);
    let jwk = format!(r#"{{"crv":"P-256","kty":"EC","x":"{}","y":"{}"}}"#, encode(x), encode(y));
    Ok(encode(&Sha256::digest(jwk)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_are_answered_and_nothing_else_is() {
        let answers = Answers::default();
        assert_eq!(answers.http("/.well-known/acme-challenge/abc"), None, "without an account there is no answer");
        answers.answer_http_for("thumb".to_owned());
        for (path, answer) in [
            ("/.well-known/acme-challenge/a-b_C9", Some("a-b_C9.thumb")),
            ("/.well-known/acme-challenge/", None),
            ("/.well-known/acme-challenge/a/b", None),
            ("/.well-known/acme-challenge/a%20b", None),
            ("/.well-known/acme-challenge/<script>", None),
            ("/elsewhere/abc", None),
        ] {
            assert_eq!(answers.http(path).as_deref(), answer, "{path}");
        }
        let long = format!("{HTTP_PATH}{}", "a".repeat(limits::ACME_TOKEN_BYTES_MAX + 1));
        assert_eq!(answers.http(&long), None);
    }

    #[test]
    fn a_proof_is_shown_until_it_is_forgotten() {
        let answers = Answers::default();
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        answers.prove("a.example", &[7; 32], &provider).unwrap();
        assert!(answers.proofs.load().contains_key("a.example"));
        answers.forget("a.example");
        assert!(answers.proofs.load().is_empty());
    }

    #[test]
    fn the_thumbprint_is_the_one_the_client_library_signs_with() {
        let (_, key) = instant_acme::Key::generate_pkcs8().unwrap();
        let thumbprint = thumbprint(&key).unwrap();
        assert_eq!(BASE64_URL_SAFE_NO_PAD.decode(&thumbprint).unwrap().len(), 32);
    }
}

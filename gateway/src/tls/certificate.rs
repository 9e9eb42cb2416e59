//! One certificate with its key, as files hold it.
//!
//! In: PEM. Out: a [`Certificate`] that can be served, or what is wrong with it, in words for the operator. What is wrong is
//! found here and not in a handshake: a key that belongs to another certificate, one that has expired, one without names.
//!
//! Not here: whether anybody trusts it. That is the clients' affair.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::sign::CertifiedKey;
use sha2::{Digest, Sha256};
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

/// A certificate that can be served.
#[derive(Debug)]
pub struct Certificate {
    pub key: Arc<CertifiedKey>,
    /// DNS names it is for, in lower case; some begin with `*.`.
    pub names: Vec<String>,
    /// IP addresses it is for. Nobody asks for one by address; whoever connects to one checks it.
    pub addresses: Vec<IpAddr>,
    /// Epoch seconds.
    pub not_before: i64,
    pub not_after: i64,
    /// SHA-256 of the certificate, as `openssl x509 -fingerprint -sha256` prints it.
    pub fingerprint: String,
}

/// What is wrong with a certificate, with a word for the metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    pub sentence: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FaultKind {
    /// The file is not there or may not be read.
    Unreadable,
    /// It holds no PEM, or PEM of something else.
    Malformed,
    /// Certificate and key are no pair.
    Mismatched,
    /// Its time is over, or has not come.
    Expired,
}

impl FaultKind {
    pub const ALL: [Self; 4] = [Self::Unreadable, Self::Malformed, Self::Mismatched, Self::Expired];

    pub fn name(self) -> &'static str {
        match self {
            Self::Unreadable => "unreadable",
            Self::Malformed => "malformed",
            Self::Mismatched => "mismatched",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.sentence)
    }
}

impl Fault {
    pub fn new(kind: FaultKind, sentence: impl Into<String>) -> Self {
        Self { kind, sentence: sentence.into() }
    }
}

impl Certificate {
    /// Reads a chain, the server's own certificate first, and its key.
    pub fn from_pem(chain: &[u8], key: &[u8], provider: &CryptoProvider) -> Result<Self, Fault> {
        let malformed = |sentence: String| Fault::new(FaultKind::Malformed, sentence);
        let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
            .collect::<Result<_, _>>()
            .map_err(|error| malformed(format!("the certificate is not PEM: {error}")))?;
        let own = chain.first().ok_or_else(|| malformed("there is no certificate in it".to_owned()))?;
        let key = PrivateKeyDer::from_pem_slice(key)
            .map_err(|error| malformed(format!("there is no private key in PEM: {error}")))?;
        let facts = Facts::of(own).map_err(malformed)?;
        let key = CertifiedKey::from_der(chain, key, provider).map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                Fault::new(FaultKind::Mismatched, "the private key does not belong to the certificate")
            }
            error => malformed(format!("it cannot be used: {error}")),
        })?;
        let Facts { names, addresses, not_before, not_after, fingerprint } = facts;
        Ok(Self { key: Arc::new(key), names, addresses, not_before, not_after, fingerprint })
    }

    /// Whether `now`, in epoch seconds, lies in its time.
    pub fn check_time(&self, now: i64) -> Result<(), Fault> {
        let at = |seconds: i64| {
            jiff::Timestamp::from_second(seconds).map_or_else(|_| seconds.to_string(), |time| time.to_string())
        };
        if now > self.not_after {
            return Err(Fault::new(FaultKind::Expired, format!("the certificate expired at {}", at(self.not_after))));
        }
        if now < self.not_before {
            let begins = at(self.not_before);
            return Err(Fault::new(FaultKind::Expired, format!("the certificate is not valid before {begins}")));
        }
        Ok(())
    }

    /// When it is to be replaced by a new one: after two thirds of its life, so that a third is left for what may go wrong.
    pub fn renew_at(&self) -> i64 {
        self.not_before + (self.not_after - self.not_before) / 3 * 2
    }
}

/// What a certificate says of itself.
struct Facts {
    names: Vec<String>,
    addresses: Vec<IpAddr>,
    not_before: i64,
    not_after: i64,
    fingerprint: String,
}

impl Facts {
    fn of(certificate: &CertificateDer<'_>) -> Result<Self, String> {
        let parsed = x509_parser::certificate::X509Certificate::from_der(certificate);
        let (_, parsed) = parsed.map_err(|error| format!("it is not an X.509 certificate: {error}"))?;
        let alternative = parsed.subject_alternative_name().map_err(|error| format!("its names: {error}"))?;
        let (mut names, mut addresses) = (Vec::new(), Vec::new());
        for name in alternative.iter().flat_map(|extension| &extension.value.general_names) {
            match name {
                GeneralName::DNSName(name) => names.push(name.to_ascii_lowercase()),
                GeneralName::IPAddress(bytes) => addresses.extend(address(bytes)),
                _ => {}
            }
        }
        if names.is_empty() && addresses.is_empty() {
            return Err("it names no host: it has no subject alternative name, which every client asks for".to_owned());
        }
        let validity = parsed.validity();
        let (not_before, not_after) = (validity.not_before.timestamp(), validity.not_after.timestamp());
        let fingerprint: Vec<String> = Sha256::digest(certificate).iter().map(|byte| format!("{byte:02X}")).collect();
        Ok(Self { names, addresses, not_before, not_after, fingerprint: fingerprint.join(":") })
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    let four = <[u8; 4]>::try_from(bytes).map(IpAddr::from);
    four.or_else(|_| <[u8; 16]>::try_from(bytes).map(IpAddr::from)).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub fn provider() -> CryptoProvider {
        rustls::crypto::aws_lc_rs::default_provider()
    }

    /// A certificate for `names` and its key, in PEM.
    pub fn made(names: &[&str]) -> (String, String) {
        made_until(names, 4096)
    }

    pub fn made_until(names: &[&str], year: i32) -> (String, String) {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.not_before = rcgen::date_time_ymd(1990, 1, 1);
        params.not_after = rcgen::date_time_ymd(year, 1, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    pub fn certificate(names: &[&str]) -> Arc<Certificate> {
        let (chain, key) = made(names);
        Arc::new(Certificate::from_pem(chain.as_bytes(), key.as_bytes(), &provider()).unwrap())
    }

    #[test]
    fn a_certificate_says_its_names_and_its_time() {
        let (chain, key) = made_until(&["API.example.com", "*.example.com"], 2000);
        let certificate = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), &provider()).unwrap();
        assert_eq!(certificate.names, ["api.example.com", "*.example.com"]);
        assert_eq!(certificate.fingerprint.len(), 32 * 3 - 1);
        assert_eq!(certificate.check_time(certificate.not_after - 1), Ok(()));
        let fault = certificate.check_time(certificate.not_after + 1).unwrap_err();
        assert_eq!(fault.kind, FaultKind::Expired);
        assert!(fault.sentence.contains("expired at 2000-01-01"), "{fault}");
        assert_eq!(certificate.check_time(certificate.not_before - 1).unwrap_err().kind, FaultKind::Expired);
        let life = certificate.not_after - certificate.not_before;
        assert!((certificate.renew_at() - certificate.not_before - life * 2 / 3).abs() < 3);
    }

    #[test]
    fn what_cannot_be_served_is_told_apart() {
        let (chain, key) = made(&["a.example"]);
        let (other, other_key) = made(&["b.example"]);
        for (chain, key, kind) in [
            ("rubbish", key.as_str(), FaultKind::Malformed),
            ("", &key, FaultKind::Malformed),
            (&chain[..chain.len() / 2], &key, FaultKind::Malformed),
            (&chain, "rubbish", FaultKind::Malformed),
            (&chain, &chain, FaultKind::Malformed),
            (&chain, &other_key, FaultKind::Mismatched),
            (&other, &key, FaultKind::Mismatched),
            ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", &key, FaultKind::Malformed),
        ] {
            let fault = Certificate::from_pem(chain.as_bytes(), key.as_bytes(), &provider()).unwrap_err();
            assert_eq!(fault.kind, kind, "{fault}");
        }
        let (nameless, key) = made(&[]);
        let fault = Certificate::from_pem(nameless.as_bytes(), key.as_bytes(), &provider()).unwrap_err();
        assert!(fault.sentence.contains("names no host"), "{fault}");
    }
}

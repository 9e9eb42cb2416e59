//! All certificates this server has, and which of them a client gets.
//!
//! In: certificates from files, from ACME, or our own; each source puts its own when it has new ones. Out: for a server
//! name, a certificate the client can check. What is on the shelf is replaced as a whole behind an atomic pointer, so
//! that a handshake never waits for a reload.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use metrics::gauge;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::{SignatureAlgorithm, SignatureScheme};

use super::certificate::Certificate;

/// Where certificates come from. Of two sources that have a name, the first in this order serves it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    Files,
    Acme,
    SelfSigned,
}

/// Shared by all cores.
#[derive(Debug, Default)]
pub struct Shelf {
    of_source: Mutex<[Vec<Arc<Certificate>>; 3]>,
    table: ArcSwap<Table>,
}

impl Shelf {
    /// What `source` has from now on.
    pub fn put(&self, source: Source, certificates: Vec<Arc<Certificate>>) {
        let mut of_source = self.of_source.lock().unwrap_or_else(PoisonError::into_inner);
        tell_gone(&of_source[source as usize]);
        of_source[source as usize] = certificates;
        of_source.iter().flatten().for_each(tell);
        self.table.store(Arc::new(Table::new(of_source.iter().flatten())));
    }
}

/// Shows when a certificate expires.
fn tell(certificate: &Arc<Certificate>) {
    let name = certificate.names.first().map_or("an address", String::as_str).to_owned();
    gauge!("portico_tls_certificate_not_after_seconds", "certificate" => name).set(certificate.not_after as f64);
}

/// Those that are served no longer have no time: an alert compares with it, and nothing compares with this.
fn tell_gone(certificates: &[Arc<Certificate>]) {
    for certificate in certificates {
        let name = certificate.names.first().map_or("an address", String::as_str).to_owned();
        gauge!("portico_tls_certificate_not_after_seconds", "certificate" => name).set(f64::NAN);
    }
}

impl ResolvesServerCert for Shelf {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let table = self.table.load();
        let certificate = table.find(hello.server_name(), hello.signature_schemes())?;
        Some(certificate.key.clone())
    }
}

/// Certificates by name.
#[derive(Debug, Default)]
struct Table {
    exact: HashMap<String, Vec<Arc<Certificate>>>,
    /// By what stands behind `*.`.
    wild: HashMap<String, Vec<Arc<Certificate>>>,
    /// For clients that name no server, or one that is not here: they connect by address, and may not check names.
    default: Vec<Arc<Certificate>>,
}

impl Table {
    fn new<'c>(certificates: impl Iterator<Item = &'c Arc<Certificate>>) -> Self {
        let mut table = Self::default();
        for certificate in certificates {
            for name in &certificate.names {
                let (map, name) = match name.strip_prefix("*.") {
                    Some(parent) => (&mut table.wild, parent),
                    None => (&mut table.exact, name.as_str()),
                };
                map.entry(name.to_owned()).or_default().push(certificate.clone());
            }
            // The first one, and others for the same names: they differ in the kind of key.
            if table.default.first().is_none_or(|first| first.names == certificate.names) {
                table.default.push(certificate.clone());
            }
        }
        table
    }

    fn find(&self, name: Option<&str>, schemes: &[SignatureScheme]) -> Option<&Arc<Certificate>> {
        let named = name.and_then(|name| {
            // A wildcard stands for one label, never for several and never for none.
            let parent = || name.split_once('.').and_then(|(_, parent)| self.wild.get(parent));
            self.exact.get(name).or_else(parent)
        });
        Self::best(named.unwrap_or(&self.default), schemes)
    }

    /// Of several for one name, one whose signatures the client understands; elliptic curves first, since they cost us a
    /// tenth of what RSA does.
    fn best<'c>(certificates: &'c [Arc<Certificate>], schemes: &[SignatureScheme]) -> Option<&'c Arc<Certificate>> {
        let fits = |certificate: &&Arc<Certificate>| certificate.key.key.choose_scheme(schemes).is_some();
        let cheap = |certificate: &&Arc<Certificate>| certificate.key.key.algorithm() != SignatureAlgorithm::RSA;
        let usable = || certificates.iter().filter(fits);
        usable().find(cheap).or_else(|| usable().next())
    }
}

#[cfg(test)]
mod tests {
    use super::super::certificate::tests::certificate;
    use super::*;

    const SCHEMES: &[SignatureScheme] = &[SignatureScheme::ECDSA_NISTP256_SHA256];

    #[test]
    fn a_server_name_finds_its_certificate() {
        let shelf = Shelf::default();
        let (one, two, wild) =
            (certificate(&["one.example"]), certificate(&["two.example"]), certificate(&["*.data.example"]));
        shelf.put(Source::Acme, vec![two.clone()]);
        shelf.put(Source::Files, vec![one.clone(), wild.clone()]);
        let table = shelf.table.load();
        for (name, expected) in [
            (Some("one.example"), &one),
            (Some("two.example"), &two),
            (Some("shop.data.example"), &wild),
            // Neither the parent itself nor two labels.
            (Some("data.example"), &one),
            (Some("a.b.data.example"), &one),
            (Some("other.example"), &one),
            (None, &one),
        ] {
            let found = table.find(name, SCHEMES).unwrap();
            assert_eq!(found.names, expected.names, "{name:?}");
        }
    }

    #[test]
    fn a_source_replaces_only_its_own() {
        let shelf = Shelf::default();
        shelf.put(Source::Files, vec![certificate(&["a.example"])]);
        shelf.put(Source::Acme, vec![certificate(&["b.example"])]);
        shelf.put(Source::Files, vec![certificate(&["c.example"])]);
        let table = shelf.table.load();
        let name = |name: &str| table.find(Some(name), SCHEMES).unwrap().names[0].clone();
        assert_eq!((name("b.example").as_str(), name("a.example").as_str()), ("b.example", "c.example"));
    }

    #[test]
    fn a_client_that_cannot_check_a_key_gets_none_of_its_kind() {
        let shelf = Shelf::default();
        shelf.put(Source::Files, vec![certificate(&["a.example"])]);
        assert!(shelf.table.load().find(Some("a.example"), &[SignatureScheme::RSA_PSS_SHA256]).is_none());
        assert!(Shelf::default().table.load().find(None, SCHEMES).is_none());
    }
}

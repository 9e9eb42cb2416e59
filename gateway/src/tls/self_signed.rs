//! A certificate of our own, for work on this machine: made once, and kept, so that a person who has told their client to
//! trust it need not do so again.
//!
//! In: the data directory and the names this server goes by. Out: a certificate, in `tls/self-signed.crt` for clients and
//! with its key in `tls/self-signed.pem` for us. It is made anew when the names are others or its time is nearly over.

use std::collections::BTreeSet;
use std::fs;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, KeyPair, KeyUsagePurpose, SanType};
use rustls::crypto::CryptoProvider;

use super::certificate::Certificate;
use super::{epoch_s, write_secret};
use crate::limits;

/// What our own certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    pub dns: Vec<String>,
    pub addresses: Vec<IpAddr>,
}

impl Names {
    /// `localhost`, every host name apps are reached under, this machine's loopback addresses, and those of the listeners.
    pub fn of(domain: &str, region_label: &str, listeners: impl Iterator<Item = IpAddr>) -> Self {
        let (global, regional) = (format!("data.{domain}"), format!("{region_label}.data.{domain}"));
        let mut dns: Vec<String> = ["localhost".to_owned(), domain.to_owned()].into();
        for base in [global, regional] {
            dns.push(format!("*.{base}"));
            dns.push(base);
        }
        dns.dedup();
        let loopback = [IpAddr::from([127, 0, 0, 1]), IpAddr::from([0, 0, 0, 0, 0, 0, 0, 1])];
        let bound = listeners.filter(|address| !address.is_unspecified());
        let addresses: BTreeSet<IpAddr> = loopback.into_iter().chain(bound).collect();
        Self { dns, addresses: addresses.into_iter().collect() }
    }
}

/// The one that is kept, or a new one; and where clients find it.
pub fn kept_or_made(
    folder: &Path,
    names: &Names,
    provider: &CryptoProvider,
) -> Result<(Arc<Certificate>, PathBuf), String> {
    let (both, public) = (folder.join("self-signed.pem"), folder.join("self-signed.crt"));
    let kept = fs::read(&both).ok().and_then(|pem| Certificate::from_pem(&pem, &pem, provider).ok());
    if let Some(kept) = kept
        && kept.not_after - epoch_s() > limits::SELF_SIGNED_LEFT_S
        && kept.names == names.dns
        && kept.addresses == names.addresses
        && public.exists()
    {
        return Ok((Arc::new(kept), public));
    }
    let (certificate, key) = make(names).map_err(|error| format!("a certificate of our own: {error}"))?;
    let cannot = |path: &Path, error: std::io::Error| format!("{}: {error}", path.display());
    let pem = format!("{certificate}{key}");
    write_secret(&both, pem.as_bytes()).map_err(|error| cannot(&both, error))?;
    fs::write(&public, certificate.as_bytes()).map_err(|error| cannot(&public, error))?;
    let made = Certificate::from_pem(pem.as_bytes(), pem.as_bytes(), provider);
    let made = made.map_err(|fault| format!("a certificate of our own: {fault}"))?;
    Ok((Arc::new(made), public))
}

/// Certificate and key, in PEM.
fn make(names: &Names) -> Result<(String, String), rcgen::Error> {
    let mut params = CertificateParams::new(names.dns.clone())?;
    params.subject_alt_names.extend(names.addresses.iter().copied().map(SanType::IpAddress));
    params.distinguished_name.push(DnType::CommonName, "Portico, made for this machine");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let date = |seconds: i64| {
        let day = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_zoned(jiff::tz::TimeZone::UTC).date();
        rcgen::date_time_ymd(day.year().into(), day.month() as u8, day.day() as u8)
    };
    let now = epoch_s();
    // From yesterday, since clocks differ.
    (params.not_before, params.not_after) = (date(now - 86_400), date(now + limits::SELF_SIGNED_LIFE_S));
    let key = KeyPair::generate()?;
    let certificate = params.self_signed(&key)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::super::certificate::tests::provider;
    use super::*;

    #[test]
    fn it_is_made_once_for_the_names_the_server_goes_by() {
        let folder = tempfile::tempdir().unwrap();
        let listeners = ["192.0.2.7".parse().unwrap(), "0.0.0.0".parse().unwrap()];
        let names = Names::of("apps.example", "us-east-1.aws", listeners.into_iter());
        let (made, public) = kept_or_made(folder.path(), &names, &provider()).unwrap();
        for name in ["localhost", "data.apps.example", "*.data.apps.example", "*.us-east-1.aws.data.apps.example"] {
            assert!(made.names.iter().any(|other| other == name), "{name} in {:?}", made.names);
        }
        let shown: Vec<String> = made.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(shown, ["127.0.0.1", "192.0.2.7", "::1"]);
        assert_eq!(made.check_time(epoch_s()), Ok(()));
        let secret = fs::metadata(folder.path().join("self-signed.pem")).unwrap().permissions();
        assert_eq!(secret.mode() & 0o777, 0o600);
        assert!(!fs::read_to_string(&public).unwrap().contains("PRIVATE"));

        let (again, _) = kept_or_made(folder.path(), &names, &provider()).unwrap();
        assert_eq!(again.fingerprint, made.fingerprint, "kept");
        let others = Names::of("other.example", "us-east-1.aws", std::iter::empty());
        let (remade, _) = kept_or_made(folder.path(), &others, &provider()).unwrap();
        assert_ne!(remade.fingerprint, made.fingerprint, "other names need another certificate");
    }
}

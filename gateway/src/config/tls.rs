//! `[tls]`: where certificates come from, and what clients are told about using TLS.
//!
//! In: the table as a person writes it, and what listeners there are. Out: [`TlsSettings`], or what is wrong. Whether the
//! files hold certificates is found when they are read, which is also before a port opens.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::ConfigError;
use crate::limits;
use crate::tls::{AcmeSettings, Challenge, Pair};

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// Certificates in files. The first one also serves clients that name no server. `PORTICO_TLS_CERT` and
    /// `PORTICO_TLS_KEY` name one pair instead.
    #[serde(default, rename = "certificate")]
    pub certificates: Vec<CertificateFiles>,
    /// Whether a certificate of our own is made, for work on one machine. Default false. `PORTICO_TLS_SELF_SIGNED`.
    pub self_signed: Option<bool>,
    /// The port at which clients reach the listener with TLS, for redirects. Default: that listener's own.
    /// `PORTICO_TLS_PUBLIC_PORT`.
    pub public_port: Option<u16>,
    /// For how many seconds browsers are told to come by TLS only (`Strict-Transport-Security`). Default 0: they are not
    /// told. `PORTICO_TLS_HSTS_S`.
    pub hsts_s: Option<u32>,
    /// Whether that goes for names under this one too. Default false. `PORTICO_TLS_HSTS_SUBDOMAINS`.
    pub hsts_subdomains: Option<bool>,
    #[serde(default)]
    pub acme: Acme,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CertificateFiles {
    /// The chain in PEM, the server's own certificate first.
    pub cert: PathBuf,
    /// Its private key in PEM.
    pub key: PathBuf,
}

/// Certificates from an authority that speaks ACME, such as Let's Encrypt.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acme {
    /// Host names to get certificates for, one each. `PORTICO_ACME_DOMAINS`, separated by commas.
    pub domains: Option<Vec<String>>,
    /// The authority. Default Let's Encrypt. `PORTICO_ACME_DIRECTORY`.
    pub directory: Option<String>,
    /// Whom the authority may write to: `mailto:…`. `PORTICO_ACME_CONTACT`, separated by commas.
    pub contact: Option<Vec<String>>,
    /// Must be true: the operator agrees to the authority's terms. `PORTICO_ACME_ACCEPT_TERMS`.
    pub accept_terms: Option<bool>,
    /// `http-01` or `tls-alpn-01`. Default `http-01`. `PORTICO_ACME_CHALLENGE`.
    pub challenge: Option<String>,
    /// Certificates, in PEM, by which the authority's own TLS is checked instead of by the system's. `PORTICO_ACME_CA`.
    pub ca: Option<PathBuf>,
    /// Seconds until the first new attempt after a failure; each next one waits three times as long, to six hours.
    /// Default 60. `PORTICO_ACME_RETRY_S`.
    pub retry_s: Option<u32>,
}

/// What code uses.
#[derive(Debug, Clone, Default)]
pub struct TlsSettings {
    pub pairs: Vec<Pair>,
    pub self_signed: bool,
    pub public_port: Option<u16>,
    /// The value of `Strict-Transport-Security`.
    pub hsts: Option<String>,
    pub acme: Option<AcmeSettings>,
}

const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";

impl Tls {
    pub fn environment(&mut self, variable: impl Fn(&str) -> Option<String>) -> Result<(), ConfigError> {
        let flag = |name: &str, into: &mut Option<bool>| match variable(name) {
            None => Ok(()),
            Some(text) => {
                let wrong = || ConfigError(format!("{name}: '{text}' is neither true nor false"));
                *into = Some(text.parse().map_err(|_| wrong())?);
                Ok(())
            }
        };
        let list = |name: &str, into: &mut Option<Vec<String>>| {
            if let Some(text) = variable(name) {
                *into = Some(text.split(',').map(|one| one.trim().to_owned()).collect());
            }
        };
        match (variable("PORTICO_TLS_CERT"), variable("PORTICO_TLS_KEY")) {
            (None, None) => {}
            (Some(cert), Some(key)) => {
                self.certificates = vec![CertificateFiles { cert: cert.into(), key: key.into() }];
            }
            (cert, _) => {
                let missing = if cert.is_some() { "PORTICO_TLS_KEY" } else { "PORTICO_TLS_CERT" };
                return Err(ConfigError(format!("{missing}: set both PORTICO_TLS_CERT and PORTICO_TLS_KEY, or none")));
            }
        }
        flag("PORTICO_TLS_SELF_SIGNED", &mut self.self_signed)?;
        flag("PORTICO_TLS_HSTS_SUBDOMAINS", &mut self.hsts_subdomains)?;
        number(&variable, "PORTICO_TLS_PUBLIC_PORT", &mut self.public_port)?;
        number(&variable, "PORTICO_TLS_HSTS_S", &mut self.hsts_s)?;
        let acme = &mut self.acme;
        list("PORTICO_ACME_DOMAINS", &mut acme.domains);
        list("PORTICO_ACME_CONTACT", &mut acme.contact);
        flag("PORTICO_ACME_ACCEPT_TERMS", &mut acme.accept_terms)?;
        number(&variable, "PORTICO_ACME_RETRY_S", &mut acme.retry_s)?;
        acme.directory = variable("PORTICO_ACME_DIRECTORY").or(acme.directory.take());
        acme.challenge = variable("PORTICO_ACME_CHALLENGE").or(acme.challenge.take());
        acme.ca = variable("PORTICO_ACME_CA").map(PathBuf::from).or(acme.ca.take());
        Ok(())
    }

    /// `with_tls`, `plain`: whether there are listeners with TLS, and such without.
    pub fn check(self, with_tls: bool, plain: bool) -> Result<TlsSettings, ConfigError> {
        let acme = self.acme.check(with_tls, plain)?;
        let self_signed = self.self_signed.unwrap_or(false);
        if with_tls && self.certificates.is_empty() && acme.is_none() && !self_signed {
            return Err(ConfigError(
                "listener.tls: there is no certificate; name one in [[tls.certificate]], or set tls.acme.domains, or \
                 tls.self_signed for work on one machine"
                    .to_owned(),
            ));
        }
        let subdomains = self.hsts_subdomains.unwrap_or(false);
        let hsts = self
            .hsts_s
            .filter(|seconds| *seconds > 0)
            .map(|seconds| format!("max-age={seconds}{}", if subdomains { "; includeSubDomains" } else { "" }));
        let pairs = self.certificates.into_iter().map(|files| Pair { certificate: files.cert, key: files.key });
        Ok(TlsSettings { pairs: pairs.collect(), self_signed, public_port: self.public_port, hsts, acme })
    }
}

impl Acme {
    fn check(self, with_tls: bool, plain: bool) -> Result<Option<AcmeSettings>, ConfigError> {
        let wrong = |key: &str, why: String| Err(ConfigError(format!("tls.acme.{key}: {why}")));
        let mut domains = Vec::new();
        for domain in self.domains.unwrap_or_default().into_iter().filter(|domain| !domain.is_empty()) {
            let domain = domain.to_ascii_lowercase();
            if domain.starts_with('*') {
                let why = "a wildcard has to be proven by a DNS record, which Portico does not write; get such a \
                           certificate elsewhere and name it in [[tls.certificate]]";
                return wrong("domains", format!("'{domain}': {why}"));
            }
            let label = |label: &str| {
                let good = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
                !label.is_empty() && label.len() <= 63 && label.bytes().all(good)
            };
            if domain.len() > 253 || !domain.split('.').all(label) || domain.parse::<IpAddr>().is_ok() {
                return wrong("domains", format!("'{domain}' is not a host name"));
            }
            if !domains.contains(&domain) {
                domains.push(domain);
            }
        }
        let others = self.directory.is_some() || self.contact.is_some() || self.accept_terms.is_some();
        if domains.is_empty() {
            return if others {
                wrong("domains", "name the hosts to get certificates for".to_owned())
            } else {
                Ok(None)
            };
        }
        let directory = self.directory.unwrap_or_else(|| LETS_ENCRYPT.to_owned());
        if !directory.parse::<reqwest::Url>().is_ok_and(|url| url.scheme() == "https" && url.has_host()) {
            return wrong("directory", format!("'{directory}' is not an https URL"));
        }
        let contact = self.contact.unwrap_or_default();
        if let Some(other) = contact.iter().find(|contact| !contact.starts_with("mailto:") || !contact.contains('@')) {
            return wrong("contact", format!("'{other}' is not of the form mailto:name@host"));
        }
        if self.accept_terms != Some(true) {
            return wrong("accept_terms", format!("set it to true if you agree to the terms of {directory}"));
        }
        let challenge = match self.challenge.as_deref() {
            None | Some("http-01") if plain => Challenge::Http,
            None | Some("http-01") => {
                let why = "http-01 is answered by a listener without TLS that port 80 leads to, and there is none";
                return wrong("challenge", why.to_owned());
            }
            Some("tls-alpn-01") if with_tls => Challenge::TlsAlpn,
            Some("tls-alpn-01") => {
                let why = "tls-alpn-01 is answered by a listener with TLS that port 443 leads to, and there is none";
                return wrong("challenge", why.to_owned());
            }
            Some(other) => return wrong("challenge", format!("'{other}' is neither http-01 nor tls-alpn-01")),
        };
        let retry_s = self.retry_s.unwrap_or(limits::ACME_RETRY_S);
        if !(1..=3600).contains(&retry_s) {
            return wrong("retry_s", format!("{retry_s} is not between 1 and 3600"));
        }
        let retry = Duration::from_secs(retry_s.into());
        Ok(Some(AcmeSettings { domains, directory, contact, challenge, ca: self.ca, retry }))
    }
}

fn number<T: std::str::FromStr>(
    variable: &impl Fn(&str) -> Option<String>,
    name: &str,
    into: &mut Option<T>,
) -> Result<(), ConfigError> {
    if let Some(text) = variable(name) {
        let wrong = || ConfigError(format!("{name}: '{text}' is not a whole number in range"));
        *into = Some(text.parse().map_err(|_| wrong())?);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(toml: &str, environment: &[(&str, &str)]) -> Result<TlsSettings, String> {
        let mut written: Tls = toml::from_str(toml).unwrap();
        let variable = |name: &str| {
            let found = environment.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        written.environment(variable).and_then(|()| written.check(true, true)).map_err(|error| error.0)
    }

    #[test]
    fn certificates_come_from_files_from_an_authority_or_from_ourselves() {
        let toml = "hsts_s = 31536000\nhsts_subdomains = true\n[[certificate]]\ncert = \"a.crt\"\nkey = \"a.key\"\n\
                    [acme]\ndomains = [\"API.example.com\", \"api.example.com\"]\naccept_terms = true";
        let settings = read(toml, &[]).unwrap();
        assert_eq!(settings.pairs, [Pair { certificate: "a.crt".into(), key: "a.key".into() }]);
        assert_eq!(settings.hsts.unwrap(), "max-age=31536000; includeSubDomains");
        let acme = settings.acme.unwrap();
        assert_eq!((acme.domains, acme.challenge), (vec!["api.example.com".to_owned()], Challenge::Http));
        assert_eq!(acme.directory, LETS_ENCRYPT);
        let environment = [
            ("PORTICO_TLS_CERT", "b.crt"),
            ("PORTICO_TLS_KEY", "b.key"),
            ("PORTICO_TLS_HSTS_S", "0"),
            ("PORTICO_ACME_CHALLENGE", "tls-alpn-01"),
            ("PORTICO_ACME_DOMAINS", "a.example, b.example"),
        ];
        let settings = read(toml, &environment).unwrap();
        assert_eq!(settings.pairs, [Pair { certificate: "b.crt".into(), key: "b.key".into() }]);
        assert_eq!(settings.hsts, None);
        let acme = settings.acme.unwrap();
        assert_eq!((acme.domains.len(), acme.challenge), (2, Challenge::TlsAlpn));
        assert!(read("self_signed = true", &[]).unwrap().self_signed);
    }

    #[test]
    fn what_cannot_work_is_named() {
        let acme = |more: &str| format!("[acme]\ndomains = [\"a.example\"]\naccept_terms = true\n{more}");
        for (toml, environment, named) in [
            (String::new(), &[][..], "listener.tls: there is no certificate"),
            (String::new(), &[("PORTICO_TLS_CERT", "a")], "PORTICO_TLS_KEY"),
            (String::new(), &[("PORTICO_TLS_SELF_SIGNED", "yes")], "PORTICO_TLS_SELF_SIGNED"),
            ("[acme]\ndomains = [\"a.example\"]".to_owned(), &[], "tls.acme.accept_terms"),
            ("[acme]\naccept_terms = true".to_owned(), &[], "tls.acme.domains"),
            (acme(""), &[("PORTICO_ACME_DOMAINS", "*.a.example")], "tls.acme.domains: '*.a.example'"),
            (acme(""), &[("PORTICO_ACME_DOMAINS", "a..example")], "tls.acme.domains: 'a..example'"),
            (acme(""), &[("PORTICO_ACME_DOMAINS", "192.0.2.1")], "tls.acme.domains: '192.0.2.1'"),
            (acme("directory = \"http://ca.example\""), &[], "tls.acme.directory"),
            (acme("contact = [\"me@a.example\"]"), &[], "tls.acme.contact"),
            (acme("challenge = \"dns-01\""), &[], "tls.acme.challenge"),
            (acme("retry_s = 0"), &[], "tls.acme.retry_s"),
        ] {
            let error = read(&toml, environment).expect_err(&toml);
            assert!(error.contains(named), "{toml:?} gave {error}");
        }
        let written = |toml: &str| toml::from_str::<Tls>(toml).unwrap();
        let error = written(&acme("")).check(true, false).unwrap_err().0;
        assert!(error.contains("tls.acme.challenge: http-01 is answered by a listener without TLS"), "{error}");
        let error = written(&acme("challenge = \"tls-alpn-01\"")).check(false, true).unwrap_err().0;
        assert!(error.contains("tls.acme.challenge: tls-alpn-01 is answered by"), "{error}");
    }
}

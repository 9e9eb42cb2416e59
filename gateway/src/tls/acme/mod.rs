//! Certificates from an authority that speaks ACME (RFC 8555): ordered when there is none, and again when two thirds of
//! one's life are over.
//!
//! In: [`AcmeSettings`] and the data directory. Out: certificates on the [`Shelf`], one per name, so that a name that
//! cannot be proven holds up no other. The account and the certificates with their keys lie under `tls/acme/<authority>/`
//! of the data directory, readable by nobody else, so that a restart orders nothing.
//!
//! A failed order is told, counted, and tried again after a pause that grows: authorities bound how often one may fail.
//! What is in service stays so meanwhile.
//!
//! Not here: DNS challenges, and with them wildcards.

mod answers;
mod client;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountBuilder, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, Key,
    NewAccount, NewOrder, Order, OrderStatus, Problem, RetryPolicy,
};
use metrics::counter;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::PrivateKeyDer;

pub use answers::{ALPN, Answers, is_challenge};
use client::Client;

use super::certificate::Certificate;
use super::shelf::{Shelf, Source};
use super::{epoch_s, write_secret};
use crate::limits;

/// Where certificates are ordered, and for what.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcmeSettings {
    pub domains: Vec<String>,
    /// URL of the authority's directory.
    pub directory: String,
    pub contact: Vec<String>,
    pub challenge: Challenge,
    /// Certificates by which the authority is checked, instead of by the system's.
    pub ca: Option<PathBuf>,
    /// Pause after the first failure.
    pub retry: Duration,
}

/// How a name is proven to be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// By a request to port 80. Any machine that has the account's key can answer it.
    Http,
    /// By a handshake at port 443. Only the machine that placed the order can answer it.
    TlsAlpn,
}

/// Orders certificates and keeps them fresh.
pub struct Acme {
    settings: AcmeSettings,
    folder: PathBuf,
    client: Client,
    account: Option<Account>,
    names: Vec<Name>,
    answers: Arc<Answers>,
    shelf: Arc<Shelf>,
    provider: Arc<CryptoProvider>,
}

/// One name and its certificate.
struct Name {
    domain: String,
    certificate: Option<Arc<Certificate>>,
    /// Epoch seconds.
    due: i64,
    failures: u32,
}

impl Acme {
    /// Takes up what is kept from before. `tls`: the folder of the data directory that is ours.
    pub fn open(
        settings: AcmeSettings,
        tls: &Path,
        shelf: Arc<Shelf>,
        answers: Arc<Answers>,
        provider: Arc<CryptoProvider>,
    ) -> Result<Self, String> {
        let folder = tls.join("acme").join(folder_name(&settings.directory));
        super::make_folder(&folder)?;
        let client = Client::new(settings.ca.as_deref())?;
        let names = settings.domains.iter().map(|domain| {
            let kept = fs::read(file(&folder, domain)).ok();
            let kept = kept.and_then(|pem| Certificate::from_pem(&pem, &pem, &provider).ok()).map(Arc::new);
            let due = kept.as_ref().map_or(0, |kept| due(kept));
            Name { domain: domain.clone(), certificate: kept, due, failures: 0 }
        });
        let names = names.collect();
        let acme = Self { settings, folder, client, account: None, names, answers, shelf, provider };
        if acme.settings.challenge == Challenge::Http
            && let Some(kept) = acme.kept_account()?
        {
            acme.answers.answer_http_for(answers::thumbprint(kept.private_key())?);
        }
        acme.show();
        Ok(acme)
    }

    /// Keeps every name's certificate fresh, for ever.
    pub async fn run(mut self) {
        loop {
            for index in 0..self.names.len() {
                if self.names[index].due <= epoch_s() {
                    self.renew(index).await;
                }
            }
            let next = self.names.iter().map(|name| name.due - epoch_s()).min().unwrap_or(0).max(1) as u64;
            // Not for longer, since the clock may be set meanwhile.
            tokio::time::sleep(Duration::from_secs(next).min(limits::ACME_LOOK_EVERY)).await;
        }
    }

    async fn renew(&mut self, index: usize) {
        let domain = self.names[index].domain.clone();
        let ordered = tokio::time::timeout(limits::ACME_ORDER, self.order(&domain)).await;
        self.answers.forget(&domain);
        let name = &mut self.names[index];
        match ordered.unwrap_or_else(|_| Err("the authority took too long".to_owned())) {
            Ok(certificate) => {
                counter!("portico_acme_orders_total", "outcome" => "issued").increment(1);
                tracing::info!(domain, fingerprint = certificate.fingerprint, "the authority issued a certificate");
                name.failures = 0;
                name.due = due(&certificate);
                name.certificate = Some(certificate);
                self.show();
            }
            Err(error) => {
                counter!("portico_acme_orders_total", "outcome" => "failed").increment(1);
                let pause = pause(self.settings.retry, name.failures);
                name.failures = name.failures.saturating_add(1);
                name.due = epoch_s() + pause.as_secs() as i64;
                let serving = match &name.certificate {
                    Some(_) => "the certificate before it stays in service",
                    None => "there is none for this name yet",
                };
                let seconds = pause.as_secs();
                tracing::error!(domain, error, retry_in_s = seconds, "no certificate was issued; {serving}");
            }
        }
    }

    fn show(&self) {
        self.shelf.put(Source::Acme, self.names.iter().filter_map(|name| name.certificate.clone()).collect());
    }

    async fn order(&mut self, domain: &str) -> Result<Arc<Certificate>, String> {
        let account = self.account().await?;
        let issued = self.issue(&account, domain).await;
        if let Err(Error::Api(problem)) = &issued
            && problem.r#type.as_deref().is_some_and(|kind| kind.ends_with(":accountDoesNotExist"))
        {
            // The authority has forgotten us; the next attempt introduces the same key again.
            self.account = None;
            let path = self.account_file();
            let forgotten = fs::rename(&path, path.with_extension("forgotten"));
            forgotten.map_err(|error| format!("{}: {error}", path.display()))?;
        }
        let pem = issued.map_err(|error| error.to_string())?;
        let certificate = Certificate::from_pem(pem.as_bytes(), pem.as_bytes(), &self.provider);
        let certificate = certificate.map_err(|fault| format!("what the authority issued cannot be used: {fault}"))?;
        certificate.check_time(epoch_s()).map_err(|fault| format!("what the authority issued: {fault}"))?;
        let path = file(&self.folder, domain);
        write_secret(&path, pem.as_bytes()).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Arc::new(certificate))
    }

    /// Certificate chain and key, in PEM.
    async fn issue(&self, account: &Account, domain: &str) -> Result<String, Error> {
        let identifiers = [Identifier::Dns(domain.to_owned())];
        let mut order = account.new_order(&NewOrder::new(&identifiers)).await?;
        let kind = match self.settings.challenge {
            Challenge::Http => ChallengeType::Http01,
            Challenge::TlsAlpn => ChallengeType::TlsAlpn01,
        };
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if authorization.status == AuthorizationStatus::Valid {
                continue;
            }
            let challenge = authorization.challenge(kind.clone());
            let mut challenge = challenge.ok_or("the authority offers no challenge of the configured kind")?;
            if self.settings.challenge == Challenge::TlsAlpn {
                let digest = challenge.key_authorization().digest();
                let shown = self.answers.prove(domain, digest.as_ref(), &self.provider);
                shown.map_err(|error| Error::Other(error.into()))?;
            }
            challenge.set_ready().await?;
        }
        let policy = RetryPolicy::new().timeout(limits::ACME_POLL);
        match order.poll_ready(&policy).await {
            Ok(OrderStatus::Invalid) => return Err(why_refused(&mut order).await),
            Err(Error::Api(problem)) => return Err(not_proven(&problem)),
            polled => polled?,
        };
        let (csr, key) = request(domain).map_err(|error| Error::Other(error.into()))?;
        order.finalize_csr(&csr).await?;
        let chain = order.poll_certificate(&policy).await?;
        Ok(format!("{chain}\n{key}"))
    }

    /// Our account, made on first use.
    async fn account(&mut self) -> Result<Account, String> {
        if let Some(account) = &self.account {
            return Ok(account.clone());
        }
        let builder = || -> AccountBuilder { Account::builder_with_http(Box::new(self.client.clone())) };
        let account = match self.kept_account()? {
            Some(kept) => builder().from_credentials(kept).await.map_err(|error| error.to_string())?,
            None => {
                let (account, credentials) = self.introduce(builder()).await.map_err(|error| error.to_string())?;
                let text = serde_json::to_vec(&credentials).map_err(|error| error.to_string())?;
                let path = self.account_file();
                write_secret(&path, &text).map_err(|error| format!("{}: {error}", path.display()))?;
                tracing::info!(authority = self.settings.directory, "made an account with the authority");
                account
            }
        };
        if self.settings.challenge == Challenge::Http {
            self.answers.answer_http_for(account.key_thumbprint().to_owned());
        }
        self.account = Some(account.clone());
        Ok(account)
    }

    async fn introduce(&self, builder: AccountBuilder) -> Result<(Account, AccountCredentials), Error> {
        let contact: Vec<&str> = self.settings.contact.iter().map(String::as_str).collect();
        let directory = self.settings.directory.clone();
        let forgotten = read_account(&self.account_file().with_extension("forgotten")).ok().flatten();
        if let Some(forgotten) = forgotten {
            let key = forgotten.private_key().clone_key();
            let (account, credentials) = builder
                .create_from_key((Key::from_pkcs8_der(key.clone_key())?, PrivateKeyDer::Pkcs8(key)), directory)
                .await?;
            if !contact.is_empty() {
                account.update_contacts(&contact).await?;
            }
            return Ok((account, credentials));
        }
        let new = NewAccount { contact: &contact, terms_of_service_agreed: true, only_return_existing: false };
        builder.create(&new, directory, None).await
    }

    fn kept_account(&self) -> Result<Option<AccountCredentials>, String> {
        read_account(&self.account_file())
    }

    fn account_file(&self) -> PathBuf {
        self.folder.join("account.json")
    }
}

fn read_account(path: &Path) -> Result<Option<AccountCredentials>, String> {
    let wrong = |error: &dyn std::fmt::Display| format!("{}: {error}", path.display());
    match fs::read(path) {
        Ok(text) => serde_json::from_slice(&text).map(Some).map_err(|error| wrong(&error)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(wrong(&error)),
    }
}

fn not_proven(problem: &Problem) -> Error {
    Error::Other(format!("the name could not be proven: {problem}").into())
}

/// What the authority found when it looked.
async fn why_refused(order: &mut Order) -> Error {
    let mut authorizations = order.authorizations();
    while let Some(Ok(mut authorization)) = authorizations.next().await {
        let Ok(state) = authorization.refresh().await else { continue };
        let problem = state.challenges.iter().find_map(|challenge| challenge.error.as_ref());
        if let Some(problem) = problem {
            return not_proven(problem);
        }
    }
    Error::Str("the authority refused the order and did not say why")
}

/// A request for a certificate in DER, and its key in PEM.
fn request(domain: &str) -> Result<(Vec<u8>, String), String> {
    let make = || {
        let mut params = rcgen::CertificateParams::new(vec![domain.to_owned()])?;
        params.distinguished_name = rcgen::DistinguishedName::new();
        let key = rcgen::KeyPair::generate()?;
        Ok((params.serialize_request(&key)?.der().to_vec(), key.serialize_pem()))
    };
    make().map_err(|error: rcgen::Error| format!("the request for {domain}: {error}"))
}

/// When a certificate is to be renewed: after two thirds of its life, and up to a thirtieth sooner, so that many servers
/// that began on one day do not all come on another.
fn due(certificate: &Certificate) -> i64 {
    let life = certificate.not_after - certificate.not_before;
    certificate.renew_at() - (life as f64 / 30.0 * random()) as i64
}

/// How long to wait after so many failures before: three times as long each time, and up to a fifth longer.
fn pause(first: Duration, failures: u32) -> Duration {
    let factor = 3_u32.saturating_pow(failures.min(16));
    first.saturating_mul(factor).min(limits::ACME_RETRY_MAX).mul_f64(1.0 + random() / 5.0)
}

/// From 0 to 1.
fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or_default()) / f64::from(u32::MAX)
}

fn file(folder: &Path, domain: &str) -> PathBuf {
    folder.join(format!("{domain}.pem"))
}

/// The authority's host, by which its folder is found again.
fn folder_name(directory: &str) -> String {
    let authority = directory.trim_start_matches("https://").split('/').next().unwrap_or_default();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '_' };
    authority.trim_matches('.').chars().map(plain).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_followed_by_longer_and_longer_pauses() {
        let first = Duration::from_secs(60);
        let mut total = Duration::ZERO;
        for failures in 0..4 {
            let pause = pause(first, failures);
            let least = first * 3_u32.pow(failures);
            assert!(pause >= least && pause <= least.mul_f64(1.2), "{pause:?} after {failures}");
            total += pause;
        }
        // Let's Encrypt bears five failures of a name in an hour.
        assert!(total >= Duration::from_secs(40 * 60));
        assert!(pause(first, u32::MAX) <= limits::ACME_RETRY_MAX.mul_f64(1.2));
    }

    #[test]
    fn a_certificate_is_renewed_when_two_thirds_of_its_life_are_over() {
        let certificate = super::super::certificate::tests::certificate(&["a.example"]);
        let life = (certificate.not_after - certificate.not_before) as f64;
        for _ in 0..50 {
            let at = (due(&certificate) - certificate.not_before) as f64 / life;
            assert!((0.63..=0.667).contains(&at), "{at}");
        }
    }

    #[test]
    fn an_authority_has_a_folder_of_its_own() {
        for (directory, folder) in [
            ("https://acme-v02.api.letsencrypt.org/directory", "acme-v02.api.letsencrypt.org"),
            ("https://127.0.0.1:14000/dir", "127.0.0.1_14000"),
        ] {
            assert_eq!(folder_name(directory), folder);
        }
    }
}

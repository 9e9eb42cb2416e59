//! TLS: what makes an accepted connection a private one.
//!
//! In: streams of listeners with `tls = true`, certificates from files, from an authority, or our own. Out: streams that
//! speak HTTP inside, and which version of it both sides chose. [`certificate`] is one certificate, [`shelf`] all there
//! are; [`files`], [`acme`] and [`self_signed`] put them there. [`handshake`] is what happens to a connection, [`gate`]
//! why many of them at once keep nobody else waiting, [`tickets`] how a client comes back cheaply.
//!
//! The protocol itself is rustls with aws-lc-rs: TLS 1.2 and 1.3, no renegotiation, no compression, no early data (it
//! can be replayed, and functions have effects).

mod acme;
pub mod certificate;
mod files;
mod gate;
mod handshake;
mod self_signed;
mod shelf;
mod tickets;

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use metrics::{describe_counter, describe_gauge};
use rustls::ServerConfig;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::{NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use tokio::runtime::Handle;

use acme::{Acme, Answers};
pub use acme::{AcmeSettings, Challenge};
use files::Files;
pub use files::Pair;
pub use handshake::{Handshakes, Secured, accept};
use shelf::{Shelf, Source};
use tickets::Tickets;

use crate::config::tls::TlsSettings;

const HTTPS_PORT: u16 = 443;

/// Where clients find our own certificate, below the data directory.
pub const SELF_SIGNED: &str = "tls/self-signed.crt";

/// What all cores share.
pub struct Tls {
    /// For clients.
    config: Arc<ServerConfig>,
    /// For an authority that looks whether a name is ours.
    challenge: Arc<ServerConfig>,
    answers: Arc<Answers>,
    /// Where clients reach the listener with TLS.
    port: u16,
    /// The value of `Strict-Transport-Security`.
    hsts: Option<String>,
}

/// Certificates that are read already; nothing is started and no file written.
pub struct Prepared {
    provider: Arc<CryptoProvider>,
    files: Files,
}

/// What the rest of the server knows of itself.
pub struct Place<'a> {
    pub data: &'a Path,
    pub domain: &'a str,
    /// `<region>.<cloud>`.
    pub region_label: &'a str,
    /// Listeners with TLS.
    pub listeners: &'a [SocketAddr],
}

impl Prepared {
    /// Reads the certificates that are in files, which have to be good before a port opens.
    pub fn read(settings: &TlsSettings) -> Result<Self, String> {
        let provider = Arc::new(provider());
        let files = Files::read(&settings.pairs, provider.clone())?;
        Ok(Self { provider, files })
    }

    /// Puts everything in place and keeps it fresh on the side runtime.
    pub fn start(self, settings: &TlsSettings, place: &Place<'_>, side: &Handle) -> Result<Arc<Tls>, String> {
        let Self { provider, files } = self;
        let (shelf, answers) = (Arc::new(Shelf::default()), Arc::new(Answers::default()));
        let folder = place.data.join("tls");
        let uses_tls = !place.listeners.is_empty();
        if uses_tls || settings.acme.is_some() {
            make_folder(&folder)?;
        }
        shelf.put(Source::Files, files.serving());
        if settings.self_signed && uses_tls {
            let names =
                self_signed::Names::of(place.domain, place.region_label, place.listeners.iter().map(SocketAddr::ip));
            let (own, public) = self_signed::kept_or_made(&folder, &names, &provider)?;
            tracing::warn!(
                fingerprint = own.fingerprint,
                "serving a certificate of our own, which nobody trusts by itself; try: curl --cacert {}",
                public.display()
            );
            shelf.put(Source::SelfSigned, vec![own]);
        }
        let kept = uses_tls.then(|| folder.join("ticket-keys"));
        let tickets = Tickets::new(kept).map_err(|error| format!("session ticket keys: {error}"))?;
        let tickets = Arc::new(tickets);
        let tls = Arc::new(Tls {
            config: server_config(&provider, shelf.clone(), tickets.clone(), &protocols())?,
            challenge: server_config(&provider, answers.clone(), tickets.clone(), &[acme::ALPN])?,
            answers: answers.clone(),
            port: settings.public_port.or(place.listeners.first().map(SocketAddr::port)).unwrap_or(HTTPS_PORT),
            hsts: settings.hsts.clone(),
        });
        if !files.is_empty() {
            side.spawn(files::watch(files, shelf.clone()));
        }
        if let Some(settings) = &settings.acme {
            side.spawn(Acme::open(settings.clone(), &folder, shelf, answers, provider)?.run());
        }
        side.spawn(turn_keys(tickets));
        Ok(tls)
    }
}

impl Tls {
    /// What browsers are told about coming over TLS only, if they are told.
    pub fn promise(&self) -> Option<&str> {
        self.hsts.as_deref()
    }

    /// Where the same is to be had over TLS. `host`: as a client named it, with or without a port.
    pub fn url(&self, host: &str, path: &str, query: Option<&str>) -> String {
        let name = match host.rsplit_once(':') {
            Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
            _ => host,
        };
        let port = if self.port == HTTPS_PORT { String::new() } else { format!(":{}", self.port) };
        let (mark, query) = query.map_or(("", ""), |query| ("?", query));
        format!("https://{name}{port}{path}{mark}{query}")
    }

    /// The answer to an authority that asks at `path` over plain HTTP.
    pub fn challenge_answer(&self, path: &str) -> Option<String> {
        self.answers.http(path)
    }
}

/// Says what is counted here.
pub fn describe() {
    describe_counter!(
        "portico_tls_handshakes_total",
        "TLS handshakes ended: by outcome (done, refused, gone, timeout, shed, not_tls, acme), version, and whether resumed."
    );
    describe_gauge!("portico_tls_handshakes_in_progress", "TLS handshakes that have begun and not ended, by core.");
    describe_counter!("portico_tls_reloads_total", "Certificate files that changed, by what came of it.");
    describe_gauge!(
        "portico_tls_certificate_not_after_seconds",
        "When a certificate in service expires, epoch seconds, by its first name."
    );
    describe_counter!("portico_acme_orders_total", "Certificates ordered from an authority, by outcome.");
}

/// The HTTP versions we offer, best first.
fn protocols() -> [&'static [u8]; 2] {
    [b"h2", b"http/1.1"]
}

/// The hybrid key agreement comes first: what is recorded today may be read by tomorrow's computers. It costs a full
/// handshake about a tenth more, and clients that do not know it use X25519 as before.
fn provider() -> CryptoProvider {
    use aws_lc_rs::kx_group::{SECP256R1, SECP384R1, X25519, X25519MLKEM768};
    CryptoProvider { kx_groups: vec![X25519MLKEM768, X25519, SECP256R1, SECP384R1], ..aws_lc_rs::default_provider() }
}

fn server_config(
    provider: &Arc<CryptoProvider>,
    certificates: Arc<dyn ResolvesServerCert>,
    ticketer: Arc<dyn ProducesTickets>,
    protocols: &[&[u8]],
) -> Result<Arc<ServerConfig>, String> {
    let builder = ServerConfig::builder_with_provider(provider.clone());
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| format!("TLS: {error}"))?;
    let mut config = builder.with_no_client_auth().with_cert_resolver(certificates);
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    // Ours is the order: the strongest first, whatever a client would rather have.
    config.ignore_client_order = true;
    config.ticketer = ticketer;
    // Clients keep their sessions themselves; a table of ours would be a lock that all cores share.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    Ok(Arc::new(config))
}

/// Turns ticket keys over, for ever.
async fn turn_keys(tickets: Arc<Tickets>) {
    let mut every = tokio::time::interval(crate::limits::TICKET_KEYS_LOOK_EVERY);
    loop {
        every.tick().await;
        if let Err(error) = tickets.turn(epoch_s()) {
            tracing::error!(%error, "session ticket keys cannot be kept; the old ones stay in use");
        }
    }
}

fn make_folder(folder: &Path) -> Result<(), String> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| format!("{}: {error}", folder.display()))
}

/// Replaces a file that only we may read, as a whole or not at all.
fn write_secret(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new: PathBuf = path.to_owned();
    new.as_mut_os_string().push(".new");
    // One that was left behind may belong to whoever made it, with the rights they chose.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(new, path)
}

/// Seconds since 1970.
fn epoch_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs() as i64)
}

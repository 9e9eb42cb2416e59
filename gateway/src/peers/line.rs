//! Makes connections to one node: HTTP/2, by prior knowledge on `http://`, by agreement in the handshake on `https://`.
//!
//! In: the node's URL and whom to trust. Out: something to send requests with, or in words why there is none. Runs on the
//! side runtime.

use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::config::peers::NodeUrl;
use crate::limits::{
    PEER_CONNECT, PEER_CONNECTION_WINDOW, PEER_SIGN, PEER_SILENCE, PEER_STREAM_WINDOW, PEER_STREAMS_MAX,
};

pub type Sender = http2::SendRequest<Full<Bytes>>;

/// Makes connections to one node.
pub struct Dialer {
    pub url: NodeUrl,
    tls: Option<TlsConnector>,
}

impl Dialer {
    /// `trust`: what [`trust`] gave, for URLs that need it.
    pub fn new(url: NodeUrl, trust: &Arc<ClientConfig>) -> Self {
        let tls = url.tls.then(|| TlsConnector::from(trust.clone()));
        Self { url, tls }
    }

    pub async fn dial(&self) -> Result<Sender, String> {
        match tokio::time::timeout(PEER_CONNECT, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("no connection within {} ms", PEER_CONNECT.as_millis())),
        }
    }

    async fn connect(&self) -> Result<Sender, String> {
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        // Heads are small and wait for nothing.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else { return handshake(stream).await };
        let name = ServerName::try_from(self.url.host.clone()).map_err(|error| error.to_string())?;
        let stream = tls.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => handshake(stream).await,
            _ => Err("it does not speak HTTP/2".to_owned()),
        }
    }
}

/// Which certificates peers are believed for: those of the operator's authorities, or of those this machine trusts.
pub fn trust(authorities: &[CertificateDer<'static>]) -> Result<Arc<ClientConfig>, String> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let builder = builder.map_err(|error| error.to_string())?;
    let builder = if authorities.is_empty() {
        builder.with_platform_verifier().map_err(|error| error.to_string())?
    } else {
        let mut roots = RootCertStore::empty();
        for authority in authorities {
            roots.add(authority.clone()).map_err(|error| format!("peers.ca_file: {error}"))?;
        }
        builder.with_root_certificates(roots)
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

async fn handshake(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Result<Sender, String> {
    let (sender, connection) = http2::Builder::new(TokioExecutor::new())
        .timer(TokioTimer::new())
        .initial_stream_window_size(PEER_STREAM_WINDOW)
        .initial_connection_window_size(PEER_CONNECTION_WINDOW)
        .initial_max_send_streams(PEER_STREAMS_MAX)
        .keep_alive_interval(PEER_SILENCE)
        .keep_alive_timeout(PEER_SIGN)
        .keep_alive_while_idle(true)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|error| error.to_string())?;
    tokio::spawn(async move {
        // Whoever waits for an answer on it is told; there is nobody else to tell.
        let _ = connection.await;
    });
    Ok(sender)
}

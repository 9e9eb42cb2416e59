//! Makes connections to one node: HTTP/2, by prior knowledge on `http://`, by agreement in the handshake on `https://`.
//!
//! In: the node's URL and whom to trust. Out: a connection that the node has answered on, or in words why there is none.
//! Runs on the side runtime.
//!
//! When a node dies, the kernel knows at once that its connections are over; the HTTP library knows when the task that
//! reads has had its turn, and what it was given before that is lost without anybody knowing whether it arrived. So the
//! socket itself is asked before each request.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body_util::Full;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};
use rustls_platform_verifier::BuilderVerifierExt;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;

use crate::config::peers::NodeUrl;
use crate::limits::{
    PEER_CONNECT, PEER_CONNECTION_WINDOW, PEER_SIGN, PEER_SILENCE, PEER_STREAM_WINDOW, PEER_STREAMS_MAX,
};

pub type Sender = http2::SendRequest<Full<Bytes>>;

/// A connection to a node. Cheap to clone; every clone is the same.
#[derive(Clone)]
pub struct Connection {
    pub sender: Sender,
    /// The socket once more, to look at; `None` when the connection has ended.
    socket: Arc<Mutex<Option<OwnedFd>>>,
}

impl Connection {
    /// Whether nothing that is sent now can arrive, as far as this machine knows.
    pub fn is_over(&self) -> bool {
        if self.sender.is_closed() {
            return true;
        }
        let socket = self.socket.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(socket) = &*socket else { return true };
        let mut asked = [PollFd::new(socket, PollFlags::RDHUP)];
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        // An interrupted look says nothing.
        rustix::event::poll(&mut asked, Some(&now)).is_ok_and(|ready| ready > 0)
    }
}

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

    pub async fn dial(&self) -> Result<Connection, String> {
        match tokio::time::timeout(PEER_CONNECT, self.connect()).await {
            Ok(connected) => connected,
            Err(_) => Err(format!("no connection within {} ms", PEER_CONNECT.as_millis())),
        }
    }

    async fn connect(&self) -> Result<Connection, String> {
        let stream = TcpStream::connect((self.url.host.as_str(), self.url.port)).await;
        let stream = stream.map_err(|error| error.to_string())?;
        // Heads are small and wait for nothing.
        stream.set_nodelay(true).map_err(|error| error.to_string())?;
        let socket = rustix::io::dup(&stream).map_err(|error| error.to_string())?;
        let Some(tls) = &self.tls else { return handshake(stream, socket).await };
        let name = ServerName::try_from(self.url.host.clone()).map_err(|error| error.to_string())?;
        let stream = tls.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
        match stream.get_ref().1.alpn_protocol() {
            Some(b"h2") => handshake(stream, socket).await,
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

/// Until the node has said something: a port that is still open may belong to a process that has ended, and a request sent
/// there would be lost.
async fn handshake(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    socket: OwnedFd,
) -> Result<Connection, String> {
    let (heard, mut listened) = watch::channel(false);
    let stream = Heard { stream, heard };
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
    let socket = Arc::new(Mutex::new(Some(socket)));
    let looked_at = socket.clone();
    tokio::spawn(async move {
        // Whoever waits for an answer on it is told; there is nobody else to tell.
        let _ = connection.await;
        // The node learns that the connection is over when this is closed too.
        looked_at.lock().unwrap_or_else(PoisonError::into_inner).take();
    });
    // The stream is gone when it cannot be waited for.
    let answered = listened.wait_for(|heard| *heard).await.is_ok();
    if answered { Ok(Connection { sender, socket }) } else { Err("it closed the connection before a word".to_owned()) }
}

/// A stream that tells when something was read from it for the first time.
struct Heard<S> {
    stream: S,
    heard: watch::Sender<bool>,
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<std::io::Result<()>> {
        let before = into.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, into);
        if into.filled().len() > before && !*self.heard.borrow() {
            self.heard.send_replace(true);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

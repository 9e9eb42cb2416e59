//! A connection as the libraries for TLS and HTTP/2 want it: readiness, tokio's traits, buffers that stay where they are.
//!
//! In: an accepted stream, and bytes of it that were read already. Out: `AsyncRead + AsyncWrite`, plain or with TLS inside.
//! An operation here is tried when the socket is ready for it, so its future may be dropped at any time and nothing is lost;
//! a deadline is therefore waited for beside it (`Deadline::passed`), not handed into it.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use monoio::io::IntoPollIo;
use monoio::net::TcpStream;
use monoio::net::tcp::stream_poll::TcpStreamPoll;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::server::TlsStream;

/// The socket itself, with what was read ahead of it.
pub struct PlainStream {
    socket: TcpStreamPoll,
    ahead: Bytes,
}

/// A connection that is read and written when it is ready.
pub enum PollStream {
    Plain(PlainStream),
    /// Boxed: a TLS session is large, and most connections have none. What was read ahead of it was decrypted already.
    Tls(Box<TlsStream<PlainStream>>, Bytes),
}

impl PollStream {
    /// What a handshake made of a plain one.
    pub fn secure(stream: TlsStream<PlainStream>) -> Self {
        Self::Tls(Box::new(stream), Bytes::new())
    }

    /// Returns when bytes have come, the peer has closed or the connection broke. Nobody has to keep a buffer meanwhile: what
    /// comes first is read into a little room on the stack and put in front.
    pub(super) async fn readable(&mut self) -> io::Result<()> {
        poll_fn(|context| {
            let ahead = match self {
                Self::Plain(PlainStream { ahead, .. }) | Self::Tls(_, ahead) => ahead,
            };
            if !ahead.is_empty() {
                return Poll::Ready(Ok(()));
            }
            let mut room = [0; 1024];
            let mut into = ReadBuf::new(&mut room);
            ready!(Pin::new(&mut *self).poll_read(context, &mut into))?;
            if !into.filled().is_empty() {
                match self {
                    Self::Plain(PlainStream { ahead, .. }) | Self::Tls(_, ahead) => {
                        *ahead = Bytes::copy_from_slice(into.filled());
                    }
                }
            }
            Poll::Ready(Ok(()))
        })
        .await
    }

    /// Puts bytes that were read from it back in front.
    pub(super) fn with_ahead(self, ahead: Bytes) -> Self {
        match self {
            Self::Plain(PlainStream { socket, ahead: already }) => {
                debug_assert!(already.is_empty(), "what was read ahead came first");
                Self::Plain(PlainStream { socket, ahead })
            }
            Self::Tls(stream, _) => Self::Tls(stream, ahead),
        }
    }
}

impl PlainStream {
    pub(super) fn new(socket: TcpStream, ahead: Bytes) -> io::Result<Self> {
        Ok(Self { socket: socket.into_poll_io()?, ahead })
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        match take(&mut this.ahead, into) {
            true => Poll::Ready(Ok(())),
            false => Pin::new(&mut this.socket).poll_read(context, into),
        }
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().socket).poll_write_vectored(context, pieces)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().socket).poll_shutdown(context)
    }
}

/// Gives what was read ahead; false when there is none.
fn take(ahead: &mut Bytes, into: &mut ReadBuf<'_>) -> bool {
    if ahead.is_empty() {
        return false;
    }
    let length = ahead.len().min(into.remaining());
    into.put_slice(&ahead[..length]);
    ahead.advance(length);
    if ahead.is_empty() {
        // What it was cut from may be a whole connection's buffer.
        *ahead = Bytes::new();
    }
    true
}

impl AsyncRead for PollStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_read(context, into),
            Self::Tls(stream, ahead) => {
                if take(ahead, into) {
                    return Poll::Ready(Ok(()));
                }
                let read = Pin::new(&mut **stream).poll_read(context, into);
                // What the library has to say by itself (that it does not renegotiate, that its keys have changed) would
                // otherwise wait for an answer, and there may be none to come.
                if read.is_pending() && stream.get_ref().1.wants_write() {
                    let _ = Pin::new(&mut **stream).poll_flush(context)?;
                }
                read
            }
        }
    }
}

impl AsyncWrite for PollStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write(context, bytes),
            Self::Tls(stream, _) => Pin::new(&mut **stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_write_vectored(context, pieces),
            Self::Tls(stream, _) => Pin::new(&mut **stream).poll_write_vectored(context, pieces),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Plain(stream) => stream.is_write_vectored(),
            Self::Tls(stream, _) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_flush(context),
            Self::Tls(stream, _) => Pin::new(&mut **stream).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Plain(stream) => Pin::new(stream).poll_shutdown(context),
            Self::Tls(stream, _) => Pin::new(&mut **stream).poll_shutdown(context),
        }
    }
}

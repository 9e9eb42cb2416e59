//! Sockets: listeners and accepted streams, and the Unix streams that lead to hosts. Buffers travel into an operation and
//! come back with its result.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::sync::OnceLock;
use std::time::Duration;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{
    AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, CancelableAsyncReadRent, CancelableAsyncWriteRent, Splitable,
};

use bytes::Bytes;
use futures_util::future::{Either, select};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::Driver;
use super::poll::{PlainStream, PollStream};
use super::wheel::Deadline;

pub struct Listener(monoio::net::TcpListener);

impl Listener {
    /// Takes over a bound, listening, non-blocking socket.
    pub fn from_std(listener: TcpListener) -> io::Result<Self> {
        monoio::net::TcpListener::from_std(listener).map(Self)
    }

    /// The next connection. Never dropped half-way: it runs in a task of its own for as long as the core accepts.
    pub async fn accept(&self, until: &Deadline) -> io::Result<(Stream, SocketAddr)> {
        let (stream, peer) = self.0.cancelable_accept(until.handle()).await?;
        // Answers are sent whole; waiting to fill a segment would only delay them.
        stream.set_nodelay(true)?;
        Ok((Stream::Ring(stream), peer))
    }
}

/// An accepted connection.
pub enum Stream {
    /// Operations own their buffers while the ring has them.
    Ring(monoio::net::TcpStream),
    /// What has TLS inside.
    Poll(PollStream),
}

impl Stream {
    /// A connection that another process accepted. Nothing of it is going on there.
    pub fn from_std(stream: TcpStream, driver: Driver) -> io::Result<Self> {
        // The ring waits by itself, and takes a socket that does not block at its word.
        stream.set_nonblocking(driver == Driver::Epoll)?;
        monoio::net::TcpStream::from_std(stream).map(Self::Ring)
    }

    /// Another descriptor of the same socket, for another process to go on with when nothing is going on here. `None` for
    /// what has state of its own beside the socket, such as TLS.
    pub fn duplicate(&self) -> Option<io::Result<OwnedFd>> {
        match self {
            Self::Ring(stream) => Some(duplicate(stream.as_raw_fd())),
            Self::Poll(_) => None,
        }
    }

    /// Appends to `buffer` what has come, up to its capacity. 0 bytes: the peer has closed.
    pub async fn read(&mut self, mut buffer: Vec<u8>, deadline: &Deadline) -> (io::Result<usize>, Vec<u8>) {
        debug_assert!(buffer.capacity() > buffer.len(), "a read needs room");
        match self {
            Self::Ring(stream) => {
                let filled = buffer.len();
                let (read, slice) = stream.cancelable_read(buffer.slice_mut(filled..), deadline.handle()).await;
                (read, slice.into_inner())
            }
            Self::Poll(stream) => {
                let read = before(deadline, stream.read_buf(&mut buffer)).await;
                (read, buffer)
            }
        }
    }

    /// Returns when there is something to read, the peer has closed, or the deadline came. No buffer is held meanwhile. On the
    /// ring it is an operation of its own, so it is for connections that are not expected to say anything soon.
    pub async fn readable(&mut self, deadline: &Deadline) -> io::Result<()> {
        match self {
            // Dropped when the deadline comes: a poll takes nothing from the socket that could be lost.
            Self::Ring(stream) => before(deadline, stream.readable(false)).await,
            Self::Poll(stream) => before(deadline, stream.readable()).await,
        }
    }

    /// Whether [`Stream::readable`] costs nothing that [`Stream::read`] would not.
    pub fn waits_for_free(&self) -> bool {
        matches!(self, Self::Poll(_))
    }

    /// Writes some of `buffer`, from its byte `from` on, and says how many. Ends early for the deadline's hold, too.
    pub async fn write(&mut self, buffer: Vec<u8>, from: usize, deadline: &Deadline) -> (io::Result<usize>, Vec<u8>) {
        debug_assert!(buffer.len() > from, "a write needs bytes");
        match self {
            Self::Ring(stream) => {
                let (written, slice) = stream.cancelable_write(buffer.slice(from..), deadline.handle()).await;
                (written, slice.into_inner())
            }
            Self::Poll(stream) => {
                let write = stream.write(&buffer[from..]);
                let written = match select(pin!(write), pin!(deadline.interrupted())).await {
                    Either::Left((written, _)) => written,
                    Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
                };
                (written, buffer)
            }
        }
    }

    /// Sees what was written off, where something keeps it back: TLS does.
    pub async fn flush(&mut self, deadline: &Deadline) -> io::Result<()> {
        match self {
            Self::Ring(_) => Ok(()),
            Self::Poll(stream) => before(deadline, stream.flush()).await,
        }
    }

    /// Says that nothing more will be sent.
    pub async fn shutdown(&mut self, deadline: &Deadline) {
        // The peer may be gone already, which is all the same to us.
        let _ = match self {
            Self::Ring(stream) => stream.shutdown().await,
            Self::Poll(stream) => before(deadline, stream.shutdown()).await,
        };
    }

    /// When it is closed, what the peer has not taken is thrown away and the peer is told so. Otherwise the kernel would keep it
    /// for minutes, for a peer that may never take it.
    pub fn forget_unread(&self) {
        if let Some(Ok(socket)) = self.duplicate() {
            let _ = rustix::net::sockopt::set_socket_linger(&socket, Some(Duration::ZERO));
        }
    }

    /// The same connection by readiness, for TLS or HTTP/2. `ahead` was read from it and comes first.
    pub fn into_poll(self, ahead: Vec<u8>) -> io::Result<PollStream> {
        match self {
            Self::Ring(stream) => PlainStream::new(stream, Bytes::from(ahead)).map(PollStream::Plain),
            Self::Poll(stream) => Ok(stream.with_ahead(Bytes::from(ahead))),
        }
    }
}

/// The runtime lends a socket's number and not the socket. The kernel duplicates by number, for one process from another or
/// from itself.
fn duplicate(number: i32) -> io::Result<OwnedFd> {
    use rustix::process::{PidfdFlags, PidfdGetfdFlags, getpid, pidfd_getfd, pidfd_open};
    static OURSELVES: OnceLock<OwnedFd> = OnceLock::new();
    let ourselves = match OURSELVES.get() {
        Some(ourselves) => ourselves,
        None => {
            let opened = pidfd_open(getpid(), PidfdFlags::empty())?;
            OURSELVES.get_or_init(|| opened)
        }
    };
    Ok(pidfd_getfd(ourselves, number, PidfdGetfdFlags::empty())?)
}

/// What `operation` comes to, unless the deadline does first.
async fn before<T>(deadline: &Deadline, operation: impl Future<Output = io::Result<T>>) -> io::Result<T> {
    match select(pin!(operation), pin!(deadline.passed())).await {
        Either::Left((result, _)) => result,
        Either::Right(_) => Err(io::ErrorKind::TimedOut.into()),
    }
}

/// The reading half of a stream to a host, or of a bell.
pub struct LinkReader(monoio::net::unix::UnixOwnedReadHalf);

/// The writing half.
pub struct LinkWriter(monoio::net::unix::UnixOwnedWriteHalf);

pub fn split_link(stream: UnixStream) -> io::Result<(LinkReader, LinkWriter)> {
    stream.set_nonblocking(true)?;
    let (reader, writer) = monoio::net::UnixStream::from_std(stream)?.into_split();
    Ok((LinkReader(reader), LinkWriter(writer)))
}

impl LinkReader {
    /// Appends to `buffer` what has come, up to its capacity. 0 bytes: the peer has closed.
    pub async fn read(&mut self, buffer: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        debug_assert!(buffer.capacity() > buffer.len(), "a read needs room");
        let filled = buffer.len();
        let (read, slice) = self.0.read(buffer.slice_mut(filled..)).await;
        (read, slice.into_inner())
    }
}

impl LinkWriter {
    /// Writes all of `buffer`.
    pub async fn write(&mut self, buffer: Vec<u8>) -> (io::Result<()>, Vec<u8>) {
        let (result, buffer) = self.0.write_all(buffer).await;
        (result.map(drop), buffer)
    }
}

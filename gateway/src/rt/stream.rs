//! Sockets: listeners and accepted streams, and the Unix streams that lead to hosts. Buffers travel into an operation and
//! come back with its result.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixStream;

use monoio::buf::{IoBuf, IoBufMut};
use monoio::io::{
    AsyncReadRent, AsyncWriteRent, AsyncWriteRentExt, CancelableAsyncReadRent, CancelableAsyncWriteRent, Splitable,
};

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
        Ok((Stream(stream), peer))
    }
}

/// An accepted connection.
pub struct Stream(monoio::net::TcpStream);

impl Stream {
    /// Appends to `buffer` what has come, up to its capacity. 0 bytes: the peer has closed.
    pub async fn read(&mut self, buffer: Vec<u8>, deadline: &Deadline) -> (io::Result<usize>, Vec<u8>) {
        debug_assert!(buffer.capacity() > buffer.len(), "a read needs room");
        let filled = buffer.len();
        let (read, slice) = self.0.cancelable_read(buffer.slice_mut(filled..), deadline.handle()).await;
        (read, slice.into_inner())
    }

    /// Writes all of `buffer`.
    pub async fn write(&mut self, mut buffer: Vec<u8>, deadline: &Deadline) -> (io::Result<()>, Vec<u8>) {
        let mut written = 0;
        while written < buffer.len() {
            let (result, slice) = self.0.cancelable_write(buffer.slice(written..), deadline.handle()).await;
            buffer = slice.into_inner();
            match result {
                Ok(0) => return (Err(io::ErrorKind::WriteZero.into()), buffer),
                Ok(length) => written += length,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return (Err(error), buffer),
            }
        }
        (Ok(()), buffer)
    }

    /// Says that nothing more will be sent.
    pub async fn shutdown(&mut self) {
        // The peer may be gone already, which is all the same to us.
        let _ = self.0.shutdown().await;
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

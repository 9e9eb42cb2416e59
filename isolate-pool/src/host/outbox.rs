//! What waits to be sent on one link.
//!
//! In: whole frames. Out: bytes on the socket, as the peer takes them. The loop sends once per turn; when JavaScript keeps
//! the loop from ending its turn, the watchdog sends in its place, so that an answer already given does not wait for
//! somebody else's endless loop.

use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::limits::{KEPT_BYTES, LINK_OUT_BYTES_MAX};

pub struct Outbox {
    /// Never blocks.
    stream: Arc<UnixStream>,
    waiting: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    bytes: Vec<u8>,
    sent: usize,
}

impl Outbox {
    pub fn new(stream: Arc<UnixStream>) -> Arc<Self> {
        Arc::new(Self { stream, waiting: Mutex::default() })
    }

    /// Lets `append` add whole frames. The lock is the loop's but for the watchdog's rare visits, so it costs next to
    /// nothing.
    pub fn put(&self, append: impl FnOnce(&mut Vec<u8>)) {
        append(&mut self.lock().bytes);
    }

    /// Sends what the peer takes.
    pub fn flush(&self) -> io::Result<()> {
        let mut waiting = self.lock();
        let Waiting { bytes, sent } = &mut *waiting;
        while *sent < bytes.len() {
            match (&*self.stream).write(&bytes[*sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(length) => *sent += length,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if *sent == bytes.len() {
            bytes.clear();
            *sent = 0;
            if bytes.capacity() > KEPT_BYTES {
                *bytes = Vec::new();
            }
        } else if *sent > LINK_OUT_BYTES_MAX {
            bytes.drain(..*sent);
            *sent = 0;
        }
        Ok(())
    }

    /// Bytes the peer has not taken.
    pub fn unsent(&self) -> usize {
        let waiting = self.lock();
        waiting.bytes.len() - waiting.sent
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

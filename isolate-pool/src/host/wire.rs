//! The host's ends of the links: bytes in, frames out of them; frames in, bytes out.
//!
//! Sockets never block. Output that a peer does not take waits here, and a peer that leaves too much waiting is not read
//! from until it takes some: what is asked for is then bounded by what is answered.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use rustix::io::Errno;

use super::outbox::Outbox;
use crate::limits::{KEPT_BYTES, LINK_OUT_BYTES_MAX, TURN_BYTES_MAX};

/// Room made for one read. Larger than most requests, so that one read per turn is the rule.
const READ_BYTES: usize = 64 * 1024;

pub struct Wire {
    stream: Arc<UnixStream>,
    received: Vec<u8>,
    used: usize,
    pub out: Arc<Outbox>,
}

impl Wire {
    pub fn new(stream: UnixStream) -> io::Result<Self> {
        stream.set_nonblocking(true)?;
        let stream = Arc::new(stream);
        Ok(Self { out: Outbox::new(stream.clone()), stream, received: Vec::new(), used: 0 })
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }

    /// Reads what is there. `false` when the peer is gone.
    pub fn fill(&mut self) -> io::Result<bool> {
        self.received.drain(..self.used);
        self.used = 0;
        let start = self.received.len();
        while self.received.len() - start < TURN_BYTES_MAX {
            self.received.reserve(READ_BYTES);
            match rustix::io::read(&*self.stream, rustix::buffer::spare_capacity(&mut self.received)) {
                Ok(0) => return Ok(false),
                // Less than there was room for: that was all.
                Ok(read) if read < READ_BYTES => return Ok(true),
                Ok(_) | Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(true),
                Err(error) => return Err(error.into()),
            }
        }
        Ok(true)
    }

    /// Takes what was received; give it back with [`Self::put_back`], and how much of it was used.
    pub fn take_received(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.received)
    }

    pub fn put_back(&mut self, received: Vec<u8>, used: usize) {
        self.received = received;
        self.used = used;
        if used == self.received.len() {
            self.received.clear();
            self.used = 0;
            if self.received.capacity() > KEPT_BYTES {
                self.received = Vec::new();
            }
        }
    }

    pub fn has_output(&self) -> bool {
        self.out.unsent() > 0
    }

    /// Whether the peer takes its answers, so that it may ask for more.
    pub fn may_read(&self) -> bool {
        self.out.unsent() < LINK_OUT_BYTES_MAX
    }
}

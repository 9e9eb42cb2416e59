//! The connection's bytes on their way to and from the h2 crate: every frame is seen by the [`Walker`], and it is known how
//! long the peer has not read.
//!
//! In: a stream. Out: the same stream, which gives no more bytes once its peer has offended. Shared with the connection, so
//! that it can look at both, and close in peace when HTTP/2 is over.

use std::cell::RefCell;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::walker::{Offence, Walker};
use crate::core::Core;
use crate::limits;
use crate::listener::Bounds;
use crate::rt::PollStream;

/// One connection's bytes.
pub struct Wire {
    core: Rc<Core>,
    stream: PollStream,
    walker: Walker,
    offence: Option<Offence>,
    /// Since when bytes wait for the peer to read.
    unread_since_ms: Option<u64>,
    /// When the peer last took bytes.
    taken_ms: u64,
    ended: bool,
    /// What may still be read before others have their turn, bytes.
    turn_left: usize,
    /// The end of what was sent last.
    last_words: [u8; LAST_WORDS_BYTES],
}

/// Enough for the text of GOAWAY, which is the last that is sent.
const LAST_WORDS_BYTES: usize = 32;

impl Wire {
    pub fn new(core: Rc<Core>, stream: PollStream) -> Self {
        let now_ms = core.wheel.now_ms();
        let walker = Walker::new(now_ms);
        Self {
            core,
            stream,
            walker,
            offence: None,
            unread_since_ms: None,
            taken_ms: now_ms,
            ended: false,
            turn_left: limits::H2_TURN_BYTES,
            last_words: [0; LAST_WORDS_BYTES],
        }
    }

    pub fn offence(&self) -> Option<Offence> {
        self.offence
    }

    pub fn unread_since_ms(&self) -> Option<u64> {
        self.unread_since_ms
    }

    pub fn taken_ms(&self) -> u64 {
        self.taken_ms
    }

    /// Whether the peer has said that nothing more comes.
    pub fn ended(&self) -> bool {
        self.ended
    }

    /// Whether what was sent last ends with a text.
    pub fn last_said(&self, text: &str) -> bool {
        self.last_words.ends_with(text.as_bytes())
    }

    /// When the peer must have gone on with what it began, on the wheel's clock: its preface, a head, reading.
    pub fn due_ms(&self, began_ms: u64, bounds: &Bounds) -> u64 {
        let preface = (!self.walker.has_begun()).then(|| began_ms + bounds.head_ms);
        let block = self.walker.block_since_ms().map(|since| since + bounds.head_ms);
        let unread = self.unread_since_ms.map(|since| since + bounds.send_ms);
        [preface, block, unread].into_iter().flatten().min().unwrap_or(u64::MAX)
    }

    /// Begins another turn of reading; true when the last one was cut short.
    pub fn take_turn(&mut self) -> bool {
        std::mem::replace(&mut self.turn_left, limits::H2_TURN_BYTES) == 0
    }

    /// Reads without anybody looking at the bytes.
    pub fn poll_discard(&mut self, context: &mut Context<'_>) -> Poll<io::Result<usize>> {
        let mut piece = [0; 4 * 1024];
        let mut piece = ReadBuf::new(&mut piece);
        ready!(Pin::new(&mut self.stream).poll_read(context, &mut piece))?;
        Poll::Ready(Ok(piece.filled().len()))
    }

    pub fn poll_close(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn read(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.offence.is_some() {
            // Nobody waits for more; the connection sees the offence when this returns.
            return Poll::Pending;
        }
        if self.turn_left == 0 {
            // A peer that sends as fast as we read would otherwise keep the core to itself.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let bytes = &buffer.filled()[before..];
        self.ended = bytes.is_empty();
        self.turn_left = self.turn_left.saturating_sub(bytes.len());
        if let Err(offence) = self.walker.see(bytes, self.core.wheel.now_ms()) {
            self.offence = Some(offence);
            buffer.set_filled(before);
            return Poll::Pending;
        }
        Poll::Ready(Ok(()))
    }

    /// Notes what became of a write that began with `first`.
    fn written(&mut self, written: Poll<io::Result<usize>>, first: &[u8]) -> Poll<io::Result<usize>> {
        let now_ms = self.core.wheel.now_ms();
        match &written {
            Poll::Ready(Ok(bytes)) => {
                self.walker.sent(*bytes);
                self.taken_ms = now_ms;
                self.unread_since_ms = None;
                if let Some(last) = first.get(..*bytes).and_then(<[u8]>::last_chunk) {
                    self.last_words = *last;
                }
            }
            Poll::Ready(Err(_)) => {}
            Poll::Pending => self.unread_since_ms = self.unread_since_ms.or(Some(now_ms)),
        }
        written
    }
}

/// What the h2 crate reads and writes.
pub struct Tap(pub Rc<RefCell<Wire>>);

impl AsyncRead for Tap {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().read(context, buffer)
    }
}

impl AsyncWrite for Tap {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        let written = Pin::new(&mut wire.stream).poll_write(context, bytes);
        wire.written(written, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let mut wire = self.0.borrow_mut();
        let written = Pin::new(&mut wire.stream).poll_write_vectored(context, pieces);
        wire.written(written, pieces.first().map_or(&[], |piece| piece))
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut wire = self.0.borrow_mut();
        let flushed = Pin::new(&mut wire.stream).poll_flush(context);
        if flushed.is_pending() {
            wire.unread_since_ms = wire.unread_since_ms.or(Some(wire.core.wheel.now_ms()));
        }
        flushed
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.0.borrow_mut().poll_close(context)
    }
}

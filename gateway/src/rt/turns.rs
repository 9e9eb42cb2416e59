//! Letting the core look at everything that has happened meanwhile, once.
//!
//! A task that wakes itself is run again before the driver is asked for more; a message to oneself through the driver is
//! not, and by the time it comes all else that was ready has come as well.

use std::future::{Future, poll_fn};
use std::io::{self, Write};
use std::os::unix::net::UnixStream;
use std::pin::pin;

use super::stream::{LinkReader, LinkWriter, split_link};

pub struct Turns {
    ring: UnixStream,
    reader: LinkReader,
    _writer: LinkWriter,
    buffer: Vec<u8>,
}

impl Turns {
    pub fn new() -> io::Result<Self> {
        let (ring, rung) = UnixStream::pair()?;
        ring.set_nonblocking(true)?;
        let (reader, writer) = split_link(rung)?;
        Ok(Self { ring, reader, _writer: writer, buffer: Vec::with_capacity(8) })
    }

    /// Returns when the driver has been asked once.
    pub async fn next(&mut self) -> io::Result<()> {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        let mut read = pin!(self.reader.read(buffer));
        let mut rung = false;
        let (read, buffer) = poll_fn(|context| {
            // First the question, then the answer: one that is there already would be had without asking the driver.
            let polled = read.as_mut().poll(context);
            if polled.is_pending() && !std::mem::replace(&mut rung, true) {
                let _ = (&self.ring).write(&[1]);
            }
            polled
        })
        .await;
        self.buffer = buffer;
        if read? == 0 { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

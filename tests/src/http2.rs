//! HTTP/2 by the frame: a client that sends exactly the frames it is told to, lawful or not, and sees every frame that comes
//! back. Standard library only, so that it shares no mistake with what it tests.
//!
//! It tells the server not to use a dynamic table, so that a status can be read from a header block without one.

use std::io::{self, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::Duration;

pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub const DATA: u8 = 0x0;
pub const HEADERS: u8 = 0x1;
pub const PRIORITY: u8 = 0x2;
pub const RST_STREAM: u8 = 0x3;
pub const SETTINGS: u8 = 0x4;
pub const PUSH_PROMISE: u8 = 0x5;
pub const PING: u8 = 0x6;
pub const GOAWAY: u8 = 0x7;
pub const WINDOW_UPDATE: u8 = 0x8;
pub const CONTINUATION: u8 = 0x9;

pub const END_STREAM: u8 = 0x1;
pub const ACK: u8 = 0x1;
pub const END_HEADERS: u8 = 0x4;
pub const PADDED: u8 = 0x8;

pub const HEADER_TABLE_SIZE: u16 = 1;
pub const INITIAL_WINDOW_SIZE: u16 = 4;

pub const PROTOCOL_ERROR: u32 = 0x1;
pub const REFUSED_STREAM: u32 = 0x7;
pub const ENHANCE_YOUR_CALM: u32 = 0xb;

const FRAME_HEAD_BYTES: usize = 9;
const PATIENCE: Duration = Duration::from_secs(30);

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

impl Frame {
    pub fn new(kind: u8, flags: u8, stream: u32, payload: impl Into<Vec<u8>>) -> Self {
        Self { kind, flags, stream, payload: payload.into() }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let length = (self.payload.len() as u32).to_be_bytes();
        let mut bytes = vec![length[1], length[2], length[3], self.kind, self.flags];
        bytes.extend(self.stream.to_be_bytes());
        bytes.extend_from_slice(&self.payload);
        bytes
    }

    /// A whole head of a request, in one frame.
    pub fn headers(stream: u32, end_stream: bool, fields: &[(&str, &str)]) -> Self {
        let flags = END_HEADERS | if end_stream { END_STREAM } else { 0 };
        Self::new(HEADERS, flags, stream, block(fields))
    }

    pub fn data(stream: u32, end_stream: bool, bytes: &[u8]) -> Self {
        Self::new(DATA, if end_stream { END_STREAM } else { 0 }, stream, bytes)
    }

    pub fn reset(stream: u32, code: u32) -> Self {
        Self::new(RST_STREAM, 0, stream, code.to_be_bytes())
    }

    pub fn settings(settings: &[(u16, u32)]) -> Self {
        let pair = |(name, value): &(u16, u32)| [&name.to_be_bytes()[..], &value.to_be_bytes()[..]].concat();
        Self::new(SETTINGS, 0, 0, settings.iter().flat_map(pair).collect::<Vec<u8>>())
    }

    pub fn ping() -> Self {
        Self::new(PING, 0, 0, [7; 8])
    }

    pub fn window_update(stream: u32, more: u32) -> Self {
        Self::new(WINDOW_UPDATE, 0, stream, more.to_be_bytes())
    }

    /// The number in a frame that is one: the code of RST_STREAM, the increment of WINDOW_UPDATE, the last stream of
    /// GOAWAY.
    pub fn number(&self) -> u32 {
        self.payload.first_chunk().map_or(0, |bytes| u32::from_be_bytes(*bytes))
    }

    /// Why GOAWAY was sent.
    pub fn go_away_code(&self) -> u32 {
        self.payload.get(4..8).and_then(|bytes| bytes.try_into().ok()).map_or(0, u32::from_be_bytes)
    }

    pub fn ends_stream(&self) -> bool {
        matches!(self.kind, DATA | HEADERS) && self.flags & END_STREAM != 0
    }

    /// The status that a response's header block begins with.
    pub fn status(&self) -> Option<u16> {
        // After the table was set to nothing, a block may begin by saying so.
        let block = self.payload.strip_prefix(&[0x20]).unwrap_or(&self.payload);
        match block {
            [indexed @ 0x88..=0x8e, ..] => Some([200, 204, 206, 304, 400, 404, 500][usize::from(indexed - 0x88)]),
            // A literal value for the static table's `:status`, whatever its indexing.
            [0x08 | 0x18 | 0x48, length, value @ ..] => {
                let value = value.get(..usize::from(length & 0x7f))?;
                let digits = if length & 0x80 != 0 { huffman_digits(value)? } else { value.to_vec() };
                std::str::from_utf8(&digits).ok()?.parse().ok()
            }
            _ => None,
        }
    }
}

/// The digits of a Huffman-coded number.
fn huffman_digits(coded: &[u8]) -> Option<Vec<u8>> {
    let bits: Vec<u8> = coded.iter().flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1)).collect();
    let number = |bits: &[u8]| bits.iter().fold(0, |sum, bit| sum << 1 | bit);
    let (mut at, mut digits) = (0, Vec::new());
    while bits.len() - at >= 5 && bits[at..].contains(&0) {
        let short = number(&bits[at..at + 5]);
        if short <= 2 {
            digits.push(b'0' + short);
            at += 5;
        } else {
            let long = number(bits.get(at..at + 6)?);
            digits.push(b'0' + long.checked_sub(0b01_1001)?.checked_add(3).filter(|digit| *digit <= 9)?);
            at += 6;
        }
    }
    Some(digits)
}

/// A header block of literals that no table keeps.
pub fn block(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            length(&mut block, 0x7f, 0, text.len());
            block.extend_from_slice(text.as_bytes());
        }
    }
    block
}

/// A number as header blocks have them: in the low bits of a byte as long as it fits there.
pub fn length(block: &mut Vec<u8>, mask: u8, high: u8, mut number: usize) {
    if number < usize::from(mask) {
        return block.push(high | number as u8);
    }
    block.push(high | mask);
    number -= usize::from(mask);
    while number >= 0x80 {
        block.push(number as u8 | 0x80);
        number >>= 7;
    }
    block.push(number as u8);
}

/// The fields of a request.
pub fn request<'t>(method: &'t str, path: &'t str) -> Vec<(&'t str, &'t str)> {
    vec![(":method", method), (":scheme", "http"), (":path", path), (":authority", "localhost")]
}

/// One connection.
#[derive(Debug)]
pub struct Http2 {
    stream: TcpStream,
    input: Vec<u8>,
    pub sent_bytes: usize,
}

impl Http2 {
    /// Connects and says nothing.
    pub fn silent(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap_or_else(|error| panic!("cannot connect to {address}: {error}"));
        stream.set_nodelay(true).expect("an option of our own socket");
        stream.set_read_timeout(Some(PATIENCE)).expect("an option of our own socket");
        stream.set_write_timeout(Some(PATIENCE)).expect("an option of our own socket");
        Self { stream, input: Vec::new(), sent_bytes: 0 }
    }

    /// Connects and begins as a lawful client does, with `settings` beside the one this client needs.
    pub fn open(address: SocketAddr, settings: &[(u16, u32)]) -> Self {
        let mut connection = Self::silent(address);
        let settings = [&[(HEADER_TABLE_SIZE, 0)], settings].concat();
        connection.send(&[PREFACE, &Frame::settings(&settings).bytes()].concat()).expect("the server takes a preface");
        connection.send(&Frame::new(SETTINGS, ACK, 0, []).bytes()).expect("the server takes an acknowledgement");
        connection
    }

    /// The same connection for another thread, to read from while this one sends.
    pub fn reader(&self) -> Self {
        let stream = self.stream.try_clone().expect("a descriptor");
        Self { stream, input: self.input.clone(), sent_bytes: 0 }
    }

    pub fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sent_bytes += bytes.len();
        self.stream.write_all(bytes)
    }

    pub fn frame(&mut self, frame: &Frame) -> io::Result<()> {
        self.send(&frame.bytes())
    }

    pub fn set_patience(&mut self, patience: Duration) {
        self.stream.set_read_timeout(Some(patience)).expect("an option of our own socket");
        self.stream.set_write_timeout(Some(patience)).expect("an option of our own socket");
    }

    pub fn finish_sending(&mut self) {
        // A peer that has closed already has nothing to be told.
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// The next frame; none when the server has closed.
    pub fn receive(&mut self) -> io::Result<Option<Frame>> {
        loop {
            if let Some(head) = self.input.first_chunk::<FRAME_HEAD_BYTES>() {
                let [a, b, c, kind, flags, stream @ ..] = *head;
                let end = FRAME_HEAD_BYTES + u32::from_be_bytes([0, a, b, c]) as usize;
                if self.input.len() >= end {
                    let frame: Vec<u8> = self.input.drain(..end).collect();
                    let payload = &frame[FRAME_HEAD_BYTES..];
                    return Ok(Some(Frame::new(kind, flags, u32::from_be_bytes(stream), payload)));
                }
            }
            let mut piece = [0; 16 * 1024];
            let read = self.stream.read(&mut piece)?;
            if read == 0 {
                return match self.input.is_empty() {
                    true => Ok(None),
                    false => Err(io::Error::new(io::ErrorKind::UnexpectedEof, "closed inside a frame")),
                };
            }
            self.input.extend_from_slice(&piece[..read]);
        }
    }

    /// The next frame that is none of the connection's own housekeeping.
    pub fn receive_of_stream(&mut self) -> io::Result<Option<Frame>> {
        loop {
            match self.receive()? {
                Some(Frame { kind: SETTINGS | PING | WINDOW_UPDATE, .. }) => {}
                other => return Ok(other),
            }
        }
    }

    /// The status and the body of the next answer on a stream; frames of other streams are passed over. The windows are
    /// as large as they were: more than that does not come.
    pub fn answer(&mut self, stream: u32) -> io::Result<(u16, Vec<u8>)> {
        let (mut status, mut body) = (0, Vec::new());
        loop {
            let frame = self.receive()?.ok_or_else(|| broken("closed before the answer ended".to_owned()))?;
            if frame.kind == GOAWAY && frame.go_away_code() != 0 {
                return Err(broken(format!("sent away: {frame:?}")));
            }
            if frame.stream != stream {
                continue;
            }
            match frame.kind {
                HEADERS => status = frame.status().ok_or_else(|| broken(format!("no status: {frame:?}")))?,
                DATA => body.extend_from_slice(&frame.payload),
                RST_STREAM => return Err(broken(format!("reset with {}", frame.number()))),
                _ => continue,
            }
            if frame.ends_stream() {
                return Ok((status, body));
            }
        }
    }

    /// One request without a body.
    pub fn call(&mut self, stream: u32, fields: &[(&str, &str)]) -> io::Result<(u16, Vec<u8>)> {
        self.frame(&Frame::headers(stream, true, fields))?;
        self.answer(stream)
    }
}

fn broken(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_form() {
        for (payload, status) in [
            (vec![0x88], Some(200)),
            (vec![0x20, 0x8d, 0x00], Some(404)),
            (vec![0x08, 3, b'4', b'1', b'3'], Some(413)),
            // 4 = 011010, 1 = 00001, 3 = 011001, and ones to the end.
            (vec![0x48, 0x83, 0b0110_1000, 0b0010_1100, 0b1111_1111], Some(413)),
            (vec![0x40], None),
        ] {
            assert_eq!(Frame::new(HEADERS, 0, 1, payload.clone()).status(), status, "{payload:x?}");
        }
    }
}

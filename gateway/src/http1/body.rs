//! Request bodies: where they end, and their bytes without the chunk lines between.
//!
//! In: how the head says the body is framed; bytes as they come, cut anywhere. Out: pieces of body ([`Decoder`], for
//! bodies handed on), or the whole body gathered in the receive buffer ([`Intake`], for endpoints); and exactly
//! how many bytes were the body's, so that the next pipelined request begins where it should.
//!
//! The chunk reader keeps no bytes, only a state, so nothing it waits for can grow. Extensions and trailers are read,
//! bounded and thrown away. A chunk line has one spelling: hexadecimal digits, perhaps `;` and text, CR LF.
//!
//! Not here: how long to wait for the next byte, and what to do with a body nobody asked for.

use super::line::is_token;
use super::refusal::{Reason, Refusal};
use crate::limits::{CHUNK_EXTENSION_BYTES_MAX, CHUNK_SIZE_DIGITS_MAX, TRAILER_BYTES_MAX};
use std::ops::Range;

/// How a head says where its body ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// No body, or one of length 0.
    Empty,
    /// That many bytes; never 0.
    Length(u64),
    Chunked,
}

/// What one look at the input gave.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// Bytes of input that were the body's; the next look begins after them.
    pub consumed: usize,
    /// Where in the input the body's data is; empty when only chunk lines were consumed.
    pub data: Range<usize>,
    /// The body is complete; what follows is the next request.
    pub done: bool,
}

/// Reads one body piece by piece.
#[derive(Debug, Clone)]
pub struct Decoder {
    state: State,
    /// Data bytes that may still come before the body is too large.
    allowance: u64,
    extension_bytes: u32,
    trailer_bytes: u32,
    /// Bytes of the body as sent so far: the offset that a refusal names.
    offset: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Within a body of known length: bytes still to come, at least one.
    Fixed(u64),
    /// At a chunk size: its value so far and how many digits it had.
    Size(u64, u32),
    /// In a chunk extension; the chunk's size.
    Extension(u64),
    /// After the CR of a chunk line.
    SizeLf(u64),
    /// In chunk data: bytes still to come, at least one.
    Data(u64),
    /// Before the CR, then the LF, after chunk data.
    DataCr,
    DataLf,
    /// At the start of a trailer line, in its name, in its value, after its CR.
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLf,
    /// After the CR of the last, empty line.
    LastLf,
    Done,
}

impl Decoder {
    /// Refuses at once when the announced length is above `max` bytes.
    pub fn new(framing: Framing, max: u64) -> Result<Self, Refusal> {
        let state = match framing {
            Framing::Empty | Framing::Length(0) => State::Done,
            Framing::Length(length) if length > max => return Err(Reason::BodyTooLarge.at(0)),
            Framing::Length(length) => State::Fixed(length),
            Framing::Chunked => State::Size(0, 0),
        };
        Ok(Self { state, allowance: max, extension_bytes: 0, trailer_bytes: 0, offset: 0 })
    }

    pub fn is_done(&self) -> bool {
        self.state == State::Done
    }

    /// Reads up to and including the next piece of data. Call again with what follows `consumed`, until `done` or until
    /// the input is used up. After a refusal the decoder is of no more use.
    pub fn step(&mut self, input: &[u8]) -> Result<Step, Refusal> {
        let mut at = 0;
        while at < input.len() {
            match self.state {
                State::Done => break,
                State::Fixed(left) => return Ok(self.take(input, at, left, State::Fixed, State::Done)),
                State::Data(left) => return Ok(self.take(input, at, left, State::Data, State::DataCr)),
                state => {
                    self.state = self.line_byte(state, input[at])?;
                    at += 1;
                    self.offset += 1;
                }
            }
        }
        Ok(Step { consumed: at, data: at..at, done: self.is_done() })
    }

    /// Takes as much data as is there, out of `left` bytes still to come.
    fn take(&mut self, input: &[u8], at: usize, left: u64, more: fn(u64) -> State, after: State) -> Step {
        let there = input.len() - at;
        // When `left` does not fit a usize it is more than any buffer holds.
        let taken = usize::try_from(left).map_or(there, |left| left.min(there));
        let rest = left - taken as u64;
        self.state = if rest == 0 { after } else { more(rest) };
        self.offset += taken as u64;
        Step { consumed: at + taken, data: at..at + taken, done: self.is_done() }
    }

    /// One byte outside data.
    fn line_byte(&mut self, state: State, byte: u8) -> Result<State, Refusal> {
        let refuse = |reason: Reason| Refusal { reason, offset: self.offset };
        let printable = byte == b'\t' || (byte >= b' ' && byte != 0x7f);
        Ok(match (state, byte) {
            (State::Size(size, digits), _) if byte.is_ascii_hexdigit() => {
                if digits == CHUNK_SIZE_DIGITS_MAX {
                    return Err(refuse(Reason::BadChunk));
                }
                let digit = (byte as char).to_digit(16).map_or(0, u64::from);
                State::Size(size << 4 | digit, digits + 1)
            }
            (State::Size(size, digits), b';' | b'\r') if digits > 0 => {
                if size > self.allowance {
                    return Err(refuse(Reason::BodyTooLarge));
                }
                if byte == b'\r' { State::SizeLf(size) } else { State::Extension(size) }
            }
            (State::Extension(size), b'\r') => State::SizeLf(size),
            (State::Extension(size), _) if printable => {
                self.extension_bytes += 1;
                if self.extension_bytes > CHUNK_EXTENSION_BYTES_MAX {
                    return Err(refuse(Reason::ChunkExtensionsTooLong));
                }
                State::Extension(size)
            }
            (State::SizeLf(0), b'\n') => State::TrailerStart,
            (State::SizeLf(size), b'\n') => {
                self.allowance -= size;
                State::Data(size)
            }
            (State::DataCr, b'\r') => State::DataLf,
            (State::DataLf, b'\n') => State::Size(0, 0),

            (State::TrailerStart, b'\r') => State::LastLf,
            (State::LastLf, b'\n') => State::Done,
            (State::TrailerStart | State::TrailerName, _) if is_token(byte) => {
                self.trailer_byte()?;
                State::TrailerName
            }
            (State::TrailerName, b':') => State::TrailerValue,
            (State::TrailerValue, b'\r') => State::TrailerLf,
            (State::TrailerLf, b'\n') => State::TrailerStart,
            (State::TrailerValue, _) if printable => {
                self.trailer_byte()?;
                State::TrailerValue
            }
            (State::TrailerStart | State::TrailerName | State::TrailerValue | State::TrailerLf | State::LastLf, _) => {
                return Err(refuse(Reason::BadTrailer));
            }
            _ => return Err(refuse(Reason::BadChunk)),
        })
    }

    fn trailer_byte(&mut self) -> Result<(), Refusal> {
        self.trailer_bytes += 1;
        if self.trailer_bytes > TRAILER_BYTES_MAX {
            return Err(Refusal { reason: Reason::TrailersTooLong, offset: self.offset });
        }
        Ok(())
    }
}

/// Gathers a whole body in the receive buffer, where it is: a body of known length is never copied, a chunked one
/// is moved together over its chunk lines.
#[derive(Debug, Clone)]
pub struct Intake {
    decoder: Decoder,
    /// Bytes of body at the front, gathered.
    filled: usize,
}

/// Whether a body is complete.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Progress {
    /// More bytes are needed.
    Waiting,
    /// The body lies here in the buffer, and the next request begins at `next`.
    Complete { body: Range<usize>, next: usize },
}

impl Intake {
    /// `max` is the largest body taken, in bytes.
    pub fn new(framing: Framing, max: u64) -> Result<Self, Refusal> {
        Ok(Self { decoder: Decoder::new(framing, max)?, filled: 0 })
    }

    /// Bytes of body gathered so far.
    pub fn gathered(&self) -> usize {
        self.filled
    }

    /// Bytes still to come when the length is known: what to make room for at once. `None` while unknown.
    pub fn outstanding(&self) -> Option<u64> {
        match self.decoder.state {
            State::Fixed(left) => Some(left),
            State::Done => Some(0),
            _ => None,
        }
    }

    /// Looks at the bytes that came since the last call. `start` is where the body begins in the buffer; it may differ
    /// between calls if the buffer was moved, as long as everything from it on was moved along. While `Waiting`, the
    /// buffer holds nothing after `start` but gathered body: chunk lines are squeezed out at once, so that a body of
    /// one-byte chunks needs no more memory than its data.
    pub fn receive(&mut self, buffer: &mut Vec<u8>, start: usize) -> Result<Progress, Refusal> {
        let mut write = start + self.filled;
        let mut read = write;
        while !self.decoder.is_done() && read < buffer.len() {
            let step = self.decoder.step(&buffer[read..])?;
            let data = read + step.data.start..read + step.data.end;
            let length = data.len();
            if data.start != write {
                buffer.copy_within(data, write);
            }
            write += length;
            read += step.consumed;
        }
        self.filled = write - start;
        if self.decoder.is_done() {
            return Ok(Progress::Complete { body: start..write, next: read });
        }
        buffer.truncate(write.max(start).min(buffer.len()));
        Ok(Progress::Waiting)
    }
}

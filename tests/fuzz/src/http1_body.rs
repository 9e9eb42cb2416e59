//! Bodies of HTTP/1.1 requests. The first byte of an input says how the body is framed and how large it may be, the rest is
//! what the client sent.
//!
//! Promises: a body is the same however its bytes are cut, gathered or piece by piece, and ends at the same byte; it is
//! what the bytes say to a simple reader; it is not larger than allowed; nothing but its data is kept in memory. Written in
//! chunks again it is the same body.

use gateway::http1::body::Decoder;
use gateway::http1::{Framing, Intake, Progress, Refusal, encode};

use crate::dice::{Dice, cuts};

/// What stands before a body in the buffer.
const BEFORE: &[u8] = b"head";

pub fn run(data: &[u8]) {
    let Some((how, sent)) = data.split_first() else { return };
    let framing = match how & 0x7f {
        _ if how & 0x80 == 0 => Framing::Chunked,
        0 => Framing::Empty,
        length => Framing::Length(u64::from(length) * 3),
    };
    let max = if how & 1 == 0 { 1 << 20 } else { 100 };

    let mut outcomes = cuts(sent).into_iter().map(|pieces| gathered(framing, max, &pieces));
    let whole = outcomes.next().expect("there is one piece");
    for other in outcomes {
        assert_eq!(other, whole, "a body is the same however it is cut");
    }
    for pieces in cuts(sent) {
        assert_eq!(decoded(framing, max, &pieces), whole, "a body is the same piece by piece");
    }
    match &whole {
        Outcome::Complete { body, end } => {
            assert!(*end <= sent.len() && body.len() as u64 <= max, "a body lies within what was sent and allowed");
            assert_eq!(gathered(framing, max, &[&sent[..*end]]), whole, "what follows a body means nothing");
            if *end > 0 {
                let early = gathered(framing, max, &[&sent[..end - 1]]);
                assert!(matches!(early, Outcome::Waiting { .. }), "a body is complete at its last byte: {early:?}");
            }
            let simple = match framing {
                Framing::Chunked => simply(sent),
                Framing::Empty => Some((Vec::new(), 0)),
                Framing::Length(length) => Some((sent[..length as usize].to_vec(), length as usize)),
            };
            assert_eq!(simple, Some((body.clone(), *end)), "a simple reader finds the same body");
            written_again(body, max, sent);
        }
        Outcome::Waiting { body } => assert!(body.len() as u64 <= max && body.len() <= sent.len()),
        Outcome::Refused(refusal) => {
            assert!(refusal.offset <= sent.len() as u64, "a refusal names a byte that is there");
            let more = [sent, b"\r\n0\r\n\r\n"].concat();
            assert_eq!(gathered(framing, max, &[&more]), whole, "what follows does not make a refused body good");
        }
    }
}

#[derive(Debug, PartialEq)]
enum Outcome {
    Complete { body: Vec<u8>, end: usize },
    Waiting { body: Vec<u8> },
    Refused(Refusal),
}

/// As endpoints take bodies: in the receive buffer, which is moved now and then.
fn gathered(framing: Framing, max: u64, pieces: &[&[u8]]) -> Outcome {
    let mut dice = Dice::of(pieces.first().unwrap_or(&BEFORE));
    let mut intake = match Intake::new(framing, max) {
        Ok(intake) => intake,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    let mut buffer = BEFORE.to_vec();
    let (mut start, mut received) = (buffer.len(), 0);
    for piece in pieces {
        buffer.extend_from_slice(piece);
        received += piece.len();
        match intake.receive(&mut buffer, start) {
            Err(refusal) => return Outcome::Refused(refusal),
            Ok(Progress::Complete { body, next }) => {
                assert!(body.start == start && body.end <= next && next <= buffer.len());
                assert_eq!(intake.outstanding(), Some(0));
                return Outcome::Complete { body: buffer[body].to_vec(), end: received - (buffer.len() - next) };
            }
            Ok(Progress::Waiting) => {
                assert_eq!(buffer.len(), start + intake.gathered(), "nothing but data is kept");
                if let (Framing::Length(length), Some(left)) = (framing, intake.outstanding()) {
                    assert_eq!(left + intake.gathered() as u64, length);
                }
            }
        }
        assert!(buffer.starts_with(&BEFORE[BEFORE.len() - start..]), "what stands before a body is left alone");
        let moved = dice.below(start + 1);
        buffer.drain(..moved);
        start -= moved;
    }
    // With nothing sent at all, nothing was asked yet.
    match intake.receive(&mut buffer, start) {
        Ok(Progress::Complete { body, next }) => {
            Outcome::Complete { body: buffer[body].to_vec(), end: received - (buffer.len() - next) }
        }
        _ => Outcome::Waiting { body: buffer[start..].to_vec() },
    }
}

/// As bodies are handed on: piece by piece.
fn decoded(framing: Framing, max: u64, pieces: &[&[u8]]) -> Outcome {
    let mut decoder = match Decoder::new(framing, max) {
        Ok(decoder) => decoder,
        Err(refusal) => return Outcome::Refused(refusal),
    };
    let (mut body, mut end) = (Vec::new(), 0);
    for piece in pieces {
        let mut rest = *piece;
        while !rest.is_empty() && !decoder.is_done() {
            match decoder.step(rest) {
                Err(refusal) => return Outcome::Refused(refusal),
                Ok(step) => {
                    assert!(step.data.end <= step.consumed && step.consumed <= rest.len());
                    assert!(step.consumed > 0, "a step that is given bytes goes on");
                    body.extend_from_slice(&rest[step.data.clone()]);
                    end += step.consumed;
                    rest = &rest[step.consumed..];
                    assert_eq!(step.done, decoder.is_done());
                }
            }
        }
    }
    if decoder.is_done() { Outcome::Complete { body, end } } else { Outcome::Waiting { body } }
}

/// Chunks as one would read them without any thought of what may go wrong.
fn simply(sent: &[u8]) -> Option<(Vec<u8>, usize)> {
    let line = |at: usize| {
        let length = sent.get(at..)?.windows(2).position(|two| two == b"\r\n")?;
        Some((&sent[at..at + length], at + length + 2))
    };
    let (mut body, mut at) = (Vec::new(), 0);
    loop {
        let (size, data) = line(at)?;
        let digits = size.split(|byte| *byte == b';').next()?;
        let size = usize::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        if size == 0 {
            at = data;
            break;
        }
        body.extend_from_slice(sent.get(data..data + size)?);
        at = data + size + 2;
    }
    loop {
        let (trailer, next) = line(at)?;
        at = next;
        if trailer.is_empty() {
            return Some((body, at));
        }
    }
}

fn written_again(body: &[u8], max: u64, sent: &[u8]) {
    let mut out = Vec::new();
    Dice::of(sent).pieces(body).into_iter().for_each(|piece| encode::chunk(&mut out, piece));
    out.extend_from_slice(encode::LAST_CHUNK);
    let again = Outcome::Complete { body: body.to_vec(), end: out.len() };
    assert_eq!(gathered(Framing::Chunked, max, &[&out]), again, "chunks that are written again are the same body");
}

pub fn seeds() -> Vec<Vec<u8>> {
    let behind_heads = crate::corpus::cases().into_iter().filter_map(|case| {
        let end = case.bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let body = &case.bytes[end..];
        (!body.is_empty() && body.len() < 600).then(|| [&[0], body].concat())
    });
    let known: [&[u8]; 3] = [b"\x81abc and more", b"\x80", b"\xfetoo little"];
    behind_heads.chain(known.map(<[u8]>::to_vec)).collect()
}

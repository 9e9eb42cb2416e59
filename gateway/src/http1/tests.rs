//! The corpus of requests and attacks, held against the codec the way a connection uses it: every case whole, one byte
//! at a time, in every split of one and two cuts, and in every split of three cuts at the places where something begins or
//! ends. The same bytes must mean the same thing each time.
//!
//! Splits of more cuts need not be tried one by one: a reader that was given a beginning in two pieces is in the very state of
//! one that was given it whole, for every beginning and every cut of it, so no further cut can make a difference.

use super::{Fields, Head, Intake, Progress, Reason};
use crate::limits::REQUEST_BYTES_MAX;
use corpus::Wanted;

#[path = "../../../tests/corpus/http1.rs"]
mod corpus;

/// Past this length, cuts are made around line ends and at both ends only; in between all bytes of a case are alike.
const EVERY_CUT_BYTES_MAX: usize = 600;

/// Places at which three cuts are tried, per case.
const THREE_CUT_PLACES_MAX: usize = 24;

/// A connection without a socket: what the connection loop does between two receives.
#[derive(Clone)]
struct Reader {
    buffer: Vec<u8>,
    /// Where in the client's stream the buffer begins, counting what was squeezed out.
    received: usize,
    start: usize,
    fields: Fields,
    open: Option<(Head, Intake)>,
    seen: Vec<Wanted>,
    shut: bool,
}

impl Reader {
    fn new() -> Self {
        let (buffer, fields, seen) = (Vec::new(), Fields::default(), Vec::new());
        Self { buffer, received: 0, start: 0, fields, open: None, seen, shut: false }
    }

    fn receive(&mut self, bytes: &[u8]) {
        if self.shut {
            return;
        }
        self.buffer.extend_from_slice(bytes);
        self.received += bytes.len();
        if let Err(refusal) = self.turn() {
            self.shut = true;
            self.seen.push(Wanted::Refused { status: 0, reason: refusal.reason.name().to_owned() });
        }
    }

    fn turn(&mut self) -> Result<(), super::Refusal> {
        while !self.shut {
            let (head, mut intake) = match self.open.take() {
                Some(open) => open,
                None => match Head::parse(&self.buffer[self.start..], &mut self.fields)? {
                    Some(head) => (head, Intake::new(head.framing, REQUEST_BYTES_MAX.into())?),
                    None => return Ok(()),
                },
            };
            match intake.receive(&mut self.buffer, self.start + head.head_bytes)? {
                Progress::Waiting => {
                    self.open = Some((head, intake));
                    return Ok(());
                }
                Progress::Complete { body, next } => {
                    let bytes = &self.buffer[self.start..];
                    self.seen.push(Wanted::Request {
                        method: String::from_utf8(head.method_name.of(bytes).to_vec()).unwrap(),
                        target: head.target.of(bytes).to_vec(),
                        body: Ok(self.buffer[body].to_vec()),
                        end: self.received - (self.buffer.len() - next),
                    });
                    self.start = next;
                    if !head.keep_alive {
                        self.shut = true;
                        self.seen.push(Wanted::Closed);
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything that what comes next depends on.
    fn state(&self) -> impl PartialEq + std::fmt::Debug + use<> {
        let open = self.open.as_ref().map(|(head, intake)| (*head, format!("{intake:?}")));
        // Of a refused stream nothing is read any more, so what lies in its buffer means nothing.
        let buffer = if self.shut { Vec::new() } else { self.buffer[self.start..].to_vec() };
        (self.seen.clone(), self.shut, open, buffer, self.fields.scanned)
    }

    fn read(pieces: &[&[u8]]) -> Vec<Wanted> {
        let mut reader = Self::new();
        pieces.iter().for_each(|piece| reader.receive(piece));
        if !reader.shut && (reader.open.is_some() || reader.start < reader.buffer.len()) {
            reader.seen.push(Wanted::Waits);
        }
        reader.seen
    }
}

/// A case's wants in the form the reader gives: no status codes here, and long bodies by their length.
fn fits(seen: &[Wanted], wanted: &[Wanted]) -> bool {
    seen.len() == wanted.len()
        && seen.iter().zip(wanted).all(|pair| match pair {
            (Wanted::Refused { reason: seen, .. }, Wanted::Refused { reason, .. }) => seen == reason,
            (
                Wanted::Request { method: m, target: t, body: Ok(bytes), end: e },
                Wanted::Request { method, target, body: Err(length), end },
            ) => (m, t, bytes.len(), e) == (method, target, *length, end),
            (seen, wanted) => seen == wanted,
        })
}

fn cuts(bytes: &[u8]) -> Vec<usize> {
    if bytes.len() <= EVERY_CUT_BYTES_MAX {
        return (1..bytes.len()).collect();
    }
    let near = |at: usize| bytes[at.saturating_sub(1)..(at + 1).min(bytes.len())].iter().any(|byte| *byte < b' ');
    let all: Vec<_> =
        (1..bytes.len()).filter(|&at| at < 40 || at + 20 > bytes.len() || at % 8192 < 2 || near(at)).collect();
    thinned(all, 150)
}

/// Those of `cuts` that stand before or after a byte that separates things.
fn telling(bytes: &[u8], cuts: &[usize]) -> Vec<usize> {
    let separates =
        |byte: u8| !(b'!'..=b'~').contains(&byte) || matches!(byte, b':' | b';' | b',' | b'*' | b'#' | b'?');
    let told = cuts.iter().filter(|&&at| separates(bytes[at - 1]) || separates(bytes[at]));
    thinned(told.copied().collect(), THREE_CUT_PLACES_MAX)
}

fn thinned(places: Vec<usize>, at_most: usize) -> Vec<usize> {
    let stride = places.len().div_ceil(at_most).max(1);
    places.into_iter().step_by(stride).collect()
}

#[test]
fn every_case_means_the_same_in_every_split() {
    let cases = corpus::cases();
    assert!(cases.len() >= 650, "the corpus has shrunk to {} cases", cases.len());
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let splits = in_every_split(&case.bytes, |how, pieces| {
                let seen = Reader::read(pieces);
                if fits(&seen, &case.wanted) {
                    return Ok(());
                }
                Err(format!("{} cut at {how:?}: wanted {:?}, saw {seen:?}", case.name, case.wanted))
            });
            splits.err()
        })
        .collect();
    assert!(failures.is_empty(), "{} of {} cases:\n{}", failures.len(), cases.len(), failures.join("\n"));
}

/// Calls `check` with where the cuts are and the pieces between them, until it fails.
fn in_every_split(bytes: &[u8], mut check: impl FnMut(&[usize], &[&[u8]]) -> Result<(), String>) -> Result<(), String> {
    check(&[], &[bytes])?;
    check(&[1, 2, 3], &bytes.chunks(1).collect::<Vec<_>>())?;
    let cuts = cuts(bytes);
    for (index, &first) in cuts.iter().enumerate() {
        check(&[first], &[&bytes[..first], &bytes[first..]])?;
        for &second in &cuts[index + 1..] {
            check(&[first, second], &[&bytes[..first], &bytes[first..second], &bytes[second..]])?;
        }
    }
    let places = telling(bytes, &cuts);
    for (index, &first) in places.iter().enumerate() {
        for (further, &second) in places.iter().enumerate().skip(index + 1) {
            for &third in &places[further + 1..] {
                let pieces = [&bytes[..first], &bytes[first..second], &bytes[second..third], &bytes[third..]];
                check(&[first, second, third], &pieces)?;
            }
        }
    }
    Ok(())
}

#[test]
fn a_reader_does_not_remember_where_its_bytes_were_cut() {
    for case in corpus::cases() {
        let mut cuts = cuts(&case.bytes);
        cuts.push(case.bytes.len());
        let after = |at: usize| {
            let mut reader = Reader::new();
            reader.receive(&case.bytes[..at]);
            reader
        };
        let whole: Vec<Reader> = cuts.iter().map(|&cut| after(cut)).collect();
        for (index, &first) in cuts.iter().enumerate() {
            for (further, &second) in cuts.iter().enumerate().skip(index + 1) {
                let mut reader = whole[index].clone();
                reader.receive(&case.bytes[first..second]);
                assert_eq!(reader.state(), whole[further].state(), "{} cut at {first}, up to {second}", case.name);
            }
        }
    }
}

#[test]
fn every_reason_is_met_by_some_case() {
    let cases = corpus::cases();
    for reason in Reason::ALL {
        let met = |wanted: &Wanted| matches!(wanted, Wanted::Refused { reason: name, .. } if name == reason.name());
        assert!(cases.iter().any(|case| case.wanted.iter().any(met)), "no case is refused as {}", reason.name());
    }
}

/// A seeded walk around the corpus: bytes changed, dropped, doubled. Whatever comes out must not depend on the split.
#[test]
fn damaged_cases_mean_the_same_in_every_split_too() {
    let mut seed = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        (seed % below as u64) as usize
    };
    const SPICE: &[u8] = b"\r\n\t \0:;,#%/?*0159afAFxX+-_\x7f\x80\xff";
    for case in corpus::cases().iter().filter(|case| case.bytes.len() < EVERY_CUT_BYTES_MAX) {
        for _ in 0..60 {
            let mut bytes = case.bytes.clone();
            for _ in 0..1 + next(3) {
                let at = next(bytes.len());
                match next(4) {
                    0 => bytes[at] = SPICE[next(SPICE.len())],
                    1 => bytes.insert(at, SPICE[next(SPICE.len())]),
                    2 if bytes.len() > 1 => drop(bytes.remove(at)),
                    _ => bytes.insert(at, bytes[at]),
                }
            }
            let whole = Reader::read(&[&bytes]);
            let slow = Reader::read(&bytes.chunks(1).collect::<Vec<_>>());
            assert_eq!(whole, slow, "{}", bytes.escape_ascii());
            let cut = next(bytes.len());
            assert_eq!(whole, Reader::read(&[&bytes[..cut], &bytes[cut..]]), "cut at {cut}: {}", bytes.escape_ascii());
        }
    }
}

#[test]
fn a_refusal_knows_its_byte() {
    for (bytes, offset) in [
        ("GET  / HTTP/1.1\r\n", 4),
        ("GET /a\u{1}b HTTP/1.1\r\n", 6),
        ("GET / HTTP/2.0\r\n", 11),
        ("GET / HTTP/1.1\r\nHost: h\r\nX : y\r\n\r\n", 26),
        ("GET / HTTP/1.1\r\nHost: h\r\nX: a\nY: b\r\n\r\n", 29),
        ("GET / HTTP/1.1\r\nHost: h\r\nContent-Length: +1\r\n\r\n", 41),
    ] {
        let refusal = Head::parse(bytes.as_bytes(), &mut Fields::default()).unwrap_err();
        assert_eq!(refusal.offset, offset, "{bytes:?}");
    }
}

#[test]
fn a_body_of_tiny_chunks_needs_no_more_memory_than_its_data() {
    let mut intake = Intake::new(super::Framing::Chunked, REQUEST_BYTES_MAX.into()).unwrap();
    let mut buffer = Vec::new();
    for count in 1..=10_000 {
        buffer.extend_from_slice(b"1\r\nx\r\n");
        assert_eq!(intake.receive(&mut buffer, 0), Ok(Progress::Waiting));
        assert_eq!(buffer.len(), count);
    }
}

#[test]
#[ignore = "a figure, not a verdict: cargo test --release -p portico-gateway --lib http1 -- --ignored --nocapture"]
fn time_of_a_typical_head() {
    let bytes = b"GET /app/myapp-abcde/endpoint/hello?name=Casey HTTP/1.1\r\nHost: data.localhost:8080\r\n\
                  User-Agent: curl/8.5.0\r\nAccept: application/json\r\nAccept-Encoding: gzip\r\n\
                  apiKey: 7A4VvateM9s86tbkfisoLoChjGBjuJnZ7A4VvateM9s86tbkfisoLoChjGBjuJnZ\r\n\r\n";
    let mut fields = Fields::default();
    let rounds = 1_000_000u32;
    let begun = std::time::Instant::now();
    for _ in 0..rounds {
        assert!(std::hint::black_box(Head::parse(std::hint::black_box(bytes), &mut fields)).is_ok());
    }
    println!("a head of {} bytes and 5 headers: {} ns", bytes.len(), begun.elapsed().as_nanos() / u128::from(rounds));
}

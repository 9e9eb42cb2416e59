//! Content codings: gzip and Brotli, both ways, and which of them a client wants.
//!
//! In: bytes, and for decoding a bound on what they may become. Out: bytes. Decoding is total and bounded: a small body
//! that stands for a large one is refused once it has grown past the bound, not after.
//!
//! Not here: whether a body should be coded at all (compress, decode), and on which thread.

use std::io::Read;

use flate2::{Compress, Compression, FlushCompress, Status};

/// A coding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Coding {
    Gzip,
    Brotli,
}

/// A body that does not decode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Undecodable {
    Malformed,
    /// It stands for more bytes than the bound.
    TooLarge,
}

/// How hard to try. Measured over JSON records, per body of 1, 4, 16 and 64 KiB (µs on one core; size in per cent):
///
/// | | 1 KiB | 4 KiB | 16 KiB | 64 KiB | size of the last |
/// | --- | --- | --- | --- | --- | --- |
/// | gzip 1 | 4 | 8 | 22 | 86 | 26 |
/// | gzip 2 | 9 | 22 | 38 | 140 | 18 |
/// | gzip 6 | 11 | 21 | 64 | 538 | 17 |
/// | Brotli 1 | 9 | 19 | 58 | 206 | 17 |
/// | Brotli 2 | 9 | 24 | 80 | 271 | 16 |
/// | Brotli 5 | 49 | 73 | 196 | 998 | 16 |
///
/// A third of the bytes go from gzip 1 to 2, and next to none after it; of Brotli's, all that is to be had for its price is
/// there at 1. So the two are about alike, and gzip is the cheaper where it matters.
const GZIP_LEVEL: u32 = 2;
const BROTLI_QUALITY: u32 = 1;

/// Brotli's window, as a power of two. Larger ones buy nothing for bodies of the size that endpoints answer with, and cost
/// their memory on every body.
const BROTLI_WINDOW: u32 = 18;

/// Bytes gzip puts in front of the deflated stream: no name, no time, unknown system.
const GZIP_HEAD: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];

impl Coding {
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Brotli => "br",
        }
    }

    /// `x-gzip` is gzip's old name.
    pub fn named(name: &str) -> Option<Self> {
        match name {
            _ if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") => Some(Self::Gzip),
            _ if name.eq_ignore_ascii_case("br") => Some(Self::Brotli),
            _ => None,
        }
    }
}

/// The coding an `Accept-Encoding` asks for: the one with the greater weight, gzip of two alike. None when it asks for
/// none, or would rather have the body as it is.
pub fn wanted<'a>(accept: impl Iterator<Item = &'a str>) -> Option<Coding> {
    let (mut gzip, mut brotli, mut any, mut identity) = (None, None, None, None);
    for item in accept {
        let (name, parameters) = item.split_once(';').unwrap_or((item, ""));
        let slot = match name.trim() {
            "*" => &mut any,
            name if name.eq_ignore_ascii_case("identity") => &mut identity,
            name => match Coding::named(name) {
                Some(Coding::Gzip) => &mut gzip,
                Some(Coding::Brotli) => &mut brotli,
                None => continue,
            },
        };
        if slot.is_none() {
            *slot = Some(weight(parameters));
        }
    }
    let any = any.unwrap_or(0.0);
    let (gzip, brotli) = (gzip.unwrap_or(any), brotli.unwrap_or(any));
    let best = gzip.max(brotli);
    if best <= 0.0 || identity.is_some_and(|identity| identity > best) {
        return None;
    }
    Some(if gzip >= brotli { Coding::Gzip } else { Coding::Brotli })
}

/// `q`, 1 when there is none; what cannot be read wants nothing.
fn weight(parameters: &str) -> f32 {
    let parts = parameters.split(';').map(str::trim);
    let weight = parts.filter_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q="))).next();
    weight.map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0))
}

/// Codes bodies one after the other, keeping what it costs to begin.
pub struct Encoder {
    deflate: Compress,
}

impl Default for Encoder {
    fn default() -> Self {
        Self { deflate: Compress::new(Compression::new(GZIP_LEVEL), false) }
    }
}

impl Encoder {
    pub fn encode(&mut self, coding: Coding, body: &[u8]) -> Vec<u8> {
        match coding {
            Coding::Gzip => self.gzip(body),
            Coding::Brotli => brotli(body),
        }
    }

    fn gzip(&mut self, body: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(body.len() / 2 + 64);
        out.extend_from_slice(&GZIP_HEAD);
        self.deflate.reset();
        loop {
            let taken = self.deflate.total_in() as usize;
            // Deflating memory into memory cannot fail; were it to, the stream would be cut and the client would see it.
            match self.deflate.compress_vec(&body[taken..], &mut out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) | Err(_) => break,
                Ok(Status::Ok | Status::BufError) => out.reserve(out.capacity()),
            }
        }
        let mut crc = flate2::Crc::new();
        crc.update(body);
        out.extend_from_slice(&crc.sum().to_le_bytes());
        out.extend_from_slice(&(body.len() as u32).to_le_bytes());
        out
    }
}

fn brotli(body: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(body.len() / 2 + 64);
    let parameters = brotli::enc::BrotliEncoderParams {
        quality: BROTLI_QUALITY as i32,
        lgwin: BROTLI_WINDOW as i32,
        size_hint: body.len(),
        ..Default::default()
    };
    // Reading from memory and writing to memory cannot fail.
    let _ = brotli::BrotliCompress(&mut &*body, &mut out, &parameters);
    out
}

/// What `body` stands for, at most `max` bytes of it.
pub fn decode(coding: Coding, body: &[u8], max: usize) -> Result<Vec<u8>, Undecodable> {
    let mut plain = Vec::with_capacity(body.len().saturating_mul(4).min(max));
    let reader: &mut dyn Read = match coding {
        Coding::Gzip => &mut flate2::read::MultiGzDecoder::new(body),
        Coding::Brotli => &mut brotli::Decompressor::new(body, 4096),
    };
    // One byte past the bound tells a body that is too large from one that fits.
    reader.take(max as u64 + 1).read_to_end(&mut plain).map_err(|_| Undecodable::Malformed)?;
    if plain.len() > max { Err(Undecodable::TooLarge) } else { Ok(plain) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_coding_a_client_wants_is_found() {
        for (accept, expected) in [
            ("", None),
            ("gzip", Some(Coding::Gzip)),
            ("GZIP", Some(Coding::Gzip)),
            ("x-gzip", Some(Coding::Gzip)),
            ("br", Some(Coding::Brotli)),
            ("gzip, deflate, br", Some(Coding::Gzip)),
            ("gzip;q=0.5, br;q=0.8", Some(Coding::Brotli)),
            ("gzip;q=0, br", Some(Coding::Brotli)),
            ("gzip;q=0", None),
            ("*", Some(Coding::Gzip)),
            ("*;q=0", None),
            ("gzip;q=0, *", Some(Coding::Brotli)),
            ("identity", None),
            ("identity, gzip;q=0.5", None),
            ("identity;q=0.5, gzip", Some(Coding::Gzip)),
            ("deflate, zstd", None),
            ("gzip ; q=1", Some(Coding::Gzip)),
            ("gzip;q=nonsense", None),
            (",,;,", None),
        ] {
            assert_eq!(wanted(accept.split(',')), expected, "{accept}");
        }
    }

    #[test]
    fn what_is_encoded_decodes_to_itself() {
        let mut encoder = Encoder::default();
        let pattern = |length: usize| -> Vec<u8> { (0..length).map(|at| (at * at % 251) as u8).collect() };
        for body in [Vec::new(), vec![0; 1], b"abc".repeat(1000), pattern(100_000), vec![b'x'; 3_000_000]] {
            for coding in [Coding::Gzip, Coding::Brotli] {
                let coded = encoder.encode(coding, &body);
                assert_eq!(decode(coding, &coded, body.len()), Ok(body.clone()), "{coding:?} {}", body.len());
                if !body.is_empty() {
                    assert_eq!(decode(coding, &coded, body.len() - 1), Err(Undecodable::TooLarge), "{coding:?}");
                    assert!(decode(coding, &coded[..coded.len() / 2], 1 << 30).is_err(), "{coding:?}, cut");
                }
            }
        }
    }

    #[test]
    fn noise_is_malformed_and_nothing_worse() {
        for seed in 0..200u32 {
            let mut state = seed.wrapping_mul(2_654_435_761).wrapping_add(1);
            let noise: Vec<u8> = (0..200)
                .map(|_| {
                    state ^= state << 13;
                    state ^= state >> 17;
                    state ^= state << 5;
                    state as u8
                })
                .collect();
            assert_eq!(decode(Coding::Gzip, &noise, 1000), Err(Undecodable::Malformed), "seed {seed}");
            // A stream of Brotli may be anything at all; it must only end.
            let _ = decode(Coding::Brotli, &noise, 1000);
        }
    }
}

//! The body of an answer: received in pieces, decoded when asked for, bounded all along.
//!
//! In: pieces of bytes. Out: the whole, or the limit that was met. A body that unpacks to a thousand times its size meets
//! the limit while it unpacks, not afterwards.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::limits::{ANSWER_BYTES_MAX, ANSWERS_BYTES_MAX};

/// Bytes of answers that are held for functions now, over the whole node.
#[derive(Debug, Default)]
pub struct Held(AtomicUsize);

/// Why a body cannot be taken.
#[derive(Debug)]
pub enum BodyError {
    /// Larger than one answer may be.
    TooLarge,
    /// The node holds as many bytes of answers as it may.
    NoRoom,
    /// Its encoding does not hold what it says.
    Undecodable(&'static str),
}

impl BodyError {
    pub fn message(&self) -> String {
        match self {
            Self::TooLarge => format!("the body of the response is larger than {ANSWER_BYTES_MAX} bytes"),
            Self::NoRoom => format!(
                "responses being received for functions take more than {ANSWERS_BYTES_MAX} bytes together; try again"
            ),
            Self::Undecodable(encoding) => format!("the body of the response is not {encoding}, as its head says"),
        }
    }
}

/// Takes pieces and gives the whole.
pub struct Collector {
    decoder: Decoder,
    encoding: &'static str,
}

enum Decoder {
    Plain(Bounded),
    Gzip(Box<flate2::write::MultiGzDecoder<Bounded>>),
    /// `deflate` is zlib by the book and raw by habit; the first byte tells.
    Deflate(Option<Bounded>),
    Zlib(Box<flate2::write::ZlibDecoder<Bounded>>),
    Raw(Box<flate2::write::DeflateDecoder<Bounded>>),
    Brotli(Box<brotli::DecompressorWriter<Bounded>>),
}

/// Brotli's own working buffer.
const BROTLI_BUFFER_BYTES: usize = 16 * 1024;

impl Collector {
    /// `encoding`: the answer's `Content-Encoding`, when it is to be undone.
    pub fn new(held: Arc<Held>, encoding: Option<&str>) -> Self {
        let bounded = Bounded { held, bytes: Vec::new(), full: None };
        let (decoder, encoding) = match encoding.map(|text| text.trim().to_ascii_lowercase()).as_deref() {
            Some("gzip" | "x-gzip") => (Decoder::Gzip(Box::new(flate2::write::MultiGzDecoder::new(bounded))), "gzip"),
            Some("deflate") => (Decoder::Deflate(Some(bounded)), "deflate"),
            Some("br") => {
                (Decoder::Brotli(Box::new(brotli::DecompressorWriter::new(bounded, BROTLI_BUFFER_BYTES))), "brotli")
            }
            _ => (Decoder::Plain(bounded), "what it should be"),
        };
        Self { decoder, encoding }
    }

    /// Whether [`Self::new`] would undo it.
    pub fn undoes(encoding: &str) -> bool {
        matches!(encoding.trim().to_ascii_lowercase().as_str(), "gzip" | "x-gzip" | "deflate" | "br")
    }

    pub fn take(&mut self, piece: &[u8]) -> Result<(), BodyError> {
        if let (Decoder::Deflate(waiting), Some(first)) = (&mut self.decoder, piece.first())
            && let Some(bounded) = waiting.take()
        {
            // A zlib stream begins with compression method 8.
            self.decoder = if first & 0x0f == 8 {
                Decoder::Zlib(Box::new(flate2::write::ZlibDecoder::new(bounded)))
            } else {
                Decoder::Raw(Box::new(flate2::write::DeflateDecoder::new(bounded)))
            };
        }
        let written = match &mut self.decoder {
            Decoder::Plain(bounded) => bounded.write_all(piece),
            Decoder::Gzip(decoder) => decoder.write_all(piece),
            Decoder::Deflate(_) => Ok(()),
            Decoder::Zlib(decoder) => decoder.write_all(piece),
            Decoder::Raw(decoder) => decoder.write_all(piece),
            Decoder::Brotli(decoder) => decoder.write_all(piece),
        };
        written.map_err(|_| self.why())
    }

    /// The whole body. It no longer counts as held when the answer is dropped.
    pub fn finish(mut self) -> Result<Body, BodyError> {
        let ended = match &mut self.decoder {
            Decoder::Plain(_) | Decoder::Deflate(_) => Ok(()),
            Decoder::Gzip(decoder) => decoder.try_finish(),
            Decoder::Zlib(decoder) => decoder.try_finish(),
            Decoder::Raw(decoder) => decoder.try_finish(),
            Decoder::Brotli(decoder) => decoder.close(),
        };
        let empty = self.bounded().is_some_and(|bounded| bounded.bytes.is_empty());
        // An answer without a body may still name an encoding.
        if ended.is_err() && !empty {
            return Err(self.why());
        }
        match self.bounded_mut() {
            Some(bounded) => {
                let bytes = std::mem::take(&mut bounded.bytes);
                Ok(Body { held: bounded.held.clone(), bytes })
            }
            None => Err(BodyError::Undecodable(self.encoding)),
        }
    }

    fn why(&self) -> BodyError {
        match self.bounded().and_then(|bounded| bounded.full) {
            Some(Full::One) => BodyError::TooLarge,
            Some(Full::All) => BodyError::NoRoom,
            None => BodyError::Undecodable(self.encoding),
        }
    }

    fn bounded(&self) -> Option<&Bounded> {
        match &self.decoder {
            Decoder::Plain(bounded) => Some(bounded),
            Decoder::Gzip(decoder) => Some(decoder.get_ref()),
            Decoder::Deflate(bounded) => bounded.as_ref(),
            Decoder::Zlib(decoder) => Some(decoder.get_ref()),
            Decoder::Raw(decoder) => Some(decoder.get_ref()),
            Decoder::Brotli(decoder) => Some(decoder.get_ref()),
        }
    }

    fn bounded_mut(&mut self) -> Option<&mut Bounded> {
        match &mut self.decoder {
            Decoder::Plain(bounded) => Some(bounded),
            Decoder::Gzip(decoder) => Some(decoder.get_mut()),
            Decoder::Deflate(bounded) => bounded.as_mut(),
            Decoder::Zlib(decoder) => Some(decoder.get_mut()),
            Decoder::Raw(decoder) => Some(decoder.get_mut()),
            Decoder::Brotli(decoder) => Some(decoder.get_mut()),
        }
    }
}

/// A received body, which counts as held for as long as it lives.
#[derive(Debug)]
pub struct Body {
    held: Arc<Held>,
    pub bytes: Vec<u8>,
}

impl Drop for Body {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

/// A writer that stops at the limits.
struct Bounded {
    held: Arc<Held>,
    bytes: Vec<u8>,
    full: Option<Full>,
}

#[derive(Debug, Clone, Copy)]
enum Full {
    One,
    All,
}

impl Write for Bounded {
    fn write(&mut self, piece: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + piece.len() > ANSWER_BYTES_MAX {
            self.full = Some(Full::One);
        } else if self.held.0.fetch_add(piece.len(), Ordering::Relaxed) + piece.len() > ANSWERS_BYTES_MAX {
            self.held.0.fetch_sub(piece.len(), Ordering::Relaxed);
            self.full = Some(Full::All);
        }
        if self.full.is_some() {
            return Err(io::Error::from(io::ErrorKind::OutOfMemory));
        }
        self.bytes.extend_from_slice(piece);
        Ok(piece.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Bounded {
    fn drop(&mut self) {
        self.held.0.fetch_sub(self.bytes.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn collect(encoding: Option<&str>, bytes: &[u8]) -> Result<Vec<u8>, BodyError> {
        let held = Arc::new(Held::default());
        let mut collector = Collector::new(held.clone(), encoding);
        let mut taken = Ok(());
        for piece in bytes.chunks(7) {
            taken = collector.take(piece);
            if taken.is_err() {
                break;
            }
        }
        let result = taken.and_then(|()| collector.finish()).map(|body| body.bytes.clone());
        assert_eq!(held.0.load(Ordering::Relaxed), 0, "nothing is held any more");
        result
    }

    #[test]
    fn every_encoding_is_undone() {
        let text = "some text that repeats, some text that repeats, some text that repeats".as_bytes();
        let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        zlib.write_all(text).unwrap();
        let mut raw = flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::fast());
        raw.write_all(text).unwrap();
        let mut br = Vec::new();
        brotli::CompressorWriter::new(&mut br, 4096, 5, 20).write_all(text).unwrap();
        for (encoding, bytes) in [
            (None, text.to_vec()),
            (Some("identity"), text.to_vec()),
            (Some("gzip"), gzip(text)),
            (Some("GZIP"), gzip(text)),
            (Some("deflate"), zlib.finish().unwrap()),
            (Some("deflate"), raw.finish().unwrap()),
            (Some("br"), br),
        ] {
            assert_eq!(collect(encoding, &bytes).unwrap(), text, "{encoding:?}");
        }
        for encoding in ["gzip", "deflate", "br"] {
            assert_eq!(collect(Some(encoding), b"").unwrap(), b"", "no body at all, {encoding}");
        }
    }

    #[test]
    fn a_bomb_meets_the_limit_while_it_unpacks() {
        let bomb = gzip(&vec![0; ANSWER_BYTES_MAX + 1]);
        assert!(bomb.len() < 200_000);
        assert!(matches!(collect(Some("gzip"), &bomb), Err(BodyError::TooLarge)));
    }

    #[test]
    fn a_body_that_is_not_what_it_says_is_named() {
        for encoding in ["gzip", "br"] {
            assert!(matches!(collect(Some(encoding), b"plain text, not packed"), Err(BodyError::Undecodable(_))));
        }
        let whole = gzip(b"cut short somewhere in the middle");
        assert!(matches!(collect(Some("gzip"), &whole[..whole.len() - 9]), Err(BodyError::Undecodable("gzip"))));
    }
}

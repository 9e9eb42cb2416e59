//! `zlib(format, bytes, level, most, partial)`: compresses or decompresses at once, and `crc32(bytes, before)`.
//!
//! Output is bounded while it is made, so that a small input cannot become a large one in memory first. A refusal begins
//! with a code Node knows, and a colon.
//! Not here: pieces. A stream of the `zlib` module collects what it is given and asks once.

use std::io::{self, Read, Write};

use super::bytes::{argument_text, give};
use crate::engine::error::Stop;
use crate::engine::writing::contents;
use crate::limits::{BROTLI_THOROUGH_BYTES_MAX, ZLIB_BYTES_MAX};

type Arguments<'s> = v8::FunctionCallbackArguments<'s>;
type Answer<'s> = v8::ReturnValue<'s, v8::Value>;

pub fn zlib<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, answer: Answer<'s>) {
    let done = argument_text(scope, arguments.get(0), "format").and_then(|format| {
        let bytes = contents(arguments.get(1));
        let level = arguments.get(2).int32_value(scope).unwrap_or(-1);
        let most = arguments.get(3).number_value(scope).filter(|most| *most >= 1.0).unwrap_or(f64::MAX);
        let most = (most.min(ZLIB_BYTES_MAX as f64)) as usize;
        if bytes.len() > ZLIB_BYTES_MAX {
            return Err(Stop::refused(format!("ERR_OUT_OF_RANGE: more than {ZLIB_BYTES_MAX} bytes at once")));
        }
        run(&format, &bytes, level, most, arguments.get(4).is_true()).map_err(Stop::refused)
    });
    match done {
        Ok(bytes) => give(scope, answer, &bytes),
        Err(stop) => stop.throw(scope),
    }
}

pub fn crc32<'s>(scope: &mut v8::PinScope<'s, '_>, arguments: Arguments<'s>, mut answer: Answer<'s>) {
    let before = arguments.get(1).uint32_value(scope).unwrap_or(0);
    let mut table = [0_u32; 256];
    for (index, entry) in (0_u32..).zip(&mut table) {
        *entry = (0..8).fold(index, |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0xedb8_8320 } else { crc >> 1 });
    }
    let step = |crc: u32, byte: &u8| (crc >> 8) ^ table[usize::from(crc as u8 ^ byte)];
    answer.set_uint32(!contents(arguments.get(0)).iter().fold(!before, step));
}

fn run(format: &str, bytes: &[u8], level: i32, most: usize, partial: bool) -> Result<Vec<u8>, String> {
    let compression = match u32::try_from(level) {
        Ok(level @ 0..=9) => flate2::Compression::new(level),
        _ => flate2::Compression::default(),
    };
    let mut out = Bounded { bytes: Vec::new(), most };
    let mut rest = bytes;
    let ended = match format {
        "gzip" => {
            compress(flate2::write::GzEncoder::new(&mut out, compression), bytes, |encoder| encoder.finish().map(drop))
        }
        "deflate" => compress(flate2::write::ZlibEncoder::new(&mut out, compression), bytes, |encoder| {
            encoder.finish().map(drop)
        }),
        "deflateRaw" => compress(flate2::write::DeflateEncoder::new(&mut out, compression), bytes, |encoder| {
            encoder.finish().map(drop)
        }),
        "brotli" => brotli_compress(bytes, level, &mut out),
        "gunzip" => drain(flate2::read::MultiGzDecoder::new(bytes), &mut out),
        "inflate" => drain(flate2::read::ZlibDecoder::new(bytes), &mut out),
        "inflateRaw" => drain(flate2::read::DeflateDecoder::new(bytes), &mut out),
        // It does not tell an end that came too early from other mistakes, but what is left of the input does.
        "unbrotli" => drain(brotli::Decompressor::new(&mut rest, 4096), &mut out).map_err(|error| {
            if rest.is_empty() && !is_limit(&error) { io::ErrorKind::UnexpectedEof.into() } else { error }
        }),
        other => return Err(format!("ERR_INVALID_ARG_VALUE: no such format: {other}")),
    };
    match ended {
        Ok(()) => Ok(out.bytes),
        Err(error) if is_limit(&error) => {
            Err(format!("ERR_BUFFER_TOO_LARGE: Cannot create a Buffer larger than {most} bytes"))
        }
        Err(error) if is_truncated(&error) && (format == "unbrotli" || has_head(format, bytes)) => match partial {
            true => Ok(out.bytes),
            false => Err("Z_BUF_ERROR: unexpected end of file".to_owned()),
        },
        Err(_) if format == "unbrotli" => Err("ERR_BROTLI_DECOMPRESSION_FAILED: Decompression failed".to_owned()),
        Err(_) if has_head(format, bytes) => Err("Z_DATA_ERROR: invalid stored block lengths".to_owned()),
        Err(_) => Err("Z_DATA_ERROR: incorrect header check".to_owned()),
    }
}

/// Whether the data begins as the format does, as far as there is any.
fn has_head(format: &str, bytes: &[u8]) -> bool {
    match (format, bytes) {
        ("gunzip", [first, second, ..]) => (*first, *second) == (0x1f, 0x8b),
        ("gunzip", [first]) => *first == 0x1f,
        ("inflate", [first, second, ..]) => {
            first & 15 == 8 && (u16::from(*first) * 256 + u16::from(*second)).is_multiple_of(31)
        }
        _ => true,
    }
}

fn is_limit(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::FileTooLarge
}

fn is_truncated(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::UnexpectedEof
}

fn compress<W: Write>(mut encoder: W, bytes: &[u8], finish: impl FnOnce(W) -> io::Result<()>) -> io::Result<()> {
    encoder.write_all(bytes)?;
    finish(encoder)
}

fn drain(mut from: impl Read, to: &mut Bounded) -> io::Result<()> {
    let mut chunk = [0; 16 * 1024];
    loop {
        match from.read(&mut chunk)? {
            0 => return Ok(()),
            length => to.write_all(&chunk[..length])?,
        }
    }
}

/// The most thorough levels take seconds per megabyte and cannot be interrupted, so larger inputs get a quicker one. Any
/// level's output is right.
fn brotli_compress(bytes: &[u8], level: i32, out: &mut Bounded) -> io::Result<()> {
    let asked = if (0..=11).contains(&level) { level } else { 11 };
    let quality = if bytes.len() > BROTLI_THOROUGH_BYTES_MAX { asked.min(5) } else { asked };
    let parameters = brotli::enc::BrotliEncoderParams { quality, ..Default::default() };
    brotli::BrotliCompress(&mut &bytes[..], out, &parameters).map(drop)
}

/// Bytes up to a limit; past it writing fails.
struct Bounded {
    bytes: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_compressed_comes_back_and_no_larger_than_allowed() {
        let text = b"portico ".repeat(5_000);
        for (there, back) in
            [("gzip", "gunzip"), ("deflate", "inflate"), ("deflateRaw", "inflateRaw"), ("brotli", "unbrotli")]
        {
            let small = run(there, &text, -1, usize::MAX, false).unwrap();
            assert!(small.len() < 1_000, "{there}: {}", small.len());
            assert_eq!(run(back, &small, -1, 40_000, false).unwrap(), text, "{there}");
            let refused = run(back, &small, -1, 39_999, false).unwrap_err();
            assert!(refused.starts_with("ERR_BUFFER_TOO_LARGE"), "{refused}");
            let cut = run(back, &small[..small.len() - 6], -1, 40_000, false).unwrap_err();
            assert!(cut.starts_with("Z_BUF_ERROR"), "{there}: {cut}");
            assert!(run(back, &small[..small.len() - 6], -1, 40_000, true).is_ok(), "{there}");
        }
        assert_eq!(
            run("gunzip", b"nonsense, surely", -1, 100, false).unwrap_err(),
            "Z_DATA_ERROR: incorrect header check"
        );
    }
}

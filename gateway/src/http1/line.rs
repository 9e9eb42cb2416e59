//! The request line, byte by byte from the left, so that the first wrong byte decides and its offset is known.
//!
//! In: the unread bytes. Out: where method and target are and where the header lines begin; or "more bytes"; or a
//! refusal. Lenience has been the root of most request smuggling, so there is none: one space between the parts, one
//! CR LF at the end, upper-case `HTTP/`. The single exception is one empty line before the request, which old clients
//! send after a body and which standards ask servers to forgive.

use super::fields::Span;
use super::refusal::{Reason, Refusal};
use crate::limits::{METHOD_BYTES_MAX, TARGET_BYTES_MAX};

pub(super) struct Line {
    pub method: Span,
    pub target: Span,
    /// First byte after the line's CR LF.
    pub end: usize,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Option<Line>, Refusal> {
    let Some(method_start) = skip_one_empty_line(bytes)? else { return Ok(None) };

    let Some(method_end) = run_end(bytes, method_start, METHOD_BYTES_MAX, is_token, Reason::MethodTooLong)? else {
        return Ok(None);
    };
    if method_end == method_start || bytes[method_end] != b' ' {
        return Err(line_fault(bytes, method_end, Reason::BadRequestLine));
    }

    let target_start = method_end + 1;
    let Some(target_end) = run_end(bytes, target_start, TARGET_BYTES_MAX, is_target, Reason::TargetTooLong)? else {
        return Ok(None);
    };
    match bytes[target_end] {
        b' ' if target_end > target_start => {}
        b'\r' | b'\n' | b' ' => return Err(line_fault(bytes, target_end, Reason::BadRequestLine)),
        _ => return Err(Reason::BadTarget.at(target_end)),
    }

    let Some(end) = version(bytes, target_end + 1)? else { return Ok(None) };
    Ok(Some(Line { method: Span::new(method_start, method_end), target: Span::new(target_start, target_end), end }))
}

/// Bytes a method or a header name may be made of.
pub(super) fn is_token(byte: u8) -> bool {
    TOKEN[byte as usize]
}

static TOKEN: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 128 {
        let b = byte as u8;
        table[byte] = b.is_ascii_alphanumeric()
            || matches!(
                b,
                b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            );
        byte += 1;
    }
    table
};

/// A target ends at the first space or control byte. A fragment never belongs on the wire: a server that kept it and one
/// that cut it would route the same bytes differently. Bytes above 127 are taken (small devices send raw UTF-8).
fn is_target(byte: u8) -> bool {
    byte > b' ' && byte != 0x7f && byte != b'#'
}

/// One CR LF may stand before the request line; anything else that is empty is refused.
fn skip_one_empty_line(bytes: &[u8]) -> Result<Option<usize>, Refusal> {
    match bytes {
        [] | [b'\r'] | [b'\r', b'\n'] => Ok(None),
        [b'\r', b'\n', b'\r' | b'\n', ..] => Err(Reason::BadRequestLine.at(2)),
        [b'\r', b'\n', ..] => Ok(Some(2)),
        [b'\r', ..] => Err(Reason::BareLineEnd.at(0)),
        [b'\n', ..] => Err(Reason::BareLineEnd.at(0)),
        _ => Ok(Some(0)),
    }
}

/// Where the run of accepted bytes from `start` ends; `None` when the bytes end first. A run longer than `max` is refused
/// at the byte that makes it so, whatever follows.
fn run_end(
    bytes: &[u8],
    start: usize,
    max: usize,
    accepted: impl Fn(u8) -> bool,
    too_long: Reason,
) -> Result<Option<usize>, Refusal> {
    let rest = bytes.get(start..).unwrap_or_default();
    let window = &rest[..rest.len().min(max + 1)];
    match window.iter().position(|&byte| !accepted(byte)) {
        Some(length) => Ok(Some(start + length)),
        None if window.len() > max => Err(too_long.at(start + max)),
        None => Ok(None),
    }
}

/// `HTTP/1.1` and CR LF. Every other well-formed version is refused by name, so that an old client or an HTTP/2 preface
/// learns what the matter is; a malformed one is a bad request line.
fn version(bytes: &[u8], start: usize) -> Result<Option<usize>, Refusal> {
    const SHAPE: &[u8; 8] = b"HTTP/9.9";
    let given = bytes.get(start..).unwrap_or_default();
    for (index, (&byte, &wanted)) in given.iter().zip(SHAPE).enumerate() {
        let fits = if wanted == b'9' { byte.is_ascii_digit() } else { byte == wanted };
        if !fits {
            return Err(line_fault(bytes, start + index, Reason::BadRequestLine));
        }
    }
    let Some(version) = given.get(..8) else { return Ok(None) };
    if version != b"HTTP/1.1" {
        return Err(Reason::UnsupportedVersion.at(start + 5));
    }
    match &given[8..] {
        [b'\r', b'\n', ..] => Ok(Some(start + 10)),
        [] | [b'\r'] => Ok(None),
        [b'\r', ..] | [b'\n', ..] => Err(Reason::BareLineEnd.at(start + 8)),
        _ => Err(Reason::BadRequestLine.at(start + 8)),
    }
}

/// A stray LF is named as such when it is what broke the line.
fn line_fault(bytes: &[u8], offset: usize, otherwise: Reason) -> Refusal {
    match bytes.get(offset) {
        Some(b'\n') => Reason::BareLineEnd.at(offset),
        _ => otherwise.at(offset),
    }
}

//! One request head: from the unread bytes of a connection to a request line and header lines that have one meaning.
//!
//! In: the receive buffer from the head's first byte, and the connection's [`Fields`]. Out: a [`Head`], "more bytes", or
//! a [`Refusal`]. `httparse` finds the header lines; this module holds them to what it forgives (a bare LF), and then
//! settles what they say together: one Host, one way to know the body's length, an expectation we can meet.
//!
//! Verdicts are made on completed lines only, so they do not depend on where a packet ended.

use super::body::Framing;
use super::fields::{Field, Fields, Known, Span};
use super::line;
use super::refusal::{Reason, Refusal};
use crate::limits::{HEAD_BYTES_MAX, HEADER_COUNT_MAX, HOST_BYTES_MAX, LENGTH_DIGITS_MAX};
use httparse::{EMPTY_HEADER, Header, Status};

/// What a client wants done. Names are case-sensitive; a name that is none of these is looked up in the head.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    Get,
    Head,
    Post,
    Put,
    Patch,
    Delete,
    Options,
    Trace,
    Extension,
}

/// A request head that was understood. All spans count from the head's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    pub method: Method,
    /// The method as sent, for extension methods and logs.
    pub method_name: Span,
    /// The whole target as sent.
    pub target: Span,
    /// The path within the target. Empty only for an absolute target without one, which means `/`; see [`Head::path`].
    pub path: Span,
    /// What follows the first `?`, without it; `None` when there is no `?`.
    pub query: Option<Span>,
    /// The authority of an absolute target; it was found equal to `host`.
    pub authority: Option<Span>,
    /// `Host`, with its port when one was given.
    pub host: Span,
    /// How to know where the body ends.
    pub framing: Framing,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// False when the client asked to close after this answer.
    pub keep_alive: bool,
    /// Length of the head; the body's first byte is here.
    pub head_bytes: usize,
}

impl Head {
    /// Reads one head from the start of `buffer`, which may hold less than a head or much more. Call it again with the
    /// same start and more bytes after `None`; `fields` remembers what was already looked at.
    pub fn parse(buffer: &[u8], fields: &mut Fields) -> Result<Option<Self>, Refusal> {
        let window = &buffer[..buffer.len().min(HEAD_BYTES_MAX)];
        let fresh = window.get(fields.scanned..).unwrap_or_default();
        if fields.scanned > 0 && window.len() < HEAD_BYTES_MAX && !fresh.contains(&b'\n') {
            // Nothing was completed since the last look; only the request line is judged before its end.
            fields.scanned = window.len();
            return Ok(None);
        }

        let Some(line) = line::parse(window)? else { return Ok(None) };
        let head_bytes = match read_fields(window, line.end, fields)? {
            Some(head_bytes) => head_bytes,
            None if window.len() == HEAD_BYTES_MAX => return Err(Reason::HeadTooLarge.at(HEAD_BYTES_MAX)),
            None => {
                fields.scanned = window.len();
                return Ok(None);
            }
        };
        fields.scanned = 0;
        settle(window, line, head_bytes, fields).map(Some)
    }

    /// The path as sent, still percent-encoded.
    pub fn path<'b>(&self, head: &'b [u8]) -> &'b [u8] {
        match self.path.of(head) {
            b"" => b"/",
            path => path,
        }
    }

    /// The query string as sent, without its `?`.
    pub fn query<'b>(&self, head: &'b [u8]) -> Option<&'b [u8]> {
        self.query.map(|query| query.of(head))
    }
}

impl Method {
    fn of(name: &[u8]) -> Self {
        match name {
            b"GET" => Self::Get,
            b"HEAD" => Self::Head,
            b"POST" => Self::Post,
            b"PUT" => Self::Put,
            b"PATCH" => Self::Patch,
            b"DELETE" => Self::Delete,
            b"OPTIONS" => Self::Options,
            b"TRACE" => Self::Trace,
            _ => Self::Extension,
        }
    }
}

// --- header lines -----------------------------------------------------------------------------------------------

/// Slots tried first. Nearly every request fits, and the full table costs more to clear than such a request to parse.
const COMMON_COUNT: usize = 24;

/// Fills `fields`; gives the head's length, or `None` when it has not ended.
fn read_fields(window: &[u8], start: usize, fields: &mut Fields) -> Result<Option<usize>, Refusal> {
    fields.clear();
    let bytes = window.get(start..).unwrap_or_default();
    let mut common = [EMPTY_HEADER; COMMON_COUNT];
    match httparse::parse_headers(bytes, &mut common) {
        Ok(Status::Complete((length, lines))) => return keep(window, start, length, lines, fields).map(Some),
        Err(httparse::Error::TooManyHeaders) => {
            let mut all = [EMPTY_HEADER; HEADER_COUNT_MAX];
            if let Ok(Status::Complete((length, lines))) = httparse::parse_headers(bytes, &mut all) {
                return keep(window, start, length, lines, fields).map(Some);
            }
        }
        // Unfinished, or wrong at a byte whose line may be unfinished.
        Ok(Status::Partial) | Err(_) => {}
    }
    match first_fault(window, start) {
        Some(refusal) => Err(refusal),
        None => Ok(None),
    }
}

/// Takes over the lines that were found, holding each to a CR before its LF, which the parser does not ask for.
fn keep(
    window: &[u8],
    start: usize,
    length: usize,
    lines: &[Header<'_>],
    fields: &mut Fields,
) -> Result<usize, Refusal> {
    let base = window.as_ptr() as usize;
    let end = start + length;
    let strict_before = |at: usize| window.get(..at).is_some_and(|before| before.ends_with(b"\r\n"));
    for line in lines {
        let name = line.name.as_ptr() as usize - base;
        let value = line.value.as_ptr() as usize - base;
        if !strict_before(name) {
            return Err(Reason::BareLineEnd.at(name.saturating_sub(1)));
        }
        let field = Field {
            name: Span::new(name, name + line.name.len()),
            value: Span::new(value, value + line.value.len()),
            known: Known::of(line.name.as_bytes()),
        };
        if !fields.push(field) {
            return Err(Reason::TooManyHeaders.at(name));
        }
    }
    // The last line's own end and the empty line after it.
    if !window.get(..end).is_some_and(|head| head.ends_with(b"\r\n\r\n")) {
        return Err(first_fault(window, start).unwrap_or(Reason::BareLineEnd.at(end.saturating_sub(1))));
    }
    Ok(end)
}

/// Off the fast path: the first wrong byte among the completed header lines, or `None` when they are all right.
fn first_fault(window: &[u8], start: usize) -> Option<Refusal> {
    let mut at = start;
    let mut count = 0;
    while let Some(length) = window.get(at..)?.iter().position(|&byte| byte == b'\n') {
        let end = at + length;
        let line = &window[at..end];
        let Some(line) = line.strip_suffix(b"\r") else { return Some(Reason::BareLineEnd.at(end)) };
        if line.is_empty() {
            return None;
        }
        let colon = line.iter().position(|&byte| !line::is_token(byte)).unwrap_or(line.len());
        if colon == 0 || line.get(colon) != Some(&b':') {
            let bare = line.get(colon) == Some(&b'\r');
            return Some(if bare { Reason::BareLineEnd } else { Reason::BadHeader }.at(at + colon));
        }
        if let Some(wrong) = line[colon..].iter().position(|&byte| (byte < b' ' && byte != b'\t') || byte == 0x7f) {
            let bare = line[colon + wrong] == b'\r';
            return Some(if bare { Reason::BareLineEnd } else { Reason::BadHeader }.at(at + colon + wrong));
        }
        count += 1;
        if count > HEADER_COUNT_MAX {
            return Some(Reason::TooManyHeaders.at(at));
        }
        at = end + 1;
    }
    None
}

// --- what the lines say together --------------------------------------------------------------------------------

/// Reads the headers that decide what this request is and where it ends.
fn settle(window: &[u8], line: line::Line, head_bytes: usize, fields: &Fields) -> Result<Head, Refusal> {
    let method = Method::of(line.method.of(window));
    if line.method.of(window) == b"CONNECT" {
        return Err(Reason::Tunnel.at(line.method.range().start));
    }
    let target = Target::split(window, line.target, method)?;

    let mut host = None;
    let mut length: Option<(u64, usize)> = None;
    let mut coding = Coding::default();
    let mut coding_at = None;
    let mut expect_continue = false;
    let mut keep_alive = true;

    for field in fields.lines() {
        let value = field.value.of(window);
        let at = field.name.range().start;
        match field.known {
            Some(Known::Host) if host.is_some() => return Err(Reason::BadHost.at(at)),
            Some(Known::Host) => {
                if !is_host(value) {
                    return Err(Reason::BadHost.at(field.value.range().start));
                }
                host = Some(field.value);
            }
            // Even two equal lengths are refused: whoever sent two has lost track, and the next hop may pick the other.
            Some(Known::ContentLength) if length.is_some() => return Err(Reason::BadLength.at(at)),
            Some(Known::ContentLength) => {
                let number = decimal(value).ok_or(Reason::BadLength.at(field.value.range().start))?;
                length = Some((number, at));
            }
            Some(Known::TransferEncoding) => {
                coding.read(value);
                coding_at = coding_at.or(Some(at));
            }
            Some(Known::Expect) => {
                if !value.eq_ignore_ascii_case(b"100-continue") {
                    return Err(Reason::UnknownExpectation.at(field.value.range().start));
                }
                expect_continue = true;
            }
            Some(Known::Connection) => keep_alive &= !names(value, b"close"),
            _ => {}
        }
    }

    let host = host.ok_or(Reason::MissingHost.at(head_bytes))?;
    if let Some(authority) = target.authority
        && !authority.of(window).eq_ignore_ascii_case(host.of(window))
    {
        return Err(Reason::BadHost.at(authority.range().start));
    }
    let framing = match (length, coding_at) {
        (Some((_, length_at)), Some(coding_at)) => return Err(Reason::LengthAndCoding.at(length_at.max(coding_at))),
        (_, Some(at)) => coding.verdict().map(|()| Framing::Chunked).map_err(|reason| reason.at(at))?,
        (Some((0, _)), None) | (None, None) => Framing::Empty,
        (Some((number, _)), None) => Framing::Length(number),
    };

    Ok(Head {
        method,
        method_name: line.method,
        target: line.target,
        path: target.path,
        query: target.query,
        authority: target.authority,
        host,
        framing,
        expect_continue: expect_continue && framing != Framing::Empty,
        keep_alive,
        head_bytes,
    })
}

struct Target {
    authority: Option<Span>,
    path: Span,
    query: Option<Span>,
}

impl Target {
    fn split(window: &[u8], target: Span, method: Method) -> Result<Self, Refusal> {
        let text = target.of(window);
        let start = target.range().start;
        if let Err(fault) = std::str::from_utf8(text) {
            return Err(Reason::BadTarget.at(start + fault.valid_up_to()));
        }
        let authority_start = match text {
            [b'/', ..] => None,
            b"*" if method == Method::Options => None,
            _ => Some(scheme_length(text).ok_or(Reason::BadTarget.at(start))?),
        };
        let (authority, path_start) = match authority_start {
            None => (None, 0),
            Some(from) => {
                let length = text[from..].iter().position(|byte| matches!(byte, b'/' | b'?'));
                let to = length.map_or(text.len(), |length| from + length);
                if !is_host(&text[from..to]) {
                    return Err(Reason::BadTarget.at(start + from));
                }
                (Some(Span::new(start + from, start + to)), to)
            }
        };
        let mark = text[path_start..].iter().position(|&byte| byte == b'?').map(|length| path_start + length);
        Ok(Self {
            authority,
            path: Span::new(start + path_start, start + mark.unwrap_or(text.len())),
            query: mark.map(|mark| Span::new(start + mark + 1, start + text.len())),
        })
    }
}

fn scheme_length(target: &[u8]) -> Option<usize> {
    [b"http://".as_slice(), b"https://".as_slice()]
        .into_iter()
        .find(|scheme| target.get(..scheme.len()).is_some_and(|given| given.eq_ignore_ascii_case(scheme)))
        .map(<[u8]>::len)
}

/// `name`, `name:port`, `[v6]` or `[v6]:port`. No user, no path, no empty name or port: each of those has been read two
/// ways by two servers.
pub(crate) fn is_host(value: &[u8]) -> bool {
    if value.len() > HOST_BYTES_MAX {
        return false;
    }
    let (name_fits, rest) = if let Some(inner) = value.strip_prefix(b"[") {
        let Some(close) = inner.iter().position(|&byte| byte == b']') else { return false };
        let address = std::str::from_utf8(&inner[..close]).ok();
        (address.is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok()), &inner[close + 1..])
    } else {
        let end = value.iter().position(|&byte| byte == b':').unwrap_or(value.len());
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
        (end > 0 && value[..end].iter().all(fits), &value[end..])
    };
    let port_fits = match rest {
        [] => true,
        [b':', port @ ..] => {
            port.len() <= 5 && decimal(port).is_some_and(|number| (1..=u64::from(u16::MAX)).contains(&number))
        }
        _ => false,
    };
    name_fits && port_fits
}

/// Digits and nothing else.
pub(crate) fn decimal(value: &[u8]) -> Option<u64> {
    if value.is_empty() || value.len() > LENGTH_DIGITS_MAX {
        return None;
    }
    value.iter().try_fold(0u64, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u64::from(byte - b'0')))
}

/// Whether a comma-separated list names a word.
fn names(list: &[u8], word: &[u8]) -> bool {
    list.split(|&byte| byte == b',').any(|element| element.trim_ascii().eq_ignore_ascii_case(word))
}

/// All `Transfer-Encoding` lines read as one list, which is what they are.
#[derive(Default)]
struct Coding {
    last_is_chunked: bool,
    chunked_count: usize,
    unknown: bool,
    malformed: bool,
}

impl Coding {
    fn read(&mut self, value: &[u8]) {
        for element in value.split(|&byte| byte == b',') {
            let element = element.trim_ascii();
            self.last_is_chunked = element.eq_ignore_ascii_case(b"chunked");
            self.chunked_count += usize::from(self.last_is_chunked);
            self.unknown |= !self.last_is_chunked;
            self.malformed |= element.is_empty() || !element.iter().all(|&byte| line::is_token(byte));
        }
    }

    fn verdict(&self) -> Result<(), Reason> {
        match self {
            Self { malformed: true, .. } | Self { last_is_chunked: false, .. } => Err(Reason::BadCoding),
            Self { chunked_count, .. } if *chunked_count != 1 => Err(Reason::BadCoding),
            Self { unknown: true, .. } => Err(Reason::UnknownCoding),
            _ => Ok(()),
        }
    }
}

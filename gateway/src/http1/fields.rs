//! Where the header lines of one head are: positions in the receive buffer, never owned strings.
//!
//! One [`Fields`] belongs to a connection and is used again for every request on it, so reading a head allocates
//! nothing while its sender is busy; a connection that waits gives the room back. The headers this server itself looks at are found while the head is parsed, by length first and then by a
//! case-insensitive compare; everything else is looked for only when somebody asks.

use crate::limits::{HEADER_COUNT_MAX, HEADER_COUNT_USUAL};
use std::ops::Range;

/// A piece of a head: offsets from the head's first byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    start: u16,
    end: u16,
}

impl Span {
    /// Heads are at most `HEAD_BYTES_MAX` long, which `limits` proves to fit; a position past that would be our mistake
    /// and is clamped to an empty piece rather than wrapped.
    pub(super) fn new(start: usize, end: usize) -> Self {
        let short = |position: usize| u16::try_from(position).unwrap_or(u16::MAX);
        Self { start: short(start), end: short(end) }
    }

    pub fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }

    pub fn len(self) -> usize {
        (self.end as usize).saturating_sub(self.start as usize)
    }

    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// The bytes, given the buffer from the head's first byte. Empty when the buffer is not that of the head.
    pub fn of(self, head: &[u8]) -> &[u8] {
        head.get(self.range()).unwrap_or_default()
    }
}

/// One header line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Field {
    pub name: Span,
    pub value: Span,
    /// Which of the headers this server reads itself, if one of them.
    pub known: Option<Known>,
}

macro_rules! known_headers {
    ($($variant:ident = $text:literal,)*) => {
        /// Headers the server itself reads.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Known { $($variant,)* }

        impl Known {
            pub const ALL: &[Self] = &[$(Self::$variant,)*];

            /// The lower-case name.
            pub fn name(self) -> &'static str {
                match self { $(Self::$variant => $text,)* }
            }

            /// Length first: most names differ in it, and the arms of one length are two or three.
            pub fn of(name: &[u8]) -> Option<Self> {
                $(
                    if name.len() == $text.len() && name.eq_ignore_ascii_case($text.as_bytes()) {
                        return Some(Self::$variant);
                    }
                )*
                None
            }
        }
    };
}

known_headers! {
    Host = "host",
    Connection = "connection",
    ContentLength = "content-length",
    TransferEncoding = "transfer-encoding",
    Expect = "expect",
    Authorization = "authorization",
    Accept = "accept",
    AcceptEncoding = "accept-encoding",
    ContentType = "content-type",
    ContentEncoding = "content-encoding",
    UserAgent = "user-agent",
    Referer = "referer",
    Origin = "origin",
    RequestMethod = "access-control-request-method",
    RequestHeaders = "access-control-request-headers",
    ForwardedFor = "x-forwarded-for",
    ApiKey = "apikey",
    ApiKeyDashed = "api-key",
    Email = "email",
    Password = "password",
    JwtTokenString = "jwttokenstring",
    EndpointSignature = "endpoint-signature",
    HookSignature = "x-hook-signature",
}

const KNOWN: usize = Known::ALL.len();
const ABSENT: u8 = u8::MAX;

/// The header lines of the head parsed last. Empty until then, and after a refusal of no meaning.
#[derive(Debug, Clone)]
pub struct Fields {
    lines: Vec<Field>,
    /// For each known header, its first line.
    first: [u8; KNOWN],
    /// How many bytes of an unfinished head were already looked at, so that a head sent byte by byte is parsed again
    /// only when a line was completed: at most once per header line, not once per byte.
    pub(super) scanned: usize,
}

impl Default for Fields {
    fn default() -> Self {
        Self { lines: Vec::new(), first: [ABSENT; KNOWN], scanned: 0 }
    }
}

impl Fields {
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }

    /// All lines in the order sent.
    pub fn lines(&self) -> &[Field] {
        &self.lines
    }

    /// Name (a token, so ASCII) and value of every line, in the order sent, from the buffer the head was parsed from.
    pub fn iter<'b>(&self, head: &'b [u8]) -> impl Iterator<Item = (&'b [u8], &'b [u8])> {
        self.lines().iter().map(move |line| (line.name.of(head), line.value.of(head)))
    }

    /// The first line of a header this server reads, without a search.
    pub fn known(&self, header: Known) -> Option<Field> {
        self.lines().get(self.first[header as usize] as usize).copied()
    }

    /// The first value of a header this server reads.
    pub fn value<'b>(&self, header: Known, head: &'b [u8]) -> Option<&'b [u8]> {
        self.known(header).map(|line| line.value.of(head))
    }

    /// Every value of a named header; the name may be in any case.
    pub fn find<'b>(&self, name: &[u8], head: &'b [u8]) -> impl Iterator<Item = &'b [u8]> {
        self.iter(head).filter(move |(given, _)| given.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub fn clear(&mut self) {
        self.lines.clear();
        self.first = [ABSENT; KNOWN];
        self.scanned = 0;
    }

    /// Gives back the room of lines that are not there.
    pub fn shrink(&mut self) {
        self.lines.shrink_to_fit();
    }

    /// Adds a line. False when there is no room.
    pub(super) fn push(&mut self, field: Field) -> bool {
        let count = self.lines.len();
        if count == HEADER_COUNT_MAX {
            return false;
        }
        if count == self.lines.capacity() {
            self.lines.reserve(HEADER_COUNT_USUAL);
        }
        self.lines.push(field);
        if let Some(header) = field.known {
            let place = &mut self.first[header as usize];
            if *place == ABSENT {
                // It is below `HEADER_COUNT_MAX`, which fits.
                *place = count as u8;
            }
        }
        true
    }
}

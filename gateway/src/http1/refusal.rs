//! Why a stream of bytes was refused: a stable name for tests and metrics, a sentence for the person who sent it, and
//! the offset of the byte that decided, for our log.
//!
//! Every refusal is the sender's fault, and every refusal ends the connection. Which status code goes with which reason
//! is not decided here but where all answers are made.

use std::fmt;

/// What was wrong with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The request line is not `METHOD target HTTP/x.y`, or something other than one empty line came before it.
    BadRequestLine,
    /// The target is not a path, an absolute `http` address, or `*` with OPTIONS; or it holds a forbidden byte.
    BadTarget,
    /// CONNECT asks for a tunnel, and there is none.
    Tunnel,
    /// The method's name is longer than any method.
    MethodTooLong,
    /// The target is longer than the limit.
    TargetTooLong,
    /// Anything but HTTP/1.1, the preface of HTTP/2 included.
    UnsupportedVersion,
    /// A header line that is not `name: value`: folded, space before the colon, control bytes, no name.
    BadHeader,
    /// A line that ends with LF alone, or a CR without its LF.
    BareLineEnd,
    /// More header lines than the limit.
    TooManyHeaders,
    /// The head is longer than the limit.
    HeadTooLarge,
    /// No `Host`.
    MissingHost,
    /// More than one `Host`, one that is not `name[:port]`, or one that is not the target's.
    BadHost,
    /// `Content-Length` is not one decimal number, given once.
    BadLength,
    /// Both `Content-Length` and `Transfer-Encoding`.
    LengthAndCoding,
    /// `Transfer-Encoding` does not end with one `chunked`.
    BadCoding,
    /// `Transfer-Encoding` names a coding we do not undo.
    UnknownCoding,
    /// `Expect` is something other than `100-continue`.
    UnknownExpectation,
    /// The body is larger than the limit.
    BodyTooLarge,
    /// A chunk's size, extension or line ends are not as written.
    BadChunk,
    /// Chunk extensions longer than the limit.
    ChunkExtensionsTooLong,
    /// Trailer fields that are not `name: value` lines.
    BadTrailer,
    /// Trailer fields longer than the limit.
    TrailersTooLong,
}

/// A refused stream: why, and at which byte. Offsets in a head count from the head's first byte; offsets in a body count
/// from the body's first byte as sent, chunk lines included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Refusal {
    pub reason: Reason,
    pub offset: u64,
}

impl Reason {
    pub const ALL: [Self; 22] = [
        Self::BadRequestLine,
        Self::BadTarget,
        Self::Tunnel,
        Self::MethodTooLong,
        Self::TargetTooLong,
        Self::UnsupportedVersion,
        Self::BadHeader,
        Self::BareLineEnd,
        Self::TooManyHeaders,
        Self::HeadTooLarge,
        Self::MissingHost,
        Self::BadHost,
        Self::BadLength,
        Self::LengthAndCoding,
        Self::BadCoding,
        Self::UnknownCoding,
        Self::UnknownExpectation,
        Self::BodyTooLarge,
        Self::BadChunk,
        Self::ChunkExtensionsTooLong,
        Self::BadTrailer,
        Self::TrailersTooLong,
    ];

    /// Short and stable: tests and metrics depend on it.
    pub fn name(self) -> &'static str {
        match self {
            Self::BadRequestLine => "bad-request-line",
            Self::BadTarget => "bad-target",
            Self::Tunnel => "tunnel",
            Self::MethodTooLong => "method-too-long",
            Self::TargetTooLong => "target-too-long",
            Self::UnsupportedVersion => "unsupported-version",
            Self::BadHeader => "bad-header",
            Self::BareLineEnd => "bare-line-end",
            Self::TooManyHeaders => "too-many-headers",
            Self::HeadTooLarge => "head-too-large",
            Self::MissingHost => "missing-host",
            Self::BadHost => "bad-host",
            Self::BadLength => "bad-length",
            Self::LengthAndCoding => "length-and-coding",
            Self::BadCoding => "bad-coding",
            Self::UnknownCoding => "unknown-coding",
            Self::UnknownExpectation => "unknown-expectation",
            Self::BodyTooLarge => "body-too-large",
            Self::BadChunk => "bad-chunk",
            Self::ChunkExtensionsTooLong => "chunk-extensions-too-long",
            Self::BadTrailer => "bad-trailer",
            Self::TrailersTooLong => "trailers-too-long",
        }
    }

    /// For the sender: what was wrong, without repeating their bytes.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::BadRequestLine => "the request line is not of the form 'METHOD target HTTP/1.1'",
            Self::BadTarget => "the request target is not a path, an absolute http address, or '*' with OPTIONS",
            Self::Tunnel => "this server opens no tunnels: CONNECT is not supported",
            Self::MethodTooLong => "the method name is too long to be one this server knows",
            Self::TargetTooLong => "the request target is too long",
            Self::UnsupportedVersion => "this connection speaks HTTP/1.1 only",
            Self::BadHeader => "a header line is not of the form 'name: value'",
            Self::BareLineEnd => "a line of the request head does not end with CR LF",
            Self::TooManyHeaders => "the request has too many header lines",
            Self::HeadTooLarge => "the request head is too large",
            Self::MissingHost => "the request has no Host header",
            Self::BadHost => "the request needs exactly one valid Host header that agrees with its target",
            Self::BadLength => "Content-Length must be one decimal number, given once",
            Self::LengthAndCoding => "a request cannot have both Content-Length and Transfer-Encoding",
            Self::BadCoding => "Transfer-Encoding must end with one 'chunked'",
            Self::UnknownCoding => "the only transfer coding this server undoes is 'chunked'",
            Self::UnknownExpectation => "the only expectation this server meets is '100-continue'",
            Self::BodyTooLarge => "request too large",
            Self::BadChunk => "the chunked body is malformed",
            Self::ChunkExtensionsTooLong => "the chunk extensions are too long",
            Self::BadTrailer => "a trailer line is not of the form 'name: value'",
            Self::TrailersTooLong => "the trailer fields are too long",
        }
    }

    pub(super) fn at(self, offset: usize) -> Refusal {
        Refusal { reason: self, offset: offset as u64 }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} (byte {})", self.reason.sentence(), self.offset)
    }
}

impl std::error::Error for Refusal {}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::collections::HashSet;

    #[test]
    fn every_reason_has_a_name_of_its_own() {
        let names: HashSet<_> = Reason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), Reason::ALL.len());
    }
}

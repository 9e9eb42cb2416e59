//! Answers as bytes, appended to an output buffer that the connection sends once for all pipelined requests.
//!
//! In: a status, headers (a function's, so hostile), what is known of the body, and the turn the answer is given in.
//! Out: bytes that are one answer however strange the headers were. A header that could end its line early is left out
//! and counted; headers that frame the message or belong to the connection are ours and a function's are ignored.
//!
//! Not here: which status a request deserves; compression; the clock (`Date` is passed in).

use super::date::HttpDate;
use super::line::is_token;

/// Sent to a client that waits for it before it sends its body.
pub const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Ends a chunked body.
pub const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// What an answer's body is, as far as its head must say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    Known(u64),
    /// The body follows in chunks, ended by [`LAST_CHUNK`].
    Chunked,
}

/// What the connection knows about this answer and the answer's author does not.
#[derive(Debug, Clone, Copy)]
pub struct Turn<'a> {
    pub date: &'a HttpDate,
    /// The request was HEAD: the head is the same as for GET, and nothing follows it.
    pub head_only: bool,
    /// The connection closes after this answer.
    pub close: bool,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Written {
    /// Headers left out because a name or value could not stand in a header line. Worth a line in the app's log.
    pub headers_refused: u32,
    /// The connection must close after this answer, because it was asked to or because of the status.
    pub close: bool,
    /// The body must not be sent: HEAD, or a status without one.
    pub bodyless: bool,
}

/// A whole answer: head, and body unless there must be none.
pub fn answer<'h>(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    body: &[u8],
    turn: Turn<'_>,
) -> Written {
    let written = head(out, status, headers, Length::Known(body.len() as u64), turn);
    if !written.bodyless {
        out.extend_from_slice(body);
    }
    written
}

/// The head of an answer. The caller sends the body, if `bodyless` does not forbid it: exactly the bytes of a known
/// length, or [`chunk`]s and [`LAST_CHUNK`].
///
/// A status in the hundreds is no final answer: the client goes on waiting, and would take the next answer for this one.
/// Functions can set one all the same, so the connection is closed after it. A status that is not three digits is
/// written as 500.
pub fn head<'h>(
    out: &mut Vec<u8>,
    status: u16,
    headers: impl IntoIterator<Item = (&'h [u8], &'h [u8])>,
    length: Length,
    turn: Turn<'_>,
) -> Written {
    let status = if (100..=999).contains(&status) { status } else { 500 };
    let interim = status < 200;
    let empty = interim || status == 204 || status == 304;
    let close = turn.close || interim;

    out.extend_from_slice(b"HTTP/1.1 ");
    decimal(out, u64::from(status));
    out.push(b' ');
    out.extend_from_slice(reason(status).as_bytes());
    out.extend_from_slice(b"\r\ndate: ");
    out.extend_from_slice(turn.date.as_bytes());
    out.extend_from_slice(b"\r\n");

    let mut headers_refused = 0;
    for (name, value) in headers {
        if !can_stand(name, value) {
            headers_refused += 1;
        } else if !is_ours(name) {
            out.extend_from_slice(name);
            out.extend_from_slice(b": ");
            out.extend_from_slice(value);
            out.extend_from_slice(b"\r\n");
        }
    }

    if !empty {
        match length {
            Length::Known(bytes) => {
                out.extend_from_slice(b"content-length: ");
                decimal(out, bytes);
                out.extend_from_slice(b"\r\n");
            }
            Length::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        }
    }
    if close {
        out.extend_from_slice(b"connection: close\r\n");
    }
    out.extend_from_slice(b"\r\n");
    Written { headers_refused, close, bodyless: empty || turn.head_only }
}

/// One piece of a chunked body. An empty piece writes nothing, because an empty chunk would end the body.
pub fn chunk(out: &mut Vec<u8>, data: &[u8]) {
    if data.is_empty() {
        return;
    }
    let mut digits = [0u8; 16];
    let mut left = data.len();
    let mut at = digits.len();
    while left > 0 {
        at -= 1;
        digits[at] = b"0123456789abcdef"[left & 15];
        left >>= 4;
    }
    out.extend_from_slice(&digits[at..]);
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(data);
    out.extend_from_slice(b"\r\n");
}

/// Whether a header can be written as one line and be read as that line again.
pub fn can_stand(name: &[u8], value: &[u8]) -> bool {
    !name.is_empty()
        && name.iter().all(|&byte| is_token(byte))
        && value.iter().all(|&byte| byte == b'\t' || (byte >= b' ' && byte != 0x7f))
}

/// Headers that only the connection may write: they frame the message, or belong to this hop, or are the clock's.
pub fn is_ours(name: &[u8]) -> bool {
    const OURS: [&[u8]; 9] = [
        b"connection",
        b"content-length",
        b"date",
        b"keep-alive",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    ];
    OURS.iter().any(|ours| ours.len() == name.len() && ours.eq_ignore_ascii_case(name))
}

/// Digits without the formatting machinery, two at a time.
fn decimal(out: &mut Vec<u8>, mut number: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    while number >= 10 {
        at -= 2;
        digits[at] = b'0' + (number / 10 % 10) as u8;
        digits[at + 1] = b'0' + (number % 10) as u8;
        number /= 100;
    }
    if number > 0 || at == digits.len() {
        at -= 1;
        digits[at] = b'0' + number as u8;
    }
    out.extend_from_slice(&digits[at..]);
}

/// The words after a status, for people reading a trace. Clients ignore them; an unknown status has none.
pub fn reason(status: u16) -> &'static str {
    match status {
        100 => "Continue",
        101 => "Switching Protocols",
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        203 => "Non-Authoritative Information",
        204 => "No Content",
        205 => "Reset Content",
        206 => "Partial Content",
        300 => "Multiple Choices",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        402 => "Payment Required",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        406 => "Not Acceptable",
        407 => "Proxy Authentication Required",
        408 => "Request Timeout",
        409 => "Conflict",
        410 => "Gone",
        411 => "Length Required",
        412 => "Precondition Failed",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        416 => "Range Not Satisfiable",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        421 => "Misdirected Request",
        422 => "Unprocessable Content",
        423 => "Locked",
        424 => "Failed Dependency",
        425 => "Too Early",
        426 => "Upgrade Required",
        428 => "Precondition Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        451 => "Unavailable For Legal Reasons",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        507 => "Insufficient Storage",
        511 => "Network Authentication Required",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(status: u16, headers: &[(&str, &str)], body: &str, head_only: bool, close: bool) -> (String, Written) {
        let date = HttpDate::from_unix_seconds(784_111_777);
        let mut out = Vec::new();
        let headers = headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
        let written = answer(&mut out, status, headers, body.as_bytes(), Turn { date: &date, head_only, close });
        let text = String::from_utf8(out).unwrap().replace("date: Sun, 06 Nov 1994 08:49:37 GMT\r\n", "");
        (text, written)
    }

    #[test]
    fn heads_say_what_follows() {
        for (status, headers, body, head_only, close, wanted) in [
            (200, &[][..], "hi", false, false, "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi"),
            (200, &[], "", false, true, "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            (200, &[], "0123456789", true, false, "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n"),
            (204, &[], "dropped", false, false, "HTTP/1.1 204 No Content\r\n\r\n"),
            (304, &[("ETag", "\"x\"")], "dropped", false, false, "HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\n\r\n"),
            (101, &[], "dropped", false, false, "HTTP/1.1 101 Switching Protocols\r\nconnection: close\r\n\r\n"),
            (299, &[], "", false, false, "HTTP/1.1 299 \r\ncontent-length: 0\r\n\r\n"),
            (7, &[], "", false, false, "HTTP/1.1 500 Internal Server Error\r\ncontent-length: 0\r\n\r\n"),
        ] {
            assert_eq!(written(status, headers, body, head_only, close).0, wanted);
        }
    }

    #[test]
    fn a_function_cannot_split_an_answer_or_frame_it() {
        let headers = [
            ("X-Good", "kept"),
            ("X-Bad", "a\r\nX-Injected: 1"),
            ("X-Bad", "a\nb"),
            ("X-Bad", "a\0b"),
            ("X Bad", "space in the name"),
            ("X-Bad:", "colon in the name"),
            ("X\r\nY", "line in the name"),
            ("", "no name"),
            ("Content-Length", "999"),
            ("TRANSFER-encoding", "chunked"),
            ("Connection", "upgrade"),
            ("Keep-Alive", "timeout=5"),
            ("Upgrade", "h2c"),
            ("Trailer", "X"),
            ("Date", "yesterday"),
            ("Cache-Control", "max-age=600"),
            ("Cache-Control", "min-fresh=60"),
        ];
        let (text, result) = written(200, &headers, "ok", false, false);
        let wanted = "HTTP/1.1 200 OK\r\nX-Good: kept\r\nCache-Control: max-age=600\r\nCache-Control: min-fresh=60\r\n\
                      content-length: 2\r\n\r\nok";
        assert_eq!(text, wanted);
        assert_eq!(result, Written { headers_refused: 7, close: false, bodyless: false });
    }

    #[test]
    fn chunks_are_counted_in_hexadecimal_and_an_empty_one_is_not_sent() {
        let mut out = Vec::new();
        chunk(&mut out, b"hello, chunked world");
        chunk(&mut out, b"");
        chunk(&mut out, &[b'x'; 256]);
        out.extend_from_slice(LAST_CHUNK);
        let wanted = format!("14\r\nhello, chunked world\r\n100\r\n{}\r\n0\r\n\r\n", "x".repeat(256));
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }

    #[test]
    fn numbers_are_written_as_the_standard_library_writes_them() {
        for number in (0..12_000).chain([99_999, 100_000, u64::from(u32::MAX), u64::MAX - 1, u64::MAX]) {
            let mut out = Vec::new();
            decimal(&mut out, number);
            assert_eq!(String::from_utf8(out).unwrap(), number.to_string());
        }
    }
}

//! Heads of HTTP/1.1 requests, and streams of requests one behind the other.
//!
//! Promises: one stream of bytes means the same however it is cut. A head is taken only when it is whole, lies within what
//! was given and within the limits; its parts are what its bytes say, also to another parser; written down again it is the
//! same head. A refusal stays one whatever follows, names a byte that is there, and is answered by closing.

use gateway::http1::encode::{self, Turn};
use gateway::http1::{Fields, Framing, Head, HttpDate, Intake, Known, Progress, Refusal};
use gateway::limits::{HEAD_BYTES_MAX, HEADER_COUNT_MAX, METHOD_BYTES_MAX, REQUEST_BYTES_MAX, TARGET_BYTES_MAX};
use gateway::respond;

use crate::dice::cuts;

pub fn run(data: &[u8]) {
    let mut seen = cuts(data).into_iter().map(|pieces| read(&pieces));
    let whole = seen.next().expect("there is one piece");
    for other in seen {
        assert_eq!(other, whole, "a stream means the same however it is cut");
    }

    let mut fields = Fields::default();
    match Head::parse(data, &mut fields) {
        Ok(None) => assert!(data.len() < HEAD_BYTES_MAX, "the largest head is not waited behind"),
        Ok(Some(head)) => accepted(data, &head, &fields),
        Err(refusal) => refused(data, refusal),
    }
}

/// What a connection saw in its bytes.
#[derive(Debug, PartialEq)]
enum Seen {
    Request { head: Box<Said>, body: Vec<u8>, end: usize },
    Refused(Refusal),
    Waits,
}

/// What a head says, wherever its parts lie.
#[derive(Debug, PartialEq)]
struct Said {
    method: Vec<u8>,
    target: Vec<u8>,
    path: Vec<u8>,
    query: Option<Vec<u8>>,
    authority: Option<Vec<u8>>,
    host: Vec<u8>,
    framing: Framing,
    expect_continue: bool,
    keep_alive: bool,
    lines: Vec<(Vec<u8>, Vec<u8>, Option<Known>)>,
}

impl Said {
    fn by(bytes: &[u8], head: &Head, fields: &Fields) -> Self {
        let line = |line: &gateway::http1::fields::Field| {
            (line.name.of(bytes).to_vec(), line.value.of(bytes).to_vec(), line.known)
        };
        Self {
            method: head.method_name.of(bytes).to_vec(),
            target: head.target.of(bytes).to_vec(),
            path: head.path(bytes).to_vec(),
            query: head.query(bytes).map(<[u8]>::to_vec),
            authority: head.authority.map(|authority| authority.of(bytes).to_vec()),
            host: head.host.of(bytes).to_vec(),
            framing: head.framing,
            expect_continue: head.expect_continue,
            keep_alive: head.keep_alive,
            lines: fields.lines().iter().map(line).collect(),
        }
    }
}

/// A connection without a socket, which is given its bytes piece by piece.
fn read(pieces: &[&[u8]]) -> Vec<Seen> {
    let (mut buffer, mut received, mut start) = (Vec::new(), 0, 0);
    let mut fields = Fields::default();
    let mut open: Option<(Head, Said, Intake)> = None;
    let mut seen = Vec::new();
    for piece in pieces {
        buffer.extend_from_slice(piece);
        received += piece.len();
        loop {
            let (head, said, mut intake) = match open.take() {
                Some(open) => open,
                None => match Head::parse(&buffer[start..], &mut fields) {
                    Err(refusal) => {
                        seen.push(Seen::Refused(refusal));
                        return seen;
                    }
                    Ok(None) => break,
                    Ok(Some(head)) => match Intake::new(head.framing, REQUEST_BYTES_MAX.into()) {
                        Err(refusal) => {
                            seen.push(Seen::Refused(refusal));
                            return seen;
                        }
                        Ok(intake) => (head, Said::by(&buffer[start..], &head, &fields), intake),
                    },
                },
            };
            match intake.receive(&mut buffer, start + head.head_bytes) {
                Err(refusal) => {
                    seen.push(Seen::Refused(refusal));
                    return seen;
                }
                Ok(Progress::Waiting) => {
                    open = Some((head, said, intake));
                    break;
                }
                Ok(Progress::Complete { body, next }) => {
                    let end = received - (buffer.len() - next);
                    seen.push(Seen::Request { head: Box::new(said), body: buffer[body].to_vec(), end });
                    start = next;
                    if !head.keep_alive {
                        return seen;
                    }
                }
            }
        }
    }
    if open.is_some() || start < buffer.len() {
        seen.push(Seen::Waits);
    }
    seen
}

fn accepted(data: &[u8], head: &Head, fields: &Fields) {
    let end = head.head_bytes;
    assert!(end <= data.len() && end <= HEAD_BYTES_MAX, "a head lies within its bytes and the limit");
    assert!(data[..end].ends_with(b"\r\n\r\n"), "a head ends with an empty line");
    let said = Said::by(data, head, fields);
    assert_eq!(said, Said::by(&data[..end], head, fields), "no part of a head lies behind it");
    assert_eq!(parse(&data[..end - 1]), Ok(None), "a head is taken when it is whole");
    assert_eq!(parse(&data[..end]), Ok(Some(Said::by(data, head, fields))), "what follows a head means nothing");

    let token = |text: &[u8]| {
        let fits = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        !text.is_empty() && text.iter().all(fits)
    };
    assert!(token(&said.method) && said.method.len() <= METHOD_BYTES_MAX);
    assert!(!said.target.is_empty() && said.target.len() <= TARGET_BYTES_MAX);
    assert!(said.target.iter().all(|byte| *byte > b' ' && *byte != 0x7f && *byte != b'#'));
    assert!(said.path.starts_with(b"/") || (said.path == b"*" && said.method == b"OPTIONS"), "a path begins with /");
    assert!(!said.path.contains(&b'?'), "a path ends where a query begins");
    let query = said.query.as_ref().map_or(Vec::new(), |query| [b"?", query.as_slice()].concat());
    let path = if head.path.is_empty() { Vec::new() } else { said.path.clone() };
    match &said.authority {
        None => assert_eq!(said.target, [path, query].concat(), "a target is its path and query"),
        Some(authority) => {
            assert!(said.target.ends_with(&[authority.clone(), path, query].concat()));
            assert!(authority.eq_ignore_ascii_case(&said.host), "a request is for one host");
        }
    }
    assert!(
        said.host.iter().all(|byte| byte.is_ascii_alphanumeric() || b"-._~:[]".contains(byte)) && !said.host.is_empty()
    );

    let named = |name: &str| said.lines.iter().filter(|line| line.0.eq_ignore_ascii_case(name.as_bytes())).count();
    assert!(said.lines.len() <= HEADER_COUNT_MAX);
    for (name, value, known) in &said.lines {
        assert!(token(name), "a header's name is a token");
        assert!(value.iter().all(|byte| *byte == b'\t' || (*byte >= b' ' && *byte != 0x7f)), "a value is one line");
        assert_eq!(value.trim_ascii(), value, "a value has no space around it");
        assert_eq!(*known, Known::of(name));
    }
    for known in Known::ALL {
        let first = said.lines.iter().find(|line| line.0.eq_ignore_ascii_case(known.name().as_bytes()));
        assert_eq!(
            fields.value(*known, data),
            first.map(|line| line.1.as_slice()),
            "the first line of a header counts"
        );
    }
    assert_eq!(named("host"), 1);
    match head.framing {
        Framing::Chunked => assert_eq!((named("transfer-encoding") > 0, named("content-length")), (true, 0)),
        Framing::Length(length) => {
            assert_eq!((named("transfer-encoding"), named("content-length"), length > 0), (0, 1, true));
        }
        Framing::Empty => assert!(named("transfer-encoding") == 0 && named("content-length") <= 1),
    }

    another_parser_agrees(data, head, &said);
    let mut again = [&said.method[..], b" ", &said.target, b" HTTP/1.1\r\n"].concat();
    for (name, value, _) in &said.lines {
        again.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
    }
    again.extend_from_slice(b"\r\n");
    if again.len() <= HEAD_BYTES_MAX {
        assert_eq!(parse(&again), Ok(Some(said)), "a head that is written down again is the same head");
    }
}

fn parse(bytes: &[u8]) -> Result<Option<Said>, Refusal> {
    let mut fields = Fields::default();
    Head::parse(bytes, &mut fields).map(|head| head.map(|head| Said::by(bytes, &head, &fields)))
}

/// `httparse` reads whole requests more leniently: what we take, it takes, and reads the same.
fn another_parser_agrees(data: &[u8], head: &Head, said: &Said) {
    let mut headers = [httparse::EMPTY_HEADER; HEADER_COUNT_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let read = request.parse(&data[..head.head_bytes]);
    assert_eq!(read, Ok(httparse::Status::Complete(head.head_bytes)), "another parser finds the same end");
    assert_eq!(request.method.map(str::as_bytes), Some(said.method.as_slice()));
    assert_eq!(request.path.map(str::as_bytes), Some(said.target.as_slice()));
    let theirs = request.headers.iter().map(|header| (header.name.as_bytes(), header.value));
    let ours = said.lines.iter().map(|line| (line.0.as_slice(), line.1.as_slice()));
    assert!(theirs.eq(ours), "another parser finds the same lines");
}

fn refused(data: &[u8], refusal: Refusal) {
    assert!(refusal.offset <= data.len() as u64, "a refusal names a byte that is there");
    let more = [data, b"\r\n\r\nGET / HTTP/1.1\r\nHost: h\r\n\r\n"].concat();
    assert_eq!(parse(&more), Err(refusal), "what follows does not make a refused head good");

    let answer = respond::not_a_request(refusal.reason);
    assert!((400..600).contains(&answer.status), "a refusal is an error");
    let lines = answer.headers.iter().map(|(name, value)| (name.as_bytes(), value.as_bytes()));
    let turn = Turn { date: &HttpDate::from_unix_seconds(0), head_only: false, close: true };
    let mut out = Vec::new();
    let written = encode::answer(&mut out, answer.status, lines, &answer.body, turn);
    assert!(written.close && !written.bodyless, "a refusal closes");
    let mut headers = [httparse::EMPTY_HEADER; 32];
    let mut response = httparse::Response::new(&mut headers);
    assert!(response.parse(&out).is_ok_and(|read| read.is_complete()));
    assert!(
        response.headers.iter().any(|line| line.name == "connection" && line.value == b"close"),
        "a refusal says so"
    );
}

pub fn seeds() -> Vec<Vec<u8>> {
    crate::corpus::cases().into_iter().map(|case| case.bytes).filter(|bytes| bytes.len() < 2_000).collect()
}

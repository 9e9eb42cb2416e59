//! Reads `http1.txt`, whose first lines describe its form, into cases. It stands beside the file so that the codec's own
//! tests and the attacks over a socket read the same cases in the same way; both include it by path.
//!
//! A malformed corpus panics with its line number: it is ours.

/// One connection's worth of bytes, and what must come of them.
pub struct Case {
    pub name: String,
    pub bytes: Vec<u8>,
    pub wanted: Vec<Wanted>,
}

/// What must come of the bytes up to an offset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// A request that ends exactly at `end`. Where only the body's length is known, `body` is `Err(length)`.
    Request { method: String, target: Vec<u8>, body: Result<Vec<u8>, usize>, end: usize },
    /// The server reads nothing more.
    Closed,
    /// The server waits for more bytes.
    Waits,
    /// Refused; nothing more is read.
    Refused { status: u16, reason: String },
}

/// All cases of the corpus.
pub fn cases() -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    for (index, line) in include_str!("http1.txt").lines().enumerate() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let place = format!("http1.txt line {}", index + 1);
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        if word == "case" {
            assert!(cases.iter().all(|case| case.name != rest), "{place}: a second case named {rest}");
            cases.push(Case { name: rest.to_owned(), bytes: Vec::new(), wanted: Vec::new() });
            continue;
        }
        let case = cases.last_mut().unwrap_or_else(|| panic!("{place}: before the first case"));
        let number = |text: &str| text.parse().unwrap_or_else(|_| panic!("{place}: not a number: {text}"));
        match word {
            "send" => case.bytes.extend(unescape(rest, &place)),
            "times" => {
                let (count, bytes) = rest.split_once(' ').unwrap_or_else(|| panic!("{place}: times N BYTES"));
                case.bytes.extend(unescape(bytes, &place).repeat(number(count)));
            }
            "want" => {
                let (method, target) = rest.split_once(' ').unwrap_or_else(|| panic!("{place}: want METHOD TARGET"));
                let (method, target) = (method.to_owned(), unescape(target, &place));
                case.wanted.push(Wanted::Request { method, target, body: Ok(Vec::new()), end: case.bytes.len() });
            }
            "body" | "body-length" => match case.wanted.last_mut() {
                Some(Wanted::Request { body, .. }) if word == "body" => *body = Ok(unescape(rest, &place)),
                Some(Wanted::Request { body, .. }) => *body = Err(number(rest)),
                _ => panic!("{place}: a body without its request"),
            },
            "closed" => case.wanted.push(Wanted::Closed),
            "waits" => case.wanted.push(Wanted::Waits),
            "refuse" => {
                let (status, reason) = rest.split_once(' ').unwrap_or_else(|| panic!("{place}: refuse STATUS NAME"));
                case.wanted.push(Wanted::Refused { status: number(status) as u16, reason: reason.to_owned() });
            }
            _ => panic!("{place}: unknown word {word}"),
        }
    }
    cases
}

fn unescape(text: &str, place: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next() {
            Some(b'r') => b'\r',
            Some(b'n') => b'\n',
            Some(b't') => b'\t',
            Some(b's') => b' ',
            Some(b'0') => 0,
            Some(b'\\') => b'\\',
            Some(b'x') => {
                let mut digit = || rest.next().and_then(|byte| (byte as char).to_digit(16));
                let (Some(high), Some(low)) = (digit(), digit()) else { panic!("{place}: \\x wants two digits") };
                (high * 16 + low) as u8
            }
            other => panic!("{place}: unknown escape {:?}", other.map(char::from)),
        });
    }
    bytes
}

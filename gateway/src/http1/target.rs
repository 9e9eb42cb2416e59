//! What a request target says, decoded once and never again.
//!
//! In: a path or query string as sent. Out: the path as text to compare with routes, query pairs as text, and the query
//! string without its secrets. A path that cannot be decoded is refused; a query string always can be, because people
//! write `?discount=50%` and the platform took it.
//!
//! Not here: dot segments and doubled slashes. Routes are compared whole, so they match nothing, which is the point.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;

/// A path with a broken `%` escape, an encoded control byte, or bytes that are not UTF-8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadPath {
    /// Where in the path, in bytes.
    pub offset: usize,
}

impl fmt::Display for BadPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the request path has a malformed percent escape or is not UTF-8 (byte {})", self.offset)
    }
}

impl std::error::Error for BadPath {}

/// Decodes a path once. An encoded slash is no separator: it stays the three characters `%2F`, so it can only match a
/// route that spells them. Nothing is allocated when there is nothing to decode.
pub fn path(raw: &[u8]) -> Result<Cow<'_, str>, BadPath> {
    let Some(first) = raw.iter().position(|&byte| byte == b'%') else {
        return std::str::from_utf8(raw).map(Cow::Borrowed).map_err(|fault| BadPath { offset: fault.valid_up_to() });
    };
    let mut text = Vec::with_capacity(raw.len());
    text.extend_from_slice(&raw[..first]);
    let mut at = first;
    while let Some(&byte) = raw.get(at) {
        if byte != b'%' {
            text.push(byte);
            at += 1;
            continue;
        }
        match escape(&raw[at..]) {
            Some(b'/') => text.extend_from_slice(b"%2F"),
            Some(control) if control < b' ' || control == 0x7f => return Err(BadPath { offset: at }),
            Some(decoded) => text.push(decoded),
            None => return Err(BadPath { offset: at }),
        }
        at += 3;
    }
    String::from_utf8(text).map(Cow::Owned).map_err(|_| BadPath { offset: first })
}

/// Name and value of every pair, decoded, in the order sent. `+` is a space, `?a` is `a` with an empty value, a `%` that
/// begins no escape stands for itself, bytes that are not UTF-8 become U+FFFD. Empty pairs (`&&`) are passed over.
pub fn pairs(raw: &[u8]) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    raw.split(|&byte| byte == b'&').filter(|pair| !pair.is_empty()).map(|pair| {
        let (name, value) = halves(pair);
        (form(name), form(value))
    })
}

/// What a function sees as `request.query`: each name once, with its first value.
pub fn query(raw: &[u8]) -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
    let mut seen = HashSet::new();
    pairs(raw).filter(|(name, _)| seen.insert(name.clone())).collect()
}

/// The first value of one name.
pub fn first<'r>(raw: &'r [u8], name: &str) -> Option<Cow<'r, str>> {
    pairs(raw).find(|(given, _)| given == name).map(|(_, value)| value)
}

/// The query string without any pair of that name, however the name was encoded. The rest keeps its order and its bytes.
pub fn without<'r>(raw: &'r [u8], name: &str) -> Cow<'r, [u8]> {
    let goes = |pair: &&[u8]| !pair.is_empty() && form(halves(pair).0) == name;
    let split = || raw.split(|&byte| byte == b'&');
    if !split().any(|pair| goes(&pair)) {
        return Cow::Borrowed(raw);
    }
    let mut kept = Vec::with_capacity(raw.len());
    for (index, pair) in split().filter(|pair| !goes(pair)).enumerate() {
        if index > 0 {
            kept.push(b'&');
        }
        kept.extend_from_slice(pair);
    }
    Cow::Owned(kept)
}

fn halves(pair: &[u8]) -> (&[u8], &[u8]) {
    match pair.iter().position(|&byte| byte == b'=') {
        Some(mark) => (&pair[..mark], &pair[mark + 1..]),
        None => (pair, &[]),
    }
}

/// Form decoding of one name or value.
fn form(raw: &[u8]) -> Cow<'_, str> {
    if !raw.iter().any(|byte| matches!(byte, b'%' | b'+')) {
        return String::from_utf8_lossy(raw);
    }
    let mut text = Vec::with_capacity(raw.len());
    let mut at = 0;
    while let Some(&byte) = raw.get(at) {
        let (decoded, length) = match byte {
            b'+' => (b' ', 1),
            b'%' => escape(&raw[at..]).map_or((b'%', 1), |decoded| (decoded, 3)),
            plain => (plain, 1),
        };
        text.push(decoded);
        at += length;
    }
    Cow::Owned(String::from_utf8(text).unwrap_or_else(|fault| String::from_utf8_lossy(fault.as_bytes()).into_owned()))
}

/// The byte a leading `%xx` stands for.
fn escape(raw: &[u8]) -> Option<u8> {
    let digit = |index: usize| raw.get(index).and_then(|&byte| (byte as char).to_digit(16));
    Some((digit(1)? * 16 + digit(2)?) as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        for (raw, wanted) in [
            ("/hello", Ok("/hello")),
            ("/a%20b", Ok("/a b")),
            ("/a+b", Ok("/a+b")),
            ("/caf%C3%A9", Ok("/café")),
            ("/café", Ok("/café")),
            ("/a%2Fb", Ok("/a%2Fb")),
            ("/a%2fb", Ok("/a%2Fb")),
            ("/%61%2e%2e/x", Ok("/a../x")),
            ("/a/../b", Ok("/a/../b")),
            ("/%2561", Ok("/%61")),
            ("/100%", Err(4)),
            ("/%4", Err(1)),
            ("/%zz", Err(1)),
            ("/%+1", Err(1)),
            ("/ab%00", Err(3)),
            ("/%0d%0a", Err(1)),
            ("/%ff", Err(1)),
        ] {
            assert_eq!(path(raw.as_bytes()), wanted.map(Cow::Borrowed).map_err(|offset| BadPath { offset }), "{raw}");
        }
    }

    #[test]
    fn queries() {
        for (raw, wanted) in [
            ("", &[][..]),
            ("a", &[("a", "")]),
            ("a=1&a=2&b=x%20y", &[("a", "1"), ("b", "x y")]),
            ("a=b=c", &[("a", "b=c")]),
            ("&&a=1&&", &[("a", "1")]),
            ("=v", &[("", "v")]),
            ("a+b=c+d%2B", &[("a b", "c d+")]),
            ("d=50%&e=%zz&f=%4", &[("d", "50%"), ("e", "%zz"), ("f", "%4")]),
            ("x=%ff", &[("x", "\u{fffd}")]),
            ("regions=na,eu", &[("regions", "na,eu")]),
            ("%61=1&a=2", &[("a", "1")]),
        ] {
            let found = query(raw.as_bytes());
            let found: Vec<_> = found.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
            assert_eq!(found, wanted, "{raw}");
        }
        assert_eq!(first(b"secret=a&secret=b", "secret").as_deref(), Some("a"));
        assert_eq!(first(b"Secret=a", "secret"), None);
    }

    #[test]
    fn secrets_leave_the_query_string_and_nothing_else_does() {
        for (raw, wanted) in [
            ("secret=hello&someParam=42", "someParam=42"),
            ("b=2&secret=x&a=%20&s%65cret=y&c", "b=2&a=%20&c"),
            ("secret", ""),
            ("secret=&secret=", ""),
            ("secrets=1&Secret=2", "secrets=1&Secret=2"),
            ("a=secret&&b", "a=secret&&b"),
            ("", ""),
        ] {
            assert_eq!(without(raw.as_bytes(), "secret"), wanted.as_bytes(), "{raw}");
        }
    }
}

//! A request's head, as HTTP/2 brings it: from decoded fields to what HTTP/1.1 would have said, held to the same rules.
//!
//! In: the parts of an `http::Request` that the h2 crate made. Out: a [`Head`], or why it is none. What the h2 crate has
//! proved is not checked again: names are lower-case, the pseudo-fields are there once and first, no field belongs to a
//! connection, no value holds a control byte.
//!
//! The lines are written down as they would have stood in HTTP/1.1, once, for the log, for the limits and to be borrowed
//! from: `:authority` as `host`, the crumbs of a cookie as one line.

use std::ops::Range;

use http::Uri;
use http::header::{CONTENT_LENGTH, COOKIE, EXPECT, HOST};
use http::request::Parts;

use crate::http1::Reason;
use crate::http1::head::{decimal, is_host};
use crate::limits::{HEADER_COUNT_MAX, METHOD_BYTES_MAX, TARGET_BYTES_MAX};

pub struct Head {
    method: http::Method,
    uri: Uri,
    /// `name: value` lines and the empty one.
    lines: Vec<u8>,
    count: usize,
    host: Range<usize>,
    /// What the client says its body has, bytes.
    pub length: Option<u64>,
    /// The client waits for `100 Continue` before it sends the body.
    pub expect_continue: bool,
    /// What the head would have taken in HTTP/1.1, so that one limit means the same to both.
    pub head_bytes: usize,
}

impl Head {
    /// `bytes_max`: as in HTTP/1.1.
    pub fn read(parts: Parts, bytes_max: usize) -> Result<Self, Reason> {
        let Parts { method, uri, headers, .. } = parts;
        if method == http::Method::CONNECT {
            return Err(Reason::Tunnel);
        }
        if method.as_str().len() > METHOD_BYTES_MAX {
            return Err(Reason::MethodTooLong);
        }
        let target_bytes = uri.path().len() + uri.query().map_or(0, |query| query.len() + 1);
        if target_bytes > TARGET_BYTES_MAX {
            return Err(Reason::TargetTooLong);
        }
        let is_asterisk = uri.path() == "*" && method == http::Method::OPTIONS;
        if !uri.path().starts_with('/') && !is_asterisk {
            return Err(Reason::BadTarget);
        }

        let mut named = headers.get_all(HOST).iter();
        let host = match (uri.authority(), named.next()) {
            (Some(authority), Some(host)) if !host.as_bytes().eq_ignore_ascii_case(authority.as_str().as_bytes()) => {
                return Err(Reason::BadHost);
            }
            (_, Some(host)) => host.as_bytes(),
            (Some(authority), None) => authority.as_str().as_bytes(),
            (None, None) => return Err(Reason::MissingHost),
        };
        if named.next().is_some() || !is_host(host) {
            return Err(Reason::BadHost);
        }
        let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
        let length = match lengths.next() {
            Some(length) => Some(decimal(length.as_bytes()).ok_or(Reason::BadLength)?),
            None => None,
        };
        if lengths.next().is_some() {
            return Err(Reason::BadLength);
        }
        let mut expect_continue = false;
        for value in headers.get_all(EXPECT) {
            if !value.as_bytes().eq_ignore_ascii_case(b"100-continue") {
                return Err(Reason::UnknownExpectation);
            }
            expect_continue = true;
        }

        let mut lines = Lines::with_capacity(headers.len());
        let host = lines.push("host", host)?;
        let mut cookie_told = false;
        for (name, value) in &headers {
            if name == HOST || (name == COOKIE && std::mem::replace(&mut cookie_told, true)) {
                continue;
            }
            if name == COOKIE {
                let crumbs: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(|crumb| crumb.as_bytes()).collect();
                lines.push("cookie", &crumbs.join(&b"; "[..]))?;
            } else {
                lines.push(name.as_str(), value.as_bytes())?;
            }
        }
        let Lines { mut bytes, count } = lines;
        bytes.extend_from_slice(b"\r\n");
        let head_bytes = method.as_str().len() + target_bytes + " ".len() * 2 + "HTTP/1.1\r\n".len() + bytes.len();
        if head_bytes > bytes_max {
            return Err(Reason::HeadTooLarge);
        }
        Ok(Self { method, uri, lines: bytes, count, host, length, expect_continue, head_bytes })
    }

    pub fn method(&self) -> &str {
        self.method.as_str()
    }

    pub fn path(&self) -> &str {
        self.uri.path()
    }

    pub fn query(&self) -> Option<&str> {
        self.uri.query()
    }

    pub fn host(&self) -> &str {
        std::str::from_utf8(&self.lines[self.host.clone()]).unwrap_or_default()
    }

    /// The lines as they would have stood in HTTP/1.1.
    pub fn lines(&self) -> &[u8] {
        &self.lines
    }

    /// Name and value of every line.
    pub fn headers(&self) -> Vec<(&str, &[u8])> {
        let mut headers = Vec::with_capacity(self.count);
        let lines = self.lines.split(|byte| *byte == b'\n').take(self.count);
        // No value holds a line end and no name a colon, so the lines come apart where they were put together.
        headers.extend(lines.map(|line| {
            let colon = line.iter().position(|byte| *byte == b':').unwrap_or_default();
            let value = line.get(colon + 2..line.len() - 1).unwrap_or_default();
            (std::str::from_utf8(&line[..colon]).unwrap_or_default(), value)
        }));
        headers
    }
}

struct Lines {
    bytes: Vec<u8>,
    count: usize,
}

impl Lines {
    fn with_capacity(fields: usize) -> Self {
        Self { bytes: Vec::with_capacity(64 + fields * 48), count: 0 }
    }

    /// Adds a line; where its value lies.
    fn push(&mut self, name: &str, value: &[u8]) -> Result<Range<usize>, Reason> {
        // HTTP/1.1 cuts such space off and HTTP/2 forbids it; whoever sends it means to be read in two ways.
        if [value.first(), value.last()].iter().any(|end| matches!(end, Some(b' ' | b'\t'))) {
            return Err(Reason::BadHeader);
        }
        self.count += 1;
        if self.count > HEADER_COUNT_MAX {
            return Err(Reason::TooManyHeaders);
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.extend_from_slice(b": ");
        let begin = self.bytes.len();
        self.bytes.extend_from_slice(value);
        let end = self.bytes.len();
        self.bytes.extend_from_slice(b"\r\n");
        Ok(begin..end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::HEAD_BYTES_MAX;

    fn head(uri: &str, headers: &[(&str, &str)]) -> Result<Head, Reason> {
        let mut request = http::Request::builder().method("POST").uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Head::read(request.body(()).unwrap().into_parts().0, HEAD_BYTES_MAX)
    }

    #[test]
    fn a_head_reads_as_it_would_have_in_http1() {
        let fields =
            [("cookie", "a=1"), ("x", ""), ("cookie", "b=2"), ("content-length", "7"), ("expect", "100-Continue")];
        let head = head("http://Name.example:80/a/b?c=d", &fields).unwrap();
        assert_eq!((head.method(), head.path(), head.query()), ("POST", "/a/b", Some("c=d")));
        assert_eq!((head.host(), head.length, head.expect_continue), ("Name.example:80", Some(7), true));
        let lines =
            "host: Name.example:80\r\ncookie: a=1; b=2\r\nx: \r\ncontent-length: 7\r\nexpect: 100-Continue\r\n\r\n";
        assert_eq!(String::from_utf8_lossy(head.lines()), lines);
        assert_eq!(head.head_bytes, "POST /a/b?c=d HTTP/1.1\r\n".len() + lines.len());
        let headers: Vec<(&str, &[u8])> = vec![
            ("host", b"Name.example:80"),
            ("cookie", b"a=1; b=2"),
            ("x", b""),
            ("content-length", b"7"),
            ("expect", b"100-Continue"),
        ];
        assert_eq!(head.headers(), headers);
    }

    #[test]
    fn what_http1_refuses_is_refused() {
        let long = format!("http://h/{}", "a".repeat(TARGET_BYTES_MAX));
        let large = "v".repeat(HEAD_BYTES_MAX);
        let many: Vec<(String, &str)> = (0..HEADER_COUNT_MAX).map(|number| (format!("x-{number}"), "v")).collect();
        let many: Vec<(&str, &str)> = many.iter().map(|(name, value)| (name.as_str(), *value)).collect();
        for (uri, headers, reason) in [
            ("/a", &[][..], Reason::MissingHost),
            ("/a", &[("host", "")], Reason::BadHost),
            ("/a", &[("host", "a"), ("host", "a")], Reason::BadHost),
            ("http://a/", &[("host", "b")], Reason::BadHost),
            ("http://user@a/", &[], Reason::BadHost),
            ("*", &[("host", "a")], Reason::BadTarget),
            (&long, &[], Reason::TargetTooLong),
            ("http://a/", &[("content-length", "1"), ("content-length", "1")], Reason::BadLength),
            ("http://a/", &[("content-length", "+1")], Reason::BadLength),
            ("http://a/", &[("expect", "200-ok")], Reason::UnknownExpectation),
            ("http://a/", &[("x", " a")], Reason::BadHeader),
            ("http://a/", &[("x", "a\t")], Reason::BadHeader),
            ("http://a/", &many, Reason::TooManyHeaders),
            ("http://a/", &[("x", &large)], Reason::HeadTooLarge),
        ] {
            assert_eq!(head(uri, headers).err(), Some(reason), "{uri:.40} {}", headers.len());
        }
        assert!(head("http://A/", &[("host", "a")]).is_ok(), "names compare without regard to case");
    }
}

//! A request as the journey sees it: parsed, whole, and borrowed from its connection's buffer.

use std::net::IpAddr;
use std::time::Instant;

use storage::model::CorrelationId;

use crate::node::Named;
use crate::webhook::Webhook;

/// Everything a client said.
#[derive(Debug)]
pub struct Request<'a> {
    /// As sent; methods are case-sensitive.
    pub method: &'a str,
    /// The path as sent, percent-encoded.
    pub path: &'a str,
    /// What stood behind `?`, as sent.
    pub query: Option<&'a str>,
    /// What the `Host` says about the app and the way it was asked for.
    pub named: Named<'a>,
    /// In the order sent. One small allocation per request; names and values are borrowed.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// Header lines as sent, for the log.
    pub header_lines: &'a [u8],
    /// Empty when there was none.
    pub body: &'a [u8],
    /// Who sent it, as far as that is known: behind a trusted proxy, whom the proxy names.
    pub peer: IpAddr,
    /// Whether it came over TLS: to us, or to a trusted proxy that says so.
    pub secure: bool,
    /// A peer sent it on; it is not sent on again.
    pub forwarded: bool,
    /// What was spoken, as in `HTTP/1.1`.
    pub protocol: &'static str,
    /// Whether one of the operator's proxies sent it, whose word on more than the sender's address may be taken.
    pub from_proxy: bool,
    pub correlation: CorrelationId,
    pub started: Instant,
    /// Epoch milliseconds.
    pub started_ms: i64,
}

impl<'a> Request<'a> {
    /// The first header of this name, whatever its case.
    pub fn header(&self, name: &str) -> Option<&'a [u8]> {
        self.headers.iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }

    /// Whether it came by the path that incoming webhooks had.
    pub fn is_webhook(&self) -> bool {
        Webhook::of(self.path).is_some()
    }

    /// The same request with the body its own stands for. `Content-Encoding` is left out, so that a function which undoes it
    /// itself does not do so twice.
    pub fn decoded<'b>(&self, body: &'b [u8]) -> Request<'b>
    where
        'a: 'b,
    {
        let coded = |name: &str| name.eq_ignore_ascii_case("content-encoding");
        let headers = self.headers.iter().copied().filter(|(name, _)| !coded(name)).collect();
        Request { headers, body, ..*self }
    }

    /// The items of a header that is a list. Sent several times, it is one list.
    pub fn header_items(&self, name: &str) -> impl Iterator<Item = &'a str> {
        let named = self.headers.iter().filter(move |(other, _)| other.eq_ignore_ascii_case(name));
        named.flat_map(|(_, value)| std::str::from_utf8(value).unwrap_or_default().split(',')).map(str::trim)
    }

    /// The first header of this name as text; bytes that are no UTF-8 make it unusable where text is meant.
    pub fn header_text(&self, name: &str) -> Option<&'a str> {
        self.header(name).and_then(|value| std::str::from_utf8(value).ok())
    }
}

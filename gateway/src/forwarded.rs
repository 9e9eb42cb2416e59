//! Who sent a request that came through a proxy, and whether over TLS.
//!
//! In: the peer's address, `X-Forwarded-For` and `X-Forwarded-Proto` or `Forwarded` (RFC 7239), the operator's
//! `trusted_proxies`. Out: the sender's address, and what was spoken with it. A header is believed only as far as the proxies
//! that wrote it are: read from its end, the first address that is not a trusted proxy's is the sender, and what stands
//! before it is the sender's own invention.
//!
//! One kind of header is read and the other is not looked at, as the operator says: a proxy that writes the one hands the
//! other on as its client sent it.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

/// The header that proxies write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedBy {
    XForwardedFor,
    Forwarded,
}

impl ForwardedBy {
    /// In lower case.
    pub fn header(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-for",
            Self::Forwarded => "forwarded",
        }
    }

    /// Where proxies say what was spoken with their client. In lower case.
    pub fn proto_header(self) -> &'static str {
        match self {
            Self::XForwardedFor => "x-forwarded-proto",
            Self::Forwarded => "forwarded",
        }
    }

    /// The address in one item of the header.
    fn address(self, item: &[u8]) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => address(item),
            Self::Forwarded => address(pair(item, b"for")?),
        }
    }

    /// Whether one item of the other header says that its writer's client spoke TLS.
    fn is_https(self, item: &[u8]) -> bool {
        let proto = match self {
            Self::XForwardedFor => Some(item.trim_ascii()),
            Self::Forwarded => pair(item, b"proto"),
        };
        proto.is_some_and(|proto| proto.eq_ignore_ascii_case(b"https"))
    }
}

/// Who sent a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sender {
    pub address: IpAddr,
    /// Trusted proxies between the sender and us; at least the peer, when it is one.
    pub proxies: usize,
}

/// `values`: of [`ForwardedBy::header`], in the order sent.
pub fn sender<'h>(
    peer: IpAddr,
    trusted: &[IpNet],
    by: ForwardedBy,
    values: impl DoubleEndedIterator<Item = &'h [u8]>,
) -> Sender {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address.to_canonical()));
    let mut sender = Sender { address: peer, proxies: 0 };
    if !is_trusted(peer) {
        return sender;
    }
    sender.proxies = 1;
    for (place, item) in items(values).enumerate() {
        // What cannot be read was not written by a proxy we know; the last one that was is who we know.
        let Some(address) = by.address(item) else { return sender };
        sender = Sender { address, proxies: place + 1 };
        if !is_trusted(address) {
            return sender;
        }
    }
    sender
}

/// Whether a request that passed `proxies` trusted proxies was sent over TLS. `values`: of [`ForwardedBy::proto_header`], in
/// the order sent. Each proxy adds to it or writes it anew, so where there are fewer items than proxies, the first is the
/// word of the outermost one that said something.
pub fn is_https<'h>(by: ForwardedBy, proxies: usize, values: impl DoubleEndedIterator<Item = &'h [u8]>) -> bool {
    items(values).take(proxies).last().is_some_and(|item| by.is_https(item))
}

/// The items of a list, the last one first.
fn items<'h>(values: impl DoubleEndedIterator<Item = &'h [u8]>) -> impl Iterator<Item = &'h [u8]> {
    values.rev().flat_map(|value| value.rsplit(|byte| *byte == b','))
}

/// The value of a name (in lower case) among the pairs of one element: `for=192.0.2.7`, `For="[2001:db8::7]:443";proto=https`.
/// Commas and semicolons inside quotes, which no address has, end the element early, and what is left of it is no address.
fn pair<'e>(element: &'e [u8], name: &[u8]) -> Option<&'e [u8]> {
    let mut values = element.split(|byte| *byte == b';').filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        pair[..equals].trim_ascii().eq_ignore_ascii_case(name).then(|| pair[equals + 1..].trim_ascii())
    });
    let value = values.next()?;
    if values.next().is_some() {
        return None;
    }
    match value {
        [b'"', inner @ .., b'"'] => Some(inner),
        token => Some(token),
    }
}

/// An address, which some proxies write with a port.
fn address(item: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(item).ok()?.trim();
    let bare = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    bare.parse().ok().or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_trusted_proxies_wrote_is_believed() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        for (peer, header, expected) in [
            ("203.0.113.9", &["198.51.100.1"][..], "203.0.113.9"),
            ("10.0.0.1", &[], "10.0.0.1"),
            ("10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("::ffff:10.0.0.1", &["198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["192.0.2.7, 198.51.100.1"], "198.51.100.1"),
            ("10.0.0.1", &["192.0.2.7, 198.51.100.1, 10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1", &["192.0.2.7", "198.51.100.1,10.2.3.4"], "198.51.100.1"),
            ("10.0.0.1", &["10.9.9.9"], "10.9.9.9"),
            ("10.0.0.1", &["198.51.100.1:4711"], "198.51.100.1"),
            ("fd00::1", &["[2001:db8::7]:443"], "2001:db8::7"),
            ("fd00::1", &["[2001:db8::7]"], "2001:db8::7"),
            ("10.0.0.1", &["198.51.100.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", &[""], "10.0.0.1"),
        ] {
            let values = header.iter().map(|value| value.as_bytes());
            assert_eq!(
                sender(peer.parse().unwrap(), &trusted, ForwardedBy::XForwardedFor, values).address,
                expected.parse::<IpAddr>().unwrap(),
                "{header:?}"
            );
        }
        let by = ForwardedBy::XForwardedFor;
        let untrusting = sender("10.0.0.1".parse().unwrap(), &[], by, [&b"198.51.100.1"[..]].into_iter());
        assert_eq!(untrusting.address, "10.0.0.1".parse::<IpAddr>().unwrap());
    }

    #[test]
    fn the_standard_header_is_read_as_the_standard_writes_it() {
        let trusted: Vec<IpNet> = ["10.0.0.0/8", "fd00::/8"].iter().map(|net| net.parse().unwrap()).collect();
        for (header, expected) in [
            (&["for=198.51.100.1"][..], "198.51.100.1"),
            (&["For=198.51.100.1;proto=https;by=10.0.0.1"], "198.51.100.1"),
            (&["proto=https; FOR = 198.51.100.1"], "198.51.100.1"),
            (&["for=\"198.51.100.1:4711\""], "198.51.100.1"),
            (&["for=\"[2001:db8::7]:443\""], "2001:db8::7"),
            (&["for=\"[2001:db8::7]\""], "2001:db8::7"),
            (&["for=192.0.2.7, for=198.51.100.1, for=10.2.3.4"], "198.51.100.1"),
            (&["for=192.0.2.7", "for=198.51.100.1;host=h,for=10.2.3.4"], "198.51.100.1"),
            // Hidden, unknown, or no such pair: the proxy is who is known.
            (&["for=_hidden"], "10.0.0.1"),
            (&["for=unknown"], "10.0.0.1"),
            (&["proto=https"], "10.0.0.1"),
            (&["for=198.51.100.1;for=192.0.2.7"], "10.0.0.1"),
            (&["for=\"198.51.100.1"], "10.0.0.1"),
            (&["198.51.100.1"], "10.0.0.1"),
            (&["for=192.0.2.7;host=\"a,for=203.0.113.5\""], "10.0.0.1"),
        ] {
            let values = header.iter().map(|value| value.as_bytes());
            let found = sender("10.0.0.1".parse().unwrap(), &trusted, ForwardedBy::Forwarded, values);
            assert_eq!(found.address, expected.parse::<IpAddr>().unwrap(), "{header:?}");
        }
    }

    #[test]
    fn what_was_spoken_is_what_the_outermost_trusted_proxy_says() {
        let https = |by, proxies, values: &[&str]| is_https(by, proxies, values.iter().map(|value| value.as_bytes()));
        for (proxies, values, secure) in [
            (1, &["https"][..], true),
            (1, &["HTTPS "], true),
            (1, &["http"], false),
            (1, &[], false),
            (1, &["on"], false),
            // The client's own words stand before the proxy's.
            (1, &["https, http"], false),
            (1, &["https", "http"], false),
            (2, &["https, http"], true),
            (2, &["https", "http"], true),
            (2, &["https, http, http"], false),
            (2, &["https"], true),
            (0, &["https"], false),
        ] {
            assert_eq!(https(ForwardedBy::XForwardedFor, proxies, values), secure, "{proxies} {values:?}");
        }
        for (proxies, values, secure) in [
            (1, &["for=198.51.100.1;proto=https"][..], true),
            (1, &["Proto=\"HTTPS\""], true),
            (1, &["for=198.51.100.1"], false),
            (1, &["proto=https;proto=http"], false),
            (1, &["proto=https, for=198.51.100.1"], false),
            (2, &["for=198.51.100.1;proto=https, for=10.0.0.2;proto=http"], true),
        ] {
            assert_eq!(https(ForwardedBy::Forwarded, proxies, values), secure, "{proxies} {values:?}");
        }
        let (trusted, by) = (["10.0.0.0/8".parse().unwrap()], ForwardedBy::XForwardedFor);
        for (peer, header, proxies) in [
            ("203.0.113.9", "10.0.0.1", 0),
            ("10.0.0.1", "198.51.100.1", 1),
            ("10.0.0.1", "192.0.2.7, 198.51.100.1, 10.2.3.4", 2),
            ("10.0.0.1", "unknown", 1),
        ] {
            let found = sender(peer.parse().unwrap(), &trusted, by, [header.as_bytes()].into_iter());
            assert_eq!(found.proxies, proxies, "{peer} {header}");
        }
    }
}

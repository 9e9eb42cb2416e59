//! Who sent a request that came through a proxy.
//!
//! In: the peer's address, `X-Forwarded-For` or `Forwarded` (RFC 7239), the operator's `trusted_proxies`. Out: the sender's
//! address. The header is believed only as far as the proxies that wrote it are: read from its end, the first address that
//! is not a trusted proxy's is the sender, and what stands before it is the sender's own invention.
//!
//! One of the two headers is read and the other is not looked at, as the operator says: a proxy that writes the one hands the
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

    /// The address in one item of the header.
    fn address(self, item: &[u8]) -> Option<IpAddr> {
        match self {
            Self::XForwardedFor => address(item),
            Self::Forwarded => address(forwarded_for(item)?),
        }
    }
}

/// `values`: of [`ForwardedBy::header`], in the order sent.
pub fn sender<'h>(
    peer: IpAddr,
    trusted: &[IpNet],
    by: ForwardedBy,
    values: impl DoubleEndedIterator<Item = &'h [u8]>,
) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address.to_canonical()));
    if trusted.is_empty() || !is_trusted(peer) {
        return peer;
    }
    let mut sender = peer;
    for value in values.rev() {
        for item in value.rsplit(|byte| *byte == b',') {
            // What cannot be read was not written by a proxy we know; the last one that was is who we know.
            let Some(address) = by.address(item) else { return sender };
            sender = address;
            if !is_trusted(address) {
                return sender;
            }
        }
    }
    sender
}

/// The value of `for` among the pairs of one element: `for=192.0.2.7`, `For="[2001:db8::7]:443";proto=https`. Commas and
/// semicolons inside quotes, which no address has, end the element early, and what is left of it is no address.
fn forwarded_for(element: &[u8]) -> Option<&[u8]> {
    let mut values = element.split(|byte| *byte == b';').filter_map(|pair| {
        let equals = pair.iter().position(|byte| *byte == b'=')?;
        pair[..equals].trim_ascii().eq_ignore_ascii_case(b"for").then(|| pair[equals + 1..].trim_ascii())
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
                sender(peer.parse().unwrap(), &trusted, ForwardedBy::XForwardedFor, values),
                expected.parse::<IpAddr>().unwrap(),
                "{header:?}"
            );
        }
        let by = ForwardedBy::XForwardedFor;
        let untrusting = sender("10.0.0.1".parse().unwrap(), &[], by, [&b"198.51.100.1"[..]].into_iter());
        assert_eq!(untrusting, "10.0.0.1".parse::<IpAddr>().unwrap());
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
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{header:?}");
        }
    }
}

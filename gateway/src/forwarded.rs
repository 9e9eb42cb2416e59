//! Who sent a request that came through a proxy.
//!
//! In: the peer's address, `X-Forwarded-For`, the operator's `trusted_proxies`. Out: the sender's address. The header is
//! believed only as far as the proxies that wrote it are: read from its end, the first address that is not a trusted
//! proxy's is the sender, and what stands before it is the sender's own invention.

use std::net::{IpAddr, SocketAddr};

use ipnet::IpNet;

pub fn sender<'h>(peer: IpAddr, trusted: &[IpNet], values: impl DoubleEndedIterator<Item = &'h [u8]>) -> IpAddr {
    let is_trusted = |address: IpAddr| trusted.iter().any(|net| net.contains(&address.to_canonical()));
    if trusted.is_empty() || !is_trusted(peer) {
        return peer;
    }
    let mut sender = peer;
    for value in values.rev() {
        for item in value.rsplit(|byte| *byte == b',') {
            // What cannot be read was not written by a proxy we know; the last one that was is who we know.
            let Some(address) = address(item) else { return sender };
            sender = address;
            if !is_trusted(address) {
                return sender;
            }
        }
    }
    sender
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
                sender(peer.parse().unwrap(), &trusted, values),
                expected.parse::<IpAddr>().unwrap(),
                "{header:?}"
            );
        }
        let untrusting = sender("10.0.0.1".parse().unwrap(), &[], [&b"198.51.100.1"[..]].into_iter());
        assert_eq!(untrusting, "10.0.0.1".parse::<IpAddr>().unwrap());
    }
}

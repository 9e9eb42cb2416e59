//! Headers of the PROXY protocol, versions 1 and 2.
//!
//! Promises: a header is read when it is whole and not before, whatever follows it, and is not longer than the limit; what
//! is refused stays refused; nothing is waited behind for ever. A client that was named, named again in either version, is
//! the same client.

use std::net::SocketAddr;

use gateway::limits::PROXY_HEADER_BYTES_MAX;
use gateway::proxy_protocol::{Header, parse};

pub fn run(data: &[u8]) {
    let whole = parse(data);
    let more = [data, b"GET / HTTP/1.1\r\n\r\n"].concat();
    match whole {
        Ok(None) => assert!(data.len() < PROXY_HEADER_BYTES_MAX, "the longest header is not waited behind"),
        Ok(Some(Header { client, bytes })) => {
            assert!(bytes <= data.len() && bytes <= PROXY_HEADER_BYTES_MAX, "a header lies within its bytes");
            assert_eq!(parse(&more), whole, "what follows a header means nothing");
            for cut in 0..bytes {
                assert_eq!(parse(&data[..cut]), Ok(None), "a header is read when it is whole, not at {cut}");
            }
            if let Some(client) = client {
                for again in [version_1(client), version_2(client)] {
                    assert_eq!(parse(&again), Ok(Some(Header { client: Some(client), bytes: again.len() })));
                }
            }
        }
        Err(fault) => {
            assert_eq!(parse(&more), Err(fault), "what follows does not make a refused header good");
            for cut in 0..data.len() {
                let early = parse(&data[..cut]);
                assert!(early == Ok(None) || early == Err(fault), "the first wrong byte decides: {early:?} at {cut}");
            }
        }
    }
}

fn version_1(client: SocketAddr) -> Vec<u8> {
    let family = if client.is_ipv4() { "TCP4" } else { "TCP6" };
    let (address, port) = (client.ip(), client.port());
    format!("PROXY {family} {address} {address} {port} {port}\r\n").into_bytes()
}

fn version_2(client: SocketAddr) -> Vec<u8> {
    let (family, address) = match client {
        SocketAddr::V4(client) => (0x11, client.ip().octets().to_vec()),
        SocketAddr::V6(client) => (0x21, client.ip().octets().to_vec()),
    };
    let port = client.port().to_be_bytes();
    let rest = [address.as_slice(), &address, &port, &port].concat();
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, family, 0, rest.len() as u8], &rest].concat()
}

pub fn seeds() -> Vec<Vec<u8>> {
    let six: SocketAddr = "[2001:db8::7]:9".parse().expect("an address");
    let four: SocketAddr = "203.0.113.9:4660".parse().expect("an address");
    let unspecified = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x20, 0, 0, 3, 4, 0, 0]].concat();
    let unix = [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[0x21, 0x31, 0, 216], &[b'/'; 216]].concat();
    let mut seeds = vec![version_1(four), version_2(four), version_1(six), version_2(six), unspecified, unix];
    seeds.push(b"PROXY UNKNOWN ffff:f...f:ffff 1 2\r\nGET / HTTP/1.1\r\n".to_vec());
    seeds
}

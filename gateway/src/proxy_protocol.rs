//! The PROXY protocol, versions 1 and 2: a load balancer says in a connection's first bytes whom it carries.
//!
//! In: the bytes a connection began with, so far. Out: who the client is and where the header ends; or "more bytes"; or why
//! this is no such header. Every byte of it is bounded, and what cannot be understood is refused, since what follows would
//! otherwise be taken for a request of the wrong sender.
//!
//! Not here: who may say so, and how long they may take (arrive). Extensions (TLVs) of version 2 are passed over.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use crate::limits::PROXY_HEADER_BYTES_MAX;

/// What a header said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// The client. `None` when the balancer speaks for itself (a health check) or does not know.
    pub client: Option<SocketAddr>,
    /// Length of the header; what the client sent begins here.
    pub bytes: usize,
}

/// Why a connection does not begin with a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The first bytes are neither version's signature.
    NoHeader,
    /// Longer than the limit.
    TooLong,
    /// A version, a command or a kind of address that does not exist, or that no stream has.
    Unknown,
    /// Addresses that are none, or do not fit into the header's length.
    BadAddress,
}

impl Fault {
    /// Short and stable, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::NoHeader => "no_header",
            Self::TooLong => "too_long",
            Self::Unknown => "unknown",
            Self::BadAddress => "bad_address",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::NoHeader => "the connection does not begin with a PROXY protocol header",
            Self::TooLong => "the PROXY protocol header is too long",
            Self::Unknown => "the PROXY protocol header has an unknown version, command or address family",
            Self::BadAddress => "the PROXY protocol header has a malformed address",
        })
    }
}

const SIGNATURE_V2: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
const SIGNATURE_V1: &[u8; 6] = b"PROXY ";

/// Signature, version and command, family and transport, length of the rest.
const FIXED_V2: usize = 16;

/// The longest line of version 1, its CR LF included.
const LINE_V1_MAX: usize = 107;

/// Reads the header that `bytes` begin with; `None` when it has not ended. Call it again with the same bytes and more.
pub fn parse(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    if begins(bytes, SIGNATURE_V2) {
        version_2(bytes)
    } else if begins(bytes, SIGNATURE_V1) {
        version_1(bytes)
    } else {
        Err(Fault::NoHeader)
    }
}

/// Whether nothing speaks against `bytes` beginning with `signature`.
fn begins(bytes: &[u8], signature: &[u8]) -> bool {
    bytes.iter().zip(signature).all(|(byte, wanted)| byte == wanted)
}

fn version_2(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    // Judged as soon as it is there: a bad byte is not waited behind.
    if bytes.get(12).is_some_and(|byte| !matches!(byte, 0x20 | 0x21)) {
        return Err(Fault::Unknown);
    }
    let Some(fixed) = bytes.get(..FIXED_V2) else { return Ok(None) };
    let length = FIXED_V2 + usize::from(u16::from_be_bytes([fixed[14], fixed[15]]));
    if length > PROXY_HEADER_BYTES_MAX {
        return Err(Fault::TooLong);
    }
    let Some(header) = bytes.get(..length) else { return Ok(None) };
    let rest = &header[FIXED_V2..];
    let (local, family) = (header[12] == 0x20, header[13]);
    let client = match family {
        // The balancer's own connection. What it says of addresses means nothing.
        _ if local => None,
        // Unspecified, and Unix sockets: there is a client, and it has no address of ours.
        0x00 => None,
        0x31 if rest.len() >= 216 => None,
        0x11 => Some(address_v2::<4>(rest)?),
        0x21 => Some(address_v2::<16>(rest)?),
        0x31 => return Err(Fault::BadAddress),
        // Datagrams do not come over a stream; the others do not exist.
        _ => return Err(Fault::Unknown),
    };
    Ok(Some(Header { client, bytes: length }))
}

/// Source address, destination address, source port, destination port.
fn address_v2<const BYTES: usize>(rest: &[u8]) -> Result<SocketAddr, Fault>
where
    IpAddr: From<[u8; BYTES]>,
{
    let address: [u8; BYTES] = rest.get(..BYTES).and_then(|part| part.try_into().ok()).ok_or(Fault::BadAddress)?;
    let ports = rest.get(2 * BYTES..2 * BYTES + 4).ok_or(Fault::BadAddress)?;
    Ok(SocketAddr::new(IpAddr::from(address), u16::from_be_bytes([ports[0], ports[1]])))
}

/// `PROXY TCP4 <source> <destination> <source port> <destination port>` CR LF.
fn version_1(bytes: &[u8]) -> Result<Option<Header>, Fault> {
    let window = &bytes[..bytes.len().min(LINE_V1_MAX)];
    let Some(end) = window.iter().position(|byte| *byte == b'\n') else {
        return if window.len() == LINE_V1_MAX { Err(Fault::TooLong) } else { Ok(None) };
    };
    let line = window[..end].strip_suffix(b"\r").ok_or(Fault::BadAddress)?;
    let line = std::str::from_utf8(line).map_err(|_| Fault::BadAddress)?;
    let mut words = line.split(' ').skip(1);
    let client = match words.next() {
        // Whatever follows is to be passed over.
        Some("UNKNOWN") => None,
        Some("TCP4") => Some(address_v1::<Ipv4Addr>(words)?),
        Some("TCP6") => Some(address_v1::<Ipv6Addr>(words)?),
        _ => return Err(Fault::Unknown),
    };
    Ok(Some(Header { client, bytes: end + 1 }))
}

fn address_v1<'l, A: FromStr + Into<IpAddr>>(words: impl Iterator<Item = &'l str>) -> Result<SocketAddr, Fault> {
    let words: Vec<&str> = words.take(5).collect();
    let [source, destination, source_port, destination_port] = words[..] else { return Err(Fault::BadAddress) };
    let address = |text: &str| text.parse::<A>().map_err(|_| Fault::BadAddress);
    // Digits alone: the standard library's numbers may have a sign, the protocol's may not, nor zeros in front.
    let port = |text: &str| {
        let plain = text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
        text.parse::<u16>().ok().filter(|_| plain).ok_or(Fault::BadAddress)
    };
    address(destination)?;
    port(destination_port)?;
    Ok(SocketAddr::new(address(source)?.into(), port(source_port)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = u16::try_from(rest.len()).unwrap().to_be_bytes();
        [&SIGNATURE_V2[..], &[command, family], &length, rest].concat()
    }

    const FOUR: &[u8] = &[203, 0, 113, 9, 10, 0, 0, 1, 0x12, 0x34, 0, 80];

    fn six() -> Vec<u8> {
        let (client, us): (Ipv6Addr, Ipv6Addr) = ("2001:db8::7".parse().unwrap(), "::1".parse().unwrap());
        [&client.octets()[..], &us.octets(), &[0, 9, 1, 187]].concat()
    }

    fn check(bytes: &[u8], wanted: Result<Option<&str>, Fault>) {
        let said = || bytes.escape_ascii().to_string();
        let whole = parse(bytes);
        match (whole, wanted) {
            (Ok(Some(header)), Ok(client)) => {
                assert_eq!(header.client, client.map(|text| text.parse().unwrap()), "{}", said());
                assert_eq!(header.bytes, bytes.len(), "{}", said());
                for cut in 0..bytes.len() {
                    assert_eq!(parse(&bytes[..cut]), Ok(None), "cut at {cut}: {}", said());
                }
                let more = [bytes, b"GET / HTTP/1.1\r\n\r\n"].concat();
                assert_eq!(parse(&more), whole, "what follows means nothing: {}", said());
            }
            (Err(fault), Err(wanted)) => {
                assert_eq!(fault, wanted, "{}", said());
                // A beginning of it is refused for the same reason, or waited behind.
                let early = (0..bytes.len()).map(|cut| parse(&bytes[..cut]));
                assert!(early.into_iter().all(|part| matches!(part, Ok(None)) || part == Err(wanted)), "{}", said());
            }
            (found, wanted) => panic!("{}: {found:?}, wanted {wanted:?}", said()),
        }
    }

    #[test]
    fn version_2_says_who_the_client_is() {
        check(&v2(0x21, 0x11, FOUR), Ok(Some("203.0.113.9:4660")));
        check(&v2(0x21, 0x21, &six()), Ok(Some("[2001:db8::7]:9")));
        check(
            &v2(0x21, 0x11, &[FOUR, &[0x03, 0, 4, 1, 2, 3, 4], &[0xea, 0, 1, 9]].concat()),
            Ok(Some("203.0.113.9:4660")),
        );
        check(&v2(0x21, 0x11, &[FOUR, &[0xff; 3000]].concat()), Ok(Some("203.0.113.9:4660")));
        check(&v2(0x20, 0x00, &[]), Ok(None));
        check(&v2(0x20, 0x11, FOUR), Ok(None));
        check(&v2(0x20, 0xff, &[1, 2, 3]), Ok(None));
        check(&v2(0x21, 0x00, &[]), Ok(None));
        check(&v2(0x21, 0x31, &[0; 216]), Ok(None));
    }

    #[test]
    fn version_1_says_who_the_client_is() {
        check(b"PROXY TCP4 203.0.113.9 10.0.0.1 4660 80\r\n", Ok(Some("203.0.113.9:4660")));
        check(b"PROXY TCP6 2001:db8::7 ::1 9 443\r\n", Ok(Some("[2001:db8::7]:9")));
        check(b"PROXY UNKNOWN\r\n", Ok(None));
        check(b"PROXY UNKNOWN ffff:f...f:ffff 1 2 3 anything\r\n", Ok(None));
        check(b"PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n", Ok(Some("255.255.255.255:65535")));
    }

    #[test]
    fn what_is_no_header_is_refused() {
        use Fault::{BadAddress, NoHeader, TooLong, Unknown};
        for (bytes, fault) in [
            (b"GET / HTTP/1.1\r\n".to_vec(), NoHeader),
            (b"\x16\x03\x01".to_vec(), NoHeader),
            (b"PRI * HTTP/2.0\r\n".to_vec(), NoHeader),
            (b"\r\n\r\n\0\r\nQUIX\n!".to_vec(), NoHeader),
            (b"proxy TCP4".to_vec(), NoHeader),
            (v2(0x11, 0x11, FOUR), Unknown),
            (v2(0x22, 0x11, FOUR), Unknown),
            (v2(0x2f, 0x11, FOUR), Unknown),
            (v2(0x21, 0x12, FOUR), Unknown),
            (v2(0x21, 0x10, FOUR), Unknown),
            (v2(0x21, 0x41, FOUR), Unknown),
            (v2(0x21, 0x11, &FOUR[..11]), BadAddress),
            (v2(0x21, 0x11, &[]), BadAddress),
            (v2(0x21, 0x21, FOUR), BadAddress),
            (v2(0x21, 0x31, &[0; 215]), BadAddress),
            (v2(0x21, 0x11, &[0; PROXY_HEADER_BYTES_MAX]), TooLong),
            (v2(0x20, 0x00, &[0; 65_535]), TooLong),
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 4660 80\n".to_vec(), BadAddress),
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 4660\r\n".to_vec(), BadAddress),
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 4660 80 1\r\n".to_vec(), BadAddress),
            (b"PROXY TCP4  203.0.113.9 10.0.0.1 4660 80\r\n".to_vec(), BadAddress),
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 +4660 80\r\n".to_vec(), BadAddress),
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 04660 80\r\n".to_vec(), BadAddress),
            (b"PROXY TCP4 203.0.113.9 10.0.0.1 65536 80\r\n".to_vec(), BadAddress),
            (b"PROXY TCP4 2001:db8::7 ::1 1 2\r\n".to_vec(), BadAddress),
            (b"PROXY TCP6 203.0.113.9 10.0.0.1 1 2\r\n".to_vec(), BadAddress),
            (b"PROXY TCP4 203.0.113.009 10.0.0.1 1 2\r\n".to_vec(), BadAddress),
            (b"PROXY TCP4 \xff 10.0.0.1 1 2\r\n".to_vec(), BadAddress),
            (b"PROXY UDP4 203.0.113.9 10.0.0.1 1 2\r\n".to_vec(), Unknown),
            (b"PROXY \r\n".to_vec(), Unknown),
            ([&b"PROXY UNKNOWN "[..], &[b'x'; 93]].concat(), TooLong),
        ] {
            check(&bytes, Err(fault));
        }
    }
}

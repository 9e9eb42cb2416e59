//! Which addresses functions may reach.
//!
//! In: an address that is about to be connected to. Out: yes, or the reason why not. It is always the address itself that
//! is judged, after every name was resolved, since a name says nothing about where it leads.
//!
//! An IPv6 address that carries an IPv4 address is judged by what it carries, where the system or a translator would
//! connect to that; the forms nobody has needed for years (6to4, Teredo, IPv4-compatible) are refused altogether.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// What an operator lets functions reach.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Guard {
    /// Loopback, private, unique-local and carrier networks are open. Link-local addresses, and with them the metadata
    /// services of clouds, stay closed.
    pub allow_private: bool,
    /// Networks that are open whatever they are.
    pub allow: Vec<IpNet>,
    /// Networks that are closed; stronger than `allow`.
    pub deny: Vec<IpNet>,
}

/// An address that is not to be connected to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Restricted {
    pub address: IpAddr,
    pub why: &'static str,
}

impl fmt::Display for Restricted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is {}", self.address, self.why)
    }
}

/// A network functions do not reach, unless it is `private` and the operator opened those.
struct Closed<N> {
    net: N,
    why: &'static str,
    private: bool,
}

const fn v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, why: &'static str) -> Closed<Ipv4Net> {
    Closed { net: Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix), why, private: false }
}

const fn private_v4(a: u8, b: u8, c: u8, d: u8, prefix: u8, why: &'static str) -> Closed<Ipv4Net> {
    Closed { net: Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), prefix), why, private: true }
}

const fn v6(head: [u16; 4], last: u16, prefix: u8, why: &'static str) -> Closed<Ipv6Net> {
    let [a, b, c, d] = head;
    Closed { net: Ipv6Net::new_assert(Ipv6Addr::new(a, b, c, d, 0, 0, 0, last), prefix), why, private: false }
}

const METADATA: &str = "a metadata service of a cloud";

/// The first that holds an address decides: single addresses stand before the networks around them.
/// Sources: the IANA special-purpose registries, and what clouds say of their metadata services.
const CLOSED_V4: &[Closed<Ipv4Net>] = &[
    v4(169, 254, 169, 254, 32, METADATA),
    v4(169, 254, 170, 2, 32, METADATA),
    v4(100, 100, 100, 200, 32, METADATA),
    v4(168, 63, 129, 16, 32, METADATA),
    v4(0, 0, 0, 0, 8, "an unspecified address"),
    private_v4(10, 0, 0, 0, 8, "a private address"),
    private_v4(100, 64, 0, 0, 10, "an address of a carrier's own network"),
    private_v4(127, 0, 0, 0, 8, "a loopback address"),
    v4(169, 254, 0, 0, 16, "a link-local address"),
    private_v4(172, 16, 0, 0, 12, "a private address"),
    v4(192, 0, 0, 0, 24, "an address kept for protocols"),
    v4(192, 0, 2, 0, 24, "an address kept for documentation"),
    v4(192, 88, 99, 0, 24, "a 6to4 relay"),
    private_v4(192, 168, 0, 0, 16, "a private address"),
    v4(198, 18, 0, 0, 15, "an address kept for benchmarks"),
    v4(198, 51, 100, 0, 24, "an address kept for documentation"),
    v4(203, 0, 113, 0, 24, "an address kept for documentation"),
    v4(224, 0, 0, 0, 4, "a multicast address"),
    v4(255, 255, 255, 255, 32, "the broadcast address"),
    v4(240, 0, 0, 0, 4, "a reserved address"),
];

const CLOSED_V6: &[Closed<Ipv6Net>] = &[
    v6([0xfd00, 0x0ec2, 0, 0], 0x0254, 128, METADATA),
    v6([0xfd20, 0x00ce, 0, 0], 0x0254, 128, METADATA),
    v6([0, 0, 0, 0], 0, 128, "an unspecified address"),
    Closed { net: Ipv6Net::new_assert(Ipv6Addr::LOCALHOST, 128), why: "a loopback address", private: true },
    v6([0, 0, 0, 0], 0, 96, "an IPv4-compatible address"),
    v6([0x64, 0xff9b, 1, 0], 0, 48, "a translator's local address"),
    v6([0x100, 0, 0, 0], 0, 64, "an address whose traffic is discarded"),
    v6([0x2001, 0, 0, 0], 0, 32, "a Teredo address"),
    v6([0x2001, 0, 0, 0], 0, 23, "an address kept for protocols"),
    v6([0x2001, 0xdb8, 0, 0], 0, 32, "an address kept for documentation"),
    v6([0x2002, 0, 0, 0], 0, 16, "a 6to4 address"),
    v6([0x3fff, 0, 0, 0], 0, 20, "an address kept for documentation"),
    v6([0x5f00, 0, 0, 0], 0, 16, "an address of a routing segment"),
    Closed {
        net: Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7),
        why: "a unique-local address",
        private: true,
    },
    v6([0xfe80, 0, 0, 0], 0, 10, "a link-local address"),
    v6([0xfec0, 0, 0, 0], 0, 10, "a site-local address"),
    v6([0xff00, 0, 0, 0], 0, 8, "a multicast address"),
];

/// All of IPv6 that is handed out to somebody.
const GLOBAL_V6: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0), 3);

/// What translators (NAT64) put before an IPv4 address.
const NAT64: Ipv6Net = Ipv6Net::new_assert(Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0), 96);

impl Guard {
    /// Whether `address` may be connected to.
    pub fn check(&self, address: IpAddr) -> Result<(), Restricted> {
        let meant = meant(address);
        let within = |nets: &[IpNet]| nets.iter().any(|net| net.contains(&address) || net.contains(&meant));
        let restricted = |why| Err(Restricted { address, why });
        if within(&self.deny) {
            return restricted("in a network this server's operator denies");
        }
        if within(&self.allow) {
            return Ok(());
        }
        let closed = match meant {
            IpAddr::V4(meant) => {
                CLOSED_V4.iter().find(|closed| closed.net.contains(&meant)).map(|closed| (closed.why, closed.private))
            }
            IpAddr::V6(meant) => CLOSED_V6
                .iter()
                .find(|closed| closed.net.contains(&meant))
                .map(|closed| (closed.why, closed.private))
                .or_else(|| (!GLOBAL_V6.contains(&meant)).then_some(("not a global address", false))),
        };
        match closed {
            Some((_, true)) if self.allow_private => Ok(()),
            Some((why, _)) => restricted(why),
            None => Ok(()),
        }
    }
}

/// The address that is connected to in the end.
fn meant(address: IpAddr) -> IpAddr {
    let IpAddr::V6(long) = address else { return address };
    if let Some(short) = long.to_ipv4_mapped() {
        return IpAddr::V4(short);
    }
    if NAT64.contains(&long) {
        let [.., a, b, c, d] = long.octets();
        return IpAddr::V4(Ipv4Addr::new(a, b, c, d));
    }
    address
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(guard: &Guard, address: &str) -> Result<(), &'static str> {
        guard.check(address.parse().unwrap()).map_err(|restricted| restricted.why)
    }

    #[test]
    fn what_is_not_the_internet_is_closed() {
        let guard = Guard::default();
        for (address, why) in [
            ("0.0.0.0", "unspecified"),
            ("0.1.2.3", "unspecified"),
            ("10.0.0.1", "private"),
            ("10.255.255.255", "private"),
            ("100.64.0.1", "carrier"),
            ("100.127.255.255", "carrier"),
            ("100.100.100.200", "metadata"),
            ("127.0.0.1", "loopback"),
            ("127.255.255.254", "loopback"),
            ("168.63.129.16", "metadata"),
            ("169.254.169.254", "metadata"),
            ("169.254.170.2", "metadata"),
            ("169.254.0.1", "link-local"),
            ("172.16.0.1", "private"),
            ("172.31.255.255", "private"),
            ("192.0.0.192", "protocols"),
            ("192.0.2.1", "documentation"),
            ("192.88.99.1", "6to4 relay"),
            ("192.168.0.1", "private"),
            ("198.18.0.1", "benchmarks"),
            ("198.19.255.255", "benchmarks"),
            ("198.51.100.7", "documentation"),
            ("203.0.113.9", "documentation"),
            ("224.0.0.1", "multicast"),
            ("239.255.255.250", "multicast"),
            ("240.0.0.1", "reserved"),
            ("255.255.255.255", "broadcast"),
            ("::", "unspecified"),
            ("::1", "loopback"),
            ("::127.0.0.1", "IPv4-compatible"),
            ("::8.8.8.8", "IPv4-compatible"),
            ("::ffff:127.0.0.1", "loopback"),
            ("::ffff:10.0.0.1", "private"),
            ("::ffff:169.254.169.254", "metadata"),
            ("::ffff:0:127.0.0.1", "not a global"),
            ("64:ff9b::127.0.0.1", "loopback"),
            ("64:ff9b::169.254.169.254", "metadata"),
            ("64:ff9b::10.1.2.3", "private"),
            ("64:ff9b:1::8.8.8.8", "translator"),
            ("100::1", "discarded"),
            ("2001::1", "Teredo"),
            ("2001:0:4136:e378:8000:63bf:3fff:fdd2", "Teredo"),
            ("2001:2::1", "protocols"),
            ("2001:10::1", "protocols"),
            ("2001:db8::1", "documentation"),
            ("2002:7f00:1::", "6to4"),
            ("2002:a00:1::1", "6to4"),
            ("2002:808:808::1", "6to4"),
            ("3fff::1", "documentation"),
            ("5f00::1", "routing"),
            ("fc00::1", "unique-local"),
            ("fd12:3456:789a::1", "unique-local"),
            ("fd00:ec2::254", "metadata"),
            ("fd20:ce::254", "metadata"),
            ("fe80::1", "link-local"),
            ("febf::1", "link-local"),
            ("fec0::1", "site-local"),
            ("ff02::1", "multicast"),
            ("ff0e::1", "multicast"),
            ("4000::1", "not a global"),
            ("8000::1", "not a global"),
        ] {
            let said = check(&guard, address).expect_err(address);
            assert!(said.contains(why), "{address}: {said}");
        }
    }

    #[test]
    fn the_internet_is_open() {
        let guard = Guard::default();
        for address in [
            "1.1.1.1",
            "8.8.8.8",
            "9.255.255.255",
            "11.0.0.1",
            "100.63.255.255",
            "100.128.0.1",
            "128.0.0.1",
            "169.253.255.255",
            "172.15.0.1",
            "172.32.0.1",
            "192.0.1.1",
            "198.17.0.1",
            "198.20.0.1",
            "223.255.255.255",
            "2606:4700:4700::1111",
            "2001:4860:4860::8888",
            "2a00:1450:4001::1",
            "::ffff:8.8.8.8",
            "64:ff9b::8.8.8.8",
        ] {
            assert_eq!(check(&guard, address), Ok(()), "{address}");
        }
    }

    #[test]
    fn the_operator_opens_and_closes_networks() {
        let open = Guard {
            allow: vec!["127.0.0.0/8".parse().unwrap(), "169.254.1.0/24".parse().unwrap()],
            deny: vec!["127.0.0.2/32".parse().unwrap(), "8.8.8.0/24".parse().unwrap()],
            ..Guard::default()
        };
        for address in ["127.0.0.1", "::ffff:127.0.0.1", "169.254.1.9", "1.1.1.1"] {
            assert_eq!(check(&open, address), Ok(()), "{address}");
        }
        for address in ["127.0.0.2", "::ffff:127.0.0.2", "8.8.8.8", "64:ff9b::8.8.8.8", "10.0.0.1", "169.254.169.254"] {
            assert!(check(&open, address).is_err(), "{address}");
        }
        let private = Guard { allow_private: true, ..Guard::default() };
        for address in ["127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "100.64.0.1", "fd12::1", "::ffff:10.0.0.1"] {
            assert_eq!(check(&private, address), Ok(()), "{address}");
        }
        for address in
            ["169.254.169.254", "100.100.100.200", "fd00:ec2::254", "fe80::1", "224.0.0.1", "0.0.0.0", "2002:7f00:1::"]
        {
            assert!(check(&private, address).is_err(), "{address}");
        }
    }
}

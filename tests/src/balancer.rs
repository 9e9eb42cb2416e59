//! A load balancer as far as the PROXY protocol goes: it says in a connection's first bytes whom it carries, and hands the
//! rest on untouched, whatever is spoken on it.

use std::io::{self, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};

/// Which version of the protocol it speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// A line of text.
    One,
    /// Bytes, with an extension such as balancers add.
    Two,
}

/// A running balancer in front of one address. Its thread ends with the test's process.
#[derive(Debug)]
pub struct Balancer {
    pub address: SocketAddr,
    header: Arc<Mutex<Vec<u8>>>,
}

impl Balancer {
    /// In front of `server`; until told otherwise it says nothing of whom it carries, as it must not.
    pub fn start(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let header = Arc::<Mutex<Vec<u8>>>::default();
        let said = header.clone();
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let header = said.lock().unwrap_or_else(PoisonError::into_inner).clone();
                std::thread::spawn(move || carry(client, server, &header));
            }
        });
        Self { address, header }
    }

    /// From now on its connections carry this client.
    pub fn carries(&self, version: Version, client: &str) {
        let client: IpAddr = client.parse().expect("an address");
        *self.header.lock().unwrap_or_else(PoisonError::into_inner) = header(version, client);
    }
}

/// What the protocol has a balancer say of a client's port 4711, which came to port 443 of an address of the same kind.
fn header(version: Version, client: IpAddr) -> Vec<u8> {
    if version == Version::One {
        let (family, to) = if client.is_ipv4() { ("TCP4", "192.0.2.1") } else { ("TCP6", "2001:db8::1") };
        return format!("PROXY {family} {client} {to} 4711 443\r\n").into_bytes();
    }
    let (family, mut addresses) = match client {
        IpAddr::V4(client) => (0x11, [client.octets(), [192, 0, 2, 1]].concat()),
        IpAddr::V6(client) => (0x21, [client.octets(), [0; 16]].concat()),
    };
    addresses.extend([4711_u16.to_be_bytes(), 443_u16.to_be_bytes()].concat());
    // A unique id: type 5, two bytes of length, the id.
    addresses.extend(b"\x05\x00\x04abcd");
    let length = (addresses.len() as u16).to_be_bytes();
    [b"\r\n\r\n\0\r\nQUIT\n".as_slice(), &[0x21, family], &length, &addresses].concat()
}

fn carry(client: TcpStream, server: SocketAddr, header: &[u8]) -> Option<()> {
    let mut server = TcpStream::connect(server).ok()?;
    server.set_nodelay(true).ok()?;
    client.set_nodelay(true).ok()?;
    server.write_all(header).ok()?;
    let (from_server, to_client) = (server.try_clone().ok()?, client.try_clone().ok()?);
    std::thread::spawn(move || copy(from_server, to_client));
    copy(client, server);
    Some(())
}

/// Until the one side says no more, which the other is then told.
fn copy(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

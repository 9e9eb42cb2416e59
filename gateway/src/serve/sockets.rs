//! Listening sockets: bound here, or handed to this process by the service manager (socket activation) or by the process it
//! takes over from.
//!
//! In: the addresses of the configuration, and sockets that are there already. Out: for every core its sockets, each with
//! the number of the listener it belongs to. Sockets that are handed over keep what waits in their queues, so every one of
//! them is accepted from, whatever the number of cores is now.

use std::net::{SocketAddr, TcpListener};

use listenfd::ListenFd;
use socket2::{Domain, Protocol, Socket, Type};

use crate::limits::BACKLOG;

/// A core's sockets, each with the number of its listener.
pub type OfCore = Vec<(TcpListener, usize)>;

/// What the service manager passed to this process. A socket that no listener of the configuration is for is an error that
/// names it: somebody meant it to be served.
pub fn activated(addresses: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    let mut passed = ListenFd::from_env();
    let mut sockets = Vec::new();
    for index in 0..passed.len() {
        let socket = passed
            .take_tcp_listener(index)
            .map_err(|error| format!("socket {index} of the service manager cannot be listened on: {error}"))?;
        sockets.extend(socket);
    }
    for socket in &sockets {
        let address = socket.local_addr().map_err(|error| format!("a socket of the service manager: {error}"))?;
        if !addresses.iter().any(|wanted| is_for(*wanted, address)) {
            return Err(format!(
                "the service manager passed a socket for {address}, and no [[listener]] of the configuration has that address"
            ));
        }
    }
    Ok(sockets)
}

/// Port 0 is whichever port it became.
fn is_for(wanted: SocketAddr, address: SocketAddr) -> bool {
    wanted == address || (wanted.port() == 0 && wanted.ip() == address.ip())
}

/// Every core's sockets: those that are there already, and for the addresses that none of them is for one each, bound now,
/// between which the kernel spreads connections.
pub fn distribute(addresses: &[SocketAddr], there: Vec<TcpListener>, cores: usize) -> Result<Vec<OfCore>, String> {
    let mut of_core: Vec<OfCore> = (0..cores).map(|_| Vec::new()).collect();
    let mut there = there
        .into_iter()
        .map(|socket| Ok((socket.local_addr()?, socket)))
        .collect::<std::io::Result<Vec<_>>>()
        .map_err(|error| format!("a listening socket: {error}"))?;
    for (listener, wanted) in addresses.iter().enumerate() {
        let exact = there.iter().find(|(address, _)| address == wanted);
        let found = exact.or_else(|| there.iter().find(|(address, _)| is_for(*wanted, *address)));
        let Some(found) = found.map(|(address, _)| *address) else {
            bind(*wanted, listener, &mut of_core)?;
            continue;
        };
        let (ours, others) = there.into_iter().partition(|(address, _)| *address == found);
        there = others;
        let ours: Vec<_> = ours;
        share(ours.into_iter().map(|(_, socket)| socket).collect(), listener, &mut of_core)
            .map_err(|error| format!("a listening socket for {found}: {error}"))?;
    }
    for (address, _) in there {
        tracing::warn!(%address, "no listener of the configuration has this address any more; it is not served from now on");
    }
    Ok(of_core)
}

/// Gives every socket to some core and every core some socket.
fn share(sockets: Vec<TcpListener>, listener: usize, of_core: &mut [OfCore]) -> std::io::Result<()> {
    for place in 0..sockets.len().max(of_core.len()) {
        let socket = sockets[place % sockets.len()].try_clone()?;
        // The service manager's may block.
        socket.set_nonblocking(true)?;
        of_core[place % of_core.len()].push((socket, listener));
    }
    Ok(())
}

fn bind(address: SocketAddr, listener: usize, of_core: &mut [OfCore]) -> Result<(), String> {
    // Two servers could share a port without noticing; one bind without sharing finds out.
    let alone = TcpListener::bind(address).map_err(|error| cannot_listen(address, &error))?;
    let mut address = alone.local_addr().map_err(|error| cannot_listen(address, &error))?;
    drop(alone);
    for sockets in of_core {
        let socket = listen(address).map_err(|error| cannot_listen(address, &error))?;
        address = socket.local_addr().map_err(|error| cannot_listen(address, &error))?;
        sockets.push((socket, listener));
    }
    Ok(())
}

fn cannot_listen(address: SocketAddr, error: &std::io::Error) -> String {
    format!("cannot listen on {address}: {error}")
}

fn listen(address: SocketAddr) -> std::io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    // The kernel cuts it to its own limit.
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::{Shutdown, TcpStream};

    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// Sockets that share a port which the kernel chose.
    fn sharing(count: usize) -> (SocketAddr, Vec<TcpListener>) {
        let first = listen(address("127.0.0.1:0")).unwrap();
        let at = first.local_addr().unwrap();
        let rest = (1..count).map(|_| listen(at).unwrap());
        (at, std::iter::once(first).chain(rest).collect())
    }

    #[test]
    fn whatever_the_number_of_cores_no_socket_and_no_core_is_left_out() {
        for (sockets, cores) in [(1, 4), (2, 2), (3, 2), (2, 3), (5, 1)] {
            let (at, there) = sharing(sockets);
            let before: Vec<_> = (0..20).map(|_| TcpStream::connect(at).unwrap()).collect();
            let of_core = distribute(&[at], there, cores).unwrap();
            assert!(of_core.len() == cores && of_core.iter().all(|sockets| !sockets.is_empty()));
            // All that waited in the queues is accepted by one core or another.
            let mut accepted = 0;
            for (socket, listener) in of_core.iter().flatten() {
                assert_eq!(*listener, 0);
                while let Ok((stream, _)) = socket.accept() {
                    stream.shutdown(Shutdown::Both).unwrap();
                    accepted += 1;
                }
            }
            assert_eq!(accepted, 20, "{sockets} sockets on {cores} cores");
            before.into_iter().for_each(|mut stream| assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0));
        }
    }

    #[test]
    fn a_listener_that_is_new_is_bound_and_port_0_is_the_port_it_became() {
        let (at, there) = sharing(1);
        let of_core = distribute(&[address("127.0.0.1:0"), address("[::1]:0")], there, 1).unwrap();
        let served: Vec<_> = of_core[0].iter().map(|(socket, _)| socket.local_addr().unwrap()).collect();
        assert_eq!(served[0], at);
        assert!(served[1].is_ipv6() && served[1].port() != 0);
    }

    #[test]
    fn an_address_that_is_taken_is_named() {
        let taken = TcpListener::bind("127.0.0.1:0").unwrap();
        let at = taken.local_addr().unwrap();
        let error = distribute(&[at], Vec::new(), 1).unwrap_err();
        assert!(error.contains(&at.to_string()), "{error}");
    }
}

//! Accepts connections on one of this core's sockets.
//!
//! Running out of descriptors is a pause, not a fall: accepting stops before the last ones are given away, the kernel's
//! queue holds what comes, and connections that lie idle are closed to make room for it.

use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Instant;

use ipnet::IpNet;

use crate::arrive;
use crate::core::Core;
use crate::families::Families;
use crate::limits;
use crate::rt::{self, Deadline, Listener};

/// What is served at one address, to whom and how; the same for all its connections.
#[derive(Debug, Clone)]
pub struct Terms {
    pub families: Families,
    /// Its connections begin with a TLS handshake.
    pub tls: bool,
    /// Every request is sent to the same place over TLS.
    pub redirect: bool,
    /// Whose connections are taken; empty: everybody's.
    pub allow: Vec<IpNet>,
    /// Whose are not, whatever `allow` says.
    pub deny: Vec<IpNet>,
    /// Connections come from a balancer, which says in their first bytes whom it carries.
    pub proxy_protocol: bool,
    pub bounds: Bounds,
    /// Which of the server's listeners it is.
    pub index: usize,
}

/// How much of a listener's connections is borne.
#[derive(Debug, Clone)]
pub struct Bounds {
    /// Past it a new connection is closed at once.
    pub connections_max: usize,
    /// The same for the connections of one address, or one IPv6 network of 64 bits; 0: as many as it likes.
    pub connections_per_address_max: u32,
    /// Milliseconds: between requests; for a head; for the first byte of a body; until some of an answer is taken.
    pub idle_ms: u64,
    pub head_ms: u64,
    pub body_ms: u64,
    pub send_ms: u64,
    pub head_bytes_max: usize,
    /// Beside what the app that is asked for takes.
    pub body_bytes_max: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Self {
            connections_max: limits::CONNECTIONS_MAX,
            connections_per_address_max: 0,
            idle_ms: limits::IDLE_MS,
            head_ms: limits::HEAD_MS,
            body_ms: limits::BODY_MS,
            send_ms: limits::SEND_MS,
            head_bytes_max: limits::HEAD_BYTES_MAX,
            body_bytes_max: limits::ADMIN_BODY_BYTES_MAX,
        }
    }
}

/// Counts a connection that is closed without having been served.
pub fn refused(reason: &'static str) {
    metrics::counter!("portico_connections_refused_total", "reason" => reason).increment(1);
}

/// The sockets of one core, and on which terms each is served.
pub type Sockets = Vec<(TcpListener, Arc<Terms>)>;

impl Terms {
    /// Whether connections from an address are taken.
    pub fn admit(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let within = |networks: &[IpNet]| networks.iter().any(|network| network.contains(&address));
        !within(&self.deny) && (self.allow.is_empty() || within(&self.allow))
    }
}

/// Accepts until `until` expires, which it does when the core drains.
pub async fn accept_all(core: Rc<Core>, socket: TcpListener, terms: Arc<Terms>, until: Rc<Deadline>) {
    let listener = match Listener::from_std(socket) {
        Ok(listener) => listener,
        Err(error) => return tracing::error!(%error, "a listening socket cannot be used"),
    };
    let places = core.parts.places.clone();
    let _counted = Listening::new(&core);
    let mut said = false;
    let mut shed: Option<Instant> = None;
    while !until.expired() {
        if places.full() {
            if !std::mem::replace(&mut said, true) {
                tracing::warn!("no connection is accepted until others close: the descriptors are used up");
            }
            if shed.is_none_or(|last| last.elapsed().as_millis() as u64 >= limits::SHED_IDLE_MS) {
                shed = Some(Instant::now());
                let closed = core.wheel.expire_idle_for(limits::SHED_IDLE_MS);
                metrics::counter!("portico_connections_shed_total").increment(closed as u64);
            }
            rt::sleep(limits::ACCEPT_PAUSE).await;
            continue;
        }
        match listener.accept(&until).await {
            Ok((stream, peer)) => {
                said = false;
                let Some(place) = places.at_listener(terms.index, terms.bounds.connections_max) else {
                    // Closing at once is the only answer that costs nothing.
                    refused("too_many");
                    continue;
                };
                arrive::serve(core.clone(), stream, peer, terms.clone(), Some(place));
            }
            Err(_) if until.expired() => {}
            Err(error) => {
                if !said {
                    tracing::warn!(%error, "cannot accept connections; trying again");
                    said = true;
                }
                rt::sleep(limits::ACCEPT_PAUSE).await;
            }
        }
    }
    // Clients whose connections wait in the queue have been told that they are connected: closing the socket would break
    // them off. With a successor they are its, since it has the same socket.
    let end = Instant::now() + limits::DRAIN_ACCEPT_MAX;
    while core.successor().is_none() && Instant::now() < end {
        let last = core.wheel.watch(limits::DRAIN_ACCEPT_MS);
        match listener.accept(&last).await {
            Ok((stream, peer)) => {
                let place = places.at_listener(terms.index, usize::MAX);
                arrive::serve(core.clone(), stream, peer, terms.clone(), place);
            }
            Err(_) => return,
        }
    }
}

/// One of the sockets that this core still takes connections from.
struct Listening(Rc<Core>);

impl Listening {
    fn new(core: &Rc<Core>) -> Self {
        core.listening.set(core.listening.get() + 1);
        Self(core.clone())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.listening.set(self.0.listening.get() - 1);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_over_allow_and_an_empty_allow_is_everybody() {
        let networks = |texts: &[&str]| texts.iter().map(|text| text.parse().unwrap()).collect();
        for (allow, deny, address, admitted) in [
            (&[][..], &[][..], "203.0.113.9", true),
            (&["10.0.0.0/8"], &[], "10.1.2.3", true),
            (&["10.0.0.0/8"], &[], "203.0.113.9", false),
            (&["10.0.0.0/8"], &["10.1.0.0/16"], "10.1.2.3", false),
            (&[], &["10.1.0.0/16"], "::ffff:10.1.2.3", false),
            (&["fd00::/8"], &[], "fd00::1", true),
        ] {
            let (allow, deny) = (networks(allow), networks(deny));
            let (families, tls, redirect, proxy_protocol) = (Families::ALL, false, false, false);
            let terms =
                Terms { families, tls, redirect, allow, deny, proxy_protocol, bounds: Bounds::default(), index: 0 };
            assert_eq!(terms.admit(address.parse().unwrap()), admitted, "{:?} {:?} {address}", terms.allow, terms.deny);
        }
    }
}

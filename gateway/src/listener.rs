//! Accepts connections on one of this core's sockets.
//!
//! Running out of descriptors is a pause, not a fall: accepting stops for a moment and the kernel's queue holds what comes.

use std::net::{IpAddr, TcpListener};
use std::rc::Rc;
use std::sync::Arc;

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
    let mut said = false;
    while !until.expired() {
        match listener.accept(&until).await {
            Ok((stream, peer)) => {
                said = false;
                if core.connections.get() >= limits::CONNECTIONS_MAX {
                    // Closing at once is the only answer that costs nothing.
                    metrics::counter!("portico_connections_refused_total", "reason" => "too_many").increment(1);
                    continue;
                }
                rt::spawn("connection", arrive::serve(core.clone(), stream, peer, terms.clone()));
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
            let (allow_nets, deny_nets) = (networks(allow), networks(deny));
            let (families, tls, redirect) = (Families::ALL, false, false);
            let terms = Terms { families, tls, redirect, allow: allow_nets, deny: deny_nets };
            assert_eq!(terms.admit(address.parse().unwrap()), admitted, "{allow:?} {deny:?} {address}");
        }
    }
}

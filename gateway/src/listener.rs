//! Accepts connections on one of this core's sockets.
//!
//! Running out of descriptors is a pause, not a fall: accepting stops for a moment and the kernel's queue holds what comes.

use std::net::TcpListener;
use std::rc::Rc;

use crate::connection;
use crate::core::Core;
use crate::families::Families;
use crate::limits;
use crate::rt::{self, Deadline, Listener};

/// Accepts until `until` expires, which it does when the core drains.
pub async fn accept_all(core: Rc<Core>, socket: TcpListener, families: Families, until: Rc<Deadline>) {
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
                    metrics::counter!("portico_connections_refused_total").increment(1);
                    continue;
                }
                let core = core.clone();
                rt::spawn("connection", connection::serve(core, stream, peer, families));
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

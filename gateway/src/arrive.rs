//! An accepted connection, until it is known whose it is and what is spoken on it.
//!
//! In: a stream, its peer, the listener's terms. Out: nothing; what serves the protocol is called from here and the
//! connection is closed when this returns. A connection that is not taken is closed without a word, and counted.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::connection::{self, Counted};
use crate::core::Core;
use crate::dispatch;
use crate::http2;
use crate::limits;
use crate::listener::{Terms, refused};
use crate::places::{AddressPlace, Place};
use crate::proxy_protocol;
use crate::rt::{self, Stream};
use crate::tls;

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub struct Arrived {
    /// Behind a balancer that says so: whom it carries.
    pub peer: SocketAddr,
    /// Whether it came over TLS. At a listener that speaks TLS it has not yet shaken hands before that.
    pub secure: bool,
    pub terms: Arc<Terms>,
}

/// What a connection counts for, until it is over.
pub struct Places {
    _of_listener: Option<Place>,
    _of_address: Option<AddressPlace>,
}

/// Goes on with a connection that another process accepted and admitted, and let go between two requests, or before its
/// handshake. `ahead` was read from it already.
pub fn adopt(core: Rc<Core>, stream: Stream, arrived: Arrived, ahead: Vec<u8>) {
    let (all, terms) = (&core.parts.places, &arrived.terms);
    // It has been let in: it counts, and is not counted out.
    let places = Places {
        _of_listener: all.at_listener(terms.index, usize::MAX),
        _of_address: all.of_address(arrived.peer.ip(), terms.bounds.connections_per_address_max),
    };
    speak(core, stream, arrived, places, ahead);
}

/// Serves an accepted connection, on a task of its own.
pub fn serve(core: Rc<Core>, stream: Stream, peer: SocketAddr, terms: Arc<Terms>, place: Option<Place>) {
    if terms.proxy_protocol {
        rt::spawn("connection", meet(core, stream, peer, terms, place));
    } else if let Some(places) = admit(&core, &terms, peer, place) {
        speak(core, stream, Arrived { peer, secure: false, terms }, places, Vec::new());
    }
}

/// Hears whom a balancer carries, and serves them.
async fn meet(core: Rc<Core>, mut stream: Stream, balancer: SocketAddr, terms: Arc<Terms>, place: Option<Place>) {
    match introduced(&core, &mut stream, balancer).await {
        Ok((peer, ahead)) => {
            let Some(places) = admit(&core, &terms, peer, place) else { return };
            let arrived = Arrived { peer, secure: false, terms };
            if arrived.terms.tls {
                // At once: a core that drains would not know of a task that has not begun.
                Box::pin(shake_hands(core, stream, arrived, places, ahead)).await;
            } else {
                speak(core, stream, arrived, places, ahead);
            }
        }
        Err(reason) => refused(reason),
    }
}

/// Begins to speak what is spoken at the listener, on a task that is no larger than that needs: what comes before has more to
/// remember than a connection that waits, which should not have to hold the room.
fn speak(core: Rc<Core>, stream: Stream, arrived: Arrived, places: Places, ahead: Vec<u8>) {
    if arrived.terms.tls {
        rt::spawn("connection", shake_hands(core, stream, arrived, places, ahead));
    } else {
        rt::spawn("connection", connection::serve(core, stream, arrived, places, ahead));
    }
}

async fn shake_hands(core: Rc<Core>, stream: Stream, mut arrived: Arrived, places: Places, ahead: Vec<u8>) {
    // Boxed, so that it is gone while HTTP/2 is spoken.
    let Some(secured) = Box::pin(tls::accept(&core, stream, ahead, &arrived)).await else { return };
    arrived.secure = true;
    if secured.http2 {
        Box::pin(http2::serve(core, secured.stream, arrived)).await;
        drop(places);
    } else {
        let stream = Stream::Poll(secured.stream);
        rt::spawn("connection", connection::serve(core, stream, arrived, places, Vec::new()));
    }
}

/// Whether a client is let in. `None` when it is not, which has been counted.
fn admit(core: &Core, terms: &Terms, peer: SocketAddr, place: Option<Place>) -> Option<Places> {
    if !terms.admit(peer.ip()) {
        refused("address");
        return None;
    }
    let of_address = core.parts.places.of_address(peer.ip(), terms.bounds.connections_per_address_max);
    if of_address.is_none() {
        refused("address_has_too_many");
        return None;
    }
    Some(Places { _of_listener: place, _of_address: of_address })
}

/// Whom a balancer carries, and what was read behind its header. `Err` says why it is not believed.
async fn introduced(
    core: &Rc<Core>,
    stream: &mut Stream,
    balancer: SocketAddr,
) -> Result<(SocketAddr, Vec<u8>), &'static str> {
    if !dispatch::is_proxy(core, balancer.ip()) {
        return Err("untrusted_proxy");
    }
    // A core that drains waits for it, too.
    let _counted = Counted::new(core);
    let deadline = core.wheel.watch(limits::PROXY_HEADER_MS);
    let mut bytes = Vec::new();
    loop {
        match proxy_protocol::parse(&bytes) {
            Ok(Some(header)) => {
                bytes.drain(..header.bytes);
                return Ok((header.client.unwrap_or(balancer), bytes));
            }
            Ok(None) => {}
            Err(fault) => {
                tracing::debug!(%balancer, reason = fault.name(), "{fault}");
                return Err("proxy_header");
            }
        }
        let ready = stream.readable(&deadline).await;
        bytes.reserve(limits::PROXY_HEADER_BYTES_MAX);
        let (read, back) = match ready {
            Ok(()) => stream.read(bytes, &deadline).await,
            Err(error) => (Err(error), bytes),
        };
        bytes = back;
        if !matches!(read, Ok(length) if length > 0) {
            return Err("proxy_header");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is kept for a connection while it waits, beside what its client has sent.
    #[test]
    fn a_connection_that_waits_is_small() {
        fn room<F: Future<Output = ()>>(_: fn(Rc<Core>, Stream, Arrived, Places, Vec<u8>) -> F) -> usize {
            rt::task_bytes::<F>()
        }
        let bytes =
            room(connection::serve) + size_of::<rt::Deadline>() + size_of::<std::net::IpAddr>() + size_of::<u32>();
        assert!(bytes <= limits::CONNECTION_BYTES_MAX, "{bytes} bytes");
        println!("a connection that waits: {bytes} bytes");
    }
}

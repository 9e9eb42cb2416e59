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
use crate::proxy_protocol;
use crate::rt::Stream;
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

/// Goes on with a connection that another process accepted and admitted, and let go between two requests, or before its
/// handshake. `ahead` was read from it already.
pub async fn adopt(core: Rc<Core>, stream: Stream, arrived: Arrived, ahead: Vec<u8>) {
    speak(core, stream, arrived, ahead).await;
}

pub async fn serve(core: Rc<Core>, mut stream: Stream, peer: SocketAddr, terms: Arc<Terms>) {
    let (peer, ahead) = if terms.proxy_protocol {
        // Boxed: connections that come from clients themselves need not hold the room.
        match Box::pin(introduced(&core, &mut stream, peer)).await {
            Ok(introduced) => introduced,
            Err(reason) => return refused(reason),
        }
    } else {
        (peer, Vec::new())
    };
    if !terms.admit(peer.ip()) {
        return refused("address");
    }
    let Some(_place) = core.parts.places.of_address(peer.ip(), terms.bounds.connections_per_address_max) else {
        return refused("address_has_too_many");
    };
    speak(core, stream, Arrived { peer, secure: false, terms }, ahead).await;
}

/// Finds out what is spoken, and serves it.
async fn speak(core: Rc<Core>, stream: Stream, mut arrived: Arrived, ahead: Vec<u8>) {
    let (stream, ahead) = if arrived.terms.tls {
        // Boxed: a handshake has more to remember than a connection without one, which should not have to hold the room.
        match Box::pin(tls::accept(&core, stream, ahead, &arrived)).await {
            Some(secured) => {
                arrived.secure = true;
                if secured.http2 {
                    return Box::pin(http2::serve(core, secured.stream, arrived)).await;
                }
                (Stream::Poll(secured.stream), Vec::new())
            }
            None => return,
        }
    } else {
        (stream, ahead)
    };
    // Boxed, so that a connection that has not come so far does not hold the room for it.
    Box::pin(connection::serve(core, stream, arrived, ahead)).await;
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

    /// What a connection costs while it waits, beside what its client has sent: the task that serves it.
    #[test]
    fn a_connection_that_waits_is_small() {
        fn room<F>(_: fn(Rc<Core>, Stream, SocketAddr, Arc<Terms>) -> F) -> usize {
            size_of::<F>()
        }
        let bytes = room(serve);
        assert!(bytes <= limits::CONNECTION_BYTES_MAX, "{bytes} bytes");
    }
}

//! An accepted connection, until it is known what is spoken on it.
//!
//! In: a stream, its peer, the listener's terms. Out: nothing; what serves the protocol is called from here and the
//! connection is closed when this returns.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::connection;
use crate::core::Core;
use crate::http2;
use crate::listener::Terms;
use crate::rt::Stream;
use crate::tls;

/// What is known of a connection before its first request.
#[derive(Debug, Clone)]
pub struct Arrived {
    pub peer: SocketAddr,
    /// Whether it came over TLS.
    pub secure: bool,
    pub terms: Arc<Terms>,
}

pub async fn serve(core: Rc<Core>, stream: Stream, peer: SocketAddr, terms: Arc<Terms>) {
    if !terms.admit(peer.ip()) {
        // Whoever is not to come is not told why either.
        metrics::counter!("portico_connections_refused_total", "reason" => "address").increment(1);
        return;
    }
    let secure = terms.tls;
    let stream = if secure {
        // Boxed: a handshake has more to remember than a connection without one, which should not have to hold the room.
        match Box::pin(tls::accept(&core, stream, Vec::new())).await {
            Some(secured) if secured.http2 => {
                return Box::pin(http2::serve(core, secured.stream, Arrived { peer, secure, terms })).await;
            }
            Some(secured) => Stream::Poll(secured.stream),
            None => return,
        }
    } else {
        stream
    };
    // Boxed, so that a connection that has not come so far does not hold the room for it.
    Box::pin(connection::serve(core, stream, Arrived { peer, secure, terms })).await;
}

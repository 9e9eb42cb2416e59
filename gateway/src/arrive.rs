//! An accepted connection, until it is known what is spoken on it.
//!
//! In: a stream, its peer, the listener's terms. Out: nothing; what serves the protocol is called from here and the
//! connection is closed when this returns.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use crate::connection;
use crate::core::Core;
use crate::listener::Terms;
use crate::rt::Stream;

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
    connection::serve(core, stream, Arrived { peer, secure: false, terms }).await;
}

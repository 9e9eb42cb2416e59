//! The stage on which stories are told: the real binary, started on a port of its own, called over real sockets.
//!
//! In: the program `portico`, built beforehand (`tests/run` does), and its settings as environment variables. Out: a
//! [`Server`] that is gone when the test is, an HTTP client that sees every byte, an [`Admin`] for the Admin API, a
//! [`Load`] that remembers every answer.
//!
//! Not here: anything of Portico's own crates. What a story sees is what a stranger on the network would see, so the
//! client is our own too: it must not be kinder than HTTP is.

#![forbid(unsafe_code)]

pub mod admin;
pub mod backend;
pub mod balancer;
pub mod command;
pub mod ferretdb;
pub mod front;
pub mod history;
pub mod http;
pub mod http2;
pub mod http2_client;
pub mod http2_load;
pub mod load;
pub mod open;
pub mod origin;
pub mod origin_http2;
pub mod pebble;
pub mod process;
pub mod redis_server;
pub mod registry;
pub mod server;
pub mod signing;
pub mod slow;
pub mod tls;
pub mod tokens;

use std::time::{Duration, Instant};

pub use admin::{Admin, App, Deployed};
pub use backend::{Backend, Endpoint};
pub use balancer::{Balancer, Version};
pub use command::{Command, Ran};
pub use ferretdb::FerretDb;
pub use http::{Answer, Connection, Request};
pub use http2::Http2;
pub use http2_client::Http2Client;
pub use http2_load::Http2Callers;
pub use load::{Load, Sample};
pub use open::{OpenLoop, Seen};
pub use origin::{Origin, Received};
pub use origin_http2::Http2Origin;
pub use pebble::Pebble;
pub use redis_server::{Fault, FaultProxy, RedisServer};
pub use registry::Registry;
pub use server::{Server, Setup};
pub use slow::{Closed, Manner, Slow, SlowClients};
pub use tls::{Authority, TlsClient};

/// Waits until `ready` gives something, looking every few milliseconds, and panics with `what` when it did not in time.
pub fn wait_for<T>(what: &str, at_most: Duration, mut ready: impl FnMut() -> Option<T>) -> T {
    let since = Instant::now();
    loop {
        if let Some(found) = ready() {
            return found;
        }
        assert!(since.elapsed() < at_most, "{what}: not within {at_most:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// The value below which `share` (0 to 1) of the values lie. Sorts them.
pub fn quantile(values: &mut [Duration], share: f64) -> Duration {
    assert!(!values.is_empty(), "a quantile of nothing");
    values.sort_unstable();
    let at = (values.len() as f64 * share).ceil() as usize;
    values[at.clamp(1, values.len()) - 1]
}

//! Between the gateway process and a host: a Unix stream per (core, host) that carries [`frame`]s, and one shared
//! [`page`] per host on which it is decided, exactly once, whether a call was started.
//!
//! [`client`] is the gateway's end without the socket: bytes in, events out. The host's end is in `host`.
//! Every frame from a host is hostile input: parsed totally, bounded, and checked against what that link has in flight.

pub mod client;
pub mod frame;
pub mod page;

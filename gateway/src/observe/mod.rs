//! What an operator may know of each request beside its app's own log: how long each step took, one line in a file, a trace.
//!
//! In: a request as it is answered. Out: histograms in `/metrics`, lines of the access log, spans to a collector. All three are
//! made of facts that are there anyway; what costs more than reading a clock is done on other threads, and what those
//! cannot take is dropped and counted: a full disk or a collector that is gone must not stop requests.
//!
//! Not here: apps' logs (control plane), and counters that are about something else than a request.

pub mod access;
pub mod spans;
pub mod stages;
pub mod traces;

pub use access::AccessLog;
pub use stages::{Stage, Stages};
pub use traces::Traces;

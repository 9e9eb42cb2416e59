//! What functions said and how requests ended.
//!
//! In: entries from gateway cores, handed over by value through a channel. Out: lines of JSON, a file per app and day, and
//! pages of them, newest first. Entries are kept in plain files on purpose: a B-tree insert per request, with its commit,
//! would cost more than the request itself, while appending a batch costs one `write` for hundreds of them. Nothing here
//! is made durable with `fsync`: after a power failure the last moments of the log may be missing, never of the data.
//!
//! Not here: metrics, and the operator's own log.

mod entry;
mod files;
mod line;
mod query;
mod redact;
mod sink;

pub use entry::{LogEntry, LogKind, LoggedError, RequestRecord};
pub use query::{LogPage, LogQuery, StatusFilter};
pub use sink::LogSink;

pub(crate) use sink::now_ms;

//! What functions said and how requests ended.
//!
//! In: entries from gateway cores, handed over by value through a channel. Out: lines of JSON in segments per app and
//! day, an index beside each, and pages of them, newest first. Entries are kept in plain files on purpose: a B-tree insert per request, with its commit,
//! would cost more than the request itself, while appending a batch costs one `write` for hundreds of them. Nothing here
//! is made durable with `fsync`: after a power failure the last moments of the log may be missing, never of the data.
//!
//! Not here: metrics, and the operator's own log.

mod entry;
mod files;
mod index;
mod line;
mod query;
mod redact;
mod sink;

use std::time::Instant;

use crate::limits;

pub use entry::{LogEntry, LogKind, LoggedError, RequestRecord};
pub use query::{Entries, LogPage, LogQuery, StatusFilter};
pub use sink::LogSink;

pub(crate) use sink::now_ms;
#[cfg(test)]
pub(crate) use {index::Described, line::write_line};

/// How much is kept, decided by the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogSettings {
    /// Days an entry is kept.
    pub retention_days: i64,
    /// Bytes of entries one app may keep; past it its oldest ones go.
    pub app_bytes_max: u64,
    /// Console lines kept of one call.
    pub console_lines_max: usize,
    /// Bytes kept of one console line.
    pub console_line_bytes_max: usize,
    /// Until then another process, which this one takes over from, may write to the segments that are there: they are left
    /// alone, and lines go to new ones.
    pub apart_until: Option<Instant>,
}

impl Default for LogSettings {
    fn default() -> Self {
        Self {
            retention_days: limits::LOG_RETENTION_DAYS,
            app_bytes_max: limits::LOG_APP_BYTES_MAX,
            console_lines_max: isolate_pool::limits::CONSOLE_LINES_MAX + 1,
            console_line_bytes_max: isolate_pool::limits::CONSOLE_LINE_BYTES_MAX,
            apart_until: None,
        }
    }
}

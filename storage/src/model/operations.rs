//! How often an app's functions asked for documents, since the server's start.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The count; clones count together.
#[derive(Debug, Clone, Default)]
pub struct OperationCount(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    reads: AtomicU64,
    writes: AtomicU64,
}

/// What was counted up to a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Operations {
    pub reads: u64,
    pub writes: u64,
}

impl OperationCount {
    pub fn read(&self) {
        self.0.reads.fetch_add(1, Ordering::Relaxed);
    }

    pub fn write(&self) {
        self.0.writes.fetch_add(1, Ordering::Relaxed);
    }

    pub fn now(&self) -> Operations {
        Operations { reads: self.0.reads.load(Ordering::Relaxed), writes: self.0.writes.load(Ordering::Relaxed) }
    }
}

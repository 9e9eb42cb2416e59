//! How much evaluating may do for one document.
//!
//! Memory is bounded where values are made; loops in loops need none and take time without end, on a thread that others
//! wait for. What operators look at is therefore counted. A thread evaluates for one document at a time, so the count is
//! the thread's, and begins anew with each [`Scope`](super::Scope).

use std::cell::Cell;

use crate::error::StoreError;
use crate::limits;

thread_local! {
    static BYTES: Cell<u64> = const { Cell::new(0) };
}

pub(super) fn begin() {
    BYTES.set(0);
}

/// Counts bytes that are about to be looked at.
pub(super) fn spend(bytes: usize) -> Result<(), StoreError> {
    let spent = BYTES.get().saturating_add(bytes as u64);
    BYTES.set(spent);
    if spent <= limits::EXPRESSION_WORK_BYTES_MAX {
        return Ok(());
    }
    Err(StoreError::caller(
        50,
        "MaxTimeMSExpired",
        "operation exceeded time limit: the expression goes through arrays too often for one document",
    ))
}

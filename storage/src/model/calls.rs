//! How many calls of one app are in progress, counted by all cores together: the number a tenant is promised holds for
//! the app, however the kernel spread its connections.
//!
//! One addition on the way in and one subtraction on the way out, on a cache line that holds nothing else. A count per core
//! with a share each was thought of and left: the shares of cores without connections would be missing from the number.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// The count; clones count together.
#[derive(Clone, Default)]
pub struct CallCount(Arc<Line>);

/// A cache line of its own, so that two busy apps do not slow each other.
#[derive(Default)]
#[repr(align(64))]
struct Line {
    now: AtomicU32,
    told_ms: AtomicU64,
}

/// One call in progress; it is over when this is dropped.
#[derive(Debug)]
pub struct CallPlace(CallCount);

impl CallCount {
    /// Counts a call in, unless `max` are in progress.
    pub fn enter(&self, max: u32) -> Option<CallPlace> {
        // Nothing is read on the strength of this number, so no order is needed beyond its own.
        let before = self.0.now.fetch_add(1, Ordering::Relaxed);
        let place = CallPlace(self.clone());
        (before < max).then_some(place)
    }

    /// Whether a call that was not let in may be written down: once in `every_ms`, whichever core it is on.
    pub fn may_tell(&self, now_ms: u64, every_ms: u64) -> bool {
        let told = self.0.told_ms.load(Ordering::Relaxed);
        // A clock that has just begun has told nothing yet.
        let due = told == 0 || now_ms >= told.saturating_add(every_ms);
        due && self.0.told_ms.compare_exchange(told, now_ms.max(1), Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    pub fn now(&self) -> u32 {
        self.0.now.load(Ordering::Relaxed)
    }
}

impl Drop for CallPlace {
    fn drop(&mut self) {
        self.0.0.now.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for CallCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CallCount({})", self.now())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_calls_as_allowed_are_in_progress_and_no_more() {
        let count = CallCount::default();
        let elsewhere = count.clone();
        let first = count.enter(2).expect("room for one");
        let second = elsewhere.enter(2).expect("room for two");
        assert!(count.enter(2).is_none());
        assert_eq!(count.now(), 2, "a refused call is not counted");
        drop(first);
        assert!(elsewhere.enter(2).is_some());
        drop(second);
        assert_eq!(elsewhere.now(), 0);
        let tells: Vec<bool> = [0, 500, 999, 1_100, 1_200].map(|now| count.may_tell(now, 1_000)).into();
        assert_eq!(tells, [true, false, false, true, false]);
    }
}

//! What requests leave behind for another thread (log entries, lines, spans): gathered on a core and handed over together,
//! since waking a thread costs as much as answering.
//!
//! In: one after the other. Out: all there are, when they are many or when the core's tick asks. Not here: who takes them,
//! and what becomes of those that nobody can take.

use std::cell::RefCell;

use crate::limits::BATCH;

/// What has gathered on one core.
#[derive(Debug)]
pub struct Batch<T>(RefCell<Vec<T>>);

impl<T> Default for Batch<T> {
    fn default() -> Self {
        Self(RefCell::default())
    }
}

impl<T> Batch<T> {
    /// Adds one; gives all when that makes them enough to be handed over at once.
    #[must_use]
    pub fn add(&self, one: T) -> Option<Vec<T>> {
        let mut gathered = self.0.borrow_mut();
        gathered.push(one);
        (gathered.len() >= BATCH).then(|| std::mem::take(&mut *gathered))
    }

    /// All there are; `None` when there are none.
    pub fn take(&self) -> Option<Vec<T>> {
        Some(self.0.take()).filter(|gathered| !gathered.is_empty())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_handed_over_twice_and_nothing_is_kept() {
        let batch = Batch::default();
        assert_eq!(batch.take(), None);
        for number in 1..BATCH {
            assert_eq!(batch.add(number), None);
        }
        assert_eq!(batch.add(BATCH), Some((1..=BATCH).collect()));
        assert_eq!(batch.add(0), None);
        assert_eq!((batch.take(), batch.take()), (Some(vec![0]), None));
    }
}

//! Buckets of users and addresses: as many as there is room for, in memory that is bounded from the start.
//!
//! In: whose bucket. Out: the bucket, a full one for somebody who is not known.
//!
//! A bucket that is full again says nothing that a new one would not, so its place is free: idle ones need no sweeping. A
//! place is sought among the eight of one set. Which set that is depends on a secret, so nobody can aim. Where all eight
//! are in use, the one that has most left goes: to drive out somebody who has nothing left, a stranger would have to use
//! up eight buckets of that set first, which costs more than the limit itself. And an app that finds one of its own in the
//! set drives out that one, so tenants do not drive out each other's.
//!
//! No lock: a place is changed word by word, and two who change one at the same moment may charge one request to the wrong
//! bucket. That is one request, in a table that is full.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::model::rate::{Pace, RateCell};

/// Places of one set.
const PLACES: usize = 8;

/// Whose bucket: what is looked for, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Key {
    /// The app's mark in the upper 16 bits, the user's or address's in the others; never 0.
    pub tag: u64,
    /// Chooses the set.
    pub place: u64,
}

impl Key {
    fn is_of_same_app(self, tag: u64) -> bool {
        self.tag >> 48 == tag >> 48
    }
}

#[derive(Debug, Default)]
pub struct Slot {
    /// 0: nobody's.
    tag: AtomicU64,
    depth_ns: AtomicU64,
    pub cell: RateCell,
}

impl Slot {
    pub fn tag(&self) -> u64 {
        self.tag.load(Ordering::Acquire)
    }

    /// Thousandths of the bucket that are missing.
    fn used(&self, now: u64) -> u64 {
        self.cell.owed_ns(now) / (self.depth_ns.load(Ordering::Relaxed) / 1_000).max(1)
    }
}

#[derive(Debug)]
pub struct Table {
    slots: Box<[Slot]>,
}

impl Table {
    /// `places` is rounded up to whole sets.
    pub fn new(places: usize) -> Self {
        let places = places.div_ceil(PLACES).max(1) * PLACES;
        Self { slots: (0..places).map(|_| Slot::default()).collect() }
    }

    pub fn slot(&self, index: usize) -> &Slot {
        &self.slots[index]
    }

    /// The index of the place where the bucket of `key` is.
    pub fn find(&self, key: Key, pace: Pace, now: u64) -> usize {
        let first = (key.place % (self.slots.len() / PLACES) as u64) as usize * PLACES;
        let set = &self.slots[first..first + PLACES];
        if let Some(at) = set.iter().position(|slot| slot.tag() == key.tag) {
            return first + at;
        }
        let free = set.iter().position(|slot| slot.cell.owed_ns(now) == 0);
        let at = free.unwrap_or_else(|| {
            metrics::counter!("portico_rate_cells_evicted_total").increment(1);
            let least = |own: bool| {
                let all = set.iter().enumerate().filter(|(_, slot)| !own || key.is_of_same_app(slot.tag()));
                all.min_by_key(|(_, slot)| slot.used(now)).map(|(at, _)| at)
            };
            least(true).or_else(|| least(false)).unwrap_or(0)
        });
        let slot = &set[at];
        slot.depth_ns.store(pace.depth_ns, Ordering::Relaxed);
        slot.cell.reset();
        slot.tag.store(key.tag, Ordering::Release);
        first + at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::rate::{Rate, Taken};

    const NOW: u64 = 1_000_000_000;

    fn key(app: u64, who: u64) -> Key {
        Key { tag: (app << 48) | who, place: who.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20 }
    }

    fn take(table: &Table, key: Key, rate: &str, now: u64) -> bool {
        let pace = Rate::parse(rate).unwrap().unwrap().pace();
        let slot = table.slot(table.find(key, pace, now));
        matches!(slot.cell.take(pace, now), Taken::Yes { .. })
    }

    #[test]
    fn everybody_has_a_bucket_of_their_own() {
        let table = Table::new(1024);
        for who in 1..=100 {
            assert!(take(&table, key(1, who), "1/m burst 2", NOW));
        }
        for who in 1..=100 {
            assert!(take(&table, key(1, who), "1/m burst 2", NOW) && !take(&table, key(1, who), "1/m burst 2", NOW));
        }
        assert!(take(&table, key(2, 1), "1/m burst 2", NOW), "another app's user of the same name");
    }

    #[test]
    fn somebody_who_is_limited_stays_so_however_many_strangers_come() {
        let table = Table::new(64);
        let limited = key(1, 7);
        while take(&table, limited, "10/h", NOW) {}
        // Each stranger asks once, which is cheap; there are a thousand times as many as places.
        for who in 1_000..65_000 {
            take(&table, key(1, who), "10/h", NOW);
            take(&table, key(2, who), "5/h", NOW);
        }
        assert!(!take(&table, limited, "10/h", NOW));
        assert!(take(&table, limited, "10/h", NOW + 400_000_000_000), "and is let in again in time");
    }

    #[test]
    fn another_app_s_users_drive_out_one_of_a_set_at_most() {
        // One set only.
        let table = Table::new(8);
        for who in 1..=8 {
            assert!(take(&table, key(1, who), "1/h", NOW));
        }
        for who in 100..10_000 {
            take(&table, key(2, who), "1/h", NOW);
        }
        let kept = (1..=8).filter(|who| table.slots.iter().any(|slot| slot.tag() == key(1, *who).tag)).count();
        assert_eq!(kept, 7);
    }

    #[test]
    fn a_place_is_free_when_its_bucket_is_full_again() {
        let table = Table::new(8);
        for hour in 0..1_000 {
            let now = NOW + hour * 3_600_000_000_000;
            for who in 0..8 {
                let who = key(1, 1 + hour * 8 + who);
                assert!(take(&table, who, "1/h", now) && !take(&table, who, "1/h", now));
            }
        }
    }
}

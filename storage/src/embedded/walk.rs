//! A walk through indexes, entry by entry.
//!
//! In: an [`Indexed`] plan and tables to read from, of a snapshot or of an open transaction. Out: keys of `_id`s, and
//! whether the document behind one is met here for the first time. Nothing is remembered of the documents that were met:
//! of the entries a document has within the bounds the first in the direction of the walk counts, and of the branches
//! whose filter it satisfies the first.

use std::collections::VecDeque;
use std::ops::Bound;

use bson::raw::RawDocument;
use redb::{ReadableTable, StorageError};

use super::plan::{Branch, Indexed, Source};
use super::scan::crossed;
use crate::error::StoreError;
use crate::index::{Bounds, Range};
use crate::sort::Direction;

/// Where a walk reads.
pub trait Tables {
    fn documents(&self) -> &impl ReadableTable<&'static [u8], &'static [u8]>;
    /// Of the index at this place; `None` when it has no table, and so no entry.
    fn entries(&self, at: usize) -> Option<&impl ReadableTable<&'static [u8], u32>>;
}

/// How many entries are read ahead: few at first, for those who want one document.
const AHEAD_FIRST: usize = 16;
const AHEAD: usize = 256;

pub struct Walk {
    plan: Indexed,
    branch: usize,
    range: usize,
    /// The last key that was read in this range.
    last: Option<Vec<u8>>,
    ahead: VecDeque<Met>,
    ahead_max: usize,
    pub keys_examined: u64,
}

/// An entry that was come upon.
#[derive(Debug)]
pub struct Met {
    /// Of the `_id`.
    pub id: Vec<u8>,
    /// The key in the index.
    key: Vec<u8>,
    branch: usize,
}

impl Walk {
    pub fn new(plan: Indexed) -> Self {
        let ahead = VecDeque::new();
        Self { plan, branch: 0, range: 0, last: None, ahead, ahead_max: AHEAD_FIRST, keys_examined: 0 }
    }

    pub fn plan(&self) -> &Indexed {
        &self.plan
    }

    pub fn next(&mut self, tables: &impl Tables) -> Result<Option<Met>, StorageError> {
        while self.ahead.is_empty() {
            let Some(Branch { source, .. }) = self.plan.branches.get(self.branch) else { return Ok(None) };
            let last = self.last.take();
            let (branch, max) = (self.branch, self.ahead_max);
            let ahead = &mut self.ahead;
            // Whether this range has more behind what was read.
            let (more, ranges) = match source {
                Source::Keys(keys) => {
                    let id = |id: &Vec<u8>| Met { id: id.clone(), key: Vec::new(), branch };
                    ahead.extend(keys.iter().map(id));
                    (false, 1)
                }
                Source::Range(from, to) => {
                    let from = last.map_or(from.clone(), Bound::Excluded);
                    let mut read = 0;
                    if !crossed(&from, to) {
                        let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
                        for entry in tables.documents().range::<&[u8]>(bounds)?.take(max) {
                            let id = entry?.0.value().to_vec();
                            ahead.push_back(Met { id, key: Vec::new(), branch });
                            read += 1;
                        }
                    }
                    (read == max, 1)
                }
                Source::Index { at, bounds, direction } => {
                    let number = match direction {
                        Direction::Up => self.range,
                        Direction::Down => bounds.ranges.len().saturating_sub(1 + self.range),
                    };
                    let read = match (tables.entries(*at), bounds.ranges.get(number)) {
                        (Some(entries), Some(range)) => {
                            read_entries(entries, range, last, *direction, max, |key, length| {
                                let (key, id) = key.split_at(length.min(key.len()));
                                ahead.push_back(Met { id: id.to_vec(), key: key.to_vec(), branch });
                            })?
                        }
                        _ => 0,
                    };
                    (read == max, bounds.ranges.len())
                }
            };
            if more {
                self.last = self.ahead.back().map(|met| [met.key.as_slice(), met.id.as_slice()].concat());
            } else if self.range + 1 < ranges {
                self.range += 1;
            } else {
                self.branch += 1;
                self.range = 0;
            }
            self.ahead_max = AHEAD;
        }
        self.keys_examined += 1;
        Ok(self.ahead.pop_front())
    }

    /// Whether the walk meets the document for the first time.
    pub fn is_first(&self, met: &Met, document: &RawDocument) -> Result<bool, StoreError> {
        let branch = &self.plan.branches[met.branch];
        let earlier = &self.plan.branches[..met.branch];
        // What lies within a branch's bounds may yet be meant by another branch alone, which then finds it.
        let means = |branch: &Branch| branch.filter.as_ref().map(|filter| filter.matches(document)).transpose();
        if means(branch)? == Some(false) {
            return Ok(false);
        }
        for earlier in earlier {
            if means(earlier)? == Some(true) {
                return Ok(false);
            }
        }
        let Source::Index { at, bounds, direction } = &branch.source else { return Ok(true) };
        let entry = &self.plan.entries[*at];
        if entry.arrays == 0 {
            return Ok(true);
        }
        // A document that is in the index had keys when it was put there.
        let Ok(keys) = entry.index.keys(document) else { return Ok(true) };
        let mut within = keys.keys.iter().filter(|key| holds(bounds, key));
        let first = match direction {
            Direction::Up => within.next(),
            Direction::Down => within.next_back(),
        };
        Ok(first.is_none_or(|first| *first == met.key))
    }
}

fn holds(bounds: &Bounds, key: &[u8]) -> bool {
    let behind = bounds.ranges.partition_point(|(from, _)| from.as_slice() <= key);
    let Some((_, to)) = behind.checked_sub(1).and_then(|at| bounds.ranges.get(at)) else { return false };
    to.as_ref().is_none_or(|to| key < to.as_slice())
}

/// Shows up to `max` entries of a range behind the last one that was read; how many there were.
fn read_entries(
    entries: &impl ReadableTable<&'static [u8], u32>,
    (from, to): &Range,
    last: Option<Vec<u8>>,
    direction: Direction,
    max: usize,
    mut see: impl FnMut(&[u8], usize),
) -> Result<usize, StorageError> {
    let mut from = Bound::Included(from.clone());
    let mut to = to.clone().map_or(Bound::Unbounded, Bound::Excluded);
    match (direction, last) {
        (_, None) => {}
        (Direction::Up, Some(last)) => from = Bound::Excluded(last),
        (Direction::Down, Some(last)) => to = Bound::Excluded(last),
    }
    if crossed(&from, &to) {
        return Ok(0);
    }
    let bounds = (from.as_ref().map(Vec::as_slice), to.as_ref().map(Vec::as_slice));
    let mut range = entries.range::<&[u8]>(bounds)?;
    let mut read = 0;
    while read < max {
        let next = if direction == Direction::Up { range.next() } else { range.next_back() };
        let Some(entry) = next else { break };
        let (key, length) = entry?;
        see(key.value(), length.value() as usize);
        read += 1;
    }
    Ok(read)
}

/// The key of the first entry within the bounds.
pub fn first(
    entries: &impl ReadableTable<&'static [u8], u32>,
    bounds: &Bounds,
    direction: Direction,
) -> Result<Option<Vec<u8>>, StorageError> {
    let mut found = None;
    let mut look =
        |range: &Range| read_entries(entries, range, None, direction, 1, |key, _| found = Some(key.to_vec()));
    let ranges = &bounds.ranges;
    match direction {
        Direction::Up => {
            for range in ranges {
                if look(range)? > 0 {
                    break;
                }
            }
        }
        Direction::Down => {
            for range in ranges.iter().rev() {
                if look(range)? > 0 {
                    break;
                }
            }
        }
    }
    Ok(found)
}

/// How many entries the bounds hold, counted up to `max`.
pub fn count(
    entries: &impl ReadableTable<&'static [u8], u32>,
    bounds: &Bounds,
    max: usize,
) -> Result<usize, StorageError> {
    let mut counted = 0;
    for range in &bounds.ranges {
        if counted >= max {
            break;
        }
        counted += read_entries(entries, range, None, Direction::Up, max - counted, |_, _| {})?;
    }
    Ok(counted)
}

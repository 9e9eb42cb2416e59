//! `$sort` and `$sample`: stages that hold their input to give it in another order.

use std::sync::Arc;

use bson::raw::RawDocumentBuf;

use super::rows::{Held, Rows};
use super::{Documents, Pull, Turn, exhaust};
use crate::error::StoreError;
use crate::sort::Sort;

pub struct Sorting {
    /// `None` once everything was seen.
    input: Option<Box<dyn Documents>>,
    sort: Arc<Sort>,
    /// With a limit, no more than this many of the first need to be kept.
    keep: Option<usize>,
    found: Vec<(Vec<u8>, RawDocumentBuf)>,
    /// The key of the last of those to be kept, once there were as many.
    last: Option<Vec<u8>>,
    held: Held,
    sorted: Rows,
}

impl Sorting {
    pub fn new(input: Box<dyn Documents>, sort: Arc<Sort>, limit: Option<u64>) -> Self {
        let keep = limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
        Self {
            input: Some(input),
            sort,
            keep,
            found: Vec::new(),
            last: None,
            held: Held::by("$sort"),
            sorted: Rows::default(),
        }
    }

    fn cut(&mut self, keep: usize) -> Result<(), StoreError> {
        // Stable, so that equals stay in the order in which they came.
        self.found.sort_by(|left, right| left.0.cmp(&right.0));
        self.found.truncate(keep);
        if self.found.len() == keep {
            self.last = self.found.last().map(|(key, _)| key.clone());
        }
        self.held.set(self.found.iter().map(|(key, document)| weight(key, document)).sum())
    }
}

fn weight(key: &[u8], document: &RawDocumentBuf) -> usize {
    key.len() + document.as_bytes().len() + size_of::<(Vec<u8>, RawDocumentBuf)>()
}

impl Documents for Sorting {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        while let Some(input) = &mut self.input {
            match input.next(turn)? {
                Pull::Document(document) => {
                    let key = self.sort.key(&document)?;
                    // As many as are wanted come before it.
                    if self.last.as_ref().is_some_and(|last| key >= *last) {
                        continue;
                    }
                    self.held.add(weight(&key, &document))?;
                    self.found.push((key, document));
                    if let Some(keep) = self.keep
                        && self.found.len() > keep
                        && (self.found.len() >= keep.saturating_mul(2).max(64) || self.held.is_half_full())
                    {
                        self.cut(keep)?;
                    }
                }
                Pull::Pause => return Ok(Pull::Pause),
                Pull::End => {
                    self.input = None;
                    self.cut(self.keep.unwrap_or(usize::MAX))?;
                    let found = std::mem::take(&mut self.found);
                    self.sorted = Rows::of(found.into_iter().map(|(_, document)| document).collect());
                }
            }
        }
        self.sorted.next(turn)
    }
}

/// Some of the input, each document as likely as any other.
pub struct Sampling {
    input: Option<Box<dyn Documents>>,
    size: usize,
    seen: u64,
    random: Random,
    chosen: Vec<RawDocumentBuf>,
    held: Held,
    rows: Rows,
}

impl Sampling {
    pub fn new(input: Box<dyn Documents>, size: u64) -> Self {
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        Self {
            input: Some(input),
            size,
            seen: 0,
            random: Random::seeded(),
            chosen: Vec::new(),
            held: Held::by("$sample"),
            rows: Rows::default(),
        }
    }

    /// A reservoir: the n-th document takes a random place among the first n, and is kept if that is one of those wanted.
    fn see(&mut self, document: RawDocumentBuf) -> Result<(), StoreError> {
        self.seen += 1;
        if self.chosen.len() < self.size {
            self.held.add(document.as_bytes().len() + size_of::<RawDocumentBuf>())?;
            self.chosen.push(document);
            return Ok(());
        }
        let place = usize::try_from(self.random.below(self.seen)).unwrap_or(usize::MAX);
        if let Some(chosen) = self.chosen.get_mut(place) {
            self.held.release(chosen.as_bytes().len());
            self.held.add(document.as_bytes().len())?;
            *chosen = document;
        }
        Ok(())
    }
}

impl Documents for Sampling {
    fn next(&mut self, turn: &mut Turn) -> Result<Pull, StoreError> {
        if let Some(mut input) = self.input.take() {
            if !exhaust(&mut *input, turn, |document| self.see(document))? {
                self.input = Some(input);
                return Ok(Pull::Pause);
            }
            let mut chosen = std::mem::take(&mut self.chosen);
            // The reservoir's order is not random: what came first stands first when it was kept.
            for at in (1..chosen.len()).rev() {
                let other = usize::try_from(self.random.below(at as u64 + 1)).unwrap_or(0);
                chosen.swap(at, other);
            }
            self.rows = Rows::of(chosen);
        }
        self.rows.next(turn)
    }
}

/// Numbers that need not be secret (splitmix64).
struct Random(u64);

impl Random {
    fn seeded() -> Self {
        let mut seed = [0; 8];
        // Without the system's random numbers any sample is as good as another.
        let _ = getrandom::fill(&mut seed);
        Self(u64::from_le_bytes(seed))
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * u128::from(end)) >> 64) as u64
    }
}

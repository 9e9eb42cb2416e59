//! How the documents that a query means are found.
//!
//! In: a filter, an order, and the indexes of the collection. Out: a [`Plan`]. Whatever it is, every document found is
//! still asked the whole filter, so a plan decides about time and never about the answer.
//!
//! The rules, in this order:
//! 1. Values given for `_id` are looked up in the collection itself.
//! 2. An index can serve when the filter narrows its first field, or when it gives the order asked for. A partial one
//!    only when the filter implies its own, a sparse one only when the filter demands one of its fields.
//! 3. Among several that narrow, the one with the fewest entries to read is taken, counted up to a small number; then the
//!    one that gives the order; then the one narrowed by more fields.
//! 4. When all of them have many entries, one that gives the order is taken before one that does not; with a limit even
//!    one that gives nothing but the order.
//! 5. When none narrows and the filter has an `$or` whose branches can each be looked up, they are, one after another.
//! 6. Otherwise the collection is walked, between the bounds the filter gives for `_id`.

use std::ops::Bound;

use super::access_path::AccessPath;
use super::indexes::{Entries, Entry};
use crate::filter::Filter;
use crate::index::{Bounds, Conditions, implies};
use crate::limits;
use crate::sort::{Direction, Sort};

#[derive(Debug, Clone)]
pub enum Plan {
    /// By `_id`, in ascending order.
    Keys(Vec<Vec<u8>>),
    /// A walk over the collection.
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
    /// Through indexes.
    Indexed(Indexed),
}

#[derive(Debug, Clone)]
pub struct Indexed {
    pub entries: Entries,
    /// One, or those of an `$or`.
    pub branches: Vec<Branch>,
    /// Whether documents come in the order asked for.
    pub sorts: bool,
    /// Whether each entry is a document that is meant, so that counting needs no document.
    pub covered: bool,
}

#[derive(Debug, Clone)]
pub struct Branch {
    pub source: Source,
    /// Of an `$or`: what a document found here satisfies.
    pub filter: Option<Filter>,
}

#[derive(Debug, Clone)]
pub enum Source {
    Keys(Vec<Vec<u8>>),
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
    /// `at` is the place of the index among the collection's.
    Index {
        at: usize,
        bounds: Bounds,
        direction: Direction,
    },
}

/// Counts entries of the index at a place, in its bounds, up to a number.
pub type Probe<'p, E> = dyn FnMut(usize, &Bounds, usize) -> Result<usize, E> + 'p;

impl Indexed {
    /// The places of the indexes it reads.
    pub fn indexes(&self) -> impl Iterator<Item = usize> + '_ {
        self.branches.iter().filter_map(|branch| match branch.source {
            Source::Index { at, .. } => Some(at),
            _ => None,
        })
    }
}

struct Candidate {
    at: usize,
    bounds: Bounds,
    /// The walk that gives the order, when there is one.
    order: Option<Direction>,
    count: usize,
}

impl Plan {
    /// With no index but that of `_id`.
    pub fn by_id(filter: &Filter) -> Self {
        match AccessPath::of(filter) {
            AccessPath::Keys(keys) => Self::Keys(keys),
            AccessPath::Range(from, to) => Self::Range(from, to),
        }
    }

    pub fn choose<E>(
        filter: &Filter,
        sort: &Sort,
        limited: bool,
        entries: &Entries,
        probe: &mut Probe<'_, E>,
    ) -> Result<Self, E> {
        let by_id = Self::by_id(filter);
        let (from, to) = match by_id {
            Self::Range(from, to) if !entries.is_empty() => (from, to),
            by_id => return Ok(by_id),
        };
        let conditions = Conditions::of(filter);
        let mut candidates: Vec<Candidate> = entries
            .iter()
            .enumerate()
            .filter(|(_, entry)| can_serve(entry, &conditions))
            .map(|(at, entry)| {
                let bounds = Bounds::of(&entry.index, entry.arrays, &conditions);
                let order = order(entry, &bounds, sort);
                Candidate { at, bounds, order, count: usize::MAX }
            })
            .filter(|it| it.bounds.narrowed > 0 || (it.order.is_some() && sort.walk().is_none()))
            .collect();
        let narrowed = candidates.iter().filter(|candidate| candidate.bounds.narrowed > 0).count();
        let id_narrows = !matches!((&from, &to), (Bound::Unbounded, Bound::Unbounded));
        if narrowed == 0
            && !id_narrows
            && let Some(indexed) = either(filter, entries, probe)?
        {
            return Ok(Self::Indexed(indexed));
        }
        if candidates.len() > 1 || id_narrows {
            for candidate in candidates.iter_mut().filter(|candidate| candidate.bounds.narrowed > 0) {
                candidate.count = probe(candidate.at, &candidate.bounds, limits::PLAN_PROBE_ENTRIES)?;
            }
        }
        let chosen = pick(candidates, limited, sort, id_narrows);
        let Some(Candidate { at, bounds, order, .. }) = chosen else { return Ok(Self::Range(from, to)) };
        let covered = bounds.exact;
        let source = Source::Index { at, bounds, direction: order.unwrap_or(Direction::Up) };
        Ok(Self::Indexed(Indexed {
            entries: Entries::clone(entries),
            branches: vec![Branch { source, filter: None }],
            sorts: order.is_some(),
            covered,
        }))
    }
}

fn pick(candidates: Vec<Candidate>, limited: bool, sort: &Sort, id_narrows: bool) -> Option<Candidate> {
    let many = limits::PLAN_PROBE_ENTRIES;
    let wants_order = !sort.is_natural();
    let rank = |it: &Candidate| (it.count, wants_order && it.order.is_none(), usize::MAX - it.bounds.narrowed);
    let best = candidates.iter().enumerate().min_by_key(|(_, it)| rank(it)).map(|(at, it)| (at, it.count))?;
    let place = match best {
        // A walk over a part of the collection reads each document once, and an index reads it by a look-up.
        (_, count) if count >= many && id_narrows => return None,
        (at, count) if count < many || !wants_order || candidates[at].order.is_some() => at,
        // Many entries: then the order counts, and with a limit the collection's own is as good.
        (at, _) => {
            let ordered = |narrowing: bool| {
                candidates.iter().position(|it| it.order.is_some() && (it.bounds.narrowed > 0 || !narrowing))
            };
            match ordered(true).or_else(|| limited.then(|| ordered(false)).flatten()) {
                Some(at) => at,
                None if limited && sort.walk().is_some() => return None,
                None => at,
            }
        }
    };
    let mut candidates = candidates;
    Some(candidates.swap_remove(place))
}

/// The branches of an `$or` that every document must satisfy, each looked up by itself; none when one cannot be.
fn either<E>(filter: &Filter, entries: &Entries, probe: &mut Probe<'_, E>) -> Result<Option<Indexed>, E> {
    let either = match filter {
        Filter::Or(any) => any,
        Filter::And(all) => match all.iter().find_map(|one| if let Filter::Or(any) = one { Some(any) } else { None }) {
            Some(any) => any,
            None => return Ok(None),
        },
        _ => return Ok(None),
    };
    let mut branches = Vec::new();
    for one in either {
        let found = match Plan::choose(one, &Sort::default(), false, entries, probe)? {
            Plan::Keys(keys) => vec![Source::Keys(keys)],
            Plan::Range(Bound::Unbounded, Bound::Unbounded) => return Ok(None),
            Plan::Range(from, to) => vec![Source::Range(from, to)],
            Plan::Indexed(indexed) => indexed.branches.into_iter().map(|branch| branch.source).collect(),
        };
        // Where one branch is an `$or` itself, its parts are told apart by its parts' filters only; it stays whole.
        if found.len() > 1 {
            return Ok(None);
        }
        branches.extend(found.into_iter().map(|source| Branch { source, filter: Some(one.clone()) }));
    }
    let few = branches.len() <= limits::PLAN_BRANCHES_MAX;
    Ok(few.then(|| Indexed { entries: Entries::clone(entries), branches, sorts: false, covered: false }))
}

fn can_serve(entry: &Entry, conditions: &Conditions<'_>) -> bool {
    let Entry { index, building, .. } = entry;
    !building
        && index.partial.as_ref().is_none_or(|partial| implies(conditions, partial))
        && (!index.sparse || index.parts.iter().any(|part| conditions.demand(part.path.as_str())))
}

/// The walk over the index that gives the order asked for.
fn order(entry: &Entry, bounds: &Bounds, sort: &Sort) -> Option<Direction> {
    let Entry { index, arrays, .. } = entry;
    // A document sorts by the least or greatest element of an array. Which that is for several arrays at once is decided
    // for each of them apart, and an index has pairs; a sparse one leaves the missing elements out.
    if sort.is_natural() || arrays.count_ones() > 1 || (index.sparse && *arrays != 0) {
        return None;
    }
    let mut parts = index.parts.iter().enumerate();
    let mut walk = None;
    for (path, direction) in sort.parts() {
        let (at, own) = loop {
            match parts.next() {
                // Entries with one key lie in the order of `_id`.
                None if path.as_str() == "_id" => break (usize::MAX, Direction::Up),
                None => return None,
                Some((at, part)) if part.path == *path => {
                    if part.is_positional() {
                        return None;
                    }
                    break (at, part.direction);
                }
                // One value throughout.
                Some((at, _)) if at < bounds.equal => {}
                Some(_) => return None,
            }
        };
        if at < bounds.narrowed && arrays & (1 << at) != 0 {
            // The element that sorts may lie outside of the bounds.
            return None;
        }
        if at < bounds.equal {
            continue;
        }
        let needed = if own == *direction { Direction::Up } else { Direction::Down };
        if *walk.get_or_insert(needed) != needed {
            return None;
        }
        if path.as_str() == "_id" {
            break;
        }
    }
    Some(walk.unwrap_or(Direction::Up))
}

//! Which stretches of an index's keys the documents that a filter means can lie in.
//!
//! In: what a filter requires of every document ([`Conditions`]) and an index. Out: [`Bounds`]: ranges of whole keys,
//! ascending and apart from one another, with what they prove. A range may hold more than the filter means, never less:
//! whoever reads through it still asks the whole filter.
//!
//! The rules. Values at the leading parts of an index narrow it as long as each but the last of them is a set of single
//! values. Several conditions on one path narrow together only while no document has an array there; otherwise each of
//! them may be met by another element, and the narrowest one is taken. What is negated, and comparisons with arrays,
//! narrow nothing.

use bson::raw::{RawBson, RawBsonRef};

use super::{Index, Part, show};
use crate::filter::{Comparison, Filter, Predicate};
use crate::limits;
use crate::sort::Direction;
use crate::value::number::Number;
use crate::value::path::index_of;
use crate::value::{Class, class_of, key};

/// From the first (included) to the second (excluded), or to the end.
pub type Range = (Vec<u8>, Option<Vec<u8>>);

/// A place between keys.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cut {
    /// Before everything that begins with these bytes.
    Before(Vec<u8>),
    After(Vec<u8>),
}

type Interval = (Cut, Cut);

/// What each document a filter means must satisfy, by path.
#[derive(Debug, Default)]
pub struct Conditions<'a> {
    all: Vec<(String, &'a Predicate)>,
    /// Whether there is nothing else in the filter.
    complete: bool,
}

#[derive(Debug, Clone)]
pub struct Bounds {
    pub ranges: Vec<Range>,
    /// How many leading parts are one value each.
    pub equal: usize,
    /// How many leading parts are narrowed.
    pub narrowed: usize,
    /// For each part the stretches of its values, for people.
    pub shown: Vec<(String, Vec<String>)>,
    /// Whether the ranges hold what the filter means and nothing else, as long as no document has an array there.
    pub exact: bool,
}

impl<'a> Conditions<'a> {
    pub fn of(filter: &'a Filter) -> Self {
        let mut conditions = Self { all: Vec::new(), complete: is_conjunction(filter) };
        filter.required(&mut |path, predicate| conditions.add(path.as_str(), predicate));
        conditions
    }

    fn add(&mut self, path: &str, predicate: &'a Predicate) {
        match predicate {
            Predicate::Every(these) => these.iter().for_each(|one| self.add(path, one)),
            Predicate::ElementIs(filter) => {
                self.all.push((path.to_owned(), predicate));
                filter.required(&mut |inner, predicate| {
                    // An array inside the array counts as a document whose names are numbers, or as one that lacks a
                    // name; an index has no keys for either.
                    let positional = inner.parts().any(|part| index_of(part).is_some());
                    if !positional && rejects_missing(predicate) {
                        self.add(&format!("{path}.{}", inner.as_str()), predicate);
                    }
                });
            }
            _ => self.all.push((path.to_owned(), predicate)),
        }
    }

    fn at<'b>(&'b self, path: &'b str) -> impl Iterator<Item = &'a Predicate> + 'b {
        self.all.iter().filter(move |(at, _)| at == path).map(|(_, predicate)| *predicate)
    }

    /// Whether a document that lacks the field cannot be meant.
    pub fn demand(&self, path: &str) -> bool {
        self.at(path).any(rejects_missing)
    }

    pub fn each(&self) -> impl Iterator<Item = (&str, &'a Predicate)> {
        self.all.iter().map(|(path, predicate)| (path.as_str(), *predicate))
    }
}

impl Bounds {
    /// `arrays`: a bit for each part of the index at which some document has an array.
    pub fn of(index: &Index, arrays: u32, conditions: &Conditions<'_>) -> Self {
        let mut bounds = Self {
            ranges: vec![(Vec::new(), None)],
            equal: 0,
            narrowed: 0,
            shown: Vec::new(),
            exact: conditions.complete && arrays == 0,
        };
        let mut prefixes: Vec<Vec<u8>> = vec![Vec::new()];
        let mut used = 0;
        let (mut open, mut through_array) = (true, false);
        for (number, part) in index.parts.iter().enumerate() {
            let has_arrays = arrays & (1 << number) != 0;
            // Two parts inside one array are met by pairs of its elements, and the two conditions by any two elements.
            let may_narrow = open && !(has_arrays && through_array);
            let narrowed = if may_narrow { part_intervals(part, has_arrays, conditions) } else { None };
            let Some(Narrowed { intervals, exact, conditions: count }) = narrowed else {
                open = false;
                bounds.shown.push((part.path.as_str().to_owned(), vec!["[MinKey, MaxKey]".to_owned()]));
                continue;
            };
            if prefixes.len().saturating_mul(intervals.len()) > limits::PLAN_RANGES_MAX.max(intervals.len()) {
                open = false;
                bounds.shown.push((part.path.as_str().to_owned(), vec!["[MinKey, MaxKey]".to_owned()]));
                continue;
            }
            through_array |= has_arrays;
            used += count;
            bounds.exact &= exact;
            bounds.narrowed += 1;
            bounds.shown.push((part.path.as_str().to_owned(), intervals.iter().map(show).collect()));
            let points = intervals.iter().all(|(from, to)| is_point(from, to));
            if points && intervals.len() == 1 && bounds.equal == number {
                bounds.equal += 1;
            }
            let mut placed: Vec<Interval> = intervals;
            if part.direction == Direction::Down {
                placed = placed.into_iter().rev().map(|(from, to)| (to.inverted(), from.inverted())).collect();
            }
            bounds.ranges = prefixes.iter().flat_map(|prefix| placed.iter().map(|it| range(prefix, it))).collect();
            if !points {
                open = false;
                continue;
            }
            let values = placed.iter().map(|(from, _)| match from {
                Cut::Before(value) | Cut::After(value) => value,
            });
            let values: Vec<_> = values.collect();
            prefixes = prefixes
                .iter()
                .flat_map(|prefix| values.iter().map(|value| [prefix.as_slice(), value.as_slice()].concat()))
                .collect();
        }
        bounds.exact &= used == conditions.all.len();
        bounds
    }
}

/// What one path comes to: its stretches ascending and apart, how exact, and how many conditions they stand for.
struct Narrowed {
    intervals: Vec<Interval>,
    exact: bool,
    conditions: usize,
}

fn part_intervals(part: &Part, has_arrays: bool, conditions: &Conditions<'_>) -> Option<Narrowed> {
    let positional = part.is_positional();
    let mut narrowed: Option<Narrowed> = None;
    for predicate in conditions.at(part.path.as_str()) {
        if positional && !rejects_missing(predicate) {
            continue;
        }
        let Some((intervals, exact)) = intervals(predicate) else { continue };
        let exact = exact && !positional;
        narrowed = Some(match narrowed {
            None => Narrowed { intervals, exact, conditions: 1 },
            Some(so_far) if !has_arrays => Narrowed {
                intervals: intersection(&so_far.intervals, &intervals),
                exact: so_far.exact && exact,
                conditions: so_far.conditions + 1,
            },
            Some(so_far) if width(&intervals) < width(&so_far.intervals) => {
                Narrowed { intervals, exact: false, conditions: 1 }
            }
            Some(so_far) => so_far,
        });
    }
    narrowed
}

/// Single values are narrower than stretches, and few narrower than many.
fn width(intervals: &[Interval]) -> (bool, usize) {
    (!intervals.iter().all(|(from, to)| is_point(from, to)), intervals.len())
}

/// The stretches one predicate allows, and whether it allows all that lies there.
fn intervals(predicate: &Predicate) -> Option<(Vec<Interval>, bool)> {
    match predicate {
        Predicate::Compare(Comparison::Equal, value) => Some(equal(value.as_raw_bson_ref())),
        Predicate::Compare(comparison, value) => compared(*comparison, value.as_raw_bson_ref()),
        Predicate::In { values, patterns } => {
            let (mut all, mut exact) = (Vec::new(), patterns.is_empty());
            for value in values {
                let (intervals, is_exact) = equal(value.as_raw_bson_ref());
                all.extend(intervals);
                exact &= is_exact;
            }
            if !patterns.is_empty() {
                all.extend([of_class(Class::String), of_class(Class::Regex)]);
            }
            Some((union(all), exact))
        }
        Predicate::Matches(_) => Some((vec![of_class(Class::String), of_class(Class::Regex)], false)),
        // One element satisfies all of these, so they narrow together.
        Predicate::ElementHas(these) => {
            let mut together: Option<Vec<Interval>> = None;
            for (intervals, _) in these.iter().filter_map(intervals) {
                together = Some(together.map_or(intervals.clone(), |so_far| intersection(&so_far, &intervals)));
            }
            together.map(|intervals| (intervals, false))
        }
        _ => None,
    }
}

fn equal(value: RawBsonRef<'_>) -> (Vec<Interval>, bool) {
    match value {
        // What is not there is null, and undefined equals it.
        RawBsonRef::Null | RawBsonRef::Undefined => (vec![of_class(Class::Undefined), of_class(Class::Null)], false),
        // Either an element that is this array, or an array that is this one and so begins with its first element.
        RawBsonRef::Array(array) => {
            let first = array.into_iter().next().and_then(Result::ok).unwrap_or(RawBsonRef::Undefined);
            (union(vec![point(value), point(first)]), false)
        }
        value => (vec![point(value)], true),
    }
}

fn compared(comparison: Comparison, value: RawBsonRef<'_>) -> Option<(Vec<Interval>, bool)> {
    let class = class_of(value);
    let key = key::encode(value);
    let is_number = class == Class::Number;
    match class {
        Class::MinKey | Class::MaxKey | Class::Array => return None,
        Class::Null | Class::Undefined => return Some(equal(RawBsonRef::Null)),
        Class::Number if Number::of(value).is_some_and(Number::is_nan) => return Some((vec![point(value)], false)),
        _ => {}
    }
    // NaN is the least of all numbers and yet less than none.
    let least = if is_number {
        Cut::Before(key::encode(RawBsonRef::Double(f64::NEG_INFINITY)))
    } else {
        Cut::Before(vec![class as u8])
    };
    let greatest = Cut::After(vec![class as u8]);
    let interval = match comparison {
        Comparison::Greater => (Cut::After(key), greatest),
        Comparison::GreaterOrEqual => (Cut::Before(key), greatest),
        Comparison::Less => (least, Cut::Before(key)),
        Comparison::LessOrEqual => (least, Cut::After(key)),
        Comparison::Equal => return Some(equal(value)),
    };
    Some((vec![interval], true))
}

fn point(value: RawBsonRef<'_>) -> Interval {
    let key = key::encode(value);
    (Cut::Before(key.clone()), Cut::After(key))
}

fn of_class(class: Class) -> Interval {
    (Cut::Before(vec![class as u8]), Cut::After(vec![class as u8]))
}

fn is_point(from: &Cut, to: &Cut) -> bool {
    // One byte is a class: only those of a single value are points.
    matches!((from, to), (Cut::Before(from), Cut::After(to)) if from == to && (from.len() > 1 || is_single(from)))
}

fn is_single(class: &[u8]) -> bool {
    let single = [Class::MinKey, Class::Undefined, Class::Null, Class::MaxKey];
    matches!(class, [byte] if single.iter().any(|it| *it as u8 == *byte))
}

impl Cut {
    /// The first bytes behind it; `None` when nothing is.
    fn bytes(&self) -> Option<Vec<u8>> {
        match self {
            Self::Before(bytes) => Some(bytes.clone()),
            Self::After(bytes) => successor(bytes.clone()),
        }
    }

    /// The same place when all bytes are turned over and so the order is.
    fn inverted(&self) -> Self {
        let turned = |bytes: &[u8]| bytes.iter().map(|byte| !byte).collect();
        match self {
            Self::Before(bytes) => Self::After(turned(bytes)),
            Self::After(bytes) => Self::Before(turned(bytes)),
        }
    }
}

/// The first bytes that come after everything that begins with these.
pub fn successor(mut bytes: Vec<u8>) -> Option<Vec<u8>> {
    while bytes.last() == Some(&0xff) {
        bytes.pop();
    }
    let last = bytes.last_mut()?;
    *last += 1;
    Some(bytes)
}

fn range(prefix: &[u8], (from, to): &Interval) -> Range {
    let from = from.bytes().map_or_else(|| prefix.to_vec(), |from| [prefix, from.as_slice()].concat());
    let to = match to.bytes() {
        Some(to) => Some([prefix, to.as_slice()].concat()),
        None => successor(prefix.to_vec()),
    };
    (from, to)
}

fn is_before(left: &Cut, right: &Cut) -> bool {
    match (left.bytes(), right.bytes()) {
        (Some(left), Some(right)) => left < right,
        (Some(_), None) => true,
        (None, _) => false,
    }
}

fn union(mut all: Vec<Interval>) -> Vec<Interval> {
    all.sort_by_cached_key(|(from, _)| from.bytes());
    let mut joined: Vec<Interval> = Vec::with_capacity(all.len());
    for (from, to) in all {
        match joined.last_mut() {
            Some((_, last)) if is_before(&from, last) => {
                if is_before(last, &to) {
                    *last = to;
                }
            }
            _ => joined.push((from, to)),
        }
    }
    joined
}

fn intersection(left: &[Interval], right: &[Interval]) -> Vec<Interval> {
    let mut common = Vec::new();
    let (mut at, mut other_at) = (0, 0);
    while let (Some((from, to)), Some((other_from, other_to))) = (left.get(at), right.get(other_at)) {
        let from = if is_before(from, other_from) { other_from } else { from };
        let end = if is_before(to, other_to) { to } else { other_to };
        if is_before(from, end) {
            common.push((from.clone(), end.clone()));
        }
        if is_before(to, other_to) { at += 1 } else { other_at += 1 }
    }
    common
}

fn is_conjunction(filter: &Filter) -> bool {
    match filter {
        Filter::And(all) => all.iter().all(is_conjunction),
        Filter::Field(..) => true,
        _ => false,
    }
}

/// Whether a place where nothing is cannot satisfy it.
pub fn rejects_missing(predicate: &Predicate) -> bool {
    let is_null = |value: &RawBson| matches!(value, RawBson::Null | RawBson::Undefined);
    match predicate {
        Predicate::Compare(_, value) => !is_null(value),
        Predicate::In { values, .. } => !values.iter().any(is_null),
        Predicate::Every(these) => these.iter().any(rejects_missing),
        Predicate::Matches(_)
        | Predicate::Exists
        | Predicate::Type(_)
        | Predicate::Size(_)
        | Predicate::Mod { .. }
        | Predicate::ElementIs(_)
        | Predicate::ElementHas(_) => true,
        _ => false,
    }
}

/// As people read it.
fn show((from, to): &Interval) -> String {
    let end = |cut: &Cut, class_only: &str| {
        let (Cut::Before(bytes) | Cut::After(bytes)) = cut;
        if bytes.len() == 1 && !is_single(bytes) { class_only.to_owned() } else { show::key(bytes) }
    };
    // A whole class is shown by its name on both ends.
    let class = match from {
        Cut::Before(bytes) | Cut::After(bytes) => show::class(bytes),
    };
    let open = if matches!(from, Cut::Before(_)) { '[' } else { '(' };
    let close = if matches!(to, Cut::Before(_)) { ')' } else { ']' };
    format!("{open}{}, {}{close}", end(from, &format!("least {class}")), end(to, &format!("greatest {class}")))
}

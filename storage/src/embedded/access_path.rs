//! Where in a collection the documents that a filter means can lie at all.
//!
//! In: a filter. Out: keys, or a range of keys, of `_id`s; every document there is still asked the whole filter.

use std::ops::Bound;

use bson::raw::RawBson;

use crate::filter::{Comparison, Filter, Predicate};
use crate::value::{Class, class_of, key};

#[derive(Debug, Clone)]
pub enum AccessPath {
    /// In ascending order, each once.
    Keys(Vec<Vec<u8>>),
    Range(Bound<Vec<u8>>, Bound<Vec<u8>>),
}

impl AccessPath {
    pub fn of(filter: &Filter) -> Self {
        let mut keys: Option<Vec<Vec<u8>>> = None;
        let (mut from, mut to) = (Bound::Unbounded, Bound::Unbounded);
        filter.required(&mut |path, predicate| {
            if path.as_str() != "_id" {
                return;
            }
            match predicate {
                Predicate::Compare(Comparison::Equal, value) => keys = Some(vec![encode(value)]),
                Predicate::In { values, patterns } if keys.is_none() && patterns.is_empty() => {
                    let mut all: Vec<_> = values.iter().map(encode).collect();
                    all.sort_unstable();
                    all.dedup();
                    keys = Some(all);
                }
                Predicate::Compare(comparison, value) => narrow(*comparison, value, &mut from, &mut to),
                _ => {}
            }
        });
        match keys {
            Some(keys) => Self::Keys(keys),
            None => Self::Range(from, to),
        }
    }
}

fn encode(value: &RawBson) -> Vec<u8> {
    key::encode(value.as_raw_bson_ref())
}

/// The last comparison in each direction is taken; the filter sees to the others.
fn narrow(comparison: Comparison, value: &RawBson, from: &mut Bound<Vec<u8>>, to: &mut Bound<Vec<u8>>) {
    let class = class_of(value.as_raw_bson_ref());
    if matches!(class, Class::MinKey | Class::MaxKey) {
        return;
    }
    // A comparison only ever matches values of its own class.
    let (first, end) = key::class_bounds(class);
    match comparison {
        Comparison::Greater | Comparison::GreaterOrEqual => {
            *from = Bound::Included(encode(value));
            if matches!(to, Bound::Unbounded) {
                *to = Bound::Excluded(end);
            }
        }
        Comparison::Less | Comparison::LessOrEqual => {
            *to = Bound::Included(encode(value));
            if matches!(from, Bound::Unbounded) {
                *from = Bound::Included(first);
            }
        }
        Comparison::Equal => {}
    }
}

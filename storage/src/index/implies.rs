//! Whether every document that a filter means is among those that another one, of a partial index, means.
//!
//! In: what a query requires, and a partial index's filter. Out: yes, or "not known". A value that satisfies the query's
//! condition must satisfy the index's by itself: whatever element of an array met the one then meets the other.

use bson::raw::RawBson;

use super::bounds::{Conditions, rejects_missing};
use crate::filter::{Comparison, Filter, Predicate};
use crate::value::{class_of, compare, same};

pub fn implies(conditions: &Conditions<'_>, partial: &Filter) -> bool {
    match partial {
        Filter::And(all) => all.iter().all(|one| implies(conditions, one)),
        Filter::Or(any) => any.iter().any(|one| implies(conditions, one)),
        Filter::Field(path, wanted) => {
            let mut known = conditions.each().filter(|(at, _)| *at == path.as_str());
            known.any(|(_, known)| one_implies(known, wanted))
        }
        _ => false,
    }
}

fn one_implies(known: &Predicate, wanted: &Predicate) -> bool {
    match (known, wanted) {
        (known, Predicate::Exists) => rejects_missing(known),
        (Predicate::Type(known), Predicate::Type(wanted)) => known == wanted,
        (Predicate::Compare(Comparison::Equal, value), wanted) => value_implies(value, wanted),
        (Predicate::In { values, patterns }, wanted) => {
            patterns.is_empty() && values.iter().all(|value| value_implies(value, wanted))
        }
        (Predicate::Compare(known, value), Predicate::Compare(wanted, bound)) => {
            range_implies(*known, value, *wanted, bound)
        }
        _ => false,
    }
}

/// Whether being equal to the value is enough.
fn value_implies(value: &RawBson, wanted: &Predicate) -> bool {
    match (value, wanted) {
        // Null also means what is not there, and an array its elements or itself.
        (RawBson::Null | RawBson::Undefined | RawBson::Array(_), Predicate::Compare(Comparison::Equal, other)) => {
            same(value.as_raw_bson_ref(), other.as_raw_bson_ref())
        }
        (RawBson::Null | RawBson::Undefined | RawBson::Array(_), _) => false,
        // Equal numbers may have other types, and so may equal texts.
        (_, Predicate::Type(_)) => false,
        (value, wanted @ (Predicate::Compare(..) | Predicate::In { .. })) => {
            wanted.holds_value(value.as_raw_bson_ref())
        }
        _ => false,
    }
}

fn range_implies(known: Comparison, value: &RawBson, wanted: Comparison, bound: &RawBson) -> bool {
    let (value, bound) = (value.as_raw_bson_ref(), bound.as_raw_bson_ref());
    let comparable = class_of(value) == class_of(bound)
        && !matches!(value, bson::RawBsonRef::Array(_) | bson::RawBsonRef::Null)
        // NaN is in no range but its own.
        && [value, bound].into_iter().all(|it| {
            crate::value::number::Number::of(it).is_none_or(|number| !number.is_nan())
        });
    if !comparable {
        return false;
    }
    let order = compare(value, bound);
    match (known, wanted) {
        (Comparison::Greater, Comparison::Greater | Comparison::GreaterOrEqual)
        | (Comparison::GreaterOrEqual, Comparison::GreaterOrEqual) => order.is_ge(),
        (Comparison::GreaterOrEqual, Comparison::Greater) => order.is_gt(),
        (Comparison::Less, Comparison::Less | Comparison::LessOrEqual)
        | (Comparison::LessOrEqual, Comparison::LessOrEqual) => order.is_le(),
        (Comparison::LessOrEqual, Comparison::Less) => order.is_lt(),
        _ => false,
    }
}

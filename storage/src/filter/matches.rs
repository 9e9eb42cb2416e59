//! Whether a raw document is meant by a [`Filter`].

use std::cmp::Ordering;
use std::hash::{BuildHasher, Hasher, RandomState};

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::{Asked, Comparison, Filter, Predicate, watched};
use crate::error::StoreError;
use crate::expression::{Globals, Scope};
use crate::value::number::Number;
use crate::value::path::{self, Leaf, Path};
use crate::value::{Class, class_of, compare, same};

impl Filter {
    /// An error is that of an expression, which ends the query.
    pub fn matches(&self, document: &RawDocument) -> Result<bool, StoreError> {
        watched(|| self.means(document, None))
    }

    /// For a filter of a pipeline, with the variables it was parsed with.
    pub fn holds(&self, document: &RawDocument, globals: &Globals) -> Result<bool, StoreError> {
        watched(|| self.means(document, Some(globals)))
    }

    /// What a filter without expressions answers: one on members of an array, where they are refused when it is parsed.
    pub fn matches_plain(&self, member: &RawDocument) -> bool {
        self.means(member, None).unwrap_or(false)
    }

    fn means(&self, document: &RawDocument, globals: Option<&Globals>) -> Result<bool, StoreError> {
        match self {
            Self::And(all) => {
                for one in all {
                    if !one.means(document, globals)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            Self::Or(any) => any_means(any, document, globals),
            Self::Nor(none) => any_means(none, document, globals).map(|any| !any),
            Self::Field(path, predicate) => Ok(predicate.at(document, path)),
            Self::Schema(schema) => Ok(schema.holds(document)),
            Self::Expression(asked) => asked.holds(document, globals),
            Self::Sample(rate) => Ok(random_share() < *rate),
        }
    }
}

impl Asked {
    fn holds(&self, document: &RawDocument, globals: Option<&Globals>) -> Result<bool, StoreError> {
        let globals = globals.or(self.globals.as_deref());
        let globals = globals.ok_or_else(|| StoreError::store("an expression was evaluated without its variables"))?;
        Ok(self.expression.evaluate(&Scope::new(document, globals))?.truth())
    }
}

fn any_means(filters: &[Filter], document: &RawDocument, globals: Option<&Globals>) -> Result<bool, StoreError> {
    for one in filters {
        if one.means(document, globals)? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// At least 0 and less than 1. The keys of the standard library's hashes are random, and different each time.
fn random_share() -> f64 {
    let bits = RandomState::new().build_hasher().finish();
    (bits >> 11) as f64 / (1u64 << 53) as f64
}

impl Predicate {
    /// Whether something at the path satisfies it. Negations ask about all values there together.
    pub(super) fn at(&self, document: &RawDocument, path: &Path) -> bool {
        match self {
            Self::Not(these) => !these.iter().all(|one| one.at(document, path)),
            Self::Every(these) => these.iter().all(|one| one.at(document, path)),
            Self::Nothing => false,
            // These ask about the array itself, not about its elements.
            Self::Size(_) | Self::ElementIs(_) | Self::ElementHas(_) => {
                path::any(document, path, Leaf::Whole, &mut |found| self.holds(found))
            }
            _ => path::any(document, path, Leaf::Elements, &mut |found| self.holds(found)),
        }
    }

    /// Whether one value satisfies it; `None` is a place where nothing is.
    fn holds(&self, found: Option<RawBsonRef<'_>>) -> bool {
        match self {
            Self::Compare(comparison, operand) => comparison.holds(found, operand.as_raw_bson_ref()),
            Self::In { values, patterns } => {
                values.iter().any(|operand| Comparison::Equal.holds(found, operand.as_raw_bson_ref()))
                    || found.is_some_and(|found| patterns.iter().any(|pattern| pattern.holds(found)))
            }
            Self::Matches(pattern) => found.is_some_and(|found| pattern.holds(found)),
            Self::Exists => found.is_some(),
            Self::Type(types) => found.is_some_and(|found| types.holds(found.element_type())),
            Self::Size(size) => match found {
                Some(RawBsonRef::Array(array)) => array.into_iter().map_while(Result::ok).count() as i64 == *size,
                _ => false,
            },
            Self::Mod { divisor, remainder } => {
                let number = found.and_then(Number::of).and_then(Number::truncated);
                // A wrapping remainder: the least long divided by -1 overflows and leaves 0.
                number.is_some_and(|number| number.wrapping_rem(*divisor) == *remainder)
            }
            Self::Bits(bits) => found.is_some_and(|found| bits.holds(found)),
            Self::ElementIs(_) | Self::ElementHas(_) => match found {
                Some(RawBsonRef::Array(array)) => self.first_element(array).is_some(),
                _ => false,
            },
            Self::Every(these) => these.iter().all(|one| one.holds(found)),
            Self::Not(these) => !these.iter().all(|one| one.holds(found)),
            Self::Nothing => false,
        }
    }

    /// The first element of an array that an `$elemMatch` means; none for any other predicate.
    pub fn first_element<'a>(&self, array: &'a RawArray) -> Option<RawBsonRef<'a>> {
        array.into_iter().map_while(Result::ok).find(|element| self.is_element(*element))
    }

    /// Whether a member of an array is what an `$elemMatch` means.
    pub(super) fn is_element(&self, element: RawBsonRef<'_>) -> bool {
        match self {
            Self::ElementIs(filter) => match element {
                RawBsonRef::Document(document) => filter.matches_plain(document),
                // An array inside an array is a document whose names are its indexes.
                RawBsonRef::Array(inner) => {
                    RawDocument::from_bytes(inner.as_bytes()).is_ok_and(|document| filter.matches_plain(document))
                }
                _ => false,
            },
            Self::ElementHas(these) => these.iter().all(|one| one.holds(Some(element))),
            _ => false,
        }
    }

    /// Whether a lone value, not in any document, satisfies it: for `$pull` and `$elemMatch` over values.
    pub fn holds_value(&self, value: RawBsonRef<'_>) -> bool {
        self.holds(Some(value))
    }
}

impl Comparison {
    /// Whether a value, or nothing, stands so to the operand. Only values of one class compare.
    pub(crate) fn holds(self, found: Option<RawBsonRef<'_>>, operand: RawBsonRef<'_>) -> bool {
        let null = matches!(operand, RawBsonRef::Null);
        let Some(found) = found else {
            // What is not there equals null, and nothing else.
            return null && !matches!(self, Self::Greater | Self::Less);
        };
        if null && matches!(found, RawBsonRef::Undefined) {
            return !matches!(self, Self::Greater | Self::Less);
        }
        let to_the_end = matches!(operand, RawBsonRef::MinKey | RawBsonRef::MaxKey);
        if self == Self::Equal {
            return class_of(found) == class_of(operand) && same(found, operand);
        }
        if class_of(found) != class_of(operand) && !to_the_end {
            return false;
        }
        if class_of(operand) == Class::Number {
            let nan = |value| Number::of(value).is_some_and(Number::is_nan);
            let (left, right) = (nan(found), nan(operand));
            if left || right {
                return left && right && matches!(self, Self::GreaterOrEqual | Self::LessOrEqual);
            }
        }
        let order = compare(found, operand);
        match self {
            Self::Equal => order == Ordering::Equal,
            Self::Greater => order == Ordering::Greater,
            Self::GreaterOrEqual => order != Ordering::Less,
            Self::Less => order == Ordering::Less,
            Self::LessOrEqual => order != Ordering::Greater,
        }
    }
}

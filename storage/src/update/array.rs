//! Operators on arrays: `$push` with its modifiers, `$addToSet`, `$pop`, `$pull` and `$pullAll`.

use bson::Bson;
use bson::raw::{RawBson, RawBsonRef};

use super::tree::{self, Write, raw, same};
use crate::error::StoreError;
use crate::filter::{Filter, Predicate, type_name};
use crate::sort::{Direction, Sort};
use crate::value::compare;
use crate::value::path::Path;

/// `$push`: what to add, where, in which order the array is left, and how much of it.
#[derive(Debug, Clone)]
pub struct Push {
    pub values: Vec<Bson>,
    /// From the front, or from the back when negative; at the end when absent.
    pub position: Option<i64>,
    pub sort: Option<ElementSort>,
    /// The first so many, or the last when negative.
    pub slice: Option<i64>,
}

#[derive(Debug, Clone)]
pub enum ElementSort {
    Whole(Direction),
    By(Sort),
}

/// What `$pull` takes out.
#[derive(Debug, Clone)]
pub enum Unwanted {
    Equal(Vec<RawBson>),
    Documents(Filter),
    Values(Vec<Predicate>),
}

impl Push {
    pub fn onto(&self, found: Option<&Bson>, path: &Path, id: &Bson) -> Result<Write, StoreError> {
        let mut elements = array(found, path, id)?;
        let length = elements.len();
        let position = match self.position {
            None => length,
            Some(position) if position < 0 => length.saturating_sub(usize::try_from(-position).unwrap_or(usize::MAX)),
            Some(position) => usize::try_from(position).unwrap_or(usize::MAX).min(length),
        };
        elements.splice(position..position, self.values.iter().cloned());
        match &self.sort {
            None => {}
            Some(ElementSort::Whole(direction)) => {
                elements.sort_by(|left, right| {
                    let order = compare(raw(left).as_raw_bson_ref(), raw(right).as_raw_bson_ref());
                    if *direction == Direction::Up { order } else { order.reverse() }
                });
            }
            Some(ElementSort::By(sort)) => {
                let keys = elements.iter().map(|element| match raw(element) {
                    RawBson::Document(document) => sort.key(&document),
                    // What is not a document has none of the fields.
                    _ => sort.key(&bson::RawDocumentBuf::new()),
                });
                let keys = keys.collect::<Result<Vec<_>, _>>()?;
                let mut keyed: Vec<_> = keys.into_iter().zip(elements).collect();
                keyed.sort_by(|left, right| left.0.cmp(&right.0));
                elements = keyed.into_iter().map(|(_, element)| element).collect();
            }
        }
        match self.slice {
            None => {}
            Some(slice) if slice < 0 => {
                let keep = usize::try_from(-slice).unwrap_or(usize::MAX);
                elements.drain(..elements.len().saturating_sub(keep));
            }
            Some(slice) => elements.truncate(usize::try_from(slice).unwrap_or(usize::MAX)),
        }
        Ok(Write::Put(Bson::Array(elements)))
    }
}

pub fn add_to_set(found: Option<&Bson>, values: &[Bson], path: &Path, id: &Bson) -> Result<Write, StoreError> {
    let mut elements = array(found, path, id)?;
    for value in values {
        if !elements.iter().any(|element| same(element, value)) {
            elements.push(value.clone());
        }
    }
    Ok(Write::Put(Bson::Array(elements)))
}

pub fn pop(found: &Bson, first: bool, path: &Path) -> Result<Write, StoreError> {
    let Bson::Array(elements) = found else {
        let text = format!(
            "Path '{}' contains an element of non-array type '{}'",
            path.as_str(),
            type_name(tree::raw(found).as_raw_bson_ref())
        );
        return Err(StoreError::caller(14, "TypeMismatch", text));
    };
    let rest = match elements.len() {
        0 => return Ok(Write::Keep),
        length if first => elements[1..length].to_vec(),
        length => elements[..length - 1].to_vec(),
    };
    Ok(Write::Put(Bson::Array(rest)))
}

impl Unwanted {
    pub fn out_of(&self, found: &Bson) -> Result<Write, StoreError> {
        let Bson::Array(elements) = found else {
            return Err(StoreError::bad_value("Cannot apply $pull to a non-array value"));
        };
        let kept: Vec<Bson> = elements.iter().filter(|element| !self.holds(&raw(element))).cloned().collect();
        Ok(if kept.len() == elements.len() { Write::Keep } else { Write::Put(Bson::Array(kept)) })
    }

    fn holds(&self, element: &RawBson) -> bool {
        let element = element.as_raw_bson_ref();
        match self {
            Self::Equal(values) => values.iter().any(|value| crate::value::same(value.as_raw_bson_ref(), element)),
            Self::Documents(filter) => match element {
                RawBsonRef::Document(document) => filter.matches_plain(document),
                _ => false,
            },
            Self::Values(predicates) => predicates.iter().all(|predicate| predicate.holds_value(element)),
        }
    }
}

fn array(found: Option<&Bson>, path: &Path, id: &Bson) -> Result<Vec<Bson>, StoreError> {
    match found {
        None => Ok(Vec::new()),
        Some(Bson::Array(elements)) => Ok(elements.clone()),
        Some(other) => Err(StoreError::bad_value(format!(
            "The field '{}' must be an array but is of type {} in document {{_id: {id}}}",
            path.as_str(),
            type_name(tree::raw(other).as_raw_bson_ref())
        ))),
    }
}

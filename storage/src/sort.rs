//! The order in which a query wants its documents.
//!
//! In: a sort specification such as `{ a: 1, "b.c": -1 }`. Out: for each document a key of bytes; keys compare as the
//! documents should. An array sorts by its least element upward and by its greatest downward.
//! Not here: how many documents may wait to be sorted (`limits`), and who holds them (`embedded`).

use bson::raw::{RawBsonRef, RawDocument};

use crate::error::StoreError;
use crate::value::check;
use crate::value::key;
use crate::value::number::Number;
use crate::value::path::{self, Leaf, Path};

/// A parsed sort. Without parts: the order in which documents lie, which is that of `_id`.
#[derive(Debug, Clone, Default)]
pub struct Sort {
    parts: Vec<(Path, Direction)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Up,
    Down,
}

impl Sort {
    pub fn parse(specification: &RawDocument) -> Result<Self, StoreError> {
        check::document(specification)?;
        let mut parts = Vec::new();
        for (name, value) in specification.iter().map_while(Result::ok) {
            let name = name.as_str();
            if matches!(value, RawBsonRef::Document(_)) {
                return Err(StoreError::unsupported(format!("sorting {name} by $meta is not supported")));
            }
            let number = Number::of(value).ok_or_else(|| {
                StoreError::caller(15974, "Location15974", format!("Illegal key in $sort specification: {name}"))
            })?;
            let direction = match number.whole() {
                Some(1) => Direction::Up,
                Some(-1) => Direction::Down,
                _ => {
                    let text = "$sort key ordering must be 1 (for ascending) or -1 (for descending)";
                    return Err(StoreError::caller(15975, "Location15975", text));
                }
            };
            if name.is_empty() || name.split('.').any(str::is_empty) {
                return Err(StoreError::caller(
                    40352,
                    "Location40352",
                    "FieldPath field names may not be empty strings.",
                ));
            }
            if name.split('.').any(|part| part.starts_with('$')) {
                let text = format!("FieldPath field names may not start with '$': {name}");
                return Err(StoreError::caller(16410, "Location16410", text));
            }
            parts.push((Path::new(name), direction));
        }
        Ok(Self { parts })
    }

    pub fn parts(&self) -> &[(Path, Direction)] {
        &self.parts
    }

    /// Whether any order will do.
    pub fn is_natural(&self) -> bool {
        self.parts.is_empty()
    }

    /// The direction of a walk over `_id` that already gives this order, if there is one.
    pub fn walk(&self) -> Option<Direction> {
        match &self.parts[..] {
            [] => Some(Direction::Up),
            // `_id` is unique, so whatever follows it decides nothing.
            [(path, direction), ..] if path.as_str() == "_id" => Some(*direction),
            _ => None,
        }
    }

    /// Refused when two parts go through different arrays of the document: no pair of their elements would be the one to
    /// sort by.
    pub fn key(&self, document: &RawDocument) -> Result<Vec<u8>, StoreError> {
        let mut whole = Vec::new();
        if self.parts.len() > 1 {
            let mut arrays = self.parts.iter().filter_map(|(path, _)| first_array(document, path));
            if let Some(first) = arrays.next()
                && let Some(other) = arrays.find(|other| *other != first)
            {
                let text = format!("cannot sort with keys that are parallel arrays: [{first}] [{other}]");
                return Err(StoreError::bad_value(text));
            }
        }
        for (path, direction) in &self.parts {
            let part = part_key(document, path, *direction);
            match direction {
                Direction::Up => whole.extend_from_slice(&part),
                Direction::Down => whole.extend(part.into_iter().map(|byte| !byte)),
            }
        }
        Ok(whole)
    }
}

/// The beginning of the path at which the first array lies.
fn first_array<'a>(document: &RawDocument, path: &'a Path) -> Option<&'a str> {
    let mut at = document;
    let mut end = 0;
    for part in path.parts() {
        end += part.len();
        match at.get(part).ok().flatten() {
            Some(RawBsonRef::Array(_)) => return Some(&path.as_str()[..end]),
            Some(RawBsonRef::Document(inner)) => at = inner,
            _ => return None,
        }
        end += 1;
    }
    None
}

fn part_key(document: &RawDocument, path: &Path, direction: Direction) -> Vec<u8> {
    let mut best: Option<Vec<u8>> = None;
    path::any(document, path, Leaf::Whole, &mut |found| {
        let mut offer = |value| {
            let candidate = key::encode(value);
            let better = best.as_ref().is_none_or(|best| match direction {
                Direction::Up => candidate < *best,
                Direction::Down => candidate > *best,
            });
            if better {
                best = Some(candidate);
            }
        };
        match found {
            None => offer(RawBsonRef::Null),
            // An empty array is less than null and more than nothing at all.
            Some(RawBsonRef::Array(array)) if array.is_empty() => offer(RawBsonRef::Undefined),
            Some(RawBsonRef::Array(array)) => array.into_iter().map_while(Result::ok).for_each(offer),
            Some(value) => offer(value),
        }
        false
    });
    best.unwrap_or_else(|| key::encode(RawBsonRef::Null))
}

//! Reaching into a decoded document along a path: reading, writing with the way made on demand, removing.
//!
//! A part of a path is a field of a document or, where an array lies, an index. Writing past an array's end fills the
//! gap with nulls, up to a limit; writing into anything else is refused, as in MongoDB.

use bson::raw::RawBson;
use bson::{Bson, Document};

use crate::error::StoreError;
use crate::limits;
use crate::value::path::{Path, index_of};

/// What to do with the value found at a path.
pub enum Write {
    /// Leave it, or leave it missing.
    Keep,
    Put(Bson),
}

/// Hands what lies at the path to `decide` and writes what it says, making documents on the way.
pub fn write(
    document: &mut Document,
    path: &Path,
    decide: impl FnOnce(Option<&Bson>) -> Result<Write, StoreError>,
) -> Result<(), StoreError> {
    let mut parts = Vec::with_capacity(path.len());
    parts.extend(path.parts());
    in_document(document, &parts, decide)
}

fn in_document(
    document: &mut Document,
    parts: &[&str],
    decide: impl FnOnce(Option<&Bson>) -> Result<Write, StoreError>,
) -> Result<(), StoreError> {
    let (name, rest) = (parts[0], &parts[1..]);
    match document.get_mut(name) {
        Some(value) if rest.is_empty() => replace(value, decide),
        Some(value) => in_value(value, name, rest, decide),
        None => {
            if let Write::Put(value) = decide(None)? {
                document.insert(name, wrapped(rest, value));
            }
            Ok(())
        }
    }
}

fn in_value(
    value: &mut Bson,
    name: &str,
    parts: &[&str],
    decide: impl FnOnce(Option<&Bson>) -> Result<Write, StoreError>,
) -> Result<(), StoreError> {
    let elements = match value {
        Bson::Document(document) => return in_document(document, parts, decide),
        Bson::Array(elements) => elements,
        other => return Err(not_viable(parts[0], name, other)),
    };
    let Some(index) = index_of(parts[0]) else {
        return Err(not_viable(parts[0], name, &Bson::Array(elements.clone())));
    };
    let (name, rest) = (parts[0], &parts[1..]);
    match elements.get_mut(index) {
        Some(value) if rest.is_empty() => replace(value, decide),
        Some(value) => in_value(value, name, rest, decide),
        None => {
            if let Write::Put(value) = decide(None)? {
                if index - elements.len() > limits::ARRAY_PADDING_MAX {
                    return Err(StoreError::caller(
                        17419,
                        "Location17419",
                        format!("can't backfill more than {} elements of an array", limits::ARRAY_PADDING_MAX),
                    ));
                }
                elements.resize(index, Bson::Null);
                elements.push(wrapped(rest, value));
            }
            Ok(())
        }
    }
}

fn replace(
    value: &mut Bson,
    decide: impl FnOnce(Option<&Bson>) -> Result<Write, StoreError>,
) -> Result<(), StoreError> {
    if let Write::Put(new) = decide(Some(value))? {
        *value = new;
    }
    Ok(())
}

/// `value` inside as many documents as there are parts left.
fn wrapped(parts: &[&str], value: Bson) -> Bson {
    parts.iter().rev().fold(value, |value, part| {
        let mut document = Document::new();
        document.insert(*part, value);
        Bson::Document(document)
    })
}

fn not_viable(part: &str, name: &str, found: &Bson) -> StoreError {
    StoreError::caller(28, "PathNotViable", format!("Cannot create field '{part}' in element {{{name}: {found}}}"))
}

/// Takes away what lies at the path. In an array a null is left, so that the others keep their places.
pub fn remove(document: &mut Document, path: &Path) -> Option<Bson> {
    let parts: Vec<&str> = path.parts().collect();
    let (last, way) = parts.split_last()?;
    let Some((first, way)) = way.split_first() else { return document.remove(last) };
    let mut at = document.get_mut(first)?;
    for part in way {
        at = match at {
            Bson::Document(document) => document.get_mut(part)?,
            Bson::Array(elements) => elements.get_mut(index_of(part)?)?,
            _ => return None,
        };
    }
    match at {
        Bson::Document(document) => document.remove(last),
        Bson::Array(elements) => Some(std::mem::replace(elements.get_mut(index_of(last)?)?, Bson::Null)),
        _ => None,
    }
}

/// What lies at the path through documents only. The error says that an array lies on the way.
pub fn through_documents<'a>(document: &'a Document, path: &Path) -> Result<Option<&'a Bson>, ArrayOnTheWay> {
    let mut at = document;
    for (position, part) in path.parts().enumerate() {
        match at.get(part) {
            Some(found) if position + 1 == path.len() => return Ok(Some(found)),
            Some(Bson::Document(inner)) => at = inner,
            Some(Bson::Array(_)) => return Err(ArrayOnTheWay),
            _ => return Ok(None),
        }
    }
    Ok(None)
}

pub struct ArrayOnTheWay;

/// The raw form, which the comparisons work on.
pub fn raw(value: &Bson) -> RawBson {
    // Whatever was decoded from raw BSON can be encoded again.
    RawBson::try_from(value.clone()).unwrap_or(RawBson::Null)
}

pub fn same(left: &Bson, right: &Bson) -> bool {
    crate::value::same(raw(left).as_raw_bson_ref(), raw(right).as_raw_bson_ref())
}

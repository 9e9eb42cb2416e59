//! What lies at a field path of an expression. Unlike a query's path, one through an array gives an array, of what its
//! documents have there, and a number in it is a name and never an index.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::made::Elements;
use super::value::Value;
use crate::error::{StoreError, location};
use crate::value::lookup;
use crate::value::path::Path;

/// From part `at` on, in the document or array that was found before it.
pub(super) fn below<'a>(value: RawBsonRef<'a>, path: &Path, at: usize) -> Value<'a> {
    match value {
        RawBsonRef::Document(document) => in_document(document, path, at),
        RawBsonRef::Array(array) => in_array(array, path, at),
        _ => Value::Missing,
    }
}

fn in_document<'a>(mut document: &'a RawDocument, path: &Path, mut at: usize) -> Value<'a> {
    loop {
        let Some(value) = lookup::get(document, path.part(at)) else { return Value::Missing };
        at += 1;
        if at == path.len() {
            return Value::Ref(value);
        }
        match value {
            RawBsonRef::Document(inner) => document = inner,
            RawBsonRef::Array(array) => return in_array(array, path, at),
            _ => return Value::Missing,
        }
    }
}

/// Arrays directly in arrays are passed over.
fn in_array(array: &RawArray, path: &Path, at: usize) -> Value<'static> {
    let mut found = Elements::of("A field path");
    for element in lookup::elements(array) {
        if let RawBsonRef::Document(document) = element
            && let Some(value) = in_document(document, path, at).get()
        {
            found.add(value);
        }
    }
    found.done()
}

/// A path as it stands after the `$`.
pub(super) fn parse(text: &str) -> Result<Path, StoreError> {
    if text.is_empty() {
        return Err(location!(40352, "FieldPath cannot be constructed with empty string"));
    }
    if text.ends_with('.') {
        return Err(location!(40353, "FieldPath must not end with a '.'."));
    }
    for name in text.split('.') {
        check_name(name)?;
    }
    Ok(Path::new(text))
}

/// One name of a path or of a document that an expression spells out.
pub(super) fn check_name(name: &str) -> Result<(), StoreError> {
    if name.is_empty() {
        return Err(location!(15998, "FieldPath field names may not be empty strings."));
    }
    if name.starts_with('$') {
        return Err(location!(
            16410,
            "FieldPath field names may not start with '$', given '{name}'. Consider using $getField or $setField."
        ));
    }
    if name.contains('\0') {
        return Err(location!(16411, "FieldPath field names may not contain '\\0'."));
    }
    if name.contains('.') {
        return Err(location!(
            16412,
            "FieldPath field names may not contain '.', given '{name}'. Consider using $getField or $setField."
        ));
    }
    Ok(())
}

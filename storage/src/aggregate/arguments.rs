//! What several stages ask of their arguments, with the errors MongoDB gives.

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use crate::error::{StoreError, location};
use crate::filter::type_name;
use crate::value::number::Number;

pub fn fields(document: &RawDocument) -> impl Iterator<Item = (&str, RawBsonRef<'_>)> {
    document.iter().map_while(Result::ok).map(|(name, value)| (name.as_str(), value))
}

pub fn elements(array: &RawArray) -> impl Iterator<Item = RawBsonRef<'_>> {
    array.into_iter().map_while(Result::ok)
}

pub fn failed_to_parse(message: impl Into<String>) -> StoreError {
    StoreError::caller(9, "FailedToParse", message)
}

/// An argument that a stage does not have.
pub fn unknown_field(stage: &str, name: &str) -> StoreError {
    location!(40415, "BSON field '{stage}.{name}' is an unknown field.")
}

pub fn missing_field(stage: &str, name: &str) -> StoreError {
    location!(40414, "BSON field '{stage}.{name}' is missing but a required field")
}

pub fn wrong_type(stage: &str, name: &str, value: RawBsonRef<'_>, wanted: &str) -> StoreError {
    StoreError::type_mismatch(format!(
        "BSON field '{stage}.{name}' is the wrong type '{}', expected type '{wanted}'",
        type_name(value)
    ))
}

/// A whole number of any numeric type.
pub fn whole(value: RawBsonRef<'_>) -> Option<i64> {
    Number::of(value).and_then(Number::whole)
}

/// The name of a new field: a dotted path without empty parts and without operators.
pub fn field_path(name: &str) -> Result<(), StoreError> {
    if name.is_empty() {
        return Err(location!(40352, "FieldPath cannot be constructed with empty string"));
    }
    if name.ends_with('.') {
        return Err(location!(40353, "FieldPath must not end with a '.'."));
    }
    if name.split('.').any(str::is_empty) {
        return Err(location!(15998, "FieldPath field names may not be empty strings."));
    }
    if name.split('.').any(|part| part.starts_with('$')) {
        return Err(location!(16410, "FieldPath field names may not start with '$': {name}"));
    }
    Ok(())
}

/// A collection's name as an argument.
pub fn collection_name(stage: &str, name: &str) -> Result<(), StoreError> {
    let refused = name.is_empty() || name.contains(['$', '\0']) || name.starts_with('.') || name.ends_with('.');
    if refused {
        let text = format!("Invalid namespace specified in {stage}: '{name}' is not a collection's name");
        return Err(StoreError::caller(73, "InvalidNamespace", text));
    }
    Ok(())
}

//! Whether bytes are a document at all, whether it is small and flat enough to keep, and what its `_id` is.
//!
//! In: raw BSON from a tenant's function or the network. Out: the error a client sees, or the promise that every later
//! walk over the document meets only well-formed values. One walk, no copy.

use bson::oid::ObjectId;
use bson::raw::{RawBsonRef, RawDocument, RawDocumentBuf, cstr};

use crate::error::StoreError;
use crate::limits;

/// Everything a document, filter or update must be before anything looks into it.
pub fn document(document: &RawDocument) -> Result<(), StoreError> {
    walk(document, 1)
}

/// The same for any value.
pub fn value(value: RawBsonRef<'_>) -> Result<(), StoreError> {
    match value {
        RawBsonRef::Document(found) => document(found),
        // An array is a document on the wire.
        RawBsonRef::Array(array) => {
            document(RawDocument::from_bytes(array.as_bytes()).map_err(|error| malformed(&error))?)
        }
        _ => Ok(()),
    }
}

/// A document as it will be stored: checked, and with `_id` first, made when there is none.
pub fn to_store(found: RawDocumentBuf) -> Result<RawDocumentBuf, StoreError> {
    document(&found)?;
    let mut first = true;
    let mut id = None;
    for (name, value) in found.iter().map_while(Result::ok) {
        if name.as_str() == "_id" {
            if first {
                id_value(value)?;
                size(&found)?;
                return Ok(found);
            }
            id = Some(value);
            break;
        }
        first = false;
    }
    let mut stored = RawDocumentBuf::new();
    match id {
        Some(value) => {
            id_value(value)?;
            stored.append(cstr!("_id"), value);
        }
        None => stored.append(cstr!("_id"), ObjectId::new()),
    }
    for (name, value) in found.iter().map_while(Result::ok).filter(|(name, _)| name.as_str() != "_id") {
        stored.append(name, value);
    }
    size(&stored)?;
    Ok(stored)
}

pub fn size(document: &RawDocument) -> Result<(), StoreError> {
    let bytes = document.as_bytes().len();
    if bytes > limits::DOCUMENT_BYTES_MAX {
        return Err(too_large(bytes));
    }
    Ok(())
}

pub fn too_large(bytes: usize) -> StoreError {
    let most = limits::DOCUMENT_BYTES_MAX;
    let text = format!("BSONObj size: {bytes} is invalid. Size must be between 0 and {most} (16 MiB)");
    StoreError::caller(10334, "BSONObjectTooLarge", text)
}

/// What may not be an `_id`.
pub fn id_value(value: RawBsonRef<'_>) -> Result<(), StoreError> {
    let refused = match value {
        RawBsonRef::Array(_) => "array",
        RawBsonRef::RegularExpression(_) => "regex",
        RawBsonRef::Undefined => "undefined",
        RawBsonRef::Document(document) => {
            let dollar = document.iter().map_while(Result::ok).find(|(name, _)| name.as_str().starts_with('$'));
            if let Some((name, _)) = dollar {
                return Err(StoreError::caller(
                    52,
                    "DollarPrefixedFieldName",
                    format!(
                        "_id fields may not contain '$'-prefixed fields: {} is not valid for storage.",
                        name.as_str()
                    ),
                ));
            }
            return Ok(());
        }
        _ => return Ok(()),
    };
    Err(StoreError::caller(53, "InvalidIdField", format!("The '_id' value cannot be of type {refused}")))
}

fn walk(document: &RawDocument, depth: usize) -> Result<(), StoreError> {
    if depth > limits::NESTING_MAX {
        return Err(StoreError::caller(
            15,
            "Overflow",
            format!("Exceeded depth limit: a document may be nested {} levels deep", limits::NESTING_MAX),
        ));
    }
    for element in document.iter() {
        match element.map_err(|error| malformed(&error))?.1 {
            RawBsonRef::Document(inner) => walk(inner, depth + 1)?,
            RawBsonRef::Array(array) => {
                // An array is a document on the wire; its own bytes are walked the same way.
                let inner = RawDocument::from_bytes(array.as_bytes()).map_err(|error| malformed(&error))?;
                walk(inner, depth + 1)?;
            }
            // In Extended JSON code is an object and its scope another: what may be kept must not be deeper there than what
            // can be read again.
            RawBsonRef::JavaScriptCodeWithScope(code) => walk(code.scope, depth + 2)?,
            _ => {}
        }
    }
    Ok(())
}

fn malformed(error: &bson::error::Error) -> StoreError {
    StoreError::caller(22, "InvalidBSON", format!("invalid BSON: {error}"))
}

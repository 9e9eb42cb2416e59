//! Values in the making, and how large they may grow.
//!
//! Small expressions can ask for endless arrays. What is being made is bounded here, and so is what waits meanwhile: see
//! [`Scope::holding`](super::Scope).

use bson::raw::{CStr, RawArray, RawArrayBuf, RawBsonRef, RawDocumentBuf};

use super::value::Value;
use crate::error::StoreError;
use crate::limits;

/// The elements of an array that an operator makes.
pub(super) struct Elements {
    operator: &'static str,
    array: RawArrayBuf,
}

impl Elements {
    pub fn of(operator: &'static str) -> Self {
        Self { operator, array: RawArrayBuf::new() }
    }

    /// Goes on after the elements of another array.
    pub fn after(operator: &'static str, array: RawArrayBuf) -> Self {
        Self { operator, array }
    }

    pub fn push(&mut self, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        self.array.push(value);
        check_size(self.operator, self.bytes())
    }

    pub fn extend(&mut self, array: &RawArray) -> Result<(), StoreError> {
        array.into_iter().map_while(Result::ok).try_for_each(|element| self.push(element))
    }

    pub fn bytes(&self) -> usize {
        self.array.as_bytes().len()
    }

    pub fn done(self) -> Value<'static> {
        self.array.into()
    }
}

/// The fields of a document that an operator makes.
pub(super) struct Fields {
    operator: &'static str,
    document: RawDocumentBuf,
}

impl Fields {
    pub fn of(operator: &'static str) -> Self {
        Self { operator, document: RawDocumentBuf::new() }
    }

    pub fn append(&mut self, name: &CStr, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        self.document.append(name, value);
        check_size(self.operator, self.bytes())
    }

    pub fn bytes(&self) -> usize {
        self.document.as_bytes().len()
    }

    pub fn done(self) -> Value<'static> {
        self.document.into()
    }
}

/// Refuses what an operator makes when it has grown too large.
pub(super) fn check_size(operator: &str, bytes: usize) -> Result<(), StoreError> {
    if bytes <= limits::EXPRESSION_BYTES_MAX {
        return Ok(());
    }
    Err(StoreError::caller(
        146,
        "ExceededMemoryLimit",
        format!(
            "{operator} would use too much memory ({bytes} bytes) and cannot spill to disk. Memory limit: {} bytes",
            limits::EXPRESSION_BYTES_MAX
        ),
    ))
}

//! Values in the making, and how large they may grow.
//!
//! Small expressions can ask for endless arrays. What is being made is bounded here, and so is what waits meanwhile: see
//! [`Scope::holding`](super::Scope).

use bson::raw::{CStr, RawArray, RawBsonRef, RawDocumentBuf, cstr};
use bson::spec::ElementType;

use super::value::Value;
use crate::error::StoreError;
use crate::limits;
use crate::value::lookup;

/// An array made here. The crate makes arrays only element by element, with an allocation for each name, or by counting
/// all of them; but it reads one in any document. So an array is written as the only field of a document.
#[derive(Debug, Clone)]
pub struct MadeArray(RawDocumentBuf);

impl MadeArray {
    pub fn get(&self) -> Option<RawBsonRef<'_>> {
        self.0.iter_elements().next()?.ok()?.value().ok()
    }

    pub fn bytes(&self) -> usize {
        self.0.as_bytes().len()
    }
}

/// The elements of an array that an operator makes.
pub(super) struct Elements {
    operator: &'static str,
    /// A document up to the last element so far: its length, a field without a name, the length of the array, elements.
    bytes: Vec<u8>,
    count: usize,
}

const BEFORE_ARRAY: usize = 6;

impl Elements {
    pub fn of(operator: &'static str) -> Self {
        let mut bytes = Vec::with_capacity(64);
        bytes.extend_from_slice(&[0, 0, 0, 0, ElementType::Array as u8, 0, 0, 0, 0, 0]);
        Self { operator, bytes, count: 0 }
    }

    pub fn push(&mut self, value: RawBsonRef<'_>) -> Result<(), StoreError> {
        self.add(value);
        check_size(self.operator, self.bytes())
    }

    /// For what cannot grow beyond something that was small enough.
    pub fn add(&mut self, value: RawBsonRef<'_>) {
        self.name(value.element_type() as u8);
        let bytes = &mut self.bytes;
        match value {
            RawBsonRef::Int32(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            RawBsonRef::Int64(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            RawBsonRef::Double(value) => bytes.extend_from_slice(&value.to_le_bytes()),
            RawBsonRef::DateTime(time) => bytes.extend_from_slice(&time.timestamp_millis().to_le_bytes()),
            RawBsonRef::Decimal128(value) => bytes.extend_from_slice(&value.bytes()),
            RawBsonRef::ObjectId(id) => bytes.extend_from_slice(&id.bytes()),
            RawBsonRef::Boolean(value) => bytes.push(value.into()),
            RawBsonRef::Null => {}
            RawBsonRef::Document(document) => bytes.extend_from_slice(document.as_bytes()),
            RawBsonRef::Array(array) => bytes.extend_from_slice(array.as_bytes()),
            RawBsonRef::String(text) => {
                // The length counts the zero byte at the end; a text comes from a document or is as bounded as one.
                bytes.extend_from_slice(&(text.len() as u32 + 1).to_le_bytes());
                bytes.extend_from_slice(text.as_bytes());
                bytes.push(0);
            }
            other => {
                let mut alone = RawDocumentBuf::new();
                alone.append(cstr!(""), other);
                // Between the length with the type and the empty name, and the end.
                let alone = alone.as_bytes();
                bytes.extend_from_slice(&alone[BEFORE_ARRAY..alone.len() - 1]);
            }
        }
    }

    pub fn extend(&mut self, array: &RawArray) -> Result<(), StoreError> {
        let content = &array.as_bytes()[4..array.as_bytes().len() - 1];
        check_size(self.operator, self.bytes() + content.len())?;
        if self.count == 0 {
            // The names are right as they are.
            self.bytes.extend_from_slice(content);
            self.count = lookup::raw_elements(array).count();
            return Ok(());
        }
        for (kind, value) in lookup::raw_elements(array) {
            self.name(kind);
            self.bytes.extend_from_slice(value);
        }
        Ok(())
    }

    /// The type and the name of the next element, which is its number.
    fn name(&mut self, kind: u8) {
        self.bytes.push(kind);
        let mut digits = [0; 20];
        let (mut from, mut rest) = (digits.len(), self.count);
        loop {
            from -= 1;
            digits[from] = b'0' + (rest % 10) as u8;
            rest /= 10;
            if rest == 0 {
                break;
            }
        }
        self.bytes.extend_from_slice(&digits[from..]);
        self.bytes.push(0);
        self.count += 1;
    }

    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    pub fn done(mut self) -> Value<'static> {
        self.bytes.extend_from_slice(&[0, 0]);
        let whole = self.bytes.len();
        // Neither is larger than a few documents.
        self.bytes[..4].copy_from_slice(&(whole as u32).to_le_bytes());
        let array = whole - BEFORE_ARRAY - 1;
        self.bytes[BEFORE_ARRAY..BEFORE_ARRAY + 4].copy_from_slice(&(array as u32).to_le_bytes());
        let document = RawDocumentBuf::from_bytes(self.bytes).expect("the length is that of the bytes");
        Value::Array(MadeArray(document))
    }
}

/// A copy.
pub(super) fn array_of(array: &RawArray) -> Value<'static> {
    let mut copy = Elements::of("An array");
    copy.bytes.truncate(BEFORE_ARRAY);
    copy.bytes.extend_from_slice(&array.as_bytes()[..array.as_bytes().len() - 1]);
    copy.done()
}

impl<'a> FromIterator<RawBsonRef<'a>> for Value<'static> {
    /// For parts of an array that was small enough.
    fn from_iter<T: IntoIterator<Item = RawBsonRef<'a>>>(elements: T) -> Self {
        let mut array = Elements::of("An array");
        elements.into_iter().for_each(|element| array.add(element));
        array.done()
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

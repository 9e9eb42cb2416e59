//! What an expression came to.

use std::cmp::Ordering;

use bson::raw::{RawArray, RawArrayBuf, RawBson, RawBsonRef, RawDocument, RawDocumentBuf};
use bson::{DateTime, Decimal128, Timestamp};

use super::made::{MadeArray, array_of};
use crate::filter::type_name;
use crate::value::number::Number;
use crate::value::{Class, class_of, compare};

/// Nothing, a value that lies in a document, or one made here.
#[derive(Debug, Clone)]
pub enum Value<'a> {
    Missing,
    Ref(RawBsonRef<'a>),
    Own(RawBson),
    /// An array made here.
    Array(MadeArray),
}

impl<'a> Value<'a> {
    pub const NULL: Value<'static> = Value::Ref(RawBsonRef::Null);

    /// `None`: missing.
    pub fn get(&self) -> Option<RawBsonRef<'_>> {
        match self {
            Self::Missing => None,
            Self::Ref(value) => Some(*value),
            Self::Own(value) => Some(value.as_raw_bson_ref()),
            Self::Array(array) => array.get(),
        }
    }

    /// Where only null can stand for nothing, as in an array.
    pub fn or_null(&self) -> RawBsonRef<'_> {
        self.get().unwrap_or(RawBsonRef::Null)
    }

    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }

    /// Missing, null or undefined: what most operators answer null to.
    pub fn is_nullish(&self) -> bool {
        matches!(self.get(), None | Some(RawBsonRef::Null | RawBsonRef::Undefined))
    }

    /// False, zero of any type and what is nullish are not true; everything else is, an empty string and NaN too.
    pub fn truth(&self) -> bool {
        self.get().is_some_and(truth)
    }

    pub fn number(&self) -> Option<Number> {
        self.get().and_then(Number::of)
    }

    pub fn as_str(&self) -> Option<&str> {
        self.get().and_then(RawBsonRef::as_str)
    }

    pub fn as_array(&self) -> Option<&RawArray> {
        self.get().and_then(RawBsonRef::as_array)
    }

    pub fn as_document(&self) -> Option<&RawDocument> {
        self.get().and_then(RawBsonRef::as_document)
    }

    /// Bytes it owns apart from itself.
    pub(super) fn bytes(&self) -> usize {
        match self {
            Self::Own(RawBson::Document(document)) => document.as_bytes().len(),
            Self::Own(RawBson::Array(array)) => array.as_bytes().len(),
            Self::Own(RawBson::String(text)) => text.len(),
            Self::Own(RawBson::Binary(binary)) => binary.bytes.len(),
            Self::Array(array) => array.bytes(),
            _ => 0,
        }
    }

    /// Bytes an operator may have to look at, wherever they lie.
    pub(super) fn extent(&self) -> usize {
        match self {
            Self::Ref(RawBsonRef::Document(document)) => document.as_bytes().len(),
            Self::Ref(RawBsonRef::Array(array)) => array.as_bytes().len(),
            Self::Ref(RawBsonRef::String(text)) => text.len(),
            Self::Ref(_) | Self::Missing => 0,
            made => made.bytes(),
        }
    }

    /// In the words of `$type`.
    pub fn type_name(&self) -> &'static str {
        self.get().map_or("missing", type_name)
    }

    pub fn into_bson(self) -> Option<RawBson> {
        match self {
            Self::Missing => None,
            Self::Ref(value) => Some(value.into()),
            Self::Own(value) => Some(value),
            Self::Array(array) => array.get().map(RawBson::from),
        }
    }

    /// The same value, no longer tied to where it lay. Copies documents, arrays and texts that it does not own.
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Missing => Value::Missing,
            // An array is copied as bytes, not counted.
            Self::Ref(RawBsonRef::Array(array)) => array_of(array),
            Self::Ref(value) => Value::Own(value.into()),
            Self::Own(value) => Value::Own(value),
            Self::Array(array) => Value::Array(array),
        }
    }

    /// The order of all values; what is missing stands where undefined does.
    pub fn compare(&self, other: &Value<'_>) -> Ordering {
        match (self.get(), other.get()) {
            (Some(left), Some(right)) => compare(left, right),
            (None, None) => Ordering::Equal,
            (None, Some(right)) => Class::Undefined.cmp(&class_of(right)),
            (Some(left), None) => class_of(left).cmp(&Class::Undefined),
        }
    }
}

/// See [`Value::truth`].
pub fn truth(value: RawBsonRef<'_>) -> bool {
    match value {
        RawBsonRef::Boolean(value) => value,
        RawBsonRef::Null | RawBsonRef::Undefined => false,
        RawBsonRef::Int32(value) => value != 0,
        RawBsonRef::Int64(value) => value != 0,
        RawBsonRef::Double(value) => value != 0.0,
        RawBsonRef::Decimal128(value) => Number::Decimal(value).compare(Number::Int32(0)).is_ne(),
        _ => true,
    }
}

impl<'a> From<Option<RawBsonRef<'a>>> for Value<'a> {
    fn from(value: Option<RawBsonRef<'a>>) -> Self {
        value.map_or(Self::Missing, Self::Ref)
    }
}

macro_rules! made_from {
    ($($kind:ty),+) => {
        $(impl From<$kind> for Value<'static> {
            fn from(value: $kind) -> Self {
                Self::Own(value.into())
            }
        })+
    };
}

made_from!(RawBson, bool, i32, i64, f64, String, DateTime, Timestamp, Decimal128, RawDocumentBuf, RawArrayBuf);

impl From<Number> for Value<'static> {
    fn from(number: Number) -> Self {
        Self::Own(number.to_bson())
    }
}

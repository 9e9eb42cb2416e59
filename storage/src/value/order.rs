//! The order of all BSON values: first by class (null before numbers before strings …), then by value within the class.
//! Numbers of different types are one class and compare by value; strings compare by their bytes.
//!
//! In: two values of checked documents. Out: an ordering that is total, with NaN below all other numbers.

use std::cmp::Ordering;

use bson::raw::{RawArray, RawBsonRef, RawDocument};

use super::number::Number;

/// Classes in the order in which MongoDB sorts them. Symbols are strings, and undefined has a place of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Class {
    MinKey = 1,
    Undefined = 2,
    Null = 3,
    Number = 4,
    String = 5,
    Object = 6,
    Array = 7,
    Binary = 8,
    ObjectId = 9,
    Boolean = 10,
    Date = 11,
    Timestamp = 12,
    Regex = 13,
    DbPointer = 14,
    Code = 15,
    CodeWithScope = 16,
    MaxKey = 17,
}

pub fn class_of(value: RawBsonRef<'_>) -> Class {
    match value {
        RawBsonRef::MinKey => Class::MinKey,
        RawBsonRef::Undefined => Class::Undefined,
        RawBsonRef::Null => Class::Null,
        RawBsonRef::Double(_) | RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Decimal128(_) => {
            Class::Number
        }
        RawBsonRef::String(_) | RawBsonRef::Symbol(_) => Class::String,
        RawBsonRef::Document(_) => Class::Object,
        RawBsonRef::Array(_) => Class::Array,
        RawBsonRef::Binary(_) => Class::Binary,
        RawBsonRef::ObjectId(_) => Class::ObjectId,
        RawBsonRef::Boolean(_) => Class::Boolean,
        RawBsonRef::DateTime(_) => Class::Date,
        RawBsonRef::Timestamp(_) => Class::Timestamp,
        RawBsonRef::RegularExpression(_) => Class::Regex,
        RawBsonRef::DbPointer(_) => Class::DbPointer,
        RawBsonRef::JavaScriptCode(_) => Class::Code,
        RawBsonRef::JavaScriptCodeWithScope(_) => Class::CodeWithScope,
        RawBsonRef::MaxKey => Class::MaxKey,
    }
}

pub fn compare(left: RawBsonRef<'_>, right: RawBsonRef<'_>) -> Ordering {
    class_of(left).cmp(&class_of(right)).then_with(|| within_class(left, right))
}

/// Equal in that order: `1`, `1.0` and `NumberDecimal("1.00")` are the same.
pub fn same(left: RawBsonRef<'_>, right: RawBsonRef<'_>) -> bool {
    compare(left, right) == Ordering::Equal
}

fn within_class(left: RawBsonRef<'_>, right: RawBsonRef<'_>) -> Ordering {
    if let (Some(left), Some(right)) = (Number::of(left), Number::of(right)) {
        return left.compare(right);
    }
    match (left, right) {
        (
            RawBsonRef::String(left) | RawBsonRef::Symbol(left),
            RawBsonRef::String(right) | RawBsonRef::Symbol(right),
        ) => left.as_bytes().cmp(right.as_bytes()),
        (RawBsonRef::Document(left), RawBsonRef::Document(right)) => compare_documents(left, right),
        (RawBsonRef::Array(left), RawBsonRef::Array(right)) => compare_arrays(left, right),
        // Shorter binaries come first, whatever they hold.
        (RawBsonRef::Binary(left), RawBsonRef::Binary(right)) => (left.bytes.len(), u8::from(left.subtype), left.bytes)
            .cmp(&(right.bytes.len(), u8::from(right.subtype), right.bytes)),
        (RawBsonRef::ObjectId(left), RawBsonRef::ObjectId(right)) => left.bytes().cmp(&right.bytes()),
        (RawBsonRef::Boolean(left), RawBsonRef::Boolean(right)) => left.cmp(&right),
        (RawBsonRef::DateTime(left), RawBsonRef::DateTime(right)) => left.cmp(&right),
        (RawBsonRef::Timestamp(left), RawBsonRef::Timestamp(right)) => {
            (left.time, left.increment).cmp(&(right.time, right.increment))
        }
        (RawBsonRef::RegularExpression(left), RawBsonRef::RegularExpression(right)) => {
            let text = |regex: bson::raw::RawRegexRef<'_>| {
                let (pattern, options): (&bson::raw::CStr, &bson::raw::CStr) = (regex.pattern, regex.options);
                (pattern.as_str().to_owned(), options.as_str().to_owned())
            };
            text(left).cmp(&text(right))
        }
        (RawBsonRef::DbPointer(_), RawBsonRef::DbPointer(_)) => {
            super::key::encode(left).cmp(&super::key::encode(right))
        }
        (RawBsonRef::JavaScriptCode(left), RawBsonRef::JavaScriptCode(right)) => left.as_bytes().cmp(right.as_bytes()),
        (RawBsonRef::JavaScriptCodeWithScope(left), RawBsonRef::JavaScriptCodeWithScope(right)) => {
            left.code.as_bytes().cmp(right.code.as_bytes()).then_with(|| compare_documents(left.scope, right.scope))
        }
        // Only the classes of a single value are left.
        _ => Ordering::Equal,
    }
}

/// Field by field: by the class of the value, then the name, then the value. The one that ends first is less.
pub fn compare_documents(left: &RawDocument, right: &RawDocument) -> Ordering {
    let mut left = left.iter().map_while(Result::ok);
    let mut right = right.iter().map_while(Result::ok);
    loop {
        let ((left_name, left), (right_name, right)) = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(left), Some(right)) => (left, right),
        };
        let order = class_of(left)
            .cmp(&class_of(right))
            .then_with(|| left_name.as_str().as_bytes().cmp(right_name.as_str().as_bytes()))
            .then_with(|| within_class(left, right));
        if order.is_ne() {
            return order;
        }
    }
}

fn compare_arrays(left: &RawArray, right: &RawArray) -> Ordering {
    let mut left = left.into_iter().map_while(Result::ok);
    let mut right = right.into_iter().map_while(Result::ok);
    loop {
        let order = match (left.next(), right.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => Ordering::Less,
            (Some(_), None) => Ordering::Greater,
            (Some(left), Some(right)) => compare(left, right),
        };
        if order.is_ne() {
            return order;
        }
    }
}

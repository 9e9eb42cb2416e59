//! Values as bytes that are equal exactly where the values are: what groups and sets look values up by.
//!
//! Unlike [`super::key`] they do not sort, and so cost less: an integer is its eight bytes. Numbers of different types that
//! are equal have the same bytes, at any depth.

use bson::raw::{RawBsonRef, RawDocument};

use super::decimal;
use super::key;
use super::number::Number;
use super::order::{Class, class_of};

pub fn append(to: &mut Vec<u8>, value: RawBsonRef<'_>) {
    match value {
        RawBsonRef::Int32(number) => whole(to, number.into()),
        RawBsonRef::Int64(number) => whole(to, number),
        RawBsonRef::Double(number) => double(to, number),
        RawBsonRef::Decimal128(exact) => {
            // One that equals a double is that double, and only the others go by their digits.
            let nearest = decimal::to_double(exact);
            match Number::Decimal(exact).whole() {
                Some(number) => whole(to, number),
                None if Number::Double(nearest).compare(Number::Decimal(exact)).is_eq() => double(to, nearest),
                None => {
                    to.push(EXACT);
                    key::append(to, value);
                }
            }
        }
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) => {
            to.push(Class::String as u8);
            sized(to, text.as_bytes());
        }
        RawBsonRef::Document(document) => {
            to.push(Class::Object as u8);
            fields(to, document);
        }
        RawBsonRef::Array(array) => {
            to.push(Class::Array as u8);
            for element in array.into_iter().map_while(Result::ok) {
                append(to, element);
            }
            to.push(END);
        }
        RawBsonRef::ObjectId(id) => {
            to.push(Class::ObjectId as u8);
            to.extend_from_slice(&id.bytes());
        }
        RawBsonRef::DateTime(time) => {
            to.push(Class::Date as u8);
            to.extend_from_slice(&time.timestamp_millis().to_le_bytes());
        }
        other => {
            to.push(class_of(other) as u8);
            key::append(to, other);
        }
    }
}

/// Not a class.
const END: u8 = 0;
const EXACT: u8 = 0x80;
const WHOLE: u8 = 0x81;
const DOUBLE: u8 = 0x82;

fn whole(to: &mut Vec<u8>, number: i64) {
    to.push(WHOLE);
    to.extend_from_slice(&number.to_le_bytes());
}

fn double(to: &mut Vec<u8>, number: f64) {
    match Number::Double(number).whole() {
        Some(number) => whole(to, number),
        None => {
            to.push(DOUBLE);
            // All ways to spell NaN are equal.
            let bits = if number.is_nan() { f64::NAN.to_bits() } else { number.to_bits() };
            to.extend_from_slice(&bits.to_le_bytes());
        }
    }
}

fn sized(to: &mut Vec<u8>, bytes: &[u8]) {
    to.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
    to.extend_from_slice(bytes);
}

fn fields(to: &mut Vec<u8>, document: &RawDocument) {
    for (name, value) in document.iter().map_while(Result::ok) {
        append(to, value);
        sized(to, name.as_str().as_bytes());
    }
    to.push(END);
}

#[cfg(test)]
mod tests {
    use bson::raw::RawBson;
    use bson::{Bson, bson};

    use super::*;
    use crate::value::same;

    #[test]
    fn bytes_are_equal_exactly_where_values_are() {
        let decimal = |text: &str| Bson::Decimal128(text.parse().unwrap());
        let values: Vec<RawBson> = [
            Bson::Null,
            Bson::Undefined,
            bson!(0),
            Bson::Double(-0.0),
            bson!(1),
            bson!(1_i64),
            bson!(1.0),
            decimal("1.00"),
            bson!(1.5),
            decimal("1.5"),
            bson!(0.1),
            decimal("0.1"),
            Bson::Double(f64::NAN),
            decimal("NaN"),
            Bson::Int64(1 << 53),
            Bson::Double(9_007_199_254_740_992.0),
            Bson::Int64((1 << 53) + 1),
            Bson::Double(1e300),
            bson!(""),
            bson!("a"),
            Bson::Symbol("a".into()),
            bson!({}),
            bson!([]),
            bson!({ "a": 1 }),
            bson!({ "a": 1.0 }),
            bson!({ "a": 1, "b": 2 }),
            bson!({ "b": 2, "a": 1 }),
            bson!([1]),
            bson!([1.0]),
            bson!([[1]]),
            bson!(["a", "b"]),
            bson!(["ab"]),
            bson!(true),
            bson!(false),
            Bson::DateTime(bson::DateTime::from_millis(1)),
            Bson::MinKey,
            Bson::MaxKey,
        ]
        .into_iter()
        .map(|value| value.try_into().unwrap())
        .collect();
        let bytes = |value: &RawBson| {
            let mut bytes = Vec::new();
            append(&mut bytes, value.as_raw_bson_ref());
            bytes
        };
        for left in &values {
            for right in &values {
                let expected = same(left.as_raw_bson_ref(), right.as_raw_bson_ref());
                assert_eq!(bytes(left) == bytes(right), expected, "{left:?} and {right:?}");
            }
        }
    }
}

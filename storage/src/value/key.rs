//! Values as bytes that sort as the values do: `compare(a, b) == encode(a).cmp(&encode(b))`, and equal values have equal
//! keys. No key is the beginning of another, so keys can follow one another, and inverted bytes sort backwards.
//!
//! Not here: the way back. The document itself is stored beside its key.

use bson::raw::{RawBsonRef, RawDocument};

use super::number::{Exact, Number};
use super::order::{Class, class_of};

/// The key of one value.
pub fn encode(value: RawBsonRef<'_>) -> Vec<u8> {
    let mut key = Vec::with_capacity(24);
    append(&mut key, value);
    key
}

pub fn append(key: &mut Vec<u8>, value: RawBsonRef<'_>) {
    key.push(class_of(value) as u8);
    append_content(key, value);
}

/// All keys of a class lie from its own byte (included) to the next (excluded).
pub fn class_bounds(class: Class) -> (Vec<u8>, Vec<u8>) {
    (vec![class as u8], vec![class as u8 + 1])
}

fn append_content(key: &mut Vec<u8>, value: RawBsonRef<'_>) {
    match value {
        RawBsonRef::Int32(_) | RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_) => {
            if let Some(number) = Number::of(value) {
                append_number(key, &number.exact());
            }
        }
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => {
            append_text(key, text)
        }
        RawBsonRef::Document(document) => append_document(key, document),
        RawBsonRef::Array(array) => {
            for element in array.into_iter().map_while(Result::ok) {
                append(key, element);
            }
            key.push(END);
        }
        RawBsonRef::Binary(binary) => {
            key.extend_from_slice(&(binary.bytes.len() as u32).to_be_bytes());
            key.push(binary.subtype.into());
            key.extend_from_slice(binary.bytes);
        }
        RawBsonRef::ObjectId(id) => key.extend_from_slice(&id.bytes()),
        RawBsonRef::Boolean(value) => key.push(value.into()),
        RawBsonRef::DateTime(time) => {
            // With the sign bit turned over, times before 1970 sort before those after.
            let biased = (time.timestamp_millis() as u64) ^ (1 << 63);
            key.extend_from_slice(&biased.to_be_bytes());
        }
        RawBsonRef::Timestamp(stamp) => {
            key.extend_from_slice(&stamp.time.to_be_bytes());
            key.extend_from_slice(&stamp.increment.to_be_bytes());
        }
        RawBsonRef::RegularExpression(regex) => {
            let (pattern, options): (&bson::raw::CStr, &bson::raw::CStr) = (regex.pattern, regex.options);
            append_text(key, pattern.as_str());
            append_text(key, options.as_str());
        }
        RawBsonRef::JavaScriptCodeWithScope(code) => {
            append_text(key, code.code);
            append_document(key, code.scope);
        }
        RawBsonRef::DbPointer(_) => {
            // The parts of this long-deprecated type are private to the bson crate; its text form holds both.
            append_text(key, &format!("{value:?}"));
        }
        RawBsonRef::Null | RawBsonRef::Undefined | RawBsonRef::MinKey | RawBsonRef::MaxKey => {}
    }
}

/// Lower than any class, so that the shorter of two containers comes first.
const END: u8 = 0;

fn append_document(key: &mut Vec<u8>, document: &RawDocument) {
    for (name, value) in document.iter().map_while(Result::ok) {
        key.push(class_of(value) as u8);
        // Names hold no zero bytes, so one ends them.
        key.extend_from_slice(name.as_str().as_bytes());
        key.push(0);
        append_content(key, value);
    }
    key.push(END);
}

/// Zero bytes inside become `00 FF`; `00 01` ends the text and sorts before any continuation.
fn append_text(key: &mut Vec<u8>, text: &str) {
    for &byte in text.as_bytes() {
        key.push(byte);
        if byte == 0 {
            key.push(0xff);
        }
    }
    key.extend_from_slice(&[0, 1]);
}

fn append_number(key: &mut Vec<u8>, number: &Exact) {
    let (negative, exponent, digits) = match number {
        Exact::NaN => return key.push(1),
        Exact::NegativeInfinity => return key.push(2),
        Exact::Zero => return key.push(4),
        Exact::Infinity => return key.push(6),
        Exact::Finite { negative, exponent, digits } => (*negative, *exponent, digits),
    };
    key.push(if negative { 3 } else { 5 });
    let from = key.len();
    // Exponents of all four types lie within ±6,200, so the bias keeps them positive in two bytes.
    key.extend_from_slice(&((exponent + 0x4000) as u16).to_be_bytes());
    for pair in digits.chunks(2) {
        key.push(pair[0] * 10 + pair.get(1).copied().unwrap_or(0) + 1);
    }
    key.push(0);
    if negative {
        for byte in &mut key[from..] {
            *byte = !*byte;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::value::compare;
    use bson::raw::RawBson;
    use bson::{Bson, DateTime, Decimal128, Regex, Timestamp, bson, oid::ObjectId};

    fn decimal(text: &str) -> Bson {
        Bson::Decimal128(text.parse::<Decimal128>().unwrap())
    }

    /// Each row is a set of equal values; the rows are in ascending order.
    fn ladder() -> Vec<Vec<Bson>> {
        vec![
            vec![Bson::MinKey],
            vec![Bson::Undefined],
            vec![Bson::Null],
            vec![Bson::Double(f64::NAN), decimal("NaN")],
            vec![Bson::Double(f64::NEG_INFINITY), decimal("-Infinity")],
            vec![decimal("-1E+400")],
            vec![Bson::Double(f64::MIN)],
            vec![Bson::Int64(i64::MIN), Bson::Double(-9_223_372_036_854_775_808.0), decimal("-9223372036854775808")],
            vec![Bson::Int64(-(1 << 53) - 1)],
            vec![Bson::Int64(-(1 << 53)), Bson::Double(-9_007_199_254_740_992.0)],
            vec![Bson::Int32(-10), Bson::Double(-10.0), decimal("-1E+1")],
            vec![Bson::Double(-1.5), decimal("-1.50")],
            vec![Bson::Int32(-1), Bson::Int64(-1), Bson::Double(-1.0)],
            vec![Bson::Double(-0.1)],
            vec![decimal("-0.1")],
            vec![decimal("-1E-6000")],
            vec![Bson::Int32(0), Bson::Double(-0.0), Bson::Double(0.0), decimal("0E+3"), decimal("-0")],
            vec![decimal("1E-6000")],
            vec![Bson::Double(5e-324)],
            vec![decimal("0.1")],
            vec![Bson::Double(0.1)],
            vec![Bson::Double(0.5), decimal("0.5")],
            vec![Bson::Int32(1), Bson::Int64(1), Bson::Double(1.0), decimal("1.00")],
            vec![Bson::Double(1.5), decimal("1.5")],
            vec![Bson::Int32(2)],
            vec![Bson::Int32(9)],
            vec![Bson::Int32(10), decimal("1E+1")],
            vec![Bson::Int32(99)],
            vec![Bson::Int32(100), decimal("1.00E+2")],
            vec![Bson::Int32(101)],
            vec![Bson::Int64(1 << 53), Bson::Double(9_007_199_254_740_992.0)],
            vec![Bson::Int64((1 << 53) + 1)],
            vec![Bson::Int64(i64::MAX)],
            vec![Bson::Double(9_223_372_036_854_775_808.0)],
            vec![Bson::Double(1e300)],
            vec![decimal("1E+400")],
            vec![Bson::Double(f64::INFINITY), decimal("Infinity")],
            vec![bson!("")],
            vec![bson!("\0")],
            vec![bson!("\0\0")],
            vec![bson!("a"), Bson::Symbol("a".into())],
            vec![bson!("a\0")],
            vec![bson!("a\u{1}")],
            vec![bson!("ab")],
            vec![bson!("b")],
            vec![bson!("é")],
            vec![bson!({})],
            vec![bson!({ "b": Bson::Null })],
            vec![bson!({ "a": 1 }), bson!({ "a": 1.0 })],
            vec![bson!({ "a": 1, "b": 0 })],
            vec![bson!({ "a": 2 })],
            vec![bson!({ "b": 1 })],
            vec![bson!({ "a": "x" })],
            vec![bson!([])],
            vec![bson!([Bson::Null])],
            vec![bson!([1]), bson!([1.0])],
            vec![bson!([1, 0])],
            vec![bson!([2])],
            vec![bson!([[1]])],
            vec![Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![9] })],
            vec![Bson::Binary(bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![1, 1] })],
            vec![Bson::ObjectId(ObjectId::from_bytes([0; 12]))],
            vec![Bson::ObjectId(ObjectId::from_bytes([1; 12]))],
            vec![Bson::Boolean(false)],
            vec![Bson::Boolean(true)],
            vec![Bson::DateTime(DateTime::from_millis(-1))],
            vec![Bson::DateTime(DateTime::from_millis(0))],
            vec![Bson::DateTime(DateTime::from_millis(1))],
            vec![Bson::Timestamp(Timestamp { time: 1, increment: 9 })],
            vec![Bson::Timestamp(Timestamp { time: 2, increment: 0 })],
            vec![Bson::RegularExpression(Regex { pattern: "a".try_into().unwrap(), options: "".try_into().unwrap() })],
            vec![Bson::RegularExpression(Regex { pattern: "b".try_into().unwrap(), options: "".try_into().unwrap() })],
            vec![Bson::JavaScriptCode("f".into())],
            vec![Bson::MaxKey],
        ]
    }

    #[test]
    fn keys_sort_as_values_do() {
        let ladder: Vec<(usize, RawBson)> = ladder()
            .into_iter()
            .enumerate()
            .flat_map(|(rung, values)| values.into_iter().map(move |value| (rung, value.try_into().unwrap())))
            .collect();
        for (left_rung, left) in &ladder {
            for (right_rung, right) in &ladder {
                let (left_ref, right_ref) = (left.as_raw_bson_ref(), right.as_raw_bson_ref());
                let expected = left_rung.cmp(right_rung);
                assert_eq!(compare(left_ref, right_ref), expected, "order of {left:?} and {right:?}");
                assert_eq!(encode(left_ref).cmp(&encode(right_ref)), expected, "keys of {left:?} and {right:?}");
            }
        }
    }

    #[test]
    fn no_key_begins_another() {
        let keys: Vec<Vec<u8>> = ladder()
            .into_iter()
            .map(|values| encode(RawBson::try_from(values[0].clone()).unwrap().as_raw_bson_ref()))
            .collect();
        for (at, key) in keys.iter().enumerate() {
            for (other_at, other) in keys.iter().enumerate() {
                assert!(at == other_at || !other.starts_with(key), "{key:x?} begins {other:x?}");
            }
        }
    }
}

//! One field of a document, found in its bytes, and the elements of an array, read from theirs.
//!
//! In: a checked document and a name, or an array. Out: values. Nothing before a field is decoded, which is most of what a
//! query or an expression does to a document: names are compared where they lie and values stepped over by their length.
//! Bytes that are no document give nothing.

use bson::oid::ObjectId;
use bson::raw::{RawArray, RawBsonRef, RawDocument, RawIter};
use bson::{DateTime, Decimal128, Timestamp};

/// What [`RawDocument::get`] finds.
pub fn get<'a>(document: &'a RawDocument, name: &str) -> Option<RawBsonRef<'a>> {
    let (bytes, name) = (document.as_bytes(), name.as_bytes());
    // A name ends at the first zero byte, so one inside would match a value.
    if name.contains(&0) {
        return None;
    }
    // Behind the length.
    let mut at = 4;
    let mut place = 0;
    loop {
        let kind = *bytes.get(at)?;
        if kind == 0 {
            return None;
        }
        let key = bytes.get(at + 1..)?;
        if key.get(name.len()) == Some(&0) && key.starts_with(name) {
            let value = key.get(name.len() + 1..)?;
            return match decoded(kind, value) {
                Some(value) => Some(value),
                // Whatever is rare, and arrays, whose type only the crate can make.
                None => document.iter_elements().nth(place)?.ok()?.value().ok(),
            };
        }
        let end = key.iter().position(|byte| *byte == 0)? + 1;
        at += 1 + end + length(kind, key.get(end..)?)?;
        place += 1;
    }
}

/// The elements of an array.
pub fn elements(array: &RawArray) -> Elements<'_> {
    Elements { raw: raw_elements(array), place: 0, slow: array.iter_elements(), slow_place: 0 }
}

pub struct Elements<'a> {
    raw: RawElements<'a>,
    place: usize,
    /// Goes behind, and makes what only the crate can.
    slow: RawIter<'a>,
    slow_place: usize,
}

impl<'a> Iterator for Elements<'a> {
    type Item = RawBsonRef<'a>;

    fn next(&mut self) -> Option<Self::Item> {
        let (kind, value) = self.raw.next()?;
        let place = self.place;
        self.place += 1;
        decoded(kind, value).or_else(|| {
            let element = self.slow.nth(place - self.slow_place)?.ok()?;
            self.slow_place = place + 1;
            element.value().ok()
        })
    }
}

/// The elements of an array as type and bytes, for copies and counts.
pub fn raw_elements(array: &RawArray) -> RawElements<'_> {
    RawElements { bytes: array.as_bytes(), at: 4 }
}

pub struct RawElements<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Iterator for RawElements<'a> {
    type Item = (u8, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let kind = *self.bytes.get(self.at).filter(|kind| **kind != 0)?;
        let name = self.bytes.get(self.at + 1..)?;
        let start = self.at + 2 + name.iter().position(|byte| *byte == 0)?;
        let value = self.bytes.get(start..)?;
        let value = value.get(..length(kind, value)?)?;
        self.at = start + value.len();
        Some((kind, value))
    }
}

/// How many bytes a value takes.
fn length(kind: u8, value: &[u8]) -> Option<usize> {
    let counted = || Some(u32::from_le_bytes(*value.first_chunk()?) as usize);
    let text = |from: usize| Some(value.get(from..)?.iter().position(|byte| *byte == 0)? + 1);
    Some(match kind {
        0x01 | 0x09 | 0x11 | 0x12 => 8,
        0x10 => 4,
        0x02 | 0x0d | 0x0e => 4 + counted()?,
        0x03 | 0x04 | 0x0f => counted()?,
        0x05 => 5 + counted()?,
        0x07 => 12,
        0x08 => 1,
        0x13 => 16,
        0x06 | 0x0a | 0x7f | 0xff => 0,
        0x0b => {
            let pattern = text(0)?;
            pattern + text(pattern)?
        }
        0x0c => 4 + counted()? + 12,
        _ => return None,
    })
}

fn decoded(kind: u8, value: &[u8]) -> Option<RawBsonRef<'_>> {
    Some(match kind {
        0x01 => RawBsonRef::Double(f64::from_le_bytes(*value.first_chunk()?)),
        0x02 => {
            let length = length(kind, value)?;
            // The length counts the zero byte at the end.
            RawBsonRef::String(std::str::from_utf8(value.get(4..length.checked_sub(1)?)?).ok()?)
        }
        0x03 => RawBsonRef::Document(RawDocument::from_bytes(value.get(..length(kind, value)?)?).ok()?),
        0x07 => RawBsonRef::ObjectId(ObjectId::from_bytes(*value.first_chunk()?)),
        0x08 => RawBsonRef::Boolean(*value.first()? != 0),
        0x09 => RawBsonRef::DateTime(DateTime::from_millis(i64::from_le_bytes(*value.first_chunk()?))),
        0x0a => RawBsonRef::Null,
        0x10 => RawBsonRef::Int32(i32::from_le_bytes(*value.first_chunk()?)),
        0x11 => {
            let stamp = u64::from_le_bytes(*value.first_chunk()?);
            RawBsonRef::Timestamp(Timestamp { time: (stamp >> 32) as u32, increment: stamp as u32 })
        }
        0x12 => RawBsonRef::Int64(i64::from_le_bytes(*value.first_chunk()?)),
        0x13 => RawBsonRef::Decimal128(Decimal128::from_bytes(*value.first_chunk()?)),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bson::raw::RawDocumentBuf;
    use bson::{Bson, Regex, doc};

    fn of_all_types() -> RawDocumentBuf {
        let document = doc! {
            "double": 1.5, "string": "text", "": "no name", "document": { "string": "inner" }, "array": [1, [2]],
            "binary": bson::Binary { subtype: bson::spec::BinarySubtype::Generic, bytes: vec![0, 1] },
            "undefined": Bson::Undefined, "id": ObjectId::from_bytes([7; 12]), "bool": true,
            "date": DateTime::from_millis(-5), "null": Bson::Null,
            "regex": Regex { pattern: "a".try_into().unwrap(), options: "i".try_into().unwrap() },
            "code": Bson::JavaScriptCode("f".into()), "symbol": Bson::Symbol("s".into()),
            "scope": bson::JavaScriptCodeWithScope { code: "f".into(), scope: doc! { "x": 1 } },
            "int": 7, "timestamp": Timestamp { time: 9, increment: 8 }, "long": 7_i64,
            "decimal": "1.50".parse::<Decimal128>().unwrap(), "min": Bson::MinKey, "max": Bson::MaxKey, "last": "é",
        };
        RawDocumentBuf::try_from(&document).unwrap()
    }

    #[test]
    fn every_field_is_found_as_the_crate_finds_it() {
        let document = of_all_types();
        for (name, value) in document.iter().map(Result::unwrap) {
            let found = get(&document, name.as_str()).map(|found| format!("{found:?}"));
            assert_eq!(found, Some(format!("{value:?}")), "{name}");
        }
        for absent in ["doubl", "doubles", "inner", "x", "last\0", "string\0\u{5}", "0"] {
            assert!(get(&document, absent).is_none(), "{absent}");
        }
    }

    #[test]
    fn elements_are_those_the_crate_gives() {
        let values: bson::raw::RawArrayBuf =
            of_all_types().iter().flat_map(|field| [field.unwrap().1, RawBsonRef::Int32(3)]).collect();
        let shown = |value: RawBsonRef<'_>| format!("{value:?}");
        let expected: Vec<_> = values.into_iter().map(|value| shown(value.unwrap())).collect();
        assert_eq!(elements(&values).map(shown).collect::<Vec<_>>(), expected);
        assert_eq!(raw_elements(&values).count(), expected.len());
    }

    #[test]
    fn bytes_that_are_no_document_give_nothing_and_do_no_harm() {
        let whole = of_all_types().into_bytes();
        for at in 4..whole.len() - 1 {
            for wrong in [0, 1, 0x7f, 0xff, whole[at].wrapping_add(1)] {
                let mut bytes = whole.clone();
                bytes[at] = wrong;
                let Ok(document) = RawDocument::from_bytes(&bytes) else { continue };
                for name in ["double", "array", "scope", "last", "nothing"] {
                    if let Some(RawBsonRef::Array(array)) = get(document, name) {
                        elements(array).for_each(drop);
                    }
                }
            }
        }
    }
}

//! Strings: joined, measured, cut, trimmed, searched and replaced.
//!
//! Offsets and lengths count bytes of UTF-8 in the operators with `Bytes` in their name and code points in those with `CP`.
//! Letter case is that of ASCII, as in MongoDB.

use bson::raw::{RawArrayBuf, RawBsonRef};

use super::math::{ONE, TWO, shown};
use super::operator::{MANY, Operands, Operator, all, at};
use super::value::Value;
use crate::error::{Code, StoreError, code, location};
use crate::limits;
use crate::value::number::Number;
use crate::value::text;

const PART: Operands = Operands::List { min: 3, max: 3 };
const SEARCH: Operands = Operands::List { min: 2, max: 4 };
const TRIM: Operands = Operands::Named {
    expected: code!(50696),
    unknown: code!(50694),
    required: &[("input", code!(50695))],
    optional: &["chars"],
    alone: false,
};
const REPLACE: Operands = Operands::Named {
    expected: code!(51751),
    unknown: code!(51750),
    required: &[("input", code!(51749)), ("find", code!(51748)), ("replacement", code!(51747))],
    optional: &[],
    alone: false,
};

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$concat", operands: Operands::List { min: 0, max: MANY }, apply: concat },
    Operator {
        name: "$toLower",
        operands: ONE,
        apply: |_, values| Ok(coerced(at(values, 0))?.to_ascii_lowercase().into()),
    },
    Operator {
        name: "$toUpper",
        operands: ONE,
        apply: |_, values| Ok(coerced(at(values, 0))?.to_ascii_uppercase().into()),
    },
    Operator { name: "$strcasecmp", operands: TWO, apply: compare_without_case },
    Operator {
        name: "$strLenBytes",
        operands: ONE,
        apply: |_, values| length(values, code!(34473), "$strLenBytes", str::len),
    },
    Operator {
        name: "$strLenCP",
        operands: ONE,
        apply: |_, values| length(values, code!(34471), "$strLenCP", |text| text.chars().count()),
    },
    Operator { name: "$substr", operands: PART, apply: part_in_bytes },
    Operator { name: "$substrBytes", operands: PART, apply: part_in_bytes },
    Operator { name: "$substrCP", operands: PART, apply: part_in_code_points },
    Operator { name: "$split", operands: TWO, apply: split },
    Operator { name: "$trim", operands: TRIM, apply: trim },
    Operator { name: "$ltrim", operands: TRIM, apply: trim },
    Operator { name: "$rtrim", operands: TRIM, apply: trim },
    Operator { name: "$indexOfBytes", operands: SEARCH, apply: index_in_bytes },
    Operator { name: "$indexOfCP", operands: SEARCH, apply: index_in_code_points },
    Operator { name: "$replaceOne", operands: REPLACE, apply: |operator, values| replace(operator, values, 1) },
    Operator {
        name: "$replaceAll",
        operands: REPLACE,
        apply: |operator, values| replace(operator, values, usize::MAX),
    },
];

/// A value as text where MongoDB takes numbers and dates for text, and nothing for an empty one.
fn coerced(value: &Value<'_>) -> Result<String, StoreError> {
    match value.get().map(text::of) {
        None => Ok(String::new()),
        _ if value.is_nullish() => Ok(String::new()),
        Some(Some(text)) => Ok(text),
        Some(None) => Err(location!(16007, "can't convert from BSON type {} to String", value.type_name())),
    }
}

/// A string is part of a document in the end, so none may be longer than one.
fn check_length(operator: &str, bytes: usize) -> Result<(), StoreError> {
    if bytes > limits::DOCUMENT_BYTES_MAX {
        let text = format!("{operator} gives a string of {bytes} bytes, which is longer than a document may be");
        return Err(StoreError::caller(10334, "BSONObjectTooLarge", text));
    }
    Ok(())
}

fn concat<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let mut joined = String::new();
    for value in all(values) {
        if value.is_nullish() {
            return Ok(Value::NULL);
        }
        let Some(part) = value.as_str() else {
            return Err(location!(16702, "$concat only supports strings, not {}", value.type_name()));
        };
        check_length("$concat", joined.len() + part.len())?;
        joined.push_str(part);
    }
    Ok(joined.into())
}

fn compare_without_case<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (left, right) = (coerced(at(values, 0))?.to_ascii_uppercase(), coerced(at(values, 1))?.to_ascii_uppercase());
    Ok((left.cmp(&right) as i32).into())
}

fn length<'a>(
    values: &[Option<Value<'a>>],
    code: Code,
    name: &str,
    count: fn(&str) -> usize,
) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    match value.as_str() {
        // No string is as long as the greatest int.
        Some(text) => Ok((count(text) as i32).into()),
        None => {
            Err(StoreError::coded(code, format!("{name} requires a string argument, found: {}", value.type_name())))
        }
    }
}

fn part_in_bytes<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let name = operator.name;
    let text = coerced(at(values, 0))?;
    let whole = |at: &Value<'_>, code: Code, what: &str| {
        at.number().map(|number| number.truncated().unwrap_or(i64::MAX)).ok_or_else(|| {
            let found = at.type_name();
            StoreError::coded(code, format!("{name}:  {what} must be a numeric type (is BSON type {found})"))
        })
    };
    let start = whole(at(values, 1), code!(16034), "starting index")?;
    let length = whole(at(values, 2), code!(16035), "length")?;
    let start = usize::try_from(start)
        .map_err(|_| location!(50752, "{name}:  starting index must be non-negative (got: {start})"))?;
    if start >= text.len() {
        return Ok(String::new().into());
    }
    if !text.is_char_boundary(start) {
        return Err(location!(28656, "{name}:  Invalid range, starting index is a UTF-8 continuation byte."));
    }
    // A negative length means the rest.
    let end = usize::try_from(length).map_or(text.len(), |length| start.saturating_add(length).min(text.len()));
    if !text.is_char_boundary(end) {
        return Err(location!(28657, "{name}:  Invalid range, ending index is in the middle of a UTF-8 character."));
    }
    Ok(text[start..end].to_owned().into())
}

fn part_in_code_points<'a>(
    operator: &'static Operator,
    values: &mut [Option<Value<'a>>],
) -> Result<Value<'a>, StoreError> {
    let name = operator.name;
    let text = coerced(at(values, 0))?;
    let whole = |at: &Value<'_>, (kind, range, sign): (Code, Code, Code), what: &str| {
        let Some(number) = at.number() else {
            let found = at.type_name();
            return Err(StoreError::coded(
                kind,
                format!("{name}: {what} must be a numeric type (is BSON type {found})"),
            ));
        };
        let Some(whole) = number.whole().and_then(|whole| i32::try_from(whole).ok()) else {
            let shown = shown(at);
            let text = format!("{name}: {what} cannot be represented as a 32-bit integral value: {shown}");
            return Err(StoreError::coded(range, text));
        };
        usize::try_from(whole)
            .map_err(|_| StoreError::coded(sign, format!("{name}: {what} must be a nonnegative integer.")))
    };
    let start = whole(at(values, 1), (code!(34450), code!(34451), code!(34455)), "starting index")?;
    let length = whole(at(values, 2), (code!(34452), code!(34453), code!(34454)), "length")?;
    let start = byte_of(&text, start).unwrap_or(text.len());
    let length = byte_of(&text[start..], length).unwrap_or(text.len() - start);
    Ok(text[start..start + length].to_owned().into())
}

/// Where a code point begins; where the text ends for the one after the last, `None` beyond.
fn byte_of(text: &str, code_point: usize) -> Option<usize> {
    text.char_indices().map(|(at, _)| at).chain([text.len()]).nth(code_point)
}

fn split<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (text, separator) = (at(values, 0), at(values, 1));
    if text.is_nullish() || separator.is_nullish() {
        return Ok(Value::NULL);
    }
    let (Some(whole), Some(by)) = (text.as_str(), separator.as_str()) else {
        if text.as_str().is_none() {
            let found = text.type_name();
            return Err(location!(
                40085,
                "$split requires an expression that evaluates to a string as a first argument, found: {found}"
            ));
        }
        let found = separator.type_name();
        return Err(location!(
            40086,
            "$split requires an expression that evaluates to a string as a second argument, found: {found}"
        ));
    };
    if by.is_empty() {
        return Err(location!(40087, "$split requires a non-empty separator"));
    }
    let mut parts = RawArrayBuf::new();
    for part in whole.split(by) {
        parts.push(RawBsonRef::String(part));
    }
    Ok(parts.into())
}

/// What is trimmed when no characters are named.
const BLANKS: &[char] = &[
    '\0', ' ', '\t', '\n', '\u{b}', '\u{c}', '\r', '\u{a0}', '\u{1680}', '\u{2000}', '\u{2001}', '\u{2002}',
    '\u{2003}', '\u{2004}', '\u{2005}', '\u{2006}', '\u{2007}', '\u{2008}', '\u{2009}', '\u{200a}',
];

fn trim<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let name = operator.name;
    let input = at(values, 0);
    let chars = values.get(1).and_then(Option::as_ref);
    if input.is_nullish() {
        return Ok(Value::NULL);
    }
    let Some(text) = input.as_str() else {
        let (found, kind) = (shown(input), input.type_name());
        return Err(location!(
            50699,
            "{name} requires its input to be a string, got {found} (of type {kind}) instead."
        ));
    };
    let named: Vec<char>;
    let unwanted = match chars {
        None => BLANKS,
        Some(chars) if chars.is_nullish() => return Ok(Value::NULL),
        Some(chars) => {
            let Some(listed) = chars.as_str() else {
                let (found, kind) = (shown(chars), chars.type_name());
                return Err(location!(
                    50700,
                    "{name} requires 'chars' to be a string, got {found} (of type {kind}) instead."
                ));
            };
            named = listed.chars().collect();
            &named
        }
    };
    let left = if name == "$rtrim" { text } else { text.trim_start_matches(unwanted) };
    let both = if name == "$ltrim" { left } else { left.trim_end_matches(unwanted) };
    Ok(both.to_owned().into())
}

/// The operands of a search: the text, what is looked for, and from where to where. `None` when the text is nullish.
struct Search<'v> {
    text: &'v str,
    wanted: &'v str,
    start: usize,
    end: Option<usize>,
}

impl<'v> Search<'v> {
    fn of(name: &str, values: &'v [Option<Value<'_>>], codes: (Code, Code)) -> Result<Option<Self>, StoreError> {
        let (text, wanted) = (at(values, 0), at(values, 1));
        if text.is_nullish() {
            return Ok(None);
        }
        let Some(text) = text.as_str() else {
            let found = text.type_name();
            let text = format!("{name} requires a string as the first argument, found: {found}");
            return Err(StoreError::coded(codes.0, text));
        };
        let Some(wanted) = wanted.as_str() else {
            let found = wanted.type_name();
            let text = format!("{name} requires a string as the second argument, found: {found}");
            return Err(StoreError::coded(codes.1, text));
        };
        let place = |at: usize, what: &str| {
            let Some(value) = values.get(at).and_then(Option::as_ref) else { return Ok(None) };
            let Some(whole) = value.number().and_then(Number::whole) else {
                let (kind, shown) = (value.type_name(), shown(value));
                return Err(location!(
                    40096,
                    "{name} requires an integral {what}, found a value of type: {kind}, with value: \"{shown}\""
                ));
            };
            usize::try_from(whole)
                .map(Some)
                .map_err(|_| location!(40097, "{name} requires a nonnegative {what}, found: {whole}"))
        };
        let start = place(2, "starting index")?.unwrap_or(0);
        Ok(Some(Self { text, wanted, start, end: place(3, "ending index")? }))
    }

    /// The byte at which it is found between two bytes, which need not be where characters begin.
    fn between(&self, start: usize, end: usize) -> Option<usize> {
        if start > self.text.len() || end < start {
            return None;
        }
        if self.wanted.is_empty() {
            return Some(start);
        }
        // What is looked for is whole characters, so it lies between whole characters.
        let boundary = |at: &usize| self.text.is_char_boundary(*at);
        let (start, end) = ((start..).find(boundary)?, (0..=end.min(self.text.len())).rev().find(boundary)?);
        Some(start + self.text.get(start..end)?.find(self.wanted)?)
    }
}

fn found(at: Option<usize>) -> Value<'static> {
    at.map_or(-1, |at| at as i32).into()
}

fn index_in_bytes<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let Some(search) = Search::of(operator.name, values, (code!(40091), code!(40092)))? else {
        return Ok(Value::NULL);
    };
    Ok(found(search.between(search.start, search.end.unwrap_or(search.text.len()))))
}

fn index_in_code_points<'a>(
    operator: &'static Operator,
    values: &mut [Option<Value<'a>>],
) -> Result<Value<'a>, StoreError> {
    let Some(search) = Search::of(operator.name, values, (code!(40093), code!(40094)))? else {
        return Ok(Value::NULL);
    };
    let text = search.text;
    let Some(start) = byte_of(text, search.start) else { return Ok(found(None)) };
    let end = search.end.map_or(text.len(), |end| byte_of(text, end).unwrap_or(text.len()));
    Ok(found(search.between(start, end).map(|at| text[..at].chars().count())))
}

fn replace<'a>(
    operator: &'static Operator,
    values: &mut [Option<Value<'a>>],
    most: usize,
) -> Result<Value<'a>, StoreError> {
    let name = operator.name;
    for (place, (code, what)) in
        [(code!(51746), "input"), (code!(51745), "find"), (code!(51744), "replacement")].into_iter().enumerate()
    {
        let value = at(values, place);
        if value.as_str().is_none() && !value.is_nullish() {
            let text = format!("{name} requires that '{what}' be a string, found: {}", shown(value));
            return Err(StoreError::coded(code, text));
        }
    }
    let (Some(input), Some(wanted), Some(replacement)) =
        (at(values, 0).as_str(), at(values, 1).as_str(), at(values, 2).as_str())
    else {
        return Ok(Value::NULL);
    };
    let count = input.matches(wanted).take(most).count();
    check_length(name, input.len() - count * wanted.len() + count.saturating_mul(replacement.len()))?;
    Ok(input.replacen(wanted, replacement, count).into())
}

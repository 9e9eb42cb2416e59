//! `$convert` and its short forms, `$toInt` and the others.
//!
//! In: a value and the type wanted. Out: the value in that type, or `ConversionFailure` where there is none: numbers that do
//! not fit are not bent, text must be a number as a whole. Fractions are cut off on the way to whole numbers.

use bson::DateTime;
use bson::oid::ObjectId;
use bson::raw::RawBsonRef;

use super::date;
use super::math::{ONE, shown};
use super::operator::{Operands, Operator, at, take};
use super::value::Value;
use crate::error::{Code, StoreError};
use crate::value::decimal::{self, Fit};
use crate::value::number::Number;
use crate::value::text;

const FAILED_TO_PARSE: Code = Code(9, "FailedToParse");

pub(super) const OPERATORS: &[Operator] = &[
    Operator {
        name: "$convert",
        operands: Operands::Named {
            expected: FAILED_TO_PARSE,
            unknown: FAILED_TO_PARSE,
            required: &[("input", FAILED_TO_PARSE), ("to", FAILED_TO_PARSE)],
            optional: &["onError", "onNull"],
            alone: false,
        },
        apply: convert,
    },
    Operator { name: "$toBool", operands: ONE, apply: |_, values| short(values, Target::Bool) },
    Operator { name: "$toDate", operands: ONE, apply: |_, values| short(values, Target::Date) },
    Operator { name: "$toDecimal", operands: ONE, apply: |_, values| short(values, Target::Decimal) },
    Operator { name: "$toDouble", operands: ONE, apply: |_, values| short(values, Target::Double) },
    Operator { name: "$toInt", operands: ONE, apply: |_, values| short(values, Target::Int) },
    Operator { name: "$toLong", operands: ONE, apply: |_, values| short(values, Target::Long) },
    Operator { name: "$toObjectId", operands: ONE, apply: |_, values| short(values, Target::ObjectId) },
    Operator { name: "$toString", operands: ONE, apply: |_, values| short(values, Target::String) },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Target {
    Double,
    String,
    ObjectId,
    Bool,
    Date,
    Int,
    Long,
    Decimal,
    /// A type there is, to which nothing is converted.
    Other(&'static str),
}

/// By name and number, as `$type` has them.
const TARGETS: [(&str, i64, Target); 21] = [
    ("double", 1, Target::Double),
    ("string", 2, Target::String),
    ("object", 3, Target::Other("object")),
    ("array", 4, Target::Other("array")),
    ("binData", 5, Target::Other("binData")),
    ("undefined", 6, Target::Other("undefined")),
    ("objectId", 7, Target::ObjectId),
    ("bool", 8, Target::Bool),
    ("date", 9, Target::Date),
    ("null", 10, Target::Other("null")),
    ("regex", 11, Target::Other("regex")),
    ("dbPointer", 12, Target::Other("dbPointer")),
    ("javascript", 13, Target::Other("javascript")),
    ("symbol", 14, Target::Other("symbol")),
    ("javascriptWithScope", 15, Target::Other("javascriptWithScope")),
    ("int", 16, Target::Int),
    ("timestamp", 17, Target::Other("timestamp")),
    ("long", 18, Target::Long),
    ("decimal", 19, Target::Decimal),
    ("minKey", -1, Target::Other("minKey")),
    ("maxKey", 127, Target::Other("maxKey")),
];

impl Target {
    fn of(value: &Value<'_>) -> Result<Self, StoreError> {
        if let Some(name) = value.as_str() {
            let named = TARGETS.iter().find(|(known, ..)| *known == name);
            return named
                .map(|(.., target)| *target)
                .ok_or_else(|| StoreError::bad_value(format!("Unknown type name: {name}")));
        }
        let wrong = |text: String| StoreError::coded(FAILED_TO_PARSE, text);
        let Some(number) = value.number() else {
            let found = value.type_name();
            return Err(wrong(format!("$convert's 'to' argument must be a string or number, but is {found}")));
        };
        let whole = number.whole();
        let numbered = TARGETS.iter().find(|(_, known, _)| whole == Some(*known));
        numbered.map(|(.., target)| *target).ok_or_else(|| {
            let found = shown(value);
            wrong(format!("In $convert, numeric value for 'to' does not correspond to a BSON type: {found}"))
        })
    }

    fn name(self) -> &'static str {
        match self {
            Self::Other(name) => name,
            target => TARGETS.iter().find(|(.., known)| *known == target).map_or("unknown", |(name, ..)| name),
        }
    }
}

fn short<'a>(values: &mut [Option<Value<'a>>], target: Target) -> Result<Value<'a>, StoreError> {
    let value = take(values, 0);
    if value.is_nullish() {
        return Ok(Value::NULL);
    }
    converted(value, target)
}

fn convert<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let to = at(values, 1);
    let target = if to.is_nullish() { None } else { Some(Target::of(to)?) };
    let input = take(values, 0);
    let mut instead = |place: usize| values.get_mut(place).and_then(Option::take);
    if input.is_nullish() {
        return Ok(instead(3).unwrap_or(Value::NULL));
    }
    let Some(target) = target else { return Ok(Value::NULL) };
    converted(input, target).or_else(|error| match instead(2) {
        Some(value) if error.code == CONVERSION_FAILURE => Ok(value),
        _ => Err(error),
    })
}

const CONVERSION_FAILURE: i32 = 241;

fn failure(text: String) -> StoreError {
    StoreError::caller(CONVERSION_FAILURE, "ConversionFailure", text)
}

fn converted<'a>(value: Value<'a>, target: Target) -> Result<Value<'a>, StoreError> {
    let unsupported = || {
        let (from, to) = (value.type_name(), target.name());
        failure(format!("Unsupported conversion from {from} to {to} in $convert with no onError value"))
    };
    let Some(found) = value.get() else { return Ok(Value::NULL) };
    let made = match (target, found) {
        (Target::Bool, RawBsonRef::Boolean(_))
        | (Target::String, RawBsonRef::String(_))
        | (Target::ObjectId, RawBsonRef::ObjectId(_))
        | (Target::Date, RawBsonRef::DateTime(_))
        | (Target::Double, RawBsonRef::Double(_))
        | (Target::Int, RawBsonRef::Int32(_))
        | (Target::Long, RawBsonRef::Int64(_))
        | (Target::Decimal, RawBsonRef::Decimal128(_)) => return Ok(value),

        (Target::Bool, _) => Number::of(found).is_none_or(|number| !number.is_zero()).into(),

        (Target::String, RawBsonRef::ObjectId(id)) => id.to_hex().into(),
        (Target::String, RawBsonRef::Boolean(truth)) => truth.to_string().into(),
        (Target::String, RawBsonRef::DateTime(date)) => text::of_date(date).into(),
        (Target::String, found) if Number::of(found).is_some() => text::of(found).unwrap_or_default().into(),

        (Target::ObjectId, RawBsonRef::String(text)) => {
            let id = ObjectId::parse_str(text).map_err(|error| {
                failure(format!("Failed to parse objectId '{text}' in $convert with no onError value: {error}"))
            })?;
            bson::raw::RawBson::ObjectId(id).into()
        }

        (Target::Date, RawBsonRef::String(text)) => DateTime::from_millis(date::read(text, &date::UTC)?).into(),
        (Target::Date, RawBsonRef::ObjectId(_) | RawBsonRef::Timestamp(_)) => {
            DateTime::from_millis(date::moment(&value).ok_or_else(unsupported)?).into()
        }
        (Target::Date, RawBsonRef::Int64(_) | RawBsonRef::Double(_) | RawBsonRef::Decimal128(_)) => {
            DateTime::from_millis(whole(found).ok_or_else(unsupported)??).into()
        }

        (Target::Int, RawBsonRef::String(text)) => parsed(text, text.parse::<i32>())?.into(),
        (Target::Long, RawBsonRef::String(text)) => parsed(text, text.parse::<i64>())?.into(),
        (Target::Long, RawBsonRef::DateTime(date)) => date.timestamp_millis().into(),
        (Target::Int | Target::Long, RawBsonRef::Boolean(truth)) => {
            if target == Target::Int {
                i32::from(truth).into()
            } else {
                i64::from(truth).into()
            }
        }
        (Target::Long, found) => whole(found).ok_or_else(unsupported)??.into(),
        (Target::Int, found) => {
            let whole = whole(found).ok_or_else(unsupported)??;
            i32::try_from(whole).map_err(|_| too_large(found))?.into()
        }

        (Target::Double, RawBsonRef::String(text)) => double(text)?.into(),
        (Target::Decimal, RawBsonRef::String(text)) => match decimal::parse(text) {
            Ok((value, Fit::Within)) => value.into(),
            Ok((_, Fit::TooLarge)) => {
                return Err(not_a_number(text, "Conversion from string to decimal would overflow"));
            }
            Ok((_, Fit::TooSmall)) => {
                return Err(not_a_number(text, "Conversion from string to decimal would underflow"));
            }
            Err(decimal::NotANumber) => return Err(not_a_number(text, "Failed to parse string to decimal")),
        },
        (Target::Double | Target::Decimal, found) => {
            let number = match found {
                RawBsonRef::Boolean(truth) => Number::Int32(truth.into()),
                RawBsonRef::DateTime(date) => Number::Int64(date.timestamp_millis()),
                found => Number::of(found).ok_or_else(unsupported)?,
            };
            if target == Target::Decimal {
                number.to_decimal().into()
            } else {
                let double = number.to_double();
                // An infinite decimal is an infinite double; a finite one is not.
                if double.is_infinite() && number.compare(Number::Double(double)).is_ne() {
                    return Err(too_large(found));
                }
                double.into()
            }
        }
        _ => return Err(unsupported()),
    };
    Ok(made)
}

fn too_large(found: RawBsonRef<'_>) -> StoreError {
    let found = text::of(found).unwrap_or_default();
    failure(format!("Conversion would overflow target type in $convert with no onError value: {found}"))
}

/// The whole part of a number as a long; `None` for what is no number.
fn whole(found: RawBsonRef<'_>) -> Option<Result<i64, StoreError>> {
    let number = Number::of(found)?;
    Some(match number.truncated() {
        Some(whole) => Ok(whole),
        None if number.is_nan() => {
            Err(failure("Attempt to convert NaN value to integer type in $convert with no onError value".into()))
        }
        None => Err(too_large(found)),
    })
}

fn not_a_number(text: &str, why: &str) -> StoreError {
    failure(format!("Failed to parse number '{text}' in $convert with no onError value: {why}"))
}

fn parsed<T>(text: &str, outcome: Result<T, std::num::ParseIntError>) -> Result<T, StoreError> {
    outcome.map_err(|error| not_a_number(text, &error.to_string()))
}

fn double(text: &str) -> Result<f64, StoreError> {
    let value: f64 = text.parse().map_err(|_| not_a_number(text, "Did not consume whole string."))?;
    // Only a word is infinite.
    if value.is_infinite() && text.contains(|next: char| next.is_ascii_digit()) {
        return Err(not_a_number(text, "Out of range"));
    }
    Ok(value)
}

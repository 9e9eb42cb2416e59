//! `$add`, `$subtract`, `$multiply`, `$divide` and `$mod`, of numbers and, where a sum makes sense, dates.
//!
//! Ints stay ints while the result fits, then become longs, then doubles: no whole number overflows.

use bson::DateTime;
use bson::raw::RawBsonRef;

use super::operator::{MANY, Operands, Operator, all, at};
use super::value::Value;
use crate::error::{StoreError, location};
use crate::value::number::Number;

const TWO: Operands = Operands::List { min: 2, max: 2 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$add", operands: Operands::List { min: 0, max: MANY }, apply: add },
    Operator { name: "$multiply", operands: Operands::List { min: 0, max: MANY }, apply: multiply },
    Operator { name: "$subtract", operands: TWO, apply: subtract },
    Operator { name: "$divide", operands: TWO, apply: divide },
    Operator { name: "$mod", operands: TWO, apply: modulo },
];

/// What has been added up or multiplied so far.
#[derive(Debug, Clone, Copy)]
enum Total {
    /// Of ints alone, which makes an int if it fits in the end.
    Ints(i64),
    Longs(i64),
    Double(f64),
}

impl Total {
    fn combine(
        self,
        other: Number,
        whole: fn(i64, i64) -> Option<i64>,
        floating: fn(f64, f64) -> f64,
    ) -> Result<Self, StoreError> {
        let (total, longs) = match self {
            Self::Ints(total) => (total, matches!(other, Number::Int64(_))),
            Self::Longs(total) => (total, true),
            Self::Double(total) => return Ok(Self::Double(floating(total, double(other)?))),
        };
        let Some(other) = integer(other) else { return Ok(Self::Double(floating(total as f64, double(other)?))) };
        Ok(match whole(total, other) {
            Some(total) if longs => Self::Longs(total),
            Some(total) => Self::Ints(total),
            None => Self::Double(floating(total as f64, other as f64)),
        })
    }

    fn value(self) -> Value<'static> {
        match self {
            Self::Ints(total) => int_or_long(total),
            Self::Longs(total) => total.into(),
            Self::Double(total) => total.into(),
        }
    }
}

fn add<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let mut total = Total::Ints(0);
    let mut date: Option<DateTime> = None;
    for value in all(values) {
        match value.get() {
            None | Some(RawBsonRef::Null | RawBsonRef::Undefined) => return Ok(Value::NULL),
            Some(RawBsonRef::DateTime(_)) if date.is_some() => {
                return Err(location!(16612, "only one date allowed in an $add expression"));
            }
            Some(RawBsonRef::DateTime(found)) => date = Some(found),
            Some(other) => {
                let number = Number::of(other).ok_or_else(|| {
                    let found = value.type_name();
                    StoreError::type_mismatch(format!("$add only supports numeric or date types, not {found}"))
                })?;
                total = total.combine(number, i64::checked_add, |left, right| left + right)?;
            }
        }
    }
    let Some(date) = date else { return Ok(total.value()) };
    moved("$add", date, total, i64::checked_add)
}

fn multiply<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let mut total = Total::Ints(1);
    for value in all(values) {
        let Some(number) = value.number() else {
            if value.is_nullish() {
                return Ok(Value::NULL);
            }
            let text = format!("$multiply only supports numeric types, not {}", value.type_name());
            return Err(StoreError::type_mismatch(text));
        };
        total = total.combine(number, i64::checked_mul, |left, right| left * right)?;
    }
    Ok(total.value())
}

fn subtract<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (left, right) = (at(values, 0), at(values, 1));
    if left.is_nullish() || right.is_nullish() {
        return Ok(Value::NULL);
    }
    let start = |number| match number {
        Number::Int32(value) => Ok(Total::Ints(value.into())),
        Number::Int64(value) => Ok(Total::Longs(value)),
        other => double(other).map(Total::Double),
    };
    match (left.get(), left.number(), right.number()) {
        (_, Some(left), Some(right)) => {
            let difference = start(left)?.combine(right, i64::checked_sub, |left, right| left - right)?;
            Ok(difference.value())
        }
        (Some(RawBsonRef::DateTime(from)), _, Some(right)) => moved("$subtract", from, start(right)?, i64::checked_sub),
        (Some(RawBsonRef::DateTime(from)), ..) if matches!(right.get(), Some(RawBsonRef::DateTime(_))) => {
            let Some(RawBsonRef::DateTime(to)) = right.get() else { return Ok(Value::NULL) };
            let difference = from.timestamp_millis().checked_sub(to.timestamp_millis());
            Ok(difference.ok_or_else(|| date_overflow("$subtract"))?.into())
        }
        _ => Err(StoreError::type_mismatch(format!("can't $subtract {} from {}", right.type_name(), left.type_name()))),
    }
}

fn divide<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (left, right) = (at(values, 0), at(values, 1));
    match (left.number(), right.number()) {
        (Some(left), Some(right)) => {
            if is_zero(right) {
                return Err(StoreError::bad_value("can't $divide by zero"));
            }
            Ok((double(left)? / double(right)?).into())
        }
        _ if left.is_nullish() || right.is_nullish() => Ok(Value::NULL),
        _ => Err(StoreError::type_mismatch(format!(
            "$divide only supports numeric types, not {} and {}",
            left.type_name(),
            right.type_name()
        ))),
    }
}

fn modulo<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (left, right) = (at(values, 0), at(values, 1));
    match (left.number(), right.number()) {
        (Some(left), Some(right)) => {
            if is_zero(right) {
                return Err(location!(16610, "can't $mod by zero"));
            }
            let short = |number: Number| number.whole().filter(|whole| i32::try_from(*whole).is_ok());
            // A double that is a small whole number divides whole numbers as an int would.
            let divisor = integer(right).or_else(|| short(right));
            match (integer(left), divisor) {
                (Some(dividend), Some(divisor)) => {
                    let rest = dividend.wrapping_rem(divisor);
                    let long = matches!(left, Number::Int64(_)) || matches!(right, Number::Int64(_));
                    Ok(if long { rest.into() } else { int_or_long(rest) })
                }
                _ => Ok((double(left)? % double(right)?).into()),
            }
        }
        _ if left.is_nullish() || right.is_nullish() => Ok(Value::NULL),
        _ => Err(location!(
            16611,
            "$mod only supports numeric types, not {} and {}",
            left.type_name(),
            right.type_name()
        )),
    }
}

/// A date some milliseconds later or earlier; parts of a millisecond are rounded.
fn moved(
    operator: &str,
    date: DateTime,
    by: Total,
    combine: fn(i64, i64) -> Option<i64>,
) -> Result<Value<'static>, StoreError> {
    let by = match by {
        Total::Ints(by) | Total::Longs(by) => Some(by),
        Total::Double(by) => Number::Double(by.round()).truncated(),
    };
    let millis = by.and_then(|by| combine(date.timestamp_millis(), by)).ok_or_else(|| date_overflow(operator))?;
    Ok(DateTime::from_millis(millis).into())
}

fn date_overflow(operator: &str) -> StoreError {
    StoreError::caller(15, "Overflow", format!("date overflow in {operator}"))
}

fn is_zero(number: Number) -> bool {
    number.compare(Number::Int32(0)).is_eq()
}

fn int_or_long(value: i64) -> Value<'static> {
    i32::try_from(value).map_or_else(|_| value.into(), Value::from)
}

fn integer(number: Number) -> Option<i64> {
    match number {
        Number::Int32(value) => Some(value.into()),
        Number::Int64(value) => Some(value),
        Number::Double(_) | Number::Decimal(_) => None,
    }
}

fn double(number: Number) -> Result<f64, StoreError> {
    match number {
        Number::Int32(value) => Ok(value.into()),
        Number::Int64(value) => Ok(value as f64),
        Number::Double(value) => Ok(value),
        Number::Decimal(_) => Err(StoreError::unsupported("arithmetic on decimals is not supported")),
    }
}

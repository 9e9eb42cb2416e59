//! `$add`, `$subtract`, `$multiply`, `$divide` and `$mod`, of numbers and, where a sum makes sense, dates.
//!
//! Ints stay ints while the result fits, then become longs, then doubles: no whole number overflows.

use bson::DateTime;
use bson::raw::RawBsonRef;
use dec::Rounding;

use super::operator::{MANY, Operands, Operator, all, at};
use super::value::Value;
use crate::error::{StoreError, location};
use crate::value::decimal;
use crate::value::number::{Number, Overflow};

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
struct Total {
    number: Number,
    /// Whether there were only ints, which make an int if it fits in the end.
    ints: bool,
}

type Combine = fn(Number, Number) -> Result<Number, Overflow>;

impl Total {
    fn of(number: Number) -> Self {
        Self { number, ints: matches!(number, Number::Int32(_)) }
    }

    /// Whole numbers that do not fit a long go on as doubles.
    fn combine(self, other: Number, combine: Combine) -> Self {
        let ints = self.ints && matches!(other, Number::Int32(_));
        let double = |number: Number| Number::Double(number.to_double());
        let number = combine(self.number, other).or_else(|Overflow| combine(double(self.number), double(other)));
        Self { number: number.unwrap_or(Number::Double(f64::NAN)), ints }
    }

    fn number(self) -> Number {
        match self.number {
            Number::Int64(total) if self.ints => Number::of_integer(total),
            total => total,
        }
    }
}

fn add<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let mut total = Total::of(Number::Int32(0));
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
                total = total.combine(number, Number::plus);
            }
        }
    }
    let Some(date) = date else { return Ok(total.number().into()) };
    moved("$add", date, total.number(), i64::checked_add)
}

fn multiply<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let mut total = Total::of(Number::Int32(1));
    for value in all(values) {
        let Some(number) = value.number() else {
            if value.is_nullish() {
                return Ok(Value::NULL);
            }
            let text = format!("$multiply only supports numeric types, not {}", value.type_name());
            return Err(StoreError::type_mismatch(text));
        };
        total = total.combine(number, Number::times);
    }
    Ok(total.number().into())
}

fn subtract<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (left, right) = (at(values, 0), at(values, 1));
    if left.is_nullish() || right.is_nullish() {
        return Ok(Value::NULL);
    }
    match (left.get(), left.number(), right.number()) {
        (_, Some(left), Some(right)) => Ok(Total::of(left).combine(right, Number::minus).number().into()),
        (Some(RawBsonRef::DateTime(from)), _, Some(right)) => moved("$subtract", from, right, i64::checked_sub),
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
            let quotient = left.over(right).ok_or_else(|| StoreError::bad_value("can't $divide by zero"))?;
            Ok(quotient.into())
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
            // A double that is a small whole number divides whole numbers as an int would.
            let small = match (left, right) {
                (Number::Int32(_) | Number::Int64(_), Number::Double(_)) => right.whole().map(i32::try_from),
                _ => None,
            };
            let right = small.and_then(Result::ok).map_or(right, Number::Int32);
            Ok(left.remainder(right).ok_or_else(|| location!(16610, "can't $mod by zero"))?.into())
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
    by: Number,
    combine: fn(i64, i64) -> Option<i64>,
) -> Result<Value<'static>, StoreError> {
    let whole = match by {
        Number::Double(by) => Number::Double(by.round()),
        Number::Decimal(by) => Number::Decimal(decimal::rounded(by, 0, Rounding::HalfEven)),
        by => by,
    };
    let millis = whole.truncated().and_then(|by| combine(date.timestamp_millis(), by));
    Ok(DateTime::from_millis(millis.ok_or_else(|| date_overflow(operator))?).into())
}

fn date_overflow(operator: &str) -> StoreError {
    StoreError::caller(15, "Overflow", format!("date overflow in {operator}"))
}

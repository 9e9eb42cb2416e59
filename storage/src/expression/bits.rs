//! The bits of ints and longs. Two ints give an int; a long makes the result a long.

use super::math::ONE;
use super::operator::{MANY, Operands, Operator, all, at};
use super::value::Value;
use crate::error::{StoreError, location};
use crate::value::number::Number;

const LIST: Operands = Operands::List { min: 0, max: MANY };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$bitAnd", operands: LIST, apply: |operator, values| combine(operator, values, -1, |a, b| a & b) },
    Operator { name: "$bitOr", operands: LIST, apply: |operator, values| combine(operator, values, 0, |a, b| a | b) },
    Operator { name: "$bitXor", operands: LIST, apply: |operator, values| combine(operator, values, 0, |a, b| a ^ b) },
    Operator { name: "$bitNot", operands: ONE, apply: not },
];

fn combine<'a>(
    operator: &Operator,
    values: &[Option<Value<'a>>],
    neutral: i64,
    bits: fn(i64, i64) -> i64,
) -> Result<Value<'a>, StoreError> {
    let (mut result, mut long) = (neutral, false);
    for value in all(values) {
        result = match value.number() {
            Some(Number::Int32(operand)) => bits(result, operand.into()),
            Some(Number::Int64(operand)) => {
                long = true;
                bits(result, operand)
            }
            _ if value.is_nullish() => return Ok(Value::NULL),
            _ => {
                let text = format!("{} only supports int and long operands.", operator.name);
                return Err(StoreError::type_mismatch(text));
            }
        };
    }
    // Of ints, the upper half only repeats the sign.
    Ok(if long { result.into() } else { (result as i32).into() })
}

fn not<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    Ok(match value.number() {
        Some(Number::Int32(operand)) => (!operand).into(),
        Some(Number::Int64(operand)) => (!operand).into(),
        _ if value.is_nullish() => Value::NULL,
        _ => return Err(location!(28765, "$bitNot only supports int and long, not: {}.", value.type_name())),
    })
}

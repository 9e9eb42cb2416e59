//! Accumulators as expression operators: over the elements of one array, or over several operands. Those that give some of
//! an array's elements are with the arrays (`array`).

use bson::raw::{RawBson, RawBsonRef};

use super::operator::{MANY, Operands, Operator, all, at};
use super::value::Value;
use crate::aggregate::accumulator::Moments;
use crate::aggregate::accumulator::percentile::{self, Which};
use crate::error::{Code, StoreError, code};
use crate::value::compare;
use crate::value::number::Number;
use crate::value::sum::Sum;

const ANY: Operands = Operands::List { min: 0, max: MANY };

const fn input_and_method(required: &'static [(&'static str, Code)]) -> Operands {
    Operands::Named { expected: code!(7436100), unknown: code!(40415), required, optional: &[], alone: false }
}

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$sum", operands: ANY, apply: sum },
    Operator { name: "$avg", operands: ANY, apply: average },
    Operator { name: "$min", operands: ANY, apply: extreme },
    Operator { name: "$max", operands: ANY, apply: extreme },
    Operator { name: "$stdDevPop", operands: ANY, apply: deviation },
    Operator { name: "$stdDevSamp", operands: ANY, apply: deviation },
    Operator {
        name: "$percentile",
        operands: input_and_method(&[("input", code!(40414)), ("p", code!(40414)), ("method", code!(40414))]),
        apply: percentiles,
    },
    Operator {
        name: "$median",
        operands: input_and_method(&[("input", code!(40414)), ("method", code!(40414))]),
        apply: median,
    },
];

type Values<'v, 'a> = &'v mut [Option<Value<'a>>];

fn sum<'a>(_: &'static Operator, values: Values<'_, 'a>) -> Result<Value<'a>, StoreError> {
    Ok(sum_of(values).total().into())
}

fn average<'a>(_: &'static Operator, values: Values<'_, 'a>) -> Result<Value<'a>, StoreError> {
    Ok(sum_of(values).mean().map_or(Value::NULL, Value::from))
}

fn sum_of(values: Values<'_, '_>) -> Sum {
    let mut sum = Sum::default();
    each_of(values, |value| {
        if let Some(number) = Number::of(value) {
            sum.add(number);
        }
    });
    sum
}

fn extreme<'a>(operator: &'static Operator, values: Values<'_, 'a>) -> Result<Value<'a>, StoreError> {
    let greatest = operator.name == "$max";
    let mut best: Option<RawBson> = None;
    each_of(values, |value| {
        if matches!(value, RawBsonRef::Null | RawBsonRef::Undefined) {
            return;
        }
        let better = best.as_ref().is_none_or(|best| {
            let order = compare(value, best.as_raw_bson_ref());
            if greatest { order.is_gt() } else { order.is_lt() }
        });
        if better {
            best = Some(value.into());
        }
    });
    Ok(best.unwrap_or(RawBson::Null).into())
}

fn deviation<'a>(operator: &'static Operator, values: Values<'_, 'a>) -> Result<Value<'a>, StoreError> {
    let mut moments = Moments::default();
    each_of(values, |value| {
        moments.add(Some(value));
    });
    Ok(moments.deviation(operator.name == "$stdDevSamp").into())
}

fn percentiles<'a>(_: &'static Operator, values: Values<'_, 'a>) -> Result<Value<'a>, StoreError> {
    percentile::check_method("$percentile", at(values, 2).get())?;
    let which = Which::parts(at(values, 1).or_null())?;
    Ok(percentile::of_value(&which, at(values, 0)).into())
}

fn median<'a>(_: &'static Operator, values: Values<'_, 'a>) -> Result<Value<'a>, StoreError> {
    percentile::check_method("$median", at(values, 1).get())?;
    Ok(percentile::of_value(&Which::Median, at(values, 0)).into())
}

/// The values to look at: the elements of the one operand when that is an array, the operands themselves otherwise.
fn each_of(values: Values<'_, '_>, mut see: impl FnMut(RawBsonRef<'_>)) {
    if let [Some(only)] = values
        && let Some(RawBsonRef::Array(array)) = only.get()
    {
        return array.into_iter().map_while(Result::ok).for_each(see);
    }
    all(values).filter_map(Value::get).for_each(&mut see);
}

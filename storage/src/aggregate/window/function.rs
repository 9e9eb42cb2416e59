//! What a window function gives: an accumulator over the window, or something of its own.

use std::ops::Range;

use bson::raw::{RawBson, RawBsonRef};

use super::bounds::Bounds;
use super::{Partition, SortBy};
use crate::aggregate::Context;
use crate::aggregate::accumulator::{Accumulator, Joint, as_double};
use crate::aggregate::arguments::{elements, failed_to_parse, fields, whole};
use crate::aggregate::unit::Unit;
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope};
use crate::filter::type_name;
use crate::value::decimal;
use crate::value::number::Number;
use crate::value::sum::Sum;

#[derive(Debug)]
pub enum Function {
    Accumulator(Box<Accumulator>),
    DocumentNumber,
    Rank,
    DenseRank,
    Shift {
        output: Expression,
        by: i64,
        default: RawBson,
    },
    /// `alpha`: the part that the new value has in the average.
    ExpMovingAvg {
        input: Expression,
        alpha: f64,
    },
    /// `unit`: milliseconds, where the order is one of dates.
    Derivative {
        input: Expression,
        unit: Option<i64>,
    },
    Integral {
        input: Expression,
        unit: Option<i64>,
    },
    Covariance {
        left: Expression,
        right: Expression,
        sample: bool,
    },
    LinearFill(Expression),
    Locf(Expression),
}

/// What a function remembers from one document of a partition to the next.
#[derive(Debug, Default)]
pub struct Memory {
    rank: i64,
    last: Option<RawBson>,
    /// Of the whole partition, worked out with its first document.
    values: Option<Vec<RawBson>>,
}

impl Function {
    pub fn parse(
        name: &str,
        operand: RawBsonRef<'_>,
        sort: Option<&SortBy>,
        bounds: Option<&Bounds>,
        names: &Names,
    ) -> Result<Self, StoreError> {
        if let Some(accumulator) = Accumulator::parse(name, operand, names)? {
            return Ok(Self::Accumulator(Box::new(accumulator)));
        }
        let function = match name {
            "$documentNumber" | "$rank" | "$denseRank" => {
                if !matches!(operand, RawBsonRef::Document(document) if document.is_empty()) {
                    return Err(location!(5371603, "{name} must be specified with '{{}}' as the value"));
                }
                if name != "$documentNumber" && !sort.is_some_and(SortBy::is_single) {
                    return Err(location!(
                        5371602,
                        "{name} must be specified with a top level sortBy expression with exactly one element"
                    ));
                }
                match name {
                    "$rank" => Self::Rank,
                    "$denseRank" => Self::DenseRank,
                    _ => Self::DocumentNumber,
                }
            }
            "$shift" => shift(operand, names)?,
            "$expMovingAvg" => moving_average(operand, names)?,
            "$derivative" | "$integral" => rate(name, operand, sort, bounds, names)?,
            "$covariancePop" | "$covarianceSamp" => covariance(name, operand, names)?,
            "$linearFill" => {
                if !sort.is_some_and(SortBy::is_single) {
                    return Err(location!(
                        605001,
                        "$linearFill must be specified with a top level sortBy expression with exactly one element"
                    ));
                }
                Self::LinearFill(Expression::parse(operand, names)?)
            }
            "$locf" => Self::Locf(Expression::parse(operand, names)?),
            "$minMaxScaler" => {
                return Err(StoreError::unsupported(
                    "the window function $minMaxScaler is not supported by this store",
                ));
            }
            other => return Err(failed_to_parse(format!("Unrecognized window function, {other}"))),
        };
        if bounds.is_some() && !function.wants_window() {
            return Err(match function {
                Self::DocumentNumber | Self::Rank | Self::DenseRank => {
                    location!(5371601, "{name} does not accept a 'window' field")
                }
                _ => failed_to_parse(format!("{name} does not accept a 'window' field")),
            });
        }
        if sort.is_none() && !matches!(function, Self::Covariance { .. } | Self::Locf(_)) {
            return Err(location!(5371602, "{name} requires a sortBy"));
        }
        Ok(function)
    }

    /// Whether it looks at a window at all.
    pub fn wants_window(&self) -> bool {
        matches!(self, Self::Accumulator(_) | Self::Derivative { .. } | Self::Integral { .. } | Self::Covariance { .. })
    }

    /// Whether it looks at the values the documents are ordered by.
    pub fn wants_values(&self) -> bool {
        matches!(self, Self::Derivative { .. } | Self::Integral { .. } | Self::LinearFill(_))
    }

    pub fn value(
        &self,
        partition: &Partition,
        at: usize,
        window: Range<usize>,
        memory: &mut Memory,
        context: &Context,
    ) -> Result<RawBson, StoreError> {
        let evaluate = |expression: &Expression, at: usize| {
            let scope = Scope::new(partition.document(at), &context.globals);
            expression.evaluate(&scope).map(|value| value.into_bson().unwrap_or(RawBson::Null))
        };
        match self {
            // The stage sees to these itself.
            Self::Accumulator(_) => Ok(RawBson::Null),
            Self::DocumentNumber => Ok(int(at as i64 + 1)),
            Self::Rank => {
                if at == 0 || !partition.ties(at - 1, at) {
                    memory.rank = at as i64 + 1;
                }
                Ok(int(memory.rank))
            }
            Self::DenseRank => {
                if at == 0 || !partition.ties(at - 1, at) {
                    memory.rank += 1;
                }
                Ok(int(memory.rank))
            }
            Self::Shift { output, by, default } => {
                let place = (at as i64).checked_add(*by).and_then(|place| usize::try_from(place).ok());
                match place.filter(|place| *place < partition.len()) {
                    Some(place) => evaluate(output, place),
                    None => Ok(default.clone()),
                }
            }
            Self::ExpMovingAvg { input, alpha } => {
                let value = evaluate(input, at)?;
                if let Some(new) = Number::of(value.as_raw_bson_ref()) {
                    let last = memory.last.as_ref().and_then(|last| Number::of(last.as_raw_bson_ref()));
                    memory.last = Some(match last {
                        None => value,
                        Some(last) => like(new, last, as_double(new) * alpha + as_double(last) * (1.0 - alpha)),
                    });
                }
                Ok(memory.last.clone().unwrap_or(RawBson::Null))
            }
            Self::Locf(input) => {
                let value = evaluate(input, at)?;
                if !matches!(value, RawBson::Null | RawBson::Undefined) {
                    memory.last = Some(value);
                }
                Ok(memory.last.clone().unwrap_or(RawBson::Null))
            }
            Self::LinearFill(input) => {
                let values = match &mut memory.values {
                    Some(values) => values,
                    None => {
                        let all = (0..partition.len()).map(|at| evaluate(input, at)).collect::<Result<_, _>>()?;
                        memory.values.insert(filled(partition, all)?)
                    }
                };
                Ok(values[at].clone())
            }
            Self::Derivative { input, unit } => {
                if window.len() < 2 {
                    return Ok(RawBson::Null);
                }
                let (first, last) = (window.start, window.end - 1);
                let run = distance("$derivative", partition, first, last, *unit)?;
                let (from, to) = (evaluate(input, first)?, evaluate(input, last)?);
                match (Number::of(from.as_raw_bson_ref()), Number::of(to.as_raw_bson_ref())) {
                    (Some(from), Some(to)) if run != 0.0 => Ok(like(from, to, (as_double(to) - as_double(from)) / run)),
                    _ => Ok(RawBson::Null),
                }
            }
            Self::Integral { input, unit } => {
                let values: Vec<RawBson> = window.clone().map(|at| evaluate(input, at)).collect::<Result<_, _>>()?;
                let mut sum = Sum::default();
                for (step, pair) in values.windows(2).enumerate() {
                    let first = window.start + step;
                    let run = distance("$integral", partition, first, first + 1, *unit)?;
                    let numbers = (Number::of(pair[0].as_raw_bson_ref()), Number::of(pair[1].as_raw_bson_ref()));
                    if let (Some(from), Some(to)) = numbers {
                        // The area of a trapezium.
                        let area = like(from, to, (as_double(from) + as_double(to)) * run / 2.0);
                        Number::of(area.as_raw_bson_ref()).into_iter().for_each(|area| sum.add(area));
                    }
                }
                Ok(if values.is_empty() { RawBson::Null } else { sum.total().to_bson() })
            }
            Self::Covariance { left, right, sample } => {
                let mut joint = Joint::default();
                for at in window {
                    let (left, right) = (evaluate(left, at)?, evaluate(right, at)?);
                    joint.add(Some(left.as_raw_bson_ref()), Some(right.as_raw_bson_ref()));
                }
                Ok(joint.covariance(*sample))
            }
        }
    }
}

fn shift(operand: RawBsonRef<'_>, names: &Names) -> Result<Function, StoreError> {
    let (mut output, mut by, mut default) = (None, None, RawBson::Null);
    for (name, value) in object("$shift", operand)? {
        match name {
            "output" => output = Some(Expression::parse(value, names)?),
            "by" => {
                by = Some(whole(value).ok_or_else(|| {
                    failed_to_parse(format!("'$shift:by' field must be an integer, but found {}", type_name(value)))
                })?);
            }
            "default" => {
                let constant = Expression::parse(value, names)?;
                let constant = constant
                    .as_constant()
                    .ok_or_else(|| failed_to_parse("'$shift:default' expression must yield a constant value."))?;
                default = constant.into();
            }
            other => return Err(failed_to_parse(format!("Unknown argument in $shift: {other}"))),
        }
    }
    let output = output.ok_or_else(|| failed_to_parse("$shift requires an 'output' expression."))?;
    let by = by.ok_or_else(|| failed_to_parse("$shift requires 'by' as an integer value."))?;
    Ok(Function::Shift { output, by, default })
}

fn moving_average(operand: RawBsonRef<'_>, names: &Names) -> Result<Function, StoreError> {
    let (mut input, mut alpha) = (None, None);
    for (name, value) in object("$expMovingAvg", operand)? {
        let given = match name {
            "input" => {
                input = Some(Expression::parse(value, names)?);
                continue;
            }
            "N" => match whole(value) {
                Some(number) if number > 0 => 2.0 / (number as f64 + 1.0),
                _ => {
                    let found = type_name(value);
                    let text = "'N' field must be an integer greater than zero, but found type";
                    return Err(failed_to_parse(format!("{text} {found}")));
                }
            },
            "alpha" => match Number::of(value).map(as_double) {
                Some(alpha) if alpha > 0.0 && alpha < 1.0 => alpha,
                _ => return Err(failed_to_parse("'alpha' must be between 0 and 1 (exclusive)")),
            },
            other => return Err(failed_to_parse(format!("Got unrecognized field in $expMovingAvg: {other}"))),
        };
        if alpha.replace(given).is_some() {
            return Err(failed_to_parse("$expMovingAvg must have exactly one of 'N' and 'alpha'"));
        }
    }
    match (input, alpha) {
        (Some(input), Some(alpha)) => Ok(Function::ExpMovingAvg { input, alpha }),
        _ => Err(failed_to_parse(
            "$expMovingAvg sub object must have exactly two fields: An 'input' field, and either an 'N' field or an \
             'alpha' field",
        )),
    }
}

fn rate(
    name: &str,
    operand: RawBsonRef<'_>,
    sort: Option<&SortBy>,
    bounds: Option<&Bounds>,
    names: &Names,
) -> Result<Function, StoreError> {
    let (mut input, mut unit) = (None, None);
    for (field, value) in object(name, operand)? {
        match (field, value) {
            ("input", value) => input = Some(Expression::parse(value, names)?),
            ("unit", RawBsonRef::String(text)) => match Unit::parse(text)? {
                Unit::Fixed(millis) => unit = Some(millis),
                Unit::Months(_) => {
                    return Err(location!(5490704, "unit must be 'week' or smaller: longer ones differ in length"));
                }
            },
            ("unit", _) => return Err(failed_to_parse(format!("{name} 'unit' must be a string"))),
            (other, _) => return Err(failed_to_parse(format!("{name} got unexpected argument: {other}"))),
        }
    }
    let input = input.ok_or_else(|| failed_to_parse(format!("{name} requires an 'input' expression")))?;
    if !sort.is_some_and(SortBy::is_single) {
        return Err(location!(5371602, "{name} requires a sortBy with exactly one element"));
    }
    match name {
        "$derivative" if bounds.is_none() => Err(failed_to_parse("$derivative requires explicit window bounds")),
        "$derivative" => Ok(Function::Derivative { input, unit }),
        _ => Ok(Function::Integral { input, unit }),
    }
}

fn covariance(name: &str, operand: RawBsonRef<'_>, names: &Names) -> Result<Function, StoreError> {
    let operands: Vec<_> = match operand {
        RawBsonRef::Array(array) => elements(array).collect(),
        _ => Vec::new(),
    };
    let [left, right] = operands[..] else {
        return Err(failed_to_parse(format!("{name} requires an array of exactly two expressions")));
    };
    Ok(Function::Covariance {
        left: Expression::parse(left, names)?,
        right: Expression::parse(right, names)?,
        sample: name == "$covarianceSamp",
    })
}

fn object<'a>(name: &str, operand: RawBsonRef<'a>) -> Result<Vec<(&'a str, RawBsonRef<'a>)>, StoreError> {
    match operand {
        RawBsonRef::Document(document) => Ok(fields(document).collect()),
        other => Err(failed_to_parse(format!("Argument to {name} must be an object, but found {}", type_name(other)))),
    }
}

/// An int, or a long when it must be.
fn int(number: i64) -> RawBson {
    i32::try_from(number).map_or(RawBson::Int64(number), RawBson::Int32)
}

/// A double, or a decimal when one of two numbers is one.
fn like(left: Number, right: Number, value: f64) -> RawBson {
    match (left, right) {
        (Number::Decimal(_), _) | (_, Number::Decimal(_)) => RawBson::Decimal128(decimal::of_double(value)),
        _ => RawBson::Double(value),
    }
}

/// From one document to another along what they are ordered by; in units for dates.
fn distance(name: &str, partition: &Partition, from: usize, to: usize, unit: Option<i64>) -> Result<f64, StoreError> {
    match (partition.value(from), partition.value(to), unit) {
        (RawBsonRef::DateTime(from), RawBsonRef::DateTime(to), Some(unit)) => {
            Ok((to.timestamp_millis() - from.timestamp_millis()) as f64 / unit as f64)
        }
        (RawBsonRef::DateTime(_), RawBsonRef::DateTime(_), None) => {
            Err(location!(5624900, "{name} where the sortBy is a Date requires a 'unit'"))
        }
        (from, to, None) => match (Number::of(from), Number::of(to)) {
            (Some(from), Some(to)) => Ok(as_double(to) - as_double(from)),
            _ => Err(location!(
                5624901,
                "{name} requires the sortBy field to be a number or a date, found {}",
                type_name(if Number::of(from).is_some() { to } else { from })
            )),
        },
        (_, to, Some(_)) => {
            Err(location!(5624902, "{name} with 'unit' expects the sortBy field to be a Date, found {}", type_name(to)))
        }
    }
}

/// Nulls between two values become what lies on the line between those.
fn filled(partition: &Partition, mut values: Vec<RawBson>) -> Result<Vec<RawBson>, StoreError> {
    let position = |at: usize| match partition.value(at) {
        RawBsonRef::DateTime(time) => Ok(time.timestamp_millis() as f64),
        value => Number::of(value).map(as_double).ok_or_else(|| {
            location!(605001, "$linearFill: the sortBy field must be a number or a date, found {}", type_name(value))
        }),
    };
    for at in 1..values.len() {
        if position(at)? == position(at - 1)? {
            return Err(location!(6050106, "There can be no repeated values in the sort field"));
        }
    }
    let mut known: Option<usize> = None;
    for at in 0..values.len() {
        let value = values[at].as_raw_bson_ref();
        if matches!(value, RawBsonRef::Null | RawBsonRef::Undefined) {
            values[at] = RawBson::Null;
            continue;
        }
        let Some(to) = Number::of(value) else {
            let found = type_name(value);
            return Err(StoreError::type_mismatch(format!(
                "Value to be filled must be numeric or nullish, found {found}"
            )));
        };
        if let Some(known) = known.filter(|known| at - known > 1)
            && let Some(from) = Number::of(values[known].as_raw_bson_ref())
        {
            let (start, end) = (position(known)?, position(at)?);
            let slope = (as_double(to) - as_double(from)) / (end - start);
            for (between, value) in values.iter_mut().enumerate().take(at).skip(known + 1) {
                *value = like(from, to, as_double(from) + slope * (position(between)? - start));
            }
        }
        known = Some(at);
    }
    Ok(values)
}

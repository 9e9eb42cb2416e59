//! `$percentile` and `$median`.
//!
//! MongoDB promises an approximation; with the values at hand the answer here is exact: the least value that at least the
//! given part of all values do not exceed.

use bson::raw::{RawArrayBuf, RawBson, RawBsonRef};

use super::moments::as_double;
use super::named_operands;
use crate::aggregate::arguments::{elements, missing_field, unknown_field};
use crate::error::{StoreError, location};
use crate::expression::{Expression, Names, Scope, Value};
use crate::filter::type_name;
use crate::value::number::Number;

#[derive(Debug, Clone)]
pub struct Percentile {
    pub input: Expression,
    pub which: Which,
}

#[derive(Debug, Clone)]
pub enum Which {
    Median,
    /// Parts between 0 and 1.
    Parts(Vec<f64>),
}

impl Percentile {
    pub fn parse(name: &str, operand: RawBsonRef<'_>, names: &Names) -> Result<Self, StoreError> {
        let Some(operands) = named_operands(operand) else {
            return Err(location!(7429703, "specification must be an object; found {name} :{}", type_name(operand)));
        };
        let (mut input, mut parts, mut method) = (None, None, None);
        for (field, value) in operands {
            match field {
                "input" => input = Some(Expression::parse(value, names)?),
                "method" => method = Some(value),
                "p" if name == "$percentile" => parts = Some(Expression::parse(value, names)?),
                other => return Err(unknown_field(name, other)),
            }
        }
        let input = input.ok_or_else(|| missing_field(name, "input"))?;
        check_method(name, method)?;
        let which = match name {
            "$median" => Which::Median,
            _ => {
                let parts = parts.ok_or_else(|| missing_field(name, "p"))?;
                let Some(constant) = parts.as_constant() else {
                    return Err(wrong_parts("it must be a constant"));
                };
                Which::parts(constant)?
            }
        };
        Ok(Self { input, which })
    }

    pub fn add(&self, seen: &mut Vec<f64>, scope: &Scope<'_>) -> Result<usize, StoreError> {
        let value = self.input.evaluate(scope)?;
        Ok(see(seen, value.get()))
    }

    pub fn finish(&self, seen: Vec<f64>) -> RawBson {
        self.which.of(seen)
    }
}

/// Numbers count, other values do not.
pub fn see(seen: &mut Vec<f64>, value: Option<RawBsonRef<'_>>) -> usize {
    let Some(number) = value.and_then(Number::of).map(as_double).filter(|number| !number.is_nan()) else { return 0 };
    seen.push(number);
    size_of::<f64>()
}

impl Which {
    pub fn parts(value: RawBsonRef<'_>) -> Result<Self, StoreError> {
        let RawBsonRef::Array(array) = value else { return Err(wrong_parts("it must be an array of numbers")) };
        let parts = elements(array).map(|part| match Number::of(part).map(as_double) {
            Some(part) if (0.0..=1.0).contains(&part) => Ok(part),
            _ => Err(wrong_parts("each must be a number from 0 to 1")),
        });
        let parts: Vec<f64> = parts.collect::<Result<_, _>>()?;
        if parts.is_empty() {
            return Err(wrong_parts("it must not be empty"));
        }
        Ok(Self::Parts(parts))
    }

    pub fn of(&self, mut seen: Vec<f64>) -> RawBson {
        seen.sort_unstable_by(f64::total_cmp);
        let at = |part: f64| {
            let rank = (part * seen.len() as f64).ceil() as usize;
            seen.get(rank.saturating_sub(1)).copied().map_or(RawBson::Null, RawBson::Double)
        };
        match self {
            Self::Median => at(0.5),
            Self::Parts(parts) => RawBson::Array(parts.iter().map(|&part| at(part)).collect::<RawArrayBuf>()),
        }
    }
}

fn wrong_parts(what: &str) -> StoreError {
    location!(7750301, "The 'p' field in the specification is of the wrong form: {what}")
}

pub fn check_method(name: &str, method: Option<RawBsonRef<'_>>) -> Result<(), StoreError> {
    match method {
        None => Err(missing_field(name, "method")),
        Some(RawBsonRef::String("approximate")) => Ok(()),
        Some(RawBsonRef::String(_)) => {
            Err(StoreError::bad_value("Currently only 'approximate' can be used as percentile 'method'."))
        }
        Some(other) => Err(StoreError::type_mismatch(format!(
            "BSON field '{name}.method' is the wrong type '{}', expected type 'string'",
            type_name(other)
        ))),
    }
}

/// Of the operand of the expression: an array, or a single number.
pub fn of_value(which: &Which, value: &Value<'_>) -> RawBson {
    let mut seen = Vec::new();
    match value.get() {
        Some(RawBsonRef::Array(array)) => {
            for element in elements(array) {
                see(&mut seen, Some(element));
            }
        }
        other => {
            see(&mut seen, other);
        }
    }
    which.of(seen)
}

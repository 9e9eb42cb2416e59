//! Rounding, powers and logarithms.
//!
//! What is whole stays whole where it can; the others give a double, or a decimal where one went in. Each answers null to
//! what is nullish.

use bson::Decimal128;
use dec::Rounding;

use super::operator::{Operands, Operator, at};
use super::value::Value;
use crate::error::{StoreError, location};
use crate::value::decimal;
use crate::value::number::Number;

pub(super) const ONE: Operands = Operands::List { min: 1, max: 1 };
pub(super) const TWO: Operands = Operands::List { min: 2, max: 2 };
const PLACES: Operands = Operands::List { min: 1, max: 2 };

pub(super) const OPERATORS: &[Operator] = &[
    Operator { name: "$abs", operands: ONE, apply: absolute },
    Operator {
        name: "$ceil",
        operands: ONE,
        apply: |operator, values| to_whole(operator, values, f64::ceil, Rounding::Ceiling),
    },
    Operator {
        name: "$floor",
        operands: ONE,
        apply: |operator, values| to_whole(operator, values, f64::floor, Rounding::Floor),
    },
    Operator {
        name: "$round",
        operands: PLACES,
        apply: |operator, values| to_places(operator, values, f64::round_ties_even, Rounding::HalfEven),
    },
    Operator {
        name: "$trunc",
        operands: PLACES,
        apply: |operator, values| to_places(operator, values, f64::trunc, Rounding::Down),
    },
    Operator {
        name: "$exp",
        operands: ONE,
        apply: |operator, values| smooth(operator, values, f64::exp, decimal::exponential),
    },
    Operator { name: "$ln", operands: ONE, apply: natural_logarithm },
    Operator { name: "$log10", operands: ONE, apply: common_logarithm },
    Operator { name: "$log", operands: TWO, apply: logarithm },
    Operator { name: "$pow", operands: TWO, apply: power },
    Operator { name: "$sqrt", operands: ONE, apply: root },
];

/// The only operand as a number; `None` when it is nullish.
pub(super) fn number(operator: &Operator, values: &[Option<Value<'_>>]) -> Result<Option<Number>, StoreError> {
    let value = at(values, 0);
    match value.number() {
        None if value.is_nullish() => Ok(None),
        None => Err(location!(28765, "{} only supports numeric types, not {}", operator.name, value.type_name())),
        number => Ok(number),
    }
}

/// A function whose results are seldom whole.
pub(super) fn smooth<'a>(
    operator: &Operator,
    values: &[Option<Value<'a>>],
    double: fn(f64) -> f64,
    decimal: fn(Decimal128) -> Decimal128,
) -> Result<Value<'a>, StoreError> {
    Ok(match number(operator, values)? {
        None => Value::NULL,
        Some(Number::Decimal(value)) => decimal(value).into(),
        Some(other) => double(other.to_double()).into(),
    })
}

pub(super) fn below(number: Number, bound: i32) -> bool {
    !number.is_nan() && number.compare(Number::Int32(bound)).is_lt()
}

fn absolute<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    Ok(match number(operator, values)? {
        None => Value::NULL,
        // The least int has no opposite among the ints.
        Some(Number::Int32(value)) => Number::of_integer(i64::from(value).abs()).into(),
        Some(Number::Int64(value)) => match value.checked_abs() {
            Some(value) => value.into(),
            None => return Err(location!(28680, "can't take $abs of long long min")),
        },
        Some(Number::Double(value)) => value.abs().into(),
        Some(Number::Decimal(value)) => decimal::absolute(value).into(),
    })
}

fn to_whole<'a>(
    operator: &Operator,
    values: &[Option<Value<'a>>],
    double: fn(f64) -> f64,
    rounding: Rounding,
) -> Result<Value<'a>, StoreError> {
    Ok(match number(operator, values)? {
        None => Value::NULL,
        Some(Number::Double(value)) => double(value).into(),
        Some(Number::Decimal(value)) => decimal::rounded(value, 0, rounding).into(),
        Some(whole) => whole.into(),
    })
}

fn to_places<'a>(
    operator: &Operator,
    values: &[Option<Value<'a>>],
    double: fn(f64) -> f64,
    rounding: Rounding,
) -> Result<Value<'a>, StoreError> {
    let name = operator.name;
    let value = at(values, 0);
    let places = values.get(1).and_then(Option::as_ref);
    if value.is_nullish() || places.is_some_and(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let Some(number) = value.number() else {
        return Err(location!(51081, "{name} only supports numeric types, not {}", value.type_name()));
    };
    let places = match places {
        None => 0,
        Some(places) => {
            let Some(whole) = places.number().and_then(Number::whole) else {
                return Err(location!(51082, "precision argument to  {name} must be a integral value"));
            };
            i32::try_from(whole).ok().filter(|places| (-20..=100).contains(places)).ok_or_else(|| {
                location!(51083, "cannot apply {name} with precision value {whole} value must be in [-20, 100]")
            })?
        }
    };
    Ok(match number {
        Number::Double(value) if places == 0 || !value.is_finite() => double(value).into(),
        // Through all the digits of the double, so that only true halves are halves.
        Number::Double(value) => {
            decimal::to_double(decimal::rounded(decimal::of_double_exactly(value), places, rounding)).into()
        }
        Number::Decimal(value) => decimal::rounded(value, places, rounding).into(),
        whole if places >= 0 => whole.into(),
        Number::Int32(value) => Number::of_integer(whole_to_places(name, value.into(), places, rounding)?).into(),
        Number::Int64(value) => whole_to_places(name, value, places, rounding)?.into(),
    })
}

fn whole_to_places(name: &str, value: i64, places: i32, rounding: Rounding) -> Result<i64, StoreError> {
    let unit = 10i128.pow(places.unsigned_abs());
    let (value, half) = (i128::from(value), unit / 2);
    let (quotient, rest) = (value / unit, value % unit);
    let up = rounding == Rounding::HalfEven && (rest.abs() > half || rest.abs() == half && quotient % 2 != 0);
    let rounded = (quotient + if up { value.signum() } else { 0 }) * unit;
    i64::try_from(rounded).map_err(|_| {
        location!(
            51080,
            "invalid conversion from Decimal128 result in {name} resulting from arguments: [{value}, {places}]"
        )
    })
}

fn natural_logarithm<'a>(
    operator: &'static Operator,
    values: &mut [Option<Value<'a>>],
) -> Result<Value<'a>, StoreError> {
    if number(operator, values)?.is_some_and(|value| value.is_zero() || below(value, 0)) {
        return Err(location!(28766, "$ln's argument must be a positive number, but is {}", shown(at(values, 0))));
    }
    smooth(operator, values, f64::ln, decimal::natural_logarithm)
}

fn common_logarithm<'a>(
    operator: &'static Operator,
    values: &mut [Option<Value<'a>>],
) -> Result<Value<'a>, StoreError> {
    if number(operator, values)?.is_some_and(|value| value.is_zero() || below(value, 0)) {
        return Err(location!(28761, "$log10's argument must be a positive number, but is {}", shown(at(values, 0))));
    }
    smooth(operator, values, f64::log10, decimal::common_logarithm)
}

fn logarithm<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (value, base) = (at(values, 0), at(values, 1));
    if value.is_nullish() || base.is_nullish() {
        return Ok(Value::NULL);
    }
    let (number, to) = match (value.number(), base.number()) {
        (Some(number), Some(to)) => (number, to),
        (None, _) => return Err(location!(28756, "$log's argument must be numeric, not {}", value.type_name())),
        _ => return Err(location!(28757, "$log's base must be numeric, not {}", base.type_name())),
    };
    if number.is_zero() || below(number, 0) {
        return Err(location!(28758, "$log's argument must be a positive number, but is {}", shown(value)));
    }
    if to.is_zero() || below(to, 0) || to.compare(Number::Int32(1)).is_eq() {
        return Err(location!(28759, "$log's base must be a positive number not equal to 1, but is {}", shown(base)));
    }
    Ok(match (number, to) {
        (Number::Decimal(_), _) | (_, Number::Decimal(_)) => {
            decimal::logarithm(number.to_decimal(), to.to_decimal()).into()
        }
        // The quotient of logarithms, as MongoDB works it out.
        _ => (number.to_double().ln() / to.to_double().ln()).into(),
    })
}

fn power<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (base, exponent) = (at(values, 0), at(values, 1));
    if base.is_nullish() || exponent.is_nullish() {
        return Ok(Value::NULL);
    }
    let (base, exponent) = match (base.number(), exponent.number()) {
        (Some(base), Some(exponent)) => (base, exponent),
        (None, _) => return Err(location!(28762, "$pow's base must be numeric, not {}", base.type_name())),
        _ => return Err(location!(28763, "$pow's exponent must be numeric, not {}", exponent.type_name())),
    };
    if base.is_zero() && below(exponent, 0) {
        return Err(location!(28764, "$pow cannot take a base of 0 and a negative exponent"));
    }
    let (whole_base, whole_exponent) = match (base, exponent) {
        (Number::Decimal(_), _) | (_, Number::Decimal(_)) => {
            return Ok(decimal::power(base.to_decimal(), exponent.to_decimal()).into());
        }
        (Number::Double(_), _) | (_, Number::Double(_)) => {
            return Ok(base.to_double().powf(exponent.to_double()).into());
        }
        _ => (base.truncated().unwrap_or_default(), exponent.truncated().unwrap_or_default()),
    };
    let whole = match (whole_base, u32::try_from(whole_exponent)) {
        (1, _) => Some(1),
        (-1, _) => Some(if whole_exponent % 2 == 0 { 1 } else { -1 }),
        (0, Err(_)) => Some(0),
        (_, Ok(exponent)) => whole_base.checked_pow(exponent),
        _ => None,
    };
    Ok(match (whole, base, exponent) {
        (Some(whole), Number::Int32(_), Number::Int32(_)) => Number::of_integer(whole).into(),
        (Some(whole), ..) => whole.into(),
        (None, ..) => base.to_double().powf(exponent.to_double()).into(),
    })
}

fn root<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    if number(operator, values)?.is_some_and(|value| below(value, 0)) {
        return Err(location!(28714, "$sqrt's argument must be greater than or equal to 0"));
    }
    smooth(operator, values, f64::sqrt, decimal::root)
}

/// A value in an error's text.
pub(super) fn shown(value: &Value<'_>) -> String {
    value
        .get()
        .and_then(|value| bson::Bson::try_from(value).ok())
        .map_or_else(|| "missing".into(), |value| value.to_string())
}

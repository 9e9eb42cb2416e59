//! Angles: the trigonometric and hyperbolic functions and their inverses. Radians throughout.
//!
//! Ints, longs and doubles give a double, decimals a decimal. An angle or ratio outside a function's domain is an error, as
//! in MongoDB; NaN gives NaN.

use std::f64::consts::PI;

use bson::Decimal128;

use super::math::{ONE, TWO, number};
use super::operator::{Operator, at};
use super::value::Value;
use crate::error::{StoreError, location};
use crate::value::number::Number;
use crate::value::{decimal, trigonometry};

pub(super) const OPERATORS: &[Operator] = &[
    Operator {
        name: "$sin",
        operands: ONE,
        apply: |operator, values| within(operator, values, FINITE, f64::sin, trigonometry::sine),
    },
    Operator {
        name: "$cos",
        operands: ONE,
        apply: |operator, values| within(operator, values, FINITE, f64::cos, trigonometry::cosine),
    },
    Operator {
        name: "$tan",
        operands: ONE,
        apply: |operator, values| within(operator, values, FINITE, f64::tan, trigonometry::tangent),
    },
    Operator {
        name: "$asin",
        operands: ONE,
        apply: |operator, values| within(operator, values, RATIO, f64::asin, trigonometry::arc_sine),
    },
    Operator {
        name: "$acos",
        operands: ONE,
        apply: |operator, values| within(operator, values, RATIO, f64::acos, trigonometry::arc_cosine),
    },
    Operator {
        name: "$atan",
        operands: ONE,
        apply: |operator, values| within(operator, values, ALL, f64::atan, trigonometry::arc_tangent),
    },
    Operator { name: "$atan2", operands: TWO, apply: angle },
    Operator {
        name: "$sinh",
        operands: ONE,
        apply: |operator, values| within(operator, values, ALL, f64::sinh, trigonometry::hyperbolic_sine),
    },
    Operator {
        name: "$cosh",
        operands: ONE,
        apply: |operator, values| within(operator, values, ALL, f64::cosh, trigonometry::hyperbolic_cosine),
    },
    Operator {
        name: "$tanh",
        operands: ONE,
        apply: |operator, values| within(operator, values, ALL, f64::tanh, trigonometry::hyperbolic_tangent),
    },
    Operator {
        name: "$asinh",
        operands: ONE,
        apply: |operator, values| within(operator, values, ALL, f64::asinh, trigonometry::area_sine),
    },
    Operator {
        name: "$acosh",
        operands: ONE,
        apply: |operator, values| within(operator, values, FROM_ONE, f64::acosh, trigonometry::area_cosine),
    },
    Operator {
        name: "$atanh",
        operands: ONE,
        apply: |operator, values| within(operator, values, RATIO, f64::atanh, trigonometry::area_tangent),
    },
    Operator {
        name: "$degreesToRadians",
        operands: ONE,
        apply: |operator, values| within(operator, values, ALL, |value| value * (PI / 180.0), trigonometry::radians),
    },
    Operator {
        name: "$radiansToDegrees",
        operands: ONE,
        apply: |operator, values| within(operator, values, ALL, |value| value * (180.0 / PI), trigonometry::degrees),
    },
];

/// Where a function is defined.
struct Domain {
    least: f64,
    greatest: f64,
    /// Whether the bounds belong to it.
    closed: bool,
    shown: &'static str,
}

const ALL: Domain = Domain { least: f64::NEG_INFINITY, greatest: f64::INFINITY, closed: true, shown: "[-inf,inf]" };
const FINITE: Domain = Domain { closed: false, shown: "(-inf,inf)", ..ALL };
const RATIO: Domain = Domain { least: -1.0, greatest: 1.0, closed: true, shown: "[-1,1]" };
const FROM_ONE: Domain = Domain { least: 1.0, greatest: f64::INFINITY, closed: true, shown: "[1,inf]" };

impl Domain {
    fn holds(&self, value: Number) -> bool {
        let (least, greatest) =
            (value.compare(Number::Double(self.least)), value.compare(Number::Double(self.greatest)));
        value.is_nan()
            || if self.closed { least.is_ge() && greatest.is_le() } else { least.is_gt() && greatest.is_lt() }
    }
}

fn within<'a>(
    operator: &Operator,
    values: &[Option<Value<'a>>],
    domain: Domain,
    double: fn(f64) -> f64,
    of_decimal: fn(Decimal128) -> Option<Decimal128>,
) -> Result<Value<'a>, StoreError> {
    let Some(value) = number(operator, values)? else { return Ok(Value::NULL) };
    let name = operator.name;
    if !domain.holds(value) {
        let found = super::math::shown(at(values, 0));
        return Err(location!(50989, "cannot apply {name} to {found}, value must be in {}", domain.shown));
    }
    Ok(match value {
        Number::Decimal(value) if decimal::is_nan(value) => value.into(),
        Number::Decimal(value) => match of_decimal(value) {
            Some(result) => result.into(),
            None => {
                let text = format!("{name} of a decimal as large as {value} is not supported");
                return Err(StoreError::unsupported(text));
            }
        },
        other => double(other.to_double()).into(),
    })
}

fn angle<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (y, x) = (at(values, 0), at(values, 1));
    if y.is_nullish() || x.is_nullish() {
        return Ok(Value::NULL);
    }
    match (y.number(), x.number()) {
        (Some(y), Some(x)) => Ok(match (y, x) {
            (Number::Decimal(_), _) | (_, Number::Decimal(_)) => {
                trigonometry::angle(y.to_decimal(), x.to_decimal()).into()
            }
            _ => y.to_double().atan2(x.to_double()).into(),
        }),
        _ => Err(location!(51044, "$atan2 only supports numeric types, not {} and {}", y.type_name(), x.type_name())),
    }
}

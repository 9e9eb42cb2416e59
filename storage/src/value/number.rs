//! Numbers of the four BSON types, compared by value and never through a lossy conversion.
//!
//! In: int, long, double, decimal. Out: an ordering, exact decimal digits for keys, and the four kinds of arithmetic.
//! The common pairs (integers, doubles) never leave the processor's own comparisons.

use std::cmp::Ordering;

use bson::Decimal128;
use bson::raw::{RawBson, RawBsonRef};

use super::decimal::{self, Parts};

#[derive(Debug, Clone, Copy)]
pub enum Number {
    Int32(i32),
    Int64(i64),
    Double(f64),
    Decimal(Decimal128),
}

/// A number as sign, digits and power of ten: `0.d₁d₂d₃… × 10^exponent` with `d₁` not zero and no zeros at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exact {
    NaN,
    NegativeInfinity,
    Zero,
    Finite { negative: bool, exponent: i32, digits: Vec<u8> },
    Infinity,
}

impl Number {
    pub fn of(value: RawBsonRef<'_>) -> Option<Self> {
        Some(match value {
            RawBsonRef::Int32(value) => Self::Int32(value),
            RawBsonRef::Int64(value) => Self::Int64(value),
            RawBsonRef::Double(value) => Self::Double(value),
            RawBsonRef::Decimal128(value) => Self::Decimal(value),
            _ => return None,
        })
    }

    pub fn to_bson(self) -> RawBson {
        match self {
            Self::Int32(value) => RawBson::Int32(value),
            Self::Int64(value) => RawBson::Int64(value),
            Self::Double(value) => RawBson::Double(value),
            Self::Decimal(value) => RawBson::Decimal128(value),
        }
    }

    /// Total: NaN equals NaN and is below everything else; zeros of both signs are equal.
    pub fn compare(self, other: Self) -> Ordering {
        match (self.integer(), other.integer(), self, other) {
            (Some(left), Some(right), ..) => left.cmp(&right),
            (_, _, Self::Double(left), Self::Double(right)) => compare_doubles(left, right),
            (Some(left), _, _, Self::Double(right)) => compare_integer_to_double(left, right),
            (_, Some(right), Self::Double(left), _) => compare_integer_to_double(right, left).reverse(),
            _ => self.exact().cmp(&other.exact()),
        }
    }

    pub fn is_nan(self) -> bool {
        match self {
            Self::Double(value) => value.is_nan(),
            Self::Decimal(value) => decimal::parts(value) == Parts::NaN,
            Self::Int32(_) | Self::Int64(_) => false,
        }
    }

    fn integer(self) -> Option<i64> {
        match self {
            Self::Int32(value) => Some(value.into()),
            Self::Int64(value) => Some(value),
            Self::Double(_) | Self::Decimal(_) => None,
        }
    }

    /// The whole part when it fits a long: what `$mod`, `$size` and slices count with. None for NaN and the infinite.
    pub fn truncated(self) -> Option<i64> {
        match self {
            Self::Double(value) => {
                let whole = value.trunc();
                (-TWO_TO_63..TWO_TO_63).contains(&whole).then_some(whole as i64)
            }
            Self::Decimal(_) => {
                let (negative, exponent, digits) = match self.exact() {
                    Exact::Zero => return Some(0),
                    Exact::Finite { negative, exponent, digits } => (negative, exponent, digits),
                    _ => return None,
                };
                if exponent <= 0 {
                    return Some(0);
                }
                if exponent > 19 {
                    return None;
                }
                let whole = (0..exponent as usize)
                    .fold(0i128, |whole, at| whole * 10 + i128::from(digits.get(at).copied().unwrap_or(0)));
                i64::try_from(if negative { -whole } else { whole }).ok()
            }
            Self::Int32(_) | Self::Int64(_) => self.integer(),
        }
    }

    /// The same value as a long, when it is a whole number.
    pub fn whole(self) -> Option<i64> {
        let whole = self.truncated()?;
        self.compare(Self::Int64(whole)).is_eq().then_some(whole)
    }

    /// The sum, in the wider of the two types; two ints that do not fit an int give a long.
    pub fn plus(self, other: Self) -> Result<Self, Overflow> {
        self.combine(other, i64::checked_add, |left, right| left + right, decimal::plus)
    }

    /// The difference, as [`Number::plus`].
    pub fn minus(self, other: Self) -> Result<Self, Overflow> {
        self.combine(other, i64::checked_sub, |left, right| left - right, decimal::minus)
    }

    /// The product, as [`Number::plus`].
    pub fn times(self, other: Self) -> Result<Self, Overflow> {
        self.combine(other, i64::checked_mul, |left, right| left * right, decimal::times)
    }

    /// The quotient: a decimal where one side is one, else a double. None for a division by zero.
    pub fn over(self, other: Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        Some(match (self, other) {
            (Self::Decimal(_), _) | (_, Self::Decimal(_)) => {
                Self::Decimal(decimal::over(self.to_decimal(), other.to_decimal()))
            }
            _ => Self::Double(self.to_double() / other.to_double()),
        })
    }

    /// The remainder, with the sign of `self`, in the wider of the two types. None for a division by zero.
    pub fn remainder(self, other: Self) -> Option<Self> {
        if other.is_zero() {
            return None;
        }
        Some(match (self, other) {
            (Self::Decimal(_), _) | (_, Self::Decimal(_)) => {
                Self::Decimal(decimal::remainder(self.to_decimal(), other.to_decimal()))
            }
            (Self::Double(_), _) | (_, Self::Double(_)) => Self::Double(self.to_double() % other.to_double()),
            (Self::Int32(left), Self::Int32(right)) => Self::Int32(left.wrapping_rem(right)),
            _ => Self::Int64(self.integer()?.wrapping_rem(other.integer()?)),
        })
    }

    pub fn is_zero(self) -> bool {
        match self {
            Self::Int32(value) => value == 0,
            Self::Int64(value) => value == 0,
            Self::Double(value) => value == 0.0,
            Self::Decimal(value) => matches!(decimal::parts(value), Parts::Finite { coefficient: 0, .. }),
        }
    }

    /// The nearest double.
    pub fn to_double(self) -> f64 {
        match self {
            Self::Int32(value) => value.into(),
            Self::Int64(value) => value as f64,
            Self::Double(value) => value,
            Self::Decimal(value) => decimal::to_double(value),
        }
    }

    /// As arithmetic with decimals sees it: of a double, 15 digits.
    pub fn to_decimal(self) -> Decimal128 {
        match self {
            Self::Int32(value) => decimal::of_integer(value.into()),
            Self::Int64(value) => decimal::of_integer(value),
            Self::Double(value) => decimal::of_double(value),
            Self::Decimal(value) => value,
        }
    }

    /// An int where it fits, else a long.
    pub fn of_integer(value: i64) -> Self {
        i32::try_from(value).map_or(Self::Int64(value), Self::Int32)
    }

    /// Two ints stay an int where the result fits and become a long where not; a long stays a long or overflows; a double
    /// makes the result a double, a decimal a decimal.
    fn combine(
        self,
        other: Self,
        whole: fn(i64, i64) -> Option<i64>,
        floating: fn(f64, f64) -> f64,
        decimal: fn(Decimal128, Decimal128) -> Decimal128,
    ) -> Result<Self, Overflow> {
        match (self, other) {
            (Self::Int32(left), Self::Int32(right)) => {
                // The product of two ints always fits a long.
                whole(left.into(), right.into()).map(Self::of_integer).ok_or(Overflow)
            }
            (Self::Decimal(_), _) | (_, Self::Decimal(_)) => {
                Ok(Self::Decimal(decimal(self.to_decimal(), other.to_decimal())))
            }
            (Self::Double(_), _) | (_, Self::Double(_)) => {
                Ok(Self::Double(floating(self.to_double(), other.to_double())))
            }
            _ => self
                .integer()
                .zip(other.integer())
                .and_then(|(left, right)| whole(left, right))
                .map(Self::Int64)
                .ok_or(Overflow),
        }
    }

    pub fn exact(self) -> Exact {
        match self {
            Self::Int32(value) => exact_integer(value.into()),
            Self::Int64(value) => exact_integer(value),
            Self::Double(value) => exact_double(value),
            Self::Decimal(value) => exact_decimal(value),
        }
    }
}

/// The result of integer arithmetic does not fit a long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Overflow;

impl Exact {
    fn rank(&self) -> u8 {
        match self {
            Self::NaN => 0,
            Self::NegativeInfinity => 1,
            Self::Finite { negative: true, .. } => 2,
            Self::Zero => 3,
            Self::Finite { negative: false, .. } => 4,
            Self::Infinity => 5,
        }
    }
}

impl Ord for Exact {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank().cmp(&other.rank()).then_with(|| match (self, other) {
            (
                Self::Finite { negative, exponent, digits },
                Self::Finite { exponent: other_exponent, digits: other_digits, .. },
            ) => {
                let order = (exponent, digits).cmp(&(other_exponent, other_digits));
                if *negative { order.reverse() } else { order }
            }
            _ => Ordering::Equal,
        })
    }
}

impl PartialOrd for Exact {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

fn compare_doubles(left: f64, right: f64) -> Ordering {
    left.partial_cmp(&right).unwrap_or_else(|| right.is_nan().cmp(&left.is_nan()))
}

fn compare_integer_to_double(left: i64, right: f64) -> Ordering {
    if right.is_nan() || right < -TWO_TO_63 {
        return Ordering::Greater;
    }
    if right >= TWO_TO_63 {
        return Ordering::Less;
    }
    // Within the longs the whole part converts exactly, and the fraction decides between equals.
    left.cmp(&(right.trunc() as i64)).then_with(|| compare_doubles(0.0, right.fract()))
}

fn exact_integer(value: i64) -> Exact {
    exact_digits(value < 0, u128::from(value.unsigned_abs()), 0)
}

fn exact_digits(negative: bool, coefficient: u128, power: i32) -> Exact {
    if coefficient == 0 {
        return Exact::Zero;
    }
    let mut digits = Vec::with_capacity(20);
    let mut rest = coefficient;
    while rest > 0 {
        digits.push((rest % 10) as u8);
        rest /= 10;
    }
    let exponent = digits.len() as i32 + power;
    digits.reverse();
    while digits.last() == Some(&0) {
        digits.pop();
    }
    Exact::Finite { negative, exponent, digits }
}

fn exact_double(value: f64) -> Exact {
    if value.is_nan() {
        return Exact::NaN;
    }
    if value.is_infinite() {
        return if value > 0.0 { Exact::Infinity } else { Exact::NegativeInfinity };
    }
    if value.trunc() == value && value.abs() < TWO_TO_63 {
        return exact_integer(value as i64);
    }
    // A double has at most 767 significant decimal digits, so this text is exact.
    let text = format!("{:.766e}", value.abs());
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    while digits.last() == Some(&0) {
        digits.pop();
    }
    Exact::Finite { negative: value < 0.0, exponent: power.parse::<i32>().unwrap_or(0) + 1, digits }
}

fn exact_decimal(value: Decimal128) -> Exact {
    match decimal::parts(value) {
        Parts::NaN => Exact::NaN,
        Parts::Infinity { negative: true } => Exact::NegativeInfinity,
        Parts::Infinity { negative: false } => Exact::Infinity,
        Parts::Finite { negative, coefficient, power } => exact_digits(negative, coefficient, power),
    }
}

//! `multipleOf`, exactly.
//!
//! In: a divisor and a number of any of the four types. Out: whether the number is a whole multiple of the divisor. Both
//! are taken as decimals, a double by its first 15 digits as MongoDB does: 0.3 is a multiple of 0.1, which it is not in
//! binary.

use bson::raw::RawBsonRef;

use crate::value::number::{Exact, Number};

#[derive(Debug, Clone)]
pub struct Divisor {
    factors: Factors,
    shown: String,
}

/// `rest × 2^twos × 5^fives`, with neither 2 nor 5 in the rest. A power of ten moves both exponents at once, so numbers
/// of any size are compared without ever being written out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Factors {
    rest: u128,
    twos: i32,
    fives: i32,
}

impl Divisor {
    /// `None` unless it is positive and finite.
    pub fn of(number: Number) -> Option<Self> {
        match decimal(number) {
            Exact::Finite { negative: false, exponent, digits } => {
                Some(Self { factors: Factors::of(exponent, &digits), shown: shown(number) })
            }
            _ => None,
        }
    }

    pub fn divides(&self, number: Number) -> bool {
        match decimal(number) {
            Exact::Zero => true,
            Exact::Finite { exponent, digits, .. } => {
                let (of, by) = (Factors::of(exponent, &digits), self.factors);
                of.twos >= by.twos && of.fives >= by.fives && of.rest.is_multiple_of(by.rest)
            }
            Exact::NaN | Exact::Infinity | Exact::NegativeInfinity => false,
        }
    }

    /// As it is written in words.
    pub fn as_str(&self) -> &str {
        &self.shown
    }
}

impl Factors {
    /// Of `0.d₁d₂… × 10^exponent`, not zero.
    fn of(exponent: i32, digits: &[u8]) -> Self {
        // No number of the four types has more than 34 significant digits here, so this cannot overflow.
        let mut rest = digits.iter().fold(0u128, |whole, digit| whole * 10 + u128::from(*digit));
        let power = exponent - digits.len() as i32;
        let (mut twos, mut fives) = (power, power);
        while rest.is_multiple_of(2) {
            rest /= 2;
            twos += 1;
        }
        while rest.is_multiple_of(5) {
            rest /= 5;
            fives += 1;
        }
        Self { rest, twos, fives }
    }
}

fn decimal(number: Number) -> Exact {
    let Number::Double(double) = number else { return number.exact() };
    if !double.is_finite() || double == 0.0 {
        return number.exact();
    }
    let text = format!("{:.14e}", double.abs());
    let (mantissa, power) = text.split_once('e').unwrap_or((&text, "0"));
    let mut digits: Vec<u8> = mantissa.bytes().filter(u8::is_ascii_digit).map(|digit| digit - b'0').collect();
    while digits.last() == Some(&0) {
        digits.pop();
    }
    Exact::Finite { negative: double < 0.0, exponent: power.parse::<i32>().unwrap_or(0) + 1, digits }
}

fn shown(number: Number) -> String {
    match number.to_bson().as_raw_bson_ref() {
        RawBsonRef::Decimal128(decimal) => decimal.to_string(),
        RawBsonRef::Double(double) => double.to_string(),
        RawBsonRef::Int32(int) => int.to_string(),
        RawBsonRef::Int64(long) => long.to_string(),
        other => format!("{other:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn multiples_are_found_exactly() {
        let decimal = |text: &str| Number::Decimal(text.parse().unwrap());
        for (number, divisor, wanted) in [
            (Number::Int32(10), Number::Int32(5), true),
            (Number::Int32(11), Number::Int32(5), false),
            (Number::Int32(0), Number::Int32(7), true),
            (Number::Int32(-14), Number::Int32(7), true),
            (Number::Double(0.3), Number::Double(0.1), true),
            (Number::Double(0.35), Number::Double(0.1), false),
            (Number::Double(5.5), Number::Double(0.5), true),
            (decimal("0.3"), decimal("0.1"), true),
            (decimal("0.30000000000000000000000000000001"), decimal("0.1"), false),
            (decimal("1E+6144"), Number::Int32(3), false),
            (decimal("3E+6144"), Number::Int32(3), true),
            (Number::Int32(3), decimal("1E-6176"), true),
            (Number::Int64(i64::MAX), Number::Int64(7), true),
            (Number::Int64(i64::MAX - 1), Number::Int64(7), false),
            (Number::Double(f64::NAN), Number::Int32(1), false),
            (Number::Double(f64::INFINITY), Number::Int32(1), false),
            (Number::Double(1e300), Number::Double(1e-300), true),
        ] {
            let found = Divisor::of(divisor).unwrap().divides(number);
            assert_eq!(found, wanted, "{number:?} by {divisor:?}");
        }
    }

    #[test]
    fn nothing_is_a_multiple_of_less_than_something() {
        for divisor in [Number::Int32(0), Number::Int32(-1), Number::Double(f64::NAN), Number::Double(f64::INFINITY)] {
            assert!(Divisor::of(divisor).is_none(), "{divisor:?}");
        }
    }
}

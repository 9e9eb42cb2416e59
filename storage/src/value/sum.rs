//! Sums of many numbers as `$add`, `$sum` and `$avg` make them: as wide as the widest type that was added, and with the
//! digits a chain of double additions would lose.
//!
//! In: numbers, in order. Out: their sum or mean. What was not a decimal is summed in two doubles, the second holding what
//! the first had no room for, so integers up to 2^63 and doubles may be mixed; decimals have a sum of their own.

use bson::Decimal128;

use super::decimal;
use super::number::Number;

#[derive(Debug, Clone)]
pub struct Sum {
    widest: Width,
    doubles: Compensated,
    decimals: Option<Decimal128>,
    count: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Width {
    Int,
    Long,
    Double,
    Decimal,
}

impl Default for Sum {
    /// An int zero.
    fn default() -> Self {
        Self { widest: Width::Int, doubles: Compensated::default(), decimals: None, count: 0 }
    }
}

impl Sum {
    pub fn add(&mut self, number: Number) {
        self.count += 1;
        let width = match number {
            Number::Int32(value) => {
                self.doubles.add(value.into());
                Width::Int
            }
            Number::Int64(value) => {
                self.doubles.add_long(value);
                Width::Long
            }
            Number::Double(value) => {
                self.doubles.add(value);
                Width::Double
            }
            Number::Decimal(value) => {
                self.decimals = Some(self.decimals.map_or(value, |sum| decimal::plus(sum, value)));
                Width::Decimal
            }
        };
        self.widest = self.widest.max(width);
    }

    /// How many numbers were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The sum: ints become a long where an int is too small, and integers a double where a long is.
    pub fn total(&self) -> Number {
        match (self.widest, self.doubles.to_long()) {
            (Width::Int, Some(sum)) => Number::of_integer(sum),
            (Width::Long, Some(sum)) => Number::Int64(sum),
            (Width::Decimal, _) => Number::Decimal(self.to_decimal()),
            _ => Number::Double(self.doubles.to_double()),
        }
    }

    /// The mean: a decimal where one was added, else a double. None of no numbers.
    pub fn mean(&self) -> Option<Number> {
        if self.count == 0 {
            return None;
        }
        Some(match self.widest {
            Width::Decimal => {
                let count = decimal::of_integer(self.count.try_into().unwrap_or(i64::MAX));
                Number::Decimal(decimal::over(self.to_decimal(), count))
            }
            _ => Number::Double(self.doubles.to_double() / self.count as f64),
        })
    }

    fn to_decimal(&self) -> Decimal128 {
        let decimals = self.decimals.unwrap_or_else(|| decimal::of_integer(0));
        if self.doubles.is_untouched() { decimals } else { decimal::plus(decimals, self.doubles.to_decimal()) }
    }
}

/// A sum in two doubles: the rounded sum, and what rounding took away (Knuth's two-sum).
#[derive(Debug, Clone, Copy, Default)]
struct Compensated {
    sum: f64,
    rest: f64,
    /// A plain sum, right where infinities and NaN have spoilt the others.
    plain: f64,
}

impl Compensated {
    fn add(&mut self, value: f64) {
        self.plain += value;
        let (low, carried) = two_sum(value, self.rest);
        let (sum, rest) = two_sum(self.sum, low);
        // Cancellation may have left more in the rest than in the sum, so they are set against each other once more.
        (self.sum, self.rest) = two_sum(sum, rest + carried);
    }

    /// In halves, since one double does not hold 64 bits.
    fn add_long(&mut self, value: i64) {
        let high = value & !0xffff_ffff;
        self.add((value - high) as f64);
        self.add(high as f64);
    }

    fn to_double(self) -> f64 {
        if self.sum.is_nan() { self.plain } else { self.sum }
    }

    fn to_decimal(self) -> Decimal128 {
        if self.sum.is_nan() || self.sum.is_infinite() {
            return decimal::of_double_exactly(self.to_double());
        }
        decimal::plus(decimal::of_double_exactly(self.sum), decimal::of_double_exactly(self.rest))
    }

    fn to_long(self) -> Option<i64> {
        if !self.sum.is_finite() || self.sum.abs() > TWO_TO_63 {
            return None;
        }
        // Both parts are whole numbers far within 128 bits when only integers were added.
        i64::try_from(self.sum as i128 + self.rest as i128).ok()
    }

    fn is_untouched(self) -> bool {
        self.sum == 0.0 && self.rest == 0.0 && self.plain == 0.0
    }
}

const TWO_TO_63: f64 = 9_223_372_036_854_775_808.0;

fn two_sum(left: f64, right: f64) -> (f64, f64) {
    let sum = left + right;
    let right_part = sum - left;
    let left_part = sum - right_part;
    (sum, (left - left_part) + (right - right_part))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(numbers: &[Number]) -> Sum {
        let mut sum = Sum::default();
        numbers.iter().for_each(|number| sum.add(*number));
        sum
    }

    fn total(numbers: &[Number]) -> String {
        format!("{:?}", sum(numbers).total().to_bson())
    }

    #[test]
    fn sums_are_as_wide_as_their_widest_number() {
        use Number::{Decimal, Double, Int32, Int64};
        let decimal = |text: &str| Decimal(text.parse().unwrap());
        assert_eq!(total(&[]), "Int32(0)");
        assert_eq!(total(&[Int32(i32::MAX), Int32(1)]), "Int64(2147483648)");
        assert_eq!(total(&[Int32(i32::MAX), Int32(1), Int32(-1)]), "Int32(2147483647)");
        assert_eq!(total(&[Int64(1), Int32(1)]), "Int64(2)");
        assert_eq!(total(&[Int64(i64::MAX), Int64(1)]), "Double(9.223372036854776e18)");
        assert_eq!(total(&[Int64(i64::MAX), Int64(1), Int64(-1)]), "Int64(9223372036854775807)");
        assert_eq!(total(&[Int64(i64::MIN)]), "Int64(-9223372036854775808)");
        assert_eq!(total(&[Int64(i64::MIN), Int32(-1)]), "Double(-9.223372036854776e18)");
        assert_eq!(total(&[Double(1e16), Double(1.0), Double(-1e16)]), "Double(1.0)");
        assert_eq!(total(&[Double(f64::INFINITY), Double(1.0)]), "Double(inf)");
        assert_eq!(total(&[Double(f64::INFINITY), Double(f64::NEG_INFINITY)]), "Double(NaN)");
        let text = |numbers: &[Number]| match sum(numbers).total() {
            Decimal(value) => value.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(text(&[Int32(1), decimal("2.50")]), "3.50");
        assert_eq!(text(&[Double(2.5), decimal("1")]), "3.5");
        assert_eq!(text(&[Double(f64::INFINITY), decimal("1")]), "Infinity");
        assert_eq!(text(&[Int64(i64::MAX), decimal("0.1")]), "9223372036854775807.1");
        assert_eq!(text(&[decimal("1.50")]), "1.50");
    }

    #[test]
    fn means_are_doubles_or_decimals() {
        use Number::{Decimal, Int32};
        assert_eq!(sum(&[]).mean().map(Number::to_bson), None);
        assert_eq!(format!("{:?}", sum(&[Int32(1), Int32(2)]).mean().unwrap().to_bson()), "Double(1.5)");
        let decimals = [Decimal("1".parse().unwrap()), Decimal("2".parse().unwrap())];
        match sum(&decimals).mean() {
            Some(Decimal(mean)) => assert_eq!(mean.to_string(), "1.5"),
            other => panic!("{other:?}"),
        }
    }
}

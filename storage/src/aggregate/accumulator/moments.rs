//! Deviations and covariances, kept up to date with each value (Welford), so that nothing cancels out.

use bson::raw::{RawBson, RawBsonRef};

use crate::value::decimal;
use crate::value::number::Number;

/// How many numbers, their mean, and the sum of the squares of their distances from it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Moments {
    count: u64,
    mean: f64,
    squares: f64,
    /// Infinities and NaN: there is no deviation with them.
    strange: bool,
}

impl Moments {
    pub fn add(&mut self, value: Option<RawBsonRef<'_>>) {
        let Some(number) = value.and_then(Number::of) else { return };
        let number = as_double(number);
        self.count += 1;
        if !number.is_finite() {
            self.strange = true;
            return;
        }
        let distance = number - self.mean;
        self.mean += distance / self.count as f64;
        self.squares += distance * (number - self.mean);
    }

    /// Of the population or, with one degree of freedom less, of a sample.
    pub fn deviation(&self, sample: bool) -> RawBson {
        let divisor = if sample { self.count.saturating_sub(1) } else { self.count };
        match divisor {
            0 => RawBson::Null,
            _ if self.strange => RawBson::Double(f64::NAN),
            divisor => RawBson::Double((self.squares / divisor as f64).sqrt()),
        }
    }
}

/// The same of pairs.
#[derive(Debug, Clone, Copy, Default)]
pub struct Joint {
    count: u64,
    means: (f64, f64),
    products: f64,
    decimal: bool,
}

impl Joint {
    /// Pairs of which one is no number do not count.
    pub fn add(&mut self, left: Option<RawBsonRef<'_>>, right: Option<RawBsonRef<'_>>) {
        let (Some(left), Some(right)) = (left.and_then(Number::of), right.and_then(Number::of)) else { return };
        self.decimal |= matches!(left, Number::Decimal(_)) || matches!(right, Number::Decimal(_));
        let (left, right) = (as_double(left), as_double(right));
        self.count += 1;
        let distance = left - self.means.0;
        self.means.0 += distance / self.count as f64;
        self.means.1 += (right - self.means.1) / self.count as f64;
        self.products += distance * (right - self.means.1);
    }

    pub fn covariance(&self, sample: bool) -> RawBson {
        let divisor = if sample { self.count.saturating_sub(1) } else { self.count };
        match divisor {
            0 => RawBson::Null,
            divisor if self.decimal => RawBson::Decimal128(decimal::of_double(self.products / divisor as f64)),
            divisor => RawBson::Double(self.products / divisor as f64),
        }
    }
}

pub fn as_double(number: Number) -> f64 {
    match number {
        Number::Int32(number) => number.into(),
        Number::Int64(number) => number as f64,
        Number::Double(number) => number,
        Number::Decimal(number) => decimal::to_double(number),
    }
}

//! The trigonometric and hyperbolic functions of decimals, which decNumber does not have, worked out as series with 120
//! digits, of which 34 are kept.
//!
//! In: decimals that are not NaN and lie in the function's domain. Out: the rounded result; `None` for sines and their
//! kin of angles so large that the digits do not tell where on the circle they lie.

use std::cmp::Ordering;

use bson::Decimal128;
use dec::{Context, Decimal};

use super::decimal::{self, Parts};

/// 120 digits: enough that angles up to [`ANGLE_DIGITS_MAX`] keep 60 when whole turns are taken off.
type Long = Decimal<40>;

const ANGLE_DIGITS_MAX: i32 = 60;

const PI: &str = "3.14159265358979323846264338327950288419716939937510582097494459230781640628620899862803482534211706798214808651328230665";

pub fn sine(angle: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let angle = work.on_the_circle(angle)?;
        Some(work.sine(&angle))
    })
}

pub fn cosine(angle: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let angle = work.on_the_circle(angle)?;
        Some(work.cosine(&angle))
    })
}

pub fn tangent(angle: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let angle = work.on_the_circle(angle)?;
        let (sine, cosine) = (work.sine(&angle), work.cosine(&angle));
        Some(work.over(sine, &cosine))
    })
}

pub fn arc_sine(ratio: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let ratio = decimal::wide(ratio);
        Some(work.arc_sine(ratio))
    })
}

pub fn arc_cosine(ratio: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let arc_sine = work.arc_sine(decimal::wide(ratio));
        let quarter = work.quarter();
        Some(work.minus(quarter, &arc_sine))
    })
}

pub fn arc_tangent(ratio: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| Some(work.arc_tangent(decimal::wide(ratio))))
}

/// The angle of the point `(x, y)`, with the signs of zeros and infinities told apart.
pub fn angle(y: Decimal128, x: Decimal128) -> Decimal128 {
    let sort = |value| match decimal::parts(value) {
        Parts::NaN => (f64::NAN, true),
        Parts::Infinity { negative } => (if negative { f64::NEG_INFINITY } else { f64::INFINITY }, true),
        Parts::Finite { negative, coefficient, .. } => {
            let size: f64 = if coefficient == 0 { 0.0 } else { 1.0 };
            (if negative { -size } else { size }, coefficient == 0)
        }
    };
    let ((y_like, y_special), (x_like, x_special)) = (sort(y), sort(x));
    if y_like.is_nan() || x_like.is_nan() {
        return decimal::nan();
    }
    let result = Work::default().finish(|work| {
        if y_special || x_special {
            // On an axis or a diagonal: a whole number of eighths of the circle.
            let eighths = (y_like.atan2(x_like) / std::f64::consts::FRAC_PI_4).round();
            let eighth = work.quarter();
            let eighth = work.over(eighth, &Long::from(2));
            return Some(work.times(eighth, &Long::from(eighths as i32)));
        }
        let ratio = work.over(decimal::wide(y), &decimal::wide(x));
        let angle = work.arc_tangent(ratio);
        if x_like > 0.0 {
            return Some(angle);
        }
        let half = work.pi();
        Some(if y_like > 0.0 { work.plus(angle, &half) } else { work.minus(angle, &half) })
    });
    result.unwrap_or_else(decimal::nan)
}

pub fn hyperbolic_sine(value: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| Some(work.hyperbolic_sine(&decimal::wide(value))))
}

pub fn hyperbolic_cosine(value: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| Some(work.hyperbolic_cosine(&decimal::wide(value))))
}

pub fn hyperbolic_tangent(value: Decimal128) -> Option<Decimal128> {
    // From here on it is one in all of its 34 digits.
    const ONE_FROM: i32 = 100;
    Work::default().finish(|work| {
        let value = decimal::wide(value);
        if work.compare(&value, &Long::from(ONE_FROM)).is_gt() {
            return Some(Long::from(1));
        }
        if work.compare(&value, &Long::from(-ONE_FROM)).is_lt() {
            return Some(Long::from(-1));
        }
        let (sine, cosine) = (work.hyperbolic_sine(&value), work.hyperbolic_cosine(&value));
        Some(work.over(sine, &cosine))
    })
}

pub fn area_sine(value: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let value = decimal::wide(value);
        if work.is_tiny(&value) {
            return Some(work.first_terms(value, -6));
        }
        let mut size = value;
        work.context.abs(&mut size);
        let square = work.times(size, &size);
        let mut root = work.plus(square, &Long::from(1));
        work.context.sqrt(&mut root);
        let mut result = work.plus(size, &root);
        work.context.ln(&mut result);
        Some(if value.is_negative() { -result } else { result })
    })
}

pub fn area_cosine(value: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let value = decimal::wide(value);
        let square = work.times(value, &value);
        let mut root = work.minus(square, &Long::from(1));
        work.context.sqrt(&mut root);
        let mut result = work.plus(value, &root);
        work.context.ln(&mut result);
        Some(result)
    })
}

pub fn area_tangent(value: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let value = decimal::wide(value);
        if work.is_tiny(&value) {
            return Some(work.first_terms(value, 3));
        }
        let above = work.plus(value, &Long::from(1));
        let below = work.minus(Long::from(1), &value);
        let mut result = work.over(above, &below);
        work.context.ln(&mut result);
        Some(work.over(result, &Long::from(2)))
    })
}

pub fn radians(degrees: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let pi = work.pi();
        let product = work.times(decimal::wide(degrees), &pi);
        Some(work.over(product, &Long::from(180)))
    })
}

pub fn degrees(radians: Decimal128) -> Option<Decimal128> {
    Work::default().finish(|work| {
        let pi = work.pi();
        let product = work.times(decimal::wide(radians), &Long::from(180));
        Some(work.over(product, &pi))
    })
}

/// The context of one calculation.
struct Work {
    context: Context<Long>,
}

impl Default for Work {
    fn default() -> Self {
        Self { context: decimal::wide_context() }
    }
}

impl Work {
    /// Rounds what was worked out; zeros that only show the precision it was worked out with are dropped.
    fn finish(mut self, work: impl FnOnce(&mut Self) -> Option<Long>) -> Option<Decimal128> {
        let result = work(&mut self)?;
        let rounded = decimal::of_wide(&result);
        let Parts::Finite { negative, mut coefficient, mut power } = decimal::parts(rounded) else {
            return Some(rounded);
        };
        if coefficient == 0 {
            power = 0;
        }
        while power < 0 && coefficient.is_multiple_of(10) {
            coefficient /= 10;
            power += 1;
        }
        Some(decimal::number(negative, coefficient, power))
    }

    fn plus(&mut self, mut left: Long, right: &Long) -> Long {
        self.context.add(&mut left, right);
        left
    }

    fn minus(&mut self, mut left: Long, right: &Long) -> Long {
        self.context.sub(&mut left, right);
        left
    }

    fn times(&mut self, mut left: Long, right: &Long) -> Long {
        self.context.mul(&mut left, right);
        left
    }

    fn over(&mut self, mut left: Long, right: &Long) -> Long {
        self.context.div(&mut left, right);
        left
    }

    fn compare(&mut self, left: &Long, right: &Long) -> Ordering {
        self.context.partial_cmp(left, right).unwrap_or(Ordering::Equal)
    }

    fn pi(&mut self) -> Long {
        self.context.parse(PI).expect("the digits are a number")
    }

    /// A quarter of the circle.
    fn quarter(&mut self) -> Long {
        let pi = self.pi();
        self.over(pi, &Long::from(2))
    }

    /// An angle without its whole turns.
    fn on_the_circle(&mut self, angle: Decimal128) -> Option<Long> {
        let Parts::Finite { coefficient, power, .. } = decimal::parts(angle) else { return None };
        let digits = coefficient.checked_ilog10().map_or(1, |log| log as i32 + 1);
        if coefficient != 0 && digits + power > ANGLE_DIGITS_MAX {
            return None;
        }
        let pi = self.pi();
        let turn = self.times(pi, &Long::from(2));
        let mut angle = decimal::wide(angle);
        self.context.rem_near(&mut angle, &turn);
        Some(angle)
    }

    /// `first`, then each term made from the one before by a factor, until a term no longer changes the sum.
    fn series(&mut self, first: Long, mut factor: impl FnMut(&mut Self, Long, i32) -> Long) -> Long {
        /// More than any series here takes; each of them has terms that shrink a hundredfold at least in the end.
        const TERMS_MAX: i32 = 1_000;
        let (mut sum, mut term) = (first, first);
        for at in 1..TERMS_MAX {
            term = factor(self, term, at);
            let next = self.plus(sum, &term);
            if self.compare(&next, &sum).is_eq() {
                break;
            }
            sum = next;
        }
        sum
    }

    fn sine(&mut self, angle: &Long) -> Long {
        let square = self.times(-*angle, angle);
        self.series(*angle, |work, term, at| {
            let term = work.times(term, &square);
            work.over(term, &Long::from(2 * at * (2 * at + 1)))
        })
    }

    fn cosine(&mut self, angle: &Long) -> Long {
        let square = self.times(-*angle, angle);
        self.series(Long::from(1), |work, term, at| {
            let term = work.times(term, &square);
            work.over(term, &Long::from((2 * at - 1) * 2 * at))
        })
    }

    fn arc_sine(&mut self, ratio: Long) -> Long {
        let square = self.times(ratio, &ratio);
        let mut other = self.minus(Long::from(1), &square);
        if other.is_zero() {
            let quarter = self.quarter();
            return if ratio.is_negative() { -quarter } else { quarter };
        }
        self.context.sqrt(&mut other);
        let tangent = self.over(ratio, &other);
        self.arc_tangent(tangent)
    }

    fn arc_tangent(&mut self, ratio: Long) -> Long {
        let quarter = self.quarter();
        let quarter = if ratio.is_negative() { -quarter } else { quarter };
        if ratio.is_infinite() {
            return quarter;
        }
        let mut size = ratio;
        self.context.abs(&mut size);
        if self.compare(&size, &Long::from(1)).is_gt() {
            let inverse = self.over(Long::from(1), &ratio);
            let rest = self.arc_tangent(inverse);
            return self.minus(quarter, &rest);
        }
        // Halved four times, the angle is small enough for its series to be short.
        const HALVINGS: u32 = 4;
        let mut tangent = ratio;
        for _ in 0..HALVINGS {
            let square = self.times(tangent, &tangent);
            let mut root = self.plus(square, &Long::from(1));
            self.context.sqrt(&mut root);
            let below = self.plus(root, &Long::from(1));
            tangent = self.over(tangent, &below);
        }
        let square = self.times(-tangent, &tangent);
        let mut power = tangent;
        let angle = self.series(tangent, |work, _, at| {
            power = work.times(power, &square);
            work.over(power, &Long::from(2 * at + 1))
        });
        self.times(angle, &Long::from(1 << HALVINGS))
    }

    /// Whether the difference of two exponentials would lose too many digits.
    fn is_tiny(&mut self, value: &Long) -> bool {
        const TINY: i32 = -20;
        value.is_finite() && (value.is_zero() || value.exponent() + (value.digits() as i32) < TINY)
    }

    /// `value + value³ / divisor`, all that matters of a series when the value is tiny.
    fn first_terms(&mut self, value: Long, divisor: i32) -> Long {
        let square = self.times(value, &value);
        let cube = self.times(square, &value);
        let second = self.over(cube, &Long::from(divisor));
        self.plus(value, &second)
    }

    fn exponentials(&mut self, value: &Long) -> (Long, Long) {
        let (mut up, mut down) = (*value, -*value);
        self.context.exp(&mut up);
        self.context.exp(&mut down);
        (up, down)
    }

    fn hyperbolic_sine(&mut self, value: &Long) -> Long {
        if self.is_tiny(value) {
            return self.first_terms(*value, 6);
        }
        let (up, down) = self.exponentials(value);
        let difference = self.minus(up, &down);
        self.over(difference, &Long::from(2))
    }

    fn hyperbolic_cosine(&mut self, value: &Long) -> Long {
        let (up, down) = self.exponentials(value);
        let sum = self.plus(up, &down);
        self.over(sum, &Long::from(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal128 {
        text.parse().unwrap()
    }

    #[test]
    fn functions_have_34_right_digits() {
        type Function = fn(Decimal128) -> Option<Decimal128>;
        let table: &[(Function, &str, &str)] = &[
            (sine, "0", "0"),
            (sine, "-0", "-0"),
            (sine, "1", "0.841470984807896506652502321630299"),
            (sine, "3.141592653589793238462643383279503", "-1.158028306006248941790250554076922E-34"),
            (sine, "1E-6000", "1E-6000"),
            (cosine, "0", "1"),
            (cosine, "2", "-0.4161468365471423869975682295007622"),
            (tangent, "1", "1.55740772465490223050697480745836"),
            (arc_sine, "1", "1.570796326794896619231321691639751"),
            (arc_sine, "0.5", "0.5235987755982988730771072305465838"),
            (arc_cosine, "1", "0"),
            (arc_cosine, "-1", "3.141592653589793238462643383279503"),
            (arc_tangent, "1", "0.7853981633974483096156608458198757"),
            (arc_tangent, "-Infinity", "-1.570796326794896619231321691639751"),
            (arc_tangent, "1E-6000", "1E-6000"),
            (hyperbolic_sine, "1", "1.175201193643801456882381850595601"),
            (hyperbolic_sine, "1E-30", "1E-30"),
            (hyperbolic_sine, "1E+6000", "Infinity"),
            (hyperbolic_cosine, "0", "1"),
            (hyperbolic_tangent, "Infinity", "1"),
            (hyperbolic_tangent, "0.5", "0.4621171572600097585023184836436725"),
            (area_sine, "1", "0.8813735870195430252326093249797923"),
            (area_cosine, "1", "0"),
            (area_cosine, "2", "1.316957896924816708625046347307968"),
            (area_tangent, "0.5", "0.5493061443340548456976226184612629"),
            (area_tangent, "1", "Infinity"),
            (radians, "180", "3.141592653589793238462643383279503"),
            (degrees, "1", "57.29577951308232087679815481410517"),
        ];
        for (at, (function, value, expected)) in table.iter().enumerate() {
            assert_eq!(function(decimal(value)).unwrap().to_string(), *expected, "row {at}, of {value}");
        }
        assert_eq!(sine(decimal("1E+61")), None);
    }

    #[test]
    fn angles_know_their_quadrant() {
        let table = [
            ("1", "1", "0.7853981633974483096156608458198757"),
            ("1", "-1", "2.356194490192344928846982537459627"),
            ("-1", "0", "-1.570796326794896619231321691639751"),
            ("0", "1", "0"),
            ("0", "-1", "3.141592653589793238462643383279503"),
            ("-0", "-1", "-3.141592653589793238462643383279503"),
            ("Infinity", "-Infinity", "2.356194490192344928846982537459627"),
            ("1", "NaN", "NaN"),
        ];
        for (y, x, expected) in table {
            assert_eq!(angle(decimal(y), decimal(x)).to_string(), expected, "({x}, {y})");
        }
    }
}

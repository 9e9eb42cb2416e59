//! Decimal128: what its sixteen bytes say, and arithmetic on it with 34 digits, rounding halves to even.
//!
//! In and out: BSON's decimals, which are in the binary integer form of IEEE 754. The arithmetic is decNumber's, whose own
//! form packs the digits densely, so numbers cross over as sign, coefficient and power of ten: exactly, and never through
//! a double. Functions that have no exact result are worked out with 48 digits and rounded once.
//!
//! Not here: the trigonometric functions, which decNumber does not have ([`super::trigonometry`]).

use bson::Decimal128;
use dec::{Context, Decimal, Decimal128 as Quad, Rounding};

/// Digits a coefficient may have.
pub const DIGITS: i32 = 34;
/// The least and the greatest power of ten beside a coefficient.
pub const POWER_MIN: i32 = -6176;
pub const POWER_MAX: i32 = 6111;

const COEFFICIENT_MAX: u128 = 10u128.pow(DIGITS as u32) - 1;
const SIGN: u128 = 1 << 127;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parts {
    NaN,
    Infinity { negative: bool },
    Finite { negative: bool, coefficient: u128, power: i32 },
}

pub fn parts(value: Decimal128) -> Parts {
    let bits = u128::from_le_bytes(value.bytes());
    let negative = bits & SIGN != 0;
    match (bits >> 122) & 0b1_1111 {
        0b1_1111 => Parts::NaN,
        0b1_1110 => Parts::Infinity { negative },
        // The second form can only spell coefficients above the largest, which count as zero.
        combination if combination >> 3 == 0b11 => {
            Parts::Finite { negative, coefficient: 0, power: ((bits >> 111) & 0x3fff) as i32 + POWER_MIN }
        }
        _ => {
            let coefficient = bits & ((1 << 113) - 1);
            let coefficient = if coefficient > COEFFICIENT_MAX { 0 } else { coefficient };
            Parts::Finite { negative, coefficient, power: ((bits >> 113) & 0x3fff) as i32 + POWER_MIN }
        }
    }
}

pub fn is_nan(value: Decimal128) -> bool {
    parts(value) == Parts::NaN
}

pub fn nan() -> Decimal128 {
    bytes(0b1_1111 << 122)
}

pub fn infinity(negative: bool) -> Decimal128 {
    bytes(if negative { SIGN } else { 0 } | 0b1_1110 << 122)
}

/// `±coefficient × 10^power`, rounded and held within the exponents where it must be.
pub fn number(negative: bool, coefficient: u128, power: i32) -> Decimal128 {
    if coefficient > COEFFICIENT_MAX || !(POWER_MIN..=POWER_MAX).contains(&power) {
        let sign = if negative { "-" } else { "" };
        return parse(&format!("{sign}{coefficient}E{power}")).map_or_else(|_| nan(), |(value, _)| value);
    }
    bytes(if negative { SIGN } else { 0 } | ((power - POWER_MIN) as u128) << 113 | coefficient)
}

pub fn of_integer(value: i64) -> Decimal128 {
    number(value < 0, value.unsigned_abs().into(), 0)
}

/// A double as arithmetic with decimals sees it: 15 significant digits, as many as any double is sure of.
pub fn of_double(value: f64) -> Decimal128 {
    if value == 0.0 || !value.is_finite() { of_double_exactly(value) } else { of_digits(&format!("{value:.14e}")) }
}

/// All digits of a double that a decimal holds: sums of doubles keep their exactness in these.
pub fn of_double_exactly(value: f64) -> Decimal128 {
    if value.is_nan() {
        return nan();
    }
    if value.is_infinite() {
        return infinity(value < 0.0);
    }
    let rounded = of_digits(&format!("{value:.33e}"));
    let Parts::Finite { negative, mut coefficient, mut power } = parts(rounded) else { return rounded };
    if coefficient == 0 {
        power = 0;
    }
    while power < 0 && coefficient.is_multiple_of(10) {
        coefficient /= 10;
        power += 1;
    }
    while power > 0 && coefficient <= COEFFICIENT_MAX / 10 {
        coefficient *= 10;
        power -= 1;
    }
    number(negative, coefficient, power)
}

/// Of what Rust writes for a finite double.
fn of_digits(text: &str) -> Decimal128 {
    parse(text).map_or_else(|_| nan(), |(value, _)| value)
}

/// The nearest double.
pub fn to_double(value: Decimal128) -> f64 {
    match parts(value) {
        Parts::NaN => f64::NAN,
        Parts::Infinity { negative } => {
            if negative {
                f64::NEG_INFINITY
            } else {
                f64::INFINITY
            }
        }
        Parts::Finite { negative, coefficient, power } => {
            // Rust reads decimal text to the nearest double, whatever its length.
            let magnitude: f64 = format!("{coefficient}e{power}").parse().unwrap_or(f64::NAN);
            if negative { -magnitude } else { magnitude }
        }
    }
}

/// What became of a number on its way from text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fit {
    /// At most digits beyond the 34th were lost.
    Within,
    TooLarge,
    /// Not zero, but so small that it became zero or lost digits.
    TooSmall,
}

/// The text is not a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NotANumber;

pub fn parse(text: &str) -> Result<(Decimal128, Fit), NotANumber> {
    let unsigned = text.strip_prefix(['-', '+']).unwrap_or(text);
    let word = ["nan", "inf", "infinity"].iter().any(|word| unsigned.eq_ignore_ascii_case(word));
    // decNumber also reads payloads and signals of NaN, which no number of MongoDB's has.
    if !word && !unsigned.starts_with(|first: char| first.is_ascii_digit() || first == '.') {
        return Err(NotANumber);
    }
    let mut context = Context::<Quad>::default();
    let value = context.parse(text).map_err(|_| NotANumber)?;
    let status = context.status();
    let fit = if status.overflow() {
        Fit::TooLarge
    } else if status.underflow() {
        Fit::TooSmall
    } else {
        Fit::Within
    };
    Ok((of_quad(value), fit))
}

pub fn plus(left: Decimal128, right: Decimal128) -> Decimal128 {
    of_quad(Context::<Quad>::default().add(quad(left), quad(right)))
}

pub fn minus(left: Decimal128, right: Decimal128) -> Decimal128 {
    of_quad(Context::<Quad>::default().sub(quad(left), quad(right)))
}

pub fn times(left: Decimal128, right: Decimal128) -> Decimal128 {
    of_quad(Context::<Quad>::default().mul(quad(left), quad(right)))
}

pub fn over(left: Decimal128, right: Decimal128) -> Decimal128 {
    of_quad(Context::<Quad>::default().div(quad(left), quad(right)))
}

/// What is left of `left` when `right` was taken from it as often as it goes in whole; it has the sign of `left`.
///
/// decNumber gives this up where the quotient has more than 34 digits, so it is worked out here, digit by digit.
pub fn remainder(left: Decimal128, right: Decimal128) -> Decimal128 {
    let (negative, coefficient, power, divisor, divisor_power) = match (parts(left), parts(right)) {
        (Parts::NaN, _) | (_, Parts::NaN) | (Parts::Infinity { .. }, _) => return nan(),
        (_, Parts::Finite { coefficient: 0, .. }) => return nan(),
        (Parts::Finite { .. }, Parts::Infinity { .. }) => return left,
        (
            Parts::Finite { negative, coefficient, power },
            Parts::Finite { coefficient: divisor, power: divisor_power, .. },
        ) => (negative, coefficient, power, divisor, divisor_power),
    };
    if power >= divisor_power {
        // At most 12,287 rounds, and ten times less than 10^34 is within 128 bits.
        let rest = (divisor_power..power).fold(coefficient % divisor, |rest, _| rest * 10 % divisor);
        return number(negative, rest, divisor_power);
    }
    let mut shifted = divisor;
    for _ in power..divisor_power {
        if shifted > coefficient {
            return left;
        }
        // `coefficient` has at most 34 digits and `shifted` is not above it.
        shifted *= 10;
    }
    number(negative, coefficient % shifted, power)
}

pub fn absolute(value: Decimal128) -> Decimal128 {
    bytes(u128::from_le_bytes(value.bytes()) & !SIGN)
}

pub fn negated(value: Decimal128) -> Decimal128 {
    bytes(u128::from_le_bytes(value.bytes()) ^ SIGN)
}

/// With `places` digits after the point (before it where negative), or as many as 34 digits allow.
pub fn rounded(value: Decimal128, places: i32, rounding: Rounding) -> Decimal128 {
    let Parts::Finite { coefficient, power, .. } = parts(value) else { return value };
    let digits = coefficient.checked_ilog10().map_or(1, |log| log as i32 + 1);
    let longest = if coefficient == 0 { POWER_MIN } else { power - (DIGITS - digits) };
    let wanted = (-places).max(longest).clamp(POWER_MIN, POWER_MAX);
    let mut context = Context::<Quad>::default();
    context.set_rounding(rounding);
    of_quad(context.quantize(quad(value), quad(number(false, 1, wanted))))
}

pub fn root(value: Decimal128) -> Decimal128 {
    widely(value, |context, number| context.sqrt(number))
}

pub fn exponential(value: Decimal128) -> Decimal128 {
    widely(value, |context, number| context.exp(number))
}

pub fn natural_logarithm(value: Decimal128) -> Decimal128 {
    widely(value, |context, number| context.ln(number))
}

pub fn common_logarithm(value: Decimal128) -> Decimal128 {
    widely(value, |context, number| context.log10(number))
}

/// The logarithm of `value` to a base, with one rounding for both logarithms.
pub fn logarithm(value: Decimal128, base: Decimal128) -> Decimal128 {
    let mut base: Wide = wide(base);
    widely(value, |context, number| {
        context.log10(number);
        context.log10(&mut base);
        context.div(number, &base);
    })
}

pub fn power(base: Decimal128, exponent: Decimal128) -> Decimal128 {
    let exponent: Wide = wide(exponent);
    widely(base, |context, number| context.pow(number, &exponent))
}

/// 48 digits: 14 more than are kept.
type Wide = Decimal<16>;

/// Works on a number with 48 digits and exponents beyond those of decimals, and rounds what comes of it.
fn widely(value: Decimal128, work: impl FnOnce(&mut Context<Wide>, &mut Wide)) -> Decimal128 {
    let mut number = wide(value);
    work(&mut wide_context(), &mut number);
    of_wide(&number)
}

/// A context for `N × 3` digits in which decNumber's logarithms and powers work.
pub(super) fn wide_context<const N: usize>() -> Context<Decimal<N>> {
    /// The widest exponents they allow.
    const EXPONENT_MAX: isize = 999_999;
    let mut context = Context::<Decimal<N>>::default();
    context.set_max_exponent(EXPONENT_MAX).expect("the exponent is within decNumber's limits");
    context.set_min_exponent(-EXPONENT_MAX).expect("the exponent is within decNumber's limits");
    context
}

pub(super) fn wide<const N: usize>(value: Decimal128) -> Decimal<N> {
    Decimal::from(quad(value))
}

pub(super) fn of_wide<const N: usize>(number: &Decimal<N>) -> Decimal128 {
    of_quad(Context::<Quad>::default().from_decimal(number))
}

fn bytes(bits: u128) -> Decimal128 {
    Decimal128::from_bytes(bits.to_le_bytes())
}

fn quad(value: Decimal128) -> Quad {
    match parts(value) {
        Parts::NaN => Quad::NAN,
        Parts::Infinity { negative } => signed(Wide::infinity().to_decimal128(), negative),
        Parts::Finite { negative, coefficient, power } => {
            let mut context = Context::<Quad>::default();
            // Exact, since the coefficient has at most 34 digits.
            let mut number = context.from_u128(coefficient);
            context.set_exponent(&mut number, power);
            signed(number, negative)
        }
    }
}

/// The sign is the first bit in both forms; arithmetic could not give it to a zero.
fn signed(number: Quad, negative: bool) -> Quad {
    let mut bytes = number.to_be_bytes();
    bytes[0] |= if negative { 0x80 } else { 0 };
    Quad::from_be_bytes(bytes)
}

fn of_quad(value: Quad) -> Decimal128 {
    if value.is_nan() {
        nan()
    } else if value.is_infinite() {
        infinity(value.is_signed())
    } else {
        number(value.is_signed(), value.coefficient().unsigned_abs(), value.exponent())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn decimal(text: &str) -> Decimal128 {
        text.parse().unwrap()
    }

    #[test]
    fn extreme_values_cross_over_and_back_unchanged() {
        let texts = [
            "0",
            "-0",
            "0E+6111",
            "-0E-6176",
            "0E-6176",
            "1",
            "-1",
            "1E-6176",
            "-1E-6176",
            "9E-6170",
            "1E-6143",
            "9.999999999999999999999999999999999E-6143",
            "9.999999999999999999999999999999999E+6144",
            "-9.999999999999999999999999999999999E+6144",
            "1.000000000000000000000000000000000E+6144",
            "1234567890123456789012345678901234",
            "1.50",
            "1000000000000000000000000000000000",
            "1E+34",
            "NaN",
            "Infinity",
            "-Infinity",
        ];
        for text in texts {
            let value = decimal(text);
            assert_eq!(of_quad(quad(value)), value, "{text}");
            assert_eq!(value.to_string(), text);
            assert_eq!(parse(text).unwrap().0, value, "{text} read by decNumber");
        }
        // Every digit in every place, so that no declet is read in another's place.
        for seed in 0..2_000u32 {
            let coefficient = (1..=34u32).fold(0u128, |all, at| all * 10 + u128::from((seed * at + at * at) % 10));
            let power = (seed as i32 * 37) % 12_287 - 6_176;
            let value = number(seed % 2 == 1, coefficient, power);
            assert_eq!(of_quad(quad(value)), value, "{coefficient}E{power}");
        }
    }

    #[test]
    fn encodings_of_coefficients_beyond_the_largest_are_zeros() {
        let second_form = bytes(0b11 << 125 | 77 << 111 | 5);
        assert_eq!(parts(second_form), Parts::Finite { negative: false, coefficient: 0, power: 77 - 6176 });
        let too_large = bytes(SIGN | (6176u128 << 113) | (COEFFICIENT_MAX + 1));
        assert_eq!(parts(too_large), Parts::Finite { negative: true, coefficient: 0, power: 0 });
        assert_eq!(plus(too_large, decimal("1.5")), decimal("1.5"));
        assert_eq!(times(second_form, decimal("2")).to_string(), "0E-6099");
        // NaN with a payload and a sign, and signalling.
        for odd in [bytes(SIGN | 0b1_1111 << 122 | 99), bytes(0b11_1111 << 121)] {
            assert_eq!(parts(odd), Parts::NaN);
            assert_eq!(plus(odd, decimal("1")), nan());
        }
    }

    #[test]
    fn arithmetic_keeps_scales_and_rounds_halves_to_even() {
        type Work = fn(Decimal128, Decimal128) -> Decimal128;
        let table: &[(Work, &str, &str, &str)] = &[
            (plus, "1.10", "2.2", "3.30"),
            (plus, "0.1", "0.2", "0.3"),
            (plus, "9999999999999999999999999999999999", "0.5", "1.000000000000000000000000000000000E+34"),
            (plus, "1000000000000000000000000000000000", "0.5", "1000000000000000000000000000000000"),
            (plus, "9.999999999999999999999999999999999E+6144", "9E+6144", "Infinity"),
            (plus, "Infinity", "-Infinity", "NaN"),
            (minus, "-0", "0", "-0"),
            (minus, "1", "1.00", "0.00"),
            (times, "1.10", "2.0", "2.200"),
            (times, "1E-6176", "0.5", "0E-6176"),
            (times, "1E-6176", "1.5", "2E-6176"),
            (over, "1", "3", "0.3333333333333333333333333333333333"),
            (over, "1", "0", "Infinity"),
            (over, "0", "0", "NaN"),
            (remainder, "-7.5", "2", "-1.5"),
            (remainder, "7.5", "-2", "1.5"),
            (remainder, "1E+6111", "7", "6"),
            (remainder, "1", "1E+6111", "1"),
            (remainder, "12345678901234567890123456789012.34", "0.01", "0.00"),
            (remainder, "5", "Infinity", "5"),
            (remainder, "Infinity", "5", "NaN"),
            (remainder, "5", "0", "NaN"),
            (power, "2", "10", "1024"),
            (power, "2", "-1", "0.5"),
            (power, "10", "6145", "Infinity"),
            (logarithm, "8", "2", "3"),
        ];
        for (work, left, right, expected) in table {
            assert_eq!(work(decimal(left), decimal(right)).to_string(), *expected, "{left}, {right}");
        }
        assert_eq!(root(decimal("6.25")).to_string(), "2.5");
        assert_eq!(root(decimal("2")).to_string(), "1.414213562373095048801688724209698");
        assert_eq!(root(decimal("-1")).to_string(), "NaN");
        assert_eq!(exponential(decimal("1")).to_string(), "2.718281828459045235360287471352662");
        assert_eq!(exponential(decimal("1E+6000")).to_string(), "Infinity");
        assert_eq!(natural_logarithm(decimal("2")).to_string(), "0.6931471805599453094172321214581766");
        assert_eq!(common_logarithm(decimal("1E+6144")).to_string(), "6144");
    }

    #[test]
    fn places_are_kept_as_far_as_34_digits_reach() {
        let table = [
            ("2.5", 0, Rounding::HalfEven, "2"),
            ("-2.9", 0, Rounding::Down, "-2"),
            ("-2.1", 0, Rounding::Floor, "-3"),
            ("2.1", 0, Rounding::Ceiling, "3"),
            ("1.298", 100, Rounding::HalfEven, "1.298000000000000000000000000000000"),
            ("12345", -2, Rounding::HalfEven, "1.23E+4"),
            ("9.999", 2, Rounding::HalfEven, "10.00"),
            ("1E-6176", 0, Rounding::Ceiling, "1"),
            ("9999999999999999999999999999999999E-1", 0, Rounding::Ceiling, "1000000000000000000000000000000000"),
            ("Infinity", 0, Rounding::Floor, "Infinity"),
            ("NaN", 3, Rounding::Floor, "NaN"),
        ];
        for (value, places, rounding, expected) in table {
            assert_eq!(rounded(decimal(value), places, rounding).to_string(), expected, "{value} to {places}");
        }
    }

    #[test]
    fn doubles_give_fifteen_digits_and_get_the_nearest() {
        assert_eq!(of_double(0.1).to_string(), "0.100000000000000");
        assert_eq!(of_double(2.5).to_string(), "2.50000000000000");
        assert_eq!(of_double(-0.0).to_string(), "-0");
        assert_eq!(of_double_exactly(2.5).to_string(), "2.5");
        assert_eq!(of_double_exactly(1e22).to_string(), "10000000000000000000000");
        assert_eq!(of_double_exactly(0.1).to_string(), "0.1000000000000000055511151231257827");
        assert_eq!(to_double(decimal("0.1")), 0.1);
        assert_eq!(to_double(decimal("1E+400")), f64::INFINITY);
        assert_eq!(to_double(decimal("-1E-6000")).to_bits(), (-0.0f64).to_bits());
        for value in [f64::MIN_POSITIVE, 5e-324, f64::MAX, 1.0 / 3.0, -123456.789e-12] {
            assert_eq!(to_double(of_double_exactly(value)), value);
        }
    }

    #[test]
    fn text_is_a_number_or_not() {
        assert_eq!(parse("1.500").unwrap().0.to_string(), "1.500");
        assert_eq!(parse("-.5e3").unwrap().0.to_string(), "-5E+2");
        assert_eq!(parse("1E+7000").unwrap().1, Fit::TooLarge);
        assert_eq!(parse("1E-7000").unwrap().1, Fit::TooSmall);
        assert_eq!(parse("0E-7000").unwrap().1, Fit::Within);
        for wrong in ["", "-", ".", "e", "1e", " 1", "1 ", "0x1", "1,5", "sNaN", "NaN5", "1\0", "--1", "infinit"] {
            assert_eq!(parse(wrong), Err(NotANumber), "{wrong:?}");
        }
    }
}

//! Values as the text MongoDB prints for them where a string is wanted.
//!
//! In: one value. Out: its text, or `None` for what has none (documents, arrays, binaries, the lists of types that MongoDB
//! does not turn into text).

use bson::DateTime;
use bson::raw::RawBsonRef;

/// For the operators that take numbers and dates for text.
pub fn of(value: RawBsonRef<'_>) -> Option<String> {
    Some(match value {
        RawBsonRef::String(text) | RawBsonRef::Symbol(text) | RawBsonRef::JavaScriptCode(text) => text.to_owned(),
        RawBsonRef::Int32(value) => value.to_string(),
        RawBsonRef::Int64(value) => value.to_string(),
        RawBsonRef::Double(value) => of_double(value),
        RawBsonRef::Decimal128(value) => value.to_string(),
        RawBsonRef::DateTime(date) => of_date(date),
        RawBsonRef::Timestamp(stamp) => format!("Timestamp({}, {})", stamp.time, stamp.increment),
        _ => return None,
    })
}

/// `2024-02-29T13:14:15.167Z`; a date with a year of more than four digits as its milliseconds.
pub fn of_date(date: DateTime) -> String {
    let fits = jiff::Timestamp::from_millisecond(date.timestamp_millis()).ok().filter(|time| {
        let year = time.to_zoned(jiff::tz::TimeZone::UTC).year();
        (0..=9999).contains(&year)
    });
    fits.map_or_else(|| date.timestamp_millis().to_string(), |time| format!("{time:.3}"))
}

/// With up to 16 significant digits, as C's `%.16g` writes it: `3`, `0.3`, `1e+100`.
pub fn of_double(value: f64) -> String {
    const DIGITS: usize = 16;
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_owned();
    }
    let scientific = format!("{value:.*e}", DIGITS - 1);
    let (digits, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let trimmed = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    if (-4..DIGITS as i32).contains(&exponent) {
        let places = (DIGITS as i32 - 1 - exponent) as usize;
        return trimmed(&format!("{value:.places$}"));
    }
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("{}e{sign}{:02}", trimmed(digits), exponent.abs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_are_written_as_c_does() {
        let table = [
            (3.0, "3"),
            (-0.0, "-0"),
            (0.1 + 0.2, "0.3"),
            (2.5, "2.5"),
            (0.0001, "0.0001"),
            (0.00001, "1e-05"),
            (1e15, "1000000000000000"),
            (1e16, "1e+16"),
            (1e100, "1e+100"),
            (123456789.125, "123456789.125"),
            (1.0 / 3.0, "0.3333333333333333"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "-Infinity"),
        ];
        for (value, expected) in table {
            assert_eq!(of_double(value), expected);
        }
    }

    #[test]
    fn dates_are_written_with_milliseconds() {
        assert_eq!(of_date(DateTime::from_millis(1_709_212_455_167)), "2024-02-29T13:14:15.167Z");
        assert_eq!(of_date(DateTime::from_millis(-1)), "1969-12-31T23:59:59.999Z");
        assert_eq!(of_date(DateTime::from_millis(0)), "1970-01-01T00:00:00.000Z");
        assert_eq!(of_date(DateTime::from_millis(i64::MAX)), "9223372036854775807");
        assert_eq!(of_date(DateTime::from_millis(-99_999_999_999_999)), "-99999999999999");
    }
}

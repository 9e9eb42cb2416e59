//! Units of time, as steps along dates (`$densify`, ranges of windows) and as what a rate is counted in (`$derivative`).

use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{Span, Timestamp};

use crate::error::StoreError;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// All of the same length, in milliseconds.
    Fixed(i64),
    /// So many months, of whatever length.
    Months(i64),
}

impl Unit {
    pub fn parse(name: &str) -> Result<Self, StoreError> {
        Ok(match name {
            "millisecond" => Self::Fixed(1),
            "second" => Self::Fixed(1000),
            "minute" => Self::Fixed(60 * 1000),
            "hour" => Self::Fixed(60 * 60 * 1000),
            "day" => Self::Fixed(24 * 60 * 60 * 1000),
            "week" => Self::Fixed(7 * 24 * 60 * 60 * 1000),
            "month" => Self::Months(1),
            "quarter" => Self::Months(3),
            "year" => Self::Months(12),
            other => return Err(StoreError::caller(9, "FailedToParse", format!("unknown time unit value: {other}"))),
        })
    }

    /// `None` when there is no such date. The day of a month that is too short for it becomes its last.
    pub fn after(self, millis: i64, amount: i64) -> Option<i64> {
        match self {
            Self::Fixed(length) => millis.checked_add(length.checked_mul(amount)?),
            Self::Months(length) => {
                let at = Timestamp::from_millisecond(millis).ok()?.to_zoned(TimeZone::UTC).datetime();
                let date: Date =
                    at.date().checked_add(Span::new().try_months(length.checked_mul(amount)?).ok()?).ok()?;
                let moved = date.to_datetime(at.time()).to_zoned(TimeZone::UTC).ok()?;
                Some(moved.timestamp().as_millisecond())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_end_where_they_end() {
        let millis = |text: &str| text.parse::<Timestamp>().unwrap().as_millisecond();
        for (unit, from, amount, expected) in [
            ("month", "2020-01-31T10:00:00Z", 1, "2020-02-29T10:00:00Z"),
            ("month", "2020-03-31T00:00:00Z", -1, "2020-02-29T00:00:00Z"),
            ("quarter", "2020-11-30T00:00:00Z", 1, "2021-02-28T00:00:00Z"),
            ("year", "2020-02-29T00:00:00Z", 1, "2021-02-28T00:00:00Z"),
            ("week", "2020-02-28T00:00:00Z", 1, "2020-03-06T00:00:00Z"),
            ("hour", "1969-12-31T23:00:00Z", 2, "1970-01-01T01:00:00Z"),
        ] {
            assert_eq!(Unit::parse(unit).unwrap().after(millis(from), amount), Some(millis(expected)), "{unit} {from}");
        }
        assert_eq!(Unit::Fixed(1000).after(i64::MAX, 1), None);
        assert!(Unit::parse("fortnight").is_err());
    }
}

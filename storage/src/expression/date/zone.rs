//! Time zones: by their Olson names, from the database that is built in, and by their offsets from UTC.
//!
//! In: a name such as `Europe/Berlin` or `+05:30`. Out: what a wall clock there shows, and when it showed something.

use std::sync::LazyLock;

use bson::raw::RawBsonRef;
use jiff::Timestamp;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use super::calendar::{Date, HOUR, MINUTE, SECOND, Wall};
use crate::error::{StoreError, location};
use crate::expression::value::Value;

#[derive(Debug, Clone)]
pub enum Zone {
    Offset { millis: i64 },
    Named(TimeZone),
}

pub const UTC: Zone = Zone::Offset { millis: 0 };

impl Zone {
    /// Of the operand `timezone`: UTC when it was not given, `None` when it is nullish.
    pub fn of(value: Option<&Value<'_>>) -> Result<Option<Self>, StoreError> {
        let Some(value) = value else { return Ok(Some(UTC)) };
        match value.get() {
            Some(RawBsonRef::String(name)) => Self::parse(name)
                .map(Some)
                .ok_or_else(|| location!(40485, "unrecognized time zone identifier: \"{name}\"")),
            _ if value.is_nullish() => Ok(None),
            _ => Err(location!(40517, "timezone must evaluate to a string, found {}", value.type_name())),
        }
    }

    pub fn parse(name: &str) -> Option<Self> {
        /// The same zones on every machine, whatever it has installed.
        static ZONES: LazyLock<TimeZoneDatabase> = LazyLock::new(TimeZoneDatabase::bundled);
        if matches!(name, "UTC" | "GMT") {
            return Some(UTC);
        }
        if name.starts_with(['+', '-']) {
            return offset(name).map(|millis| Self::Offset { millis });
        }
        ZONES.get(name).ok().map(Self::Named)
    }

    pub fn is_utc(&self) -> bool {
        matches!(self, Self::Offset { millis: 0 })
    }

    /// By how many milliseconds its clocks are ahead of UTC at some moment.
    pub fn offset(&self, utc: i64) -> Result<i64, StoreError> {
        match self {
            Self::Offset { millis } => Ok(*millis),
            Self::Named(zone) => {
                let moment = Timestamp::from_millisecond(utc).map_err(|_| unknown_there())?;
                Ok(i64::from(zone.to_offset(moment).seconds()) * SECOND)
            }
        }
    }

    /// What its clocks show at some moment.
    pub fn wall(&self, utc: i64) -> Result<Wall, StoreError> {
        let millis = utc.checked_add(self.offset(utc)?).ok_or_else(overflow)?;
        Ok(Wall { millis })
    }

    /// When its clocks showed something: the first time when they did twice, and as if they had not been put forward where
    /// they never did.
    pub fn utc(&self, wall: Wall) -> Result<i64, StoreError> {
        match self {
            Self::Offset { millis } => wall.millis.checked_sub(*millis).ok_or_else(overflow),
            Self::Named(zone) => {
                let Date { year, month, day } = wall.date();
                let year = i16::try_from(year).map_err(|_| unknown_there())?;
                let civil = jiff::civil::DateTime::new(
                    year,
                    month as i8,
                    day as i8,
                    wall.hour() as i8,
                    wall.minute() as i8,
                    wall.second() as i8,
                    wall.millisecond() as i32 * 1_000_000,
                );
                let moment = civil.and_then(|civil| zone.to_ambiguous_timestamp(civil).compatible());
                moment.map(|moment| moment.as_millisecond()).map_err(|_| unknown_there())
            }
        }
    }
}

/// `+hh`, `+hhmm` or `+hh:mm`.
pub fn offset(text: &str) -> Option<i64> {
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = text.get(1..)?;
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    let number = |part: &str| match part.len() == 2 && part.bytes().all(|byte| byte.is_ascii_digit()) {
        true => part.parse::<i64>().ok(),
        false => None,
    };
    Some(sign * (number(hours)? * HOUR + number(minutes)? * MINUTE))
}

fn unknown_there() -> StoreError {
    StoreError::caller(15, "Overflow", "the date is outside the years -9999 to 9999, in which time zones are known")
}

pub fn overflow() -> StoreError {
    StoreError::caller(15, "Overflow", "the date is outside of those that can be stored")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_offsets_are_zones() {
        assert_eq!(Zone::parse("+05:30").unwrap().offset(0).unwrap(), 5 * HOUR + 30 * MINUTE);
        assert_eq!(Zone::parse("-0330").unwrap().offset(0).unwrap(), -(3 * HOUR + 30 * MINUTE));
        assert_eq!(Zone::parse("+01").unwrap().offset(0).unwrap(), HOUR);
        assert_eq!(Zone::parse("Europe/Berlin").unwrap().offset(1_719_835_200_000).unwrap(), 2 * HOUR);
        assert!(Zone::parse("GMT").unwrap().is_utc());
        for wrong in ["", "+1", "+1:30", "+aa", "+0a:00", "+01:3é", "Mars/Base", "+010"] {
            assert!(Zone::parse(wrong).is_none(), "{wrong}");
        }
    }

    #[test]
    fn clocks_that_jump_are_followed() {
        let new_york = Zone::parse("America/New_York").unwrap();
        // 2024-03-10 02:30 was left out; 2024-11-03 01:30 came twice.
        let gap = Wall { millis: super::super::calendar::days_from(2024, 3, 10) * 24 * HOUR + 150 * MINUTE };
        assert_eq!(new_york.utc(gap).unwrap(), gap.millis + 5 * HOUR);
        let fold = Wall { millis: super::super::calendar::days_from(2024, 11, 3) * 24 * HOUR + 90 * MINUTE };
        assert_eq!(new_york.utc(fold).unwrap(), fold.millis + 4 * HOUR);
    }

    #[test]
    fn what_lies_beyond_the_known_years_is_an_error() {
        let berlin = Zone::parse("Europe/Berlin").unwrap();
        for millis in [i64::MIN, i64::MAX, 400_000_000_000_000, -400_000_000_000_000] {
            assert!(berlin.wall(millis).is_err());
            assert!(berlin.utc(Wall { millis }).is_err());
            assert_eq!(UTC.wall(millis).unwrap().millis, millis);
        }
        assert!(Zone::parse("+01").unwrap().wall(i64::MAX).is_err());
    }
}

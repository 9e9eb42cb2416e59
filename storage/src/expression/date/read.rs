//! `$dateFromString`: dates from text, by a format or in the forms people write them in.
//!
//! Without a format: ISO 8601 in its extended and basic forms (by month, by week, by day of the year), dates with slashes,
//! English month names, each with or without a time and a zone. What leaves a part of the date open, or names a day that
//! is not in the calendar, is an error.

use bson::DateTime;

use super::calendar::{DAY, HOUR, MINUTE, SECOND, Wall, days_from, days_from_week, days_in_month};
use super::forms::{Text, milliseconds, usual};
use super::write::{Piece, pieces};
use super::zone::Zone;
use crate::error::{StoreError, code, location};
use crate::expression::math::shown;
use crate::expression::operator::{Operands, Operator, at};
use crate::expression::value::Value;

pub const OPERATORS: &[Operator] = &[Operator {
    name: "$dateFromString",
    operands: Operands::Named {
        expected: code!(40540),
        unknown: code!(40541),
        required: &[("dateString", code!(40542))],
        optional: &["format", "timezone", "onError", "onNull"],
        alone: false,
    },
    apply: from_string,
}];

fn from_string<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let (on_error, on_null) = (values.get_mut(3).and_then(Option::take), values.get_mut(4).and_then(Option::take));
    let (text, format) = (at(values, 0), values.get(1).and_then(Option::as_ref));
    let given = match format.filter(|format| !format.is_nullish()) {
        None => None,
        Some(format) => match format.as_str() {
            Some(format) => Some(pieces(format, "dGHjLmMSuVYzZbB")?),
            None => {
                let found = format.type_name();
                return Err(location!(40684, "$dateFromString requires that 'format' be a string, found: {found}"));
            }
        },
    };
    let zone = Zone::of(values.get(2).and_then(Option::as_ref))?;
    if text.is_nullish() {
        return Ok(on_null.unwrap_or(Value::NULL));
    }
    let Some(zone) = zone else { return Ok(Value::NULL) };
    let read = match (text.as_str(), given, format) {
        (None, ..) => Err(failure(format!(
            "$dateFromString requires that 'dateString' be a string, found: {} with value {}",
            text.type_name(),
            shown(text)
        ))),
        (Some(_), None, Some(_)) => return Ok(Value::NULL),
        (Some(text), None, None) => read(text, &zone),
        (Some(text), Some(pieces), _) => by_format(text, &pieces)
            .and_then(|found| found.moment(&zone))
            .map_err(|why| failure(format!("Error parsing date string '{text}'; {why}"))),
    };
    match (read, on_error) {
        (Ok(millis), _) => Ok(DateTime::from_millis(millis).into()),
        (Err(error), Some(instead)) if error.code == CONVERSION_FAILURE => Ok(instead),
        (Err(error), _) => Err(error),
    }
}

const CONVERSION_FAILURE: i32 = 241;

fn failure(text: String) -> StoreError {
    StoreError::caller(CONVERSION_FAILURE, "ConversionFailure", text)
}

/// A date in one of the usual forms; in `zone` where the text names none.
pub fn read(text: &str, zone: &Zone) -> Result<i64, StoreError> {
    usual(text)
        .and_then(|found| found.moment(zone))
        .map_err(|why| failure(format!("Error parsing date string '{text}'; {why}")))
}

pub type Why = &'static str;

pub const UNEXPECTED: Why = "unexpected character";
pub const INCOMPLETE: Why = "an incomplete date/time string has been found, with elements missing";
const NOT_A_DAY: Why = "the parsed date was invalid";
pub const NOT_A_TIME: Why = "the parsed time was invalid";

/// What was read so far.
#[derive(Debug, Default)]
pub struct Found {
    pub year: Option<i64>,
    pub month: Option<i64>,
    pub day: Option<i64>,
    pub day_of_year: Option<i64>,
    pub week_year: Option<i64>,
    pub week: Option<i64>,
    pub weekday: Option<i64>,
    pub hour: Option<i64>,
    pub minute: Option<i64>,
    pub second: Option<i64>,
    pub millisecond: Option<i64>,
    pub zone: Option<Zone>,
}

impl Found {
    fn moment(&self, zone: &Zone) -> Result<i64, Why> {
        let days = match self {
            Self { year: Some(year), month: Some(month), day: Some(day), .. } => {
                if !(1..=12).contains(month) || !(1..=days_in_month(*year, *month)).contains(day) {
                    return Err(NOT_A_DAY);
                }
                days_from(*year, *month, *day)
            }
            Self { year: Some(year), day_of_year: Some(day), month: None, day: None, .. } => {
                let length = days_from(*year + 1, 1, 1) - days_from(*year, 1, 1);
                if !(1..=length).contains(day) {
                    return Err(NOT_A_DAY);
                }
                days_from(*year, 1, *day)
            }
            Self { week_year: Some(year), week: Some(week), year: None, month: None, day: None, .. } => {
                let day = self.weekday.unwrap_or(1);
                if !(1..=53).contains(week) || !(1..=7).contains(&day) {
                    return Err(NOT_A_DAY);
                }
                days_from_week(*year, *week, day)
            }
            _ => return Err(INCOMPLETE),
        };
        let part = |part: Option<i64>, most: i64| match part.unwrap_or(0) {
            part if (0..=most).contains(&part) => Ok(part),
            _ => Err(NOT_A_TIME),
        };
        // Midnight may be told as the end of a day, and a minute may have a leap second.
        let (hour, minute, second) = (part(self.hour, 24)?, part(self.minute, 59)?, part(self.second, 60)?);
        if hour == 24 && (minute, second, self.millisecond.unwrap_or(0)) != (0, 0, 0) {
            return Err(NOT_A_TIME);
        }
        let time = hour * HOUR + minute * MINUTE + second * SECOND + self.millisecond.unwrap_or(0);
        let wall = Wall { millis: days * DAY + time };
        match &self.zone {
            None => zone.utc(wall),
            Some(own) if zone.is_utc() => own.utc(wall),
            Some(_) => return Err("you cannot pass in a date/time string with time zone information together with a timezone argument"),
        }
        .map_err(|_| "it is outside the years in which time zones are known")
    }
}

fn by_format(text: &str, pieces: &[Piece]) -> Result<Found, Why> {
    let mut rest = Text(text);
    let mut found = Found::default();
    for piece in pieces {
        let letter = match piece {
            Piece::Literal(literal) => {
                if !rest.eat(*literal) {
                    return Err("a literal of the format could not be found");
                }
                continue;
            }
            Piece::Part(letter) => *letter,
        };
        match letter {
            'd' => found.day = Some(rest.number(1, 2)?),
            'G' => found.week_year = Some(rest.number(4, 4)?),
            'H' => found.hour = Some(rest.number(1, 2)?),
            'j' => found.day_of_year = Some(rest.number(1, 3)?),
            'L' => found.millisecond = Some(milliseconds(&mut rest)?),
            'm' => found.month = Some(rest.number(1, 2)?),
            'M' => found.minute = Some(rest.number(1, 2)?),
            'S' => found.second = Some(rest.number(1, 2)?),
            'u' => found.weekday = Some(rest.number(1, 1)?),
            'V' => found.week = Some(rest.number(1, 2)?),
            'Y' => found.year = Some(rest.number(4, 4)?),
            'b' | 'B' => found.month = Some(rest.month()?),
            'z' => found.zone = Some(rest.zone()?),
            _ => {
                let behind = match (rest.eat('+'), rest.eat('-')) {
                    (_, true) => -1,
                    (true, false) => 1,
                    (false, false) => return Err(UNEXPECTED),
                };
                found.zone = Some(Zone::Offset { millis: behind * rest.number(1, 4)? * MINUTE });
            }
        }
    }
    if rest.is_at_end() { Ok(found) } else { Err("trailing data") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::expression::date::UTC;
    use crate::value::text;

    #[test]
    fn dates_are_read_in_the_usual_forms() {
        let table = [
            ("2017-07-04T11:56:02Z", "2017-07-04T11:56:02.000Z"),
            ("2017-07-04t11:56:02.8142z", "2017-07-04T11:56:02.814Z"),
            ("2017-07-04 11:56", "2017-07-04T11:56:00.000Z"),
            ("2017-07-04T11:56:02.1+0200", "2017-07-04T09:56:02.100Z"),
            ("2017-07-04 11:56:02 -04", "2017-07-04T15:56:02.000Z"),
            ("2017-07-04T11:56:02 America/New_York", "2017-07-04T15:56:02.000Z"),
            ("20170704T115602Z", "2017-07-04T11:56:02.000Z"),
            ("20170704", "2017-07-04T00:00:00.000Z"),
            ("2017-07", "2017-07-01T00:00:00.000Z"),
            ("2017/7/4", "2017-07-04T00:00:00.000Z"),
            ("7/4/2017 5:30 pm", "2017-07-04T17:30:00.000Z"),
            ("July 4, 2017", "2017-07-04T00:00:00.000Z"),
            ("4 July 2017 12:05 EDT", "2017-07-04T16:05:00.000Z"),
            ("Tue, 04 Jul 2017 11:06:02 -0400", "2017-07-04T15:06:02.000Z"),
            ("Tue Jul  4 11:06:02 2017", "2017-07-04T11:06:02.000Z"),
            ("04.07.2017", "2017-07-04T00:00:00.000Z"),
            ("2017-W27-2", "2017-07-04T00:00:00.000Z"),
            ("2017W272", "2017-07-04T00:00:00.000Z"),
            ("2017-185", "2017-07-04T00:00:00.000Z"),
            ("2017-07-04T24:00:00", "2017-07-05T00:00:00.000Z"),
        ];
        for (given, expected) in table {
            let millis = read(given, &UTC).unwrap_or_else(|error| panic!("{given}: {error}"));
            assert_eq!(text::of_date(DateTime::from_millis(millis)), expected, "{given}");
        }
    }

    #[test]
    fn what_is_no_whole_date_is_refused() {
        let wrong = [
            "",
            " ",
            "nonsense",
            "12:00",
            "2017",
            "2017-13-01",
            "2017-02-29",
            "2017-07-04T25:00",
            "2017-07-04T10:60",
            "2017-07-04T",
            "2017-07-04X",
            "2017-07-04 10:00 Mars/Base",
            "July 2017",
            "tomorrow",
            "4 July",
            "99999999999999999999",
            "2017-07-04T10:00:00+",
            "é",
            "7/4",
            "2017-07-04é",
        ];
        for text in wrong {
            assert_eq!(read(text, &UTC).expect_err(text).code, CONVERSION_FAILURE, "{text}");
        }
    }

    #[test]
    fn formats_are_followed_to_the_letter() {
        let read = |text: &str, format: &str| {
            let pieces = pieces(format, "dGHjLmMSuVYzZbB").unwrap();
            by_format(text, &pieces)
                .and_then(|found| found.moment(&UTC))
                .map(|millis| text::of_date(DateTime::from_millis(millis)))
        };
        assert_eq!(read("4/7/2017", "%d/%m/%Y").unwrap(), "2017-07-04T00:00:00.000Z");
        assert_eq!(read("2017 27 2", "%G %V %u").unwrap(), "2017-07-04T00:00:00.000Z");
        assert_eq!(read("2017 185 1.5", "%Y %j %H.%L").unwrap(), "2017-07-04T01:00:00.500Z");
        assert_eq!(read("Jul 4 2017 -300", "%b %d %Y %Z").unwrap(), "2017-07-04T05:00:00.000Z");
        for (text, format) in
            [("2017-07", "%Y-%m"), ("2017-07-04x", "%Y-%m-%d"), ("17-07-04", "%Y-%m-%d"), ("2017-02-30", "%Y-%m-%d")]
        {
            assert!(read(text, format).is_err(), "{text} by {format}");
        }
    }
}

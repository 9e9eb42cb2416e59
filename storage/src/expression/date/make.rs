//! `$dateFromParts`: a date of calendar parts, or of parts of ISO weeks. Parts may lie outside their range and carry over.

use bson::DateTime;

use super::calendar::{DAY, HOUR, MINUTE, SECOND, Wall, days_from, days_from_week};
use super::zone::{Zone, overflow};
use crate::error::{Code, StoreError, code, location};
use crate::expression::math::shown;
use crate::expression::operator::{Operands, Operator};
use crate::expression::value::Value;
use crate::value::number::Number;

pub const OPERATORS: &[Operator] = &[Operator {
    name: "$dateFromParts",
    operands: Operands::Named {
        expected: code!(40519),
        unknown: code!(40518),
        required: &[],
        optional: NAMES,
        alone: false,
    },
    apply: from_parts,
}];

const NAMES: &[&str] = &[
    "year",
    "month",
    "day",
    "hour",
    "minute",
    "second",
    "millisecond",
    "isoWeekYear",
    "isoWeek",
    "isoDayOfWeek",
    "timezone",
];

fn from_parts<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let given = |name: &str| {
        let place = NAMES.iter().position(|known| *known == name)?;
        values.get(place)?.as_ref()
    };
    let by_calendar = ["year", "month", "day"].into_iter().any(|name| given(name).is_some());
    let by_week = ["isoWeekYear", "isoWeek", "isoDayOfWeek"].into_iter().any(|name| given(name).is_some());
    match (given("year"), given("isoWeekYear")) {
        (None, None) => {
            return Err(location!(40516, "$dateFromParts requires either 'year' or 'isoWeekYear' to be present"));
        }
        (Some(_), _) if by_week => {
            return Err(location!(40489, "$dateFromParts does not allow mixing natural dates with ISO dates"));
        }
        (_, Some(_)) if by_calendar => {
            return Err(location!(40525, "$dateFromParts does not allow mixing ISO dates with natural dates"));
        }
        _ => {}
    }
    // A part that was not given, a whole number, or nothing.
    let part = |name: &str, otherwise: i64, least: i64, greatest: i64, beyond: Code| {
        let Some(value) = given(name) else { return Ok(Some(otherwise)) };
        if value.is_nullish() {
            return Ok(None);
        }
        let Some(whole) = value.number().and_then(Number::whole) else {
            let (kind, found) = (value.type_name(), shown(value));
            return Err(location!(40515, "'{name}' must evaluate to an integer, found {kind} with value {found}"));
        };
        if !(least..=greatest).contains(&whole) {
            let text = format!("'{name}' must evaluate to a value in the range [{least}, {greatest}]; value {whole}");
            return Err(StoreError::coded(beyond, text));
        }
        Ok(Some(whole))
    };
    const SHORT: i64 = i16::MAX as i64;
    // Far beyond any date, and far from overflowing on the way to it.
    const LONG: i64 = i64::MAX / 8 / SECOND;
    let small = |name: &str, otherwise: i64| part(name, otherwise, -SHORT - 1, SHORT, code!(31034));
    let large = |name: &str| part(name, 0, -LONG, LONG, code!(31034));
    let day = if by_week {
        let year = part("isoWeekYear", 1970, 1, 9999, code!(31095))?;
        let (week, day) = (small("isoWeek", 1)?, small("isoDayOfWeek", 1)?);
        year.zip(week).zip(day).map(|((year, week), day)| days_from_week(year, week, day))
    } else {
        let year = part("year", 1970, 1, 9999, code!(40523))?;
        let (month, day) = (small("month", 1)?, small("day", 1)?);
        year.zip(month).zip(day).map(|((year, month), day)| days_from(year, month, day))
    };
    let (hour, minute) = (small("hour", 0)?, small("minute", 0)?);
    let (second, millisecond) = (large("second")?, large("millisecond")?);
    let zone = Zone::of(given("timezone"))?;
    let (Some(day), Some(hour), Some(minute), Some(second), Some(millisecond), Some(zone)) =
        (day, hour, minute, second, millisecond, zone)
    else {
        return Ok(Value::NULL);
    };
    let time = hour * HOUR + minute * MINUTE + second * SECOND;
    let millis = (day * DAY + time).checked_add(millisecond).ok_or_else(overflow)?;
    Ok(DateTime::from_millis(zone.utc(Wall { millis })?).into())
}

//! The parts of a date, one by one and together, and those of timestamps.

use bson::raw::{RawBsonRef, RawDocumentBuf, cstr};

use super::calendar::{Date, Wall, Week};
use super::needed;
use super::zone::Zone;
use crate::error::{Code, StoreError, code, location};
use crate::expression::math::ONE;
use crate::expression::operator::{Operands, Operator, at};
use crate::expression::value::Value;

const DATE: Operands = Operands::Named {
    expected: code!(40536),
    unknown: code!(40535),
    required: &[("date", code!(40539))],
    optional: &["timezone"],
    alone: true,
};

macro_rules! parts {
    ($($name:literal $part:expr;)+) => {
        &[
            $(Operator {
                name: $name,
                operands: DATE,
                apply: |_, values| {
                    let part: fn(Wall) -> i64 = $part;
                    // All but the year of a far date are small, and that one wraps in MongoDB too.
                    Ok(wall(values)?.map_or(Value::NULL, |wall| (part(wall) as i32).into()))
                },
            },)+
            Operator { name: "$isoWeekYear", operands: DATE, apply: iso_week_year },
            Operator { name: "$dateToParts", operands: TO_PARTS, apply: to_parts },
            Operator { name: "$tsSecond", operands: ONE, apply: |operator, values| stamp(operator, values, code!(5687301)) },
            Operator {
                name: "$tsIncrement",
                operands: ONE,
                apply: |operator, values| stamp(operator, values, code!(5687302)),
            },
        ]
    };
}

pub const OPERATORS: &[Operator] = parts! {
    "$year" |wall| wall.date().year;
    "$month" |wall| wall.date().month;
    "$dayOfMonth" |wall| wall.date().day;
    "$dayOfYear" |wall| wall.day_of_year();
    "$dayOfWeek" |wall| wall.weekday() + 1;
    "$week" |wall| wall.sunday_week();
    "$isoWeek" |wall| wall.week().week;
    "$isoDayOfWeek" |wall| wall.week().day;
    "$hour" |wall| wall.hour();
    "$minute" |wall| wall.minute();
    "$second" |wall| wall.second();
    "$millisecond" |wall| wall.millisecond();
};

const TO_PARTS: Operands = Operands::Named {
    expected: code!(40524),
    unknown: code!(40520),
    required: &[("date", code!(40522))],
    optional: &["timezone", "iso8601"],
    alone: false,
};

/// What the clocks of the zone show at the date; `None` when either is nullish.
fn wall(values: &[Option<Value<'_>>]) -> Result<Option<Wall>, StoreError> {
    let date = at(values, 0);
    let Some(zone) = Zone::of(values.get(1).and_then(Option::as_ref))? else { return Ok(None) };
    if date.is_nullish() {
        return Ok(None);
    }
    zone.wall(needed(date)?).map(Some)
}

fn iso_week_year<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    // The one part that is a long.
    Ok(wall(values)?.map_or(Value::NULL, |wall| wall.week().year.into()))
}

fn to_parts<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let by_week = match values.get(2).and_then(Option::as_ref) {
        None => false,
        Some(value) => match value.get() {
            Some(RawBsonRef::Boolean(by_week)) => by_week,
            _ if value.is_nullish() => return Ok(Value::NULL),
            _ => return Err(location!(40521, "iso8601 must evaluate to a bool, found {}", value.type_name())),
        },
    };
    let Some(wall) = wall(values)? else { return Ok(Value::NULL) };
    let mut parts = RawDocumentBuf::new();
    if by_week {
        let Week { year, week, day } = wall.week();
        parts.append(cstr!("isoWeekYear"), year as i32);
        parts.append(cstr!("isoWeek"), week as i32);
        parts.append(cstr!("isoDayOfWeek"), day as i32);
    } else {
        let Date { year, month, day } = wall.date();
        parts.append(cstr!("year"), year as i32);
        parts.append(cstr!("month"), month as i32);
        parts.append(cstr!("day"), day as i32);
    }
    parts.append(cstr!("hour"), wall.hour() as i32);
    parts.append(cstr!("minute"), wall.minute() as i32);
    parts.append(cstr!("second"), wall.second() as i32);
    parts.append(cstr!("millisecond"), wall.millisecond() as i32);
    Ok(parts.into())
}

fn stamp<'a>(operator: &Operator, values: &[Option<Value<'a>>], wrong: Code) -> Result<Value<'a>, StoreError> {
    let value = at(values, 0);
    match value.get() {
        Some(RawBsonRef::Timestamp(stamp)) => {
            let part = if operator.name == "$tsSecond" { stamp.time } else { stamp.increment };
            Ok(i64::from(part).into())
        }
        _ if value.is_nullish() => Ok(Value::NULL),
        _ => {
            let text = format!("Argument to {} must be a timestamp, but is {}", operator.name, value.type_name());
            Err(StoreError::coded(wrong, text))
        }
    }
}

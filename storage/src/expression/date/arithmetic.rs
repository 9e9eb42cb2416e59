//! `$dateAdd`, `$dateSubtract`, `$dateDiff` and `$dateTrunc`.
//!
//! Units of a day and more follow the calendar and the clocks of the zone: a day later is the same time of day, also where
//! the clocks were moved in between. Units of an hour and less are lengths of time.

use bson::DateTime;

use super::calendar::{DAY, Date, HOUR, MINUTE, SECOND, Wall, days_from, days_in_month};
use super::moment;
use super::zone::Zone;
use crate::error::{Code, StoreError, code, location};
use crate::expression::math::shown;
use crate::expression::operator::{Operands, Operator, at};
use crate::expression::value::Value;
use crate::value::number::Number;

const MOVE: Operands = Operands::Named {
    expected: code!(5166400),
    unknown: code!(5166401),
    required: &[("startDate", code!(5166402)), ("unit", code!(5166402)), ("amount", code!(5166402))],
    optional: &["timezone"],
    alone: false,
};

pub const OPERATORS: &[Operator] = &[
    Operator { name: "$dateAdd", operands: MOVE, apply: |operator, values| shift(operator, values, 1) },
    Operator { name: "$dateSubtract", operands: MOVE, apply: |operator, values| shift(operator, values, -1) },
    Operator {
        name: "$dateDiff",
        operands: Operands::Named {
            expected: code!(5166301),
            unknown: code!(5166302),
            required: &[("startDate", code!(5166303)), ("endDate", code!(5166304)), ("unit", code!(5166305))],
            optional: &["timezone", "startOfWeek"],
            alone: false,
        },
        apply: difference,
    },
    Operator {
        name: "$dateTrunc",
        operands: Operands::Named {
            expected: code!(5439007),
            unknown: code!(5439008),
            required: &[("date", code!(5439009)), ("unit", code!(5439010))],
            optional: &["binSize", "timezone", "startOfWeek"],
            alone: false,
        },
        apply: truncate,
    },
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Year,
    Quarter,
    Month,
    Week,
    Day,
    /// An hour or less, by its milliseconds.
    Span(i64),
}

impl Unit {
    /// `wrong`: when it is no string.
    fn of(operator: &str, value: &Value<'_>, wrong: Code) -> Result<Self, StoreError> {
        let Some(name) = value.as_str() else {
            let text = format!("{operator} requires 'unit' to be a string, but got {}", value.type_name());
            return Err(StoreError::coded(wrong, text));
        };
        Ok(match name {
            "year" => Self::Year,
            "quarter" => Self::Quarter,
            "month" => Self::Month,
            "week" => Self::Week,
            "day" => Self::Day,
            "hour" => Self::Span(HOUR),
            "minute" => Self::Span(MINUTE),
            "second" => Self::Span(SECOND),
            "millisecond" => Self::Span(1),
            _ => return Err(StoreError::caller(9, "FailedToParse", format!("unknown time unit value: {name}"))),
        })
    }
}

fn date_in(operator: &str, name: &str, value: &Value<'_>, wrong: Code) -> Result<i64, StoreError> {
    moment(value).ok_or_else(|| {
        let text = format!("{operator} requires '{name}' to be a date, but got {}", value.type_name());
        StoreError::coded(wrong, text)
    })
}

/// From 0, a Sunday, which is also the default; `None` when it is nullish.
fn start_of_week(operator: &str, value: Option<&Value<'_>>) -> Result<Option<i64>, StoreError> {
    const DAYS: [&str; 7] = ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"];
    let Some(value) = value else { return Ok(Some(0)) };
    if value.is_nullish() {
        return Ok(None);
    }
    let Some(name) = value.as_str() else {
        let found = value.type_name();
        return Err(location!(5439015, "{operator} requires 'startOfWeek' to be a string, but got {found}"));
    };
    let day = DAYS
        .iter()
        .position(|day| name.eq_ignore_ascii_case(day) || (name.len() == 3 && name.eq_ignore_ascii_case(&day[..3])));
    day.map(|day| Some(day as i64)).ok_or_else(|| {
        location!(5439016, "{operator} parameter 'startOfWeek' value cannot be recognized as a day of a week: {name}")
    })
}

fn shift<'a>(operator: &Operator, values: &[Option<Value<'a>>], sign: i64) -> Result<Value<'a>, StoreError> {
    let name = operator.name;
    let (start, unit, amount) = (at(values, 0), at(values, 1), at(values, 2));
    if start.is_nullish() || unit.is_nullish() || amount.is_nullish() {
        return Ok(Value::NULL);
    }
    let unit = Unit::of(name, unit, code!(5166404))?;
    let Some(by) = amount.number().and_then(Number::whole) else {
        let found = shown(amount);
        return Err(location!(5166405, "{name} expects integer amount of time units, found {found}"));
    };
    let start = date_in(name, "startDate", start, code!(5166403))?;
    let Some(zone) = Zone::of(values.get(3).and_then(Option::as_ref))? else { return Ok(Value::NULL) };
    let beyond = || location!(5166406, "invalid {name} 'amount' parameter value: {by}: the date would be out of range");
    let by = by.checked_mul(sign).ok_or_else(beyond)?;
    let moved = moved(start, unit, by, &zone)?.ok_or_else(beyond)?;
    Ok(DateTime::from_millis(moved).into())
}

/// `None`: beyond all dates.
fn moved(start: i64, unit: Unit, by: i64, zone: &Zone) -> Result<Option<i64>, StoreError> {
    let months = |per: i64| by.checked_mul(per);
    let days = |per: i64| by.checked_mul(per).and_then(|days| days.checked_mul(DAY));
    let wall = match unit {
        Unit::Span(span) => return Ok(by.checked_mul(span).and_then(|span| start.checked_add(span))),
        Unit::Day | Unit::Week => {
            let wall = zone.wall(start)?;
            let span = days(if unit == Unit::Week { 7 } else { 1 });
            span.and_then(|span| wall.millis.checked_add(span)).map(|millis| Wall { millis })
        }
        Unit::Month => months(1).map_or(Ok(None), |months| by_months(start, months, zone))?,
        Unit::Quarter => months(3).map_or(Ok(None), |months| by_months(start, months, zone))?,
        Unit::Year => months(12).map_or(Ok(None), |months| by_months(start, months, zone))?,
    };
    wall.map(|wall| zone.utc(wall)).transpose()
}

/// The same day some months on, or the last of that month when it has no such day.
fn by_months(start: i64, months: i64, zone: &Zone) -> Result<Option<Wall>, StoreError> {
    /// More than there are between any two dates.
    const MONTHS_MAX: i64 = 12 * 600_000_000;
    let wall = zone.wall(start)?;
    if months.abs() > MONTHS_MAX {
        return Ok(None);
    }
    let Date { year, month, day } = wall.date();
    let month = month + months;
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    let days = days_from(year, month, day.min(days_in_month(year, month)));
    Ok(days.checked_mul(DAY).and_then(|millis| millis.checked_add(wall.time_of_day())).map(|millis| Wall { millis }))
}

fn difference<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let name = operator.name;
    let (start, end, unit) = (at(values, 0), at(values, 1), at(values, 2));
    if start.is_nullish() || end.is_nullish() || unit.is_nullish() {
        return Ok(Value::NULL);
    }
    let unit = Unit::of(name, unit, code!(5439013))?;
    let start = date_in(name, "startDate", start, code!(5166307))?;
    let end = date_in(name, "endDate", end, code!(5166307))?;
    let Some(zone) = Zone::of(values.get(3).and_then(Option::as_ref))? else { return Ok(Value::NULL) };
    let week = values.get(4).and_then(Option::as_ref).filter(|_| unit == Unit::Week);
    let Some(first_day) = start_of_week(name, week)? else { return Ok(Value::NULL) };
    let (from, to) = (zone.wall(start)?, zone.wall(end)?);
    let count = |wall: Wall| {
        let Date { year, month, .. } = wall.date();
        match unit {
            Unit::Year => year,
            Unit::Quarter => year * 4 + (month - 1) / 3,
            Unit::Month => year * 12 + month,
            // The first of January 1970 was a Thursday.
            Unit::Week => (wall.days() + 4 - first_day).div_euclid(7),
            Unit::Day => wall.days(),
            Unit::Span(span) => wall.millis.div_euclid(span),
        }
    };
    let mut difference = count(to).checked_sub(count(from));
    if let Unit::Span(span) = unit {
        // What the clocks were moved in between is no time that went by.
        let moved = (zone.offset(end)? - zone.offset(start)?) / span;
        difference = difference.and_then(|difference| difference.checked_sub(moved));
    }
    difference.map(Value::from).ok_or_else(|| {
        location!(5166308, "{name} overflowed: the dates are more milliseconds apart than a long counts")
    })
}

fn truncate<'a>(operator: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let name = operator.name;
    let (date, unit) = (at(values, 0), at(values, 1));
    let size = values.get(2).and_then(Option::as_ref);
    if date.is_nullish() || unit.is_nullish() || size.is_some_and(Value::is_nullish) {
        return Ok(Value::NULL);
    }
    let date = date_in(name, "date", date, code!(5439012))?;
    let unit = Unit::of(name, unit, code!(5439013))?;
    let size = match size {
        None => 1,
        Some(size) => {
            let Some(whole) = size.number().and_then(Number::whole) else {
                let found = shown(size);
                return Err(location!(5439017, "{name} requires 'binSize' to be a 64-bit integer, but got {found}"));
            };
            if whole <= 0 {
                return Err(location!(5439018, "{name} requires 'binSize' to be greater than 0, but got {whole}"));
            }
            whole
        }
    };
    let Some(zone) = Zone::of(values.get(3).and_then(Option::as_ref))? else { return Ok(Value::NULL) };
    let week = values.get(4).and_then(Option::as_ref).filter(|_| unit == Unit::Week);
    let Some(first_day) = start_of_week(name, week)? else { return Ok(Value::NULL) };
    let start = bin(date, unit, size, first_day, &zone)?;
    let start = start.ok_or_else(|| location!(5439019, "{name}: a bin of {size} units reaches beyond all dates"))?;
    Ok(DateTime::from_millis(start).into())
}

/// When the bin began that a moment lies in; bins are counted from the beginning of the year 2000.
fn bin(date: i64, unit: Unit, size: i64, first_day: i64, zone: &Zone) -> Result<Option<i64>, StoreError> {
    const YEAR: i64 = 2000;
    let wall = zone.wall(date)?;
    let reference = days_from(YEAR, 1, 1);
    let Date { year, month, .. } = wall.date();
    // The number of the first unit in the bin.
    let floor = |number: i64, size: i64| number.div_euclid(size).checked_mul(size);
    let months = |per: i64| {
        let size = size.checked_mul(per)?;
        let months = floor((year - YEAR) * 12 + month - 1, size)?;
        // Months beyond all dates must not overflow on the way.
        (months.abs() < i64::MAX / 64).then(|| days_from(YEAR, 1 + months, 1))
    };
    let days = match unit {
        Unit::Span(span) => {
            let elapsed = wall.millis.checked_sub(reference * DAY);
            let size = size.checked_mul(span);
            // The bin began that much earlier by any clock, so moves of the clocks before do not matter.
            let into = elapsed.zip(size).map(|(elapsed, size)| elapsed.rem_euclid(size));
            return Ok(into.and_then(|into| date.checked_sub(into)));
        }
        Unit::Day => floor(wall.days() - reference, size).and_then(|days| days.checked_add(reference)),
        Unit::Week => {
            // The first such day that is not before the year 2000, which began with a Saturday.
            let first = reference + (first_day - 6).rem_euclid(7);
            let days = size.checked_mul(7).and_then(|size| floor(wall.days() - first, size));
            days.and_then(|days| days.checked_add(first))
        }
        Unit::Month => months(1),
        Unit::Quarter => months(3),
        Unit::Year => months(12),
    };
    let wall = days.and_then(|days| days.checked_mul(DAY)).map(|millis| Wall { millis });
    wall.map(|wall| zone.utc(wall)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wall(year: i64, month: i64, day: i64, hour: i64, minute: i64) -> Wall {
        Wall { millis: days_from(year, month, day) * DAY + hour * HOUR + minute * MINUTE }
    }

    fn zone(name: &str) -> Zone {
        Zone::parse(name).unwrap()
    }

    #[test]
    fn days_keep_the_time_of_day_when_clocks_are_moved() {
        let berlin = zone("Europe/Berlin");
        let before = berlin.utc(wall(2024, 3, 30, 12, 0)).unwrap();
        let after = berlin.utc(wall(2024, 3, 31, 12, 0)).unwrap();
        assert_eq!(after - before, 23 * HOUR);
        assert_eq!(moved(before, Unit::Day, 1, &berlin).unwrap(), Some(after));
        assert_eq!(moved(after, Unit::Day, -1, &berlin).unwrap(), Some(before));
        assert_eq!(moved(before, Unit::Span(HOUR), 24, &berlin).unwrap(), Some(after + HOUR));
        assert_eq!(moved(before, Unit::Week, 1, &berlin).unwrap(), Some(before + 7 * DAY - HOUR));
        assert_eq!(
            moved(before, Unit::Month, 1, &berlin).unwrap(),
            Some(berlin.utc(wall(2024, 4, 30, 12, 0)).unwrap())
        );
        // Half past two does not exist on that day, and is half past three.
        let missing = berlin.utc(wall(2024, 3, 30, 2, 30)).unwrap();
        assert_eq!(moved(missing, Unit::Day, 1, &berlin).unwrap(), Some(berlin.utc(wall(2024, 3, 31, 3, 30)).unwrap()));
    }

    #[test]
    fn months_end_on_their_last_day() {
        let utc = zone("UTC");
        let start = wall(2024, 1, 31, 8, 0).millis;
        assert_eq!(moved(start, Unit::Month, 1, &utc).unwrap(), Some(wall(2024, 2, 29, 8, 0).millis));
        assert_eq!(moved(start, Unit::Month, 13, &utc).unwrap(), Some(wall(2025, 2, 28, 8, 0).millis));
        assert_eq!(moved(start, Unit::Month, -2, &utc).unwrap(), Some(wall(2023, 11, 30, 8, 0).millis));
        assert_eq!(moved(start, Unit::Year, 1_000_000_000, &utc).unwrap(), None);
        assert_eq!(moved(start, Unit::Day, i64::MAX, &utc).unwrap(), None);
        for unit in [Unit::Year, Unit::Quarter, Unit::Month, Unit::Week, Unit::Day, Unit::Span(1)] {
            for start in [i64::MIN, i64::MAX] {
                for by in [i64::MIN, -1, 1, i64::MAX] {
                    let _ = moved(start, unit, by, &utc);
                }
            }
        }
    }

    #[test]
    fn bins_begin_where_the_clocks_of_the_zone_say() {
        let new_york = zone("America/New_York");
        // 23 hours long.
        let short_day = new_york.utc(wall(2024, 3, 10, 23, 30)).unwrap();
        let began = new_york.utc(wall(2024, 3, 10, 0, 0)).unwrap();
        assert_eq!(bin(short_day, Unit::Day, 1, 0, &new_york).unwrap(), Some(began));
        assert_eq!(short_day - began, 22 * HOUR + 30 * MINUTE);
        // The second of the two hours from one to two.
        let second = new_york.utc(wall(2024, 11, 3, 1, 30)).unwrap() + HOUR;
        assert_eq!(bin(second, Unit::Span(HOUR), 1, 0, &new_york).unwrap(), Some(second - 30 * MINUTE));
        // Fortnights of Mondays from the third of January 2000.
        let utc = zone("UTC");
        let fortnight = bin(wall(2021, 3, 20, 11, 30).millis, Unit::Week, 2, 1, &utc).unwrap();
        assert_eq!(fortnight, Some(wall(2021, 3, 15, 0, 0).millis));
        assert_eq!(bin(-1, Unit::Year, 7, 0, &utc).unwrap(), Some(wall(1965, 1, 1, 0, 0).millis));
        for unit in [Unit::Year, Unit::Quarter, Unit::Month, Unit::Week, Unit::Day, Unit::Span(HOUR)] {
            for date in [i64::MIN, i64::MAX] {
                for size in [1, 7, i64::MAX] {
                    let _ = bin(date, unit, size, 3, &utc);
                    assert!(bin(date, unit, size, 3, &new_york).is_err());
                }
            }
        }
    }
}

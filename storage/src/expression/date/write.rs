//! `$dateToString`, and the format strings of dates.

use std::fmt::Write;

use super::calendar::{Date, MINUTE, Wall};
use super::needed;
use super::zone::Zone;
use crate::error::{StoreError, code, location};
use crate::expression::operator::{Operands, Operator, at};
use crate::expression::value::Value;

pub const OPERATORS: &[Operator] = &[Operator {
    name: "$dateToString",
    operands: Operands::Named {
        expected: code!(18629),
        unknown: code!(18534),
        required: &[("date", code!(18628))],
        optional: &["format", "timezone", "onNull"],
        alone: false,
    },
    apply: to_string,
}];

pub const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

/// A piece of a format string: text as it stands, or the letter after a percent sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    Literal(char),
    Part(char),
}

/// The pieces of a format string of which each letter is one of `letters`.
pub fn pieces(format: &str, letters: &'static str) -> Result<Vec<Piece>, StoreError> {
    let mut pieces = Vec::new();
    let mut rest = format.chars();
    while let Some(next) = rest.next() {
        pieces.push(match next {
            '%' => match rest.next() {
                Some('%') => Piece::Literal('%'),
                Some(letter) if letters.contains(letter) => Piece::Part(letter),
                Some(other) => return Err(location!(18536, "Invalid format character '%{other}' in format string")),
                None => return Err(location!(18535, "Unmatched '%' at end of format string")),
            },
            other => Piece::Literal(other),
        });
    }
    Ok(pieces)
}

fn to_string<'a>(_: &'static Operator, values: &mut [Option<Value<'a>>]) -> Result<Value<'a>, StoreError> {
    let on_null = values.get_mut(3).and_then(Option::take);
    let (date, format) = (at(values, 0), values.get(1).and_then(Option::as_ref));
    // What is wrong with the format or the zone is told even where there is no date.
    let given = match format.filter(|format| !format.is_nullish()) {
        None => None,
        Some(format) => match format.as_str() {
            Some(format) => Some(pieces(format, "dGHjLmMSuUVwYzZbB")?),
            None => {
                let found = format.type_name();
                return Err(location!(18533, "$dateToString requires that 'format' be a string, found: {found}"));
            }
        },
    };
    let zone = Zone::of(values.get(2).and_then(Option::as_ref))?;
    if date.is_nullish() {
        return Ok(on_null.unwrap_or(Value::NULL));
    }
    let Some(zone) = zone else { return Ok(Value::NULL) };
    let pieces = match (given, format) {
        (Some(pieces), _) => pieces,
        (None, Some(_)) => return Ok(Value::NULL),
        (None, None) => {
            let letter = if zone.is_utc() { "Z" } else { "" };
            pieces(&format!("%Y-%m-%dT%H:%M:%S.%L{letter}"), "YmdHMSL")?
        }
    };
    let moment = needed(date)?;
    let (wall, offset) = (zone.wall(moment)?, zone.offset(moment)? / MINUTE);
    let mut text = String::new();
    for piece in pieces {
        match piece {
            Piece::Literal(literal) => text.push(literal),
            Piece::Part(letter) => part(&mut text, letter, wall, offset)?,
        }
    }
    Ok(text.into())
}

fn part(text: &mut String, letter: char, wall: Wall, offset: i64) -> Result<(), StoreError> {
    let Date { year, month, day } = wall.date();
    let week = wall.week();
    let four = |year: i64| match (0..=9999).contains(&year) {
        true => Ok((year, 4)),
        false => Err(location!(
            18537,
            "Could not convert date to string: date component was outside the supported range of 0-9999: {year}"
        )),
    };
    let (number, width) = match letter {
        'd' => (day, 2),
        'G' => four(week.year)?,
        'H' => (wall.hour(), 2),
        'j' => (wall.day_of_year(), 3),
        'L' => (wall.millisecond(), 3),
        'm' => (month, 2),
        'M' => (wall.minute(), 2),
        'S' => (wall.second(), 2),
        'u' => (week.day, 1),
        'U' => (wall.sunday_week(), 2),
        'V' => (week.week, 2),
        'w' => (wall.weekday() + 1, 1),
        'Y' => four(year)?,
        other => {
            let sign = if offset < 0 { '-' } else { '+' };
            let (hours, minutes) = (offset.abs() / 60, offset.abs() % 60);
            // A month has a name, whatever the calendar made of it.
            let name = MONTHS.get(month as usize - 1).copied().unwrap_or_default();
            // Writing to a string does not fail.
            let _ = match other {
                'z' => write!(text, "{sign}{hours:02}{minutes:02}"),
                'Z' => write!(text, "{sign}{:03}", offset.abs()),
                'b' => write!(text, "{}", &name[..3]),
                _ => write!(text, "{name}"),
            };
            return Ok(());
        }
    };
    let _ = write!(text, "{number:0width$}");
    Ok(())
}

//! The forms in which people write dates, and the reading of text that both these and formats go by.
//!
//! In: text. Out: what it says of a date, not yet whether that makes one.

use super::calendar::HOUR;
use super::read::{Found, INCOMPLETE, NOT_A_TIME, UNEXPECTED, Why};
use super::write::MONTHS;
use super::zone::{self, Zone};

/// Without a format.
pub fn usual(text: &str) -> Result<Found, Why> {
    let mut rest = Text(text.trim_matches([' ', '\t', '\n', '\r']));
    let mut found = Found::default();
    if rest.is_at_end() {
        return Err("empty string");
    }
    // The name of a day adds nothing to a date.
    let mut ahead = rest.clone();
    let word = ahead.run(|next| next.is_ascii_alphabetic());
    let weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
    if word.len() >= 3 && weekdays.contains(&&*word[..3].to_ascii_lowercase()) {
        ahead.eat(',');
        ahead.spaces();
        rest = ahead;
    }
    date(&mut rest, &mut found)?;
    let before = rest.0.len();
    let time_follows = rest.eat('T') || rest.eat('t');
    rest.eat(',');
    rest.spaces();
    if time_follows || (rest.0.len() < before && rest.0.starts_with(|next: char| next.is_ascii_digit())) {
        time(&mut rest, &mut found)?;
        rest.spaces();
    }
    // Dates may end with their year, as C's `ctime` writes them.
    if found.year.is_none() && found.month.is_some() {
        found.year = Some(rest.number(4, 4)?);
        rest.spaces();
    }
    if !rest.is_at_end() {
        found.zone = Some(rest.zone()?);
    }
    if rest.is_at_end() { Ok(found) } else { Err(UNEXPECTED) }
}

fn date(rest: &mut Text<'_>, found: &mut Found) -> Result<(), Why> {
    if rest.0.starts_with(|next: char| next.is_ascii_alphabetic()) {
        // `July 4, 2017`, `Jul 4 2017`, and `Jul 4 12:00:00 2017`, whose year is at the end.
        found.month = Some(rest.month()?);
        rest.eat('.');
        rest.spaces();
        found.day = Some(rest.number(1, 2)?);
        let mut ahead = rest.clone();
        ahead.run(|next| next.is_ascii_alphabetic());
        ahead.eat(',');
        ahead.spaces();
        let year = ahead.digits();
        if year.len() == 4 && !ahead.0.starts_with(':') {
            found.year = year.parse().ok();
            *rest = ahead;
        }
        return Ok(());
    }
    let digits = rest.digits();
    let whole = |text: &str| text.parse::<i64>().map_err(|_| UNEXPECTED);
    match digits.len() {
        4 if rest.eat('-') => {
            let year = whole(digits)?;
            if rest.eat('W') || rest.eat('w') {
                found.week_year = Some(year);
                found.week = Some(rest.number(2, 2)?);
                if rest.eat('-') {
                    found.weekday = Some(rest.number(1, 1)?);
                }
                return Ok(());
            }
            found.year = Some(year);
            if rest.0.starts_with(|next: char| next.is_ascii_alphabetic()) {
                found.month = Some(rest.month()?);
            } else {
                let part = rest.digits();
                if part.len() == 3 {
                    found.day_of_year = Some(whole(part)?);
                    return Ok(());
                }
                if !(1..=2).contains(&part.len()) {
                    return Err(UNEXPECTED);
                }
                found.month = Some(whole(part)?);
            }
            // A month alone begins with its first day.
            found.day = Some(if rest.eat('-') { rest.number(1, 2)? } else { 1 });
        }
        4 if rest.eat('/') || rest.eat('.') => {
            found.year = Some(whole(digits)?);
            found.month = Some(rest.number(1, 2)?);
            if !rest.eat('/') && !rest.eat('.') {
                return Err(INCOMPLETE);
            }
            found.day = Some(rest.number(1, 2)?);
        }
        4 if rest.0.starts_with(['W', 'w']) => {
            found.week_year = Some(whole(digits)?);
            rest.0 = &rest.0[1..];
            found.week = Some(rest.number(2, 2)?);
            if rest.0.starts_with(|next: char| next.is_ascii_digit()) {
                found.weekday = Some(rest.number(1, 1)?);
            }
        }
        8 => {
            found.year = Some(whole(&digits[..4])?);
            found.month = Some(whole(&digits[4..6])?);
            found.day = Some(whole(&digits[6..])?);
        }
        7 => {
            found.year = Some(whole(&digits[..4])?);
            found.day_of_year = Some(whole(&digits[4..])?);
        }
        1 | 2 if rest.eat('/') => {
            // As Americans write it.
            found.month = Some(whole(digits)?);
            found.day = Some(rest.number(1, 2)?);
            if !rest.eat('/') {
                return Err(INCOMPLETE);
            }
            found.year = Some(rest.number(4, 4)?);
        }
        1 | 2 => {
            // `4 July 2017`, `04-Jul-2017`, `04-07-2017`, `04.07.2017`.
            found.day = Some(whole(digits)?);
            rest.run(|next| matches!(next, ' ' | '-' | '.' | '/'));
            found.month = Some(match rest.0.starts_with(|next: char| next.is_ascii_digit()) {
                true => rest.number(1, 2)?,
                false => rest.month()?,
            });
            rest.run(|next| matches!(next, ' ' | '-' | '.' | '/' | ','));
            found.year = Some(rest.number(4, 4)?);
        }
        _ => return Err(UNEXPECTED),
    }
    Ok(())
}

fn time(rest: &mut Text<'_>, found: &mut Found) -> Result<(), Why> {
    found.hour = Some(rest.number(1, 2)?);
    let extended = rest.eat(':');
    if extended || rest.0.starts_with(|next: char| next.is_ascii_digit()) {
        found.minute = Some(rest.number(2, 2)?);
        let seconds = if extended { rest.eat(':') } else { rest.0.starts_with(|next: char| next.is_ascii_digit()) };
        if seconds {
            found.second = Some(rest.number(2, 2)?);
            if rest.eat('.') || rest.eat(',') {
                found.millisecond = Some(milliseconds(rest)?);
                // A date holds no more than milliseconds.
                rest.digits();
            }
        }
    }
    let mut ahead = rest.clone();
    ahead.spaces();
    let half = ahead.run(|next| next.is_ascii_alphabetic() || next == '.').replace('.', "").to_ascii_lowercase();
    if matches!(&*half, "am" | "pm") {
        let hour = found.hour.filter(|hour| (1..=12).contains(hour)).ok_or(NOT_A_TIME)?;
        found.hour = Some(hour % 12 + if half == "pm" { 12 } else { 0 });
        *rest = ahead;
    }
    Ok(())
}

/// Up to three digits of a fraction of a second.
pub fn milliseconds(text: &mut Text<'_>) -> Result<i64, Why> {
    let before = text.0.len();
    let number = text.number(1, 3)?;
    Ok(number * 10i64.pow(3 - (before - text.0.len()) as u32))
}

/// Text that is read from left to right.
#[derive(Debug, Clone)]
pub struct Text<'t>(pub &'t str);

impl<'t> Text<'t> {
    pub fn is_at_end(&self) -> bool {
        self.0.is_empty()
    }

    pub fn eat(&mut self, wanted: char) -> bool {
        let rest = self.0.strip_prefix(wanted);
        self.0 = rest.unwrap_or(self.0);
        rest.is_some()
    }

    fn spaces(&mut self) {
        self.0 = self.0.trim_start_matches([' ', '\t']);
    }

    /// As many as are there.
    fn run(&mut self, of: impl Fn(char) -> bool) -> &'t str {
        let end = self.0.find(|next| !of(next)).unwrap_or(self.0.len());
        let (run, rest) = self.0.split_at(end);
        self.0 = rest;
        run
    }

    fn digits(&mut self) -> &'t str {
        self.run(|next| next.is_ascii_digit())
    }

    /// A number of so many digits.
    pub fn number(&mut self, least: usize, most: usize) -> Result<i64, Why> {
        let digits = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if digits < least {
            return Err(if self.0.is_empty() { "not enough data available to satisfy format" } else { UNEXPECTED });
        }
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        number.parse().map_err(|_| UNEXPECTED)
    }

    /// English names and their beginnings of three letters; months count from 1.
    pub fn month(&mut self) -> Result<i64, Why> {
        let word = self.run(|next| next.is_ascii_alphabetic());
        let month = MONTHS.iter().position(|month| {
            word.eq_ignore_ascii_case(month)
                || word.eq_ignore_ascii_case(&month[..3])
                || (*month == "September" && word.eq_ignore_ascii_case("sept"))
        });
        month.map(|month| month as i64 + 1).ok_or("a textual month could not be found")
    }

    pub fn zone(&mut self) -> Result<Zone, Why> {
        let unknown = "The timezone could not be found in the database";
        if self.0.starts_with(['+', '-']) {
            let text = self.run(|next| next.is_ascii_digit() || matches!(next, '+' | '-' | ':'));
            let millis = zone::offset(text).ok_or(unknown)?;
            return Ok(Zone::Offset { millis });
        }
        let name = self.run(|next| next.is_ascii_alphanumeric() || matches!(next, '/' | '_' | '-' | '+'));
        let hours = match name.to_ascii_uppercase().as_str() {
            "Z" | "UTC" | "GMT" => 0,
            "EDT" => -4,
            "EST" | "CDT" => -5,
            "CST" | "MDT" => -6,
            "MST" | "PDT" => -7,
            "PST" => -8,
            "CET" => 1,
            "CEST" => 2,
            _ => return Zone::parse(name).ok_or(unknown),
        };
        Ok(Zone::Offset { millis: hours * HOUR })
    }
}

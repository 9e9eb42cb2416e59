//! The calendar, in whole numbers: milliseconds of a wall clock to years, weeks and days, and back.
//!
//! In and out: milliseconds since 1970 on the wall clock of some zone ([`super::zone`] knows which). The Gregorian calendar
//! goes on forever in both directions, so no date that BSON holds is outside of it.

pub const SECOND: i64 = 1_000;
pub const MINUTE: i64 = 60 * SECOND;
pub const HOUR: i64 = 60 * MINUTE;
pub const DAY: i64 = 24 * HOUR;

/// Days from 1970-01-01 to a day; months and days count from 1 and may lie outside of the year and the month.
/// Years within ±10^15 do not overflow.
pub fn days_from(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = (year + (month - 1).div_euclid(12), (month - 1).rem_euclid(12) + 1);
    // Years that begin in March end with the leap day.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

pub fn days_in_month(year: i64, month: i64) -> i64 {
    days_from(year, month + 1, 1) - days_from(year, month, 1)
}

/// A moment on a wall clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wall {
    pub millis: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Date {
    pub year: i64,
    /// From 1.
    pub month: i64,
    /// From 1.
    pub day: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Week {
    pub year: i64,
    /// From 1.
    pub week: i64,
    /// From 1, a Monday.
    pub day: i64,
}

impl Wall {
    pub fn days(self) -> i64 {
        self.millis.div_euclid(DAY)
    }

    pub fn date(self) -> Date {
        let shifted = self.days() + 719_468;
        let (era, day_of_era) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * day_of_year + 2) / 153;
        let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
        Date {
            year: era * 400 + year_of_era + i64::from(month <= 2),
            month,
            day: day_of_year - (153 * march_month + 2) / 5 + 1,
        }
    }

    /// From 1.
    pub fn day_of_year(self) -> i64 {
        self.days() - days_from(self.date().year, 1, 1) + 1
    }

    /// From 0, a Sunday.
    pub fn weekday(self) -> i64 {
        (self.days() + 4).rem_euclid(7)
    }

    /// The week of ISO 8601: it belongs to the year that its Thursday lies in.
    pub fn week(self) -> Week {
        let day = (self.weekday() + 6) % 7 + 1;
        let thursday = Self { millis: (self.days() - day + 4) * DAY };
        Week { year: thursday.date().year, week: (thursday.day_of_year() - 1) / 7 + 1, day }
    }

    /// Weeks that begin with a Sunday; days before the first one of the year are in week 0.
    pub fn sunday_week(self) -> i64 {
        (self.day_of_year() + 6 - self.weekday()) / 7
    }

    pub fn time_of_day(self) -> i64 {
        self.millis.rem_euclid(DAY)
    }

    pub fn hour(self) -> i64 {
        self.time_of_day() / HOUR
    }

    pub fn minute(self) -> i64 {
        self.time_of_day() / MINUTE % 60
    }

    pub fn second(self) -> i64 {
        self.time_of_day() / SECOND % 60
    }

    pub fn millisecond(self) -> i64 {
        self.time_of_day() % SECOND
    }
}

/// The first day of a week of ISO 8601.
pub fn days_from_week(year: i64, week: i64, day: i64) -> i64 {
    // The fourth of January is always in the first week.
    let fourth = Wall { millis: days_from(year, 1, 4) * DAY };
    fourth.days() - (fourth.weekday() + 6) % 7 + (week - 1) * 7 + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_come_back_as_they_went_in() {
        for days in (-1_000_000..1_000_000).step_by(17) {
            let wall = Wall { millis: days * DAY + 5 };
            let Date { year, month, day } = wall.date();
            assert_eq!(days_from(year, month, day), days);
            assert!(
                (1..=12).contains(&month) && (1..=days_in_month(year, month)).contains(&day),
                "{year}-{month}-{day}"
            );
            let week = wall.week();
            assert_eq!(days_from_week(week.year, week.week, week.day), days);
            assert!((1..=53).contains(&week.week) && (1..=366).contains(&wall.day_of_year()));
        }
    }

    #[test]
    fn the_ends_of_time_are_dates_too() {
        assert_eq!(Wall { millis: i64::MIN }.date(), Date { year: -292_275_055, month: 5, day: 16 });
        assert_eq!(Wall { millis: i64::MAX }.date(), Date { year: 292_278_994, month: 8, day: 17 });
        assert_eq!(Wall { millis: -1 }.millisecond(), 999);
        assert_eq!(Wall { millis: -1 }.weekday(), 3);
    }
}

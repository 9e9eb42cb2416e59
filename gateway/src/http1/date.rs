//! The `Date` header's value, made once a second per core and copied into every answer.
//!
//! In: seconds since 1970. Out: 29 bytes such as `Sun, 06 Nov 1994 08:49:37 GMT`. The clock belongs to the caller.

/// A point in time as HTTP writes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HttpDate([u8; 29]);

/// Past the last second of the year 9999 the form has no room; a clock that far off is shown as that second.
const LAST_SECOND: u64 = 253_402_300_799;

impl HttpDate {
    pub fn from_unix_seconds(seconds: u64) -> Self {
        let seconds = seconds.min(LAST_SECOND);
        let (days, of_day) = (seconds / 86_400, seconds % 86_400);
        let (year, month, day) = civil(days);
        // 1 January 1970 was a Thursday.
        let weekday = [b"Thu", b"Fri", b"Sat", b"Sun", b"Mon", b"Tue", b"Wed"][(days % 7) as usize];
        let months = b"JanFebMarAprMayJunJulAugSepOctNovDec";
        let month = &months[(month as usize - 1) * 3..][..3];

        let mut text = *b"Www, 00 Mmm 0000 00:00:00 GMT";
        text[..3].copy_from_slice(weekday);
        two_digits(&mut text[5..7], day);
        text[8..11].copy_from_slice(month);
        two_digits(&mut text[12..14], year / 100);
        two_digits(&mut text[14..16], year % 100);
        two_digits(&mut text[17..19], of_day / 3600);
        two_digits(&mut text[20..22], of_day / 60 % 60);
        two_digits(&mut text[23..25], of_day % 60);
        Self(text)
    }

    pub fn as_bytes(&self) -> &[u8; 29] {
        &self.0
    }
}

fn two_digits(place: &mut [u8], number: u64) {
    place[0] = b'0' + (number / 10 % 10) as u8;
    place[1] = b'0' + (number % 10) as u8;
}

/// Days since 1970 to year, month, day: counted in 400-year eras of 146,097 days that begin on 1 March, so that the leap
/// day is the last of its year.
fn civil(days: u64) -> (u64, u64, u64) {
    let days = days + 719_468;
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::HttpDate;

    fn text(seconds: u64) -> String {
        String::from_utf8(HttpDate::from_unix_seconds(seconds).as_bytes().to_vec()).unwrap()
    }

    #[test]
    fn known_moments() {
        for (seconds, wanted) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
            (u64::MAX, "Fri, 31 Dec 9999 23:59:59 GMT"),
        ] {
            assert_eq!(text(seconds), wanted);
        }
    }

    #[test]
    fn agrees_with_a_calendar_library_for_two_centuries() {
        for day in 0..73_000u64 {
            let seconds = day * 86_400 + day * 7_919 % 86_400;
            let moment = jiff::Timestamp::from_second(seconds as i64).unwrap();
            assert_eq!(text(seconds), moment.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string());
        }
    }
}

//! Points in time as RRSIG writes them (RFC 4034 3.2): seconds since 1970 modulo 2^32, shown as
//! `YYYYMMDDHHmmSS` in UTC.

use std::fmt::{self, Write};

const DAY: i64 = 86_400;

/// Reads `YYYYMMDDHHmmSS`, or up to ten digits of seconds.
pub(crate) fn read(text: &[u8]) -> Option<u32> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if text.len() != 14 {
        return text.parse().ok();
    }
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let valid = year >= 1970
        && (1..=12).contains(&month)
        && (1..=days_in_month(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 61;
    let seconds = days_from_civil(year, month, day) * DAY + hour * 3600 + minute * 60 + second;
    // Serial arithmetic: past 2106 the count wraps, as RFC 4034 3.1.5 says.
    valid.then_some(seconds as u32)
}

/// Writes the time meant; of all those the number may mean, the one between 1970 and 2106.
pub(crate) fn write(seconds: u32, out: &mut dyn Write) -> fmt::Result {
    let (days, rest) = (i64::from(seconds) / DAY, i64::from(seconds) % DAY);
    let (year, month, day) = civil_from_days(days);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    write!(
        out,
        "{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}"
    )
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _ => 31,
    }
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, counted from years that begin in
/// March, so that the leap day comes last.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

fn civil_from_days(days: i64) -> (i64, i64, i64) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day_of_year - (153 * shifted + 2) / 5 + 1)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn known_times() {
        let cases = [
            ("19700101000000", 0),
            ("20030322173103", 1_048_354_263), // RFC 4034 3.3
            ("20000229235959", 951_868_799),
            ("21060207062815", u32::MAX),
            ("20380119031408", 0x8000_0000),
        ];
        for (text, seconds) in cases {
            assert_eq!(read(text.as_bytes()), Some(seconds), "{text}");
            let mut shown = String::new();
            write(seconds, &mut shown).unwrap();
            assert_eq!(shown, text);
        }
        assert_eq!(read(b"1048354263"), Some(1_048_354_263));
        for bad in [
            "20010229000000",
            "20001301000000",
            "2000010124000000",
            "4294967296",
            "",
            "x",
        ] {
            assert_eq!(read(bad.as_bytes()), None, "{bad}");
        }
    }
}

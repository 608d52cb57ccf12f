//! Date and time as XEP-0082 writes them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `2002-09-10T23:08:25Z`, in UTC, to the second.
pub fn format(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or(Duration::ZERO)
        .as_secs();
    let (days, rest) = (seconds / 86_400, seconds % 86_400);
    let (year, month, day) = civil(days);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z",
        rest / 3600,
        rest / 60 % 60,
        rest % 60
    )
}

/// The same to the microsecond, from microseconds since 1970.
pub fn format_micros(micros: u64) -> String {
    let whole = format(UNIX_EPOCH + Duration::from_secs(micros / 1_000_000));
    let seconds = whole.trim_end_matches('Z');
    format!("{seconds}.{:06}Z", micros % 1_000_000)
}

/// Microseconds since 1970 of a date and time with its zone; times before 1970 count as 1970.
pub fn parse_micros(text: &str) -> Option<u64> {
    let text = text.trim_ascii();
    let (date, rest) = text.split_at_checked(10)?;
    let mut parts = date.split('-');
    let mut number = |digits: usize| {
        let part = parts.next()?;
        (part.len() == digits && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i64>().ok())?
    };
    let (year, month, day) = (number(4)?, number(2)?, number(2)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) {
        return None;
    }
    let rest = rest.strip_prefix(['T', 't'])?;
    let (clock, rest) = rest.split_at_checked(8)?;
    let mut parts = clock.split(':').map(|part| {
        (part.len() == 2 && part.bytes().all(|b| b.is_ascii_digit()))
            .then(|| part.parse::<i64>().ok())?
    });
    let (hour, minute, second) = (parts.next()??, parts.next()??, parts.next()??);
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (fraction, zone) = match rest.strip_prefix('.') {
        Some(rest) => {
            let end = rest.find(|c: char| !c.is_ascii_digit())?;
            rest.split_at_checked(end)?
        }
        None => ("", rest),
    };
    let mut micros = 0_i64;
    for place in 0..6 {
        let digit = fraction.as_bytes().get(place).map_or(0, |b| b - b'0');
        micros = micros * 10 + i64::from(digit);
    }
    let offset = match zone {
        "Z" | "z" => 0,
        _ => {
            let sign = match zone.get(..1)? {
                "+" => 1,
                "-" => -1,
                _ => return None,
            };
            let (hours, minutes) = zone.get(1..)?.split_once(':')?;
            let (hours, minutes): (i64, i64) = (hours.parse().ok()?, minutes.parse().ok()?);
            if !(0..=14).contains(&hours) || !(0..=59).contains(&minutes) {
                return None;
            }
            sign * (hours * 3600 + minutes * 60)
        }
    };
    // Days since 1970, counting in years that begin in March.
    let shifted = if month <= 2 { year - 1 } else { year };
    let of_era = shifted.rem_euclid(400);
    let of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted.div_euclid(400) * 146_097 + of_era * 365 + of_era / 4 - of_era / 100
        + of_year
        - 719_468;
    let seconds = days * 86_400 + hour * 3600 + minute * 60 + second - offset;
    Some(u64::try_from(seconds.checked_mul(1_000_000)? + micros).unwrap_or(0))
}

/// Microseconds since 1970.
pub fn micros(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX)
}

/// The date so many days after 1970-01-01, by counting in years that begin in March.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let (month, next) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    (era * 400 + year + next, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_399, "2000-02-28T23:59:59Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_031_699_305, "2002-09-10T23:08:25Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(format(UNIX_EPOCH + Duration::from_secs(seconds)), text);
        }
    }

    #[test]
    fn reads_what_xep_0082_writes() {
        for (text, micros) in [
            ("1969-07-21T02:56:15Z", Some(0)),
            ("1970-01-01T00:00:01Z", Some(1_000_000)),
            ("2002-09-10T23:08:25Z", Some(1_031_699_305_000_000)),
            ("2002-09-10T23:08:25.5Z", Some(1_031_699_305_500_000)),
            (
                "2002-09-10T23:08:25.123456789Z",
                Some(1_031_699_305_123_456),
            ),
            ("2002-09-10T18:08:25-05:00", Some(1_031_699_305_000_000)),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000_000)),
            ("2002-09-10", None),
            ("2002-09-10T23:08:25", None),
            ("2002-13-10T23:08:25Z", None),
            ("2002-09-10T24:08:25Z", None),
            ("2002-09-10T23:08:25+99:00", None),
            ("2002-09-10T23:08:25.Zä", None),
            ("ä", None),
        ] {
            assert_eq!(parse_micros(text), micros, "{text}");
        }
        assert_eq!(
            format_micros(1_031_699_305_123_456),
            "2002-09-10T23:08:25.123456Z"
        );
    }

    proptest::proptest! {
        #![proptest_config(crate::tests::cases())]
        #[test]
        fn there_and_back(micros in 0..4_102_444_800_000_000_u64) {
            proptest::prop_assert_eq!(parse_micros(&format_micros(micros)), Some(micros));
        }

        #[test]
        fn never_panics(text in ".*") {
            parse_micros(&text);
        }
    }
}

//! When: opening hours and holidays, in the time of a place.

use jiff::{
    Timestamp,
    civil::{Date, DateTime, Time, Weekday},
    tz::TimeZone,
};

/// Hours of a week, without some days.
#[derive(Debug, Clone)]
pub struct Calendar {
    /// What it is called.
    pub name: String,
    pub(super) hours: Vec<Hours>,
    pub(super) holidays: Vec<Holiday>,
    pub(super) zone: TimeZone,
}

/// Some hours of some days of a week.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hours {
    /// Bit 0 is Monday.
    days: u8,
    /// In minutes; past midnight where the end is not after the beginning.
    from: u16,
    to: u16,
}

/// A day, of one year or of each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Holiday {
    year: Option<i16>,
    month: i8,
    day: i8,
}

const DAY: u16 = 24 * 60;
const NAMES: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];

impl Calendar {
    /// Whether it is open, and what the time was there.
    #[must_use]
    pub fn is_open(&self, unix: u64) -> (bool, String) {
        let second = i64::try_from(unix).unwrap_or(i64::MAX);
        let Ok(now) = Timestamp::from_second(second) else {
            return (false, "no time".to_owned());
        };
        let now = self.zone.to_datetime(now);
        let shown = now.strftime("%a %Y-%m-%d %H:%M").to_string();
        (self.is_open_at(now), shown)
    }

    fn is_open_at(&self, now: DateTime) -> bool {
        let minute = minutes(now.time());
        let today = now.date();
        let begins_on = |day: Date| {
            let holiday = self.holidays.iter().any(|holiday| holiday.is(day));
            (!holiday).then(|| 1_u8 << day.weekday().to_monday_zero_offset())
        };
        let today = begins_on(today);
        let yesterday = now.date().yesterday().ok().and_then(begins_on);
        self.hours.iter().any(|hours| {
            let on = |day: Option<u8>| day.is_some_and(|day| hours.days & day != 0);
            if hours.from < hours.to {
                return on(today) && (hours.from..hours.to).contains(&minute);
            }
            // A night belongs to the day that it begins on.
            on(today) && minute >= hours.from || on(yesterday) && minute < hours.to
        })
    }
}

impl Hours {
    /// Reads `mon-fri 09:00-17:30`, `sat,sun`, or `08:00-20:00`.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let mut hours = Self {
            days: 0x7f,
            from: 0,
            to: DAY,
        };
        let mut words = text.split_whitespace().peekable();
        if words.peek().is_none() {
            return Err("it names no hours".to_owned());
        }
        if let Some(days) = words.next_if(|word| !word.contains(':')) {
            hours.days = read_days(days)?;
        }
        if let Some(times) = words.next() {
            let (from, to) = times
                .split_once('-')
                .ok_or_else(|| format!("\"{times}\" is not written like 09:00-17:30"))?;
            (hours.from, hours.to) = (read_time(from)?, read_time(to)?);
            if hours.from == DAY {
                return Err("no day begins at 24:00".to_owned());
            }
        }
        match words.next() {
            Some(word) => Err(format!("\"{word}\" is too much")),
            None => Ok(hours),
        }
    }
}

impl Holiday {
    /// Reads `2026-12-25`, or `12-25` for every year.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("\"{text}\" is neither a day like 2026-12-25 nor one like 12-25");
        let parts: Vec<&str> = text.split('-').collect();
        let (year, month, day) = match parts.as_slice() {
            [year, month, day] => (Some(*year), *month, *day),
            [month, day] => (None, *month, *day),
            _ => return Err(wrong()),
        };
        let holiday = Self {
            year: year.map(str::parse).transpose().map_err(|_| wrong())?,
            month: month.parse().map_err(|_| wrong())?,
            day: day.parse().map_err(|_| wrong())?,
        };
        // 29 February is a day in some years.
        Date::new(holiday.year.unwrap_or(2024), holiday.month, holiday.day).map_err(|_| wrong())?;
        Ok(holiday)
    }

    fn is(&self, date: Date) -> bool {
        self.year.is_none_or(|year| year == date.year())
            && (self.month, self.day) == (date.month(), date.day())
    }
}

/// Reads a moment: RFC 3339, or without an offset the time of `zone`. In Unix seconds.
pub(crate) fn read_moment(text: &str, zone: &TimeZone) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is no time like 2026-12-24T10:00");
    let stamp = match text.parse::<Timestamp>() {
        Ok(stamp) => stamp,
        Err(_) => {
            let civil: DateTime = text.parse().map_err(|_| wrong())?;
            zone.to_timestamp(civil).map_err(|_| wrong())?
        }
    };
    u64::try_from(stamp.as_second()).map_err(|_| wrong())
}

fn minutes(time: Time) -> u16 {
    let hour = u16::try_from(time.hour()).unwrap_or(0);
    hour * 60 + u16::try_from(time.minute()).unwrap_or(0)
}

fn read_time(text: &str) -> Result<u16, String> {
    let wrong = || format!("\"{text}\" is no time like 09:00");
    let (hour, minute) = text.split_once(':').ok_or_else(wrong)?;
    let hour: u16 = hour.parse().map_err(|_| wrong())?;
    let minute: u16 = minute.parse().map_err(|_| wrong())?;
    if minute > 59 || hour > 24 || hour == 24 && minute > 0 {
        return Err(wrong());
    }
    Ok(hour * 60 + minute)
}

fn read_days(text: &str) -> Result<u8, String> {
    let day = |name: &str| -> Result<Weekday, String> {
        let at = NAMES
            .iter()
            .position(|known| known.eq_ignore_ascii_case(name));
        at.and_then(|at| Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok())
            .ok_or_else(|| format!("\"{name}\" is no day; they are {}", NAMES.join(", ")))
    };
    let mut days = 0;
    for part in text.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        let (mut at, last) = (day(first)?, day(last)?);
        loop {
            days |= 1 << at.to_monday_zero_offset();
            if at == last {
                break;
            }
            at = at.next();
        }
    }
    Ok(days)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calendar(hours: &[&str], holidays: &[&str]) -> Calendar {
        Calendar {
            name: "c".to_owned(),
            hours: hours
                .iter()
                .map(|text| Hours::parse(text).unwrap_or_else(|error| panic!("{error}")))
                .collect(),
            holidays: holidays
                .iter()
                .map(|text| Holiday::parse(text).unwrap_or_else(|error| panic!("{error}")))
                .collect(),
            zone: TimeZone::UTC,
        }
    }

    #[test]
    fn hours_and_holidays() {
        let office = calendar(
            &[
                "mon-fri 09:00-17:30",
                "sat 10:00-12:00",
                "fri,sat 22:00-02:00",
            ],
            &["12-25", "2026-11-24"],
        );
        for (at, open) in [
            ("2026-11-25T09:00", true),
            ("2026-11-25T08:59", false),
            ("2026-11-25T17:29", true),
            ("2026-11-25T17:30", false),
            ("2026-11-24T12:00", false),
            ("2027-11-24T12:00", true),
            ("2026-12-25T12:00", false),
            ("2026-11-28T11:00", true),
            ("2026-11-28T13:00", false),
            ("2026-11-28T01:00", true),
            ("2026-11-29T01:59", true),
            ("2026-11-29T02:00", false),
            // The night before began on a holiday.
            ("2026-12-26T01:00", false),
        ] {
            let unix = read_moment(at, &TimeZone::UTC).unwrap_or_default();
            assert_eq!(office.is_open(unix).0, open, "{at}");
        }
        let always = calendar(&["mon-sun"], &[]);
        assert!(always.is_open(0).0);
        assert_eq!(always.is_open(1_800_000_000).1, "Fri 2027-01-15 08:00");
        assert!(!always.is_open(u64::MAX).0);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "moon",
            "mon 9-5",
            "mon 09:00",
            "09:60-10:00",
            "mon 24:00-25:00",
            "mon tue",
        ] {
            assert!(Hours::parse(text).is_err(), "{text}");
        }
        for text in ["", "12", "13-01", "02-30", "2025-02-29", "a-b-c"] {
            assert!(Holiday::parse(text).is_err(), "{text}");
        }
        assert!(Holiday::parse("02-29").is_ok());
        assert!(read_moment("yesterday", &TimeZone::UTC).is_err());
        assert_eq!(
            read_moment("1970-01-01T01:00:00+01:00", &TimeZone::UTC),
            Ok(0)
        );
    }
}

//! LOC: a place on the earth (RFC 1876).

use std::fmt::{self, Formatter};

use super::check::BadRdata;
use super::parse::{Fields, RdataError};
use super::print::number;

const EQUATOR: u32 = 1 << 31;
/// The altitude of zero, in centimetres above the field's base.
const SEA_LEVEL: i64 = 10_000_000;

pub(crate) fn parse(fields: &mut Fields<'_>, out: &mut Vec<u8>) -> Result<(), RdataError> {
    let latitude = angle(fields, 90, "N", "S")?;
    let longitude = angle(fields, 180, "E", "W")?;
    let word = fields.word("an altitude")?;
    let altitude = centimetres(word)
        .and_then(|altitude| u32::try_from(altitude + SEA_LEVEL).ok())
        .ok_or_else(|| fields.bad("an altitude in metres (-100000.00 .. 42849672.95)"))?;
    // RFC 1876 3: one metre, ten kilometres and ten metres if they are not said.
    let mut precisions = [0x12, 0x16, 0x13];
    for precision in &mut precisions {
        if fields.is_empty() {
            break;
        }
        let word = fields.word("a size in metres")?;
        *precision = centimetres(word)
            .and_then(exponent)
            .ok_or_else(|| fields.bad("a size in metres (0 .. 90000000.00)"))?;
    }
    out.push(0);
    out.extend_from_slice(&precisions);
    for value in [latitude, longitude, altitude] {
        out.extend_from_slice(&value.to_be_bytes());
    }
    Ok(())
}

/// Degrees, minutes and seconds up to a hemisphere; the last two may be missing.
fn angle(
    fields: &mut Fields<'_>,
    limit: u32,
    positive: &str,
    negative: &str,
) -> Result<u32, RdataError> {
    let what = format!("degrees, minutes, seconds and {positive} or {negative}");
    let degrees: u32 = fields.number(&what)?;
    let mut total = degrees.checked_mul(3_600_000).filter(|_| degrees <= limit);
    let mut scale = 60_000;
    loop {
        let word = fields.word(&what)?;
        let hemisphere = if word.eq_ignore_ascii_case(positive) {
            Some(true)
        } else if word.eq_ignore_ascii_case(negative) {
            Some(false)
        } else {
            None
        };
        let bound = total.filter(|total| *total <= limit * 3_600_000);
        if let Some(north_or_east) = hemisphere {
            let total = bound.ok_or_else(|| fields.fail(format!("more than {limit} degrees")))?;
            return Ok(if north_or_east {
                EQUATOR + total
            } else {
                EQUATOR - total
            });
        }
        let part = match scale {
            60_000 => word
                .parse::<u32>()
                .ok()
                .filter(|minutes| *minutes < 60)
                .map(|m| m * 60_000),
            1_000 => decimal(word, 3)
                .and_then(|ms| u32::try_from(ms).ok())
                .filter(|ms| *ms < 60_000),
            _ => None,
        };
        let part = part.ok_or_else(|| fields.bad(&what))?;
        total = total.and_then(|total| total.checked_add(part));
        scale = if scale == 60_000 { 1_000 } else { 0 };
    }
}

/// Reads a decimal number as thousandths, hundredths … (`places` digits after the point).
fn decimal(word: &str, places: usize) -> Option<i64> {
    let (negative, word) = word
        .strip_prefix('-')
        .map_or((false, word), |word| (true, word));
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if whole.is_empty() || whole.len() > 10 || fraction.len() > places {
        return None;
    }
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    let scale = 10i64.checked_pow(places as u32)?;
    let fraction: i64 = format!("{fraction:0<places$}").parse().ok()?;
    let value = whole
        .parse::<i64>()
        .ok()?
        .checked_mul(scale)?
        .checked_add(fraction)?;
    Some(if negative { -value } else { value })
}

fn centimetres(word: &str) -> Option<i64> {
    decimal(word.strip_suffix(['m', 'M']).unwrap_or(word), 2)
}

/// The nearest mantissa and power of ten below (RFC 1876 2, SIZE).
fn exponent(mut centimetres: i64) -> Option<u8> {
    if !(0..=9_000_000_000).contains(&centimetres) {
        return None;
    }
    let mut power = 0u8;
    while centimetres > 9 {
        centimetres /= 10;
        power += 1;
    }
    Some((centimetres as u8) << 4 | power)
}

pub(crate) fn check(bytes: &[u8]) -> Result<(), BadRdata> {
    let (&[version, precisions @ ..], rest) = bytes.split_first_chunk::<4>().ok_or(BadRdata)?;
    let precise = precisions
        .iter()
        .all(|octet| octet >> 4 <= 9 && octet & 15 <= 9);
    let (latitude, rest) = rest.split_first_chunk::<4>().ok_or(BadRdata)?;
    let (longitude, rest) = rest.split_first_chunk::<4>().ok_or(BadRdata)?;
    let within = |octets: &[u8; 4], limit: u32| {
        u32::from_be_bytes(*octets).abs_diff(EQUATOR) <= limit * 3_600_000
    };
    let valid = version == 0
        && precise
        && within(latitude, 90)
        && within(longitude, 180)
        && rest.len() == 4;
    if valid { Ok(()) } else { Err(BadRdata) }
}

pub(crate) fn print(bytes: &[u8], f: &mut Formatter<'_>) -> fmt::Result {
    let (&[_, precisions @ ..], rest) = bytes.split_first_chunk::<4>().ok_or(fmt::Error)?;
    let mut values = rest.chunks(4).map(|octets| number(octets) as u32);
    let mut next = || values.next().ok_or(fmt::Error);
    print_angle(next()?, 'N', 'S', f)?;
    print_angle(next()?, 'E', 'W', f)?;
    let altitude = i64::from(next()?) - SEA_LEVEL;
    let sign = if altitude < 0 { "-" } else { "" };
    write!(
        f,
        "{sign}{}.{:02}m",
        altitude.abs() / 100,
        altitude.abs() % 100
    )?;
    for octet in precisions {
        let centimetres = u64::from(octet >> 4) * 10u64.pow(u32::from(octet & 15));
        write!(f, " {}", centimetres / 100)?;
        // Less than a metre shows its centimetres; anything more is a round number of metres.
        if centimetres % 100 != 0 {
            write!(f, ".{:02}", centimetres % 100)?;
        }
        f.write_str("m")?;
    }
    Ok(())
}

fn print_angle(value: u32, positive: char, negative: char, f: &mut Formatter<'_>) -> fmt::Result {
    let hemisphere = if value >= EQUATOR { positive } else { negative };
    let ms = value.abs_diff(EQUATOR);
    let (degrees, minutes, seconds) = (ms / 3_600_000, ms / 60_000 % 60, ms % 60_000);
    write!(
        f,
        "{degrees} {minutes} {}.{:03} {hemisphere} ",
        seconds / 1000,
        seconds % 1000
    )
}

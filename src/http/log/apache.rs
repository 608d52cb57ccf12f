//! Apache's LogFormat strings (mod_log_config).

use std::{
    io::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderMap, HeaderName, header};
use time::OffsetDateTime;

use super::{
    Record, escape,
    format::{Ended, address, clock, decimal, request_line, user, version},
};

/// A format, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom {
    parts: Vec<Part>,
    /// Whether it tells fields of the request or of the response.
    pub wants_request: bool,
    /// The same for the response.
    pub wants_response: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Part {
    item: Item,
    /// The statuses that it is for, or is not for; none for all.
    statuses: Vec<u16>,
    negated: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Item {
    Text(Vec<u8>),
    Client,
    ClientPort,
    Local,
    Port,
    /// The size of the body; "-" or "0" for none.
    Size {
        dash: bool,
    },
    Took(Unit),
    Request(HeaderName),
    Response(HeaderName),
    Cookie(String),
    Host,
    Site,
    Version,
    Method,
    Line,
    Path,
    Query,
    Status,
    Time(Vec<TimePart>, Moment),
    User,
    Nobody,
    Process,
    Connection,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    Seconds,
    Milliseconds,
    Microseconds,
}

/// Which moment a time is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moment {
    Begin,
    End,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum TimePart {
    Common,
    Text(String),
    Field(char),
    Epoch(Unit),
    Fraction(Unit),
}

/// Why a string is no format.
pub type Fault = String;

impl Custom {
    /// Takes a format apart.
    ///
    /// # Errors
    /// Where a directive is not known, or something is told that the server does not know.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let mut plain = Vec::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            rest = rest.get(next.len_utf8()..).unwrap_or_default();
            match next {
                '%' if rest.starts_with('%') => {
                    plain.push(b'%');
                    rest = rest.get(1..).unwrap_or_default();
                }
                '%' => {
                    if !plain.is_empty() {
                        parts.push(Part::text(std::mem::take(&mut plain)));
                    }
                    let (part, behind) = directive(rest)?;
                    parts.push(part);
                    rest = behind;
                }
                '\\' => {
                    let escaped = rest.chars().next().ok_or("a backslash ends it")?;
                    rest = rest.get(escaped.len_utf8()..).unwrap_or_default();
                    match escaped {
                        'n' => plain.push(b'\n'),
                        't' => plain.push(b'\t'),
                        '"' | '\\' => plain.push(u8::try_from(escaped).unwrap_or(b'?')),
                        other => plain.extend_from_slice(format!("\\{other}").as_bytes()),
                    }
                }
                other => plain.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        if !plain.is_empty() {
            parts.push(Part::text(plain));
        }
        let any = |wanted: fn(&Item) -> bool| parts.iter().any(|part| wanted(&part.item));
        Ok(Self {
            wants_request: any(|item| matches!(item, Item::Request(_) | Item::Cookie(_))),
            wants_response: any(|item| matches!(item, Item::Response(_))),
            parts,
        })
    }

    /// Appends the line for `record`.
    pub(super) fn write(&self, record: &Record, ended: &Ended, into: &mut Vec<u8>) {
        for part in &self.parts {
            let listed = part.statuses.contains(&record.status);
            if !part.statuses.is_empty() && listed == part.negated {
                into.push(b'-');
            } else {
                part.item.write(record, ended, into);
            }
        }
        into.push(b'\n');
    }
}

impl Part {
    fn text(bytes: Vec<u8>) -> Self {
        Self {
            item: Item::Text(bytes),
            statuses: Vec::new(),
            negated: false,
        }
    }
}

/// What follows a percent sign: statuses, `<` or `>`, `{argument}`, and a letter or two.
fn directive(text: &str) -> Result<(Part, &str), Fault> {
    let mut rest = text;
    let negated = rest.starts_with('!');
    let letters = |c: char| c == '!' || c == ',' || c.is_ascii_digit();
    let condition: &str = rest.split(|c: char| !letters(c)).next().unwrap_or_default();
    rest = rest.get(condition.len()..).unwrap_or_default();
    let statuses = condition
        .trim_start_matches('!')
        .split(',')
        .filter(|status| !status.is_empty())
        .map(|status| status.parse().map_err(|_| format!("{status} is no status")))
        .collect::<Result<Vec<u16>, Fault>>()?;
    // The original request or the last one: they are told apart for the path alone, which is
    // always the original's here, as it is in Apache.
    rest = rest.trim_start_matches(['<', '>']);
    let mut argument = None;
    if let Some(inside) = rest.strip_prefix('{') {
        let (text, behind) = inside.split_once('}').ok_or("a brace is not closed")?;
        argument = Some(text);
        rest = behind.trim_start_matches(['<', '>']);
    }
    let letter = rest.chars().next().ok_or("a percent sign ends it")?;
    let behind = rest.get(letter.len_utf8()..).unwrap_or_default();
    let item = item(letter, argument)?;
    let part = Part {
        item,
        statuses,
        negated,
    };
    Ok((part, behind))
}

fn item(letter: char, argument: Option<&str>) -> Result<Item, Fault> {
    let name = || {
        let text = argument.ok_or_else(|| format!("%{letter} needs a name in braces"))?;
        HeaderName::from_bytes(text.as_bytes())
            .map_err(|_| format!("\"{text}\" is not the name of a field"))
    };
    Ok(match (letter, argument) {
        ('a' | 'h', None) | ('a', Some("c")) => Item::Client,
        ('A', None) => Item::Local,
        ('b', None) => Item::Size { dash: true },
        ('B', None) => Item::Size { dash: false },
        ('D', None) | ('T', Some("us")) => Item::Took(Unit::Microseconds),
        ('T', Some("ms")) => Item::Took(Unit::Milliseconds),
        ('T', None | Some("s")) => Item::Took(Unit::Seconds),
        ('H', None) => Item::Version,
        ('i', _) => Item::Request(name()?),
        ('o', _) => Item::Response(name()?),
        ('C', Some(name)) => Item::Cookie(name.to_owned()),
        ('l', None) => Item::Nobody,
        ('m', None) => Item::Method,
        ('p', None | Some("canonical" | "local")) => Item::Port,
        ('p', Some("remote")) => Item::ClientPort,
        ('P', None | Some("pid")) => Item::Process,
        ('q', None) => Item::Query,
        ('r', None) => Item::Line,
        ('s', None) => Item::Status,
        ('t', None) => Item::Time(vec![TimePart::Common], Moment::Begin),
        ('t', Some(format)) => {
            let (moment, format) = match format.split_once(':') {
                Some(("begin", format)) => (Moment::Begin, format),
                Some(("end", format)) => (Moment::End, format),
                _ => (Moment::Begin, format),
            };
            Item::Time(times(format)?, moment)
        }
        ('u', None) => Item::User,
        ('U', None) => Item::Path,
        ('v', None) => Item::Site,
        ('V', None) => Item::Host,
        ('L', None) => Item::Connection,
        _ => {
            return Err(match argument {
                Some(argument) => format!("%{{{argument}}}{letter} is not known here"),
                None => format!("%{letter} is not known here"),
            });
        }
    })
}

/// A format of strftime, or one of Apache's words.
fn times(format: &str) -> Result<Vec<TimePart>, Fault> {
    Ok(vec![match format {
        "sec" => TimePart::Epoch(Unit::Seconds),
        "msec" => TimePart::Epoch(Unit::Milliseconds),
        "usec" => TimePart::Epoch(Unit::Microseconds),
        "msec_frac" => TimePart::Fraction(Unit::Milliseconds),
        "usec_frac" => TimePart::Fraction(Unit::Microseconds),
        "" => TimePart::Common,
        _ => return strftime(format),
    }])
}

fn strftime(format: &str) -> Result<Vec<TimePart>, Fault> {
    let mut parts = Vec::new();
    let mut text = String::new();
    let mut letters = format.chars();
    while let Some(letter) = letters.next() {
        if letter != '%' {
            text.push(letter);
            continue;
        }
        match letters.next() {
            Some('%') => text.push('%'),
            Some(field) if "YmdeHMSyjabBZzsFTDRp".contains(field) => {
                if !text.is_empty() {
                    parts.push(TimePart::Text(std::mem::take(&mut text)));
                }
                parts.push(TimePart::Field(field));
            }
            Some(field) => return Err(format!("%{field} in a time is not known here")),
            None => return Err("a percent sign ends a time".to_owned()),
        }
    }
    if !text.is_empty() {
        parts.push(TimePart::Text(text));
    }
    Ok(parts)
}

impl Item {
    fn write(&self, record: &Record, ended: &Ended, into: &mut Vec<u8>) {
        match self {
            Self::Text(text) => into.extend_from_slice(text),
            Self::Client => address(record.peer.ip(), into),
            Self::ClientPort => decimal(u64::from(record.peer.port()), into),
            Self::Local => address(record.local.ip(), into),
            Self::Port => decimal(u64::from(record.local.port()), into),
            Self::Size { dash: true } if ended.bytes == 0 => into.push(b'-'),
            Self::Size { .. } => decimal(ended.bytes, into),
            Self::Took(unit) => decimal(
                match unit {
                    Unit::Seconds => ended.micros / 1_000_000,
                    Unit::Milliseconds => ended.micros / 1000,
                    Unit::Microseconds => ended.micros,
                },
                into,
            ),
            Self::Request(name) => fields(record.request.as_deref(), name, into),
            Self::Response(name) => fields(record.response.as_deref(), name, into),
            Self::Cookie(name) => cookie(record.request.as_deref(), name, into),
            Self::Host => match record.host() {
                Some(host) => escape::apache(host.name.as_bytes(), into),
                None => escape::apache(record.site.as_bytes(), into),
            },
            Self::Site => escape::apache(record.site.as_bytes(), into),
            Self::Version if record.target.is_none() => into.push(b'-'),
            Self::Version => into.extend_from_slice(version(record.version).as_bytes()),
            Self::Method if record.target.is_none() => into.push(b'-'),
            Self::Method => escape::apache(record.method.as_str().as_bytes(), into),
            Self::Line => request_line(record, into, escape::apache),
            Self::Path => match &record.target {
                Some(target) => escape::apache(target.path().as_bytes(), into),
                None => into.push(b'-'),
            },
            Self::Query => {
                if let Some(query) = record.target.as_ref().and_then(|target| target.query()) {
                    into.push(b'?');
                    escape::apache(query.as_bytes(), into);
                }
            }
            Self::Status => decimal(u64::from(record.status), into),
            Self::Time(parts, moment) => {
                let at = match moment {
                    Moment::Begin => record.started_at,
                    Moment::End => ended.at,
                };
                for part in parts {
                    part.write(at, into);
                }
            }
            Self::User => user(record, into),
            Self::Nobody => into.push(b'-'),
            Self::Process => decimal(u64::from(std::process::id()), into),
            Self::Connection => decimal(record.connection, into),
        }
    }
}

impl TimePart {
    fn write(&self, at: SystemTime, into: &mut Vec<u8>) {
        let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
        let put = |into: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>| {
            // Writing to a Vec cannot fail.
            let _ = into.write_fmt(arguments);
        };
        match self {
            Self::Common => clock(at, into),
            Self::Text(text) => into.extend_from_slice(text.as_bytes()),
            Self::Epoch(Unit::Seconds) => decimal(since.as_secs(), into),
            Self::Epoch(Unit::Milliseconds) => put(into, format_args!("{}", since.as_millis())),
            Self::Epoch(Unit::Microseconds) => put(into, format_args!("{}", since.as_micros())),
            Self::Fraction(Unit::Milliseconds) => {
                put(into, format_args!("{:03}", since.subsec_millis()));
            }
            Self::Fraction(_) => put(into, format_args!("{:06}", since.subsec_micros())),
            Self::Field(field) => {
                let at = OffsetDateTime::from(at);
                let month = u8::from(at.month());
                match field {
                    'Y' => put(into, format_args!("{}", at.year())),
                    'y' => put(into, format_args!("{:02}", at.year().rem_euclid(100))),
                    'm' => put(into, format_args!("{month:02}")),
                    'd' => put(into, format_args!("{:02}", at.day())),
                    'e' => put(into, format_args!("{:2}", at.day())),
                    'H' => put(into, format_args!("{:02}", at.hour())),
                    'M' => put(into, format_args!("{:02}", at.minute())),
                    'S' => put(into, format_args!("{:02}", at.second())),
                    'j' => put(into, format_args!("{:03}", at.ordinal())),
                    'a' => put(into, format_args!("{:.3}", at.weekday().to_string())),
                    'b' => put(into, format_args!("{:.3}", at.month().to_string())),
                    'B' => put(into, format_args!("{}", at.month())),
                    'F' => put(
                        into,
                        format_args!("{}-{month:02}-{:02}", at.year(), at.day()),
                    ),
                    'D' => put(
                        into,
                        format_args!(
                            "{month:02}/{:02}/{:02}",
                            at.day(),
                            at.year().rem_euclid(100)
                        ),
                    ),
                    'T' => put(
                        into,
                        format_args!("{:02}:{:02}:{:02}", at.hour(), at.minute(), at.second()),
                    ),
                    'R' => put(into, format_args!("{:02}:{:02}", at.hour(), at.minute())),
                    'p' => put(
                        into,
                        format_args!("{}", if at.hour() < 12 { "AM" } else { "PM" }),
                    ),
                    's' => decimal(since.as_secs(), into),
                    'Z' => into.extend_from_slice(b"UTC"),
                    _ => into.extend_from_slice(b"+0000"),
                }
            }
        }
    }
}

/// All values of a field, as Apache joins them.
fn fields(headers: Option<&HeaderMap>, name: &HeaderName, into: &mut Vec<u8>) {
    let values = headers.map(|headers| headers.get_all(name).iter());
    let mut any = false;
    for value in values.into_iter().flatten() {
        if any {
            into.extend_from_slice(b", ");
        }
        any = true;
        escape::apache(value.as_bytes(), into);
    }
    if !any {
        into.push(b'-');
    }
}

fn cookie(headers: Option<&HeaderMap>, name: &str, into: &mut Vec<u8>) {
    let cookies = headers.map(|headers| headers.get_all(header::COOKIE).iter());
    let found = cookies.into_iter().flatten().find_map(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b';')
            .find_map(|pair| {
                pair.trim_ascii()
                    .strip_prefix(name.as_bytes())?
                    .strip_prefix(b"=")
            })
    });
    escape::apache(found.unwrap_or(b"-"), into);
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use http::{HeaderValue, Method, Uri, Version};

    use super::*;

    fn record() -> Record {
        let mut record = Record::new(
            None,
            Arc::from("example.org"),
            ([192, 0, 2, 7], 1234).into(),
            ([192, 0, 2, 1], 443).into(),
            UNIX_EPOCH + Duration::new(971_186_136, 7_008_000),
        );
        record.method = Method::POST;
        record.target = Some(Uri::from_static("/a%20b?c=d"));
        record.version = Version::HTTP_11;
        record.status = 404;
        record.host = Some(HeaderValue::from_static("Www.Example.org:443"));
        let mut request = HeaderMap::new();
        request.append("x-two", HeaderValue::from_static("1"));
        request.append("x-two", HeaderValue::from_static("2"));
        request.append("cookie", HeaderValue::from_static("a=1; sid=\"x\\y\""));
        request.extend(
            HeaderValue::from_bytes(b"evil\x09\"\xff")
                .ok()
                .map(|value| (HeaderName::from_static("user-agent"), value)),
        );
        record.request = Some(Box::new(request));
        record
    }

    fn line(format: &str) -> Result<String, Fault> {
        let ended = Ended {
            at: UNIX_EPOCH + Duration::from_secs(971_186_138),
            bytes: 0,
            micros: 2_345_678,
        };
        let mut into = Vec::new();
        Custom::parse(format)?.write(&record(), &ended, &mut into);
        Ok(String::from_utf8_lossy(&into)
            .trim_end_matches('\n')
            .to_owned())
    }

    #[test]
    fn as_apache_writes_them() {
        for (format, expected) in [
            (
                "%h %l %u %t \\\"%r\\\" %>s %b",
                "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"POST /a%20b?c=d HTTP/1.1\" 404 -",
            ),
            (
                "%a %A %B %p %{remote}p %{c}a",
                "192.0.2.7 192.0.2.1 0 443 1234 192.0.2.7",
            ),
            ("%D %T %{ms}T %{us}T %{s}T", "2345678 2 2345 2345678 2"),
            ("%m %U%q %H", "POST /a%20b?c=d HTTP/1.1"),
            ("%v %V", "example.org www.example.org"),
            ("%{X-Two}i %{None}i", "1, 2 -"),
            ("%{User-Agent}i", "evil\\t\\\"\\xff"),
            ("%{a}C %{sid}C %{b}C", "1 \\\"x\\\\y\\\" -"),
            ("%404s %!404s %200,302U %!200,302U", "404 - - /a%20b"),
            ("%{%Y-%m-%d %H:%M:%S}t", "2000-10-10 13:55:36"),
            ("%{%d/%b/%Y %a %j}t", "10/Oct/2000 Tue 284"),
            (
                "%{sec}t.%{msec_frac}t %{usec_frac}t",
                "971186136.007 007008",
            ),
            ("%{msec}t %{end:sec}t", "971186136007 971186138"),
            ("100%% \\t \\x", "100% \t \\x"),
            ("%<s %>{X-Two}i", "404 1, 2"),
        ] {
            assert_eq!(line(format).as_deref(), Ok(expected), "{format}");
        }
    }

    #[test]
    fn what_is_none() {
        for format in [
            "%",
            "%Q",
            "%{Referer",
            "%i",
            "%{a b}i",
            "%{%Q}t",
            "\\",
            "%{tid}P",
        ] {
            assert!(Custom::parse(format).is_err(), "{format}");
        }
    }
}

//! How a line looks.

use std::{
    io::Write as _,
    net::IpAddr,
    sync::{Arc, Mutex, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use http::{HeaderValue, Version};
use time::{OffsetDateTime, format_description::BorrowedFormatItem, macros::format_description};

use super::{Custom, Record, escape};

/// The formats there are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Format {
    /// Apache's `combined`.
    Combined,
    /// Apache's `vhost_combined`: the same behind the site's name and port.
    VhostCombined,
    /// One JSON object a line.
    Json,
    /// A LogFormat string.
    Custom(Arc<Custom>),
}

/// What is known when a response is over.
pub(super) struct Ended {
    pub(super) at: SystemTime,
    pub(super) bytes: u64,
    pub(super) micros: u64,
}

impl Format {
    /// Appends the line for `record`.
    pub(super) fn write(&self, record: &Record, ended: &Ended, into: &mut Vec<u8>) {
        match self {
            Self::Combined => combined(record, ended, into),
            Self::VhostCombined => {
                into.extend_from_slice(record.site.as_bytes());
                push(into, format_args!(":{} ", record.local.port()));
                combined(record, ended, into);
            }
            Self::Json => json(record, ended, into),
            Self::Custom(custom) => custom.write(record, ended, into),
        }
    }
}

/// Writing to a Vec cannot fail.
fn push(into: &mut Vec<u8>, arguments: std::fmt::Arguments<'_>) {
    let _ = into.write_fmt(arguments);
}

/// `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-Agent}i"`
fn combined(record: &Record, ended: &Ended, into: &mut Vec<u8>) {
    address(record.peer.ip(), into);
    into.extend_from_slice(b" - ");
    user(record, into);
    into.push(b' ');
    clock(record.started_at, into);
    into.extend_from_slice(b" \"");
    request_line(record, into, escape::apache);
    into.extend_from_slice(b"\" ");
    decimal(u64::from(record.status), into);
    into.push(b' ');
    if ended.bytes == 0 {
        into.push(b'-');
    } else {
        decimal(ended.bytes, into);
    }
    into.push(b' ');
    quoted(record.referer.as_ref(), into);
    into.push(b' ');
    quoted(record.agent.as_ref(), into);
    into.push(b'\n');
}

/// Who it is.
pub(super) fn user(record: &Record, into: &mut Vec<u8>) {
    match &record.user {
        // A blank in a user's name would shift every field behind it.
        Some(user) if !user.is_empty() && !user.contains(' ') => {
            escape::apache(user.as_bytes(), into);
        }
        Some(user) => {
            into.push(b'"');
            escape::apache(user.as_bytes(), into);
            into.push(b'"');
        }
        None => into.push(b'-'),
    }
}

fn quoted(value: Option<&HeaderValue>, into: &mut Vec<u8>) {
    into.push(b'"');
    escape::apache(value.map_or(b"-", HeaderValue::as_bytes), into);
    into.push(b'"');
}

pub(super) fn request_line(record: &Record, into: &mut Vec<u8>, escape: fn(&[u8], &mut Vec<u8>)) {
    let Some(target) = &record.target else {
        // What came was no request.
        into.push(b'-');
        return;
    };
    escape(record.method.as_str().as_bytes(), into);
    into.push(b' ');
    let path = target
        .path_and_query()
        .map_or("*", http::uri::PathAndQuery::as_str);
    escape(path.as_bytes(), into);
    into.push(b' ');
    into.extend_from_slice(version(record.version).as_bytes());
}

pub(super) fn version(version: Version) -> &'static str {
    match version {
        Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2.0",
        Version::HTTP_3 => "HTTP/3.0",
        _ => "HTTP/1.1",
    }
}

fn json(record: &Record, ended: &Ended, into: &mut Vec<u8>) {
    into.extend_from_slice(b"{\"time\":\"");
    rfc3339(ended.at, into);
    into.extend_from_slice(b"\",\"client\":\"");
    address(record.peer.ip(), into);
    into.extend_from_slice(b"\",\"site\":\"");
    escape::json(record.site.as_bytes(), into);
    let host = record.host();
    for (name, value) in [
        ("host", host.as_ref().map(|host| host.name.as_bytes())),
        ("user", record.user.as_deref().map(str::as_bytes)),
        (
            "referer",
            record.referer.as_ref().map(HeaderValue::as_bytes),
        ),
        ("agent", record.agent.as_ref().map(HeaderValue::as_bytes)),
    ] {
        if let Some(value) = value {
            push(into, format_args!("\",\"{name}\":\""));
            escape::json(value, into);
        }
    }
    if let Some(target) = &record.target {
        into.extend_from_slice(b"\",\"method\":\"");
        escape::json(record.method.as_str().as_bytes(), into);
        into.extend_from_slice(b"\",\"target\":\"");
        let path = target
            .path_and_query()
            .map_or("*", http::uri::PathAndQuery::as_str);
        escape::json(path.as_bytes(), into);
        push(
            into,
            format_args!("\",\"version\":\"{}", version(record.version)),
        );
    }
    push(
        into,
        format_args!(
            "\",\"status\":{},\"bytes\":{},\"micros\":{},\"tls\":{},\"connection\":{}}}\n",
            record.status, ended.bytes, ended.micros, record.tls, record.connection
        ),
    );
}

pub(super) fn decimal(mut value: u64, into: &mut Vec<u8>) {
    let mut digits = [b'0'; 20];
    let mut used = 0;
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + u8::try_from(value % 10).unwrap_or(0);
        value /= 10;
        used += 1;
        if value == 0 {
            break;
        }
    }
    into.extend_from_slice(digits.get(digits.len() - used..).unwrap_or_default());
}

/// IPv4 addresses by hand: the formatter of the standard library is several times as slow, and
/// every line has one.
pub(super) fn address(address: IpAddr, into: &mut Vec<u8>) {
    match address.to_canonical() {
        IpAddr::V4(address) => {
            for (index, octet) in address.octets().into_iter().enumerate() {
                if index > 0 {
                    into.push(b'.');
                }
                decimal(u64::from(octet), into);
            }
        }
        IpAddr::V6(address) => push(into, format_args!("{address}")),
    }
}

/// `[10/Oct/2000:13:55:36 +0000]`, formatted once a second.
pub(super) fn clock(at: SystemTime, into: &mut Vec<u8>) {
    static LAST: Mutex<(u64, [u8; 28])> = Mutex::new((u64::MAX, [0; 28]));
    const FORMAT: &[BorrowedFormatItem<'static>] =
        format_description!("[[[day]/[month repr:short]/[year]:[hour]:[minute]:[second] +0000]");
    let second = at
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs());
    let mut last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    if last.0 != second {
        let formatted = OffsetDateTime::from(at).format(FORMAT).unwrap_or_default();
        if formatted.len() != last.1.len() {
            // Not in the years that have four digits.
            into.extend_from_slice(b"[-]");
            return;
        }
        last.0 = second;
        last.1.copy_from_slice(formatted.as_bytes());
    }
    into.extend_from_slice(&last.1);
}

fn rfc3339(at: SystemTime, into: &mut Vec<u8>) {
    const FORMAT: &[BorrowedFormatItem<'static>] =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:6]Z");
    let formatted = OffsetDateTime::from(at).format(FORMAT).unwrap_or_default();
    into.extend_from_slice(formatted.as_bytes());
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::Method;

    use super::*;

    fn record() -> Record {
        let mut record = Record::new(
            None,
            Arc::from("example.org"),
            ([192, 0, 2, 7], 1234).into(),
            ([192, 0, 2, 1], 443).into(),
            UNIX_EPOCH + Duration::from_secs(971_186_136),
        );
        record.method = Method::GET;
        record.target = Some(http::Uri::from_static("http://example.org/a?b=%22"));
        record.version = Version::HTTP_2;
        record.status = 200;
        record.agent = HeaderValue::from_bytes(b"curl \"\xe4\\").ok();
        record
    }

    fn line(format: &Format, record: &Record, bytes: u64) -> String {
        let ended = Ended {
            at: record.started_at,
            bytes,
            micros: 1500,
        };
        let mut into = Vec::new();
        format.write(record, &ended, &mut into);
        String::from_utf8_lossy(&into).into_owned()
    }

    #[test]
    fn combined_as_apache_writes_it() {
        let mut record = record();
        assert_eq!(
            line(&Format::Combined, &record, 2326),
            "192.0.2.7 - - [10/Oct/2000:13:55:36 +0000] \"GET /a?b=%22 HTTP/2.0\" 200 2326 \"-\" \"curl \\\"\\xe4\\\\\"\n"
        );
        record.user = Some("alice@example.org".into());
        record.target = None;
        record.peer = "[2001:db8::1]:1".parse().unwrap_or(record.peer);
        assert_eq!(
            line(&Format::VhostCombined, &record, 0),
            "example.org:443 2001:db8::1 - alice@example.org [10/Oct/2000:13:55:36 +0000] \"-\" 200 - \"-\" \"curl \\\"\\xe4\\\\\"\n"
        );
    }

    #[test]
    fn json_is_json() {
        let mut record = record();
        record.host = Some(HeaderValue::from_static("Example.org:80"));
        let line = line(&Format::Json, &record, 5);
        let value: serde_json::Value = serde_json::from_str(&line).unwrap_or_default();
        assert_eq!(value["client"], "192.0.2.7");
        assert_eq!(value["target"], "/a?b=%22");
        assert_eq!(value["agent"], "curl \"\u{fffd}\\");
        assert_eq!(value["status"], 200);
        assert_eq!(value["micros"], 1500);
        assert_eq!(value["time"], "2000-10-10T13:55:36.000000Z");
    }

    #[test]
    fn decimals() {
        for value in [0, 7, 10, 65_535, u64::MAX] {
            let mut into = Vec::new();
            decimal(value, &mut into);
            assert_eq!(String::from_utf8_lossy(&into), value.to_string());
        }
    }
}

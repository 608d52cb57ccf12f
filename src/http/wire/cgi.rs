//! What a CGI program says before its body (RFC 3875 section 6), whoever it says it to: fields and
//! a status, but no status line, and lines that may end in LF.

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};

/// The largest head a program may send, and the most fields.
pub const HEAD_MAX: usize = 64 * 1024;
const FIELDS_MAX: usize = 200;

/// A program's head.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status.
    pub status: StatusCode,
    /// The fields, without those that frame a message: that is the server's business.
    pub fields: HeaderMap,
    /// How long the body is, where the program says so.
    pub length: Option<u64>,
}

/// Why a program's output is no response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// It ended, or went on for too long, before the empty line.
    #[error("the program's output has no end of header fields")]
    Endless,
    /// A line is no field.
    #[error("the program's output has a line that is no header field")]
    Field,
    /// There is no field at all.
    #[error("the program's output has no header fields")]
    Empty,
    /// Status is none that a final response has.
    #[error("the program's status is none")]
    Status,
}

/// Where the head in `bytes` ends: behind the empty line.
#[must_use]
pub fn end(bytes: &[u8]) -> Option<usize> {
    let mut from = 0;
    loop {
        let line = memchr::memchr(b'\n', bytes.get(from..)?)?;
        let next = from + line + 1;
        match bytes.get(from..next)? {
            b"\n" | b"\r\n" => return Some(next),
            _ => from = next,
        }
    }
}

/// Fields that frame a message or are for one hop.
const FRAMING: [HeaderName; 6] = [
    header::CONNECTION,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    header::TE,
    header::TRAILER,
    HeaderName::from_static("keep-alive"),
];

/// Reads a head, empty line included.
///
/// # Errors
/// Where it is none.
pub fn parse(bytes: &[u8]) -> Result<Head, Fault> {
    let mut head = Head {
        status: StatusCode::OK,
        fields: HeaderMap::new(),
        length: None,
    };
    let mut status = None;
    let mut count = 0;
    for line in bytes.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() {
            break;
        }
        count += 1;
        let colon = memchr::memchr(b':', line).ok_or(Fault::Field)?;
        let (name, value) = line.split_at(colon);
        let value = value.get(1..).unwrap_or_default().trim_ascii();
        let name = HeaderName::from_bytes(name).map_err(|_| Fault::Field)?;
        if count > FIELDS_MAX {
            return Err(Fault::Field);
        }
        if name.as_str() == "status" {
            status = Some(status_of(value)?);
        } else if name == header::CONTENT_LENGTH {
            let text = std::str::from_utf8(value).map_err(|_| Fault::Field)?;
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            let length = text.parse().ok().filter(|_| digits).ok_or(Fault::Field)?;
            if head.length.is_some_and(|other| other != length) {
                return Err(Fault::Field);
            }
            head.length = Some(length);
        } else if !FRAMING.contains(&name) {
            // A carriage return or a zero byte within a line is no field value.
            let value = HeaderValue::from_bytes(value).map_err(|_| Fault::Field)?;
            head.fields.append(name, value);
        }
    }
    if count == 0 {
        return Err(Fault::Empty);
    }
    head.status = match status {
        Some(status) => status,
        // Section 6.2.3: a redirect needs no status.
        None if head.fields.contains_key(header::LOCATION) => StatusCode::FOUND,
        None => StatusCode::OK,
    };
    Ok(head)
}

/// `404 Not Found`.
fn status_of(value: &[u8]) -> Result<StatusCode, Fault> {
    let code = value.split(|&byte| byte == b' ').next().unwrap_or_default();
    StatusCode::from_bytes(code)
        .ok()
        .filter(|status| (200..=599).contains(&status.as_u16()))
        .ok_or(Fault::Status)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(bytes: &[u8]) -> Result<(u16, Option<u64>, Vec<String>), Fault> {
        let head = parse(bytes)?;
        let fields = head
            .fields
            .iter()
            .map(|(name, value)| format!("{name}: {}", value.to_str().unwrap_or("?")))
            .collect();
        Ok((head.status.as_u16(), head.length, fields))
    }

    #[test]
    fn heads() {
        let field = |text: &str| vec![text.to_owned()];
        for (bytes, expected) in [
            (
                &b"Content-Type: text/plain\n\nbody"[..],
                Ok((200, None, field("content-type: text/plain"))),
            ),
            (
                b"Status: 404 Not Found\r\nContent-Type:text/html\r\n\r\n",
                Ok((404, None, field("content-type: text/html"))),
            ),
            (b"Location: /x\n\n", Ok((302, None, field("location: /x")))),
            (
                b"Status: 201\nLocation: /x\nContent-Length: 5\n\n",
                Ok((201, Some(5), field("location: /x"))),
            ),
            // CVE-2026-63718: what frames the message is not the program's to say.
            (
                b"Transfer-Encoding: chunked\nConnection: close\nX: y\n\n",
                Ok((200, None, field("x: y"))),
            ),
            (b"\n", Err(Fault::Empty)),
            (b"no field\n\n", Err(Fault::Field)),
            (b"a b: c\n\n", Err(Fault::Field)),
            (b"X: a\rSet-Cookie: b\n\n", Err(Fault::Field)),
            (b"X: a\0b\n\n", Err(Fault::Field)),
            (
                b"Content-Length: 5\nContent-Length: 6\n\n",
                Err(Fault::Field),
            ),
            (b"Content-Length: +5\n\n", Err(Fault::Field)),
            (b"Status: 101 Switching\n\n", Err(Fault::Status)),
            (b"Status: x\n\n", Err(Fault::Status)),
        ] {
            assert_eq!(
                told(bytes),
                expected,
                "{:?}",
                String::from_utf8_lossy(bytes)
            );
        }
    }

    #[test]
    fn ends() {
        for (bytes, expected) in [
            (&b"a: b\n\nbody"[..], Some(6)),
            (b"a: b\r\n\r\nbody", Some(8)),
            (b"a: b\n\r\nbody", Some(7)),
            (b"\nbody", Some(1)),
            (b"a: b\n", None),
            (b"a: b\r\n\r", None),
            (b"", None),
        ] {
            assert_eq!(end(bytes), expected);
        }
    }
}

//! From bytes to a [`Message`], or to what is wrong with them.

use bytes::Bytes;

use super::{
    HeaderName, Message, Method, check,
    lex::{decimal, is_token, take_token, trim},
    message::{Header, Span, Start},
};

/// Bounds on a single message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Header lines.
    pub headers: usize,
    /// Via values.
    pub vias: usize,
    /// Octets of a message on a stream. A datagram is bounded by its protocol.
    pub stream_message: usize,
}

impl Limits {
    /// For what we made ourselves out of what was within the limits.
    pub const RELAXED: Self = Self {
        headers: 128,
        vias: 128,
        stream_message: usize::MAX,
    };
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            headers: 64,
            // RFC 4475 3.1.1.7 has 34, and must be accepted.
            vias: 40,
            stream_message: 128 * 1024,
        }
    }
}

/// What is wrong with a message, as its sender is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{status} {reason}")]
pub struct Defect {
    /// The status of the answer.
    pub status: u16,
    /// Its reason phrase.
    pub reason: &'static str,
}

impl Defect {
    pub(super) const fn bad(reason: &'static str) -> Self {
        Self {
            status: 400,
            reason,
        }
    }
}

/// A message that is refused.
#[derive(Debug, Clone)]
pub struct Rejected {
    /// Why.
    pub defect: Defect,
    /// What could be read of it, where it is a request that can be answered. Nothing of it may be
    /// relied on but to build that answer.
    pub request: Option<Box<Message>>,
}

impl Message {
    /// Parses one message: a whole datagram, or what a [`super::Framer`] cut from a stream.
    ///
    /// Without a Content-Length the body is all that is left; what follows a body is cut off
    /// (RFC 3261 18.3).
    ///
    /// # Errors
    /// Where any element would have to refuse it (RFC 3261 16.3, RFC 4475).
    pub fn parse(bytes: Bytes, limits: &Limits) -> Result<Self, Rejected> {
        let blank = bytes
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))
            .unwrap_or(bytes.len());
        let bytes = if blank == 0 {
            bytes
        } else {
            bytes.slice(blank..)
        };
        let nothing = |reason| Rejected {
            defect: Defect::bad(reason),
            request: None,
        };
        let Some(newline) = memchr::memchr(b'\n', &bytes) else {
            return Err(nothing("No Line"));
        };
        let Some((line, _)) = bytes.split_at_checked(newline) else {
            return Err(nothing("No Line"));
        };
        let line_defect = (!line.ends_with(b"\r")).then_some(Defect::bad("Bad Line End"));
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let Some((start, method_text, target, defect)) = start_line(line) else {
            return Err(nothing("Not SIP"));
        };
        let mut message = Self {
            start,
            method_text,
            target,
            headers: Vec::with_capacity(16),
            headers_end: 0,
            bytes: bytes.clone(),
        };
        let headers_defect = message.index_headers(newline + 1, limits);
        let body_defect = message.cut_body();
        let defect = line_defect
            .or(defect)
            .or(headers_defect)
            .or(body_defect)
            .or_else(|| check::check(&message, limits));
        match defect {
            None => Ok(message),
            Some(defect) => {
                let answerable = message.is_request() && message.value(HeaderName::Via).is_some();
                Err(Rejected {
                    defect,
                    request: answerable.then(|| Box::new(message)),
                })
            }
        }
    }

    /// Indexes the header lines from `at` on, past what is wrong with one of them.
    fn index_headers(&mut self, mut at: usize, limits: &Limits) -> Option<Defect> {
        let bytes = self.bytes.clone();
        let mut defect = None;
        loop {
            let rest = bytes.get(at..).unwrap_or_default();
            if rest.starts_with(b"\r\n") {
                self.headers_end = Span::new(at + 2, at + 2).start;
                return defect;
            }
            let Some((length, sound)) = line_length(rest) else {
                self.headers_end = Span::new(bytes.len(), bytes.len()).start;
                return defect.or(Some(Defect::bad("Truncated Header")));
            };
            if !sound {
                defect = defect.or(Some(Defect::bad("Bad Line End")));
            }
            let line = rest.get(..length).unwrap_or_default();
            match header(line, at) {
                Some(_) if self.headers.len() >= limits.headers => {
                    defect = defect.or(Some(Defect::bad("Too Many Headers")));
                }
                Some(header) => self.headers.push(header),
                None => defect = defect.or(Some(Defect::bad("Bad Header"))),
            }
            at += length;
        }
    }

    /// Finds where the body ends, and drops what follows.
    fn cut_body(&mut self) -> Option<Defect> {
        let mut lengths = self.lines(HeaderName::ContentLength);
        let first = lengths.next()?;
        if lengths.next().is_some() {
            return Some(Defect::bad("Multiple Content-Length"));
        }
        drop(lengths);
        let Some(length) = decimal::<u32>(first) else {
            return Some(Defect::bad("Bad Content-Length"));
        };
        let end = self.headers_end as usize + length as usize;
        if end > self.bytes.len() {
            return Some(Defect::bad("Content-Length Beyond Message"));
        }
        self.bytes.truncate(end);
        None
    }
}

/// Reads the first line as far as it can be read; `None` where it is not SIP's at all.
fn start_line(line: &[u8]) -> Option<(Start, Span, Span, Option<Defect>)> {
    if line
        .get(..4)
        .is_some_and(|start| start.eq_ignore_ascii_case(b"SIP/"))
    {
        return status_line(line);
    }
    let (method, rest) = take_token(line)?;
    // Somebody who does not end the line with a version does not speak SIP, and would only be
    // confused by an answer in it.
    let version = memchr::memmem::rfind(rest, b"SIP/")?;
    let (middle, version) = rest.split_at_checked(version)?;
    let uri = trim(middle);
    let uri_start = method.len() + middle.len() - middle.trim_ascii_start().len();
    let target = Span::new(uri_start, uri_start + uri.len());
    let single_spaces = middle
        .strip_prefix(b" ")
        .and_then(|middle| middle.strip_suffix(b" "))
        .is_some_and(|middle| !middle.is_empty() && !middle.iter().any(u8::is_ascii_whitespace));
    let defect = if !single_spaces {
        Some(Defect::bad("Bad Request-Line"))
    } else if version.eq_ignore_ascii_case(b"SIP/2.0") {
        None
    } else if is_version(version) {
        Some(Defect {
            status: 505,
            reason: "Version Not Supported",
        })
    } else {
        Some(Defect::bad("Bad Request-Line"))
    };
    let start = Start::Request(Method::from_bytes(method));
    Some((start, Span::new(0, method.len()), target, defect))
}

fn is_version(version: &[u8]) -> bool {
    version.get(4..).is_some_and(|numbers| {
        let mut parts = numbers.split(|byte| *byte == b'.');
        let number = |part: Option<&[u8]>| part.is_some_and(|part| decimal::<u32>(part).is_some());
        number(parts.next()) && number(parts.next()) && parts.next().is_none()
    })
}

fn status_line(line: &[u8]) -> Option<(Start, Span, Span, Option<Defect>)> {
    let rest = line.get(7..)?;
    let defect = (!line
        .get(..7)
        .is_some_and(|version| version.eq_ignore_ascii_case(b"SIP/2.0")))
    .then_some(Defect::bad("Version Not Supported"));
    let rest = rest.strip_prefix(b" ")?;
    let code = rest
        .iter()
        .position(|byte| *byte == b' ')
        .unwrap_or(rest.len());
    let status: u16 = decimal(rest.get(..code)?)?;
    // The grammar has a space even before an empty reason; a peer that forgets it is understood.
    let reason = (8 + code + 1).min(line.len());
    if code != 3 || !(100..700).contains(&status) {
        return None;
    }
    Some((
        Start::Response(status),
        Span::default(),
        Span::new(reason, line.len()),
        defect,
    ))
}

/// The length of a header line with its folds and its end, and whether all its CRs and LFs are
/// paired; `None` where it does not end. A lone CR or LF is what another element might take for a
/// line's end, and so is never let through.
fn line_length(text: &[u8]) -> Option<(usize, bool)> {
    let mut sound = true;
    let mut from = 0;
    loop {
        let at = from + memchr::memchr2(b'\r', b'\n', text.get(from..)?)?;
        let paired = text.get(at..at + 2) == Some(b"\r\n");
        if text.get(at) == Some(&b'\r') && !paired {
            sound = false;
            from = at + 1;
            continue;
        }
        sound &= paired;
        let next = if paired { at + 2 } else { at + 1 };
        match text.get(next) {
            Some(b' ' | b'\t') => from = next + 1,
            _ => return Some((next, sound)),
        }
    }
}

fn header(line: &[u8], at: usize) -> Option<Header> {
    let colon = memchr::memchr(b':', line)?;
    let (name, value) = line.split_at_checked(colon)?;
    let name = name.trim_ascii_end();
    if !is_token(name) {
        return None;
    }
    let value = value.get(1..)?;
    let trimmed = trim(value);
    let start = at + colon + 1 + value.len() - super::lex::trim_start(value).len();
    Some(Header {
        name: HeaderName::from_bytes(name),
        name_text: Span::new(at, at + name.len()),
        value: Span::new(start, start + trimmed.len()),
        line: Span::new(at, at + line.len()),
    })
}

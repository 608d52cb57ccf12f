//! Changes to a message, applied once: everything they do not touch goes out as it came in.

use bytes::Bytes;

use super::{
    HeaderName, Message,
    lex::{find_outside, trim_start},
    message::{Header, Span},
};

/// A list of changes to one message.
pub struct Edit<'m> {
    message: &'m Message,
    splices: Vec<Splice>,
    text: Vec<u8>,
}

struct Splice {
    replaced: Span,
    text: Span,
}

impl<'m> Edit<'m> {
    /// No changes so far.
    #[must_use]
    pub const fn new(message: &'m Message) -> Self {
        Self {
            message,
            splices: Vec::new(),
            text: Vec::new(),
        }
    }

    /// Sends a request elsewhere (RFC 3261 16.6 step 2).
    pub fn set_uri(&mut self, uri: &[u8]) {
        if self.message.is_request() {
            self.splice(self.message.target, &[uri]);
        }
    }

    /// Puts a header line in front of those of its name, or, where there are none, first of all:
    /// how Via, Route and Record-Route are pushed.
    pub fn push(&mut self, name: HeaderName, value: &[u8]) {
        let at = self
            .line(name)
            .or_else(|| self.message.headers.first())
            .map_or(self.last_line(), |header| header.line.start);
        self.insert(at, name, value);
    }

    /// Puts a header line behind all others.
    pub fn append(&mut self, name: HeaderName, value: &[u8]) {
        self.insert(self.last_line(), name, value);
    }

    /// Replaces the value of a header, or adds the header where there is none.
    pub fn set(&mut self, name: HeaderName, value: &[u8]) {
        match self.line(name).copied() {
            Some(header) => self.splice(header.value, &[value]),
            None => self.append(name, value),
        }
    }

    /// Takes the first `count` values off a list header: how Via and Route are popped.
    pub fn pop(&mut self, name: HeaderName, count: usize) {
        let mut left = count;
        for header in &self.message.headers {
            if left == 0 {
                return;
            }
            if header.name == name {
                left = self.pop_values(header, left);
            }
        }
    }

    /// Takes the last value off a list header.
    pub fn pop_last(&mut self, name: HeaderName) {
        let mut lines = self.message.headers.iter().rev();
        let Some(header) = lines.find(|header| header.name == name) else {
            return;
        };
        let value = self.message.text(header.value);
        let mut last = None;
        let mut from = 0;
        while let Some(comma) = find_outside(value.get(from..).unwrap_or_default(), b',') {
            last = Some(from + comma);
            from += comma + 1;
        }
        match last {
            Some(comma) => {
                let start = header.value.start as usize + comma;
                self.splice(Span::new(start, header.value.end as usize), &[]);
            }
            None => self.splice(header.line, &[]),
        }
    }

    /// Takes a header away altogether.
    pub fn remove(&mut self, name: HeaderName) {
        self.remove_where(name, |_| true);
    }

    /// Takes away those lines of a name whose value is `unwanted`.
    pub fn remove_where(&mut self, name: HeaderName, unwanted: impl Fn(&[u8]) -> bool) {
        for header in &self.message.headers {
            if header.name == name && unwanted(self.message.text(header.value)) {
                self.splice(header.line, &[]);
            }
        }
    }

    /// Replaces the first value of a list header, as the Via that says where the message came from.
    pub fn replace_first(&mut self, name: HeaderName, text: &[u8]) {
        let Some(header) = self.line(name).copied() else {
            return;
        };
        let value = self.message.text(header.value);
        let first = find_outside(value, b',').unwrap_or(value.len());
        let first = value.get(..first).unwrap_or_default();
        let start = header.value.start as usize;
        self.splice(
            Span::new(start, start + first.trim_ascii_end().len()),
            &[text],
        );
    }

    /// The changed message.
    #[must_use]
    pub fn finish(mut self) -> Bytes {
        let bytes = self.message.bytes();
        // Stable: what was inserted at one place stays in the order in which it was, and in front
        // of what is replaced there.
        self.splices
            .sort_by_key(|splice| (splice.replaced.start, splice.replaced.end));
        let mut changed = Vec::with_capacity(bytes.len() + self.text.len());
        let mut copied = 0;
        for splice in &self.splices {
            let replaced = splice.replaced.range();
            // A change inside a line that another change removed has nothing left to change.
            if replaced.start < copied {
                continue;
            }
            changed.extend_from_slice(bytes.get(copied..replaced.start).unwrap_or_default());
            changed.extend_from_slice(self.text.get(splice.text.range()).unwrap_or_default());
            copied = replaced.end.max(copied);
        }
        changed.extend_from_slice(bytes.get(copied..).unwrap_or_default());
        changed.into()
    }

    fn pop_values(&mut self, header: &Header, count: usize) -> usize {
        let value = self.message.text(header.value);
        let mut rest = value;
        let mut left = count;
        while left > 0 {
            left -= 1;
            let Some(comma) = find_outside(rest, b',') else {
                self.splice(header.line, &[]);
                return left;
            };
            rest = trim_start(rest.get(comma + 1..).unwrap_or_default());
        }
        let cut = header.value.start as usize + value.len() - rest.len();
        self.splice(Span::new(header.value.start as usize, cut), &[]);
        0
    }

    fn line(&self, name: HeaderName) -> Option<&'m Header> {
        self.message
            .headers
            .iter()
            .find(|header| header.name == name)
    }

    /// Where a line behind all others begins: at the empty line's CRLF.
    fn last_line(&self) -> u32 {
        self.message.headers_end.saturating_sub(2)
    }

    fn insert(&mut self, at: u32, name: HeaderName, value: &[u8]) {
        let at = Span { start: at, end: at };
        self.splice(at, &[name.as_str().as_bytes(), b": ", value, b"\r\n"]);
    }

    fn splice(&mut self, replaced: Span, pieces: &[&[u8]]) {
        let start = self.text.len();
        for piece in pieces {
            self.text.extend_from_slice(piece);
        }
        let text = Span::new(start, self.text.len());
        self.splices.push(Splice { replaced, text });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Limits;

    fn message(text: &str) -> Message {
        let text = text.replace('\n', "\r\n");
        Message::parse(Bytes::from(text), &Limits::default())
            .unwrap_or_else(|rejected| panic!("{}", rejected.defect))
    }

    fn check(before: &str, change: impl FnOnce(&mut Edit<'_>), after: &str) {
        let message = message(before);
        let mut edit = Edit::new(&message);
        change(&mut edit);
        let changed = String::from_utf8_lossy(&edit.finish()).replace("\r\n", "\n");
        assert_eq!(changed, after);
    }

    const INVITE: &str = "INVITE sip:bob@example.org SIP/2.0
v: SIP/2.0/UDP a;branch=z9hG4bK1 , SIP/2.0/UDP b;branch=z9hG4bK2
Route: <sip:one;lr>,  <sip:two;lr>
Route: <sip:three;lr>
f: <sip:alice@example.org>;tag=1
To: <sip:bob@example.org>
Call-ID: x
CSeq: 1 INVITE
Odd:   kept  as
  it is

body";

    #[test]
    fn untouched_is_byte_exact() {
        check(INVITE, |_| {}, INVITE);
    }

    #[test]
    fn a_proxy_changes_only_what_it_must() {
        check(
            INVITE,
            |edit| {
                edit.set_uri(b"sip:bob@192.0.2.4:5070");
                edit.replace_first(
                    HeaderName::Via,
                    b"SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.1",
                );
                edit.push(HeaderName::Via, b"SIP/2.0/TCP c;branch=z9hG4bK3");
                edit.pop(HeaderName::Route, 1);
                edit.push(HeaderName::RecordRoute, b"<sip:us;lr>");
                edit.set(HeaderName::MaxForwards, b"70");
            },
            "INVITE sip:bob@192.0.2.4:5070 SIP/2.0
Via: SIP/2.0/TCP c;branch=z9hG4bK3
Record-Route: <sip:us;lr>
v: SIP/2.0/UDP a;branch=z9hG4bK1;received=192.0.2.1 , SIP/2.0/UDP b;branch=z9hG4bK2
Route: <sip:two;lr>
Route: <sip:three;lr>
f: <sip:alice@example.org>;tag=1
To: <sip:bob@example.org>
Call-ID: x
CSeq: 1 INVITE
Odd:   kept  as
  it is
Max-Forwards: 70

body",
        );
    }

    #[test]
    fn values_are_popped_across_lines() {
        check(
            INVITE,
            |edit| {
                edit.pop(HeaderName::Route, 2);
                edit.pop(HeaderName::Via, 1);
            },
            "INVITE sip:bob@example.org SIP/2.0
v: SIP/2.0/UDP b;branch=z9hG4bK2
Route: <sip:three;lr>
f: <sip:alice@example.org>;tag=1
To: <sip:bob@example.org>
Call-ID: x
CSeq: 1 INVITE
Odd:   kept  as
  it is

body",
        );
    }
}

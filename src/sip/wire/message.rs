//! A message: the bytes that arrived and an index over them.

use bytes::Bytes;

use super::{Address, HeaderName, Malformed, Method, Uri, Values, Via, lex};

/// A stretch of the message's bytes. Messages are far below 4 GiB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Span {
    pub(super) fn new(start: usize, end: usize) -> Self {
        // Saturating keeps a span that could not exist empty rather than wrong.
        let clamp = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            start: clamp(start),
            end: clamp(end),
        }
    }

    pub(super) const fn range(self) -> std::ops::Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// One header line, or several where it is folded.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) name: HeaderName,
    pub(super) name_text: Span,
    pub(super) value: Span,
    /// From the name's first byte up to the next line's.
    pub(super) line: Span,
}

/// The first line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Start {
    /// A request.
    Request(Method),
    /// A response, with its status.
    Response(u16),
}

/// A CSeq header's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cseq<'a> {
    /// The number, below 2^31.
    pub number: u32,
    /// The method's name as written.
    pub method: &'a [u8],
}

/// A message, checked as far as every element must check one: the lines are well-formed, what must
/// be there is there once, and From, To, Call-ID, CSeq and the first Via can be read. Other headers
/// are read when asked for.
#[derive(Debug, Clone)]
pub struct Message {
    pub(super) bytes: Bytes,
    pub(super) start: Start,
    pub(super) method_text: Span,
    /// The request's URI, or the response's reason.
    pub(super) target: Span,
    pub(super) headers: Vec<Header>,
    pub(super) headers_end: u32,
}

impl Message {
    /// The message as it goes over the wire.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// What its first line says.
    #[must_use]
    pub const fn start(&self) -> Start {
        self.start
    }

    /// Whether it asks rather than answers.
    #[must_use]
    pub const fn is_request(&self) -> bool {
        matches!(self.start, Start::Request(_))
    }

    /// A response's status.
    #[must_use]
    pub const fn status(&self) -> Option<u16> {
        match self.start {
            Start::Response(status) => Some(status),
            Start::Request(_) => None,
        }
    }

    /// The request's method, or that of the request a response answers.
    #[must_use]
    pub fn method(&self) -> Method {
        match self.start {
            Start::Request(method) => method,
            Start::Response(_) => self
                .cseq()
                .map_or(Method::Other, |cseq| Method::from_bytes(cseq.method)),
        }
    }

    /// The request's method as written; empty for a response.
    #[must_use]
    pub fn method_text(&self) -> &[u8] {
        self.text(self.method_text)
    }

    /// The request's URI as written; empty for a response.
    #[must_use]
    pub fn uri_text(&self) -> &[u8] {
        match self.start {
            Start::Request(_) => self.text(self.target),
            Start::Response(_) => &[],
        }
    }

    /// The request's URI.
    ///
    /// # Errors
    /// Where it is malformed, or this is a response.
    pub fn uri(&self) -> Result<Uri<'_>, Malformed> {
        Uri::parse(self.uri_text()).map_err(|_| Malformed("Request-URI"))
    }

    /// The response's reason phrase as written; empty for a request.
    #[must_use]
    pub fn reason(&self) -> &[u8] {
        match self.start {
            Start::Request(_) => &[],
            Start::Response(_) => self.text(self.target),
        }
    }

    /// Every header line in order: its identity, its name as written, and its value.
    pub fn headers(&self) -> impl Iterator<Item = (HeaderName, &[u8], &[u8])> {
        self.headers.iter().map(|header| {
            (
                header.name,
                self.text(header.name_text),
                self.text(header.value),
            )
        })
    }

    /// The values of every line of that name, each as written, lists unsplit.
    pub fn lines(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.headers
            .iter()
            .filter(move |header| header.name == name)
            .map(|header| self.text(header.value))
    }

    /// The value of the first line of that name.
    #[must_use]
    pub fn value(&self, name: HeaderName) -> Option<&[u8]> {
        self.lines(name).next()
    }

    /// The items of all lines of that name, for headers that are comma-separated lists.
    pub fn list(&self, name: HeaderName) -> impl Iterator<Item = &[u8]> {
        self.lines(name).flat_map(Values::new)
    }

    /// The value of a header the server does not intern.
    #[must_use]
    pub fn other(&self, name: &str) -> Option<&[u8]> {
        self.headers()
            .find(|(id, text, _)| {
                *id == HeaderName::Other && text.eq_ignore_ascii_case(name.as_bytes())
            })
            .map(|(_, _, value)| value)
    }

    /// The first Via: who sent this message, or, in a response, who it is for.
    ///
    /// # Errors
    /// Where there is none that can be read; a checked message has one.
    pub fn via(&self) -> Result<Via<'_>, Malformed> {
        let first = self.list(HeaderName::Via).next().unwrap_or_default();
        Via::parse(first)
    }

    /// Who the request is from, or was.
    ///
    /// # Errors
    /// Where it cannot be read; a checked message's can.
    pub fn from(&self) -> Result<Address<'_>, Malformed> {
        Address::parse(self.value(HeaderName::From).unwrap_or_default(), "From")
    }

    /// Who the request is for, or was.
    ///
    /// # Errors
    /// Where it cannot be read; a checked message's can.
    pub fn to(&self) -> Result<Address<'_>, Malformed> {
        Address::parse(self.value(HeaderName::To).unwrap_or_default(), "To")
    }

    /// From's tag.
    #[must_use]
    pub fn from_tag(&self) -> Option<&[u8]> {
        self.from().ok()?.tag()
    }

    /// To's tag: there where the message belongs to a dialog.
    #[must_use]
    pub fn to_tag(&self) -> Option<&[u8]> {
        self.to().ok()?.tag()
    }

    /// What all messages of a call have in common; empty in an unchecked message without one.
    #[must_use]
    pub fn call_id(&self) -> &[u8] {
        self.value(HeaderName::CallId).unwrap_or_default()
    }

    /// The place of the request in its dialog.
    ///
    /// # Errors
    /// Where it cannot be read; a checked message's can.
    pub fn cseq(&self) -> Result<Cseq<'_>, Malformed> {
        let bad = Malformed("CSeq");
        let value = self.value(HeaderName::CSeq).ok_or(bad)?;
        let digits = value
            .iter()
            .position(|byte| lex::is_space(*byte))
            .and_then(|at| value.split_at_checked(at));
        let (number, method) = digits.ok_or(bad)?;
        let method = lex::trim(method);
        // RFC 3261 8.1.1.5: less than 2^31.
        let number = lex::decimal::<u32>(number)
            .filter(|number| *number < 1 << 31)
            .ok_or(bad)?;
        if !lex::is_token(method) {
            return Err(bad);
        }
        Ok(Cseq { number, method })
    }

    /// How many more hops the request may take, where it says.
    #[must_use]
    pub fn max_forwards(&self) -> Option<u8> {
        lex::decimal(self.value(HeaderName::MaxForwards)?)
    }

    /// The Expires header in seconds. What is out of range counts as absent, as RFC 4475 3.1.2.4
    /// proposes.
    #[must_use]
    pub fn expires(&self) -> Option<u32> {
        lex::decimal(self.value(HeaderName::Expires)?)
    }

    /// Whether a list of option tags names `tag`.
    #[must_use]
    pub fn has_option(&self, name: HeaderName, tag: &str) -> bool {
        self.list(name)
            .any(|item| item.eq_ignore_ascii_case(tag.as_bytes()))
    }

    /// What follows the headers.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        self.bytes
            .get(self.headers_end as usize..)
            .unwrap_or_default()
    }

    pub(super) fn text(&self, span: Span) -> &[u8] {
        self.bytes.get(span.range()).unwrap_or_default()
    }
}

//! Streams in pieces, as the web's transports carry them (RFC 7395 3, XEP-0206): no element around
//! all, but each piece an XML document of its own.
//!
//! The stream itself stays what it is over TCP. These two turn one form into the other.

use super::{
    Element, Flaw, Frame, Framer, Limits, Scope,
    element::write_value,
    ns,
    stream::{self, StreamHeader},
};

/// What a piece that a client sent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// A header.
    Header,
    /// Something in the stream.
    Element,
    /// The end.
    Footer,
}

/// Turns a client's pieces into a stream.
#[derive(Debug)]
pub struct Inward {
    /// Counts, and sees to it that a piece is one element.
    framer: Framer,
}

impl Inward {
    /// Expects pieces of at most so much.
    pub fn new(limits: Limits) -> Inward {
        let mut framer = Framer::new(limits);
        // A stream that is open: only elements are left to come.
        let mut header: &[u8] = b"<s>";
        let opened = framer.next(&mut header);
        debug_assert!(matches!(opened, Ok(Some(Frame::Header(_)))));
        Inward { framer }
    }

    /// Sets other limits.
    pub fn limit(&mut self, limits: Limits) {
        self.framer.limit(limits);
    }

    /// Appends to `out` what a piece is in a stream (RFC 7395 3.3.3: exactly one element). A header
    /// is one only where it is `due`.
    ///
    /// # Errors
    /// Where it is no such piece.
    pub fn piece(&mut self, piece: &[u8], due: bool, out: &mut String) -> Result<Sent, Flaw> {
        let piece = piece.trim_ascii_end();
        if piece.first() != Some(&b'<') {
            return Err(Flaw::NotWellFormed);
        }
        let mut input = piece;
        let whole = match self.framer.next(&mut input)? {
            Some(Frame::Stanza(bytes)) => bytes.len() == piece.len(),
            _ => false,
        };
        let text = str::from_utf8(piece).map_err(|_| Flaw::NotWellFormed)?;
        if !whole {
            return Err(Flaw::NotWellFormed);
        }
        if text.starts_with("<open") || text.starts_with("<close") {
            let element = Element::parse(piece, &Scope::client())?;
            if due && element.is("open", ns::FRAMING) {
                open(&element, out);
                return Ok(Sent::Header);
            }
            if element.is("close", ns::FRAMING) {
                out.push_str(stream::CLOSE);
                return Ok(Sent::Footer);
            }
        }
        out.push_str(text);
        Ok(Sent::Element)
    }
}

/// The header that says what the attributes of `<open/>`, or of BOSH's first `<body/>`, say.
pub fn open(element: &Element, out: &mut String) {
    header(
        element.get_attr("to"),
        element.get_attr("from"),
        element.get_attr("version"),
        element.lang(),
        out,
    );
}

/// A client's header.
pub fn header(
    to: Option<&str>,
    from: Option<&str>,
    version: Option<&str>,
    lang: Option<&str>,
    out: &mut String,
) {
    out.push_str("<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='");
    out.push_str(ns::STREAM);
    let attributes = [
        ("to", to),
        ("from", from),
        ("version", version),
        ("xml:lang", lang),
    ];
    for (name, value) in attributes {
        if let Some(value) = value {
            out.push_str("' ");
            out.push_str(name);
            out.push_str("='");
            write_value(out, value);
        }
    }
    out.push_str("'>");
}

/// What the server says, in pieces.
#[derive(Debug, PartialEq, Eq)]
pub enum Said {
    /// A header.
    Header(Box<StreamHeader>),
    /// Something in the stream, that needs nothing around it.
    Element(String),
    /// The end.
    Footer,
}

impl Said {
    /// As RFC 7395 has it.
    pub fn into_text(self) -> String {
        match self {
            Said::Header(header) => {
                let mut open = Element::new("open", ns::FRAMING)
                    .attr_opt("from", header.from.as_ref().map(ToString::to_string))
                    .attr_opt("to", header.to.as_ref().map(ToString::to_string))
                    .attr_opt("id", header.id)
                    .attr("version", "1.0");
                if let Some(lang) = header.lang {
                    open.set_lang(lang);
                }
                open.to_document()
            }
            Said::Element(text) => text,
            Said::Footer => "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>".to_owned(),
        }
    }
}

/// Takes our own stream apart.
#[derive(Debug)]
pub struct Outward {
    framer: Framer,
    /// The first byte of a piece came alone.
    begun: bool,
}

/// What we say is bounded where it is made.
const UNLIMITED: Limits = Limits {
    bytes: usize::MAX,
    elements: usize::MAX,
    depth: usize::MAX,
};

impl Default for Outward {
    fn default() -> Outward {
        Outward {
            framer: Framer::new(UNLIMITED),
            begun: false,
        }
    }
}

impl Outward {
    /// Takes the next piece off the front of `input`; none if none ends in it.
    ///
    /// # Errors
    /// Where it is no stream of ours.
    pub fn next(&mut self, input: &mut &[u8]) -> Result<Option<Said>, Flaw> {
        if !self.framer.is_partial() {
            if !self.begun {
                *input = input.trim_ascii_start();
            }
            let begun = std::mem::take(&mut self.begun);
            if !begun && *input == b"<" {
                *input = &[];
                self.begun = true;
                return Ok(None);
            }
            // A stream begins anew behind a login.
            if input.starts_with(if begun { &b"?"[..] } else { b"<?" }) {
                self.framer.restart();
            }
            if begun {
                let mut first: &[u8] = b"<";
                self.framer.next(&mut first)?;
            }
        }
        Ok(match self.framer.next(input)? {
            Some(Frame::Header(bytes)) => {
                let header = StreamHeader::parse(bytes).map_err(|_| Flaw::NotWellFormed)?;
                Some(Said::Header(Box::new(header)))
            }
            Some(Frame::Stanza(bytes)) => {
                let text = str::from_utf8(bytes).map_err(|_| Flaw::NotWellFormed)?;
                Some(Said::Element(alone(text)))
            }
            Some(Frame::Footer(_)) => Some(Said::Footer),
            None => None,
        })
    }
}

/// An element with the namespaces in it that it has from the stream's header.
fn alone(text: &str) -> String {
    let name = text
        .strip_prefix('<')
        .unwrap_or_default()
        .find(|c: char| c.is_ascii_whitespace() || c == '/' || c == '>')
        .unwrap_or_default();
    let (tag, rest) = text.split_at_checked(name + 1).unwrap_or((text, ""));
    let mut out = String::with_capacity(text.len() + 64);
    out.push_str(tag);
    if tag.starts_with("<stream:") {
        out.push_str(" xmlns:stream='");
        out.push_str(ns::STREAM);
        out.push('\'');
    }
    if !has_default(rest) {
        out.push_str(" xmlns='");
        out.push_str(ns::CLIENT);
        out.push('\'');
    }
    out.push_str(rest);
    out
}

/// Whether the attributes that a start tag goes on with declare a default namespace.
fn has_default(mut rest: &str) -> bool {
    loop {
        rest = rest.trim_ascii_start();
        if rest.starts_with('>') || rest.starts_with('/') {
            return false;
        }
        let Some((name, value)) = rest.split_once('=') else {
            return false;
        };
        if name.trim_ascii_end() == "xmlns" {
            return true;
        }
        let value = value.trim_ascii_start();
        let Some(quote) = value.chars().next() else {
            return false;
        };
        let Some((_, after)) = value
            .strip_prefix(quote)
            .and_then(|value| value.split_once(quote))
        else {
            return false;
        };
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn inward(piece: &str, due: bool) -> Result<String, Flaw> {
        let mut out = String::new();
        Inward::new(Limits::UNAUTHENTICATED)
            .piece(piece.as_bytes(), due, &mut out)
            .map(|_| out)
    }

    const OPEN: &str =
        "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to=\"example.com\" version=\"1.0\" />";

    #[test]
    fn rfc_7395_3_from_the_client() {
        let header = inward(OPEN, true).unwrap();
        assert_eq!(
            header,
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' \
             xmlns:stream='http://etherx.jabber.org/streams' to='example.com' version='1.0'>"
        );
        assert!(StreamHeader::parse(header.as_bytes()).is_ok());
        // Where none is due it is nothing.
        assert_eq!(inward(OPEN, false).as_deref(), Ok(OPEN));
        assert_eq!(
            inward(
                "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing' />",
                false
            )
            .as_deref(),
            Ok("</stream:stream>")
        );
        let message = "<message xmlns='jabber:client'><body>a</body></message>\n";
        assert_eq!(inward(message, true).as_deref(), Ok(message.trim_end()));
        for wrong in [
            "",
            " <a/>",
            "x",
            "<a/><b/>",
            "<a>",
            "<a/>x",
            "</a>",
            "<stream:stream>",
            "<?xml version='1.0'?><a/>",
            "<!-- --><a/>",
            "<open",
        ] {
            assert!(inward(wrong, true).is_err(), "{wrong}");
        }
        let mut pieces = Inward::new(Limits::UNAUTHENTICATED);
        let mut out = String::new();
        for _ in 0..100 {
            assert!(pieces.piece(b"<a><b/></a>", true, &mut out).is_ok());
        }
        let big = format!("<a>{}</a>", "x".repeat(9000));
        let seen = pieces.piece(big.as_bytes(), true, &mut out);
        assert_eq!(seen, Err(Flaw::TooBig));
    }

    #[test]
    fn attributes_are_escaped() {
        let open = OPEN.replace("example.com", "a' x='&lt;");
        let header = inward(&open, true).unwrap();
        let seen = StreamHeader::parse(header.as_bytes());
        assert!(seen.is_err_and(|error| error.condition.as_str() == "host-unknown"));
    }

    fn outward(text: &str) -> Vec<String> {
        let mut pieces = Outward::default();
        let mut seen = Vec::new();
        for mut piece in text.as_bytes().chunks(7) {
            while let Some(said) = pieces.next(&mut piece).unwrap() {
                seen.push(said.into_text());
            }
        }
        seen
    }

    #[test]
    fn rfc_7395_3_from_the_server() {
        let header = stream::open(Some("example.com"), None, "x1");
        let text = format!(
            "{header}<stream:features><a xmlns='u'/></stream:features><success xmlns='s'/> \
             {header}<message to='a' x=\"' xmlns='\"><body/></message>{}",
            "<stream:error><reset xmlns='e'/></stream:error></stream:stream>"
        );
        let open = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' from='example.com' \
                    id='x1' version='1.0' xml:lang='en'/>";
        let stream = "xmlns:stream='http://etherx.jabber.org/streams' xmlns='jabber:client'";
        assert_eq!(
            outward(&text),
            [
                open,
                &format!("<stream:features {stream}><a xmlns='u'/></stream:features>"),
                "<success xmlns='s'/>",
                open,
                "<message xmlns='jabber:client' to='a' x=\"' xmlns='\"><body/></message>",
                &format!("<stream:error {stream}><reset xmlns='e'/></stream:error>"),
                "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>",
            ]
        );
    }
}

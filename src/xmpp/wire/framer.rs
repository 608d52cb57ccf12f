//! Bytes → frames: finds where the stream header, each stanza and the stream's end begin and stop.
//!
//! A byte state machine that can stop after any byte and go on with the next read. It looks at
//! nothing but the tokens that decide an element's extent, and counts bytes, elements and depth
//! *while* reading, so that no peer makes us buffer more than [`Limits`] allow. It also refuses what
//! RFC 6120 11.1 bans (document type declarations, processing instructions, comments) as soon as it
//! begins. Whether a frame is well-formed is for [`super::scan`] to say; the scanner demands that a
//! stanza's bytes are exactly one element, so a wrong boundary can't get past it.

use memchr::{memchr, memchr2, memchr3};

use super::{Flaw, chars::is_space};

/// How much one frame may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one stanza or stream header.
    pub bytes: usize,
    /// Elements in one stanza.
    pub elements: usize,
    /// Nesting of elements in one stanza.
    pub depth: usize,
}

impl Limits {
    /// Before a client has proven who it is: enough for every login, too little to hurt.
    pub const UNAUTHENTICATED: Limits = Limits {
        bytes: 8 * 1024,
        elements: 32,
        depth: 16,
    };
    /// For clients that are logged in. RFC 6120 13.12 asks for at least 10,000 bytes.
    pub const CLIENT: Limits = Limits {
        bytes: 256 * 1024,
        elements: 8192,
        depth: 64,
    };
}

/// One complete piece of a stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Frame<'a> {
    /// The XML declaration, if there is one, and the opening stream tag.
    Header(&'a [u8]),
    /// A first-level child of the stream: a stanza, or one of TLS, SASL and their like.
    Stanza(&'a [u8]),
    /// The closing stream tag.
    Footer(&'a [u8]),
}

/// Cuts one direction of a stream into frames.
#[derive(Debug)]
pub struct Framer {
    limits: Limits,
    place: Place,
    /// The beginning of a frame whose end hasn't come yet. Empty whenever the peer is idle.
    tail: Vec<u8>,
    /// The frame in `tail` was handed out and goes at the next call.
    spent: bool,
    depth: usize,
    elements: usize,
    /// The last byte of the tag so far: a slash makes it an empty-element tag.
    last: u8,
    /// The XML declaration has come.
    declared: bool,
    /// The stream header has come.
    opened: bool,
}

/// Where the next byte stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Between frames.
    Between,
    /// In character data of a stanza.
    Text,
    /// Right after `<`.
    Markup,
    /// In a start tag.
    Tag,
    /// In an attribute's value.
    Quoted(u8),
    /// In an end tag.
    EndTag,
    /// In `<![CDATA[`, so many bytes of [`CDATA`] matched.
    Bang(usize),
    /// In a CDATA section, after so many `]`.
    CData(u8),
    /// In the XML declaration; whether the last byte was `?`.
    Declaration(bool),
    /// The stream is closed.
    Closed,
}

const CDATA: &[u8] = b"[CDATA[";

impl Framer {
    /// Waits for a stream header.
    pub fn new(limits: Limits) -> Self {
        Framer {
            limits,
            place: Place::Between,
            tail: Vec::new(),
            spent: false,
            depth: 0,
            elements: 0,
            last: 0,
            declared: false,
            opened: false,
        }
    }

    /// Sets other limits, from the next frame on.
    pub fn limit(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// Expects a new stream header: after STARTTLS and SASL the stream begins anew (RFC 6120 4.3.3).
    pub fn restart(&mut self) {
        *self = Framer::new(self.limits);
    }

    /// Whether an incomplete frame is held.
    pub fn is_partial(&self) -> bool {
        !self.spent && !self.tail.is_empty()
    }

    /// Takes bytes off the front of `input` up to the end of the next frame, and returns it; or all
    /// of `input` if no frame ends in it. A frame that lies in `input` as a whole isn't copied.
    ///
    /// # Errors
    /// What the peer did that no stream survives. The framer is of no use afterwards.
    pub fn next<'a, 'i: 'a>(&'a mut self, input: &mut &'i [u8]) -> Result<Option<Frame<'a>>, Flaw> {
        if std::mem::take(&mut self.spent) {
            // Dropped, not cleared: an idle connection holds no buffer.
            self.tail = Vec::new();
        }
        let bytes = *input;
        let mut at = 0;
        // Where the frame begins in `bytes`; one begun earlier goes on at 0.
        let mut start = 0;
        loop {
            // RFC 6120 4.4: nothing after the closing tag counts.
            if self.place == Place::Closed {
                *input = &[];
                return Ok(None);
            }
            if self.place == Place::Between {
                let Some(rest) = bytes.get(at..) else { break };
                let Some(skip) = rest.iter().position(|&b| !is_space(b)) else {
                    at = bytes.len();
                    start = at;
                    break;
                };
                at += skip;
                start = at;
            }
            let Some(step) = self.step(bytes.get(at..).unwrap_or_default())? else {
                at = bytes.len();
                break;
            };
            at += step.taken;
            if let Some(end) = step.ended {
                let (whole, rest) = bytes.split_at_checked(at).ok_or(Flaw::NotWellFormed)?;
                *input = rest;
                let new = whole.get(start..).unwrap_or_default();
                if self.tail.len() + new.len() > self.limits.bytes {
                    return Err(Flaw::TooBig);
                }
                let frame = if self.tail.is_empty() {
                    new
                } else {
                    self.tail.extend_from_slice(new);
                    self.spent = true;
                    &self.tail
                };
                return Ok(Some(match end {
                    End::Header => Frame::Header(frame),
                    End::Stanza => Frame::Stanza(frame),
                    End::Footer => Frame::Footer(frame),
                }));
            }
        }
        *input = &[];
        let new = bytes.get(start..at).unwrap_or_default();
        if self.tail.len() + new.len() > self.limits.bytes {
            return Err(Flaw::TooBig);
        }
        self.tail.extend_from_slice(new);
        Ok(None)
    }

    /// Goes through one token of `bytes`; `None` if it goes on after them.
    fn step(&mut self, bytes: &[u8]) -> Result<Option<Step>, Flaw> {
        let Some(&first) = bytes.first() else {
            return Ok(None);
        };
        let go = |taken| Ok(Some(Step { taken, ended: None }));
        match self.place {
            Place::Between => match first {
                b'<' => {
                    self.place = Place::Markup;
                    go(1)
                }
                // Character data between stanzas has no meaning; before the header it isn't XML.
                _ if self.opened => Err(Flaw::StrayText),
                _ => Err(Flaw::NotWellFormed),
            },
            Place::Text => match memchr(b'<', bytes) {
                Some(at) => {
                    self.place = Place::Markup;
                    go(at + 1)
                }
                None => Ok(None),
            },
            Place::Markup => self.markup(first),
            Place::Tag => match memchr3(b'>', b'"', b'\'', bytes) {
                Some(at) => {
                    if let Some(before) = at.checked_sub(1) {
                        self.last = bytes[before];
                    }
                    match bytes[at] {
                        b'>' => Ok(Some(Step {
                            taken: at + 1,
                            ended: self.tag_closed()?,
                        })),
                        quote => {
                            self.place = Place::Quoted(quote);
                            go(at + 1)
                        }
                    }
                }
                None => {
                    self.last = bytes.last().copied().unwrap_or_default();
                    Ok(None)
                }
            },
            Place::Quoted(quote) => match memchr(quote, bytes) {
                Some(at) => {
                    self.place = Place::Tag;
                    self.last = quote;
                    go(at + 1)
                }
                None => Ok(None),
            },
            Place::EndTag => match memchr2(b'>', b'<', bytes) {
                Some(at) if bytes[at] == b'<' => Err(Flaw::NotWellFormed),
                Some(at) => Ok(Some(Step {
                    taken: at + 1,
                    ended: self.element_closed(),
                })),
                None => Ok(None),
            },
            Place::Bang(matched) => match CDATA.get(matched) {
                Some(&expected) if expected == first => {
                    self.place = if matched + 1 == CDATA.len() {
                        Place::CData(0)
                    } else {
                        Place::Bang(matched + 1)
                    };
                    go(1)
                }
                // A comment, a document type declaration, or nonsense.
                _ => Err(Flaw::Restricted),
            },
            Place::CData(0) => match memchr(b']', bytes) {
                Some(at) => {
                    self.place = Place::CData(1);
                    go(at + 1)
                }
                None => Ok(None),
            },
            Place::CData(brackets) => {
                self.place = match first {
                    b']' => Place::CData(2),
                    b'>' if brackets == 2 => Place::Text,
                    _ => Place::CData(0),
                };
                go(1)
            }
            Place::Declaration(question) => {
                if first == b'>' && question {
                    // What follows the declaration belongs to the same frame, white space included.
                    self.place = Place::Text;
                } else {
                    self.place = Place::Declaration(first == b'?');
                }
                go(1)
            }
            Place::Closed => Ok(None),
        }
    }

    /// Decides by the byte after `<`.
    fn markup(&mut self, first: u8) -> Result<Option<Step>, Flaw> {
        let in_stream = self.opened || self.depth > 0;
        self.place = match first {
            b'/' if in_stream => Place::EndTag,
            b'!' if self.depth > 0 => Place::Bang(0),
            b'!' => return Err(Flaw::Restricted),
            b'?' if !in_stream && !self.declared => {
                self.declared = true;
                Place::Declaration(false)
            }
            b'?' => return Err(Flaw::Restricted),
            b'>' | b'/' | b'<' => return Err(Flaw::NotWellFormed),
            b if is_space(b) => return Err(Flaw::NotWellFormed),
            _ => {
                self.elements += 1;
                if self.elements > self.limits.elements {
                    return Err(Flaw::TooMany);
                }
                Place::Tag
            }
        };
        self.last = first;
        Ok(Some(Step {
            taken: 1,
            ended: None,
        }))
    }

    /// A start tag is complete.
    fn tag_closed(&mut self) -> Result<Option<End>, Flaw> {
        if !self.opened {
            // A stream that is empty from the start is no stream.
            if self.last == b'/' {
                return Err(Flaw::NotWellFormed);
            }
            self.opened = true;
            self.elements = 0;
            self.place = Place::Between;
            return Ok(Some(End::Header));
        }
        self.depth += 1;
        if self.depth > self.limits.depth {
            return Err(Flaw::TooDeep);
        }
        if self.last == b'/' {
            return Ok(self.element_closed());
        }
        self.place = Place::Text;
        Ok(None)
    }

    /// An end tag or an empty-element tag is complete.
    fn element_closed(&mut self) -> Option<End> {
        match self.depth {
            0 => {
                self.place = Place::Closed;
                Some(End::Footer)
            }
            1 => {
                self.depth = 0;
                self.elements = 0;
                self.place = Place::Between;
                Some(End::Stanza)
            }
            _ => {
                self.depth -= 1;
                self.place = Place::Text;
                None
            }
        }
    }
}

/// One token.
struct Step {
    taken: usize,
    ended: Option<End>,
}

/// What ended with a token.
enum End {
    Header,
    Stanza,
    Footer,
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    /// Feeds `pieces` and shows the frames as text.
    fn frames<'a>(
        framer: &mut Framer,
        pieces: impl IntoIterator<Item = &'a [u8]>,
    ) -> Result<Vec<String>, Flaw> {
        let mut seen = Vec::new();
        for piece in pieces {
            let mut input = piece;
            while let Some(frame) = framer.next(&mut input)? {
                let (kind, bytes) = match frame {
                    Frame::Header(b) => ('H', b),
                    Frame::Stanza(b) => ('S', b),
                    Frame::Footer(b) => ('F', b),
                };
                seen.push(format!("{kind}{}", String::from_utf8_lossy(bytes)));
            }
        }
        Ok(seen)
    }

    fn check(text: &str, expect: &[&str]) {
        let whole = frames(&mut Framer::new(Limits::CLIENT), [text.as_bytes()]);
        assert_eq!(
            whole.as_deref(),
            Ok(expect
                .iter()
                .map(|s| (*s).into())
                .collect::<Vec<String>>()
                .as_slice()),
            "{text}"
        );
        let by_byte = frames(&mut Framer::new(Limits::CLIENT), text.as_bytes().chunks(1));
        assert_eq!(by_byte, whole, "{text} byte by byte");
    }

    fn refuse(text: &str, flaw: Flaw) {
        for size in [1, 3, usize::MAX] {
            let mut framer = Framer::new(Limits::CLIENT);
            let seen = frames(&mut framer, text.as_bytes().chunks(size.min(text.len())));
            assert_eq!(seen.map(|_| ()), Err(flaw), "{text}");
        }
    }

    const OPEN: &str = "<stream:stream xmlns='jabber:client'>";

    #[test]
    fn cuts_a_stream() {
        check(
            "<?xml version='1.0'?>\n<stream:stream to='a.example' x='a>b'> \n<a/> <b c=\"/>'\"><d/>t<e>></e></b>\n</stream:stream>",
            &[
                "H<?xml version='1.0'?>\n<stream:stream to='a.example' x='a>b'>",
                "S<a/>",
                "S<b c=\"/>'\"><d/>t<e>></e></b>",
                "F</stream:stream>",
            ],
        );
        check(
            " \n<s><a b='/'></a></s>ignored<",
            &["H<s>", "S<a b='/'></a>", "F</s>"],
        );
        check(
            "<s><a><![CDATA[<b>]]]]>]]></a>",
            &["H<s>", "S<a><![CDATA[<b>]]]]>]]></a>"],
        );
        check("  <?xml version='1.0'?><s>", &["H<?xml version='1.0'?><s>"]);
    }

    #[test]
    fn refuses_what_rfc_6120_bans() {
        refuse(&format!("{OPEN}<a><!-- b --></a>"), Flaw::Restricted);
        refuse(&format!("{OPEN}<!-- b -->"), Flaw::Restricted);
        refuse(&format!("{OPEN}<?php ?>"), Flaw::Restricted);
        refuse(&format!("{OPEN}<a><?php ?></a>"), Flaw::Restricted);
        refuse("<!DOCTYPE a [<!ENTITY b 'c'>]><a>", Flaw::Restricted);
        refuse("<?xml version='1.0'?><!DOCTYPE a><a>", Flaw::Restricted);
        refuse(
            "<?xml version='1.0'?><?xml version='1.0'?><a>",
            Flaw::Restricted,
        );
        refuse("GET / HTTP/1.1\r\n", Flaw::NotWellFormed);
        refuse("\u{feff}<a>", Flaw::NotWellFormed);
        refuse("\u{16}\u{3}\u{1}", Flaw::NotWellFormed);
        refuse("<stream/>", Flaw::NotWellFormed);
        refuse("</stream>", Flaw::NotWellFormed);
        refuse(&format!("{OPEN}x<a/>"), Flaw::StrayText);
        refuse(&format!("{OPEN}<>"), Flaw::NotWellFormed);
        refuse(&format!("{OPEN}< a/>"), Flaw::NotWellFormed);
    }

    #[test]
    fn bounds_hold_while_reading() {
        let limits = Limits {
            bytes: 64,
            elements: 4,
            depth: 3,
        };
        let feed = |text: &str| frames(&mut Framer::new(limits), text.as_bytes().chunks(7));
        assert_eq!(feed(&format!("<s>{}", "<a><b><c>")).map(|f| f.len()), Ok(1));
        assert_eq!(feed("<s><a><b><c><d>"), Err(Flaw::TooDeep));
        assert_eq!(feed("<s><a><b/><b/><b/><b/>"), Err(Flaw::TooMany));
        assert_eq!(
            feed(&format!("<s><a>{}", "x".repeat(80))),
            Err(Flaw::TooBig)
        );
        assert_eq!(
            feed(&format!("<s><a b='{}", "x".repeat(80))),
            Err(Flaw::TooBig)
        );
        assert_eq!(feed(&format!("<s {}", "x".repeat(80))), Err(Flaw::TooBig));
        // Per frame, not per stream.
        assert_eq!(
            feed(&format!("<s>{}", "<a><b/></a>".repeat(50))).map(|f| f.len()),
            Ok(51)
        );
        // White space between stanzas is a keep-alive: it isn't held.
        let mut framer = Framer::new(limits);
        assert!(frames(&mut framer, [b"<s>".as_slice(), &[b' '; 500]]).is_ok());
        assert!(!framer.is_partial());
    }

    #[test]
    fn an_idle_stream_holds_no_buffer() {
        let mut framer = Framer::new(Limits::CLIENT);
        assert!(frames(&mut framer, [b"<s><a".as_slice(), b"/>", b" "]).is_ok());
        assert_eq!(framer.tail.capacity(), 0);
    }

    proptest! {
        #![proptest_config(crate::tests::cases())]

        #[test]
        fn never_panics_and_splits_do_not_matter(
            text in r#"(<s>)?([<>/'"!?\[\] a=]|<!\[CDATA\[|\]\]>|<a>|</a>|<b/>){0,60}"#,
            size in 1usize..9,
        ) {
            let bytes = text.as_bytes();
            let whole = frames(&mut Framer::new(Limits::CLIENT), [bytes]);
            let split = frames(&mut Framer::new(Limits::CLIENT), bytes.chunks(size));
            prop_assert_eq!(whole, split);
        }
    }
}

//! One pass over one complete element that proves it well-formed and namespace-well-formed.
//!
//! Bytes that pass here may be sent to others as they came in: everything that a conforming parser
//! checks, and that a receiver would close its stream over, is checked. That is UTF-8, the Char
//! production, names, matching tags, the five entities and the range of character references,
//! `<` in attributes, `]]>` in text, attributes unique by expanded name, and prefixes bound inside
//! the element or on the stream header. The pass allocates nothing for ordinary stanzas.

use std::{borrow::Cow, ops::Range};

use memchr::{memchr, memchr2, memmem};
use smallvec::SmallVec;

use super::{
    Flaw, chars,
    entity::{normalise, references},
    ns,
};

/// Nesting allowed in any document.
const DEPTH: usize = 64;
/// Attributes allowed on one element.
const ATTRIBUTES: usize = 64;
/// Namespace declarations in force at one time.
const BINDINGS: usize = 32;

/// What the stream header declared and its stanzas inherit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    default: Cow<'static, str>,
    /// Prefix and namespace, without `xml`.
    prefixes: Vec<(Box<str>, Box<str>)>,
}

impl Default for Scope {
    fn default() -> Self {
        Scope::empty()
    }
}

impl Scope {
    /// Nothing: for documents that stand alone.
    pub const fn empty() -> Scope {
        Scope {
            default: Cow::Borrowed(""),
            prefixes: Vec::new(),
        }
    }

    /// What most clients declare: stanzas in `jabber:client`, the prefix `stream`.
    pub fn client() -> Scope {
        Scope {
            default: Cow::Borrowed(ns::CLIENT),
            prefixes: vec![("stream".into(), ns::STREAM.into())],
        }
    }

    /// A scope with a default namespace and prefixes.
    pub(crate) fn new(default: String, prefixes: Vec<(Box<str>, Box<str>)>) -> Scope {
        Scope {
            default: Cow::Owned(default),
            prefixes,
        }
    }

    /// The same with the default namespace of clients' streams.
    pub(crate) fn for_client(self) -> Scope {
        Scope {
            default: Cow::Borrowed(ns::CLIENT),
            ..self
        }
    }

    /// The namespace of elements without a prefix.
    pub fn default_ns(&self) -> &str {
        &self.default
    }

    /// Prefixes and what they are bound to.
    pub fn prefixes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.prefixes
            .iter()
            .map(|(prefix, uri)| (prefix.as_ref(), uri.as_ref()))
    }
}

/// An attribute as it stands in the source.
#[derive(Debug, Clone)]
pub(crate) struct Attr<'a> {
    pub(crate) prefix: &'a str,
    pub(crate) local: &'a str,
    /// Between the quotes.
    pub(crate) raw: &'a str,
    /// From the name's first byte to behind the closing quote.
    pub(crate) range: Range<usize>,
    /// The namespace, once resolved; empty without a prefix.
    pub(crate) ns: Uri<'a>,
}

impl<'a> Attr<'a> {
    /// The value after entities and white space are normalised (XML 1.0 3.3.3).
    pub(crate) fn value(&self) -> Cow<'a, str> {
        normalise(self.raw)
    }

    /// How many bytes its name has, prefix included.
    pub(crate) fn name_len(&self) -> usize {
        let prefix = if self.prefix.is_empty() {
            0
        } else {
            self.prefix.len() + 1
        };
        prefix + self.local.len()
    }

    /// Whether it declares a namespace.
    pub(crate) fn is_xmlns(&self) -> bool {
        self.prefix == "xmlns" || (self.prefix.is_empty() && self.local == "xmlns")
    }
}

/// A namespace name: borrowed from the source, or from the scope.
pub(crate) type Uri<'a> = Cow<'a, str>;

/// A start tag.
#[derive(Debug)]
pub(crate) struct Tag<'t, 'a> {
    pub(crate) prefix: &'a str,
    pub(crate) local: &'a str,
    pub(crate) ns: &'t str,
    pub(crate) attrs: &'t [Attr<'a>],
    /// From `<` to behind `>`.
    pub(crate) range: Range<usize>,
}

/// What a scan reports as it goes. Depth is 0 at the root.
pub(crate) trait Visit<'a> {
    fn start(&mut self, depth: usize, tag: &Tag<'_, 'a>);
    /// Character data with its references still in it, or the inside of a CDATA section.
    fn text(&mut self, depth: usize, raw: &'a str, cdata: bool) {
        let _ = (depth, raw, cdata);
    }
    /// An end tag that begins at `at` (behind the tag itself for an empty element).
    fn end(&mut self, depth: usize, at: usize) {
        let _ = (depth, at);
    }
    /// Prefix number `index` of the scope was used without being declared inside.
    fn inherited(&mut self, index: usize) {
        let _ = index;
    }
}

impl Visit<'_> for () {
    fn start(&mut self, _: usize, _: &Tag<'_, '_>) {}
}

/// Proves that `bytes` are exactly one element, and tells `visit` what is in it.
///
/// # Errors
/// The first flaw met. What `visit` saw until then means nothing.
pub(crate) fn scan<'a, V: Visit<'a>>(
    bytes: &'a [u8],
    scope: &'a Scope,
    visit: &mut V,
) -> Result<(), Flaw> {
    let text = characters(bytes)?;
    let mut cursor = Cursor { text, at: 0 };
    let mut bindings = Bindings {
        scope,
        inside: SmallVec::new(),
    };
    let mut open: SmallVec<[Open<'a>; 16]> = SmallVec::new();
    let mut attrs: SmallVec<[Attr<'a>; 8]> = SmallVec::new();
    cursor.expect(b'<')?;
    loop {
        // Behind the `<` of a start tag.
        let start = cursor.at - 1;
        let depth = open.len();
        if depth >= DEPTH {
            return Err(Flaw::TooDeep);
        }
        let mark = bindings.inside.len();
        let (name, empty) = cursor.start_tag(&mut attrs)?;
        bindings.declare(&attrs)?;
        let (prefix, local) = split_name(name)?;
        let uri = bindings.resolve(prefix, visit)?;
        bindings.attributes(&mut attrs, visit)?;
        let range = start..cursor.at;
        visit.start(
            depth,
            &Tag {
                prefix,
                local,
                ns: &uri,
                attrs: &attrs,
                range,
            },
        );
        if empty {
            visit.end(depth, cursor.at);
            bindings.inside.truncate(mark);
            if depth == 0 {
                return cursor.finish();
            }
        } else {
            open.push(Open { name, mark });
        }
        // Content, up to the next start tag.
        loop {
            let raw = cursor.text()?;
            if !raw.is_empty() {
                visit.text(open.len() - 1, raw, false);
            }
            match cursor.peek() {
                Some(b'/') => {
                    let at = cursor.at - 1;
                    cursor.at += 1;
                    let name = cursor.name()?;
                    cursor.spaces();
                    cursor.expect(b'>')?;
                    let Some(element) = open.pop() else {
                        return Err(Flaw::NotWellFormed);
                    };
                    if element.name != name {
                        return Err(Flaw::NotWellFormed);
                    }
                    bindings.inside.truncate(element.mark);
                    visit.end(open.len(), at);
                    if open.is_empty() {
                        return cursor.finish();
                    }
                }
                Some(b'!') => {
                    let raw = cursor.cdata()?;
                    visit.text(open.len() - 1, raw, true);
                }
                Some(b'?') => return Err(Flaw::Restricted),
                Some(_) => break,
                None => return Err(Flaw::NotWellFormed),
            }
        }
    }
}

/// Proves that `bytes` are white space, an optional XML declaration, and one start tag: a stream
/// header. Gives the tag's name, attributes and namespaces to `take`.
pub(crate) fn scan_header<T>(
    bytes: &[u8],
    take: impl FnOnce(&Tag<'_, '_>, Scope) -> T,
) -> Result<T, Flaw> {
    let text = characters(bytes)?;
    let scope = Scope::empty();
    let mut cursor = Cursor { text, at: 0 };
    cursor.spaces();
    if cursor.rest().starts_with("<?") {
        cursor.declaration()?;
        cursor.spaces();
    }
    let start = cursor.at;
    cursor.expect(b'<')?;
    let mut attrs = SmallVec::new();
    let (name, empty) = cursor.start_tag(&mut attrs)?;
    if empty {
        return Err(Flaw::NotWellFormed);
    }
    cursor.finish()?;
    let mut bindings = Bindings {
        scope: &scope,
        inside: SmallVec::new(),
    };
    bindings.declare(&attrs)?;
    let (prefix, local) = split_name(name)?;
    let uri = bindings.resolve(prefix, &mut ())?;
    bindings.attributes(&mut attrs, &mut ())?;
    let declared = bindings.inside.iter();
    let mut prefixes: Vec<(Box<str>, Box<str>)> = Vec::new();
    for (prefix, uri) in declared.filter(|(prefix, _)| !prefix.is_empty() && *prefix != "xml") {
        prefixes.push(((*prefix).into(), uri.as_ref().into()));
    }
    let default = bindings.lookup("").unwrap_or_default().into_owned();
    let range = start..cursor.at;
    let tag = Tag {
        prefix,
        local,
        ns: &uri,
        attrs: &attrs,
        range,
    };
    Ok(take(&tag, Scope::new(default, prefixes)))
}

/// An element whose end tag is still to come.
struct Open<'a> {
    name: &'a str,
    /// How many namespace bindings were in force outside it.
    mark: usize,
}

/// UTF-8 and the Char production, over the whole text at once: nothing after this needs to look.
fn characters(bytes: &[u8]) -> Result<&str, Flaw> {
    let text = str::from_utf8(bytes).map_err(|_| Flaw::NotWellFormed)?;
    // Written as a fold without branches, so that the compiler makes vector code of it.
    let control = bytes.iter().fold(false, |found, &b| {
        found | ((b < 0x20) & (b != b'\t') & (b != b'\n') & (b != b'\r'))
    });
    if control {
        return Err(Flaw::NotWellFormed);
    }
    // U+FFFE and U+FFFF are EF BF BE and EF BF BF.
    let mut rest = bytes;
    while let Some(at) = memchr(0xef, rest) {
        if let Some([0xbf, 0xbe | 0xbf]) = rest.get(at + 1..at + 3) {
            return Err(Flaw::NotWellFormed);
        }
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    Ok(text)
}

/// Splits at the colon; both parts are names of their own (Namespaces in XML 1.0, production 7).
fn split_name(name: &str) -> Result<(&str, &str), Flaw> {
    let Some(colon) = memchr(b':', name.as_bytes()) else {
        return Ok(("", name));
    };
    let (prefix, local) = (&name[..colon], &name[colon + 1..]);
    let begins = |part: &str| part.chars().next().is_some_and(chars::is_name_start);
    if prefix.is_empty() || !begins(local) || memchr(b':', local.as_bytes()).is_some() {
        return Err(Flaw::NotWellFormed);
    }
    Ok((prefix, local))
}

/// A place in text that is known to be UTF-8 of XML characters.
struct Cursor<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Cursor<'a> {
    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// The text between two places, both of which are next to ASCII characters.
    fn slice(&self, range: Range<usize>) -> Result<&'a str, Flaw> {
        self.text.get(range).ok_or(Flaw::NotWellFormed)
    }

    fn expect(&mut self, byte: u8) -> Result<(), Flaw> {
        if self.peek() != Some(byte) {
            return Err(Flaw::NotWellFormed);
        }
        self.at += 1;
        Ok(())
    }

    /// Skips white space; whether there was any.
    fn spaces(&mut self) -> bool {
        let start = self.at;
        while self.peek().is_some_and(chars::is_space) {
            self.at += 1;
        }
        self.at > start
    }

    fn finish(&self) -> Result<(), Flaw> {
        if self.at == self.text.len() {
            Ok(())
        } else {
            Err(Flaw::NotWellFormed)
        }
    }

    /// A name, colons included.
    fn name(&mut self) -> Result<&'a str, Flaw> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        match bytes.get(start) {
            Some(b'a'..=b'z' | b'A'..=b'Z' | b'_') => self.at += 1,
            Some(0x80..) => {
                let first = self.rest().chars().next().ok_or(Flaw::NotWellFormed)?;
                if !chars::is_name_start(first) {
                    return Err(Flaw::NotWellFormed);
                }
                self.at += first.len_utf8();
            }
            _ => return Err(Flaw::NotWellFormed),
        }
        loop {
            match bytes.get(self.at) {
                Some(b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b':') => {
                    self.at += 1;
                }
                Some(0x80..) => {
                    let next = self.rest().chars().next().ok_or(Flaw::NotWellFormed)?;
                    if !chars::is_name(next) {
                        return Err(Flaw::NotWellFormed);
                    }
                    self.at += next.len_utf8();
                }
                _ => return self.slice(start..self.at),
            }
        }
    }

    /// A start tag from behind its `<` to behind its `>`; whether it is an empty-element tag.
    fn start_tag(&mut self, attrs: &mut SmallVec<[Attr<'a>; 8]>) -> Result<(&'a str, bool), Flaw> {
        attrs.clear();
        let name = self.name()?;
        loop {
            let spaced = self.spaces();
            match self.peek() {
                Some(b'>') => {
                    self.at += 1;
                    return Ok((name, false));
                }
                Some(b'/') => {
                    self.at += 1;
                    self.expect(b'>')?;
                    return Ok((name, true));
                }
                _ if !spaced => return Err(Flaw::NotWellFormed),
                _ => {}
            }
            if attrs.len() >= ATTRIBUTES {
                return Err(Flaw::TooMany);
            }
            let start = self.at;
            let (prefix, local) = split_name(self.name()?)?;
            if attrs.iter().any(|a| a.local == local && a.prefix == prefix) {
                return Err(Flaw::NotWellFormed);
            }
            self.spaces();
            self.expect(b'=')?;
            self.spaces();
            let raw = self.quoted()?;
            let range = start..self.at;
            attrs.push(Attr {
                prefix,
                local,
                raw,
                range,
                ns: Cow::Borrowed(""),
            });
        }
    }

    fn quoted(&mut self) -> Result<&'a str, Flaw> {
        let quote = match self.peek() {
            Some(quote @ (b'"' | b'\'')) => quote,
            _ => return Err(Flaw::NotWellFormed),
        };
        self.at += 1;
        let start = self.at;
        let length = memchr(quote, self.rest().as_bytes()).ok_or(Flaw::NotWellFormed)?;
        let raw = self.slice(start..start + length)?;
        self.at += length + 1;
        if memchr(b'<', raw.as_bytes()).is_some() {
            return Err(Flaw::NotWellFormed);
        }
        references(raw)?;
        Ok(raw)
    }

    /// Character data up to behind the next `<`.
    fn text(&mut self) -> Result<&'a str, Flaw> {
        let start = self.at;
        let bytes = self.text.as_bytes();
        loop {
            let rest = bytes.get(self.at..).unwrap_or_default();
            let length = memchr2(b'<', b'>', rest).ok_or(Flaw::NotWellFormed)?;
            self.at += length + 1;
            if rest.get(length) == Some(&b'<') {
                break;
            }
            // A `>` may stand in text, but not behind `]]` (XML 1.0 2.4).
            let end = self.at - 1;
            if end >= start + 2 && bytes.get(end - 2..end) == Some(b"]]") {
                return Err(Flaw::NotWellFormed);
            }
        }
        let raw = self.slice(start..self.at - 1)?;
        references(raw)?;
        Ok(raw)
    }

    /// A CDATA section from behind its `<` to behind its `]]>`.
    fn cdata(&mut self) -> Result<&'a str, Flaw> {
        const OPENING: &str = "![CDATA[";
        if !self.rest().starts_with(OPENING) {
            return Err(Flaw::Restricted);
        }
        let start = self.at + OPENING.len();
        let rest = self.text.as_bytes().get(start..).unwrap_or_default();
        let length = memmem::find(rest, b"]]>").ok_or(Flaw::NotWellFormed)?;
        self.at = start + length + 3;
        self.slice(start..start + length)
    }

    /// An XML declaration (XML 1.0 2.8), in UTF-8.
    fn declaration(&mut self) -> Result<(), Flaw> {
        if !self.rest().starts_with("<?xml") {
            return Err(Flaw::Restricted);
        }
        self.at += "<?xml".len();
        // Version, encoding and standalone come in this order; only the first is needed.
        let order = ["version", "encoding", "standalone"];
        let mut next = 0;
        loop {
            let spaced = self.spaces();
            if self.rest().starts_with("?>") {
                self.at += 2;
                return if next > 0 {
                    Ok(())
                } else {
                    Err(Flaw::NotWellFormed)
                };
            }
            let name = self.name()?;
            let place = order.iter().position(|&known| known == name);
            let place = place.filter(|&place| spaced && place >= next && (next > 0 || place == 0));
            next = place.ok_or(Flaw::NotWellFormed)? + 1;
            self.spaces();
            self.expect(b'=')?;
            self.spaces();
            let value = self.quoted()?;
            match name {
                "encoding" if !value.eq_ignore_ascii_case("utf-8") => return Err(Flaw::Encoding),
                "version" if value != "1.0" => return Err(Flaw::NotWellFormed),
                "standalone" if !matches!(value, "yes" | "no") => return Err(Flaw::NotWellFormed),
                _ => {}
            }
        }
    }
}

/// The namespaces in force.
struct Bindings<'a> {
    scope: &'a Scope,
    /// Declared inside the element, innermost last.
    inside: SmallVec<[(&'a str, Uri<'a>); 8]>,
}

impl<'a> Bindings<'a> {
    /// Puts the declarations among `attrs` in force (Namespaces in XML 1.0, section 3).
    fn declare(&mut self, attrs: &[Attr<'a>]) -> Result<(), Flaw> {
        for attr in attrs.iter().filter(|attr| attr.is_xmlns()) {
            let uri = attr.value();
            let prefix = if attr.prefix.is_empty() {
                ""
            } else {
                attr.local
            };
            let allowed = match prefix {
                "xml" => uri == ns::XML,
                "xmlns" => false,
                // Only the default namespace can be undeclared.
                "" => uri != ns::XML && uri != ns::XMLNS,
                _ => !uri.is_empty() && uri != ns::XML && uri != ns::XMLNS,
            };
            if !allowed {
                return Err(Flaw::NotWellFormed);
            }
            if self.inside.len() >= BINDINGS {
                return Err(Flaw::TooMany);
            }
            self.inside.push((prefix, uri));
        }
        Ok(())
    }

    /// What the element's own declarations, or those around it, bind `prefix` to.
    fn lookup(&self, prefix: &str) -> Option<Uri<'a>> {
        let declared = self
            .inside
            .iter()
            .rev()
            .find(|(declared, _)| *declared == prefix);
        declared.map(|(_, uri)| uri.clone())
    }

    fn resolve<V: Visit<'a>>(&self, prefix: &str, visit: &mut V) -> Result<Uri<'a>, Flaw> {
        if let Some(uri) = self.lookup(prefix) {
            return Ok(uri);
        }
        match prefix {
            "" => Ok(Cow::Borrowed(&self.scope.default)),
            "xml" => Ok(Cow::Borrowed(ns::XML)),
            _ => {
                let mut outside = self.scope.prefixes.iter().enumerate();
                let found = outside.find(|(_, (declared, _))| declared.as_ref() == prefix);
                let (index, (_, uri)) = found.ok_or(Flaw::NotWellFormed)?;
                visit.inherited(index);
                Ok(Cow::Borrowed(uri))
            }
        }
    }

    /// Resolves the attributes' prefixes; no two may have one expanded name (section 6.3).
    fn attributes<V: Visit<'a>>(&self, attrs: &mut [Attr<'a>], visit: &mut V) -> Result<(), Flaw> {
        for index in 0..attrs.len() {
            let (before, rest) = attrs.split_at_mut(index);
            let Some(attr) = rest.first_mut() else { break };
            if attr.prefix.is_empty() || attr.is_xmlns() {
                continue;
            }
            attr.ns = self.resolve(attr.prefix, visit)?;
            if before
                .iter()
                .any(|a| a.local == attr.local && a.ns == attr.ns)
            {
                return Err(Flaw::NotWellFormed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;

//! Stanzas: what is needed to route one, over the bytes that are passed on.
//!
//! A stanza that comes in is scanned once and becomes a [`Draft`], which borrows from the read
//! buffer. [`Draft::stamp`] makes the [`Stanza`]: its root tag is written anew with the sender's true
//! address in it (RFC 6120 8.1.2.1), the inside is copied as it is, and from there on all receivers,
//! archives and copies share those bytes.

use std::{borrow::Cow, ops::Range, sync::Arc};

use bytes::Bytes;
use smallvec::SmallVec;

use super::{
    Condition, Element, Flaw, Jid, StanzaError,
    element::write_value,
    entity::normalise,
    head::{Child, Head, Span, Text},
    kind::{IqType, Kind, is_stanza},
    ns,
    scan::{Scope, scan},
};

/// A first-level element of a client's stream.
#[derive(Debug)]
#[allow(
    clippy::large_enum_variant,
    reason = "never kept, and a box would cost each stanza"
)]
pub enum Incoming<'a> {
    /// A message, presence or iq.
    Stanza(Draft<'a>),
    /// Anything else: the parts of TLS, SASL, stream management.
    Element(Element),
}

/// Reads one complete first-level element.
///
/// # Errors
/// When it isn't well-formed.
pub fn read<'a>(bytes: &'a [u8], scope: &'a Scope) -> Result<Incoming<'a>, Flaw> {
    let bytes = line_ends(bytes);
    let mut head = Head::default();
    scan(&bytes, scope, &mut head)?;
    if !head.is_stanza {
        return Ok(Incoming::Element(Element::parse(&bytes, scope)?));
    }
    if !head.prefixed && !padded_reference(&bytes) {
        return Ok(Incoming::Stanza(Draft {
            bytes,
            scope: Some(scope),
            head,
        }));
    }
    // With a prefix on the root, what the default namespace means inside depends on what is around;
    // and padded references make other parsers give up: write it in the plain form.
    let plain = Element::parse(&bytes, scope)?.to_client();
    let head = Head::of(plain.as_bytes())?;
    Ok(Incoming::Stanza(Draft {
        bytes: Cow::Owned(plain.into_bytes()),
        scope: None,
        head,
    }))
}

/// XML 1.0 2.11: a carriage return is a line end, with or without a line feed behind it. It is
/// written as one here, because there are clients whose parsers trip over what is passed on of it.
fn line_ends(bytes: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(b'\r', bytes) else {
        return Cow::Borrowed(bytes);
    };
    let (before, rest) = bytes.split_at(first);
    let mut plain = Vec::with_capacity(bytes.len());
    plain.extend_from_slice(before);
    let mut rest = rest.iter().copied().peekable();
    while let Some(byte) = rest.next() {
        if byte != b'\r' {
            plain.push(byte);
        } else if rest.peek() != Some(&b'\n') {
            plain.push(b'\n');
        }
    }
    Cow::Owned(plain)
}

/// Whether a character reference seems to begin with zeros. XML allows any number of them, but
/// there are clients whose parsers close the stream over a reference that is longer than it need be.
fn padded_reference(bytes: &[u8]) -> bool {
    memchr::memchr_iter(b'&', bytes).any(|at| {
        let rest = bytes.get(at..).unwrap_or_default();
        rest.starts_with(b"&#0") || rest.starts_with(b"&#x0")
    })
}

/// A stanza that has been scanned and not yet stamped.
#[derive(Debug)]
pub struct Draft<'a> {
    bytes: Cow<'a, [u8]>,
    /// What its stream declared; a stanza in plain form needs nothing from there.
    scope: Option<&'a Scope>,
    head: Head,
}

impl Draft<'_> {
    /// Its kind.
    ///
    /// # Errors
    /// The kind to answer as, when `type` is missing or no type at all.
    pub fn kind(&self) -> Result<Kind, Kind> {
        self.head.kind.unwrap_or(Err(Kind::Iq(IqType::Get)))
    }

    /// Whom it is for.
    ///
    /// # Errors
    /// When that is no address.
    pub fn to(&self) -> Result<Option<Jid>, StanzaError> {
        self.address("to")
    }

    /// Whom it claims to be from.
    ///
    /// # Errors
    /// When that is no address.
    pub fn from(&self) -> Result<Option<Jid>, StanzaError> {
        self.address("from")
    }

    fn address(&self, name: &str) -> Result<Option<Jid>, StanzaError> {
        // An empty `to` is what some clients send for none.
        match self.attribute(name).filter(|value| !value.is_empty()) {
            Some(value) => Jid::new(&value)
                .map(Some)
                .map_err(|_| Condition::JidMalformed.into()),
            None => Ok(None),
        }
    }

    /// An attribute of the root without a prefix.
    pub fn attribute(&self, name: &str) -> Option<Cow<'_, str>> {
        let attr = self
            .head
            .attrs
            .iter()
            .find(|attr| self.text(attr.name) == name)?;
        Some(normalise(self.text(attr.value)))
    }

    fn text(&self, span: Span) -> &str {
        self.bytes
            .get(span.range())
            .and_then(|b| str::from_utf8(b).ok())
            .unwrap_or_default()
    }

    /// An error to send back where the draft came from.
    pub fn refusal(&self, to: &Jid, error: &StanzaError) -> Element {
        let (Ok(kind) | Err(kind)) = self.kind();
        reply_head(
            kind,
            "error",
            None,
            Some(to),
            self.attribute("id").as_deref(),
        )
        .attr_opt(
            "from",
            self.attribute("to").filter(|to| Jid::new(to).is_ok()),
        )
        .child(error.to_element())
    }

    /// Makes the stanza: from `from`, in the language `lang` unless it says another.
    ///
    /// # Errors
    /// What is wrong with the root's attributes.
    pub fn stamp(self, from: &Jid, lang: Option<&str>) -> Result<Stanza, StanzaError> {
        let kind = self
            .kind()
            .map_err(|_| StanzaError::from(Condition::BadRequest))?;
        let to = self.to()?;
        let has_id = self
            .head
            .attrs
            .iter()
            .any(|attr| self.text(attr.name) == "id");
        if matches!(kind, Kind::Iq(_)) && !has_id {
            // RFC 6120 8.1.3: an iq without an id can't be answered.
            return Err(Condition::BadRequest.into());
        }
        let mut root = String::with_capacity(self.bytes.len() + from.as_str().len() + 32);
        root.push('<');
        root.push_str(kind.name());
        root.push_str(" from='");
        write_value(&mut root, from.as_str());
        root.push('\'');
        let mut id = None;
        let mut has_lang = false;
        for attr in &self.head.attrs {
            let name = self.text(attr.name);
            // An empty `to` is none, and one may be put in later.
            if matches!(name, "from" | "xmlns") || (name == "to" && to.is_none()) {
                continue;
            }
            root.push(' ');
            let at = root.len();
            root.push_str(self.text(attr.whole));
            if name == "id" {
                let from_name = (attr.value.start - attr.whole.start) as usize;
                let length = attr.value.range().len();
                id = Some(Span::new(&(at + from_name..at + from_name + length)));
            }
            has_lang |= attr.is_lang;
        }
        if let Some(lang) = lang.filter(|lang| !has_lang && !lang.is_empty()) {
            // RFC 6120 8.1.5: the stream's language is the stanza's.
            root.push_str(" xml:lang='");
            write_value(&mut root, lang);
            root.push('\'');
        }
        for (index, (prefix, uri)) in self.scope.into_iter().flat_map(Scope::prefixes).enumerate() {
            // Prefixes that only the sender's stream declares come along.
            if self.head.inherited.contains(&index) {
                root.push_str(" xmlns:");
                root.push_str(prefix);
                root.push_str("='");
                write_value(&mut root, uri);
                root.push('\'');
            }
        }
        let mut bytes = root.into_bytes();
        let inside = self.head.inside.range();
        let inside = self.bytes.get(inside).unwrap_or_default();
        let start = close_root(&mut bytes, kind, inside);
        // Places inside the stanza move by as much as the root tag grew; a wrapping difference,
        // because the tag can shrink too.
        let moved = (start.start as u32).wrapping_sub(self.head.inside.start);
        let mut children = self.head.children;
        for child in &mut children {
            child.name.shift(moved);
            child.ns.shift(moved);
        }
        Ok(Parts {
            bytes: bytes.into(),
            kind,
            from: Some(from.clone()),
            to,
            id,
            inside: Span::new(&start),
            children,
        }
        .into())
    }
}

/// Ends the root tag and appends what is in it; where that lies.
fn close_root(bytes: &mut Vec<u8>, kind: Kind, inside: &[u8]) -> Range<usize> {
    if inside.is_empty() {
        bytes.extend_from_slice(b"/>");
        return bytes.len()..bytes.len();
    }
    bytes.push(b'>');
    let start = bytes.len();
    bytes.extend_from_slice(inside);
    let end = bytes.len();
    bytes.extend_from_slice(b"</");
    bytes.extend_from_slice(kind.name().as_bytes());
    bytes.push(b'>');
    start..end
}

/// A stanza on its way. Cloning shares all of it, and so do copies for different receivers: whom it
/// is for is put in as it is written.
#[derive(Debug, Clone)]
pub struct Stanza {
    parts: Arc<Parts>,
    /// Whom it is for, where the bytes don't say.
    late: Option<Jid>,
}

#[derive(Debug, Clone)]
struct Parts {
    bytes: Bytes,
    kind: Kind,
    from: Option<Jid>,
    to: Option<Jid>,
    /// The value of `id` as it stands.
    id: Option<Span>,
    /// Between root tag and end tag.
    inside: Span,
    children: SmallVec<[Child; 3]>,
}

impl Stanza {
    /// The stanza that an element of the server's own is. `None` if it isn't one.
    pub fn from_element(element: &Element) -> Option<Stanza> {
        if element.ns() != ns::CLIENT || !is_stanza(element.name()) {
            return None;
        }
        let kind = Kind::new(element.name(), element.get_attr("type")).ok()?;
        let address = |name| element.get_attr(name).map(Jid::new).transpose().ok();
        let (from, to) = (address("from")?, address("to")?);
        let mut text = String::with_capacity(256);
        let inside = element.write(ns::CLIENT, &mut text);
        let id = element.get_attr("id").and_then(|_| {
            // Printed with single quotes, before anything inside.
            let start = text.get(..inside.start)?.find(" id='")? + " id='".len();
            let length = text.get(start..)?.find('\'')?;
            Some(Span::new(&(start..start + length)))
        });
        let children = element.children().map(Child::of).collect();
        let inside = Span::new(&inside);
        Some(
            Parts {
                kind,
                from,
                to,
                id,
                inside,
                children,
                bytes: text.into(),
            }
            .into(),
        )
    }

    /// Reads a stanza that was stored in the form that [`Stanza::bytes`] gives.
    ///
    /// # Errors
    /// When the bytes are something else.
    pub fn from_stored(bytes: Bytes) -> Result<Stanza, Flaw> {
        let head = Head::of(&bytes)?;
        let draft = Draft {
            bytes: Cow::Borrowed(&bytes),
            scope: None,
            head,
        };
        let kind = draft.kind().map_err(|_| Flaw::NotWellFormed)?;
        let address = |name| draft.address(name).map_err(|_| Flaw::NotWellFormed);
        let (from, to) = (address("from")?, address("to")?);
        let mut attrs = draft.head.attrs.iter();
        let id = attrs
            .find(|attr| draft.text(attr.name) == "id")
            .map(|attr| attr.value);
        let (inside, children) = (draft.head.inside, draft.head.children);
        Ok(Parts {
            bytes,
            kind,
            from,
            to,
            id,
            inside,
            children,
        }
        .into())
    }

    /// The whole stanza, for a stream whose default namespace is `jabber:client`.
    pub fn bytes(&self) -> Bytes {
        self.whole().parts.bytes.clone()
    }

    /// How many bytes that are.
    pub fn size(&self) -> usize {
        let late = self.late.as_ref().map_or(0, |to| to.as_str().len() + 6);
        self.parts.bytes.len() + late
    }

    /// Appends them.
    pub fn write(&self, out: &mut Vec<u8>) {
        let Some(to) = &self.late else {
            return out.extend_from_slice(&self.parts.bytes);
        };
        let (name, rest) = self
            .parts
            .bytes
            .split_at_checked(self.name_end())
            .unwrap_or((&self.parts.bytes, &[]));
        out.reserve(self.size());
        out.extend_from_slice(name);
        out.extend_from_slice(to_attribute(to).as_bytes());
        out.extend_from_slice(rest);
    }

    /// With all that it is in its bytes.
    fn whole(&self) -> Stanza {
        let Some(to) = &self.late else {
            return self.clone();
        };
        let mut parts = self.parts.spliced(self.name_end(), &to_attribute(to));
        parts.to = Some(to.clone());
        parts.into()
    }

    fn name_end(&self) -> usize {
        1 + self.parts.kind.name().len()
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.parts.kind
    }

    /// Its sender.
    pub fn from(&self) -> Option<&Jid> {
        self.parts.from.as_ref()
    }

    /// Whom it is for.
    pub fn to(&self) -> Option<&Jid> {
        self.late.as_ref().or(self.parts.to.as_ref())
    }

    /// Its id.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.parts.id.map(|span| normalise(self.text(span)))
    }

    /// What is between its tags.
    pub fn inside(&self) -> Bytes {
        self.parts.bytes.slice(self.parts.inside.range())
    }

    /// Names and namespaces of the elements directly in it.
    pub fn children(&self) -> impl Iterator<Item = (&str, &str)> {
        self.parts.children.iter().map(|child| {
            (
                child.name.get(&self.parts.bytes),
                child.ns.get(&self.parts.bytes),
            )
        })
    }

    /// The first element in it, by name and namespace: an iq's request.
    pub fn payload(&self) -> Option<(&str, &str)> {
        self.children().next()
    }

    /// Whether an element with that name and namespace is directly in it.
    pub fn has_child(&self, name: &str, ns: &str) -> bool {
        self.children().any(|child| child == (name, ns))
    }

    /// The tree.
    ///
    /// # Errors
    /// Never for a stanza that was made here.
    pub fn to_element(&self) -> Result<Element, Flaw> {
        thread_local! {
            static SCOPE: &'static Scope = Box::leak(Box::new(Scope::client()));
        }
        Element::parse(&self.bytes(), SCOPE.with(|scope| *scope))
    }

    /// The same content with another root tag: from, to and nothing else of the old one but its
    /// kind and id. The inside is shared.
    #[must_use]
    pub fn readdress(&self, from: &Jid, to: &Jid) -> Stanza {
        let id = self.id();
        let head = reply_head(self.parts.kind, "", Some(from), Some(to), id.as_deref());
        self.rebuild(&head)
    }

    /// The content under a root tag like `head`'s, whose kind must be the same.
    fn rebuild(&self, head: &Element) -> Stanza {
        let mut text = head.to_client();
        // An element without content ends in `/>`.
        text.truncate(text.len().saturating_sub(2));
        let id = head.get_attr("id").and_then(|_| {
            let start = text.find(" id='")? + " id='".len();
            let length = text.get(start..)?.find('\'')?;
            Some(Span::new(&(start..start + length)))
        });
        let mut bytes = text.into_bytes();
        let inside = close_root(
            &mut bytes,
            self.parts.kind,
            &self.parts.bytes.slice(self.parts.inside.range()),
        );
        let moved = (inside.start as u32).wrapping_sub(self.parts.inside.start);
        let mut children = self.parts.children.clone();
        for child in &mut children {
            child.name.shift(moved);
            child.ns.shift(moved);
        }
        let address = |name| head.get_attr(name).and_then(|value| Jid::new(value).ok());
        Parts {
            kind: self.parts.kind,
            from: address("from"),
            to: address("to"),
            id,
            inside: Span::new(&inside),
            children,
            bytes: bytes.into(),
        }
        .into()
    }

    /// The same stanza, which is for nobody yet, for `to`: presence on its way to one of many.
    #[must_use]
    pub fn with_to(&self, to: &Jid) -> Stanza {
        if self.to().is_some() {
            return self.clone();
        }
        Stanza {
            parts: self.parts.clone(),
            late: Some(to.clone()),
        }
    }

    /// The same stanza with one more element in it.
    #[must_use]
    pub fn with_child(&self, child: &Element) -> Stanza {
        let whole = self.whole();
        let mut text = String::new();
        child.write(ns::CLIENT, &mut text);
        let mut parts = if whole.parts.inside
            == Span::new(&(whole.parts.bytes.len()..whole.parts.bytes.len()))
        {
            // Empty so far: `/>` becomes `>`, the child and an end tag.
            let mut bytes = whole.parts.bytes.to_vec();
            bytes.truncate(bytes.len().saturating_sub(2));
            let inside = close_root(&mut bytes, whole.parts.kind, text.as_bytes());
            Parts {
                bytes: bytes.into(),
                inside: Span::new(&inside),
                ..Parts::clone(&whole.parts)
            }
        } else {
            let end = whole.parts.inside.end;
            let mut parts = whole.parts.spliced(end as usize, &text);
            parts.inside = Span {
                end: parts.inside.end,
                ..whole.parts.inside
            };
            parts.inside.end = end.saturating_add(Span::new(&(0..text.len())).end);
            parts
        };
        parts.children.push(Child::of(child));
        parts.into()
    }

    /// This stanza as it is, forwarded (XEP-0297) in a message with the root tag of `head`, inside
    /// an element `wrapper` of that name and namespace.
    #[must_use]
    pub fn forwarded(&self, head: &Element, wrapper: (&'static str, &'static str)) -> Stanza {
        let (name, namespace) = wrapper;
        let stanza = self.bytes();
        // The same bytes mean the same once their default namespace is said.
        let (begin, rest) = stanza.split_at_checked(self.name_end()).unwrap_or_default();
        let open = format!(
            "<{name} xmlns='{namespace}'><forwarded xmlns='{}'>",
            ns::FORWARD
        );
        let declared = format!(" xmlns='{}'", ns::CLIENT);
        let close = format!("</forwarded></{name}>");
        let inside = [
            open.as_bytes(),
            begin,
            declared.as_bytes(),
            rest,
            close.as_bytes(),
        ]
        .concat();
        let mut root = head.to_client();
        root.truncate(root.len().saturating_sub(2));
        let mut bytes = root.into_bytes();
        let kind = Kind::new(head.name(), head.get_attr("type")).unwrap_or_else(|kind| kind);
        let inside = Span::new(&close_root(&mut bytes, kind, &inside));
        let address = |name| head.get_attr(name).and_then(|value| Jid::new(value).ok());
        let child = Child {
            name: Text::Owned(name.into()),
            ns: Text::Owned(namespace.into()),
        };
        Parts {
            bytes: bytes.into(),
            kind,
            from: address("from"),
            to: address("to"),
            id: None,
            inside,
            children: SmallVec::from_iter([child]),
        }
        .into()
    }

    /// An error to answer it with; `None` if it is one itself, or a result.
    pub fn error(&self, error: &StanzaError) -> Option<Element> {
        if self.parts.kind.is_error() || self.parts.kind == Kind::Iq(IqType::Result) {
            return None;
        }
        let head = reply_head(
            self.parts.kind,
            "error",
            self.to(),
            self.from(),
            self.id().as_deref(),
        );
        Some(head.child(error.to_element()))
    }

    /// The head of an iq's result.
    pub fn result(&self) -> Element {
        let id = self.id();
        let (from, to) = (self.to(), self.parts.from.as_ref());
        reply_head(self.parts.kind, "result", from, to, id.as_deref())
    }

    fn text(&self, span: Span) -> &str {
        self.parts
            .bytes
            .get(span.range())
            .and_then(|b| str::from_utf8(b).ok())
            .unwrap_or_default()
    }
}

impl From<Parts> for Stanza {
    fn from(parts: Parts) -> Stanza {
        Stanza {
            parts: Arc::new(parts),
            late: None,
        }
    }
}

impl Parts {
    /// With `text` put in at `at`; what lies behind moves.
    fn spliced(&self, at: usize, text: &str) -> Parts {
        let (before, after) = self
            .bytes
            .split_at_checked(at)
            .unwrap_or((&self.bytes, &[]));
        let bytes = [before, text.as_bytes(), after].concat();
        let by = Span::new(&(0..text.len())).end;
        let moved = |span: Span| {
            if (span.start as usize) < at {
                return span;
            }
            Span {
                start: span.start.saturating_add(by),
                end: span.end.saturating_add(by),
            }
        };
        let moved_text = |text: &Text| match text {
            Text::At(span) => Text::At(moved(*span)),
            other => other.clone(),
        };
        let children = self.children.iter().map(|child| Child {
            name: moved_text(&child.name),
            ns: moved_text(&child.ns),
        });
        Parts {
            children: children.collect(),
            id: self.id.map(moved),
            inside: moved(self.inside),
            bytes: bytes.into(),
            kind: self.kind,
            from: self.from.clone(),
            to: self.to.clone(),
        }
    }
}

fn to_attribute(to: &Jid) -> String {
    let mut attribute = String::with_capacity(to.as_str().len() + 8);
    attribute.push_str(" to='");
    write_value(&mut attribute, to.as_str());
    attribute.push('\'');
    attribute
}

fn reply_head(
    kind: Kind,
    type_value: &'static str,
    from: Option<&Jid>,
    to: Option<&Jid>,
    id: Option<&str>,
) -> Element {
    let type_value = if type_value.is_empty() {
        kind.type_str()
    } else {
        Some(type_value)
    };
    Element::new(kind.name(), ns::CLIENT)
        .attr_opt("type", type_value)
        .attr_opt("id", id)
        .attr_opt("from", from.map(Jid::as_str))
        .attr_opt("to", to.map(Jid::as_str))
}

#[cfg(test)]
mod tests;

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
    ns,
    scan::{Scope, Tag, Visit, scan},
};

macro_rules! types {
    ($(#[$doc:meta])* $name:ident { $($(#[$vdoc:meta])* $variant:ident = $text:literal),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[$vdoc])* $variant,)* }

        impl $name {
            /// The value of the attribute `type`.
            pub fn as_str(self) -> &'static str {
                match self { $($name::$variant => $text,)* }
            }

            fn from_value(value: &str) -> Option<Self> {
                match value { $($text => Some($name::$variant),)* _ => None }
            }
        }
    };
}

types! {
    /// RFC 6121 5.2.2.
    MessageType {
        /// A message outside of a conversation; also what an unknown type means.
        Normal = "normal",
        /// One of a conversation between two.
        Chat = "chat",
        /// One in a room.
        Groupchat = "groupchat",
        /// News: not stored, no answer expected.
        Headline = "headline",
        /// The answer to a message that went wrong.
        Error = "error",
    }
}

types! {
    /// RFC 6121 4.7.1. Availability is the absence of a type.
    PresenceType {
        /// Available.
        Available = "",
        /// No longer available.
        Unavailable = "unavailable",
        /// Asks to see the other's presence.
        Subscribe = "subscribe",
        /// Allows it.
        Subscribed = "subscribed",
        /// Wants to see it no more.
        Unsubscribe = "unsubscribe",
        /// Denies it, or takes it back.
        Unsubscribed = "unsubscribed",
        /// Asks for current presence, between servers.
        Probe = "probe",
        /// The answer to presence that went wrong.
        Error = "error",
    }
}

types! {
    /// RFC 6120 8.2.3.
    IqType {
        /// Asks.
        Get = "get",
        /// Changes.
        Set = "set",
        /// Answers.
        Result = "result",
        /// Answers that it went wrong.
        Error = "error",
    }
}

/// The three stanzas with their types.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Pushed to another.
    Message(MessageType),
    /// Broadcast to who subscribed.
    Presence(PresenceType),
    /// Asked and answered.
    Iq(IqType),
}

impl Kind {
    /// The element's name.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Message(_) => "message",
            Kind::Presence(_) => "presence",
            Kind::Iq(_) => "iq",
        }
    }

    /// The attribute `type`, if it needs one.
    pub fn type_str(self) -> Option<&'static str> {
        let value = match self {
            Kind::Message(MessageType::Normal) => "",
            Kind::Message(kind) => kind.as_str(),
            Kind::Presence(kind) => kind.as_str(),
            Kind::Iq(kind) => kind.as_str(),
        };
        (!value.is_empty()).then_some(value)
    }

    /// Whether it is an error: such a stanza is never answered (RFC 6120 8.3.1).
    pub fn is_error(self) -> bool {
        matches!(
            self,
            Kind::Message(MessageType::Error)
                | Kind::Presence(PresenceType::Error)
                | Kind::Iq(IqType::Error)
        )
    }

    /// By the element's name and the attribute `type`.
    fn new(name: &str, kind: Option<&str>) -> Result<Kind, Kind> {
        match name {
            "message" => {
                // RFC 6121 5.2.2: what is not understood is taken as normal.
                let kind = kind.and_then(MessageType::from_value);
                Ok(Kind::Message(kind.unwrap_or(MessageType::Normal)))
            }
            "presence" => match kind {
                None | Some("available") => Ok(Kind::Presence(PresenceType::Available)),
                Some(kind) => PresenceType::from_value(kind)
                    .filter(|&kind| kind != PresenceType::Available)
                    .map(Kind::Presence)
                    .ok_or(Kind::Presence(PresenceType::Available)),
            },
            _ => kind
                .and_then(IqType::from_value)
                .map(Kind::Iq)
                .ok_or(Kind::Iq(IqType::Get)),
        }
    }
}

/// Places in a stanza's bytes; a stanza has less than 4 GiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Span {
    start: u32,
    end: u32,
}

impl Span {
    fn new(range: &Range<usize>) -> Span {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            start: narrow(range.start),
            end: narrow(range.end),
        }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

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
    let mut head = Head::default();
    scan(bytes, scope, &mut head)?;
    if !head.is_stanza {
        return Ok(Incoming::Element(Element::parse(bytes, scope)?));
    }
    if !head.prefixed {
        return Ok(Incoming::Stanza(Draft {
            bytes: Cow::Borrowed(bytes),
            scope: Some(scope),
            head,
        }));
    }
    // With a prefix on the root, what the default namespace means inside depends on what is around:
    // write it in the plain form.
    let plain = Element::parse(bytes, scope)?.to_client();
    let head = Head::of(plain.as_bytes())?;
    Ok(Incoming::Stanza(Draft {
        bytes: Cow::Owned(plain.into_bytes()),
        scope: None,
        head,
    }))
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
        Some(super::scan::normalise(self.text(attr.value)))
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

/// A stanza on its way. Cloning shares all of it.
#[derive(Debug, Clone)]
pub struct Stanza(Arc<Parts>);

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
    pub fn bytes(&self) -> &Bytes {
        &self.0.bytes
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// Its sender.
    pub fn from(&self) -> Option<&Jid> {
        self.0.from.as_ref()
    }

    /// Whom it is for.
    pub fn to(&self) -> Option<&Jid> {
        self.0.to.as_ref()
    }

    /// Its id.
    pub fn id(&self) -> Option<Cow<'_, str>> {
        self.0
            .id
            .map(|span| super::scan::normalise(self.text(span)))
    }

    /// What is between its tags.
    pub fn inside(&self) -> Bytes {
        self.0.bytes.slice(self.0.inside.range())
    }

    /// Names and namespaces of the elements directly in it.
    pub fn children(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0
            .children
            .iter()
            .map(|child| (child.name.get(&self.0.bytes), child.ns.get(&self.0.bytes)))
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
        Element::parse(&self.0.bytes, SCOPE.with(|scope| *scope))
    }

    /// The same content with another root tag: from, to and nothing else of the old one but its
    /// kind and id. The inside is shared.
    #[must_use]
    pub fn readdress(&self, from: &Jid, to: &Jid) -> Stanza {
        let id = self.id();
        let head = reply_head(self.0.kind, "", Some(from), Some(to), id.as_deref());
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
            self.0.kind,
            &self.0.bytes.slice(self.0.inside.range()),
        );
        let moved = (inside.start as u32).wrapping_sub(self.0.inside.start);
        let mut children = self.0.children.clone();
        for child in &mut children {
            child.name.shift(moved);
            child.ns.shift(moved);
        }
        let address = |name| head.get_attr(name).and_then(|value| Jid::new(value).ok());
        Parts {
            kind: self.0.kind,
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
        if self.0.to.is_some() {
            return self.clone();
        }
        let mut attr = String::with_capacity(to.as_str().len() + 8);
        attr.push_str(" to='");
        write_value(&mut attr, to.as_str());
        attr.push('\'');
        let name_end = 1 + self.0.kind.name().len();
        let mut parts = self.0.spliced(name_end, &attr);
        parts.to = Some(to.clone());
        parts.into()
    }

    /// The same stanza with one more element in it.
    #[must_use]
    pub fn with_child(&self, child: &Element) -> Stanza {
        let mut text = String::new();
        child.write(ns::CLIENT, &mut text);
        let mut parts = if self.0.inside == Span::new(&(self.0.bytes.len()..self.0.bytes.len())) {
            // Empty so far: `/>` becomes `>`, the child and an end tag.
            let mut bytes = self.0.bytes.to_vec();
            bytes.truncate(bytes.len().saturating_sub(2));
            let inside = close_root(&mut bytes, self.0.kind, text.as_bytes());
            Parts {
                bytes: bytes.into(),
                inside: Span::new(&inside),
                ..Parts::clone(&self.0)
            }
        } else {
            let end = self.0.inside.end;
            let mut parts = self.0.spliced(end as usize, &text);
            parts.inside = Span {
                end: parts.inside.end,
                ..self.0.inside
            };
            parts.inside.end = end.saturating_add(Span::new(&(0..text.len())).end);
            parts
        };
        parts.children.push(Child::of(child));
        parts.into()
    }

    /// An error to answer it with; `None` if it is one itself, or a result.
    pub fn error(&self, error: &StanzaError) -> Option<Element> {
        if self.0.kind.is_error() || self.0.kind == Kind::Iq(IqType::Result) {
            return None;
        }
        let head = reply_head(
            self.0.kind,
            "error",
            self.0.to.as_ref(),
            self.0.from.as_ref(),
            self.id().as_deref(),
        );
        Some(head.child(error.to_element()))
    }

    /// The head of an iq's result.
    pub fn result(&self) -> Element {
        let id = self.id();
        let (from, to) = (self.0.to.as_ref(), self.0.from.as_ref());
        reply_head(self.0.kind, "result", from, to, id.as_deref())
    }

    fn text(&self, span: Span) -> &str {
        self.0
            .bytes
            .get(span.range())
            .and_then(|b| str::from_utf8(b).ok())
            .unwrap_or_default()
    }
}

impl From<Parts> for Stanza {
    fn from(parts: Parts) -> Stanza {
        Stanza(Arc::new(parts))
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

fn is_stanza(name: &str) -> bool {
    matches!(name, "message" | "presence" | "iq")
}

/// Text in a stanza's bytes, or beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Text {
    /// In the bytes.
    At(Span),
    /// The namespace of stanzas.
    Client,
    Owned(Box<str>),
}

impl Text {
    fn get<'a>(&'a self, bytes: &'a [u8]) -> &'a str {
        match self {
            Text::At(span) => bytes
                .get(span.range())
                .and_then(|b| str::from_utf8(b).ok())
                .unwrap_or_default(),
            Text::Client => ns::CLIENT,
            Text::Owned(text) => text,
        }
    }

    fn shift(&mut self, by: u32) {
        if let Text::At(span) = self {
            span.start = span.start.wrapping_add(by);
            span.end = span.end.wrapping_add(by);
        }
    }
}

/// An element directly in a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Child {
    name: Text,
    ns: Text,
}

impl Child {
    fn of(element: &Element) -> Child {
        let ns = match element.ns() {
            ns::CLIENT => Text::Client,
            other => Text::Owned(other.into()),
        };
        Child {
            name: Text::Owned(element.name().into()),
            ns,
        }
    }
}

/// What a scan keeps of a stanza.
#[derive(Debug, Default)]
struct Head {
    is_stanza: bool,
    prefixed: bool,
    kind: Option<Result<Kind, Kind>>,
    attrs: SmallVec<[RootAttr; 6]>,
    inside: Span,
    children: SmallVec<[Child; 3]>,
    /// Numbers of the scope's prefixes that are used and not declared inside.
    inherited: SmallVec<[usize; 2]>,
    /// Where the scanned text begins, to tell places in it.
    origin: usize,
}

/// An attribute of the root.
#[derive(Debug, Clone, Copy)]
struct RootAttr {
    /// With its prefix.
    name: Span,
    value: Span,
    whole: Span,
    is_lang: bool,
}

impl Head {
    /// Of bytes in the plain form.
    fn of(bytes: &[u8]) -> Result<Head, Flaw> {
        let scope = Scope::client();
        let mut head = Head::default();
        scan(bytes, &scope, &mut head)?;
        if head.is_stanza && !head.prefixed {
            Ok(head)
        } else {
            Err(Flaw::NotWellFormed)
        }
    }
}

impl<'a> Visit<'a> for Head {
    fn start(&mut self, depth: usize, tag: &Tag<'_, 'a>) {
        match depth {
            0 => {
                self.is_stanza = tag.ns == ns::CLIENT && is_stanza(tag.local);
                self.prefixed = !tag.prefix.is_empty();
                if !self.is_stanza {
                    return;
                }
                // The root's name stands right behind its `<`.
                self.origin = (tag.local.as_ptr() as usize).wrapping_sub(1);
                let of_kind = tag
                    .attrs
                    .iter()
                    .find(|a| a.prefix.is_empty() && a.local == "type");
                let type_value = of_kind.map(super::scan::Attr::value);
                self.kind = Some(Kind::new(tag.local, type_value.as_deref()));
                self.attrs = tag
                    .attrs
                    .iter()
                    .map(|attr| {
                        let name = attr.range.start..attr.range.start + attr.name_len();
                        let value = attr.range.end - 1 - attr.raw.len()..attr.range.end - 1;
                        RootAttr {
                            name: Span::new(&name),
                            value: Span::new(&value),
                            whole: Span::new(&attr.range),
                            is_lang: attr.ns == ns::XML && attr.local == "lang",
                        }
                    })
                    .collect();
                self.inside = Span::new(&(tag.range.end..tag.range.end));
            }
            1 if self.is_stanza => {
                let place = |text: &str| {
                    let start = (text.as_ptr() as usize).checked_sub(self.origin)?;
                    // Only what lies in this element moves along with it.
                    tag.range
                        .contains(&start)
                        .then(|| Span::new(&(start..start + text.len())))
                };
                let ns = match tag.ns {
                    ns::CLIENT => Text::Client,
                    other => place(other).map_or_else(|| Text::Owned(other.into()), Text::At),
                };
                let name = place(tag.local);
                let name = name.map_or_else(|| Text::Owned(tag.local.into()), Text::At);
                self.children.push(Child { name, ns });
            }
            _ => {}
        }
    }

    fn end(&mut self, depth: usize, at: usize) {
        if depth == 0 {
            self.inside.end = self.inside.end.max(Span::new(&(at..at)).start);
        }
    }

    fn inherited(&mut self, index: usize) {
        if !self.inherited.contains(&index) {
            self.inherited.push(index);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn stamp(text: &str, scope: &Scope, lang: Option<&str>) -> Result<Stanza, StanzaError> {
        let from = Jid::new("a@b/'c").unwrap();
        match read(text.as_bytes(), scope).unwrap() {
            Incoming::Stanza(draft) => draft.stamp(&from, lang),
            Incoming::Element(element) => panic!("{element:?}"),
        }
    }

    /// What comes out, after checks that hold for every stanza.
    fn check(text: &str, scope: &Scope, lang: Option<&str>) -> String {
        let stanza = stamp(text, scope, lang).unwrap();
        let out = String::from_utf8(stanza.bytes().to_vec()).unwrap();
        // The tree is the same but for `from` and the language.
        let mut before = Element::parse(text.as_bytes(), scope).unwrap();
        before.set_attr("from", "a@b/'c");
        let mut after = stanza.to_element().unwrap();
        after.set_attr("from", "a@b/'c");
        for element in [&mut before, &mut after] {
            element.set_lang("x");
            element.sort_attrs();
        }
        assert_eq!(before, after, "{text}");
        assert_eq!(stanza.id().as_deref(), after.get_attr("id"), "{text}");
        let children: Vec<_> = after.children().map(|c| (c.name(), c.ns())).collect();
        assert_eq!(stanza.children().collect::<Vec<_>>(), children, "{text}");
        let again = Stanza::from_stored(stanza.bytes().clone()).unwrap();
        assert_eq!(again.id(), stanza.id());
        assert_eq!(again.inside(), stanza.inside());
        assert_eq!((again.to(), again.from()), (stanza.to(), stanza.from()));
        assert_eq!(again.children().collect::<Vec<_>>(), children);
        let own = Stanza::from_element(&after).unwrap();
        assert_eq!(own.id(), stanza.id());
        assert_eq!(own.children().collect::<Vec<_>>(), children);
        out
    }

    #[test]
    fn stamps_the_sender() {
        let scope = Scope::client();
        let out = check(
            "<message to='d@e' id=\"1'\" type='chat'><body>x</body><p:x xmlns:p='u'/></message>",
            &scope,
            None,
        );
        assert_eq!(
            out,
            "<message from='a@b/&apos;c' to='d@e' id=\"1'\" type='chat'>\
             <body>x</body><p:x xmlns:p='u'/></message>"
        );
        // A false sender and a namespace of its own go.
        let out = check(
            "<presence from='x@y' xmlns='jabber:client' foo='1' />",
            &scope,
            None,
        );
        assert_eq!(out, "<presence from='a@b/&apos;c' foo='1'/>");
        let out = check(
            "<iq type='get' id='&lt;'><q xmlns='u'/></iq>",
            &scope,
            Some("de"),
        );
        assert_eq!(
            out,
            "<iq from='a@b/&apos;c' type='get' id='&lt;' xml:lang='de'><q xmlns='u'/></iq>"
        );
        let empty = stamp("<presence to='' id='1'/>", &scope, None).unwrap();
        assert_eq!(empty.bytes(), "<presence from='a@b/&apos;c' id='1'/>");
        let out = check("<message xml:lang='en'></message>", &scope, Some("de"));
        assert_eq!(out, "<message from='a@b/&apos;c' xml:lang='en'/>");
    }

    #[test]
    fn prefixes_of_the_stream_come_along() {
        let scope = Scope::new(
            ns::CLIENT.into(),
            vec![
                ("stream".into(), ns::STREAM.into()),
                ("x".into(), "urn:x&".into()),
            ],
        );
        let out = check("<message><x:a/><b x:c='1'/></message>", &scope, None);
        assert_eq!(
            out,
            "<message from='a@b/&apos;c' xmlns:x='urn:x&amp;'><x:a/><b x:c='1'/></message>"
        );
        let out = check("<message><x:a xmlns:x='u'/></message>", &scope, None);
        assert_eq!(
            out,
            "<message from='a@b/&apos;c'><x:a xmlns:x='u'/></message>"
        );
        let out = check("<message xmlns:y='urn:y'><y:a/></message>", &scope, None);
        assert_eq!(
            out,
            "<message from='a@b/&apos;c' xmlns:y='urn:y'><y:a/></message>"
        );
    }

    #[test]
    fn a_prefix_on_the_root_is_written_out() {
        let text = "<c:message xmlns:c='jabber:client' xmlns='u' to='d@e'><c:body>x</c:body><y/></c:message>";
        let out = check(text, &Scope::client(), None);
        assert_eq!(
            out,
            "<message from='a@b/&apos;c' to='d@e'><body>x</body><y xmlns='u'/></message>"
        );
    }

    #[test]
    fn kinds() {
        let scope = Scope::client();
        let kind = |text: &str| {
            stamp(text, &scope, None)
                .map(|s| s.kind())
                .map_err(|e| e.condition)
        };
        assert_eq!(kind("<message/>"), Ok(Kind::Message(MessageType::Normal)));
        assert_eq!(
            kind("<message type='x'/>"),
            Ok(Kind::Message(MessageType::Normal))
        );
        assert_eq!(
            kind("<message type='&#99;hat'/>"),
            Ok(Kind::Message(MessageType::Chat))
        );
        assert_eq!(
            kind("<presence/>"),
            Ok(Kind::Presence(PresenceType::Available))
        );
        assert_eq!(
            kind("<presence type='probe'/>"),
            Ok(Kind::Presence(PresenceType::Probe))
        );
        assert_eq!(kind("<presence type='x'/>"), Err(Condition::BadRequest));
        assert_eq!(kind("<iq type='set' id=''/>"), Ok(Kind::Iq(IqType::Set)));
        for text in ["<iq id='1'/>", "<iq id='1' type='x'/>", "<iq type='get'/>"] {
            assert_eq!(kind(text), Err(Condition::BadRequest), "{text}");
        }
        assert_eq!(kind("<message to='@'/>"), Err(Condition::JidMalformed));
        assert!(matches!(read(b"<a/>", &scope), Ok(Incoming::Element(_))));
        assert!(matches!(
            read(b"<iq xmlns='u'/>", &scope),
            Ok(Incoming::Element(_))
        ));
    }

    #[test]
    fn answers() {
        let scope = Scope::client();
        let stanza = stamp(
            "<iq type='get' id='1' to='d@e'><q xmlns='u'/></iq>",
            &scope,
            None,
        );
        let stanza = stanza.unwrap();
        assert_eq!(stanza.payload(), Some(("q", "u")));
        assert_eq!(
            stanza.result().to_client(),
            "<iq type='result' id='1' from='d@e' to='a@b/&apos;c'/>"
        );
        let error = stanza.error(&Condition::ServiceUnavailable.into()).unwrap();
        assert_eq!(
            error.to_client(),
            "<iq type='error' id='1' from='d@e' to='a@b/&apos;c'><error type='cancel'>\
             <service-unavailable xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/></error></iq>"
        );
        let wrong = stamp("<iq type='result' id='1'/>", &scope, None).unwrap();
        assert_eq!(wrong.error(&Condition::BadRequest.into()), None);
    }

    #[test]
    fn gains_an_address_and_a_child() {
        let scope = Scope::client();
        let to = Jid::new("d@e/'").unwrap();
        for text in [
            "<presence id='1'/>",
            "<presence id='1'><x xmlns='u'/><priority>1</priority></presence>",
        ] {
            let stanza = stamp(text, &scope, None).unwrap();
            let sent = stanza.with_to(&to);
            let late = sent.with_child(&Element::new("delay", ns::DELAY).attr("stamp", "x"));
            for stanza in [&sent, &late] {
                let tree = stanza.to_element().unwrap();
                assert_eq!(tree.get_attr("to"), Some("d@e/'"));
                assert_eq!(stanza.to(), Some(&to));
                assert_eq!(stanza.id().as_deref(), Some("1"));
                let children: Vec<_> = tree.children().map(|c| (c.name(), c.ns())).collect();
                assert_eq!(stanza.children().collect::<Vec<_>>(), children);
                let again = Stanza::from_stored(stanza.bytes().clone()).unwrap();
                assert_eq!(again.inside(), stanza.inside());
            }
            assert!(late.has_child("delay", ns::DELAY));
            let later = late.with_child(&Element::new("x", "v"));
            assert_eq!(
                later.to_element().unwrap().children().count(),
                later.children().count()
            );
        }
    }

    #[test]
    fn readdresses_sharing_the_content() {
        let scope = Scope::client();
        let text =
            "<message to='r@s' id='1' type='groupchat'><body>x</body><y xmlns='u'/></message>";
        let stanza = stamp(text, &scope, None).unwrap();
        let (from, to) = (Jid::new("r@s/n").unwrap(), Jid::new("f@g/h").unwrap());
        let copy = stanza.readdress(&from, &to);
        assert_eq!(
            copy.bytes(),
            "<message type='groupchat' id='1' from='r@s/n' to='f@g/h'><body>x</body><y xmlns='u'/></message>"
        );
        assert_eq!(copy.id().as_deref(), Some("1"));
        assert_eq!(
            copy.children().collect::<Vec<_>>(),
            stanza.children().collect::<Vec<_>>()
        );
    }
}

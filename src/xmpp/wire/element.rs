//! A small tree for what the server itself reads and writes. What it prints is always well-formed.

use std::{borrow::Cow, ops::Range};

use super::{
    Flaw, chars,
    entity::unescape,
    ns,
    scan::{Scope, Tag, Visit, scan},
};

/// A namespace or name: static for what the server writes, owned for what it read.
type Name = Cow<'static, str>;

/// An element with its attributes and what is in it.
#[derive(Debug, Clone, PartialEq)]
pub struct Element {
    name: Name,
    ns: Name,
    attrs: Vec<Attribute>,
    nodes: Vec<Node>,
}

#[derive(Debug, Clone, PartialEq)]
struct Attribute {
    /// Empty for an attribute without a prefix.
    ns: Name,
    name: Name,
    value: String,
}

/// What an element can hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Node {
    /// An element.
    Element(Element),
    /// Character data.
    Text(String),
}

impl Element {
    /// An empty element. Names are static so that a peer's text can't become one.
    pub fn new(name: &'static str, ns: &'static str) -> Element {
        debug_assert!(
            name.chars().next().is_some_and(chars::is_name_start),
            "{name}"
        );
        debug_assert!(name.chars().all(chars::is_name), "{name}");
        Element {
            name: name.into(),
            ns: ns.into(),
            attrs: Vec::new(),
            nodes: Vec::new(),
        }
    }

    /// Reads one complete element.
    ///
    /// # Errors
    /// When the bytes are not exactly one well-formed element.
    pub fn parse(bytes: &[u8], scope: &Scope) -> Result<Element, Flaw> {
        let mut tree = Tree::default();
        scan(bytes, scope, &mut tree)?;
        tree.root.ok_or(Flaw::NotWellFormed)
    }

    /// With an attribute.
    #[must_use]
    pub fn attr(mut self, name: &'static str, value: impl Into<String>) -> Element {
        self.set_attr(name, value);
        self
    }

    /// With an attribute if there is a value.
    #[must_use]
    pub fn attr_opt(self, name: &'static str, value: Option<impl Into<String>>) -> Element {
        match value {
            Some(value) => self.attr(name, value),
            None => self,
        }
    }

    /// Sets an attribute without a namespace.
    pub fn set_attr(&mut self, name: &'static str, value: impl Into<String>) {
        self.set(Name::Borrowed(""), name, value.into());
    }

    /// Sets `xml:lang`.
    pub fn set_lang(&mut self, value: impl Into<String>) {
        self.set(Name::Borrowed(ns::XML), "lang", value.into());
    }

    fn set(&mut self, ns: Name, name: &'static str, value: String) {
        match self.attrs.iter_mut().find(|a| a.ns == ns && a.name == name) {
            Some(attr) => attr.value = value,
            None => self.attrs.push(Attribute {
                ns,
                name: name.into(),
                value,
            }),
        }
    }

    /// Takes an attribute away.
    pub fn remove_attr(&mut self, name: &str) {
        self.attrs.retain(|a| !a.ns.is_empty() || a.name != name);
    }

    /// With a child element.
    #[must_use]
    pub fn child(mut self, child: Element) -> Element {
        self.nodes.push(Node::Element(child));
        self
    }

    /// With child elements.
    #[must_use]
    pub fn children_from(mut self, children: impl IntoIterator<Item = Element>) -> Element {
        self.nodes.extend(children.into_iter().map(Node::Element));
        self
    }

    /// With character data.
    #[must_use]
    pub fn text(mut self, text: impl Into<String>) -> Element {
        let text = text.into();
        if !text.is_empty() {
            self.nodes.push(Node::Text(text));
        }
        self
    }

    /// Keeps the child elements that `keep` says yes to.
    pub fn retain(&mut self, keep: impl Fn(&Element) -> bool) {
        self.nodes.retain(|node| match node {
            Node::Element(element) => keep(element),
            Node::Text(_) => true,
        });
    }

    /// With all that is in one namespace in another.
    #[must_use]
    pub fn moved(mut self, from: &str, to: &'static str) -> Element {
        if self.ns == from {
            self.ns = to.into();
        }
        let nodes = self.nodes.into_iter().map(|node| match node {
            Node::Element(element) => Node::Element(element.moved(from, to)),
            text @ Node::Text(_) => text,
        });
        self.nodes = nodes.collect();
        self
    }

    /// Adds a child element.
    pub fn push(&mut self, child: Element) {
        self.nodes.push(Node::Element(child));
    }

    #[cfg(test)]
    pub(crate) fn sort_attrs(&mut self) {
        self.attrs
            .sort_by(|a, b| (&a.ns, &a.name).cmp(&(&b.ns, &b.name)));
    }

    /// The local name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The namespace.
    pub fn ns(&self) -> &str {
        &self.ns
    }

    /// Whether name and namespace are these.
    pub fn is(&self, name: &str, ns: &str) -> bool {
        self.name == name && self.ns == ns
    }

    /// The value of an attribute without a namespace.
    pub fn get_attr(&self, name: &str) -> Option<&str> {
        let mut attrs = self.attrs.iter();
        attrs
            .find(|a| a.ns.is_empty() && a.name == name)
            .map(|a| a.value.as_str())
    }

    /// The value of an attribute of a namespace.
    pub fn get_attr_in(&self, ns: &str, name: &str) -> Option<&str> {
        let mut attrs = self.attrs.iter();
        attrs
            .find(|a| a.ns == ns && a.name == name)
            .map(|a| a.value.as_str())
    }

    /// `xml:lang`.
    pub fn lang(&self) -> Option<&str> {
        self.attrs
            .iter()
            .find(|a| a.ns == ns::XML && a.name == "lang")
            .map(|a| a.value.as_str())
    }

    /// The child elements.
    pub fn children(&self) -> impl Iterator<Item = &Element> {
        self.nodes.iter().filter_map(|node| match node {
            Node::Element(element) => Some(element),
            Node::Text(_) => None,
        })
    }

    /// The first child element with that name and namespace.
    pub fn get_child(&self, name: &str, ns: &str) -> Option<&Element> {
        self.children().find(|child| child.is(name, ns))
    }

    /// What is in the element, in order.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The character data directly in the element.
    pub fn text_content(&self) -> String {
        self.nodes
            .iter()
            .filter_map(|node| match node {
                Node::Text(text) => Some(text.as_str()),
                Node::Element(_) => None,
            })
            .collect()
    }

    /// Prints it for a place where `outer` is the default namespace. Returns where in `out` its
    /// content lies.
    pub fn write(&self, outer: &str, out: &mut String) -> Range<usize> {
        out.push('<');
        out.push_str(&self.name);
        if self.ns != outer {
            out.push_str(" xmlns='");
            write_value(out, &self.ns);
            out.push('\'');
        }
        for (index, attr) in self.attrs.iter().enumerate() {
            out.push(' ');
            match attr.ns.as_ref() {
                "" => {}
                ns::XML => out.push_str("xml:"),
                other => {
                    // A prefix of our own: nothing depends on which it is.
                    let prefix = format!("a{index}");
                    out.push_str("xmlns:");
                    out.push_str(&prefix);
                    out.push_str("='");
                    write_value(out, other);
                    out.push_str("' ");
                    out.push_str(&prefix);
                    out.push(':');
                }
            }
            out.push_str(&attr.name);
            out.push_str("='");
            write_value(out, &attr.value);
            out.push('\'');
        }
        if self.nodes.is_empty() {
            out.push_str("/>");
            return out.len()..out.len();
        }
        out.push('>');
        let start = out.len();
        for node in &self.nodes {
            match node {
                Node::Element(element) => {
                    element.write(&self.ns, out);
                }
                Node::Text(text) => write_text(out, text),
            }
        }
        let end = out.len();
        out.push_str("</");
        out.push_str(&self.name);
        out.push('>');
        start..end
    }

    /// Prints it as a first-level child of a client's stream.
    pub fn to_client(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write(ns::CLIENT, &mut out);
        out
    }

    /// Prints it as a document of its own.
    pub fn to_document(&self) -> String {
        let mut out = String::with_capacity(256);
        self.write("", &mut out);
        out
    }
}

/// Appends character data.
pub(crate) fn write_text(out: &mut String, text: &str) {
    write_escaped(out, text, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        // Else a receiver would read a line feed.
        '\r' => Some("&#13;"),
        _ => None,
    });
}

/// Appends an attribute's value, for either kind of quote.
pub(crate) fn write_value(out: &mut String, value: &str) {
    write_escaped(out, value, |c| match c {
        '&' => Some("&amp;"),
        '<' => Some("&lt;"),
        '>' => Some("&gt;"),
        '\'' => Some("&apos;"),
        '"' => Some("&quot;"),
        '\t' => Some("&#9;"),
        '\n' => Some("&#10;"),
        '\r' => Some("&#13;"),
        _ => None,
    });
}

fn write_escaped(out: &mut String, text: &str, escape: impl Fn(char) -> Option<&'static str>) {
    let mut plain = 0;
    for (at, c) in text.char_indices() {
        // What isn't an XML character can't be written in any way.
        let instead = if chars::is_char(c as u32) {
            escape(c)
        } else {
            Some("\u{fffd}")
        };
        if let Some(instead) = instead {
            out.push_str(text.get(plain..at).unwrap_or_default());
            out.push_str(instead);
            plain = at + c.len_utf8();
        }
    }
    out.push_str(text.get(plain..).unwrap_or_default());
}

/// Builds a tree from a scan.
#[derive(Default)]
struct Tree {
    open: Vec<Element>,
    root: Option<Element>,
}

impl<'a> Visit<'a> for Tree {
    fn start(&mut self, _: usize, tag: &Tag<'_, 'a>) {
        let attrs = tag
            .attrs
            .iter()
            .filter(|attr| !attr.is_xmlns())
            .map(|attr| Attribute {
                ns: known(&attr.ns),
                name: attr.local.to_owned().into(),
                value: attr.value().into_owned(),
            });
        self.open.push(Element {
            name: tag.local.to_owned().into(),
            ns: known(tag.ns),
            attrs: attrs.collect(),
            nodes: Vec::new(),
        });
    }

    fn text(&mut self, _: usize, raw: &'a str, cdata: bool) {
        let Some(element) = self.open.last_mut() else {
            return;
        };
        let text = if cdata { raw.into() } else { unescape(raw) };
        if text.is_empty() {
            return;
        }
        match element.nodes.last_mut() {
            Some(Node::Text(before)) => before.push_str(&text),
            _ => element.nodes.push(Node::Text(text.into_owned())),
        }
    }

    fn end(&mut self, _: usize, _: usize) {
        let Some(element) = self.open.pop() else {
            return;
        };
        match self.open.last_mut() {
            Some(parent) => parent.nodes.push(Node::Element(element)),
            None => self.root = Some(element),
        }
    }
}

/// The namespaces that most elements are in need no copy.
fn known(uri: &str) -> Name {
    const KNOWN: &[&str] = &["", ns::CLIENT, ns::XML, ns::ROSTER, ns::SASL, ns::STREAM];
    match KNOWN.iter().find(|known| **known == uri) {
        Some(known) => Name::Borrowed(known),
        None => Name::Owned(uri.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    fn round(text: &str) -> String {
        Element::parse(text.as_bytes(), &Scope::client())
            .unwrap()
            .to_client()
    }

    #[test]
    fn prints_what_it_read() {
        for text in [
            "<a/>",
            "<message to='b@c'><body>x &lt; y</body></message>",
            "<iq xml:lang='en'><query xmlns='jabber:iq:roster'><item jid='a@b'/></query></iq>",
            "<a xmlns=''><b xmlns='u'/></a>",
        ] {
            assert_eq!(round(text), text);
        }
        assert_eq!(
            round("<a xmlns='jabber:client'><![CDATA[<]]>&#x41;</a>"),
            "<a>&lt;A</a>"
        );
        assert_eq!(
            round("<p:a xmlns:p='u' p:b='1'/>"),
            "<a xmlns='u' xmlns:a0='u' a0:b='1'/>"
        );
        assert_eq!(
            round("<stream:error/>"),
            format!("<error xmlns='{}'/>", ns::STREAM)
        );
        assert_eq!(round("<a b='1\n2'>\r\n</a>"), "<a b='1 2'>\n</a>");
    }

    #[test]
    fn looks_up() {
        let text = "<a b='1' xml:lang='de'>x<c xmlns='u'/>y<c/></a>";
        let element = Element::parse(text.as_bytes(), &Scope::client()).unwrap();
        assert_eq!(element.get_attr("b"), Some("1"));
        assert_eq!(element.get_attr("lang"), None);
        assert_eq!(element.lang(), Some("de"));
        assert_eq!(element.text_content(), "xy");
        assert_eq!(element.children().count(), 2);
        assert!(element.get_child("c", "u").is_some() && element.get_child("c", "v").is_none());
    }

    fn any_element() -> impl Strategy<Value = Element> {
        let leaf = (0usize..3, any::<String>(), any::<String>()).prop_map(|(ns, value, text)| {
            let ns = ["jabber:client", "u&'<", ""][ns];
            Element::new("a", ns).attr("b", value).text(text)
        });
        leaf.prop_recursive(4, 16, 3, |inner| {
            (proptest::collection::vec(inner, 0..3), any::<String>()).prop_map(
                |(children, lang)| {
                    let mut element = Element::new("c-d.e", "v").children_from(children);
                    element.set_lang(lang);
                    element
                },
            )
        })
    }

    proptest! {
        #![proptest_config(crate::tests::cases())]

        #[test]
        fn output_is_well_formed(element in any_element()) {
            let text = element.to_client();
            let read = Element::parse(text.as_bytes(), &Scope::client()).unwrap();
            // Characters that XML can't carry were replaced; the second time nothing changes.
            prop_assert_eq!(&read.to_client(), &text);
            let again = Element::parse(read.to_client().as_bytes(), &Scope::client()).unwrap();
            prop_assert_eq!(again, read);
        }
    }
}

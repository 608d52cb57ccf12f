//! What one scan of a stanza keeps of it: kind, attributes, and where things lie in the bytes.

use std::ops::Range;

use smallvec::SmallVec;

use super::{
    Element, Flaw,
    kind::{Kind, is_stanza},
    ns,
    scan::{Attr, Scope, Tag, Visit, scan},
};

/// Places in a stanza's bytes; a stanza has less than 4 GiB.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: u32,
    pub(crate) end: u32,
}

impl Span {
    pub(crate) fn new(range: &Range<usize>) -> Span {
        let narrow = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Span {
            start: narrow(range.start),
            end: narrow(range.end),
        }
    }

    pub(crate) fn range(self) -> Range<usize> {
        self.start as usize..self.end as usize
    }
}

/// Text in a stanza's bytes, or beside them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Text {
    /// In the bytes.
    At(Span),
    /// The namespace of stanzas.
    Client,
    Owned(Box<str>),
}

impl Text {
    pub(crate) fn get<'a>(&'a self, bytes: &'a [u8]) -> &'a str {
        match self {
            Text::At(span) => bytes
                .get(span.range())
                .and_then(|b| str::from_utf8(b).ok())
                .unwrap_or_default(),
            Text::Client => ns::CLIENT,
            Text::Owned(text) => text,
        }
    }

    pub(crate) fn shift(&mut self, by: u32) {
        if let Text::At(span) = self {
            span.start = span.start.wrapping_add(by);
            span.end = span.end.wrapping_add(by);
        }
    }
}

/// An element directly in a stanza.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Child {
    pub(crate) name: Text,
    pub(crate) ns: Text,
}

impl Child {
    pub(crate) fn of(element: &Element) -> Child {
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
pub(crate) struct Head {
    pub(crate) is_stanza: bool,
    pub(crate) prefixed: bool,
    pub(crate) kind: Option<Result<Kind, Kind>>,
    pub(crate) attrs: SmallVec<[RootAttr; 6]>,
    pub(crate) inside: Span,
    pub(crate) children: SmallVec<[Child; 3]>,
    /// Numbers of the scope's prefixes that are used and not declared inside.
    pub(crate) inherited: SmallVec<[usize; 2]>,
    /// Where the scanned text begins, to tell places in it.
    origin: usize,
}

/// An attribute of the root.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RootAttr {
    /// With its prefix.
    pub(crate) name: Span,
    pub(crate) value: Span,
    pub(crate) whole: Span,
    pub(crate) is_lang: bool,
}

impl Head {
    /// Of bytes in the plain form.
    pub(crate) fn of(bytes: &[u8]) -> Result<Head, Flaw> {
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
                let type_value = of_kind.map(Attr::value);
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

//! Domain names in wire form: a row of length-prefixed labels that ends with the empty one.
//!
//! [`NameRef`] borrows the bytes, [`Name`] owns them, [`NameBuf`] holds them on the stack. All three
//! exist only valid: at most 255 octets, labels of at most 63 octets, closed by the root label, and
//! never compressed. Compression belongs to messages and is undone where a message is read.

use std::cmp::Ordering;
use std::fmt;

/// Longest name in wire form, length octets and root included (RFC 1035 2.3.4).
pub const MAX_NAME: usize = 255;
/// Longest label (RFC 1035 2.3.4).
pub const MAX_LABEL: usize = 63;

/// Why text or bytes are not a domain name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// More than 255 octets.
    #[error("name is longer than 255 octets")]
    TooLong,
    /// More than 63 octets in one label.
    #[error("label is longer than 63 octets")]
    LabelTooLong,
    /// Two dots in a row, or a dot at the start.
    #[error("empty label")]
    EmptyLabel,
    /// A backslash without its character, or `\DDD` above 255.
    #[error("bad escape")]
    BadEscape,
    /// A relative name where nothing says what it is relative to.
    #[error("relative name without an origin")]
    NoOrigin,
    /// Wire form that breaks off, or holds a compression pointer.
    #[error("malformed name")]
    Malformed,
}

/// A valid name, borrowed.
#[derive(Clone, Copy)]
pub struct NameRef<'a>(&'a [u8]);

/// A valid name, owned.
#[derive(Clone)]
pub struct Name(Box<[u8]>);

/// A valid name on the stack, for names built while a message or a line is read.
#[derive(Clone, Copy)]
pub struct NameBuf {
    bytes: [u8; MAX_NAME],
    len: u8,
}

impl<'a> NameRef<'a> {
    /// The root.
    pub const ROOT: NameRef<'static> = NameRef(&[0]);

    /// Takes a whole slice as an uncompressed name.
    pub fn from_wire(bytes: &'a [u8]) -> Result<NameRef<'a>, NameError> {
        let (name, rest) = Self::split_wire(bytes)?;
        if rest.is_empty() {
            Ok(name)
        } else {
            Err(NameError::Malformed)
        }
    }

    /// Takes an uncompressed name from the front of a slice.
    pub fn split_wire(bytes: &'a [u8]) -> Result<(NameRef<'a>, &'a [u8]), NameError> {
        let mut at = 0usize;
        loop {
            let length = *bytes.get(at).ok_or(NameError::Malformed)? as usize;
            if length > MAX_LABEL {
                return Err(NameError::Malformed);
            }
            at += 1 + length;
            if at > MAX_NAME {
                return Err(NameError::TooLong);
            }
            if length == 0 {
                let (name, rest) = bytes.split_at_checked(at).ok_or(NameError::Malformed)?;
                return Ok((NameRef(name), rest));
            }
        }
    }

    /// For bytes that this crate itself laid down as a name. Wrong bytes give a wrong name, never
    /// a panic: every reader of a name bounds what it reads.
    pub(crate) fn trusted(bytes: &'a [u8]) -> NameRef<'a> {
        NameRef(bytes)
    }

    /// The wire form.
    pub fn wire(self) -> &'a [u8] {
        self.0
    }

    /// True of the root alone.
    pub fn is_root(self) -> bool {
        self.0.len() <= 1
    }

    /// The labels from the left, without the root's.
    pub fn labels(self) -> Labels<'a> {
        Labels { rest: self.0 }
    }

    /// How many labels there are, the root's not counted.
    pub fn label_count(self) -> usize {
        self.labels().count()
    }

    /// The name without its leftmost label; none above the root.
    pub fn parent(self) -> Option<NameRef<'a>> {
        let length = *self.0.first()? as usize;
        if length == 0 {
            return None;
        }
        self.0.get(1 + length..).map(NameRef)
    }

    /// The name with `count` labels taken from the left.
    pub fn skip(self, count: usize) -> Option<NameRef<'a>> {
        (0..count).try_fold(self, |name, _| name.parent())
    }

    /// True of a name whose first label is `*` (RFC 4592 2.1.1).
    pub fn is_wildcard(self) -> bool {
        self.0.starts_with(b"\x01*")
    }

    /// True if this name is `ancestor` or lies below it.
    pub fn is_within(self, ancestor: NameRef<'_>) -> bool {
        let Some(start) = self.0.len().checked_sub(ancestor.0.len()) else {
            return false;
        };
        // The tail must begin at a label, not in the midst of one.
        let mut at = 0;
        while at < start {
            at += 1 + self.0.get(at).copied().unwrap_or(0) as usize;
        }
        at == start
            && self
                .0
                .get(start..)
                .is_some_and(|tail| tail.eq_ignore_ascii_case(ancestor.0))
    }

    /// Byte for byte the same, letter case included.
    pub fn same_bytes(self, other: NameRef<'_>) -> bool {
        self.0 == other.0
    }

    /// A copy on the heap.
    pub fn to_owned(self) -> Name {
        Name(self.0.into())
    }

    /// A copy on the stack.
    pub fn to_buf(self) -> NameBuf {
        let mut buf = NameBuf {
            bytes: [0; MAX_NAME],
            len: self.0.len().min(MAX_NAME) as u8,
        };
        if let Some(target) = buf.bytes.get_mut(..self.0.len()) {
            target.copy_from_slice(self.0);
        }
        buf
    }

    /// The order of RFC 4034 6.1: label by label from the right, letters in lower case, and what
    /// is absent before what is there.
    pub fn canonical_cmp(self, other: NameRef<'_>) -> Ordering {
        let (mine, theirs) = (Offsets::of(self), Offsets::of(other));
        let (mut left, mut right) = (mine.count, theirs.count);
        while left > 0 && right > 0 {
            left -= 1;
            right -= 1;
            let order = lower_cmp(mine.label(self, left), theirs.label(other, right));
            if order != Ordering::Equal {
                return order;
            }
        }
        left.cmp(&right)
    }
}

fn lower_cmp(left: &[u8], right: &[u8]) -> Ordering {
    let lower = |byte: &u8| byte.to_ascii_lowercase();
    left.iter().map(lower).cmp(right.iter().map(lower))
}

/// Where each label of a name begins; 128 is more than 255 octets can hold.
struct Offsets {
    at: [u8; 128],
    count: usize,
}

impl Offsets {
    fn of(name: NameRef<'_>) -> Offsets {
        let mut offsets = Offsets {
            at: [0; 128],
            count: 0,
        };
        let mut at = 0usize;
        while let Some(&length) = name.0.get(at) {
            let Some(slot) = offsets.at.get_mut(offsets.count).filter(|_| length > 0) else {
                break;
            };
            *slot = at as u8;
            offsets.count += 1;
            at += 1 + length as usize;
        }
        offsets
    }

    fn label<'a>(&self, name: NameRef<'a>, index: usize) -> &'a [u8] {
        let at = self.at.get(index).copied().unwrap_or(0) as usize;
        let length = name.0.get(at).copied().unwrap_or(0) as usize;
        name.0.get(at + 1..at + 1 + length).unwrap_or(&[])
    }
}

/// Labels of a name from the left.
#[derive(Clone)]
pub struct Labels<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Labels<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let (&length, rest) = self.rest.split_first()?;
        if length == 0 {
            return None;
        }
        let (label, rest) = rest.split_at_checked(length as usize)?;
        self.rest = rest;
        Some(label)
    }
}

impl PartialEq for NameRef<'_> {
    fn eq(&self, other: &Self) -> bool {
        // Length octets are below 64 and so never taken for letters.
        self.0.eq_ignore_ascii_case(other.0)
    }
}

impl Eq for NameRef<'_> {}

impl fmt::Display for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        if self.is_root() {
            return f.write_char('.');
        }
        for label in self.labels() {
            for &byte in label {
                match byte {
                    b'"' | b'(' | b')' | b'.' | b';' | b'\\' | b'@' | b'$' => {
                        f.write_char('\\')?;
                        f.write_char(byte as char)?;
                    }
                    0x21..=0x7e => f.write_char(byte as char)?,
                    _ => write!(f, "\\{byte:03}")?,
                }
            }
            f.write_char('.')?;
        }
        Ok(())
    }
}

impl fmt::Debug for NameRef<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Name {
    /// The root.
    pub fn root() -> Name {
        Name([0].into())
    }

    /// Takes a whole slice as an uncompressed name.
    pub fn from_wire(bytes: &[u8]) -> Result<Name, NameError> {
        NameRef::from_wire(bytes).map(NameRef::to_owned)
    }

    /// Reads an absolute name, with or without its last dot.
    pub fn from_text(text: &str) -> Result<Name, NameError> {
        NameBuf::from_text(text.as_bytes(), Some(NameRef::ROOT)).map(|buf| buf.as_ref().to_owned())
    }

    /// The name, borrowed.
    pub fn as_ref(&self) -> NameRef<'_> {
        NameRef(&self.0)
    }
}

impl PartialEq for Name {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Name {}

impl PartialOrd for Name {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Name {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_ref().canonical_cmp(other.as_ref())
    }
}

impl std::hash::Hash for Name {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        for byte in &self.0 {
            state.write_u8(byte.to_ascii_lowercase());
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_ref(), f)
    }
}

impl fmt::Debug for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::str::FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Name, NameError> {
        Name::from_text(text)
    }
}

impl NameBuf {
    /// The root.
    pub const fn root() -> NameBuf {
        NameBuf {
            bytes: [0; MAX_NAME],
            len: 1,
        }
    }

    /// The name, borrowed.
    pub fn as_ref(&self) -> NameRef<'_> {
        NameRef(self.bytes.get(..self.len as usize).unwrap_or(&[0]))
    }

    /// Reads a name as master files write it (RFC 1035 5.1): `\X` and `\DDD` escapes; without a
    /// dot at its end it is completed with `origin`. The sign `@` is the caller's to know.
    pub fn from_text(text: &[u8], origin: Option<NameRef<'_>>) -> Result<NameBuf, NameError> {
        let mut builder = Builder::new();
        if text == b"." {
            return Ok(NameBuf::root());
        }
        if text.is_empty() {
            return Err(NameError::EmptyLabel);
        }
        let mut at = 0;
        while let Some(&byte) = text.get(at) {
            at += 1;
            match byte {
                b'.' => builder.end_label()?,
                b'\\' => {
                    let (value, used) = unescape(text.get(at..).unwrap_or(&[]))?;
                    builder.push(value)?;
                    at += used;
                }
                _ => builder.push(byte)?,
            }
        }
        if builder.in_label() {
            builder.end_label()?;
            builder.append(origin.ok_or(NameError::NoOrigin)?)
        } else {
            builder.append(NameRef::ROOT)
        }
    }

    /// `prefix` put before `suffix`; the root label of `prefix` is dropped.
    pub fn join(prefix: NameRef<'_>, suffix: NameRef<'_>) -> Result<NameBuf, NameError> {
        let head = prefix.0.split_last().map_or(&[][..], |(_, head)| head);
        let len = head.len() + suffix.0.len();
        if len > MAX_NAME {
            return Err(NameError::TooLong);
        }
        let mut buf = NameBuf {
            bytes: [0; MAX_NAME],
            len: len as u8,
        };
        for (target, source) in buf.bytes.iter_mut().zip(head.iter().chain(suffix.0)) {
            *target = *source;
        }
        Ok(buf)
    }
}

impl fmt::Debug for NameBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.as_ref(), f)
    }
}

/// Reads what stands after a backslash: the octet meant, and how many bytes of text say it.
pub(crate) fn unescape(text: &[u8]) -> Result<(u8, usize), NameError> {
    match *text {
        [a @ b'0'..=b'9', b @ b'0'..=b'9', c @ b'0'..=b'9', ..] => {
            let digit = |byte: u8| u16::from(byte - b'0');
            let value = digit(a) * 100 + digit(b) * 10 + digit(c);
            u8::try_from(value)
                .map(|value| (value, 3))
                .map_err(|_| NameError::BadEscape)
        }
        // A digit must begin three: "\1" alone is a slip, not an escape.
        [b'0'..=b'9', ..] | [] => Err(NameError::BadEscape),
        [byte, ..] => Ok((byte, 1)),
    }
}

/// Lays down a name label by label.
pub(crate) struct Builder {
    buf: NameBuf,
    /// Where the length octet of the open label is.
    label: usize,
}

impl Builder {
    pub(crate) fn new() -> Builder {
        Builder {
            buf: NameBuf {
                bytes: [0; MAX_NAME],
                len: 1,
            },
            label: 0,
        }
    }

    fn in_label(&self) -> bool {
        self.buf.len as usize > self.label + 1
    }

    fn push(&mut self, byte: u8) -> Result<(), NameError> {
        if self.buf.len as usize - self.label > MAX_LABEL {
            return Err(NameError::LabelTooLong);
        }
        let slot = self
            .buf
            .bytes
            .get_mut(self.buf.len as usize)
            .ok_or(NameError::TooLong)?;
        *slot = byte;
        self.buf.len = self.buf.len.checked_add(1).ok_or(NameError::TooLong)?;
        Ok(())
    }

    fn end_label(&mut self) -> Result<(), NameError> {
        if !self.in_label() {
            return Err(NameError::EmptyLabel);
        }
        let length = self.buf.len as usize - self.label - 1;
        if let Some(slot) = self.buf.bytes.get_mut(self.label) {
            *slot = length as u8;
        }
        self.label = self.buf.len as usize;
        let slot = self
            .buf
            .bytes
            .get_mut(self.label)
            .ok_or(NameError::TooLong)?;
        *slot = 0;
        self.buf.len = self.buf.len.checked_add(1).ok_or(NameError::TooLong)?;
        Ok(())
    }

    /// Adds a whole label.
    pub(crate) fn label(&mut self, label: &[u8]) -> Result<(), NameError> {
        for &byte in label {
            self.push(byte)?;
        }
        self.end_label()
    }

    /// Closes the name with another name in place of the root.
    pub(crate) fn append(mut self, suffix: NameRef<'_>) -> Result<NameBuf, NameError> {
        let end = self.label + suffix.0.len();
        let target = self
            .buf
            .bytes
            .get_mut(self.label..end)
            .ok_or(NameError::TooLong)?;
        target.copy_from_slice(suffix.0);
        self.buf.len = u8::try_from(end).map_err(|_| NameError::TooLong)?;
        Ok(self.buf)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use proptest::prelude::*;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    #[test]
    fn text_and_back() {
        let cases = [
            ("example.org.", "example.org."),
            ("example.org", "example.org."),
            (".", "."),
            ("*.Example.ORG", "*.Example.ORG."),
            (r"a\.b.c", r"a\.b.c."),
            (r"\065\000.c", r"A\000.c."),
            (r"sp\032ace\@x.c", r"sp\032ace\@x.c."),
            (r"tab\009\;\(\)\$", r"tab\009\;\(\)\$."),
        ];
        for (text, printed) in cases {
            assert_eq!(name(text).to_string(), printed, "{text}");
        }
    }

    #[test]
    fn refuses_what_is_no_name() {
        let long_label = "a".repeat(64);
        let long_name = "abcdefg.".repeat(32);
        let cases = [
            ("", NameError::EmptyLabel),
            ("..", NameError::EmptyLabel),
            (".a", NameError::EmptyLabel),
            ("a..b", NameError::EmptyLabel),
            (r"a\", NameError::BadEscape),
            (r"a\25", NameError::BadEscape),
            (r"a\256", NameError::BadEscape),
            (long_label.as_str(), NameError::LabelTooLong),
            (long_name.as_str(), NameError::TooLong),
        ];
        for (text, error) in cases {
            assert_eq!(Name::from_text(text), Err(error), "{text}");
        }
        assert!(Name::from_text(&"a".repeat(63)).is_ok());
        // 255 octets exactly: 63+1 three times, 61+1, and the root.
        let full = format!("{0}.{0}.{0}.{1}", "a".repeat(63), "b".repeat(61));
        assert_eq!(name(&full).as_ref().wire().len(), 255);
        assert_eq!(
            Name::from_text(&format!("{full}b")),
            Err(NameError::TooLong)
        );
        assert_eq!(
            NameBuf::from_text(b"www", None).err(),
            Some(NameError::NoOrigin)
        );
    }

    /// The list of RFC 4034 6.1.
    #[test]
    fn canonical_order() {
        let sorted = [
            "example",
            "a.example",
            "yljkjljk.a.example",
            "Z.a.example",
            "zABC.a.EXAMPLE",
            "z.example",
            r"\001.z.example",
            "*.z.example",
            r"\200.z.example",
        ];
        let mut names: Vec<Name> = sorted.iter().map(|text| name(text)).collect();
        names.reverse();
        names.sort();
        let printed: Vec<String> = names.iter().map(ToString::to_string).collect();
        let expected: Vec<String> = sorted.iter().map(|text| format!("{text}.")).collect();
        assert_eq!(printed, expected);
    }

    #[test]
    fn within() {
        let org = name("Example.org");
        assert!(name("www.eXample.Org").as_ref().is_within(org.as_ref()));
        assert!(org.as_ref().is_within(org.as_ref()));
        assert!(!name("notexample.org").as_ref().is_within(org.as_ref()));
        assert!(!name(r"not\.example.org").as_ref().is_within(org.as_ref()));
        assert!(!name("org").as_ref().is_within(org.as_ref()));
        assert!(org.as_ref().is_within(NameRef::ROOT));
    }

    pub(crate) fn any_name() -> impl Strategy<Value = Name> {
        let label = prop::collection::vec(any::<u8>(), 1..12);
        prop::collection::vec(label, 0..8).prop_map(|labels| {
            let mut builder = Builder::new();
            for label in &labels {
                builder.label(label).unwrap();
            }
            builder.append(NameRef::ROOT).unwrap().as_ref().to_owned()
        })
    }

    proptest! {
        #[test]
        fn print_then_parse(name in any_name()) {
            let again = Name::from_text(&name.to_string()).unwrap();
            prop_assert!(again.as_ref().same_bytes(name.as_ref()));
        }

        #[test]
        fn bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            if let Ok((name, rest)) = NameRef::split_wire(&bytes) {
                prop_assert_eq!(name.wire().len() + rest.len(), bytes.len());
                prop_assert!(name.wire().len() <= MAX_NAME);
            }
            let text = NameBuf::from_text(&bytes, Some(NameRef::ROOT));
            prop_assert!(text.is_err() || NameRef::from_wire(text.unwrap().as_ref().wire()).is_ok());
        }
    }
}

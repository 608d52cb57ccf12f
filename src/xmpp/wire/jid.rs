//! Addresses: `local@domain/resource` (RFC 7622), valid and normal by construction.

use std::{borrow::Borrow, fmt, net::Ipv6Addr, ops::Deref, str::FromStr, sync::Arc};

use super::prep;

/// The most bytes each part of an address may have (RFC 7622 3.2 to 3.4).
const PART: usize = 1023;

/// Text that isn't an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JidError {
    /// nothing where a part must be
    #[error("a part of the address is empty")]
    Empty,
    /// more than 1023 bytes in a part
    #[error("a part of the address is longer than {PART} bytes")]
    TooLong,
    /// a character that the part may not hold
    #[error("the {0} part of the address has a character that is not allowed")]
    Character(&'static str),
}

/// An address with or without a local part and a resource. Cloning shares the text.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Jid {
    text: Arc<str>,
    /// Where the domain begins: behind the `@`, or 0.
    domain: u16,
    /// Where the bare address ends: at the slash, or the whole length.
    bare: u16,
}

impl Jid {
    /// Reads an address and brings it into its normal form.
    ///
    /// # Errors
    /// When the text is not an address.
    pub fn new(text: &str) -> Result<Jid, JidError> {
        // RFC 7622 3.1: the first slash ends the bare address, then the first at sign the local part.
        let (bare, resource) = match text.split_once('/') {
            Some((bare, resource)) => (bare, Some(resource)),
            None => (text, None),
        };
        let (local, domain) = match bare.split_once('@') {
            Some((local, domain)) => (Some(local), domain),
            None => (None, bare),
        };
        let local = local.map(local_part).transpose()?;
        let domain = domain_part(domain)?;
        let resource = resource.map(resource_part).transpose()?;
        Ok(Jid::join(local.as_deref(), &domain, resource.as_deref()))
    }

    /// Puts parts together that are in their normal form.
    fn join(local: Option<&str>, domain: &str, resource: Option<&str>) -> Jid {
        let at = local.map_or(0, |local| local.len() + 1);
        let bare = at + domain.len();
        let mut text = String::with_capacity(bare + resource.map_or(0, |r| r.len() + 1));
        if let Some(local) = local {
            text.push_str(local);
            text.push('@');
        }
        text.push_str(domain);
        if let Some(resource) = resource {
            text.push('/');
            text.push_str(resource);
        }
        // Three parts of at most 1023 bytes: both places fit.
        #[allow(clippy::cast_possible_truncation)]
        Jid {
            text: text.into(),
            domain: at as u16,
            bare: bare as u16,
        }
    }

    /// The whole address.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Before the `@`.
    pub fn local(&self) -> Option<&str> {
        self.text.get(..usize::from(self.domain).checked_sub(1)?)
    }

    /// Between `@` and slash.
    pub fn domain(&self) -> &str {
        self.text
            .get(usize::from(self.domain)..usize::from(self.bare))
            .unwrap_or_default()
    }

    /// Behind the slash.
    pub fn resource(&self) -> Option<&str> {
        self.text
            .get(usize::from(self.bare) + 1..)
            .filter(|resource| !resource.is_empty())
    }

    /// Whether it has no resource.
    pub fn is_bare(&self) -> bool {
        usize::from(self.bare) == self.text.len()
    }

    /// The text without the resource: what tables are keyed by.
    pub fn bare_str(&self) -> &str {
        self.text.get(..usize::from(self.bare)).unwrap_or_default()
    }

    /// The address without its resource.
    pub fn to_bare(&self) -> BareJid {
        if self.is_bare() {
            return BareJid(self.clone());
        }
        BareJid(Jid {
            text: self.bare_str().into(),
            domain: self.domain,
            bare: self.bare,
        })
    }
}

impl FromStr for Jid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<Jid, JidError> {
        Jid::new(text)
    }
}

impl fmt::Display for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Jid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.text)
    }
}

/// An address without a resource: of an account, a server, a room.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct BareJid(Jid);

impl BareJid {
    /// Reads an address; a resource is an error.
    ///
    /// # Errors
    /// When the text is not an address, or has a resource.
    pub fn new(text: &str) -> Result<BareJid, JidError> {
        let jid = Jid::new(text)?;
        if jid.is_bare() {
            Ok(BareJid(jid))
        } else {
            Err(JidError::Character("domain"))
        }
    }

    /// An account's address from its parts.
    ///
    /// # Errors
    /// When a part is not allowed.
    pub fn from_parts(local: &str, domain: &str) -> Result<BareJid, JidError> {
        Ok(BareJid(Jid::join(
            Some(&local_part(local)?),
            &domain_part(domain)?,
            None,
        )))
    }

    /// A server's address.
    ///
    /// # Errors
    /// When the domain is not one.
    pub fn from_domain(domain: &str) -> Result<BareJid, JidError> {
        Ok(BareJid(Jid::join(None, &domain_part(domain)?, None)))
    }

    /// The same address with a resource.
    ///
    /// # Errors
    /// When the resource is not allowed.
    pub fn with_resource(&self, resource: &str) -> Result<Jid, JidError> {
        Ok(Jid::join(
            self.local(),
            self.domain(),
            Some(&resource_part(resource)?),
        ))
    }

    /// As an address that could have a resource.
    pub fn as_jid(&self) -> &Jid {
        &self.0
    }
}

impl Deref for BareJid {
    type Target = Jid;

    fn deref(&self) -> &Jid {
        &self.0
    }
}

impl From<BareJid> for Jid {
    fn from(bare: BareJid) -> Jid {
        bare.0
    }
}

impl FromStr for BareJid {
    type Err = JidError;

    fn from_str(text: &str) -> Result<BareJid, JidError> {
        BareJid::new(text)
    }
}

/// Tables keyed by bare addresses are asked with the text of any.
impl Borrow<str> for BareJid {
    fn borrow(&self) -> &str {
        self.as_str()
    }
}

// As `Borrow` demands, the hash is that of the text.
impl std::hash::Hash for BareJid {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.as_str().hash(state);
    }
}

impl fmt::Display for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for BareJid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.0, f)
    }
}

type Part<'a> = Result<std::borrow::Cow<'a, str>, JidError>;

fn local_part(text: &str) -> Part<'_> {
    bounded(text, prep::local, "local")
}

fn resource_part(text: &str) -> Part<'_> {
    bounded(text, prep::resource, "resource")
}

fn domain_part(text: &str) -> Part<'_> {
    // RFC 7622 3.2: a final dot (or one of the ideographic ones) is stripped.
    let text = text
        .strip_suffix(['.', '\u{3002}', '\u{ff0e}', '\u{ff61}'])
        .unwrap_or(text);
    let domain = bounded(text, prep::domain, "domain")?;
    if let Some(address) = domain
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        let valid = address.parse::<Ipv6Addr>().is_ok();
        return if valid {
            Ok(domain)
        } else {
            Err(JidError::Character("domain"))
        };
    }
    for label in domain.split('.') {
        // Host names, and underscores because test and container networks have them.
        let allowed = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_' || !c.is_ascii();
        if label.is_empty() {
            return Err(JidError::Empty);
        }
        if !label.chars().all(allowed) || label.starts_with('-') || label.ends_with('-') {
            return Err(JidError::Character("domain"));
        }
    }
    Ok(domain)
}

fn bounded<'a>(
    text: &'a str,
    prepare: fn(&'a str) -> Option<std::borrow::Cow<'a, str>>,
    name: &'static str,
) -> Part<'a> {
    // Checked before the work too: normalising is linear, but not free.
    if text.len() > PART {
        return Err(JidError::TooLong);
    }
    let prepared = prepare(text).ok_or(JidError::Character(name))?;
    match prepared.len() {
        0 => Err(JidError::Empty),
        1..=PART => Ok(prepared),
        _ => Err(JidError::TooLong),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rfc_7622_valid() {
        // RFC 7622 3.5, table 1, and what the RFC 6122 profiles make of it.
        for (text, local, domain, resource) in [
            ("juliet@example.com", Some("juliet"), "example.com", None),
            (
                "juliet@example.com/foo",
                Some("juliet"),
                "example.com",
                Some("foo"),
            ),
            (
                "juliet@example.com/foo bar",
                Some("juliet"),
                "example.com",
                Some("foo bar"),
            ),
            (
                "juliet@example.com/foo@bar",
                Some("juliet"),
                "example.com",
                Some("foo@bar"),
            ),
            (
                "foo\\20bar@example.com",
                Some("foo\\20bar"),
                "example.com",
                None,
            ),
            (
                "fussball@example.com",
                Some("fussball"),
                "example.com",
                None,
            ),
            ("π@example.com", Some("π"), "example.com", None),
            ("Σ@example.com/foo", Some("σ"), "example.com", Some("foo")),
            ("king@example.com/♚", Some("king"), "example.com", Some("♚")),
            ("example.com", None, "example.com", None),
            ("example.com/foobar", None, "example.com", Some("foobar")),
            (
                "a.example.com/b@example.net",
                None,
                "a.example.com",
                Some("b@example.net"),
            ),
            (
                "Juliet@Example.COM./Balcony",
                Some("juliet"),
                "example.com",
                Some("Balcony"),
            ),
            ("a@[2001:DB8::1]/b", Some("a"), "[2001:db8::1]", Some("b")),
            ("a@192.0.2.1", Some("a"), "192.0.2.1", None),
            (
                "a@example.com/📱//@",
                Some("a"),
                "example.com",
                Some("📱//@"),
            ),
            ("a@bücher.example", Some("a"), "bücher.example", None),
        ] {
            let jid = Jid::new(text).unwrap();
            let parts = (jid.local(), jid.domain(), jid.resource());
            assert_eq!(parts, (local, domain, resource), "{text}");
            assert_eq!(Jid::new(jid.as_str()).unwrap(), jid, "{text} again");
            assert_eq!(jid.is_bare(), resource.is_none());
        }
    }

    #[test]
    fn rfc_7622_invalid() {
        // RFC 7622 3.5, table 2, but for what Nodeprep allows.
        for text in [
            "\"juliet\"@example.com",
            "foo bar@example.com",
            "juliet@example.com/",
            "@example.com/",
            "@example.com",
            "henry\u{2163} @example.com",
            "",
            "/",
            "@",
            "a@",
            "a@/b",
            "a@b@c",
            "a b",
            "juliet@",
            "a&b@example.com",
            "a'b@example.com",
            "a@b..c",
            "a@.b",
            "a@-b",
            "a@b-",
            "a@b/\u{7}",
            "a@[::g]",
            "a@[]",
            "a@b:5222",
            "a@b/\u{2028}",
            "a@b/\u{e000}",
            "\u{627}a@b",
            "a<@b",
            "a@b c",
            "\u{ad}@b",
            "a@\u{200b}",
        ] {
            assert!(Jid::new(text).is_err(), "{text}");
        }
    }

    #[test]
    fn bounds() {
        let long = "a".repeat(1023);
        let longest = format!("{long}@{long}/{long}");
        assert_eq!(Jid::new(&longest).unwrap().resource(), Some(long.as_str()));
        for text in [
            format!("{long}a@b"),
            format!("a@{long}a"),
            format!("a@b/{long}a"),
        ] {
            assert_eq!(Jid::new(&text), Err(JidError::TooLong));
        }
        // U+FDFA grows from 3 to 33 bytes: the bound holds for what comes out.
        assert!(Jid::new(&format!("a@b/{}", "\u{fdfa}".repeat(300))).is_err());
    }

    #[test]
    fn bare() {
        let jid = Jid::new("a@b/c").unwrap();
        assert_eq!(jid.to_bare().as_str(), "a@b");
        assert_eq!(jid.bare_str(), "a@b");
        assert_eq!(jid.to_bare().with_resource("D").unwrap().as_str(), "a@b/D");
        assert!(BareJid::new("a@b/c").is_err());
        let mut table = std::collections::HashMap::new();
        table.insert(jid.to_bare(), 1);
        assert_eq!(table.get(jid.bare_str()), Some(&1));
    }

    proptest! {
        #![proptest_config(crate::tests::cases())]

        #[test]
        fn never_panics_and_is_stable(text in "\\PC{0,20}(@\\PC{0,20})?(/\\PC{0,20})?") {
            if let Ok(jid) = Jid::new(&text) {
                prop_assert_eq!(&Jid::new(jid.as_str()).unwrap(), &jid);
                let bare = jid.to_bare();
                let again = match jid.resource() {
                    Some(resource) => bare.with_resource(resource).unwrap(),
                    None => bare.into(),
                };
                prop_assert_eq!(again, jid);
            }
        }
    }
}

//! Who may do what: lists of addresses, networks and keys, read from the first entry to the last,
//! and the first that fits decides.

use std::net::IpAddr;
use std::sync::Arc;

use omnid_config::IpNet;

use crate::wire::name::{Name, NameRef};

/// Who asks, as far as a list can tell.
#[derive(Debug, Clone, Copy)]
pub struct Who<'a> {
    /// From where.
    pub address: IpAddr,
    /// With whose signature.
    pub key: Option<NameRef<'a>>,
    /// With a certificate for these names.
    pub certified: &'a [Name],
}

/// What an entry fits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Term {
    /// Everybody.
    Any,
    /// Addresses.
    Networks(Arc<[IpNet]>),
    /// Who signs with a key.
    Key(Name),
    /// Who shows a certificate for a name.
    Certificate(Name),
    /// Who another list lets in.
    List(Access),
}

/// An entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Who fits is kept out.
    pub negated: bool,
    /// Who fits.
    pub term: Term,
    /// As it was written.
    pub text: Box<str>,
}

/// A list; without entries it lets nobody in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access(Arc<[Entry]>);

impl Default for Access {
    fn default() -> Access {
        Access(Arc::from([]))
    }
}

impl Access {
    /// Of some entries.
    pub fn new(entries: Vec<Entry>) -> Access {
        Access(entries.into())
    }

    /// Everybody in some networks.
    pub fn networks(networks: impl IntoIterator<Item = IpNet>) -> Access {
        let entry = |network: IpNet| Entry {
            negated: false,
            text: network.to_string().into(),
            term: Term::Networks([network].into()),
        };
        Access(networks.into_iter().map(entry).collect())
    }

    /// Its entries.
    pub fn entries(&self) -> &[Entry] {
        &self.0
    }

    /// True of a list without entries.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// True if somebody is let in.
    pub fn allows(&self, who: &Who<'_>) -> bool {
        self.decider(who).is_some_and(|entry| !entry.negated)
    }

    /// The entry that decides.
    pub fn decider(&self, who: &Who<'_>) -> Option<&Entry> {
        self.0.iter().find(|entry| match &entry.term {
            Term::Any => true,
            Term::Networks(networks) => networks.iter().any(|net| net.contains(who.address)),
            Term::Key(name) => who.key.is_some_and(|key| key == name.as_ref()),
            Term::Certificate(name) => who.certified.contains(name),
            // Whom an inner list keeps out, the outer one has yet to decide on.
            Term::List(list) => list.allows(who),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn entry(text: &str) -> Entry {
        let (negated, rest) = text
            .strip_prefix('!')
            .map_or((false, text), |rest| (true, rest));
        let term = match rest.strip_prefix("key ") {
            Some(key) => Term::Key(Name::from_text(key).unwrap()),
            None if rest == "any" => Term::Any,
            None => Term::Networks([rest.parse().unwrap()].into()),
        };
        Entry {
            negated,
            term,
            text: text.into(),
        }
    }

    #[test]
    fn the_first_that_fits_decides() {
        let list = |texts: &[&str]| Access::new(texts.iter().map(|text| entry(text)).collect());
        let key = Name::from_text("k").unwrap();
        let who =
            |address: &str, signed: bool| -> (IpAddr, bool) { (address.parse().unwrap(), signed) };
        let cases = [
            (list(&[]), who("192.0.2.1", true), false),
            (list(&["192.0.2.0/24"]), who("192.0.2.1", false), true),
            (list(&["192.0.2.0/24"]), who("192.0.3.1", false), false),
            (
                list(&["!192.0.2.1", "192.0.2.0/24"]),
                who("192.0.2.1", false),
                false,
            ),
            (
                list(&["192.0.2.0/24", "!192.0.2.1"]),
                who("192.0.2.1", false),
                true,
            ),
            (list(&["!192.0.2.1", "any"]), who("192.0.2.2", false), true),
            (list(&["key K"]), who("192.0.2.1", true), true),
            (list(&["key k"]), who("192.0.2.1", false), false),
            (list(&["!key k", "any"]), who("192.0.2.1", true), false),
        ];
        for (access, (address, signed), expected) in cases {
            let key = signed.then_some(key.as_ref());
            let who = Who {
                address,
                key,
                certified: &[],
            };
            assert_eq!(access.allows(&who), expected, "{access:?}");
        }
        let inner = Entry {
            negated: false,
            term: Term::List(list(&["!192.0.2.1", "192.0.2.0/24"])),
            text: "inner".into(),
        };
        let outer = Access::new(vec![inner, entry("any")]);
        let address = "192.0.2.1".parse().unwrap();
        assert!(
            outer.allows(&Who {
                address,
                key: None,
                certified: &[]
            }),
            "decided by the outer list"
        );
    }
}

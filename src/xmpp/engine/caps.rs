//! What clients can do, known by a hash that their presence carries (XEP-0115).

use std::collections::{BTreeSet, HashSet};

use aws_lc_rs::digest;
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use crate::wire::{Element, Stanza, ns};

/// Nodes that one client can want to hear of,
const NOTIFY: usize = 200;
/// and bytes of their names.
const NAMES: usize = 4096;
/// Bytes of each part of what presence says of a client.
const CLAIMED: usize = 256;

/// What is remembered of what a client can do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Caps {
    /// The nodes that it wants to hear of.
    pub notify: HashSet<String>,
}

/// What presence says of it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Claim {
    /// Who made the client.
    pub node: String,
    /// The hash's name.
    pub hash: String,
    /// The hash.
    pub ver: String,
}

impl Claim {
    /// Reads it from presence.
    pub fn find(presence: &Stanza) -> Option<Claim> {
        if !presence.has_child("c", ns::CAPS) {
            return None;
        }
        let tree = presence.to_element().ok()?;
        let c = tree.get_child("c", ns::CAPS)?;
        let text = |name| c.get_attr(name).map(ToOwned::to_owned);
        let claim = Claim {
            node: text("node")?,
            hash: text("hash")?,
            ver: text("ver")?,
        };
        let short = [&claim.node, &claim.hash, &claim.ver];
        short
            .iter()
            .all(|text| text.len() <= CLAIMED)
            .then_some(claim)
    }

    /// Whether it is the hash of the answer `query` to disco#info. What isn't says nothing of
    /// anybody else (section 5.4).
    pub fn is_of(&self, query: &Element) -> bool {
        let algorithm = match self.hash.as_str() {
            "sha-1" => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            "sha-256" => &digest::SHA256,
            "sha-512" => &digest::SHA512,
            _ => return false,
        };
        verification(query).is_some_and(|text| {
            BASE64.encode(digest::digest(algorithm, text.as_bytes())) == self.ver
        })
    }
}

/// What an answer to disco#info says.
pub fn caps(query: &Element) -> Caps {
    let features = query.children().filter(|child| child.name() == "feature");
    let mut left = NAMES;
    let notify = features
        .filter_map(|feature| feature.get_attr("var")?.strip_suffix("+notify"))
        .take(NOTIFY)
        .take_while(|name| {
            let rest = left.checked_sub(name.len());
            left = rest.unwrap_or(left);
            rest.is_some()
        })
        .map(ToOwned::to_owned);
    Caps {
        notify: notify.collect(),
    }
}

/// Section 5.1: the text that is hashed. `None` where the answer is not fit to be (5.4, 3).
fn verification(query: &Element) -> Option<String> {
    let of = |name: &'static str| query.children().filter(move |child| child.name() == name);
    let mut text = String::new();
    let mut identities = BTreeSet::new();
    for identity in of("identity") {
        let attr = |name| identity.get_attr(name).unwrap_or_default().to_owned();
        let lang = identity.lang().unwrap_or_default().to_owned();
        if !identities.insert((attr("category"), attr("type"), lang, attr("name"))) {
            return None;
        }
    }
    for (category, kind, lang, name) in identities {
        text.push_str(&format!("{category}/{kind}/{lang}/{name}<"));
    }
    let mut features = BTreeSet::new();
    for feature in of("feature") {
        if !features.insert(feature.get_attr("var")?) {
            return None;
        }
    }
    for feature in features {
        text.push_str(feature);
        text.push('<');
    }
    let mut forms = BTreeSet::new();
    for x in query
        .children()
        .filter(|child| child.is("x", ns::DATA_FORMS))
    {
        let mut kind = None;
        let mut fields = BTreeSet::new();
        for field in x.children().filter(|child| child.name() == "field") {
            let values = field.children().filter(|child| child.name() == "value");
            let mut values: Vec<_> = values.map(Element::text_content).collect();
            values.sort();
            let var = field.get_attr("var").unwrap_or_default();
            if var == "FORM_TYPE" {
                kind = values.into_iter().next();
            } else {
                fields.insert((var, values));
            }
        }
        if let Some(kind) = kind {
            forms.insert((kind, fields));
        }
    }
    for (kind, fields) in forms {
        text.push_str(&kind);
        text.push('<');
        for (var, values) in fields {
            text.push_str(var);
            text.push('<');
            for value in values {
                text.push_str(&value);
                text.push('<');
            }
        }
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::wire::Scope;

    fn claim(ver: &str) -> Claim {
        Claim {
            node: "http://code.google.com/p/exodus".into(),
            hash: "sha-1".into(),
            ver: ver.into(),
        }
    }

    /// XEP-0115 5.2 and 5.3.
    #[test]
    fn xep_0115_5() {
        let simple = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity category='client' type='pc' name='Exodus 0.9.1'/>\
            <feature var='http://jabber.org/protocol/caps'/>\
            <feature var='http://jabber.org/protocol/disco#info'/>\
            <feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/muc'/></query>";
        let complex = "<query xmlns='http://jabber.org/protocol/disco#info'>\
            <identity xml:lang='en' category='client' name='Psi 0.11' type='pc'/>\
            <identity xml:lang='el' category='client' name='Ψ 0.11' type='pc'/>\
            <feature var='http://jabber.org/protocol/caps'/>\
            <feature var='http://jabber.org/protocol/disco#info'/>\
            <feature var='http://jabber.org/protocol/disco#items'/>\
            <feature var='http://jabber.org/protocol/muc'/>\
            <x xmlns='jabber:x:data' type='result'>\
            <field var='FORM_TYPE' type='hidden'><value>urn:xmpp:dataforms:softwareinfo</value></field>\
            <field var='ip_version'><value>ipv4</value><value>ipv6</value></field>\
            <field var='os'><value>Mac</value></field>\
            <field var='os_version'><value>10.5.1</value></field>\
            <field var='software'><value>Psi</value></field>\
            <field var='software_version'><value>0.11</value></field></x></query>";
        for (text, ver) in [
            (simple, "QgayPKawpkPSDYmwT/WM94uAlu0="),
            (complex, "q07IKJEyjvHSyhy//CH0CxmKi8w="),
        ] {
            let query = Element::parse(text.as_bytes(), &Scope::empty()).unwrap();
            assert!(claim(ver).is_of(&query), "{ver}");
            assert!(!claim("AAAA").is_of(&query));
        }
    }

    #[test]
    fn what_is_wanted() {
        let text = "<query xmlns='http://jabber.org/protocol/disco#info'>\
                    <feature var='urn:xmpp:bookmarks:1+notify'/><feature var='u'/></query>";
        let query = Element::parse(text.as_bytes(), &Scope::empty()).unwrap();
        assert_eq!(
            caps(&query).notify,
            HashSet::from(["urn:xmpp:bookmarks:1".to_owned()])
        );
    }

    /// What is remembered of a client is bounded in bytes, whatever it says.
    #[test]
    fn little_is_remembered() {
        let feature =
            |name: String| Element::new("feature", ns::DISCO_INFO).attr("var", name + "+notify");
        let query = |length: usize| {
            let features = (0..NOTIFY * 2).map(|n| feature(format!("{n:0length$}")));
            Element::new("query", ns::DISCO_INFO).children_from(features)
        };
        let bytes = |caps: &Caps| caps.notify.iter().map(String::len).sum::<usize>();
        assert_eq!(caps(&query(10)).notify.len(), NOTIFY);
        let long = caps(&query(100));
        assert!((1..=NAMES).contains(&bytes(&long)), "{}", bytes(&long));
        assert_eq!(caps(&query(NAMES + 1)).notify.len(), 0);
        let presence = |node: usize| {
            let c = Element::new("c", ns::CAPS)
                .attr("node", "x".repeat(node))
                .attr("hash", "sha-1")
                .attr("ver", "y");
            Stanza::from_element(&Element::new("presence", ns::CLIENT).child(c)).unwrap()
        };
        assert!(Claim::find(&presence(CLAIMED)).is_some());
        assert!(Claim::find(&presence(CLAIMED + 1)).is_none());
    }
}

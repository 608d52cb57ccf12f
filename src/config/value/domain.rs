//! Names of domains, zones and hosts.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use super::{Fault, Value, parse_text};
use crate::item::Item;
use crate::node::Node;
use crate::reader::Reader;
use crate::shape::{Shape, Text};

/// A domain name: lower case, without the final dot, within RFC 1035's lengths; the root is ".".
///
/// Underscores and slashes are allowed, since zones have them (`_acme-challenge.example.org`,
/// RFC 2317's `0/25.2.0.192.in-addr.arpa`).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct DomainName(String);

impl DomainName {
    /// The name of this machine to itself.
    pub fn localhost() -> DomainName {
        DomainName("localhost".into())
    }

    /// The name, lower case, without a final dot.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is the root.
    pub fn is_root(&self) -> bool {
        self.0 == "."
    }

    /// Whether this is that domain or a name below it.
    pub fn is_within(&self, domain: &DomainName) -> bool {
        let above = self.0.strip_suffix(domain.as_str());
        domain.is_root() || above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
    }
}

impl Deref for DomainName {
    type Target = str;

    fn deref(&self) -> &str {
        &self.0
    }
}

impl AsRef<str> for DomainName {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for DomainName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for DomainName {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if text == "." {
            return Ok(DomainName(text.into()));
        }
        let name = text.strip_suffix('.').unwrap_or(text);
        if name.is_empty() {
            return Err(Fault::new("it is empty"));
        }
        if !name.is_ascii() {
            return Err(Fault::new("only ASCII letters are allowed here")
                .help("write an international name in its ASCII form (xn--…)"));
        }
        // RFC 1035 2.3.4: 255 octets on the wire, which are 253 characters here.
        if name.len() > 253 {
            return Err(Fault::new("a name has at most 253 characters"));
        }
        for label in name.split('.') {
            if label.is_empty() {
                return Err(Fault::new("there is nothing between two dots"));
            }
            if label.len() > 63 {
                return Err(Fault::new(
                    "a label (between dots) has at most 63 characters",
                ));
            }
            let odd = |c: &char| !(c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '/'));
            if let Some(c) = label.chars().find(odd) {
                return Err(match c {
                    ':' => Fault::new("a name has no port and no scheme"),
                    '*' => Fault::new("there are no wildcards here"),
                    '@' => Fault::new("this is an account's address, not a domain's name"),
                    c => Fault::new(format!("{c:?} is not allowed in a name")),
                });
            }
            if label.starts_with('-') || label.ends_with('-') {
                return Err(Fault::new("a label does not begin or end with a hyphen"));
            }
        }
        Ok(DomainName(name.to_ascii_lowercase()))
    }
}

impl Value for DomainName {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        parse_text(node, cx, str::parse)
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "a domain name",
            plural: "domain names",
            example: "example.org",
            pattern: "^[A-Za-z0-9_/.-]+$",
        })
    }

    fn item(&self) -> Item {
        Item::text(&self.0)
    }
}

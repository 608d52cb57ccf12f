//! URLs, taken apart as far as a config needs.

use std::fmt;
use std::str::FromStr;

use super::{Fault, Value, parse_text};
use crate::item::Item;
use crate::node::Node;
use crate::reader::Reader;
use crate::shape::{Shape, Text};

/// A URL: a scheme, a colon and something after it, without spaces (RFC 3986 3).
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Url {
    text: String,
    scheme: usize,
}

impl Url {
    /// The whole.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What stands before the first colon, in lower case.
    pub fn scheme(&self) -> &str {
        self.text.get(..self.scheme).unwrap_or("")
    }

    /// `user@host:port`, where "//" follows the scheme.
    pub fn authority(&self) -> Option<&str> {
        let rest = self.text.get(self.scheme..)?.strip_prefix("://")?;
        rest.split(['/', '?', '#']).next()
    }

    /// The host, an IPv6 address without its brackets.
    pub fn host(&self) -> Option<&str> {
        let authority = self.authority()?;
        let host_port = authority.rsplit('@').next()?;
        match host_port.strip_prefix('[') {
            Some(bracketed) => bracketed.split(']').next(),
            None => host_port.split(':').next(),
        }
    }

    /// The port, if one is written.
    pub fn port(&self) -> Option<u16> {
        let after_brackets = self.authority()?.rsplit(']').next()?;
        after_brackets
            .rsplit('@')
            .next()?
            .split_once(':')?
            .1
            .parse()
            .ok()
    }

    /// What stands after the authority: path, query and fragment; "" if nothing does.
    pub fn path(&self) -> &str {
        let rest = self.text.get(self.scheme..).unwrap_or("");
        match rest.strip_prefix("://") {
            Some(rest) => rest
                .find(['/', '?', '#'])
                .and_then(|at| rest.get(at..))
                .unwrap_or(""),
            None => rest.strip_prefix(':').unwrap_or(""),
        }
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Url {
    type Err = Fault;

    fn from_str(text: &str) -> Result<Self, Fault> {
        if let Some(c) = text.chars().find(|c| c.is_whitespace() || c.is_control()) {
            return Err(Fault::new(format!("{c:?} is not allowed in a URL")));
        }
        let no_scheme = || {
            Fault::new("the scheme is missing").help(format!("write \"https://{text}\" or alike"))
        };
        let (scheme, rest) = text.split_once(':').ok_or_else(no_scheme)?;
        // "localhost:3000" has the form of a URL, and nobody means it as one.
        let host = scheme.contains('.') || scheme == "localhost";
        if host && rest.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(no_scheme());
        }
        let letter = scheme.starts_with(|c: char| c.is_ascii_alphabetic());
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.');
        if !letter || !scheme.chars().all(plain) {
            return Err(Fault::new(format!("\"{scheme}\" is not a scheme")));
        }
        if rest.is_empty() {
            return Err(Fault::new("nothing follows the scheme"));
        }
        let scheme = scheme.to_ascii_lowercase();
        let url = Url {
            text: format!("{scheme}:{rest}"),
            scheme: scheme.len(),
        };
        if let Some(authority) = url.authority() {
            if url.host().is_none_or(str::is_empty) && url.scheme() != "file" {
                return Err(Fault::new("the host is missing"));
            }
            let host_port = authority.rsplit('@').next().unwrap_or("");
            let port = host_port
                .rsplit(']')
                .next()
                .and_then(|after| after.split_once(':'));
            if port.is_some_and(|(_, port)| !port.is_empty()) && url.port().is_none() {
                return Err(Fault::new("the port is not a number from 0 to 65535"));
            }
        }
        Ok(url)
    }
}

impl Value for Url {
    fn parse(node: &Node, cx: &mut Reader) -> Option<Self> {
        parse_text(node, cx, str::parse)
    }

    fn shape() -> Shape {
        Shape::Text(Text {
            name: "a URL",
            plural: "URLs",
            example: "https://example.org/",
            pattern: "^[A-Za-z][A-Za-z0-9+.-]*:.+$",
        })
    }

    fn item(&self) -> Item {
        Item::text(&self.text)
    }
}

//! The host a request is for: the Host field or the authority of its target.

use std::{borrow::Cow, net::Ipv6Addr};

/// RFC 1035's 253, and room for the brackets of an address.
const NAME_MAX: usize = 255;

/// A host name or address in lower case, without a trailing dot, and its port if one was given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Host<'a> {
    /// The name; IPv6 addresses keep their brackets.
    pub name: Cow<'a, str>,
    /// The port, if one was given.
    pub port: Option<u16>,
}

impl<'a> Host<'a> {
    /// Parses `uri-host [":" port]` (RFC 9110 section 7.2), strictly: letters, digits, `-`, `.`
    /// and `_`, or a bracketed IPv6 address. Nothing else has ever been a host that is served, and
    /// user information, escapes and control bytes have all been used to confuse one.
    #[must_use]
    pub fn parse(value: &'a [u8]) -> Option<Self> {
        let value = std::str::from_utf8(value).ok()?;
        let (name, port) = if let Some(rest) = value.strip_prefix('[') {
            let (address, rest) = rest.split_once(']')?;
            let _: Ipv6Addr = address.parse().ok()?;
            (
                value.get(..address.len() + 2)?,
                rest.strip_prefix(':').or(rest.is_empty().then_some(""))?,
            )
        } else {
            let (name, port) = value.split_once(':').unwrap_or((value, ""));
            let name = name.strip_suffix('.').unwrap_or(name);
            let fits = !name.is_empty()
                && !name.starts_with('.')
                && !name.ends_with('.')
                && !name.contains("..")
                && name
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'));
            (fits.then_some(name)?, port)
        };
        if name.len() > NAME_MAX {
            return None;
        }
        let port = match port {
            "" => None,
            port if port.bytes().all(|byte| byte.is_ascii_digit()) => Some(port.parse().ok()?),
            _ => return None,
        };
        let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
            Cow::Owned(name.to_ascii_lowercase())
        } else {
            Cow::Borrowed(name)
        };
        Some(Self { name, port })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn hosts() {
        for (value, expected) in [
            ("example.org", Some(("example.org", None))),
            ("Example.ORG.:8080", Some(("example.org", Some(8080)))),
            ("a_b.example", Some(("a_b.example", None))),
            ("example.org:", Some(("example.org", None))),
            ("192.0.2.1:80", Some(("192.0.2.1", Some(80)))),
            ("[2001:DB8::1]:443", Some(("[2001:db8::1]", Some(443)))),
            ("[::1]", Some(("[::1]", None))),
            ("", None),
            (".", None),
            (":80", None),
            (".example.org", None),
            ("a..b", None),
            ("a..", None),
            ("example.org:80:80", None),
            ("example.org:+80", None),
            ("example.org:65536", None),
            ("user@example.org", None),
            ("example.org/", None),
            ("exa mple.org", None),
            ("example.org, example.net", None),
            ("exam%70le.org", None),
            ("ex\u{e4}mple.org", None),
            ("[::1", None),
            ("[::1]x", None),
            ("[localhost]", None),
        ] {
            let host = Host::parse(value.as_bytes());
            let host = host.as_ref().map(|host| (host.name.as_ref(), host.port));
            assert_eq!(host, expected, "{value:?}");
        }
        assert_eq!(Host::parse(&[b'a'; 300]), None);
        assert_eq!(Host::parse(b"a\xff"), None);
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_the_same(value in proptest::collection::vec(any::<u8>(), 0..40)) {
            if let Some(host) = Host::parse(&value) {
                let printed = match host.port {
                    Some(port) => format!("{}:{port}", host.name),
                    None => host.name.to_string(),
                };
                let again = Host::parse(printed.as_bytes());
                prop_assert_eq!(again, Some(host));
            }
        }
    }
}

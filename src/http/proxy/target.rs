//! Where a proxied request goes.

use std::{fmt, path::PathBuf};

/// An upstream's address.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// A host and port over TCP.
    Tcp {
        /// A name or an address (IPv6 without brackets).
        host: String,
        /// The port.
        port: u16,
    },
    /// A Unix socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// What is spoken with an upstream.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// HTTP/1.1.
    Http1,
    /// HTTP/2 without TLS, known in advance.
    H2c,
}

/// An upstream as the config names it: `http://host:port/base`, `h2c://host:port/base` or
/// `unix:/path`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Parsed {
    pub(crate) target: Target,
    pub(crate) protocol: Protocol,
    /// The authority for the Host field.
    pub(crate) authority: String,
    /// What takes the place of the route's prefix; empty to leave the path alone.
    pub(crate) base: String,
}

/// Why a text names no upstream.
pub(crate) type Fault = &'static str;

pub(crate) fn parse(text: &str) -> Result<Parsed, Fault> {
    if let Some(path) = text.strip_prefix("unix:") {
        if !path.starts_with('/') {
            return Err("the path of a Unix socket begins with a slash");
        }
        return Ok(Parsed {
            target: Target::Unix(PathBuf::from(path)),
            protocol: Protocol::Http1,
            authority: "localhost".into(),
            base: String::new(),
        });
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        return Err("an upstream is written http://host:port or unix:/path");
    };
    let protocol = match scheme {
        "http" => Protocol::Http1,
        "h2c" => Protocol::H2c,
        "https" => return Err("upstreams over TLS are not supported"),
        _ => return Err("the scheme of an upstream is http or h2c"),
    };
    let (authority, base) = match rest.find('/') {
        Some(slash) => rest.split_at(slash),
        None => (rest, ""),
    };
    if base.contains(['?', '#', '%']) {
        return Err("an upstream has no query, fragment or escapes");
    }
    let host =
        crate::wire::host::Host::parse(authority.as_bytes()).ok_or("the host is not a host")?;
    let name = host.name.trim_start_matches('[').trim_end_matches(']');
    Ok(Parsed {
        target: Target::Tcp {
            host: name.to_owned(),
            port: host.port.unwrap_or(80),
        },
        protocol,
        authority: authority.to_owned(),
        base: base.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn upstreams() {
        let shown = |text: &str| {
            parse(text).map(|parsed| (parsed.target.to_string(), parsed.authority, parsed.base))
        };
        let is = |target: &str, authority: &str, base: &str| {
            Ok((target.to_owned(), authority.to_owned(), base.to_owned()))
        };
        assert_eq!(
            shown("http://127.0.0.1:3000"),
            is("127.0.0.1:3000", "127.0.0.1:3000", "")
        );
        assert_eq!(shown("http://app/base/"), is("app:80", "app", "/base/"));
        assert_eq!(
            shown("http://[::1]:8080/"),
            is("[::1]:8080", "[::1]:8080", "/")
        );
        assert_eq!(
            shown("unix:/run/app.sock"),
            is("unix:/run/app.sock", "localhost", "")
        );
        for text in [
            "app:3000",
            "https://a",
            "ftp://a",
            "http://",
            "http://a b",
            "unix:app",
            "http://a/?x",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
    }
}

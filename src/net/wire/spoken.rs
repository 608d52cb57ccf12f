//! Telling protocols apart by the first bytes of a connection.

use std::fmt;

use super::proxy;

/// What a peer's first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// A TLS handshake record.
    Tls,
    /// An HTTP request, or the preface of HTTP/2.
    Http,
    /// A SIP request or response.
    Sip,
    /// An XML stream.
    Xml,
    /// A PROXY header, which only counts from a trusted load balancer.
    Proxy,
    /// None of these.
    Other,
}

impl Spoken {
    /// Looks at the first bytes of a connection, of which there may be few.
    pub fn of(bytes: &[u8]) -> Self {
        // RFC 8446 5.1: a handshake record is 22, and every version so far has major version 3.
        match bytes {
            [22] | [22, 3, ..] => return Self::Tls,
            [b'<', ..] => return Self::Xml,
            _ if proxy::looks_like(bytes) => return Self::Proxy,
            _ => {}
        }
        let line = bytes
            .split(|&byte| byte == b'\r' || byte == b'\n')
            .next()
            .unwrap_or_default();
        let has = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
        let method = line
            .iter()
            .take_while(|byte| byte.is_ascii_uppercase())
            .count();
        let after_method = line.get(method..).unwrap_or_default();
        if line.starts_with(b"SIP/2.0")
            || (method > 1
                && (after_method.starts_with(b" sip:")
                    || after_method.starts_with(b" sips:")
                    || has(b" SIP/2.0")))
        {
            Self::Sip
        } else if method > 1
            && (after_method.starts_with(b" /")
                || after_method.starts_with(b" http")
                || after_method.starts_with(b" *")
                || has(b" HTTP/"))
        {
            Self::Http
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Http => "plain HTTP",
            Self::Sip => "plain SIP",
            Self::Xml => "plain XML",
            Self::Proxy => "a PROXY header that it is not trusted with",
            Self::Other => "something that is not TLS",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words() {
        let table: &[(&[u8], Spoken)] = &[
            (&[22], Spoken::Tls),
            (&[22, 3, 1, 2, 0, 1], Spoken::Tls),
            (&[22, 5], Spoken::Other),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Spoken::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Spoken::Http),
            (b"CONNECT a:1 HTTP/1.1\r\n", Spoken::Http),
            (b"OPTIONS * HTTP/1.1\r\n", Spoken::Http),
            (b"OPTIONS sip:a@b SIP/2.0\r\n", Spoken::Sip),
            (b"SIP/2.0 200 OK\r\n", Spoken::Sip),
            (b"<?xml version='1.0'?>", Spoken::Xml),
            (b"<stream:stream", Spoken::Xml),
            (b"SSH-2.0-OpenSSH\r\n", Spoken::Other),
            (b"G", Spoken::Other),
            (&[0, 28, 1, 2], Spoken::Other),
            (b"PROXY TCP4 1", Spoken::Proxy),
            (b"", Spoken::Other),
        ];
        for (bytes, spoken) in table {
            assert_eq!(Spoken::of(bytes), *spoken, "{}", bytes.escape_ascii());
        }
    }
}

//! Via (RFC 3261 20.42): where a message came through, and where its response goes.

use std::fmt;

use super::{Malformed, Params, lex, uri::Host};

const WHAT: Malformed = Malformed("Via");

/// What a message travels over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Transport {
    /// Datagrams.
    Udp,
    /// A plain stream.
    Tcp,
    /// A stream under TLS.
    Tls,
}

impl Transport {
    /// The name that Via carries.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
            Self::Tls => "TLS",
        }
    }

    /// The name that a URI's `transport` parameter carries.
    #[must_use]
    pub const fn uri_name(self) -> &'static str {
        match self {
            Self::Udp => "udp",
            Self::Tcp => "tcp",
            Self::Tls => "tls",
        }
    }

    /// Recognises either name.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Option<Self> {
        [Self::Udp, Self::Tcp, Self::Tls]
            .into_iter()
            .find(|transport| transport.as_str().as_bytes().eq_ignore_ascii_case(name))
    }

    /// Whether messages arrive on it without retransmission by the transactions (RFC 3261 17).
    #[must_use]
    pub const fn is_reliable(self) -> bool {
        !matches!(self, Self::Udp)
    }

    /// The port where none is written (RFC 3261 18.2.2).
    #[must_use]
    pub const fn default_port(self) -> u16 {
        match self {
            Self::Udp | Self::Tcp => 5060,
            Self::Tls => 5061,
        }
    }
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One Via value.
#[derive(Debug, Clone, Copy)]
pub struct Via<'a> {
    /// The transport's name as written; it may be one this server does not speak.
    pub transport: &'a [u8],
    /// Who sent it: host …
    pub host: Host<'a>,
    /// … and port, where one is written.
    pub port: Option<u16>,
    /// Its parameters.
    pub params: Params<'a>,
}

impl<'a> Via<'a> {
    /// Parses one value: `SIP / 2.0 / UDP host:port;branch=…`, with white space about everywhere.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(value: &'a [u8]) -> Result<Self, Malformed> {
        let (name, rest) = lex::take_token(lex::trim(value)).ok_or(WHAT)?;
        let (version, rest) = after_slash(rest)?;
        let (transport, rest) = after_slash(rest)?;
        // Another protocol's or version's Via could only be misread.
        if !name.eq_ignore_ascii_case(b"SIP") || version != b"2.0" {
            return Err(WHAT);
        }
        let sent_by = lex::trim_start(rest);
        if sent_by.len() == rest.len() {
            return Err(WHAT);
        }
        let end = sent_by
            .iter()
            .position(|byte| *byte == b';')
            .unwrap_or(sent_by.len());
        let (sent_by, params) = sent_by.split_at_checked(end).ok_or(WHAT)?;
        let (host, port) = Host::parse_with_port(lex::trim(sent_by), true).map_err(|_| WHAT)?;
        Ok(Self {
            transport,
            host,
            port,
            params: Params::parse(params, "Via")?,
        })
    }

    /// The transaction's identifier, where the peer gave one.
    #[must_use]
    pub fn branch(&self) -> Option<&'a [u8]> {
        self.params.value("branch")
    }
}

fn after_slash(text: &[u8]) -> Result<(&[u8], &[u8]), Malformed> {
    let rest = lex::trim_start(text).strip_prefix(b"/").ok_or(WHAT)?;
    lex::take_token(lex::trim_start(rest)).ok_or(WHAT)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn white_space_is_allowed_where_the_grammar_has_it() {
        let via =
            Via::parse(b"SIP  / 2.0\r\n /UDP\r\n    192.0.2.2 : 5070 ;branch = 390skdjuw ;rport");
        assert!(via.is_ok_and(|via| {
            via.transport == b"UDP"
                && via.host.is("192.0.2.2")
                && via.port == Some(5070)
                && via.branch() == Some(b"390skdjuw")
                && via
                    .params
                    .get("rport")
                    .is_some_and(|rport| rport.value.is_none())
        }));
    }

    #[test]
    fn what_is_no_via_is_refused() {
        for text in [
            "",
            "SIP/2.0/UDP",
            "SIP/2.0/UDP ",
            "SIP/2.0 UDP host",
            "SIP/2.0/UDP host;;,;,,",
            "SIP/3.0/UDP host",
            "HTTP/2.0/UDP host",
            "SIP/2.0/UDPhost:x",
            "SIP/2.0/UDP a b",
            "SIP/2.0/UDP host:",
            "SIP/2.0/UDP [::1;branch=x",
        ] {
            assert!(Via::parse(text.as_bytes()).is_err(), "{text} was accepted");
        }
    }
}

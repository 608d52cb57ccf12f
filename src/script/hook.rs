//! The named phases at which services ask scripts.

/// A named phase of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Hook {
    /// A DNS query came in: `{name, type, class, client, listener}` → `{rcode = "REFUSED"}` or
    /// `{answer = {{name?, type, ttl, data}, …}}`.
    DnsQuery,
    /// An HTTP request came in: `{method, host, path, query, headers, client, user}` → `{status,
    /// headers, body}` or `{redirect = "https://…"}`.
    HttpRequest,
    /// A SIP request came in: `{method, from, to, uri, source, user}` → `{status, reason}` or
    /// `{redirect = "sip:…"}`.
    SipRequest,
    /// A client sent a stanza: `{kind, type, from, to, id, body, xml}` → `{drop = true}`, `{error =
    /// "condition"}` or `{reply = "text"}`.
    XmppStanzaIn,
}

impl Hook {
    /// All of them.
    pub const ALL: [Self; 4] = [
        Self::DnsQuery,
        Self::HttpRequest,
        Self::SipRequest,
        Self::XmppStanzaIn,
    ];

    /// What scripts call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::DnsQuery => "dns.query",
            Self::HttpRequest => "http.request",
            Self::SipRequest => "sip.request",
            Self::XmppStanzaIn => "xmpp.stanza_in",
        }
    }

    pub(crate) fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|hook| hook.name() == name)
    }

    pub(crate) fn index(self) -> usize {
        self as usize
    }

    pub(crate) fn bit(self) -> u32 {
        1 << self.index()
    }
}

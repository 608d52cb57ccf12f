//! Header names, interned: what the server reads or writes has an identity, the rest is `Other`.

macro_rules! header_names {
    ($($(#[doc = $doc:literal])* $variant:ident = $name:literal $(| $compact:literal)?;)*) => {
        /// A header's name without regard to case and form (RFC 3261 7.3.3).
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum HeaderName {
            $($(#[doc = $doc])* $variant,)*
            /// One the server neither reads nor writes.
            Other,
        }

        const NAMES: &[(&str, HeaderName)] = &[$(($name, HeaderName::$variant),)*];

        impl HeaderName {
            /// The name in its usual writing; empty for [`HeaderName::Other`].
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                    Self::Other => "",
                }
            }

            const fn from_compact(letter: u8) -> Self {
                match letter.to_ascii_lowercase() {
                    $($($compact => Self::$variant,)?)*
                    _ => Self::Other,
                }
            }
        }
    };
}

header_names! {
    /// RFC 3261 20.1.
    Accept = "Accept";
    /// RFC 3841.
    AcceptContact = "Accept-Contact" | b'a';
    /// RFC 3261 20.5.
    Allow = "Allow";
    /// RFC 6665.
    AllowEvents = "Allow-Events" | b'u';
    /// RFC 3261 20.7.
    Authorization = "Authorization";
    /// RFC 3261 20.8.
    CallId = "Call-ID" | b'i';
    /// RFC 3261 20.10.
    Contact = "Contact" | b'm';
    /// RFC 3261 20.12.
    ContentEncoding = "Content-Encoding" | b'e';
    /// RFC 3261 20.14.
    ContentLength = "Content-Length" | b'l';
    /// RFC 3261 20.15.
    ContentType = "Content-Type" | b'c';
    /// RFC 3261 20.16.
    CSeq = "CSeq";
    /// RFC 3261 20.17.
    Date = "Date";
    /// RFC 5806.
    Diversion = "Diversion";
    /// RFC 6665.
    Event = "Event" | b'o';
    /// RFC 3261 20.19.
    Expires = "Expires";
    /// RFC 3261 20.20.
    From = "From" | b'f';
    /// RFC 7044.
    HistoryInfo = "History-Info";
    /// RFC 8224.
    Identity = "Identity" | b'y';
    /// RFC 5393.
    MaxBreadth = "Max-Breadth";
    /// RFC 3261 20.22.
    MaxForwards = "Max-Forwards";
    /// RFC 3261 20.23.
    MinExpires = "Min-Expires";
    /// RFC 3325.
    PAssertedIdentity = "P-Asserted-Identity";
    /// RFC 3327.
    Path = "Path";
    /// RFC 3261 20.27.
    ProxyAuthenticate = "Proxy-Authenticate";
    /// RFC 3261 20.28.
    ProxyAuthorization = "Proxy-Authorization";
    /// RFC 3261 20.29.
    ProxyRequire = "Proxy-Require";
    /// RFC 3262.
    RAck = "RAck";
    /// RFC 3326.
    Reason = "Reason";
    /// RFC 3261 20.30.
    RecordRoute = "Record-Route";
    /// RFC 3515.
    ReferTo = "Refer-To" | b'r';
    /// RFC 3892.
    ReferredBy = "Referred-By" | b'b';
    /// RFC 3841.
    RejectContact = "Reject-Contact" | b'j';
    /// Its forerunner in the field.
    RemotePartyId = "Remote-Party-ID";
    /// RFC 3841.
    RequestDisposition = "Request-Disposition" | b'd';
    /// RFC 3261 20.32.
    Require = "Require";
    /// RFC 3261 20.33.
    RetryAfter = "Retry-After";
    /// RFC 3261 20.34.
    Route = "Route";
    /// RFC 3261 20.35.
    Server = "Server";
    /// RFC 4028.
    SessionExpires = "Session-Expires" | b'x';
    /// RFC 3261 20.36.
    Subject = "Subject" | b's';
    /// RFC 3261 20.37.
    Supported = "Supported" | b'k';
    /// RFC 3261 20.38.
    Timestamp = "Timestamp";
    /// RFC 3261 20.39.
    To = "To" | b't';
    /// RFC 3261 20.40.
    Unsupported = "Unsupported";
    /// RFC 3261 20.41.
    UserAgent = "User-Agent";
    /// RFC 3261 20.42.
    Via = "Via" | b'v';
    /// RFC 3261 20.43.
    Warning = "Warning";
    /// RFC 3261 20.44.
    WwwAuthenticate = "WWW-Authenticate";
}

impl HeaderName {
    /// Recognises a header's name, long or compact.
    #[must_use]
    pub fn from_bytes(name: &[u8]) -> Self {
        if let [letter] = name {
            return Self::from_compact(*letter);
        }
        NAMES
            .iter()
            .find(|(known, _)| {
                known.len() == name.len() && known.as_bytes().eq_ignore_ascii_case(name)
            })
            .map_or(Self::Other, |(_, id)| *id)
    }

    /// Whether a message may carry it only once among those the server relies on (RFC 3261 7.3.1).
    #[must_use]
    pub const fn is_single(self) -> bool {
        matches!(
            self,
            Self::CallId
                | Self::ContentLength
                | Self::CSeq
                | Self::Date
                | Self::Expires
                | Self::From
                | Self::MaxForwards
                | Self::To
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_recognised_in_either_form() {
        for (name, id) in NAMES {
            assert_eq!(HeaderName::from_bytes(name.to_uppercase().as_bytes()), *id);
            assert_eq!(id.as_str(), *name);
        }
        assert_eq!(HeaderName::from_bytes(b"V"), HeaderName::Via);
        assert_eq!(HeaderName::from_bytes(b"l"), HeaderName::ContentLength);
        assert_eq!(HeaderName::from_bytes(b"Z"), HeaderName::Other);
        assert_eq!(HeaderName::from_bytes(b"C%6Fntact"), HeaderName::Other);
    }
}

//! The stream header (RFC 6120 4.7).

use super::{
    Flaw, Jid, StreamCondition, StreamError,
    element::write_value,
    ns,
    scan::{Scope, scan_header},
};

/// What a peer's stream header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StreamHeader {
    /// The server it wants.
    pub to: Option<Jid>,
    /// Who it says it is.
    pub from: Option<Jid>,
    /// Its id, of a stream that it answers with.
    pub id: Option<String>,
    /// Its language.
    pub lang: Option<String>,
    /// What its stanzas inherit.
    pub scope: Scope,
    /// The header's name with its prefix, which the closing tag must repeat.
    name: String,
}

impl StreamHeader {
    /// Reads the header of a client's stream.
    ///
    /// # Errors
    /// The stream error to answer it with.
    pub fn parse(bytes: &[u8]) -> Result<StreamHeader, StreamError> {
        StreamHeader::parse_for(bytes, ns::CLIENT)
    }

    /// Reads the header of a server's stream. Its stanzas are read as if they were a client's.
    ///
    /// # Errors
    /// The stream error to answer it with.
    pub fn parse_server(bytes: &[u8]) -> Result<StreamHeader, StreamError> {
        let mut header = StreamHeader::parse_for(bytes, ns::SERVER)?;
        header.scope = header.scope.for_client();
        Ok(header)
    }

    fn parse_for(bytes: &[u8], default: &str) -> Result<StreamHeader, StreamError> {
        scan_header(bytes, |tag, scope| {
            if tag.local != "stream" {
                return Err(StreamCondition::BadFormat.into());
            }
            if tag.ns != ns::STREAM || scope.default_ns() != default {
                return Err(StreamCondition::InvalidNamespace.into());
            }
            let value = |name: &str| {
                let attr = tag
                    .attrs
                    .iter()
                    .find(|a| a.prefix.is_empty() && a.local == name)?;
                Some(attr.value())
            };
            // RFC 6120 4.7.5: no version is 0.9, which has neither TLS nor SASL.
            let major = value("version").and_then(|v| v.split('.').next()?.parse::<u32>().ok());
            if major.is_none_or(|major| major < 1) {
                return Err(StreamError::new(
                    StreamCondition::UnsupportedVersion,
                    "streams have version 1.0 here",
                ));
            }
            let address = |name, condition: StreamCondition| {
                let parsed = value(name).map(|value| Jid::new(&value)).transpose();
                parsed.map_err(|_| StreamError::from(condition))
            };
            let lang = tag
                .attrs
                .iter()
                .find(|a| a.ns == ns::XML && a.local == "lang");
            let name = match tag.prefix {
                "" => tag.local.to_owned(),
                prefix => format!("{prefix}:{}", tag.local),
            };
            Ok(StreamHeader {
                to: address("to", StreamCondition::HostUnknown)?,
                from: address("from", StreamCondition::InvalidFrom)?,
                id: value("id").map(std::borrow::Cow::into_owned),
                lang: lang
                    .map(|lang| lang.value().into_owned())
                    .filter(|lang| is_language(lang)),
                scope,
                name,
            })
        })?
    }

    /// Whether `footer` closes this stream.
    ///
    /// # Errors
    /// When it is the end tag of something else.
    pub fn closes(&self, footer: &[u8]) -> Result<(), Flaw> {
        let name = footer
            .strip_prefix(b"</")
            .and_then(|rest| rest.strip_suffix(b">"));
        let name = name.map(<[u8]>::trim_ascii_end);
        if name == Some(self.name.as_bytes()) {
            Ok(())
        } else {
            Err(Flaw::NotWellFormed)
        }
    }
}

/// Whether it looks like a language tag (RFC 5646); it is copied into other people's stanzas.
fn is_language(tag: &str) -> bool {
    (1..=64).contains(&tag.len()) && tag.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
}

/// The header that a server answers with.
pub fn open(from: Option<&str>, to: Option<&Jid>, id: &str) -> String {
    let mut out = String::with_capacity(256);
    out.push_str("<?xml version='1.0'?><stream:stream xmlns='");
    out.push_str(ns::CLIENT);
    out.push_str("' xmlns:stream='");
    out.push_str(ns::STREAM);
    for (name, value) in [
        ("id", Some(id)),
        ("from", from),
        ("to", to.map(Jid::as_str)),
    ] {
        if let Some(value) = value {
            out.push_str("' ");
            out.push_str(name);
            out.push_str("='");
            write_value(&mut out, value);
        }
    }
    out.push_str("' version='1.0' xml:lang='en'>");
    out
}

/// The closing tag.
pub const CLOSE: &str = "</stream:stream>";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn rfc_6120_4_7_examples() {
        let text = "<?xml version='1.0'?><stream:stream from='juliet@im.example.com' \
                    to='im.example.com' version='1.0' xml:lang='en' xmlns='jabber:client' \
                    xmlns:stream='http://etherx.jabber.org/streams'>";
        let header = StreamHeader::parse(text.as_bytes()).unwrap();
        assert_eq!(header.to.as_ref().map(Jid::as_str), Some("im.example.com"));
        assert_eq!(
            header.from.as_ref().map(Jid::as_str),
            Some("juliet@im.example.com")
        );
        assert_eq!(header.lang.as_deref(), Some("en"));
        assert_eq!(header.scope, Scope::client());
        assert!(header.closes(b"</stream:stream \n>").is_ok());
        assert!(
            header.closes(b"</stream>").is_err() && header.closes(b"</stream:streams>").is_err()
        );
        // 4.8.2: the stream's namespace may be the default, if stanzas then have a prefix; ours
        // need the default. Any prefix will do for the stream.
        let other = text
            .replace("stream:stream", "s:stream")
            .replace("xmlns:stream", "xmlns:s");
        assert!(StreamHeader::parse(other.as_bytes()).is_ok());
    }

    #[test]
    fn refusals() {
        let good = "<stream:stream to='a' version='1.0' xmlns='jabber:client' \
                    xmlns:stream='http://etherx.jabber.org/streams'>";
        let condition = |from: &str, to: &str| {
            let text = good.replace(from, to);
            StreamHeader::parse(text.as_bytes())
                .map(|_| ())
                .map_err(|e| e.condition)
        };
        assert_eq!(condition("", ""), Ok(()));
        assert_eq!(
            condition(" version='1.0'", ""),
            Err(StreamCondition::UnsupportedVersion)
        );
        assert_eq!(
            condition("1.0", "0.9"),
            Err(StreamCondition::UnsupportedVersion)
        );
        assert_eq!(condition("1.0", "1.7"), Ok(()));
        assert_eq!(
            condition("jabber:client", "jabber:x"),
            Err(StreamCondition::InvalidNamespace)
        );
        assert_eq!(
            condition("etherx", "other"),
            Err(StreamCondition::InvalidNamespace)
        );
        assert_eq!(
            condition("stream:stream ", "stream:flood "),
            Err(StreamCondition::BadFormat)
        );
        assert_eq!(
            condition("to='a'", "to='@'"),
            Err(StreamCondition::HostUnknown)
        );
        assert_eq!(
            condition("to='a'", "to='a"),
            Err(StreamCondition::NotWellFormed)
        );
        assert_eq!(
            condition("to='a'", "to='a' b:c='1'"),
            Err(StreamCondition::NotWellFormed)
        );
    }

    #[test]
    fn opens() {
        let to = Jid::new("a@b/'").unwrap();
        let text = open(Some("b"), Some(&to), "x1");
        let header = StreamHeader::parse(text.as_bytes()).unwrap();
        assert_eq!((header.to, header.from), (Some(to), Jid::new("b").ok()));
        assert!(StreamHeader::parse(open(None, None, "1").as_bytes()).is_ok());
    }
}

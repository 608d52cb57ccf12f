//! From, To, Contact, Route and their like: a URI with a display name and parameters.

use std::borrow::Cow;

use super::{Malformed, Params, Uri, Values, lex};

/// One `name-addr` or `addr-spec` with its parameters (RFC 3261 20.10).
#[derive(Debug, Clone, Copy)]
pub struct Address<'a> {
    /// The display name as written, quotes included; empty where there is none.
    pub display: &'a [u8],
    /// The URI as written, without brackets.
    pub uri_text: &'a [u8],
    /// The URI.
    pub uri: Uri<'a>,
    /// The parameters behind it.
    pub params: Params<'a>,
}

impl<'a> Address<'a> {
    /// Parses one value; `what` names the header in the error.
    ///
    /// # Errors
    /// Where the display name is neither quoted nor tokens, the URI is malformed, or, having no
    /// brackets, holds what could belong to the header as well (RFC 3261 20.10).
    pub fn parse(value: &'a [u8], what: &'static str) -> Result<Self, Malformed> {
        let bad = || Malformed(what);
        let value = lex::trim(value);
        let (display, rest) = if value.starts_with(b"\"") {
            let (_, rest) = lex::take_quoted(value).ok_or_else(bad)?;
            let quoted = value.get(..value.len() - rest.len()).ok_or_else(bad)?;
            (quoted, lex::trim_start(rest))
        } else if let Some(open) = value.iter().position(|byte| *byte == b'<') {
            let (display, rest) = value.split_at_checked(open).ok_or_else(bad)?;
            let tokens = |byte: &u8| lex::is_token_byte(*byte) || lex::is_space(*byte);
            // RFC 3261 25.1 has tokens here; bytes beyond ASCII do no harm, and phones send them.
            if !display.iter().all(|byte| tokens(byte) || *byte >= 0x80) {
                return Err(bad());
            }
            (lex::trim_end(display), rest)
        } else {
            return Self::parse_bare(value, what);
        };
        let inside = rest.strip_prefix(b"<").ok_or_else(bad)?;
        let close = inside
            .iter()
            .position(|byte| *byte == b'>')
            .ok_or_else(bad)?;
        let uri_text = inside.get(..close).ok_or_else(bad)?;
        let params = inside.get(close + 1..).ok_or_else(bad)?;
        Ok(Self {
            display,
            uri_text,
            uri: Uri::parse(uri_text).map_err(|_| bad())?,
            params: Params::parse(params, what)?,
        })
    }

    fn parse_bare(value: &'a [u8], what: &'static str) -> Result<Self, Malformed> {
        let bad = || Malformed(what);
        let end = value
            .iter()
            .position(|byte| *byte == b';' || lex::is_space(*byte))
            .unwrap_or(value.len());
        let (uri_text, params) = value.split_at_checked(end).ok_or_else(bad)?;
        if uri_text.iter().any(|byte| matches!(byte, b',' | b'?')) {
            return Err(bad());
        }
        Ok(Self {
            display: &[],
            uri_text,
            uri: Uri::parse(uri_text).map_err(|_| bad())?,
            params: Params::parse(params, what)?,
        })
    }

    /// The `tag` that makes a From or To one end of a dialog.
    #[must_use]
    pub fn tag(&self) -> Option<&'a [u8]> {
        self.params.value("tag")
    }

    /// The display name without quotes and escapes.
    #[must_use]
    pub fn display_name(&self) -> Cow<'a, str> {
        match lex::take_quoted(self.display) {
            Some((inside, _)) if inside.contains(&b'\\') => {
                String::from_utf8_lossy(&lex::unescape(inside))
                    .into_owned()
                    .into()
            }
            Some((inside, _)) => String::from_utf8_lossy(inside),
            None => String::from_utf8_lossy(self.display),
        }
    }

    /// A Contact's preference in thousandths; 1000 where it gives none (RFC 3261 20.10).
    ///
    /// # Errors
    /// Where the parameter is no `qvalue`.
    pub fn q(&self) -> Result<u16, Malformed> {
        let bad = Malformed("Contact");
        let Some(param) = self.params.get("q") else {
            return Ok(1000);
        };
        let value = param.value.ok_or(bad)?;
        let (whole, fraction) = match value {
            [b'0', b'.', fraction @ ..] => (0, fraction),
            [b'1', b'.', fraction @ ..] => (1000, fraction),
            [b'0'] => (0, &[][..]),
            [b'1'] => (1000, &[][..]),
            _ => return Err(bad),
        };
        if fraction.len() > 3 {
            return Err(bad);
        }
        let mut thousandths: u16 = 0;
        for at in 0..3 {
            let digit = match fraction.get(at) {
                Some(byte) if byte.is_ascii_digit() => u16::from(byte - b'0'),
                Some(_) => return Err(bad),
                None => 0,
            };
            thousandths = thousandths * 10 + digit;
        }
        let q = whole + thousandths;
        if q > 1000 { Err(bad) } else { Ok(q) }
    }
}

/// What a REGISTER's Contact headers say.
#[derive(Debug, Clone)]
pub enum Contacts<'a> {
    /// `*`: all of them.
    Star,
    /// Some; none at all asks for the list.
    List(Vec<Address<'a>>),
}

impl<'a> Contacts<'a> {
    /// Reads every Contact header's values.
    ///
    /// # Errors
    /// Where one is malformed, or `*` is not alone.
    pub fn parse(lines: impl Iterator<Item = &'a [u8]>) -> Result<Self, Malformed> {
        let mut list = Vec::new();
        let mut star = false;
        for value in lines.flat_map(Values::new) {
            if value == b"*" {
                if star {
                    return Err(Malformed("Contact"));
                }
                star = true;
            } else {
                list.push(Address::parse(value, "Contact")?);
            }
        }
        match (star, list.is_empty()) {
            (true, true) => Ok(Self::Star),
            (true, false) => Err(Malformed("Contact")),
            (false, _) => Ok(Self::List(list)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Address<'_>, Malformed> {
        Address::parse(text.as_bytes(), "From")
    }

    #[test]
    fn the_three_writings_are_read() -> Result<(), Malformed> {
        let quoted = parse(
            "\"J Rosenberg \\\\\\\"\"       <sip:jdrosen@example.com>\r\n  ;\r\n  tag = 98asjd8",
        )?;
        assert_eq!(quoted.display_name(), "J Rosenberg \\\"");
        assert_eq!(quoted.tag(), Some(&b"98asjd8"[..]));
        let tokens = parse("token1~` token2'+_ token3*%!.- <sip:mundane@example.com;x>;tag=1")?;
        assert_eq!(tokens.display_name(), "token1~` token2'+_ token3*%!.-");
        assert_eq!(tokens.uri_text, b"sip:mundane@example.com;x");
        let bare = parse("sip:vivekg@chair-dnrc.example.com ;   tag    = 1918181833n")?;
        assert_eq!(bare.uri_text, b"sip:vivekg@chair-dnrc.example.com");
        assert_eq!(bare.tag(), Some(&b"1918181833n"[..]));
        Ok(())
    }

    #[test]
    fn what_is_ambiguous_or_broken_is_refused() {
        for text in [
            "",
            "\"Mr. J. User <sip:j.user@example.com>",
            "Bell, Alexander <sip:a@b>",
            "\"Watson\" < sip:t@b >",
            "sip:user@example.com?Route=%3Csip:x%3E",
            "sip:a@b,sip:c@d",
            "<sip:a@b",
            "\"a\" sip:a@b",
            "sip:j.user@example.com ;;;;",
            "<sip:a@b>tag=1",
        ] {
            assert!(parse(text).is_err(), "{text} was accepted");
        }
    }

    #[test]
    fn q_values_are_thousandths() -> Result<(), Malformed> {
        for (text, q) in [
            ("<sip:a@b>", Some(1000)),
            ("<sip:a@b>;q=0.33", Some(330)),
            ("<sip:a@b>;q=1.000", Some(1000)),
            ("<sip:a@b>;q=0", Some(0)),
            ("<sip:a@b>;q=1.1", None),
            ("<sip:a@b>;q=2", None),
            ("<sip:a@b>;q=0.1234", None),
            ("<sip:a@b>;q", None),
        ] {
            assert_eq!(parse(text)?.q().ok(), q, "{text}");
        }
        Ok(())
    }

    #[test]
    fn a_star_stands_alone() {
        let contacts =
            |lines: &[&'static str]| Contacts::parse(lines.iter().copied().map(str::as_bytes));
        assert!(matches!(contacts(&["*"]), Ok(Contacts::Star)));
        assert!(contacts(&["*", "<sip:a@b>"]).is_err());
        assert!(contacts(&["*, *"]).is_err());
        assert!(
            matches!(contacts(&["<sip:a@b>, <sip:c@d>", "sip:e@f"]), Ok(Contacts::List(list)) if list.len() == 3)
        );
    }
}

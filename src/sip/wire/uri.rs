//! SIP, SIPS and TEL URIs (RFC 3261 19.1, RFC 3966), as views over their text.

use std::{
    borrow::Cow,
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use super::{Malformed, lex};

const WHAT: Malformed = Malformed("URI");

/// A URI's scheme.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scheme {
    /// `sip`
    Sip,
    /// `sips`
    Sips,
    /// `tel`
    Tel,
    /// Any other.
    Other,
}

/// A URI, well-formed by construction as far as its scheme is known.
#[derive(Debug, Clone, Copy)]
pub enum Uri<'a> {
    /// `sip:` or `sips:`
    Sip(SipUri<'a>),
    /// `tel:`: the number with its separators, and the parameters.
    Tel {
        /// The number as written.
        number: &'a [u8],
        /// `;`-separated parameters, without the first `;`.
        params: &'a [u8],
    },
    /// A scheme this server does not speak.
    Other(&'a [u8]),
}

/// A SIP or SIPS URI.
#[derive(Debug, Clone, Copy)]
pub struct SipUri<'a> {
    /// Whether it is a `sips:` URI.
    pub secure: bool,
    /// The user part as written, escapes and all, without a password.
    pub user: Option<&'a [u8]>,
    /// The password, which nobody should use.
    pub password: Option<&'a [u8]>,
    /// The host.
    pub host: Host<'a>,
    /// The port, where one is written.
    pub port: Option<u16>,
    /// `;`-separated parameters, without the first `;`.
    pub params: &'a [u8],
    /// `&`-separated headers, without the `?`.
    pub headers: &'a [u8],
}

/// A host in a URI or a Via.
#[derive(Debug, Clone, Copy)]
pub enum Host<'a> {
    /// A domain name, as written.
    Name(&'a str),
    /// An address.
    Address(IpAddr),
}

impl PartialEq for Host<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Name(a), Self::Name(b)) => a
                .trim_end_matches('.')
                .eq_ignore_ascii_case(b.trim_end_matches('.')),
            (Self::Address(a), Self::Address(b)) => a == b,
            _ => false,
        }
    }
}

impl Eq for Host<'_> {}

impl fmt::Display for Host<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl<'a> Host<'a> {
    /// The address, where it is one.
    #[must_use]
    pub const fn address(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(*address),
            Self::Name(_) => None,
        }
    }

    /// Whether it is this name or address, without regard to case.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        match self {
            Self::Name(host) => host.trim_end_matches('.').eq_ignore_ascii_case(name),
            Self::Address(address) => name
                .trim_matches(['[', ']'])
                .parse::<IpAddr>()
                .is_ok_and(|name| name == *address),
        }
    }

    /// Splits `host [ ":" port ]`, with white space around the colon where `spaced` (Via's
    /// grammar has it, a URI's has not).
    pub(super) fn parse_with_port(
        text: &'a [u8],
        spaced: bool,
    ) -> Result<(Self, Option<u16>), Malformed> {
        let (host, rest) = if let Some(inside) = text.strip_prefix(b"[") {
            let end = inside.iter().position(|byte| *byte == b']').ok_or(WHAT)?;
            let (address, rest) = inside.split_at_checked(end).ok_or(WHAT)?;
            let address: Ipv6Addr = std::str::from_utf8(address)
                .ok()
                .and_then(|text| text.parse().ok())
                .ok_or(WHAT)?;
            (
                Self::Address(IpAddr::V6(address)),
                rest.strip_prefix(b"]").ok_or(WHAT)?,
            )
        } else {
            let end = text
                .iter()
                .position(|byte| {
                    !(byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_'))
                })
                .unwrap_or(text.len());
            let (name, rest) = text.split_at_checked(end).ok_or(WHAT)?;
            let name = std::str::from_utf8(name).map_err(|_| WHAT)?;
            if name.is_empty() || name.len() > 255 {
                return Err(WHAT);
            }
            let host = name
                .parse::<Ipv4Addr>()
                .map_or(Self::Name(name), |address| {
                    Self::Address(IpAddr::V4(address))
                });
            (host, rest)
        };
        let rest = if spaced { lex::trim(rest) } else { rest };
        if rest.is_empty() {
            return Ok((host, None));
        }
        let port = rest.strip_prefix(b":").ok_or(WHAT)?;
        let port = if spaced { lex::trim(port) } else { port };
        if port.len() > 5 {
            return Err(WHAT);
        }
        let port = lex::decimal::<u16>(port).ok_or(WHAT)?;
        Ok((host, Some(port)))
    }
}

impl<'a> Uri<'a> {
    /// Parses a URI that stands alone, as in a request line or between angle brackets.
    ///
    /// # Errors
    /// Where it is no URI, or none that its scheme allows.
    pub fn parse(text: &'a [u8]) -> Result<Self, Malformed> {
        let colon = text.iter().position(|byte| *byte == b':').ok_or(WHAT)?;
        let (scheme, rest) = text.split_at_checked(colon).ok_or(WHAT)?;
        let rest = rest.strip_prefix(b":").ok_or(WHAT)?;
        let letters = scheme.split_first().is_some_and(|(first, others)| {
            first.is_ascii_alphabetic()
                && others
                    .iter()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'-' | b'.'))
        });
        if !letters || rest.is_empty() || !rest.iter().all(|byte| is_uri_byte(*byte)) {
            return Err(WHAT);
        }
        if scheme.eq_ignore_ascii_case(b"sip") {
            SipUri::parse(rest, false).map(Self::Sip)
        } else if scheme.eq_ignore_ascii_case(b"sips") {
            SipUri::parse(rest, true).map(Self::Sip)
        } else if scheme.eq_ignore_ascii_case(b"tel") {
            let (number, params) = split_once(rest, b';');
            let digits = number.iter().any(u8::is_ascii_hexdigit)
                && number.iter().enumerate().all(|(at, byte)| {
                    byte.is_ascii_hexdigit()
                        || matches!(byte, b'-' | b'.' | b'(' | b')' | b'*' | b'#')
                        || (at == 0 && *byte == b'+')
                });
            if !digits {
                return Err(WHAT);
            }
            check_params(params)?;
            Ok(Self::Tel { number, params })
        } else {
            Ok(Self::Other(text))
        }
    }

    /// Its scheme.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        match self {
            Self::Sip(uri) if uri.secure => Scheme::Sips,
            Self::Sip(_) => Scheme::Sip,
            Self::Tel { .. } => Scheme::Tel,
            Self::Other(_) => Scheme::Other,
        }
    }

    /// The URI as a SIP or SIPS URI, where it is one.
    #[must_use]
    pub const fn sip(&self) -> Option<&SipUri<'a>> {
        match self {
            Self::Sip(uri) => Some(uri),
            _ => None,
        }
    }
}

impl<'a> SipUri<'a> {
    fn parse(rest: &'a [u8], secure: bool) -> Result<Self, Malformed> {
        // Only the user part may hold an `@`-free `;` or `?`, so the `@` is looked for first.
        let (userinfo, rest) = match rest.iter().position(|byte| *byte == b'@') {
            Some(at) => {
                let (user, rest) = rest.split_at_checked(at).ok_or(WHAT)?;
                (Some(user), rest.get(1..).unwrap_or_default())
            }
            None => (None, rest),
        };
        let (user, password) = match userinfo {
            Some(userinfo) => {
                let (user, password) = match userinfo.iter().position(|byte| *byte == b':') {
                    Some(at) => (userinfo.get(..at), userinfo.get(at + 1..)),
                    None => (Some(userinfo), None),
                };
                (user, password)
            }
            None => (None, None),
        };
        if user.is_some_and(|user| user.is_empty() || !escapes_are_sound(user)) {
            return Err(WHAT);
        }
        let (rest, headers) = split_once(rest, b'?');
        let (hostport, params) = split_once(rest, b';');
        let (host, port) = Host::parse_with_port(hostport, false)?;
        check_params(params)?;
        let crowded = pairs(headers, b'&').nth(ITEMS_MAX).is_some();
        if headers.contains(&b'@') || !escapes_are_sound(headers) || crowded {
            return Err(WHAT);
        }
        Ok(Self {
            secure,
            user,
            password,
            host,
            port,
            params,
            headers,
        })
    }

    /// The user part with its escapes undone, where there is one and it is UTF-8.
    #[must_use]
    pub fn user_text(&self) -> Option<Cow<'a, str>> {
        let user = self.user?;
        if user.contains(&b'%') {
            String::from_utf8(unescape(user)).ok().map(Cow::Owned)
        } else {
            std::str::from_utf8(user).ok().map(Cow::Borrowed)
        }
    }

    /// Each parameter, with its value where it has one.
    pub fn params(&self) -> impl Iterator<Item = (&'a [u8], Option<&'a [u8]>)> + use<'a> {
        pairs(self.params, b';')
    }

    /// A parameter's value (empty where it has none), if the parameter is there at all.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a [u8]> {
        self.params()
            .find(|(found, _)| equal_unescaped(found, name.as_bytes()))
            .map(|(_, value)| value.unwrap_or_default())
    }
}

/// The `name[=value]` items of a list with that separator.
pub(super) fn pairs(
    text: &[u8],
    separator: u8,
) -> impl Iterator<Item = (&[u8], Option<&[u8]>)> + use<'_> {
    text.split(move |byte| *byte == separator)
        .filter(|item| !item.is_empty())
        .map(|item| match item.iter().position(|byte| *byte == b'=') {
            Some(at) => (item.get(..at).unwrap_or_default(), item.get(at + 1..)),
            None => (item, None),
        })
}

/// What stands before and after the first such byte.
fn split_once(text: &[u8], byte: u8) -> (&[u8], &[u8]) {
    match text.iter().position(|found| *found == byte) {
        Some(at) => (
            text.get(..at).unwrap_or_default(),
            text.get(at + 1..).unwrap_or_default(),
        ),
        None => (text, &[]),
    }
}

/// How many parameters or headers a URI may have: comparing two is quadratic in it.
const ITEMS_MAX: usize = 32;

fn check_params(params: &[u8]) -> Result<(), Malformed> {
    // RFC 3261 25.1: an empty parameter is no parameter; phones that end a URI in `;` exist, and
    // nothing can be misread there, so only names and escapes are checked.
    for (at, (name, _)) in pairs(params, b';').enumerate() {
        // RFC 3261 19.1.1: a name must not appear twice.
        let repeated = pairs(params, b';')
            .take(at)
            .any(|(other, _)| equal_unescaped(name, other));
        if name.is_empty() || repeated || at >= ITEMS_MAX {
            return Err(WHAT);
        }
    }
    if params.contains(&b'@') || params.contains(&b'?') || !escapes_are_sound(params) {
        return Err(WHAT);
    }
    Ok(())
}

/// Printable ASCII but for the delimiters that can hold a URI, and what no URI may hold raw. `#`,
/// `{`, `|` and such are let through: feature codes carry them and they cannot be misread.
const fn is_uri_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'<' | b'>' | b'"' | b'\\' | b'^' | b'`')
}

fn escapes_are_sound(text: &[u8]) -> bool {
    let mut rest = text;
    while let Some(at) = memchr::memchr(b'%', rest) {
        match rest.get(at + 1..at + 3) {
            Some([high, low]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {}
            _ => return false,
        }
        rest = rest.get(at + 3..).unwrap_or_default();
    }
    true
}

/// The bytes with sound `%` escapes undone.
pub(super) fn unescaped(text: &[u8]) -> impl Iterator<Item = u8> + use<'_> {
    let mut rest = text;
    std::iter::from_fn(move || match rest {
        [b'%', high, low, after @ ..] if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
            rest = after;
            let digit = |byte: u8| (byte as char).to_digit(16).unwrap_or(0) as u8;
            Some(digit(*high) << 4 | digit(*low))
        }
        [byte, after @ ..] => {
            rest = after;
            Some(*byte)
        }
        [] => None,
    })
}

fn unescape(text: &[u8]) -> Vec<u8> {
    unescaped(text).collect()
}

/// Equal without regard to case and to how bytes are escaped.
pub(super) fn equal_unescaped(a: &[u8], b: &[u8]) -> bool {
    unescaped(a)
        .map(|byte| byte.to_ascii_lowercase())
        .eq(unescaped(b).map(|byte| byte.to_ascii_lowercase()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sip(text: &str) -> SipUri<'_> {
        match Uri::parse(text.as_bytes()) {
            Ok(Uri::Sip(uri)) => uri,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn parts_are_found() {
        let uri = sip("sips:alice:secretword@atlanta.com:5061;transport=tcp;lr?subject=x&to=b");
        assert!(uri.secure);
        assert_eq!(uri.user, Some(&b"alice"[..]));
        assert_eq!(uri.password, Some(&b"secretword"[..]));
        assert_eq!(uri.host, Host::Name("ATLANTA.com."));
        assert_eq!(uri.port, Some(5061));
        assert_eq!(uri.param("transport"), Some(&b"tcp"[..]));
        assert_eq!(uri.param("lr"), Some(&b""[..]));
        assert_eq!(uri.headers, b"subject=x&to=b");
        let uri = sip("sip:user;par=u%40example.net@[2001:db8::1]:5060");
        assert_eq!(uri.user_text().as_deref(), Some("user;par=u@example.net"));
        assert_eq!(uri.host.to_string(), "[2001:db8::1]");
        let uri = sip("sip:cal%6Cer@host5.example.net;%6C%72;n%61me=v%61lue%25%34%31");
        assert_eq!(uri.user_text().as_deref(), Some("caller"));
        assert!(uri.param("lr").is_some());
    }

    #[test]
    fn schemes_are_told_apart() {
        let scheme = |text: &str| Uri::parse(text.as_bytes()).map(|uri| uri.scheme());
        assert_eq!(scheme("SIP:a@b"), Ok(Scheme::Sip));
        assert_eq!(
            scheme("tel:+1-201-555-0123;phone-context=x"),
            Ok(Scheme::Tel)
        );
        assert_eq!(scheme("soap.beep://192.0.2.103:3002"), Ok(Scheme::Other));
        assert_eq!(
            scheme("nobodyKnowsThisScheme:totallyopaque"),
            Ok(Scheme::Other)
        );
    }

    #[test]
    fn what_is_no_uri_is_refused() {
        for text in [
            "",
            "sip",
            "sip:",
            "sip:@b",
            "sip:a@",
            "sip:a@b:",
            "sip:a@b:99999",
            "sip:a@b:x",
            "sip:a@b@c",
            "sip:a b@c",
            "sip:a@[::1",
            "sip:a@[x]",
            "<sip:a@b>",
            "sip:a@b;=x",
            "sip:a%4@b",
            "1sip:a@b",
            "tel:",
            "tel:x",
            "sip:a@b;p=%zz",
            "sip:a@b, sip:c@d",
            "sip:\"a\"@b",
        ] {
            assert!(Uri::parse(text.as_bytes()).is_err(), "{text} was accepted");
        }
    }
}

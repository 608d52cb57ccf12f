//! The variables of conditions and templates, by the names that Apache gave them.

use http::HeaderName;

use super::Fault;

/// A variable, resolved when the configuration is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Variable {
    /// A field of the request: `HTTP_USER_AGENT`, `HTTP:Accept`.
    Field(HeaderName),
    /// A variable that a rule has set: `ENV:NAME`.
    Env(String),
    /// One of the fixed ones.
    Named(Named),
}

macro_rules! named {
    ($($name:literal => $variant:ident, $help:literal;)*) => {
        /// The variables that are always there.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Named {
            $(#[doc = $help] $variant,)*
        }

        const NAMES: &[(&str, Named)] = &[$(($name, Named::$variant),)*];
    };
}

named! {
    "REQUEST_METHOD" => Method, "The method.";
    "REQUEST_SCHEME" => Scheme, "`http` or `https`.";
    "REQUEST_URI" => Uri, "The path, decoded, without the query.";
    "REQUEST_FILENAME" => Filename, "The file that the path leads to.";
    "SCRIPT_FILENAME" => ScriptFilename, "The same.";
    "QUERY_STRING" => Query, "What follows the question mark.";
    "THE_REQUEST" => TheRequest, "The request line, as it came.";
    "SERVER_PROTOCOL" => Protocol, "`HTTP/1.1`.";
    "SERVER_NAME" => ServerName, "The host asked for.";
    "SERVER_PORT" => ServerPort, "The port asked at.";
    "SERVER_ADDR" => ServerAddress, "The address asked at.";
    "DOCUMENT_ROOT" => DocumentRoot, "The site's root.";
    "REMOTE_ADDR" => ClientAddress, "The client's address.";
    "CONN_REMOTE_ADDR" => ConnectionAddress, "The same.";
    "REMOTE_HOST" => ClientHost, "The same: names are not looked up.";
    "REMOTE_PORT" => ClientPort, "The client's port.";
    "REMOTE_USER" => User, "Who logged in.";
    "AUTH_TYPE" => AuthType, "`Basic` where somebody did.";
    "HTTPS" => Https, "`on` or `off`.";
    "PATH_INFO" => PathInfo, "What follows a file in the path.";
    "CONTENT_TYPE" => ContentType, "The request body's media type.";
    "IS_SUBREQ" => IsSubrequest, "`false`.";
    "IPV6" => Ipv6, "`on` for a client with an IPv6 address.";
    "TIME" => Time, "The time, as 14 digits, in UTC.";
    "TIME_YEAR" => Year, "Its year.";
    "TIME_MON" => Month, "Its month.";
    "TIME_DAY" => Day, "Its day.";
    "TIME_HOUR" => Hour, "Its hour.";
    "TIME_MIN" => Minute, "Its minute.";
    "TIME_SEC" => Second, "Its second.";
    "TIME_WDAY" => Weekday, "Its day of the week, from Sunday as 0.";
}

impl Variable {
    /// The variable of a name.
    ///
    /// # Errors
    /// Where there is none.
    pub fn parse(name: &str) -> Result<Self, Fault> {
        let field = |name: &str| {
            HeaderName::from_bytes(name.as_bytes())
                .map(Self::Field)
                .map_err(|_| Fault::new(format!("there is no variable {name}")))
        };
        if let Some(name) = strip(name, "HTTP:").or_else(|| strip(name, "req:")) {
            return field(name);
        }
        if let Some(name) = strip(name, "ENV:").or_else(|| strip(name, "reqenv:")) {
            return Ok(Self::Env(name.to_owned()));
        }
        if let Some(&(_, named)) = NAMES
            .iter()
            .find(|(known, _)| known.eq_ignore_ascii_case(name))
        {
            return Ok(Self::Named(named));
        }
        if let Some(name) = strip(name, "HTTP_") {
            return field(&name.replace('_', "-"));
        }
        let similar = omnid_config::did_you_mean(name, NAMES.iter().map(|(name, _)| *name));
        let hint = similar.map(|similar| format!("; did you mean {similar}?"));
        Err(Fault::new(format!(
            "there is no variable {name}{}",
            hint.unwrap_or_default()
        )))
    }
}

fn strip<'a>(name: &'a str, prefix: &str) -> Option<&'a str> {
    let (head, rest) = name.split_at_checked(prefix.len())?;
    (head.eq_ignore_ascii_case(prefix) && !rest.is_empty()).then_some(rest)
}

//! What conditions and templates know of a request.

use std::{
    borrow::Cow,
    cell::Cell,
    collections::BTreeMap,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use http::{HeaderMap, Method, Version, header};
use time::OffsetDateTime;

use super::{
    Captured, Pattern,
    variable::{Named, Variable},
};

/// What stays the same for all of a request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Its method.
    pub method: &'a Method,
    /// Its fields.
    pub headers: &'a HeaderMap,
    /// Its version.
    pub version: Version,
    /// The target as it came.
    pub target: &'a str,
    /// The host asked for, without a port.
    pub host: &'a str,
    /// The client.
    pub peer: SocketAddr,
    /// Where it connected.
    pub local: SocketAddr,
    /// Whether over TLS.
    pub tls: bool,
    /// The site's root.
    pub root: Option<&'a Path>,
}

/// What is known now: rules change it.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// The request.
    pub request: Request<'a>,
    /// The path, decoded.
    pub path: Cow<'a, str>,
    /// The query.
    pub query: Cow<'a, str>,
    /// The file that the path leads to.
    pub filename: Option<PathBuf>,
    /// Who logged in.
    pub user: Option<&'a str>,
    /// What rules have set.
    pub env: BTreeMap<String, String>,
    /// Whether the path is that of an index file, looked up for its directory.
    pub index: bool,
    /// Whether a pattern ran out of steps: what was decided since may be wrong.
    pub gave_up: Cell<bool>,
}

impl<'a> Facts<'a> {
    /// What is known of a request before any rule.
    #[must_use]
    pub fn new(request: Request<'a>, path: &'a [u8], query: Option<&'a str>) -> Self {
        Self {
            request,
            path: String::from_utf8_lossy(path),
            query: Cow::Borrowed(query.unwrap_or_default()),
            filename: None,
            user: None,
            env: BTreeMap::new(),
            index: false,
            gave_up: Cell::new(false),
        }
    }

    /// Whether a pattern is met by a text, and what it captured; where it cannot be said, that is
    /// noted, and no decision is to be carried out.
    #[must_use]
    pub fn meet(&self, pattern: &Pattern, subject: &str) -> Option<Captured> {
        pattern.met_by(subject).unwrap_or_else(|_| {
            self.gave_up.set(true);
            None
        })
    }

    /// A variable's value; empty where it has none.
    #[must_use]
    pub fn value(&self, variable: &Variable) -> Cow<'_, str> {
        match variable {
            Variable::Field(name) => field(self.request.headers, name),
            Variable::Env(name) => self
                .env
                .get(name)
                .map_or(Cow::Borrowed(""), |value| Cow::Borrowed(value)),
            Variable::Named(named) => self.named(*named),
        }
    }

    fn named(&self, named: Named) -> Cow<'_, str> {
        let request = &self.request;
        let on = |on: bool| Cow::Borrowed(if on { "on" } else { "off" });
        match named {
            Named::Method => request.method.as_str().into(),
            Named::Scheme => if request.tls { "https" } else { "http" }.into(),
            Named::Uri => Cow::Borrowed(&self.path),
            Named::Filename | Named::ScriptFilename => match &self.filename {
                Some(filename) => filename.to_string_lossy(),
                None => Cow::Borrowed(&self.path),
            },
            Named::Query => Cow::Borrowed(&self.query),
            Named::TheRequest => format!(
                "{} {} {:?}",
                request.method, request.target, request.version
            )
            .into(),
            Named::Protocol => format!("{:?}", request.version).into(),
            Named::ServerName => request.host.into(),
            Named::ServerPort => request.local.port().to_string().into(),
            Named::ServerAddress => request.local.ip().to_canonical().to_string().into(),
            Named::DocumentRoot => request.root.map(Path::to_string_lossy).unwrap_or_default(),
            Named::ClientAddress | Named::ConnectionAddress | Named::ClientHost => {
                request.peer.ip().to_canonical().to_string().into()
            }
            Named::ClientPort => request.peer.port().to_string().into(),
            Named::User => self.user.unwrap_or_default().into(),
            Named::AuthType => self.user.map_or("", |_| "Basic").into(),
            Named::Https => on(request.tls),
            Named::PathInfo => "".into(),
            Named::ContentType => field(request.headers, &header::CONTENT_TYPE),
            Named::IsSubrequest => if self.index { "true" } else { "false" }.into(),
            Named::Ipv6 => on(request.peer.ip().to_canonical().is_ipv6()),
            _ => time(named).into(),
        }
    }
}

fn time(named: Named) -> String {
    let now = OffsetDateTime::now_utc();
    let month = u8::from(now.month());
    match named {
        Named::Year => now.year().to_string(),
        Named::Month => format!("{month:02}"),
        Named::Day => format!("{:02}", now.day()),
        Named::Hour => format!("{:02}", now.hour()),
        Named::Minute => format!("{:02}", now.minute()),
        Named::Second => format!("{:02}", now.second()),
        Named::Weekday => now.weekday().number_days_from_sunday().to_string(),
        _ => format!(
            "{}{month:02}{:02}{:02}{:02}{:02}",
            now.year(),
            now.day(),
            now.hour(),
            now.minute(),
            now.second()
        ),
    }
}

/// A field's values in one, as they may be joined (RFC 9110 section 5.3).
fn field<'h>(headers: &'h HeaderMap, name: &http::HeaderName) -> Cow<'h, str> {
    let mut values = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()));
    let Some(first) = values.next() else {
        return Cow::Borrowed("");
    };
    let mut joined = first;
    for value in values {
        joined = format!("{joined}, {value}").into();
    }
    joined
}

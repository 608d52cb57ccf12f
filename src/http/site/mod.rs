//! Sites as they are served: compiled from the config, swapped whole.

mod actions;
mod compile;
mod edits;
mod expiry;
mod gateways;
mod proxies;
mod rules;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, StatusCode};
use omnid_identity::Role;

pub use compile::compile;
pub use edits::HeaderEdits;
pub use expiry::Expiry;
pub use rules::{Filter, Matchers, RouteRules, SiteRules};

use crate::{
    access::{GroupFile, UserFile},
    compress::Compress,
    engine::{
        check::HeadLimits,
        guard::TimeLimits,
        rate::RateTable,
        routes::{Found, RouteTable},
        sites::SiteTable,
    },
    files::{CacheLimits, Files},
    gateway::Scripts,
    log::AccessLog,
    metrics::SiteMeter,
    proxy::{Checkup, Proxy},
    wire::target::NormalPath,
};

/// Everything that requests are answered from.
#[derive(Debug)]
pub struct Snapshot {
    /// Sites by host.
    pub sites: SiteTable<Arc<Site>>,
    /// Answers to what never comes to a site.
    pub nowhere: Arc<Site>,
    /// Bounds of request heads.
    pub head: HeadLimits,
    /// Bounds of time.
    pub times: TimeLimits,
    /// Streams of an HTTP/2 connection.
    pub streams: u32,
    /// HTTP/2 frames that ask for nothing.
    pub idle_frames: u32,
    /// Bounds of the file cache.
    pub cache: CacheLimits,
    /// The port to send clients to that should have come over TLS.
    pub tls_port: Option<u16>,
}

/// One site.
#[derive(Debug)]
pub struct Site {
    /// Its first host name.
    pub name: Arc<str>,
    /// The domain of accounts that log in without naming one.
    pub domain: Option<String>,
    /// Its routes; the root is one of them.
    pub routes: RouteTable<Route>,
    /// Its root, for error pages.
    pub root: Option<Arc<Files>>,
    /// Pages for failures.
    pub error_pages: BTreeMap<u16, String>,
    /// Whether plain requests are sent to TLS.
    pub redirects_plain: bool,
    /// Strict-Transport-Security.
    pub hsts: Option<HeaderValue>,
    /// Paths under which other services' handlers are served.
    pub mounts: Vec<String>,
    /// What each client may ask for.
    pub rate: Option<Arc<RateTable>>,
    /// What is compressed on its way out.
    pub compress: Option<Compress>,
    /// Changes to every response.
    pub headers: HeaderEdits,
    /// Where requests are logged.
    pub log: Option<AccessLog>,
    /// What is counted.
    pub meter: Arc<SiteMeter>,
    /// The largest body of requests that come to no route.
    pub max_body: u64,
    /// Rules beside the routes, where there are any.
    pub rules: Option<Box<SiteRules>>,
    /// Whether it depends on the path who may come in, or what is refused.
    pub guards_paths: bool,
}

/// What is done at a path.
#[derive(Debug)]
pub struct Route {
    /// The path, as the config says it.
    pub path: String,
    /// Who may come in.
    pub auth: Option<Auth>,
    /// What is done.
    pub action: Action,
    /// What each client may ask for here.
    pub rate: Option<Arc<RateTable>>,
    /// Changes to responses from here.
    pub headers: HeaderEdits,
    /// The largest request body.
    pub max_body: u64,
    /// Rules that hold here.
    pub rules: RouteRules,
}

/// What is done with a request.
#[derive(Debug)]
pub enum Action {
    /// Files below the route's path.
    Files(Arc<Files>),
    /// Files at the whole path, below the site's root.
    SiteFiles(Arc<Files>),
    /// Files, some of which are programs.
    Scripts(Box<Scripts>),
    /// Passed on.
    Proxy(Box<Proxy>),
    /// Sent elsewhere.
    Redirect {
        /// Where to.
        to: String,
        /// How.
        status: StatusCode,
    },
    /// A fixed text.
    Respond {
        /// Its status.
        status: StatusCode,
        /// Its media type.
        content_type: HeaderValue,
        /// The text.
        body: Bytes,
    },
    /// Nothing is here: a route that only says who may come in, on a site without files.
    Nothing,
}

/// Who may come in.
#[derive(Debug)]
pub struct Auth {
    /// The WWW-Authenticate field.
    pub challenge: HeaderValue,
    /// One of these is needed, if there are any.
    pub roles: Vec<Role>,
    /// Only these accounts, if any.
    pub accounts: Vec<String>,
    /// Users of a file, instead of accounts.
    pub users: Option<Arc<UserFile>>,
    /// Groups of a file.
    pub groups: Option<GroupFile>,
}

impl Auth {
    /// Tells one from another, within a snapshot.
    #[must_use]
    pub fn id(&self) -> usize {
        std::ptr::from_ref(self).addr()
    }
}

/// Why [`Site::may_forward`] says no.
pub const GUARDED_SLASH: &str = "an escaped slash, on a site where access depends on the path";

/// What a path leads to, before mounts are looked at.
pub type FoundRoute<'a> = Found<'a, Route>;

impl Snapshot {
    /// The checks that upstreams are to be asked to pass.
    #[must_use]
    pub fn checkups(&self) -> Vec<Checkup> {
        let routes = self.sites.iter().flat_map(|site| site.routes.iter());
        routes
            .filter_map(|route| match &route.action {
                Action::Proxy(proxy) => Some(proxy.checkups()),
                _ => None,
            })
            .flatten()
            .collect()
    }
}

impl Route {
    /// Whether it may keep somebody from something.
    #[must_use]
    pub fn is_guard(&self) -> bool {
        self.auth.is_some() || self.rules.access.is_some() || !self.rules.rewrite.is_empty()
    }
}

impl Site {
    /// The route for a path in normal form.
    #[must_use]
    pub fn route(&self, path: &[u8]) -> FoundRoute<'_> {
        self.routes.find(path, |_| true)
    }

    /// Whether an upstream may be asked for a path. One that decodes an escaped slash would see
    /// another path than the one that was looked at: not where that could be a way past a guard.
    #[must_use]
    pub fn may_forward(&self, path: &NormalPath<'_>) -> bool {
        !(self.guards_paths && path.encoded_slash())
    }

    /// Whether the site serves the handler that another service offers at `prefix`. What proves
    /// names to a certificate authority is on every site.
    #[must_use]
    pub fn serves_mount(&self, prefix: &str) -> bool {
        prefix == "/.well-known/acme-challenge"
            || self.mounts.iter().any(|allowed| {
                allowed == "/"
                    || prefix
                        .strip_prefix(allowed.as_str())
                        .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            })
    }
}

/// The Strict-Transport-Security field for an age.
fn hsts(age: Duration) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("max-age={}", age.as_secs())).ok()
}

//! Our sites, as they are being put together.

use super::{access::Said, rewrite::Rule};

/// A site.
#[derive(Debug, Clone, Default)]
pub(super) struct Site {
    pub(super) from: String,
    pub(super) hosts: Vec<String>,
    pub(super) default: bool,
    pub(super) root: Option<String>,
    pub(super) index: Option<Vec<String>>,
    pub(super) fallback: Option<String>,
    pub(super) follow: bool,
    pub(super) charset: Option<String>,
    pub(super) plain_redirect: bool,
    pub(super) error_pages: Vec<(String, String)>,
    pub(super) headers: Headers,
    pub(super) access_log: Option<(String, &'static str)>,
    pub(super) max_body: Option<u64>,
    pub(super) rewrite: Vec<Rule>,
    /// Redirects, which come after rewriting.
    pub(super) redirects: Vec<Rule>,
    pub(super) filters: Vec<Filter>,
    pub(super) routes: Vec<Route>,
}

/// Changes to fields.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) set: Vec<(String, String)>,
    pub(super) add: Vec<(String, String)>,
    pub(super) remove: Vec<String>,
}

impl Headers {
    pub(super) fn is_empty(&self) -> bool {
        self.set.is_empty() && self.add.is_empty() && self.remove.is_empty()
    }
}

/// Who could come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Auth {
    pub(super) realm: String,
    pub(super) users: Option<String>,
    pub(super) groups: Option<String>,
}

/// Where something applies.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Reach {
    pub(super) path: String,
    pub(super) pattern: Option<String>,
    pub(super) methods: Vec<String>,
    pub(super) when: Vec<String>,
}

/// A filter.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    pub(super) from: String,
    pub(super) reach: Reach,
    pub(super) access: Option<String>,
    /// Of which that was made.
    pub(super) said: Said,
    pub(super) auth: Option<Auth>,
    pub(super) rewrite: Vec<Rule>,
    pub(super) headers: Headers,
    pub(super) content_type: Option<String>,
}

impl Filter {
    pub(super) fn is_empty(&self) -> bool {
        self.access.is_none()
            && self.auth.is_none()
            && self.rewrite.is_empty()
            && self.headers.is_empty()
            && self.content_type.is_none()
    }
}

/// A route.
#[derive(Debug, Clone, Default)]
pub(super) struct Route {
    pub(super) from: String,
    pub(super) path: String,
    pub(super) exact: bool,
    pub(super) root: Option<String>,
    pub(super) proxy: Vec<String>,
    pub(super) keep_host: bool,
    pub(super) timeout: Option<u64>,
    pub(super) index: Option<Vec<String>>,
    pub(super) fallback: Option<String>,
}

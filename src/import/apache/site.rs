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
    pub(super) fastcgi: Option<FastCgi>,
    pub(super) access_log: Option<(String, &'static str)>,
    pub(super) max_body: Option<u64>,
    pub(super) rewrite: Vec<Rule>,
    /// Redirects, which come after rewriting.
    pub(super) redirects: Vec<Rule>,
    pub(super) filters: Vec<Filter>,
    pub(super) routes: Vec<Route>,
}

/// What is done to a field, in the order in which it is done to one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Change {
    Remove,
    Set,
    SetMissing,
    Add,
    Append,
    Merge,
    /// The first match, and every match.
    Edit(bool),
}

/// A change to a field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FieldChange {
    pub(super) change: Change,
    pub(super) field: String,
    /// What is put there; for an edit, what is looked for and what takes its place.
    pub(super) value: String,
    pub(super) to: String,
}

/// Changes to fields that can be said in one table.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Headers {
    pub(super) changes: Vec<FieldChange>,
    /// Whether the server's own failures are left alone.
    pub(super) success: bool,
    /// A condition.
    pub(super) when: Option<String>,
}

impl Headers {
    /// Whether a change can stand here too, and be made when it should: each table says one thing
    /// of each kind about a field, and says them in a fixed order.
    fn takes(&self, change: &FieldChange) -> bool {
        let same = |other: &&FieldChange| other.field.eq_ignore_ascii_case(&change.field);
        self.changes.iter().filter(same).all(|other| {
            other.change < change.change
                || matches!(
                    (other.change, change.change),
                    (Change::Edit(_), Change::Edit(_))
                )
        })
    }
}

/// Adds a change behind those that there are.
pub(super) fn add_change(
    tables: &mut Vec<Headers>,
    change: FieldChange,
    success: bool,
    when: Option<String>,
) {
    let last = tables
        .iter_mut()
        .rev()
        .find(|table| table.success == success);
    match last {
        Some(table) if table.when == when && table.takes(&change) => table.changes.push(change),
        _ => tables.push(Headers {
            changes: vec![change],
            success,
            when,
        }),
    }
}

/// How long responses may be kept.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Expires {
    /// Media types and seconds.
    pub(super) after: Vec<(String, u64)>,
    pub(super) after_change: Vec<(String, u64)>,
}

/// A FastCGI application.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct FastCgi {
    pub(super) to: String,
    pub(super) suffixes: Vec<String>,
    pub(super) program: Option<String>,
}

/// Programs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Programs {
    File(String),
    Directory(String),
    Suffixes(Vec<String>),
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
    pub(super) headers: Vec<Headers>,
    pub(super) request: Vec<Headers>,
    pub(super) content_type: Option<String>,
    pub(super) charset: Option<String>,
    pub(super) expires: Expires,
    pub(super) env: Vec<(String, String)>,
}

impl Filter {
    /// Whether it is about access and rewriting only.
    pub(super) fn says_no_more(&self) -> bool {
        self.headers.is_empty()
            && self.request.is_empty()
            && self.content_type.is_none()
            && self.charset.is_none()
            && self.expires == Expires::default()
            && self.env.is_empty()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.access.is_none()
            && self.auth.is_none()
            && self.rewrite.is_empty()
            && self.says_no_more()
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
    pub(super) fastcgi: Option<FastCgi>,
    pub(super) cgi: Option<Programs>,
}

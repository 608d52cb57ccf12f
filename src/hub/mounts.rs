//! HTTP handlers that one service offers and the HTTP service serves on the sites that ask.

use std::{net::SocketAddr, sync::Arc};

use arc_swap::ArcSwap;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use http_body_util::combinators::UnsyncBoxBody;

/// What can go wrong while a body is read or produced.
pub type BodyError = Box<dyn std::error::Error + Send + Sync>;
/// A streamed request or response body.
pub type Body = UnsyncBoxBody<Bytes, BodyError>;
/// A request as a mount sees it. A websocket mount finds hyper's `OnUpgrade` in the extensions.
pub type MountRequest = http::Request<Body>;
/// A mount's answer.
pub type MountResponse = http::Response<Body>;

/// What the HTTP service knows about a request beside the request itself.
#[derive(Debug, Clone)]
pub struct MountContext {
    /// The client, after the PROXY protocol and trusted forwarding headers.
    pub peer: SocketAddr,
    /// The address the request came in on.
    pub local: SocketAddr,
    /// Whether the request came over TLS.
    pub tls: bool,
    /// The site's host name as the client asked for it, without a port.
    pub host: Arc<str>,
    /// The account that the site's own authentication established.
    pub user: Option<Arc<str>>,
    /// The prefix at which the mount was found, such as `/dns-query`.
    pub prefix: Arc<str>,
}

/// An HTTP handler offered by a service that is not the HTTP service.
pub trait Mount: Send + Sync {
    /// Answers one request. Errors are answers too: a mount never fails.
    fn serve(&self, request: MountRequest, context: MountContext) -> BoxFuture<'_, MountResponse>;
}

impl<F> Mount for F
where
    F: Fn(MountRequest, MountContext) -> BoxFuture<'static, MountResponse> + Send + Sync,
{
    fn serve(&self, request: MountRequest, context: MountContext) -> BoxFuture<'_, MountResponse> {
        self(request, context)
    }
}

#[derive(Clone)]
struct Offered {
    prefix: Arc<str>,
    service: &'static str,
    mount: Arc<dyn Mount>,
}

/// The table of offered mounts, longest prefix first. Reads take no lock.
#[derive(Default)]
pub struct Mounts {
    table: ArcSwap<Vec<Offered>>,
}

impl Mounts {
    /// Offers `mount` at `prefix` (an absolute path without a trailing slash, or `/`). A second
    /// offer at the same prefix takes the place of the first, so that a reload is one call.
    pub fn offer(&self, prefix: &str, service: &'static str, mount: Arc<dyn Mount>) {
        let offered = Offered {
            prefix: Arc::from(prefix),
            service,
            mount,
        };
        self.table.rcu(|table| {
            let mut table: Vec<Offered> = table
                .iter()
                .filter(|other| other.prefix != offered.prefix)
                .cloned()
                .collect();
            table.push(offered.clone());
            table.sort_by_key(|other| std::cmp::Reverse(other.prefix.len()));
            table
        });
    }

    /// Takes back everything that `service` offered.
    pub fn withdraw(&self, service: &str) {
        self.table.rcu(|table| {
            table
                .iter()
                .filter(|other| other.service != service)
                .cloned()
                .collect::<Vec<_>>()
        });
    }

    /// The mount with the longest prefix that covers `path` at a segment boundary.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(Arc<str>, Arc<dyn Mount>)> {
        let table = self.table.load();
        let found = table.iter().find(|offered| covers(&offered.prefix, path))?;
        Some((found.prefix.clone(), found.mount.clone()))
    }

    /// Prefixes and the services that offer them, for status pages and checks.
    #[must_use]
    pub fn list(&self) -> Vec<(Arc<str>, &'static str)> {
        self.table
            .load()
            .iter()
            .map(|offered| (offered.prefix.clone(), offered.service))
            .collect()
    }
}

fn covers(prefix: &str, path: &str) -> bool {
    prefix == "/"
        || path
            .strip_prefix(prefix)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nobody() -> Arc<dyn Mount> {
        Arc::new(
            |_: MountRequest, _: MountContext| -> BoxFuture<'static, MountResponse> {
                Box::pin(std::future::pending())
            },
        )
    }

    #[test]
    fn the_longest_prefix_wins_and_prefixes_end_at_segments() {
        let mounts = Mounts::default();
        mounts.offer("/", "welcome", nobody());
        mounts.offer("/upload", "xmpp", nobody());
        mounts.offer("/upload/big", "xmpp", nobody());
        let prefix = |path| mounts.find(path).map(|(prefix, _)| prefix.to_string());
        assert_eq!(prefix("/upload/big/x").as_deref(), Some("/upload/big"));
        assert_eq!(prefix("/upload/bigger").as_deref(), Some("/upload"));
        assert_eq!(prefix("/uploads").as_deref(), Some("/"));
        mounts.withdraw("welcome");
        assert_eq!(prefix("/uploads"), None);
    }

    #[test]
    fn a_second_offer_replaces_the_first() {
        let mounts = Mounts::default();
        mounts.offer("/dns-query", "dns", nobody());
        mounts.offer("/dns-query", "dns", nobody());
        assert_eq!(mounts.list().len(), 1);
    }
}

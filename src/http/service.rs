//! The service: its listeners and its log writer as children, its sites as a snapshot.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use omnid_config::{ListenAddr, Problem, Problems, Spanned};
use omnid_ground::{
    Change, Ground, ListenerClaim, ListenerSet, Prepare, Service, ServiceError, Transport, Wanted,
    streams,
};
use omnid_supervisor::{Child, ChildSpec, Handle};
use serde_json::Value;

use crate::{
    config::{HttpConfig, SiteConfig},
    data::Shelf,
    files::FileCache,
    io::{Door, Handler, serve},
    proxy::run_checks,
    site::{Snapshot, compile},
};

/// The HTTP service.
pub struct Http {
    ground: Ground,
    shelf: Shelf,
    /// `None` until the first configuration is applied.
    handler: Mutex<Option<Arc<Handler>>>,
    listeners: ListenerSet,
    /// What runs, and where, to tell what a new configuration changes.
    applied: Mutex<Option<(HttpConfig, Handle)>>,
}

/// A configuration that was found good.
pub struct Prepared {
    config: HttpConfig,
    domains: Vec<String>,
    /// The sites, with nothing behind them that outlives a reload: for rehearsals.
    snapshot: Snapshot,
}

/// The child that asks upstreams how they are.
const CHECKS: &str = "upstream checks";
/// The child that writes access logs.
const LOG_WRITER: &str = "access log";

impl Service for Http {
    const NAME: &'static str = "http";
    type Config = HttpConfig;
    type Prepared = Prepared;

    fn prepare(
        config: &HttpConfig,
        context: &Prepare<'_>,
        problems: &mut Problems,
    ) -> Option<Prepared> {
        let before = problems.errors();
        if !context.tls && !config.listen_tls.is_empty() {
            let span = config.listen_tls.first().and_then(|address| address.span);
            problems.push(
                Problem::absence("listen_tls needs a certificate, and [tls] has none")
                    .at(span, "")
                    .help("certificates in [tls], or self_signed = true for a private authority"),
            );
        }
        let domains: Vec<String> = context
            .domains
            .iter()
            .map(|domain| domain.name.as_str().trim_end_matches('.').to_owned())
            .collect();
        let names: Vec<&str> = domains.iter().map(String::as_str).collect();
        let snapshot = compile(config, &names, &Shelf::default(), problems);
        (problems.errors() == before).then(|| Prepared {
            config: config.clone(),
            domains,
            snapshot,
        })
    }

    fn listeners(config: &HttpConfig) -> Vec<ListenerClaim> {
        let mut claims = ListenerClaim::all(Transport::Stream, &config.listen);
        claims.extend(ListenerClaim::all(Transport::Stream, &config.listen_tls));
        claims
    }

    async fn open(ground: Ground) -> Result<Arc<Self>, ServiceError> {
        Ok(Arc::new(Self {
            ground,
            shelf: Shelf::default(),
            handler: Mutex::default(),
            listeners: ListenerSet::default(),
            applied: Mutex::default(),
        }))
    }

    fn plan(&self, prepared: &Prepared) -> Vec<Change> {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let (config, tree) = applied
            .as_ref()
            .map(|(config, tree)| (config, tree))
            .unzip();
        let mut changes = site_changes(config, &prepared.config);
        let wanted = self.wanted(&prepared.config, None);
        changes.extend(self.listeners.plan(&wanted, tree));
        changes
    }

    async fn apply(
        self: &Arc<Self>,
        prepared: Prepared,
        tree: &Handle,
    ) -> Result<(), ServiceError> {
        let Prepared {
            config, domains, ..
        } = prepared;
        let mut problems = Problems::new();
        let names: Vec<&str> = domains.iter().map(String::as_str).collect();
        let snapshot = compile(&config, &names, &self.shelf, &mut problems);
        if problems.has_errors() {
            // It was good a moment ago: a root has gone since.
            let reasons: Vec<&str> = problems
                .iter()
                .map(|problem| problem.message.as_str())
                .collect();
            return Err(ServiceError {
                service: Self::NAME,
                reason: reasons.join("; "),
            });
        }
        let first = self.handler().is_none();
        let handler = self.take_snapshot(snapshot);
        if first {
            self.start_log_writer(tree).await?;
            self.start_checks(tree, &handler).await?;
        } else {
            // Reload is what log rotation calls.
            self.shelf.logs.reopen();
        }
        let wanted = self.wanted(&config, Some(&handler));
        self.listeners.apply(&self.ground, tree, wanted).await?;
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Some((config, tree.clone()));
        Ok(())
    }

    fn rehearse(prepared: &Prepared, question: &Value) -> Result<Value, String> {
        crate::rehearse::rehearse(&prepared.snapshot, question)
    }

    async fn close(self: &Arc<Self>) {
        self.shelf.logs.write_out().await;
    }
}

impl Http {
    fn handler(&self) -> Option<Arc<Handler>> {
        self.handler
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Puts new sites in the place of the old. Requests under way finish with what they began.
    fn take_snapshot(&self, snapshot: Snapshot) -> Arc<Handler> {
        let mut slot = self.handler.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(handler) = slot.as_ref() {
            if handler.snapshot.load().cache != snapshot.cache {
                handler
                    .cache
                    .store(Arc::new(FileCache::new(snapshot.cache)));
            }
            handler.snapshot.store(Arc::new(snapshot));
            return handler.clone();
        }
        let handler = Arc::new(Handler {
            cache: ArcSwap::from_pointee(FileCache::new(snapshot.cache)),
            snapshot: ArcSwap::from_pointee(snapshot),
            hub: self.ground.hub.clone(),
            identity: self.ground.identity.clone(),
            scripts: self.ground.scripts.clone(),
        });
        *slot = Some(handler.clone());
        handler
    }

    async fn start_checks(
        &self,
        tree: &Handle,
        handler: &Arc<Handler>,
    ) -> Result<(), ServiceError> {
        let handler = handler.clone();
        let checks = ChildSpec::worker(CHECKS, move |child: Child| {
            let handler = handler.clone();
            async move {
                child.ready();
                tokio::select! {
                    () = child.draining() => {}
                    () = run_checks(|| handler.snapshot.load().checkups()) => {}
                }
                Ok(())
            }
        });
        tree.add(checks).await.map_err(|error| ServiceError {
            service: Self::NAME,
            reason: error.to_string(),
        })
    }

    async fn start_log_writer(&self, tree: &Handle) -> Result<(), ServiceError> {
        let logs = self.shelf.logs.clone();
        let writer = ChildSpec::worker(LOG_WRITER, move |child: Child| {
            let logs = logs.clone();
            async move {
                child.ready();
                logs.run(child.draining()).await;
                Ok(())
            }
        });
        tree.add(writer).await.map_err(|error| ServiceError {
            service: Self::NAME,
            reason: error.to_string(),
        })
    }

    /// The listeners that a configuration wants. Without a handler they are only named.
    fn wanted(&self, config: &HttpConfig, handler: Option<&Arc<Handler>>) -> Vec<Wanted> {
        let one = |kind: &str, address: &Spanned<ListenAddr>, tls: bool| {
            let handler = handler.cloned();
            let ground = self.ground.clone();
            streams(
                &self.ground,
                Self::NAME,
                kind,
                &address.value,
                move |child, accepted| {
                    let Some(handler) = handler.clone() else {
                        return;
                    };
                    let door = Door {
                        handler,
                        certificates: tls.then(|| ground.certificates.clone()),
                        hub: ground.hub.clone(),
                        handshake: ground.net.config().handshake_timeout,
                    };
                    let span = accepted.span();
                    let serving = Box::pin(serve(door, accepted, child.clone()));
                    child.spawn("connection", span, serving);
                },
            )
        };
        let plain = config
            .listen
            .iter()
            .map(|address| one("http", address, false));
        let tls = config
            .listen_tls
            .iter()
            .map(|address| one("https", address, true));
        plain.chain(tls).collect()
    }
}

/// Which sites come, go or change.
fn site_changes(old: Option<&HttpConfig>, new: &HttpConfig) -> Vec<Change> {
    let named = |config: &HttpConfig| -> BTreeMap<String, SiteConfig> {
        let name = |site: &SiteConfig| match site.hosts.first() {
            Some(host) => host.value.clone(),
            None => "default".to_owned(),
        };
        config
            .site
            .iter()
            .map(|site| (name(site), site.clone()))
            .collect()
    };
    let old = old.map(named).unwrap_or_default();
    let new = named(new);
    let change = |name: &str, how| Change {
        what: format!("site {name}"),
        how,
        connections: 0,
    };
    let gone = old
        .keys()
        .filter(|name| !new.contains_key(*name))
        .map(|name| change(name, "removed"));
    let come = new.iter().filter_map(|(name, site)| match old.get(name) {
        None => Some(change(name, "added")),
        Some(before) if before != site => Some(change(name, "changed live")),
        Some(_) => None,
    });
    gone.chain(come).collect()
}

//! The service: its children, and the way from one configuration to the next.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use omnid_config::{ListenAddr, Problem, Problems};
use omnid_ground::{
    Change, Ground, ListenerClaim, ListenerSet, Prepare, Service, ServiceError, Transport, Wanted,
    datagrams, streams,
};
use omnid_hub::{StreamContext, StreamHandler};
use omnid_net::TlsSocket;
use omnid_supervisor::{Child, ChildSpec, Handle};
use serde_json::Value;
use tokio::sync::{Semaphore, mpsc};

use crate::config::{self, Config};
use crate::control;
use crate::data::{self, Loaded, MIGRATIONS, Serials};
use crate::engine::access::Access;
use crate::engine::cookie::CookieSecret;
use crate::engine::state::{Settings, State};
use crate::engine::zones::{Served, Zones};
use crate::io::{MAX_SCRIPTED, Metrics, News, Shared, dot, notify, tcp, tls, udp};
use crate::publish::Published;
use crate::resolver;
use crate::wire::master::{Fault, Severity};
use crate::wire::name::Name;

/// The DNS service.
pub struct Dns {
    pub(crate) shared: Arc<Shared>,
    listeners: ListenerSet,
    pub(crate) serials: Serials,
    /// What the configuration says, as last applied.
    applied: tokio::sync::Mutex<Applied>,
    pub(crate) news: mpsc::Sender<News>,
    queue: tokio::sync::Mutex<mpsc::Receiver<News>>,
    pub(crate) made_up_secret: [u8; 16],
    tree: OnceLock<Handle>,
    handed: Mutex<Option<mpsc::Receiver<(TlsSocket, StreamContext)>>>,
}

/// A configuration and its zones.
#[derive(Default)]
pub(crate) struct Applied {
    pub(crate) config: Option<Config>,
    pub(crate) zones: Vec<Arc<Loaded>>,
    /// Zones as they are served, by name.
    pub(crate) published: HashMap<String, Published>,
}

/// A configuration whose zones are loaded and checked.
pub struct Prepared {
    pub(crate) config: Config,
    /// As many as the configuration has zones, in its order.
    pub(crate) zones: Vec<Arc<Loaded>>,
    pub(crate) resolver: Option<resolver::Plan>,
}

/// Changes of zones that wait to be told to secondaries.
const NEWS: usize = 1024;
/// Connections that another service's port took in and that wait to be served.
const HANDED: usize = 256;
/// Faults of one zone that are shown.
const SHOWN_FAULTS: usize = 20;
/// How long services may add to what they publish before it is merged.
const SETTLE: Duration = Duration::from_millis(100);

impl Service for Dns {
    const NAME: &'static str = "dns";

    type Config = Config;
    type Prepared = Prepared;

    fn prepare(
        config: &Config,
        context: &Prepare<'_>,
        problems: &mut Problems,
    ) -> Option<Prepared> {
        let mut zones = Vec::new();
        let before = problems.errors();
        let section = config.resolver.as_ref();
        let resolver = section.and_then(|section| resolver::prepare(section, problems));
        for zone in &config.zone {
            // A name that is valid in the configuration is so here.
            let Ok(apex) = Name::from_text(zone.name.as_str()) else {
                continue;
            };
            let at = zone.file.span;
            match data::load(&apex, &zone.file.value) {
                Ok(loaded) => {
                    report(&loaded.warnings, zone, at, problems);
                    zones.push(loaded);
                }
                Err(faults) => report(&faults, zone, at, problems),
            }
        }
        if let Some(address) = config.listen_tls.first().filter(|_| !context.tls) {
            problems.push(
                Problem::absence("DNS over TLS needs a certificate, and [tls] names none")
                    .at(address.span, "a listener for TLS")
                    .help("set tls.certificates, or tls.self_signed = true for a test"),
            );
        }
        (problems.errors() == before).then(|| Prepared {
            config: config.clone(),
            zones,
            resolver,
        })
    }

    fn listeners(config: &Config) -> Vec<ListenerClaim> {
        let mut claims = ListenerClaim::all(Transport::Stream, &config.listen);
        claims.extend(ListenerClaim::all(Transport::Datagram, &config.listen));
        claims.extend(ListenerClaim::all(Transport::Stream, &config.listen_tls));
        claims
    }

    async fn open(ground: Ground) -> Result<Arc<Dns>, ServiceError> {
        let migrated = ground.database.migrate(Self::NAME, MIGRATIONS).await;
        migrated.map_err(|error| ServiceError {
            service: Self::NAME,
            reason: format!("cannot bring its tables up to date: {error}"),
        })?;
        let serials = Serials::open(ground.database.clone())
            .await
            .map_err(|error| ServiceError {
                service: Self::NAME,
                reason: format!("cannot read its tables: {error}"),
            })?;
        let recursion = resolver::open(&ground)
            .await
            .map_err(|error| ServiceError {
                service: Self::NAME,
                reason: format!("cannot read the resolver's tables: {error}"),
            })?;
        let (news, queue) = mpsc::channel(NEWS);
        let mut made_up_secret = [0; 16];
        crate::random(&mut made_up_secret);
        let (hand, handed) = mpsc::channel(HANDED);
        let handler: Arc<dyn StreamHandler> = Arc::new(Handler(hand));
        ground.hub.alpn().offer("dot", &handler);
        let state = State {
            zones: Zones::default(),
            settings: Settings::default(),
        };
        let dns = Arc::new(Dns {
            shared: Arc::new(Shared {
                ground,
                state: ArcSwap::from_pointee(state),
                metrics: Metrics::default(),
                recursion,
                idle_ms: AtomicU64::new(30_000),
                scripted: Arc::new(Semaphore::new(MAX_SCRIPTED)),
            }),
            listeners: ListenerSet::default(),
            serials,
            applied: tokio::sync::Mutex::default(),
            news,
            queue: tokio::sync::Mutex::new(queue),
            made_up_secret,
            tree: OnceLock::new(),
            handed: Mutex::new(Some(handed)),
        });
        let own = resolver::Own(Arc::downgrade(&dns.shared));
        dns.shared.recursion.ask_first(Arc::new(own));
        control::register(&dns);
        resolver::register(&dns, dns.shared.ground.hub.control());
        Ok(dns)
    }

    fn plan(&self, prepared: &Prepared) -> Vec<Change> {
        let Ok(applied) = self.applied.try_lock() else {
            return Vec::new();
        };
        let change = |name: &str, how| Change {
            what: format!("zone {name}"),
            how,
            connections: 0,
        };
        let old = by_name(applied.config.as_ref(), &applied.zones);
        let new = by_name(Some(&prepared.config), &prepared.zones);
        let mut changes: Vec<Change> = Vec::new();
        for (name, loaded) in &new {
            match old.get(name) {
                None => changes.push(change(name, "added")),
                Some(running) if !Arc::ptr_eq(running, loaded) => {
                    changes.push(change(name, "changed live"));
                }
                Some(_) => {}
            }
        }
        changes.extend(
            old.keys()
                .filter(|name| !new.contains_key(*name))
                .map(|name| change(name, "removed")),
        );
        changes.sort_by(|left, right| left.what.cmp(&right.what));
        changes.extend(
            self.listeners
                .plan(&self.wanted(&prepared.config), self.tree.get()),
        );
        changes
    }

    async fn apply(
        self: &Arc<Self>,
        prepared: Prepared,
        tree: &Handle,
    ) -> Result<(), ServiceError> {
        let wanted = self.wanted(&prepared.config);
        let groups: Vec<_> = udp_groups(&prepared.config).collect();
        let idle = prepared.config.idle_timeout.as_millis() as u64;
        self.shared.idle_ms.store(idle, Ordering::Relaxed);
        self.shared.recursion.apply(prepared.resolver.as_ref());
        {
            let mut applied = self.applied.lock().await;
            applied.config = Some(prepared.config);
            applied.zones = prepared.zones;
            self.publish_state(&mut applied).await;
        }
        self.listeners
            .apply(&self.shared.ground, tree, wanted)
            .await?;
        if self.tree.set(tree.clone()).is_ok() {
            self.start_children(tree).await?;
        }
        // Fewer sockets for an address than before: what is left open would go on getting its share
        // of the queries, with nobody to answer them.
        for (address, count) in groups {
            if let Err(error) = self.shared.ground.net.datagrams("dns udp", address, count) {
                tracing::debug!(%address, %error, "the listener is trying still");
            }
        }
        Ok(())
    }

    fn rehearse(prepared: &Prepared, question: &Value) -> Result<Value, String> {
        let zones =
            zip(&prepared.config, &prepared.zones).map(|(zone, loaded)| served(zone, loaded));
        let zones = Zones::new(zones.collect());
        let settings = settings(&prepared.config, [0; 16]);
        control::rehearse(&State { zones, settings }, question)
    }

    async fn close(self: &Arc<Self>) {
        self.shared.ground.hub.alpn().withdraw("dot");
        self.shared.ground.hub.resolver().withdraw();
    }
}

fn by_name<'a>(
    config: Option<&'a Config>,
    zones: &'a [Arc<Loaded>],
) -> HashMap<&'a str, &'a Arc<Loaded>> {
    let zones = config.into_iter().flat_map(|config| zip(config, zones));
    zones
        .map(|(zone, loaded)| (zone.name.as_str(), loaded))
        .collect()
}

pub(crate) fn zip<'a>(
    config: &'a Config,
    zones: &'a [Arc<Loaded>],
) -> impl Iterator<Item = (&'a config::ZoneConfig, &'a Arc<Loaded>)> {
    config.zone.iter().zip(zones)
}

pub(crate) fn served(zone: &config::ZoneConfig, loaded: &Loaded) -> Served {
    Served {
        zone: loaded.zone.clone(),
        history: Arc::default(),
        transfer: Access::new(zone.transfer.to.iter().copied()),
    }
}

pub(crate) fn settings(config: &Config, made_up: [u8; 16]) -> Settings {
    let given = config.cookie_secret.as_ref();
    let secret = given.and_then(|secret| config::cookie_secret(secret.value.expose()));
    let boxed = |text: &Option<String>| text.as_deref().map(Into::into);
    Settings {
        udp_size: config.udp_size,
        version: boxed(&config.version),
        hostname: boxed(&config.hostname),
        server_id: boxed(&config.server_id),
        cookie_secret: config
            .cookies
            .then(|| CookieSecret::new(secret.unwrap_or(made_up))),
        recursion: Access::new(
            config
                .resolver
                .iter()
                .flat_map(|section| section.allow.clone()),
        ),
        keepalive: u16::try_from(config.idle_timeout.as_millis() / 100).unwrap_or(u16::MAX),
    }
}

/// The addresses for UDP, with the number of sockets for each.
fn udp_groups(config: &Config) -> impl Iterator<Item = (SocketAddr, usize)> {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let sockets = config.sockets.map_or(processors, usize::from);
    config
        .listen
        .iter()
        .filter_map(move |address| match address.value {
            ListenAddr::Ip(address) => Some((address, sockets)),
            ListenAddr::Unix(_) => None,
        })
}

/// Faults of a zone file as problems of the key that names it; the place in the zone file stands
/// in the message.
fn report(
    faults: &[Fault],
    zone: &config::ZoneConfig,
    at: Option<omnid_config::Span>,
    problems: &mut Problems,
) {
    for fault in faults.iter().take(SHOWN_FAULTS) {
        let mut places = fault.at.iter();
        let message = match places.next() {
            Some(place) => format!("{place}: {}", fault.message),
            None => format!("zone {}: {}", zone.name.value, fault.message),
        };
        let mut problem = match fault.severity {
            Severity::Error => Problem::error(message),
            Severity::Warning => Problem::warning(message),
        };
        problem = problem.at(at, format!("the file of zone {}", zone.name.value));
        for place in places {
            problem = problem.help(format!("included from {place}"));
        }
        problems.push(problem);
    }
    if let Some(more) = faults
        .len()
        .checked_sub(SHOWN_FAULTS)
        .filter(|more| *more > 0)
    {
        let message = format!("zone {}: and {more} more of these", zone.name.value);
        let errors = faults.iter().any(|fault| fault.severity == Severity::Error);
        let problem = if errors {
            Problem::error(message)
        } else {
            Problem::warning(message)
        };
        problems.push(problem.at(at, "this file"));
    }
}

impl Dns {
    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Name, file and zone of each zone as configured.
    pub(crate) async fn files(&self) -> Vec<(String, Arc<Loaded>)> {
        let applied = self.applied.lock().await;
        let config = applied.config.iter();
        let zones = config.flat_map(|config| zip(config, &applied.zones));
        zones
            .map(|(zone, loaded)| (zone.name.to_string(), loaded.clone()))
            .collect()
    }

    fn wanted(&self, config: &Config) -> Vec<Wanted> {
        let ground = &self.shared.ground;
        let mut wanted = Vec::new();
        for (socket, sockets) in udp_groups(config) {
            let shared = self.shared.clone();
            wanted.extend(datagrams(ground, Self::NAME, "udp", socket, sockets, {
                move |child, socket| Box::pin(udp(shared.clone(), child, socket))
            }));
            let shared = self.shared.clone();
            let connect = move |child: &Child, accepted| tcp(&shared, child, accepted);
            wanted.push(streams(ground, Self::NAME, "tcp", &socket.into(), connect));
        }
        for address in &config.listen_tls {
            let shared = self.shared.clone();
            let connect = move |child: &Child, accepted| tls(&shared, child, accepted);
            wanted.push(streams(ground, Self::NAME, "tls", &address.value, connect));
        }
        wanted
    }

    /// The children that no listener needs but that tell others of changes.
    async fn start_children(self: &Arc<Self>, tree: &Handle) -> Result<(), ServiceError> {
        let failed = |error: omnid_supervisor::AddError| ServiceError {
            service: Self::NAME,
            reason: error.to_string(),
        };
        let dns = self.clone();
        let handle = tree.clone();
        let notifier = ChildSpec::worker("notify", move |child: Child| {
            let (dns, handle) = (dns.clone(), handle.clone());
            async move { notify(child, &dns.queue, handle.wait_ready()).await }
        });
        let dns = self.clone();
        let publisher = ChildSpec::worker("publish", move |child: Child| {
            let dns = dns.clone();
            async move { dns.watch_published(&child).await }
        });
        let dns = self.clone();
        let handed = ChildSpec::worker("dot", move |child: Child| {
            let dns = dns.clone();
            async move { dns.serve_handed(&child).await }
        });
        let dns = self.clone();
        let upkeep = ChildSpec::worker("resolver", move |child: Child| {
            let dns = dns.clone();
            async move {
                let shared = &dns.shared;
                shared
                    .recursion
                    .upkeep(&child, &shared.ground.database)
                    .await
            }
        });
        tree.add(upkeep).await.map_err(failed)?;
        tree.add(notifier).await.map_err(failed)?;
        tree.add(publisher).await.map_err(failed)?;
        tree.add(handed).await.map_err(failed)
    }

    /// Merges what services publish as they publish it.
    async fn watch_published(&self, child: &Child) -> omnid_supervisor::ChildResult {
        let mut records = self.shared.ground.hub.records().watch();
        // What was published before anybody watched counts as well.
        records.mark_changed();
        child.ready();
        loop {
            tokio::select! {
                changed = records.changed() => if changed.is_err() { return Ok(()) },
                () = child.draining() => return Ok(()),
            }
            // Services start one after the other: one serial for all of them.
            tokio::time::sleep(SETTLE).await;
            records.mark_unchanged();
            let mut applied = self.applied.lock().await;
            self.publish_state(&mut applied).await;
        }
    }

    /// Serves connections that another service's port took in.
    async fn serve_handed(&self, child: &Child) -> omnid_supervisor::ChildResult {
        let taken = self
            .handed
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(receiver) = taken else {
            return Err(std::io::Error::other("the queue of connections is gone").into());
        };
        let mut handed = Returned {
            receiver: Some(receiver),
            home: &self.handed,
        };
        child.ready();
        loop {
            let next = async {
                match &mut handed.receiver {
                    Some(receiver) => receiver.recv().await,
                    None => None,
                }
            };
            tokio::select! {
                next = next => {
                    let Some((socket, context)) = next else { return Ok(()) };
                    let StreamContext { peer, listener, permit, .. } = context;
                    let (shared, own) = (self.shared.clone(), child.clone());
                    let span = tracing::info_span!("connection", %listener, %peer);
                    child.spawn("connection", span, async move {
                        let _permit = permit;
                        dot(shared, own, socket, peer, listener).await
                    });
                }
                () = child.draining() => return Ok(()),
            }
        }
    }
}

/// Puts a queue back where a restarted child finds it.
struct Returned<'a, T> {
    receiver: Option<mpsc::Receiver<T>>,
    home: &'a Mutex<Option<mpsc::Receiver<T>>>,
}

impl<T> Drop for Returned<'_, T> {
    fn drop(&mut self) {
        *self.home.lock().unwrap_or_else(PoisonError::into_inner) = self.receiver.take();
    }
}

/// Takes connections that negotiated `dot` on a port of another service.
struct Handler(mpsc::Sender<(TlsSocket, StreamContext)>);

impl StreamHandler for Handler {
    fn take(&self, stream: TlsSocket, context: StreamContext) {
        // A full queue closes the connection, as a full listen queue would.
        if self.0.try_send((stream, context)).is_err() {
            tracing::debug!("too many connections handed over at once");
        }
    }
}

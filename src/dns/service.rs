//! The service: its children, and the way from one configuration to the next.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use omnid_config::{ListenAddr, Problem, Problems};
use omnid_ground::{
    Change, Ground, ListenerClaim, ListenerSet, Prepare, Service, ServiceError, Transport, Wanted,
    datagrams, streams,
};
use omnid_supervisor::{Child, ChildSpec, Handle};
use serde_json::Value;
use tokio::sync::{Notify, Semaphore, mpsc};

use crate::catalog::Base;
use crate::check::{check_journal, report};
use crate::config::{self, Config};
use crate::control;
use crate::data::{self, Held, Loaded, MIGRATIONS, Serials};
use crate::engine::access::Access;
use crate::engine::catalog::Membership;
use crate::engine::cookie::CookieSecret;
use crate::engine::limit::{Limiter, Limits};
use crate::engine::state::{Settings, State};
use crate::engine::tsig::Keys;
use crate::engine::zones::{Rules, Served, ZoneId};
use crate::io::handed::{self, Handed};
use crate::io::{Https, MAX_SCRIPTED, Metrics, News, Shared, notify, tcp, tls, udp};
use crate::keeper::{MAX_ORDERS, Order, SharedHeld};
use crate::publish::Published;
use crate::resolver;
use crate::rules::{Compiled, compile};
use crate::secondary::{MAX_NUDGES, Nudge};
use crate::signing::Signer;
use crate::verbs;

/// The DNS service.
pub struct Dns {
    pub(crate) shared: Arc<Shared>,
    listeners: ListenerSet,
    pub(crate) serials: Serials,
    pub(crate) signer: Signer,
    /// Keys have changed, or the clock has.
    pub(crate) look_again: Notify,
    /// What the configuration says, as last applied.
    pub(crate) applied: tokio::sync::Mutex<Applied>,
    pub(crate) news: mpsc::Sender<News>,
    queue: tokio::sync::Mutex<mpsc::Receiver<News>>,
    pub(crate) orders: tokio::sync::Mutex<mpsc::Receiver<Order>>,
    pub(crate) nudges: mpsc::Sender<Nudge>,
    pub(crate) nudged: tokio::sync::Mutex<mpsc::Receiver<Nudge>>,
    pub(crate) made_up_secret: [u8; 16],
    tree: OnceLock<Handle>,
    handed: Handed,
}

/// A configuration and its zones.
#[derive(Default)]
pub(crate) struct Applied {
    /// With the zones that catalogs name.
    pub(crate) config: Option<Config>,
    pub(crate) zones: Vec<Arc<Loaded>>,
    pub(crate) rules: Compiled,
    /// Without them.
    pub(crate) base: Option<Base>,
    /// Zones that catalogs name.
    pub(crate) members: BTreeMap<ZoneId, Membership>,
    /// Zones that live by changes.
    pub(crate) held: HashMap<ZoneId, SharedHeld>,
    /// Zones as they are served.
    pub(crate) published: HashMap<ZoneId, Published>,
    /// Who has had how many responses; a reload that leaves the limits as they are forgets nothing.
    pub(crate) limiter: Option<Arc<Limiter>>,
}

/// A configuration whose zones are loaded and checked.
pub struct Prepared {
    pub(crate) config: Config,
    /// As many as the configuration has zones, in its order.
    pub(crate) zones: Vec<Arc<Loaded>>,
    pub(crate) rules: Compiled,
    pub(crate) resolver: Option<resolver::Plan>,
}

/// Changes of zones that wait to be told to secondaries.
const NEWS: usize = 1024;
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
        let rules = compile(config, problems);
        let section = config.resolver.as_ref();
        let resolver = section.and_then(|section| resolver::prepare(section, problems));
        for (id, zone) in config.zones() {
            let apex = id.name.clone();
            let Some(file) = &zone.file else {
                zones.push(Arc::new(Loaded::unknown(&apex)));
                continue;
            };
            let at = file.span;
            match data::load(&apex, &file.value) {
                Ok(loaded) => {
                    let data_dir = &context.server.data_dir;
                    check_journal(&id, zone, &loaded, data_dir, problems);
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
            rules,
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
        let members = serials.members().await.map_err(|error| ServiceError {
            service: Self::NAME,
            reason: format!("cannot read the members of its catalogs: {error}"),
        })?;
        let signer = Signer::open(ground.database.clone()).await;
        let signer = signer.map_err(|error| ServiceError {
            service: Self::NAME,
            reason: format!("cannot read the keys of its zones: {error}"),
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
        let (handler, handed) = handed::queue();
        let (nudges, nudged) = mpsc::channel(MAX_NUDGES);
        let (orders, taken) = mpsc::channel(MAX_ORDERS);
        ground.hub.alpn().offer("dot", &handler);
        let state = State::new(Vec::new(), &[], Keys::default(), Settings::default());
        let dns = Arc::new(Dns {
            shared: Arc::new(Shared {
                ground,
                state: ArcSwap::from_pointee(state),
                metrics: Metrics::default(),
                recursion,
                idle_ms: AtomicU64::new(30_000),
                certificates: AtomicBool::new(false),
                scripted: Arc::new(Semaphore::new(MAX_SCRIPTED)),
                orders,
            }),
            listeners: ListenerSet::default(),
            serials,
            signer,
            look_again: Notify::new(),
            applied: tokio::sync::Mutex::new(Applied {
                members,
                ..Applied::default()
            }),
            news,
            queue: tokio::sync::Mutex::new(queue),
            orders: tokio::sync::Mutex::new(taken),
            nudges,
            nudged: tokio::sync::Mutex::new(nudged),
            made_up_secret,
            tree: OnceLock::new(),
            handed,
        });
        let own = resolver::Own(Arc::downgrade(&dns.shared));
        dns.shared.recursion.ask_first(Arc::new(own));
        control::register(&dns);
        verbs::register(&dns);
        resolver::register(&dns, dns.shared.ground.hub.control());
        Ok(dns)
    }

    fn plan(&self, prepared: &Prepared) -> Vec<Change> {
        let Ok(applied) = self.applied.try_lock() else {
            return Vec::new();
        };
        let change = |name: &ZoneId, how| Change {
            what: format!("zone {name}"),
            how,
            connections: 0,
        };
        let base = applied.base.as_ref();
        let zones = base.map_or(&[][..], |base| &base.zones);
        let old = by_name(base.map(|base| &base.config), zones);
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
        let https = prepared.config.https.clone().map(|path| path.value);
        let idle = prepared.config.idle_timeout.as_millis() as u64;
        self.shared.idle_ms.store(idle, Ordering::Relaxed);
        let certificates = prepared.rules.certificates;
        self.shared
            .certificates
            .store(certificates, Ordering::Relaxed);
        self.shared.recursion.apply(prepared.resolver.as_ref());
        {
            let mut applied = self.applied.lock().await;
            applied.base = Some(Base {
                config: prepared.config,
                zones: prepared.zones,
            });
            applied.limiter = limiter(applied.limiter.take(), prepared.rules.limits.as_ref());
            applied.rules = prepared.rules;
            self.take_up(&mut applied);
            self.open_held(&mut applied).await?;
            if !self.follow_catalogs(&mut applied).await {
                self.publish_state(&mut applied).await;
            }
        }
        self.nudge(Nudge::Changed);
        let mounts = self.shared.ground.hub.mounts();
        mounts.withdraw(Self::NAME);
        if let Some(path) = &https {
            let https = Https(Arc::downgrade(&self.shared));
            mounts.offer(path, Self::NAME, Arc::new(https));
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
        let zones = zip(&prepared.config, &prepared.zones)
            .zip(&prepared.rules.zones)
            .map(|((id, zone, loaded), rules)| served(id, zone, loaded, rules));
        let views = &prepared.rules.views;
        let keys = prepared.rules.keys.clone();
        let settings = settings(&prepared.config, [0; 16]);
        let state = State::new(zones.collect(), views, keys, settings);
        control::rehearse(&state, question)
    }

    async fn close(self: &Arc<Self>) {
        self.shared.ground.hub.alpn().withdraw("dot");
        self.shared.ground.hub.mounts().withdraw(Self::NAME);
        self.shared.ground.hub.resolver().withdraw();
    }
}

fn by_name<'a>(
    config: Option<&'a Config>,
    zones: &'a [Arc<Loaded>],
) -> HashMap<ZoneId, &'a Arc<Loaded>> {
    let zones = config.into_iter().flat_map(|config| zip(config, zones));
    zones.map(|(id, _, loaded)| (id, loaded)).collect()
}

pub(crate) fn zip<'a>(
    config: &'a Config,
    zones: &'a [Arc<Loaded>],
) -> impl Iterator<Item = (ZoneId, &'a config::ZoneConfig, &'a Arc<Loaded>)> {
    let zones = config.zones().zip(zones);
    zones.map(|((id, zone), loaded)| (id, zone, loaded))
}

pub(crate) fn served(
    id: ZoneId,
    zone: &config::ZoneConfig,
    loaded: &Loaded,
    rules: &Arc<Rules>,
) -> Served {
    Served {
        zone: loaded.zone.clone(),
        view: id.view,
        history: Arc::default(),
        rules: rules.clone(),
        secondary: zone.is_secondary(),
        expired: zone.is_secondary(),
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
        recursion: Access::networks(
            config
                .resolver
                .iter()
                .flat_map(|section| section.allow.clone()),
        ),
        keepalive: u16::try_from(config.idle_timeout.as_millis() / 100).unwrap_or(u16::MAX),
        limiter: None,
    }
}

/// The running limiter, if it is the one wanted, or another.
fn limiter(running: Option<Arc<Limiter>>, wanted: Option<&Limits>) -> Option<Arc<Limiter>> {
    let wanted = wanted?;
    let same = running.filter(|running| running.limits() == wanted);
    Some(same.unwrap_or_else(|| {
        let mut key = [0; 16];
        crate::random(&mut key);
        Arc::new(Limiter::new(wanted.clone(), key))
    }))
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

/// Opens a zone that lives by changes.
fn open(
    id: &ZoneId,
    base: &Loaded,
    secondary: bool,
    data_dir: &std::path::Path,
) -> Result<Held, String> {
    let path = data::journal_path(data_dir, id);
    if !secondary {
        return Held::open(&base.zone, &base.file, &path).map_err(|error| error.to_string());
    }
    let file = data::copy_path(data_dir, id);
    // A copy that cannot be read is fetched anew.
    let copy = data::load(&id.name, &file).ok();
    let zone = copy.map_or_else(|| base.zone.clone(), |copy| copy.zone.clone());
    let opened = Held::open(&zone, &file, &path).or_else(|_| {
        forget(&path)?;
        Held::open(&base.zone, &file, &path)
    });
    opened.map_err(|error| error.to_string())
}

/// Removes a journal that goes with nothing any more.
fn forget(journal: &std::path::Path) -> std::io::Result<()> {
    match std::fs::remove_file(journal) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A zone that lives by changes goes on under another configuration: as it is, which is told by
/// none, or opened in another file.
fn take_over(
    running: &SharedHeld,
    id: &ZoneId,
    base: &Loaded,
    secondary: bool,
    data_dir: &std::path::Path,
) -> Result<Option<Held>, String> {
    let mut running = running.lock().unwrap_or_else(PoisonError::into_inner);
    let file = if secondary {
        data::copy_path(data_dir, id)
    } else {
        base.file.clone()
    };
    if running.file != file {
        // A zone that comes from other servers from now on begins its journal anew: the updates
        // that it has had belong in the operator's file. For another file of the operator's they
        // stay in the journal, which the configuration was checked against.
        if secondary {
            let synced = running.sync();
            synced
                .and_then(|()| forget(&data::journal_path(data_dir, id)))
                .map_err(|error| error.to_string())?;
        }
        return open(id, base, secondary, data_dir).map(Some);
    }
    if !secondary && let Err(error) = running.adopt() {
        tracing::warn!(zone = %id, %error, "the zone's file is not taken");
    }
    Ok(None)
}

impl Dns {
    /// Opens the journals of zones that have become ones that live by changes, or that do so in
    /// another file, and closes those of zones that are so no more.
    pub(crate) async fn open_held(&self, applied: &mut Applied) -> Result<(), ServiceError> {
        let Some(config) = &applied.config else {
            return Ok(());
        };
        let data_dir = self.shared.ground.database.data_dir().to_owned();
        let (mut held, mut failed) = (HashMap::new(), None);
        for (id, zone, loaded) in zip(config, &applied.zones) {
            if !zone.is_dynamic() && !zone.is_secondary() {
                continue;
            }
            let running = applied.held.remove(&id);
            let (base, secondary) = (loaded.clone(), zone.is_secondary());
            let (data_dir, name, kept) = (data_dir.clone(), id.clone(), running.clone());
            let take = move || match kept {
                Some(kept) => take_over(&kept, &name, &base, secondary, &data_dir),
                None => open(&name, &base, secondary, &data_dir).map(Some),
            };
            let taken = tokio::task::spawn_blocking(take).await;
            match taken.map_err(|error| error.to_string()).flatten() {
                Ok(Some(opened)) => {
                    held.insert(id, Arc::new(Mutex::new(opened)));
                }
                Ok(None) => held.extend(running.map(|running| (id, running))),
                // The other zones are looked after all the same, and this one as it was.
                Err(reason) => {
                    let reason = format!("zone {id}: {reason}");
                    failed.get_or_insert(ServiceError {
                        service: Self::NAME,
                        reason,
                    });
                    held.extend(running.map(|running| (id, running)));
                }
            }
        }
        applied.held = held;
        failed.map_or(Ok(()), Err)
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Name, file and zone of each zone as configured.
    pub(crate) async fn files(&self) -> Vec<(ZoneId, Arc<Loaded>)> {
        let applied = self.applied.lock().await;
        let config = applied.config.iter();
        let zones = config.flat_map(|config| zip(config, &applied.zones));
        zones.map(|(id, _, loaded)| (id, loaded.clone())).collect()
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
            async move { dns.handed.serve(&dns.shared, &child).await }
        });
        let dns = self.clone();
        let keeper = ChildSpec::worker("keeper", move |child: Child| {
            let dns = dns.clone();
            async move { dns.keep(&child).await }
        });
        let dns = self.clone();
        let secondaries = ChildSpec::worker("secondaries", move |child: Child| {
            let dns = dns.clone();
            async move { dns.watch_secondaries(&child).await }
        });
        tree.add(keeper).await.map_err(failed)?;
        tree.add(secondaries).await.map_err(failed)?;
        let dns = self.clone();
        let keys = ChildSpec::worker("keys", move |child: Child| {
            let dns = dns.clone();
            async move { dns.watch_keys(&child).await }
        });
        tree.add(keys).await.map_err(failed)?;
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

    /// Publishes what has become of the zones since.
    pub(crate) async fn publish_again(&self) {
        let mut applied = self.applied.lock().await;
        self.publish_state(&mut applied).await;
    }

    /// The servers of parent zones that are asked for DS records, by zone, and how often.
    pub(crate) async fn parental_agents(&self) -> Vec<(ZoneId, Vec<SocketAddr>, i64)> {
        let applied = self.applied.lock().await;
        let Some(config) = &applied.config else {
            return Vec::new();
        };
        let of = |(id, zone): (ZoneId, &config::ZoneConfig)| {
            let policy = config.policy.get(zone.dnssec.as_ref()?.value.as_str())?;
            let interval = i64::try_from(policy.parental_interval.as_secs()).ok()?;
            Some((id, policy.parental_agents.clone(), interval))
        };
        let zones = config.zones().filter_map(of);
        zones.filter(|(_, agents, _)| !agents.is_empty()).collect()
    }
}

//! The service: its children, and the way from one configuration to the next.

use std::{
    sync::{
        Arc, Mutex, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use omnid_config::{Problem, Problems};
use omnid_ground::{
    Change, Ground, ListenerClaim, ListenerSet, Prepare, Service, ServiceError, Transport as Kind,
    Wanted, datagrams, streams,
};
use omnid_hub::{Event, StreamContext, StreamHandler};
use omnid_identity::Address;
use omnid_net::{Accepted, TlsSocket};
use omnid_supervisor::{Child, ChildResult, ChildSpec, Handle};
use serde_json::Value;
use tokio::sync::{Mutex as AsyncMutex, mpsc};
use tracing::{info, warn};

use crate::{
    config::{self, Config},
    control, data,
    engine::{Extensions, Settings, Shared},
    io::{
        Connect, Connections, Core, run_outbound, run_timers, run_trunks, run_udp, serve_handed,
        serve_plain, serve_tls, unix_now,
    },
    records,
    wire::Transport,
};

/// Connections that wait to be made.
const CONNECTS: usize = 1024;
/// Connections that another service's port took in and that wait to be served.
const HANDED: usize = 256;
/// What a TLS client that speaks SIP names as its protocol.
const ALPN: &str = "sip/2";
/// The ids of handed connections; those of our own listeners are counted from 1.
const HANDED_IDS: u64 = 1 << 47;
/// How often changed registrations are written down, and how many users' at once.
const SAVE: Duration = Duration::from_millis(250);
const SAVED_AT_ONCE: usize = 500;
/// How long calls that ring may go on while the service stops.
const DRAIN: Duration = Duration::from_secs(10);

/// The SIP service.
pub struct Sip {
    core: Arc<Core>,
    listeners: ListenerSet,
    applied: Mutex<Option<Prepared>>,
    tree: OnceLock<Handle>,
    connects: Arc<AsyncMutex<mpsc::Receiver<Connect>>>,
    handed: Arc<AsyncMutex<mpsc::Receiver<(TlsSocket, StreamContext)>>>,
}

/// A checked configuration.
#[derive(Clone)]
pub struct Prepared {
    config: Config,
    settings: Settings,
    /// The host that records point to, and the domains they are published for.
    host: String,
    published: Vec<String>,
}

impl Service for Sip {
    const NAME: &'static str = "sip";

    type Config = Config;
    type Prepared = Prepared;

    fn prepare(
        config: &Config,
        context: &Prepare<'_>,
        problems: &mut Problems,
    ) -> Option<Prepared> {
        let before = problems.errors();
        if config.domains.is_empty() && context.domains.is_empty() {
            problems.push(
                Problem::absence("SIP has no domain to serve")
                    .at(config.place.span(), "no domain for this")
                    .help("name one in sip.domains, or give the server a [[domain]]"),
            );
        }
        if let Some(address) = config.listen_tls.first().filter(|_| !context.tls) {
            problems.push(
                Problem::absence("SIP over TLS needs a certificate, and [tls] names none")
                    .at(address.span, "a listener for TLS")
                    .help("set tls.certificates, or tls.self_signed = true for a test"),
            );
        }
        let settings = config::settings(config, context, problems);
        if problems.errors() > before {
            return None;
        }
        let published = context.domains.iter().filter(|domain| domain.publish);
        let published = published
            .map(|domain| domain.name.value.as_str().to_ascii_lowercase())
            .filter(|domain| settings.domains.contains(domain))
            .collect();
        Some(Prepared {
            host: context.server.hostname.as_str().to_owned(),
            config: config.clone(),
            settings,
            published,
        })
    }

    fn listeners(config: &Config) -> Vec<ListenerClaim> {
        let mut claims = ListenerClaim::all(Kind::Datagram, &config.listen);
        claims.extend(ListenerClaim::all(Kind::Stream, &config.listen));
        claims.extend(ListenerClaim::all(Kind::Stream, &config.listen_tls));
        claims
    }

    async fn open(ground: Ground) -> Result<Arc<Self>, ServiceError> {
        let failed = |what: &str, error: omnid_store::StoreError| ServiceError {
            service: Self::NAME,
            reason: format!("cannot {what}: {error}"),
        };
        let database = &ground.database;
        database
            .migrate(Self::NAME, data::MIGRATIONS)
            .await
            .map_err(|error| failed("bring its tables up to date", error))?;
        let mut fresh = [0; 32];
        aws_lc_rs::rand::fill(&mut fresh).map_err(|_| ServiceError {
            service: Self::NAME,
            reason: "the system gives no random numbers".to_owned(),
        })?;
        let key = data::key(database, fresh)
            .await
            .map_err(|error| failed("read its key", error))?;
        let registrations = data::load(database, unix_now())
            .await
            .map_err(|error| failed("read registrations", error))?;

        // A nonce's serial number was never given out before: what is made is one a nanosecond at
        // the very most.
        let shared = Shared::new(&key, nanoseconds());
        let restored = registrations.len();
        for (user, bindings) in registrations {
            shared.location.restore(user, bindings);
        }
        if restored > 0 {
            info!(users = restored, "registrations restored");
        }
        let (connect, connects) = mpsc::channel(CONNECTS);
        let (hand, handed) = mpsc::channel(HANDED);
        let handler: Arc<dyn StreamHandler> = Arc::new(Handler(hand));
        ground.hub.alpn().offer(ALPN, &handler);
        let core = Arc::new(Core::new(ground, shared, Connections::new(connect)));
        control::register(&core);
        Ok(Arc::new(Self {
            core,
            listeners: ListenerSet::default(),
            applied: Mutex::new(None),
            tree: OnceLock::new(),
            connects: Arc::new(AsyncMutex::new(connects)),
            handed: Arc::new(AsyncMutex::new(handed)),
        }))
    }

    fn plan(&self, prepared: &Prepared) -> Vec<Change> {
        let mut changes = Vec::new();
        if let Some(applied) = &*self.applied() {
            let domains = |prepared: &Prepared| prepared.settings.domains.clone();
            let (old, new) = (domains(applied), domains(prepared));
            let change = |domain: &String, how| Change {
                what: format!("domain {domain}"),
                how,
                connections: 0,
            };
            let added = new.iter().filter(|domain| !old.contains(domain));
            let removed = old.iter().filter(|domain| !new.contains(domain));
            changes.extend(added.map(|domain| change(domain, "added")));
            changes.extend(removed.map(|domain| change(domain, "removed")));
            let settings = |prepared: &Prepared| Config {
                listen: Vec::new(),
                listen_tls: Vec::new(),
                domains: Vec::new(),
                ..prepared.config.clone()
            };
            if settings(applied) != settings(prepared) {
                changes.push(Change {
                    what: "settings".to_owned(),
                    how: "changed live",
                    connections: 0,
                });
            }
        }
        let wanted = self.wanted(&prepared.config);
        changes.extend(self.listeners.plan(&wanted, self.tree.get()));
        changes
    }

    async fn apply(
        self: &Arc<Self>,
        prepared: Prepared,
        tree: &Handle,
    ) -> Result<(), ServiceError> {
        self.core.set_settings(prepared.settings.clone());
        self.core.set_idle(prepared.config.idle_timeout);
        let wanted = self.wanted(&prepared.config);
        *self.applied() = Some(prepared);
        if self.tree.set(tree.clone()).is_ok() {
            self.start_children(tree).await?;
        }
        self.listeners
            .apply(&self.core.ground, tree, wanted)
            .await?;
        self.core.learn_ports();
        self.core.trunks_changed.notify_one();
        let names = self.trunk_names();
        self.core.look_after_trunks(&names);
        // Domains may have come.
        learn_extensions(&self.core)
            .await
            .map_err(|error| ServiceError {
                service: Self::NAME,
                reason: format!("cannot read extensions: {error}"),
            })?;
        self.publish();
        Ok(())
    }

    fn rehearse(prepared: &Prepared, question: &Value) -> Result<Value, String> {
        control::rehearse(&prepared.settings, question)
    }

    async fn close(self: &Arc<Self>) {
        let hub = &self.core.ground.hub;
        hub.alpn().withdraw(ALPN);
        hub.records().withdraw(Self::NAME);
        if let Err(error) = self.save_all().await {
            warn!(%error, "registrations not written down");
        }
    }
}

impl Sip {
    fn wanted(&self, config: &Config) -> Vec<Wanted> {
        let ground = &self.core.ground;
        let sockets = std::thread::available_parallelism().map_or(1, usize::from);
        let mut wanted = Vec::new();
        let stream = |kind: &'static str, serve: fn(&Arc<Core>, &Child, Accepted)| {
            let core = self.core.clone();
            move |address| {
                let core = core.clone();
                let connect =
                    move |child: &Child, accepted: Accepted| serve(&core, child, accepted);
                streams(ground, Self::NAME, kind, address, connect)
            }
        };
        let (tcp, tls) = (stream("tcp", serve_plain), stream("tls", serve_tls));
        for address in &config.listen {
            if let Some(socket) = address.value.ip() {
                let core = self.core.clone();
                let run =
                    move |child: Child, socket| -> omnid_hub::BoxFuture<'static, ChildResult> {
                        Box::pin(run_udp(core.clone(), child, socket))
                    };
                wanted.extend(datagrams(ground, Self::NAME, "udp", socket, sockets, run));
            }
            wanted.push(tcp(&address.value));
        }
        for address in &config.listen_tls {
            wanted.push(tls(&address.value));
        }
        wanted
    }

    /// A Call-ID for each trunk, by which its answers are told.
    fn trunk_names(&self) -> Vec<String> {
        let trunks = &self.core.settings().trunks;
        let name = |at: usize| {
            let hasher = std::hash::RandomState::new();
            format!(
                "trunk-{:016x}",
                std::hash::BuildHasher::hash_one(&hasher, at)
            )
        };
        (0..trunks.len()).map(name).collect()
    }

    /// The children that are there whatever is listened on. They are started before the listeners,
    /// and so end after them.
    async fn start_children(self: &Arc<Self>, tree: &Handle) -> Result<(), ServiceError> {
        let core = self.core.clone();
        let timers = ChildSpec::worker("timers", move |child: Child| {
            let core = core.clone();
            async move { run_timers(core, child).await }
        });
        let sip = self.clone();
        let registrations = ChildSpec::worker("registrations", move |child: Child| {
            let sip = sip.clone();
            async move { sip.keep_registrations(&child).await }
        });
        let core = self.core.clone();
        let trunks = ChildSpec::worker("trunks", move |child: Child| {
            let core = core.clone();
            async move { run_trunks(core, child).await }
        });
        let core = self.core.clone();
        let accounts = ChildSpec::worker("accounts", move |child: Child| {
            let core = core.clone();
            async move { watch_accounts(&core, &child).await }
        });
        let (core, connects) = (self.core.clone(), self.connects.clone());
        let outbound = ChildSpec::worker("outbound", move |child: Child| {
            let (core, connects) = (core.clone(), connects.clone());
            async move { run_outbound(core, child, &connects).await }
        });
        let (core, handed) = (self.core.clone(), self.handed.clone());
        let alpn = ChildSpec::worker("alpn", move |child: Child| {
            let (core, handed) = (core.clone(), handed.clone());
            async move { take_handed(&core, &child, &handed).await }
        });
        for child in [
            timers,
            trunks,
            registrations,
            accounts,
            outbound.shutdown(DRAIN),
            alpn.shutdown(DRAIN),
        ] {
            tree.add(child).await.map_err(|error| ServiceError {
                service: Self::NAME,
                reason: error.to_string(),
            })?;
        }
        Ok(())
    }

    /// Tells the DNS what the domains' services are.
    fn publish(&self) {
        let Some(prepared) = self.applied().clone() else {
            return;
        };
        let running = self.core.settings();
        let port = |transport, port: u16| match port {
            // Left to the system: whichever it gave us.
            0 => running
                .ports
                .iter()
                .find(|(bound, _)| *bound == transport)
                .copied(),
            port => Some((transport, port)),
        };
        let mut ports = Vec::new();
        for address in &prepared.config.listen {
            let number = address.value.ip().map_or(0, |ip| ip.port());
            ports.extend(port(Transport::Udp, number));
            ports.extend(port(Transport::Tcp, number));
        }
        for address in &prepared.config.listen_tls {
            let number = address.value.ip().map_or(0, |ip| ip.port());
            ports.extend(port(Transport::Tls, number));
        }
        let published = self.core.ground.hub.records();
        published.withdraw(Self::NAME);
        for domain in &prepared.published {
            let records = records::records(domain, &prepared.host, &ports);
            published.publish(Self::NAME, domain, records);
        }
    }

    /// Writes registrations down as they change; those of many phones together while there are many.
    async fn keep_registrations(&self, child: &Child) -> ChildResult {
        child.ready();
        loop {
            tokio::select! {
                () = self.core.written.wanted() => {}
                // What nobody waits for, and what could not be written the last time.
                () = tokio::time::sleep(SAVE) => {}
                () = child.draining() => {
                    self.save_all().await?;
                    return Ok(());
                }
            }
            match self.save_all().await {
                Ok(()) => child.ready(),
                // They are in memory, and are written when the store is there again.
                Err(error) => {
                    self.core.written.failed();
                    child.degraded(format!("registrations not written down: {error}"));
                }
            }
        }
    }

    async fn save_all(&self) -> Result<(), omnid_store::StoreError> {
        loop {
            let batch = self.core.shared.location.take_unwritten(SAVED_AT_ONCE);
            let users: Vec<Address> = batch.users().cloned().collect();
            if users.is_empty() {
                return Ok(());
            }
            let core = self.core.clone();
            let bindings = move |user: &Address| core.shared.location.bindings(user);
            data::save(&self.core.ground.database, users, bindings).await?;
            if let Some(place) = batch.written() {
                self.core.written.reached(place);
            }
        }
    }

    fn applied(&self) -> std::sync::MutexGuard<'_, Option<Prepared>> {
        self.applied
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }
}

/// Ends what an account has here when it is changed or removed.
async fn watch_accounts(core: &Arc<Core>, child: &Child) -> ChildResult {
    let mut events = core.ground.hub.events().subscribe();
    learn_extensions(core).await?;
    child.ready();
    loop {
        let published = tokio::select! {
            published = events.next() => published,
            () = child.draining() => return Ok(()),
        };
        let Some(published) = published else {
            return Ok(());
        };
        let Event::Custom { topic, data } = &published.event else {
            continue;
        };
        if !topic.starts_with("account.") && !topic.starts_with("extension.") {
            continue;
        }
        core.shared.forget_secrets();
        learn_extensions(core).await?;
        let account = data.get("account").and_then(Value::as_str);
        if let Some(Ok(account)) = account.map(str::parse::<Address>)
            && matches!(topic.as_str(), "account.removed" | "account.disabled")
        {
            core.shared
                .location
                .update(&account, unix_now(), |bindings| {
                    bindings.clear();
                    (true, ())
                });
        }
    }
}

/// Learns which extensions there are.
async fn learn_extensions(core: &Core) -> Result<(), omnid_store::StoreError> {
    let mut all = Extensions::new();
    for domain in &core.settings().domains {
        for (number, account) in core.ground.identity.extensions(domain).await? {
            all.insert((domain.clone(), number), account);
        }
    }
    core.shared.set_extensions(all);
    Ok(())
}

/// Serves connections that another service's port took in.
async fn take_handed(
    core: &Arc<Core>,
    child: &Child,
    handed: &AsyncMutex<mpsc::Receiver<(TlsSocket, StreamContext)>>,
) -> ChildResult {
    static NEXT: AtomicU64 = AtomicU64::new(HANDED_IDS);
    let mut handed = handed.lock().await;
    child.ready();
    loop {
        let next = tokio::select! {
            next = handed.recv() => next,
            () = child.draining() => return Ok(()),
        };
        let Some((socket, context)) = next else {
            return Ok(());
        };
        let id = NEXT.fetch_add(1, Ordering::Relaxed);
        serve_handed(core, child, socket, context, id);
    }
}

struct Handler(mpsc::Sender<(TlsSocket, StreamContext)>);

impl StreamHandler for Handler {
    fn take(&self, stream: TlsSocket, context: StreamContext) {
        // A full queue closes the connection, as a full listen queue would.
        if self.0.try_send((stream, context)).is_err() {
            tracing::debug!("too many connections handed over at once");
        }
    }
}

fn nanoseconds() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

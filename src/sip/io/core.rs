//! The engines behind their locks, and what is done about what they decide.
//!
//! All messages of a call meet in one engine, which whoever took a message in locks for as long as
//! the decision takes: no task and no queue stands between a datagram and its answer.

use std::{
    collections::VecDeque,
    hash::{BuildHasher, RandomState},
    net::SocketAddr,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use omnid_ground::Ground;
use omnid_hub::Event;
use omnid_identity::{Address, Source};
use omnid_net::DatagramSocket;
use omnid_script::Hook;
use omnid_telemetry::limited;
use tokio::sync::Notify;
use tracing::{info, info_span};

use super::{
    connections::Connections,
    metrics::Metrics,
    outbox::{Outbox, outgoing},
    written::Written,
};
use crate::{
    engine::{Action, CallEvent, Engine, Flow, Key, Settings, Shared, Turn},
    wire::{Defect, Message, Transport},
};

/// Engines per processor: enough that two tasks seldom want the same one.
const SHARDS_PER_CORE: usize = 4;

/// The service's running state. It outlives every task.
pub(crate) struct Core {
    pub(crate) ground: Ground,
    pub(crate) shared: Shared,
    pub(crate) connections: Connections,
    pub(crate) metrics: Metrics,
    settings: ArcSwap<Settings>,
    /// How long a connection may lie idle, in milliseconds.
    idle: AtomicU64,
    shards: Box<[Shard]>,
    sockets: ArcSwap<Vec<DatagramSocket>>,
    /// Outboxes of tasks that send now and then.
    spare: Mutex<Vec<Outbox>>,
    hasher: RandomState,
    begin: Instant,
    /// When the timers will look next, in milliseconds since the beginning.
    wake_at: AtomicU64,
    pub(super) sooner: Notify,
    pub(crate) written: Written,
    /// Trunks have come or gone.
    pub(crate) trunks_changed: Notify,
}

struct Shard {
    engine: Mutex<Engine>,
    /// Its next deadline, in milliseconds since the beginning.
    deadline: AtomicU64,
}

impl Core {
    pub(crate) fn new(ground: Ground, shared: Shared, connections: Connections) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let begin = Instant::now();
        let shard = || Shard {
            engine: Mutex::new(Engine::new(begin)),
            deadline: AtomicU64::new(u64::MAX),
        };
        Self {
            ground,
            shared,
            connections,
            metrics: Metrics::default(),
            settings: ArcSwap::from_pointee(Settings::default()),
            idle: AtomicU64::new(u64::MAX),
            shards: std::iter::repeat_with(shard)
                .take(cores * SHARDS_PER_CORE)
                .collect(),
            sockets: ArcSwap::default(),
            spare: Mutex::default(),
            hasher: RandomState::new(),
            begin,
            wake_at: AtomicU64::new(u64::MAX),
            sooner: Notify::new(),
            written: Written::default(),
            trunks_changed: Notify::new(),
        }
    }

    /// The settings in force.
    pub(crate) fn settings(&self) -> Arc<Settings> {
        self.settings.load_full()
    }

    /// Puts settings in force; what is meant for the whole server is split between the engines.
    pub(crate) fn set_settings(&self, mut settings: Settings) {
        settings.transactions = settings.transactions.div_ceil(self.shards.len());
        settings.calls = settings.calls.div_ceil(self.shards.len());
        settings.ports = self.ports();
        self.settings.store(Arc::new(settings));
    }

    /// How long a connection may lie idle.
    pub(super) fn idle(&self) -> Duration {
        Duration::from_millis(self.idle.load(Ordering::Relaxed))
    }

    /// Sets how long a connection may lie idle.
    pub(crate) fn set_idle(&self, idle: Duration) {
        let millis = u64::try_from(idle.as_millis()).unwrap_or(u64::MAX);
        self.idle.store(millis, Ordering::Relaxed);
    }

    /// Learns at which ports we are listened to: a configuration may leave that to the system.
    pub(crate) fn learn_ports(&self) {
        let ports = self.ports();
        self.settings.rcu(|settings| {
            if settings.ports == ports {
                return settings.clone();
            }
            Arc::new(Settings {
                ports: ports.clone(),
                ..Settings::clone(settings)
            })
        });
    }

    fn ports(&self) -> Vec<(Transport, u16)> {
        let bound = self.ground.net.bound();
        let ports = bound.iter().filter_map(|bound| {
            let transport = bound.service.strip_prefix("sip ")?;
            let transport = Transport::from_bytes(transport.as_bytes())?;
            Some((transport, bound.address.ip()?.port()))
        });
        ports.collect()
    }

    /// A socket that datagrams can be sent from.
    pub(crate) fn add_socket(&self, socket: &DatagramSocket) {
        self.sockets.rcu(|sockets| {
            let mut sockets = Vec::clone(sockets);
            sockets.push(socket.clone());
            sockets
        });
        self.learn_ports();
    }

    /// One that they no longer can.
    pub(crate) fn remove_socket(&self, socket: &DatagramSocket) {
        self.sockets.rcu(|sockets| {
            let mut sockets = Vec::clone(sockets);
            let same = |other: &DatagramSocket| other.local_address() == socket.local_address();
            if let Some(at) = sockets.iter().position(same) {
                sockets.remove(at);
            }
            sockets
        });
        self.spare().clear();
    }

    /// A datagram, or a frame of a stream. False where it was no SIP at all.
    pub(crate) fn receive(
        self: &Arc<Self>,
        bytes: Bytes,
        flow: Flow,
        draining: bool,
        outbox: &mut Outbox,
    ) -> bool {
        let settings = self.settings.load();
        match Message::parse(bytes, &settings.limits) {
            Ok(message) => {
                self.metrics.received(&message);
                let shard = self.shard_of(message.call_id());
                let mut message = Some(message);
                let act = |engine: &mut Engine, turn: &mut Turn<'_>| {
                    if let Some(message) = message.take() {
                        engine.receive(message, flow, turn);
                    }
                };
                self.act(shard, draining, act, outbox);
                true
            }
            Err(rejected) => {
                self.metrics.malformed.inc();
                let peer = flow.remote;
                limited!(
                    Duration::from_secs(10),
                    info,
                    "message refused",
                    %peer,
                    reason = %rejected.defect
                );
                match &rejected.request {
                    Some(request) => {
                        self.refuse(request, rejected.defect, flow, outbox);
                        true
                    }
                    None => false,
                }
            }
        }
    }

    /// Answers a request that no element may accept.
    pub(crate) fn refuse(
        self: &Arc<Self>,
        request: &Message,
        defect: Defect,
        flow: Flow,
        outbox: &mut Outbox,
    ) {
        let shard = self.shard_of(request.call_id());
        let act = |engine: &mut Engine, turn: &mut Turn<'_>| {
            engine.refuse(request, defect, flow, turn);
        };
        self.act(shard, false, act, outbox);
    }

    /// What a transaction wanted sent could not be.
    pub(crate) fn failed(self: &Arc<Self>, shard: usize, key: Key) {
        self.with_outbox(|core, outbox| {
            core.act(
                shard,
                false,
                |engine, turn| engine.failed(key, turn),
                outbox,
            );
        });
    }

    /// Has trunks looked after, each by the engine that its answers come to.
    pub(crate) fn look_after_trunks(self: &Arc<Self>, names: &[String]) {
        let settings = self.settings();
        let mut by_shard: Vec<Vec<_>> = vec![Vec::new(); self.shards.len()];
        for (trunk, call_id) in settings.trunks.iter().zip(names) {
            if let Some(own) = by_shard.get_mut(self.shard_of(call_id.as_bytes())) {
                own.push((trunk.clone(), call_id.clone()));
            }
        }
        let known: Vec<&str> = settings.trunks.iter().map(|trunk| &*trunk.name).collect();
        self.shared.trunks.retain(&known);
        self.with_outbox(|core, outbox| {
            for (shard, trunks) in by_shard.into_iter().enumerate() {
                let act = |engine: &mut Engine, turn: &mut Turn<'_>| {
                    engine.look_after(trunks, turn);
                };
                core.act(shard, false, act, outbox);
            }
        });
    }

    /// Lets every engine see to its timers whose time has come; returns when to do so again.
    pub(super) fn expire(self: &Arc<Self>) -> Option<Instant> {
        // From here on whoever sets an earlier deadline says so.
        self.wake_at.store(u64::MAX, Ordering::SeqCst);
        let now = self.millis(Instant::now());
        self.with_outbox(|core, outbox| {
            for (index, shard) in core.shards.iter().enumerate() {
                if shard.deadline.load(Ordering::SeqCst) <= now {
                    core.act(index, false, Engine::expire, outbox);
                }
            }
        });
        let deadlines = self.shards.iter();
        let next = deadlines
            .map(|shard| shard.deadline.load(Ordering::SeqCst))
            .min()?;
        self.wake_at.store(next, Ordering::SeqCst);
        (next < u64::MAX).then(|| self.begin + Duration::from_millis(next))
    }

    /// What is seen to now and then.
    pub(super) fn sweep(self: &Arc<Self>, part: usize) {
        self.shared.location.sweep(part, unix_now());
        self.with_outbox(|core, outbox| {
            core.act(part % core.shards.len(), false, Engine::sweep, outbox);
        });
        let (mut transactions, mut calls) = (0, 0);
        self.each(|engine| {
            transactions += engine.transactions();
            calls += engine.calls().len();
        });
        let gauge = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        self.metrics.transactions.set(gauge(transactions));
        self.metrics.live_calls.set(gauge(calls));
        self.metrics
            .registrations
            .set(gauge(self.shared.location.len()));
    }

    /// Looks at every engine in turn.
    pub(crate) fn each(&self, mut look: impl FnMut(&Engine)) {
        for shard in &self.shards {
            look(&lock(&shard.engine));
        }
    }

    /// How many requests still wait for their final response.
    pub(crate) fn unanswered(&self) -> usize {
        let mut unanswered = 0;
        self.each(|engine| unanswered += engine.unanswered());
        unanswered
    }

    /// Lends an outbox to a task that has none of its own.
    pub(super) fn with_outbox<R>(
        self: &Arc<Self>,
        work: impl FnOnce(&Arc<Self>, &mut Outbox) -> R,
    ) -> R {
        let mut outbox = self.spare().pop().unwrap_or_default();
        let result = work(self, &mut outbox);
        outbox.flush(&self.metrics);
        let mut spare = self.spare();
        if spare.len() < 16 && outbox.is_current(&self.sockets.load()) {
            spare.push(outbox);
        }
        result
    }

    /// Has one engine act, and does what it decides.
    pub(super) fn act(
        self: &Arc<Self>,
        shard: usize,
        draining: bool,
        act: impl FnOnce(&mut Engine, &mut Turn<'_>),
        outbox: &mut Outbox,
    ) {
        let actions = self.turn(shard, draining, act);
        let mut pending: VecDeque<Action> = actions.into();
        while let Some(action) = pending.pop_front() {
            self.metrics.acted(&action);
            match action {
                Action::Send {
                    to,
                    bytes,
                    transaction,
                } => {
                    let outgoing = outgoing(bytes, shard, transaction);
                    let sockets = self.sockets.load();
                    let sent =
                        outbox.send(&sockets, &self.connections, &self.metrics, &to, outgoing);
                    if !sent && let Some(key) = transaction {
                        let failed = |engine: &mut Engine, turn: &mut Turn<'_>| {
                            engine.failed(key, turn);
                        };
                        pending.extend(self.turn(shard, draining, failed));
                    }
                }
                Action::Ask(ticket, question) => self.ask(shard, ticket, question),
                Action::Call(event) => self.report(event),
                Action::Login {
                    name,
                    source,
                    succeeded,
                } => {
                    let source = Source {
                        ip: source,
                        service: "sip",
                    };
                    match name.parse::<Address>() {
                        Ok(address) if succeeded => {
                            self.ground.identity.succeeded(&address, source);
                        }
                        _ => self.ground.identity.failed(&name, source),
                    }
                }
            }
        }
    }

    fn turn(
        &self,
        shard: usize,
        draining: bool,
        act: impl FnOnce(&mut Engine, &mut Turn<'_>),
    ) -> Vec<Action> {
        let Some(shard) = self.shards.get(shard) else {
            return Vec::new();
        };
        let settings = self.settings.load();
        let mut turn = Turn {
            shared: &self.shared,
            settings: &settings,
            now: Instant::now(),
            unix: unix_now(),
            scripted: self.ground.scripts.hooked(Hook::SipRequest),
            draining,
            alive: &|flow| self.connections.is_alive(flow),
            actions: Vec::new(),
        };
        let mut engine = lock(&shard.engine);
        act(&mut engine, &mut turn);
        let deadline = engine.deadline();
        let millis = deadline.map_or(u64::MAX, |deadline| self.millis(deadline) + 1);
        shard.deadline.store(millis, Ordering::SeqCst);
        drop(engine);
        if millis < self.wake_at.load(Ordering::SeqCst) {
            self.wake_at.store(millis, Ordering::SeqCst);
            self.sooner.notify_one();
        }
        turn.actions
    }

    fn report(&self, event: CallEvent) {
        let events = self.ground.hub.events();
        match event {
            CallEvent::Started { id, from, to } => {
                info_span!("call", call_id = id).in_scope(|| info!(from, to, "call placed"));
                events.publish(Event::CallStarted { call: id, from, to });
            }
            CallEvent::Answered { id, by } => {
                info_span!("call", call_id = id).in_scope(|| info!(by, "call answered"));
                events.publish(Event::CallAnswered { call: id });
            }
            CallEvent::Ended {
                id,
                from,
                to,
                by,
                outcome,
                talked,
            } => {
                let seconds = talked.as_secs();
                info_span!("call", call_id = id)
                    .in_scope(|| info!(from, to, by, outcome, seconds, "call ended"));
                events.publish(Event::CallEnded {
                    call: id,
                    from,
                    to,
                    outcome,
                    seconds,
                });
            }
        }
    }

    fn shard_of(&self, call_id: &[u8]) -> usize {
        self.hasher.hash_one(call_id) as usize % self.shards.len()
    }

    fn millis(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.begin);
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn spare(&self) -> MutexGuard<'_, Vec<Outbox>> {
        self.spare.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// An engine whose decision broke off is still consistent as far as each of its tables goes; the
/// message is lost, as if the network had lost it.
fn lock(engine: &Mutex<Engine>) -> MutexGuard<'_, Engine> {
    engine.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Seconds since 1970.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

/// The flow of what arrived.
pub(super) fn flow(
    transport: Transport,
    local: SocketAddr,
    remote: SocketAddr,
    connection: u64,
) -> Flow {
    let canonical =
        |address: SocketAddr| SocketAddr::new(address.ip().to_canonical(), address.port());
    Flow {
        transport,
        local: canonical(local),
        remote: canonical(remote),
        connection,
    }
}

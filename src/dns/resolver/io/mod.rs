//! The edge of the resolver: what listeners hand it, and what it hands back, at once or later.

mod clients;
mod face;
mod own;
mod pool;
mod sockets;
mod upkeep;

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use arc_swap::ArcSwapOption;
use omnid_ground::Ground;
use omnid_store::StoreError;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};

use super::engine::answer::{Answer, kind};
use super::engine::network::Local;
use super::engine::policy::Action;
use super::engine::settings::Settings;
use super::engine::{Ask, Memory, Pending, Resolver, is_sought};
use super::setup::Plan;
use crate::data::{COMPONENT, Kept, RESOLVER_MIGRATIONS, load_resolver};
use crate::engine::answer::{Answered, Client};
use crate::engine::state::{Settings as Serving, State};
use crate::wire::code::{Rcode, RrType};
use crate::wire::name::Name;
use crate::wire::query::Query;
use crate::wire::reader::flag;
use crate::wire::writer::Compression;
use clients::{Clients, Slot};
pub(crate) use own::Own;
use sockets::Sockets;

/// The resolver of a service: none while the configuration has none.
pub(crate) struct Recursion {
    running: ArcSwapOption<Running>,
    sockets: Arc<Sockets>,
    clients: Clients,
    /// The configuration that runs, so that what has not changed is left alone.
    applied: Mutex<Option<Plan>>,
    /// What outlives restarts, as it was kept.
    kept: Mutex<Kept>,
    /// This server's own zones.
    local: OnceLock<Arc<dyn Local>>,
    /// The configuration has changed.
    changed: Notify,
}

/// The resolver of a service, offered to the others.
pub(crate) async fn open(ground: &Ground) -> Result<Arc<Recursion>, StoreError> {
    let database = &ground.database;
    database.migrate(COMPONENT, RESOLVER_MIGRATIONS).await?;
    let kept = load_resolver(database).await?;
    let recursion = Arc::new(Recursion::with(kept));
    face::offer(&recursion, &ground.hub);
    Ok(recursion)
}

/// A resolver at work.
pub(crate) struct Running {
    pub(crate) resolver: Arc<Resolver>,
    questions: Arc<Semaphore>,
    /// For one client: at once, and a second.
    limits: (u32, u32),
}

/// What becomes of a question.
pub(crate) enum Quick {
    /// It is answered.
    Reply(Answered),
    /// It is being found out.
    Later(Box<Later>),
    /// There is too much to do.
    Drop,
}

/// A question that is being found out.
pub(crate) struct Later {
    pending: Pending,
    resolver: Arc<Resolver>,
    client: Client,
    message: Vec<u8>,
    /// An answer past its time, for a client that would wait too long.
    stale: Option<Arc<Answer>>,
    /// Its place among those of its client, and of all.
    place: (Slot, OwnedSemaphorePermit),
}

impl Recursion {
    fn new() -> Recursion {
        Recursion {
            running: ArcSwapOption::empty(),
            sockets: Arc::new(Sockets::new()),
            clients: Clients::default(),
            applied: Mutex::default(),
            kept: Mutex::default(),
            local: OnceLock::new(),
            changed: Notify::new(),
        }
    }

    /// With what an earlier run kept.
    fn with(kept: Kept) -> Recursion {
        let recursion = Recursion::new();
        recursion.remember(kept);
        recursion
    }

    /// Works by another configuration from now on. What was learned stays, unless its room changes.
    pub(crate) fn apply(&self, plan: Option<&Plan>) {
        let mut applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(plan) = plan else {
            self.running.store(None);
            *applied = None;
            return;
        };
        if applied.as_ref().is_some_and(|running| same(running, plan)) {
            return;
        }
        let size = plan.config.cache_size;
        let before = self.running.load_full();
        let keeps = applied
            .as_ref()
            .is_some_and(|old| old.config.cache_size == size && same_sources(old, plan));
        let memory = match before.filter(|_| keeps) {
            Some(before) => before.resolver.memory.clone(),
            None => Arc::new(Memory::new(size.as_usize())),
        };
        self.sockets.trust(&plan.authorities);
        let resolver = Arc::new(Resolver {
            settings: plan.settings.clone(),
            memory,
            network: self.sockets.clone(),
            local: self.local.get().cloned(),
        });
        self.running.store(Some(Arc::new(Running {
            resolver,
            questions: Arc::new(Semaphore::new(plan.config.max_questions as usize)),
            limits: (plan.config.max_per_client, plan.config.rate_per_client),
        })));
        *applied = Some(plan.clone());
        drop(applied);
        self.put_back();
        self.changed.notify_one();
    }

    /// Asks these zones before anybody else; said once, before the first configuration is applied.
    pub(crate) fn ask_first(&self, zones: Arc<dyn Local>) {
        // Twice the same zones are the same zones.
        self.local.get_or_init(|| zones);
    }

    /// The resolver that runs.
    pub(crate) fn running(&self) -> Option<Arc<Running>> {
        self.running.load_full()
    }

    /// Answers out of the cache, or says what to wait for.
    pub(crate) fn quick(
        &self,
        state: &State,
        client: &Client,
        times: (Instant, u32),
        message: &[u8],
        out: &mut [u8],
        names: &mut Compression,
    ) -> Quick {
        let (now, unix_time) = times;
        let running = self.running.load();
        let (Some(running), Ok(query)) = (&*running, Query::read(message)) else {
            return Quick::Drop;
        };
        let Some(question) = query.question else {
            return Quick::Drop;
        };
        let resolver = &running.resolver;
        let dnssec_ok = query.edns.is_some_and(|edns| edns.dnssec_ok);
        let checking_disabled = query.header.flags & flag::CD != 0;
        let rr_type = question.rr_type;
        let memory = &resolver.memory;
        let policy = &resolver.settings.policy;
        let mut unfiltered = false;
        if policy.has_clients()
            && let Some((_, action)) = policy.client(client.address)
        {
            if *action != Action::Pass {
                memory.counts.rewritten.fetch_add(1, Ordering::Relaxed);
                let answer = resolver.by_rule(action, question.name, rr_type, dnssec_ok);
                let serving = &state.settings;
                let len = answer.write(
                    now, unix_time, false, serving, client, &query, message, out, names,
                );
                return reply(len, &answer, rr_type);
            }
            unfiltered = true;
        }
        let ask = |refresh: bool| Ask {
            name: question.name.to_owned(),
            rr_type,
            dnssec_ok,
            checking_disabled,
            refresh,
            unfiltered,
        };
        if !is_sought(rr_type)
            && let Some(answer) = resolver.not_sought(&ask(false))
        {
            let serving = &state.settings;
            let len = answer.write(
                now, unix_time, false, serving, client, &query, message, out, names,
            );
            return reply(len, &answer, rr_type);
        }
        let key = kind(rr_type, dnssec_ok, checking_disabled) | u32::from(unfiltered) << 18;
        let known = memory.answers.get(question.name, key);
        if let Some(answer) = known.as_ref().filter(|answer| answer.is_fresh(now)) {
            memory.counts.hits.fetch_add(1, Ordering::Relaxed);
            self.renew(running, answer, (now, client), || ask(true));
            let serving = &state.settings;
            let len = answer.write(
                now, unix_time, false, serving, client, &query, message, out, names,
            );
            return reply(len, answer, rr_type);
        }
        memory.counts.misses.fetch_add(1, Ordering::Relaxed);
        let limited = || {
            memory.counts.limited.fetch_add(1, Ordering::Relaxed);
            Quick::Drop
        };
        let Some(slot) = self.clients.enter(client.address, now, running.limits) else {
            return limited();
        };
        let Ok(permit) = running.questions.clone().try_acquire_owned() else {
            return limited();
        };
        let stale = known.filter(|answer| may_be_stale(answer, &resolver.settings, now));
        let pending = resolver.answer(ask(false));
        Quick::Later(Box::new(Later {
            pending,
            resolver: resolver.clone(),
            client: client.clone(),
            message: message.to_vec(),
            stale,
            place: (slot, permit),
        }))
    }

    /// Fetches anew what is asked for in the last tenth of its time, as one more question of the
    /// client's: without a place for it, it is fetched when somebody has to wait for it.
    fn renew(
        &self,
        running: &Running,
        answer: &Answer,
        asked: (Instant, &Client),
        ask: impl Fn() -> Ask,
    ) {
        let (now, client) = asked;
        let resolver = &running.resolver;
        let old = u64::from(answer.age(now)) * 10 >= u64::from(answer.ttl) * 9;
        if !old || answer.ttl < 10 || !resolver.settings.prefetch || answer.stale {
            return;
        }
        if answer.renewing.swap(true, Ordering::Relaxed) {
            return;
        }
        let place = running.questions.clone().try_acquire_owned().ok();
        let place = place.and_then(|permit| {
            let slot = self.clients.enter(client.address, now, running.limits)?;
            Some((permit, slot))
        });
        let Some(place) = place else {
            answer.renewing.store(false, Ordering::Relaxed);
            return;
        };
        let counts = &resolver.memory.counts;
        counts.prefetched.fetch_add(1, Ordering::Relaxed);
        // It ends by itself: its time is part of the budget.
        let pending = resolver.answer(ask());
        tokio::spawn(async move {
            pending.await;
            drop(place);
        });
    }
}

fn reply(len: Option<usize>, answer: &Answer, rr_type: RrType) -> Quick {
    match len {
        Some(len) => Quick::Reply(Answered {
            len,
            rcode: answer.rcode,
            rr_type,
        }),
        None => Quick::Drop,
    }
}

/// Nothing in the configuration differs that the resolver sees.
fn same(left: &Plan, right: &Plan) -> bool {
    left.config == right.config
        && left.policy_digest == right.policy_digest
        && left.settings.hints.servers == right.settings.hints.servers
        && left.authorities.roots == right.authorities.roots
}

/// What was learned is as good under the other configuration.
fn same_sources(left: &Plan, right: &Plan) -> bool {
    let (one, other) = (&left.config, &right.config);
    one.forward == other.forward
        && one.zone == other.zone
        && one.port == other.port
        && left.settings.hints.servers == right.settings.hints.servers
        && left.settings.validate == right.settings.validate
        && left.settings.anchors == right.settings.anchors
        && left.settings.exempt == right.settings.exempt
        && (one.dns64 == other.dns64 && one.empty_zones == other.empty_zones)
        && (one.policy == other.policy && left.policy_digest == right.policy_digest)
}

fn may_be_stale(answer: &Answer, settings: &Settings, now: Instant) -> bool {
    let past = u64::from(answer.age(now).saturating_sub(answer.ttl));
    past < settings.stale.as_secs() && matches!(answer.rcode, Rcode::NOERROR | Rcode::NXDOMAIN)
}

impl Later {
    /// The answer, once it is known; one past its time, where that takes too long.
    pub(crate) async fn run(self, serving: &Serving, out: &mut Vec<u8>) -> Option<Answered> {
        let Later {
            pending,
            resolver,
            client,
            message,
            stale,
            place,
        } = self;
        let mut place = Some(place);
        let mut late = false;
        let answer = match stale {
            None => pending.await,
            Some(old) => {
                let wait = resolver.settings.stale_after;
                match tokio::time::timeout(wait, pending.clone()).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        resolver.memory.counts.stale.fetch_add(1, Ordering::Relaxed);
                        // The search goes on for those who ask next (RFC 8767 5), and keeps its
                        // place until it ends.
                        let place = place.take();
                        tokio::spawn(async move {
                            pending.await;
                            drop(place);
                        });
                        late = true;
                        old
                    }
                }
            }
        };
        let query = Query::read(&message).ok()?;
        let mut names = Box::<Compression>::default();
        out.resize(crate::io::MAX_MESSAGE, 0);
        let (now, unix_time) = (Instant::now(), crate::io::unix_time());
        let len = answer.write(
            now, unix_time, late, serving, &client, &query, &message, out, &mut names,
        )?;
        out.truncate(len);
        let rr_type = query
            .question
            .map_or(RrType(0), |question| question.rr_type);
        Some(Answered {
            len,
            rcode: answer.rcode,
            rr_type,
        })
    }

    /// The question, for the log.
    pub(crate) fn message(&self) -> &[u8] {
        &self.message
    }
}

impl Running {
    /// Drops what was learned about a name, or about it and all below it; gives how much that was.
    pub(crate) fn flush(&self, name: Option<&Name>, tree: bool) -> usize {
        let about = |known: &Name| match name {
            None => true,
            Some(name) if tree => known.as_ref().is_within(name.as_ref()),
            Some(name) => known == name,
        };
        self.resolver.flush(about)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::net::SocketAddr;
    use std::time::Duration;

    use futures_util::FutureExt;
    use futures_util::future::BoxFuture;

    use super::*;
    use crate::engine::answer::Transport;
    use crate::resolver::engine::Resolved;
    use crate::resolver::engine::network::{Carrier, Lost, Network, Outgoing};
    use crate::resolver::engine::tests::settings;

    /// Nobody answers, ever.
    struct Silence;

    impl Network for Silence {
        fn exchange<'a>(
            &'a self,
            _: SocketAddr,
            _: &'a Carrier,
            _: &'a Outgoing,
            _: Duration,
        ) -> BoxFuture<'a, Result<Vec<u8>, Lost>> {
            std::future::pending().boxed()
        }

        fn now(&self) -> Instant {
            Instant::now()
        }

        fn unix_time(&self) -> u64 {
            0
        }

        fn random(&self, octets: &mut [u8]) {
            octets.fill(0);
        }
    }

    /// What is fetched before anybody has to wait for it is a question like all others.
    #[tokio::test]
    async fn renewals_take_a_place() {
        let recursion = Recursion::new();
        let running = Running {
            resolver: Arc::new(Resolver {
                settings: settings(),
                memory: Arc::new(Memory::new(1 << 20)),
                network: Arc::new(Silence),
                local: None,
            }),
            questions: Arc::new(Semaphore::new(2)),
            limits: (1, 10),
        };
        let stored = Instant::now();
        let now = stored + Duration::from_secs(95);
        let renew = |name: &str, address: &str| {
            let ask = Ask {
                name: Name::from_text(name).unwrap(),
                rr_type: RrType::A,
                dnssec_ok: false,
                checking_disabled: false,
                refresh: true,
                unfiltered: false,
            };
            let answer = Answer::new(&ask, &Resolved::empty(100), stored);
            let client = Client::new(address.parse().unwrap(), Transport::Udp);
            recursion.renew(&running, &answer, (now, &client), || ask.clone());
            answer.renewing.load(Ordering::Relaxed)
        };
        assert!(renew("a.example.", "192.0.2.1"));
        assert!(!renew("b.example.", "192.0.2.1"), "all that the client has");
        assert!(renew("b.example.", "192.0.2.2"));
        assert_eq!(running.questions.available_permits(), 0);
        assert!(!renew("c.example.", "192.0.2.3"), "all that there are");
        let counts = &running.resolver.memory.counts;
        assert_eq!(counts.prefetched.load(Ordering::Relaxed), 2);
    }
}

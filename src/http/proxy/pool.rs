//! Idle connections to one upstream.

use std::{
    collections::HashMap,
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    Protocol, Target,
    link::{Busy, Link, Shared, connect, share},
};

/// Idle connections kept for one upstream.
const IDLE_MAX: usize = 128;
/// How long one is kept. Upstreams close theirs sooner or later; what they have closed is noticed
/// before it is used.
const IDLE_FOR: Duration = Duration::from_secs(60);
/// Streams on one HTTP/2 connection, and connections for more.
const STREAMS_MAX: usize = 100;
const SHARED_MAX: usize = 64;
/// Failed checks in a row that make an upstream sick.
const SICK_AFTER: u32 = 2;

/// Connections to one upstream, and how it is.
pub struct Pool {
    target: Target,
    protocol: Protocol,
    made: Instant,
    idle: Mutex<Vec<Idle>>,
    shared: Mutex<Vec<Arc<Shared>>>,
    /// Requests under way.
    active: AtomicUsize,
    /// Failures in a row.
    failures: AtomicU32,
    /// Milliseconds after `made` until which the upstream counts as out of reach.
    avoided_until: AtomicU64,
    /// Failed checks in a row, by the path that was asked for: routes to one address may lead to
    /// applications that are well and ill by themselves.
    sick: Mutex<HashMap<String, u32>>,
}

struct Idle {
    link: Link,
    since: Instant,
}

impl Pool {
    /// A pool without connections.
    #[must_use]
    pub fn new(target: Target, protocol: Protocol) -> Self {
        Self {
            target,
            protocol,
            made: Instant::now(),
            idle: Mutex::default(),
            shared: Mutex::default(),
            active: AtomicUsize::new(0),
            failures: AtomicU32::new(0),
            avoided_until: AtomicU64::new(0),
            sick: Mutex::default(),
        }
    }

    /// The upstream.
    #[must_use]
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// Idle connections, for the status page.
    #[must_use]
    pub fn idle(&self) -> usize {
        self.lock().len()
    }

    /// Requests under way.
    #[must_use]
    pub fn active(&self) -> usize {
        self.active.load(Ordering::Relaxed)
    }

    pub(super) fn count(&self) -> &AtomicUsize {
        &self.active
    }

    /// Whether it is to be asked only when no other is left. `check` is the path that tells how it
    /// is, where one does.
    #[must_use]
    pub fn is_avoided(&self, check: Option<&str>) -> bool {
        let sick = |path| {
            self.sick()
                .get(path)
                .is_some_and(|&sick| sick >= SICK_AFTER)
        };
        check.is_some_and(sick) || self.avoided_until.load(Ordering::Relaxed) > self.now()
    }

    /// It answered.
    pub(super) fn answered(&self) {
        if self.failures.load(Ordering::Relaxed) > 0 {
            self.failures.store(0, Ordering::Relaxed);
            self.avoided_until.store(0, Ordering::Relaxed);
        }
    }

    /// It did not answer, or could not be reached: after so many times in a row it is avoided for
    /// a while.
    pub(super) fn failed(&self, fails: u32, time: Duration) {
        let failures = self
            .failures
            .fetch_add(1, Ordering::Relaxed)
            .saturating_add(1);
        if failures >= fails {
            let until = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
            self.avoided_until
                .store(self.now().saturating_add(until), Ordering::Relaxed);
        }
    }

    /// A check was made. What changes is worth a line in the log.
    pub(super) fn checked(&self, path: &str, well: bool, reason: &str) {
        let target = &self.target;
        if well {
            let sick = self.sick().remove(path);
            if sick.is_some_and(|sick| sick >= SICK_AFTER) {
                tracing::info!(upstream = %target, check = path, "upstream is well again");
            }
            self.answered();
        } else {
            let mut all = self.sick();
            let sick = all.entry(path.to_owned()).or_default();
            *sick = sick.saturating_add(1);
            if *sick == SICK_AFTER {
                tracing::warn!(upstream = %target, check = path, reason, "upstream is not well");
            }
        }
    }

    /// A connection to ask how it is: over HTTP/2 one that there is, where there is one.
    pub(super) async fn for_check(self: &Arc<Self>, within: Duration) -> io::Result<Link> {
        let shared = match self.protocol {
            Protocol::H2c => self.reuse(),
            Protocol::Http1 => None,
        };
        match shared {
            Some(mut link) => {
                link.busy = None;
                Ok(link)
            }
            None => self.open(within, &[]).await,
        }
    }

    /// A connection that has carried requests and is still open. The one used last comes first:
    /// the rest then grow old and go.
    pub(super) fn reuse(self: &Arc<Self>) -> Option<Link> {
        let mut link = match self.protocol {
            Protocol::Http1 => loop {
                let Idle { mut link, since } = self.lock().pop()?;
                if since.elapsed() < IDLE_FOR && link.is_usable() {
                    link.reused = true;
                    break link;
                }
            },
            Protocol::H2c => {
                let mut shared = self.shared();
                shared.retain(|shared| !shared.is_closed());
                let ticket = shared
                    .iter()
                    .find_map(|shared| shared.ticket(STREAMS_MAX))?;
                Link::stream(ticket, true)
            }
        };
        link.busy = Some(Busy::new(self));
        Some(link)
    }

    /// A new connection, which counts as a request under way.
    pub(super) async fn connect(
        self: &Arc<Self>,
        within: Duration,
        preamble: &[u8],
    ) -> io::Result<Link> {
        let busy = Busy::new(self);
        let mut link = self.open(within, preamble).await?;
        link.single = !preamble.is_empty();
        link.busy = Some(busy);
        Ok(link)
    }

    /// A new connection.
    pub(super) async fn open(&self, within: Duration, preamble: &[u8]) -> io::Result<Link> {
        let stream = connect(&self.target, within, preamble).await?;
        match self.protocol {
            Protocol::Http1 => Link::http1(stream).await,
            Protocol::H2c => {
                let connection = share(stream).await?;
                let ticket = connection
                    .ticket(STREAMS_MAX)
                    .ok_or(io::ErrorKind::ConnectionReset)?;
                let mut shared = self.shared();
                shared.retain(|shared| !shared.is_closed());
                if shared.len() < SHARED_MAX {
                    shared.push(connection);
                }
                Ok(Link::stream(ticket, false))
            }
        }
    }

    /// Takes a connection back, if it can carry another request.
    pub(super) fn keep(&self, mut link: Link) {
        link.busy = None;
        if !link.is_usable() {
            return;
        }
        let mut idle = self.lock();
        let since = Instant::now();
        // The oldest stand at the front.
        let old = idle.partition_point(|idle| since.duration_since(idle.since) >= IDLE_FOR);
        let surplus = (idle.len() + 1).saturating_sub(IDLE_MAX);
        let gone: Vec<Idle> = idle.drain(..old.max(surplus)).collect();
        idle.push(Idle { link, since });
        drop(idle);
        drop(gone);
    }

    fn shared(&self) -> std::sync::MutexGuard<'_, Vec<Arc<Shared>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn sick(&self) -> std::sync::MutexGuard<'_, HashMap<String, u32>> {
        self.sick.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> u64 {
        u64::try_from(self.made.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Pool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("target", &self.target)
            .field("idle", &self.idle())
            .finish()
    }
}

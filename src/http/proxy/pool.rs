//! Idle connections to one upstream.

use std::{
    io,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Target, link::Link};

/// Idle connections kept for one upstream.
const IDLE_MAX: usize = 128;
/// How long one is kept. Upstreams close theirs sooner or later; what they have closed is noticed
/// before it is used.
const IDLE_FOR: Duration = Duration::from_secs(60);
/// How long an upstream that could not be reached is asked only when no other is left.
const AVOIDED_FOR: Duration = Duration::from_secs(10);

/// Connections to one upstream.
pub struct Pool {
    target: Target,
    made: Instant,
    idle: Mutex<Vec<Idle>>,
    /// Milliseconds after `made` until which the upstream counts as out of reach.
    avoided_until: AtomicU64,
}

struct Idle {
    link: Link,
    since: Instant,
}

impl Pool {
    /// A pool without connections.
    #[must_use]
    pub fn new(target: Target) -> Self {
        Self {
            target,
            made: Instant::now(),
            idle: Mutex::default(),
            avoided_until: AtomicU64::new(0),
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

    /// Whether it could not be reached a moment ago.
    #[must_use]
    pub fn is_avoided(&self) -> bool {
        self.avoided_until.load(Ordering::Relaxed) > self.now()
    }

    /// A connection that has carried requests and is still open. The one used last comes first:
    /// the rest then grow old and go.
    pub(super) fn reuse(&self) -> Option<Link> {
        loop {
            let Idle { mut link, since } = self.lock().pop()?;
            if since.elapsed() < IDLE_FOR && link.is_usable() {
                link.reused = true;
                return Some(link);
            }
        }
    }

    /// A new connection.
    pub(super) async fn connect(&self, within: Duration) -> io::Result<Link> {
        match Link::open(&self.target, within).await {
            Ok(link) => {
                self.avoided_until.store(0, Ordering::Relaxed);
                Ok(link)
            }
            Err(error) => {
                let until = u64::try_from(AVOIDED_FOR.as_millis()).unwrap_or(0);
                self.avoided_until
                    .store(self.now().saturating_add(until), Ordering::Relaxed);
                Err(error)
            }
        }
    }

    /// Takes a connection back, if it can carry another request.
    pub(super) fn keep(&self, mut link: Link) {
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

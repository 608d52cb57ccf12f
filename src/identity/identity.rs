//! The face of the crate, and what its parts share.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnid_config::IpNet;
use omnid_hub::{Event, Hub};
use omnid_store::{Database, StoreError};
use tokio::sync::Semaphore;

use crate::audit::{Audit, AuditEvent, Retention};
use crate::credentials::random;
use crate::data::{self, accounts};
use crate::engine::remembered::{Mark, Marker, Remembered};
use crate::engine::throttle::{self, Limits, Policy, Throttle};
use crate::moving::Lacking;
use crate::{Address, IdentityConfig};

/// Checks of passwords that may wait for a processor.
const HASHING_LINE: usize = 256;
/// How long each waits.
const HASHING_PATIENCE: Duration = Duration::from_secs(10);

/// Where a login comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The client's address.
    pub ip: IpAddr,
    /// The service that asks: `http`, `sip`, `xmpp`, …
    pub service: &'static str,
}

/// Accounts and logins; clones share them.
#[derive(Clone)]
pub struct Identity {
    pub(crate) inner: Arc<Inner>,
}

pub(crate) struct Inner {
    pub(crate) database: Database,
    pub(crate) hub: Hub,
    pub(crate) audit: Audit,
    pub(crate) iterations: NonZeroU32,
    pub(crate) password_length: usize,
    pub(crate) lock_time: Duration,
    /// What made-up verifiers are made from.
    pub(crate) secret: Vec<u8>,
    pub(crate) marker: Marker,
    /// Checks under way by what they check, so that a browser's six connections do one check.
    pub(crate) checking: Mutex<HashMap<Mark, Arc<tokio::sync::Mutex<()>>>>,
    throttle: Mutex<Throttle>,
    remembered: Mutex<Remembered>,
    lacking: Mutex<Arc<Lacking>>,
    uncounted: Vec<IpNet>,
    hashing: Arc<Semaphore>,
    hashing_line: AtomicUsize,
}

impl Identity {
    /// Brings the tables up to date and starts.
    pub async fn open(
        config: &IdentityConfig,
        database: Database,
        hub: Hub,
    ) -> Result<Self, StoreError> {
        database.migrate("identity", data::MIGRATIONS).await?;
        let fresh = random::<32>();
        let secret = database
            .write(move |tx| accounts::secret(tx, "pretend", &fresh))
            .await?;
        let lacking = database.read(accounts::lacking).await?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let retention = Retention {
            time: config.audit_retention,
            events: config.audit_events,
        };
        let limits = &config.throttle;
        let policy = Policy {
            account: Limits {
                free: limits.account_failures,
                lock: limits.account_lock,
            },
            source: Limits {
                free: limits.source_failures,
                lock: limits.source_lock,
            },
            longest_wait: limits.longest_wait,
            lock_time: limits.lock_time,
            forget_after: limits.forget_after,
        };
        Ok(Self {
            inner: Arc::new(Inner {
                audit: Audit::start(database.clone(), retention),
                database,
                hub,
                iterations: NonZeroU32::new(config.scram_iterations).unwrap_or(NonZeroU32::MIN),
                password_length: config.password_length as usize,
                lock_time: limits.lock_time,
                secret,
                marker: Marker::new(),
                checking: Mutex::default(),
                throttle: Mutex::new(Throttle::new(policy)),
                remembered: Mutex::new(Remembered::new(config.remember)),
                lacking: Mutex::new(Arc::new(lacking)),
                uncounted: limits.trusted.clone(),
                hashing: Arc::new(Semaphore::new(cores)),
                hashing_line: AtomicUsize::new(0),
            }),
        })
    }

    /// The last `limit` security events, the newest first.
    pub async fn audit(&self, limit: u32) -> Result<Vec<AuditEvent>, StoreError> {
        self.inner.audit.flush().await;
        self.inner
            .database
            .read(move |reader| data::audit::last(reader, limit))
            .await
    }

    /// Waits until every security event so far is written: before the database is closed.
    pub async fn flush(&self) {
        self.inner.audit.flush().await;
    }
}

impl Inner {
    pub(crate) fn throttle(&self) -> MutexGuard<'_, Throttle> {
        self.throttle.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn remembered(&self) -> MutexGuard<'_, Remembered> {
        self.remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn lacking(&self) -> Arc<Lacking> {
        let lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(&lacking)
    }

    /// Looks again at who lacks what, if anybody did. Nobody begins to while the daemon runs:
    /// whatever sets a password makes every verifier.
    pub(crate) async fn look_who_lacks(&self) {
        if self.lacking().is_empty() {
            return;
        }
        match self.database.read(accounts::lacking).await {
            Ok(now) => {
                *self.lacking.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(now);
            }
            Err(error) => tracing::warn!(%error, "verifiers not looked at"),
        }
    }

    /// The source as the throttle counts it.
    pub(crate) fn counted(&self, source: Source) -> Option<IpAddr> {
        let ip = source.ip.to_canonical();
        let uncounted = self.uncounted.iter().any(|net| net.contains(ip));
        (!uncounted).then(|| throttle::subnet(ip))
    }

    /// An account changed: what was concluded from how it was is void, here and, by the event, in
    /// whoever holds sessions of it.
    pub(crate) fn changed(&self, event: &'static str, address: &Address) {
        self.remembered().forget();
        tracing::info!(account = %address, event, "account changed");
        self.hub.events().publish(Event::Custom {
            topic: event.to_owned(),
            data: serde_json::json!({ "account": address }),
        });
    }

    /// Runs costly hashing off the runtime's workers, as many at once as there are processors.
    pub(crate) async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        struct Place<'a>(&'a AtomicUsize);
        impl Drop for Place<'_> {
            fn drop(&mut self) {
                self.0.fetch_sub(1, Ordering::Relaxed);
            }
        }
        let before = self.hashing_line.fetch_add(1, Ordering::Relaxed);
        let _place = Place(&self.hashing_line);
        if before >= HASHING_LINE {
            return Err(StoreError::Busy("too many passwords are being checked"));
        }
        let wait = Arc::clone(&self.hashing).acquire_owned();
        let permit = tokio::time::timeout(HASHING_PATIENCE, wait)
            .await
            .map_err(|_| StoreError::Busy("too many passwords are being checked"))?
            .map_err(|_| StoreError::Closed)?;
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Closed)
    }
}

pub(crate) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

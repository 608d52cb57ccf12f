//! The audit log: kept in the database, written behind the logins' backs.
//!
//! A login does not wait for its record. Records go through a bounded queue to one task, which
//! writes what has gathered in one transaction; when the queue is full, records are lost and that
//! is recorded.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use omnid_store::{Database, StoreError};
use tokio::sync::{mpsc, oneshot};

use crate::data;
use crate::identity::unix_now;

/// Records that may wait to be written.
const QUEUE: usize = 4096;
/// Records of one transaction.
const GROUP: usize = 256;
/// Old records are removed after so many new ones.
const TRIM_EVERY: u64 = 1000;
/// Logins of the same account, source and service are recorded once in this time: a telephone
/// registers every minute.
const SAME: Duration = Duration::from_secs(10 * 60);
/// Logins that are remembered for that.
const REMEMBERED: usize = 10_000;

/// One security event.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct AuditEvent {
    /// Seconds since 1970.
    pub at: i64,
    /// What happened: `login`, `login.failed`, `lockout`, `account.created`, …
    pub event: String,
    /// To whom: an account, or the name that was tried, or a source.
    pub subject: String,
    /// The client's address.
    pub source: Option<String>,
    /// The service that was asked.
    pub service: Option<String>,
    /// Anything else worth knowing.
    pub detail: Option<String>,
}

impl AuditEvent {
    pub(crate) fn now(event: &str, subject: &str) -> Self {
        Self {
            at: unix_now(),
            event: event.to_owned(),
            // PostgreSQL's text has no NUL, and a peer may send anything as a name.
            subject: subject.chars().filter(|c| *c != '\0').take(320).collect(),
            source: None,
            service: None,
            detail: None,
        }
    }

    pub(crate) fn from(self, source: IpAddr, service: &str) -> Self {
        Self {
            source: Some(source.to_string()),
            service: Some(service.to_owned()),
            ..self
        }
    }

    pub(crate) fn detail(self, detail: impl Into<String>) -> Self {
        Self {
            detail: Some(detail.into()),
            ..self
        }
    }
}

/// How much is kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Retention {
    pub(crate) time: Duration,
    pub(crate) events: u32,
}

enum Record {
    Event(AuditEvent),
    /// An app password was used.
    Used(i64),
    Flush(oneshot::Sender<()>),
}

/// Account, source and service.
type Login = (Box<str>, IpAddr, &'static str);

/// The way into the log.
pub(crate) struct Audit {
    queue: mpsc::Sender<Record>,
    lost: Arc<AtomicU64>,
    logins: Mutex<HashMap<Login, Instant>>,
}

impl Audit {
    pub(crate) fn start(database: Database, retention: Retention) -> Self {
        let (queue, records) = mpsc::channel(QUEUE);
        let lost = Arc::new(AtomicU64::new(0));
        tokio::spawn(run(database, records, retention, Arc::clone(&lost)));
        Self {
            queue,
            lost,
            logins: Mutex::default(),
        }
    }

    pub(crate) fn record(&self, event: AuditEvent) {
        self.send(Record::Event(event));
    }

    pub(crate) fn app_password_used(&self, id: i64) {
        self.send(Record::Used(id));
    }

    /// Records a login, unless the same was recorded a moment ago.
    pub(crate) fn login(&self, account: &str, source: IpAddr, service: &'static str) {
        let now = Instant::now();
        {
            let mut logins = self.logins.lock().unwrap_or_else(PoisonError::into_inner);
            if logins.len() >= REMEMBERED {
                logins.clear();
            }
            let key = (account.into(), source, service);
            if logins
                .get(&key)
                .is_some_and(|since| now.duration_since(*since) < SAME)
            {
                return;
            }
            logins.insert(key, now);
        }
        self.record(AuditEvent::now("login", account).from(source, service));
    }

    /// Waits until everything recorded before is written.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.queue.send(Record::Flush(done)).await.is_ok() {
            // An error means that the task is gone, and nothing waits any more.
            written.await.ok();
        }
    }

    fn send(&self, record: Record) {
        if self.queue.try_send(record).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

async fn run(
    database: Database,
    mut records: mpsc::Receiver<Record>,
    retention: Retention,
    lost: Arc<AtomicU64>,
) {
    let mut since_trim = TRIM_EVERY;
    let mut group = Vec::new();
    while records.recv_many(&mut group, GROUP).await > 0 {
        let (mut events, mut used, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for record in group.drain(..) {
            match record {
                Record::Event(event) => events.push(event),
                Record::Used(id) => used.push(id),
                Record::Flush(done) => waiting.push(done),
            }
        }
        match lost.swap(0, Ordering::Relaxed) {
            0 => {}
            n => events.push(AuditEvent::now("audit.lost", "").detail(format!("{n} records"))),
        }
        since_trim += events.len() as u64;
        if !(events.is_empty() && used.is_empty())
            && let Err(error) = write(&database, events, used).await
        {
            tracing::error!(%error, "security events could not be recorded");
        }
        if since_trim >= TRIM_EVERY {
            since_trim = 0;
            if let Err(error) = trim(&database, retention).await {
                tracing::warn!(%error, "old security events could not be removed");
            }
        }
        for done in waiting {
            done.send(()).ok();
        }
    }
}

async fn write(
    database: &Database,
    events: Vec<AuditEvent>,
    used: Vec<i64>,
) -> Result<(), StoreError> {
    let now = unix_now();
    database
        .write(move |tx| {
            for event in &events {
                data::audit::insert(tx, event)?;
            }
            for id in &used {
                data::app_passwords::used(tx, *id, now)?;
            }
            Ok(())
        })
        .await
}

async fn trim(database: &Database, retention: Retention) -> Result<u64, StoreError> {
    let time = i64::try_from(retention.time.as_secs()).unwrap_or(i64::MAX);
    let before = unix_now().saturating_sub(time);
    database
        .write(move |tx| data::audit::trim(tx, before, retention.events))
        .await
}

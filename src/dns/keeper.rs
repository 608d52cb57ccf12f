//! What changes zones while they are served: updates, and the operator's freeze, thaw and sync.
//! One change after the other, and each on the disk before anybody is told of it.

use std::sync::{Arc, Mutex, PoisonError};

use omnid_supervisor::{Child, ChildResult};
use tokio::sync::oneshot;
use tracing::{info, warn};

use crate::data::Held;
use crate::engine::answer::log_update_refused;
use crate::engine::change::Change;
use crate::engine::deferred::{Deferred, Request};
use crate::engine::policy::Requester;
use crate::engine::update::{self, Update};
use crate::engine::zone::Zone;
use crate::engine::zones::ZoneId;
use crate::service::{Applied, Dns};
use crate::wire::code::Rcode;
use crate::wire::name::{Name, NameRef};

/// A zone with its journal, as tasks share it.
pub(crate) type SharedHeld = Arc<Mutex<Held>>;

/// A request that a listener hands over, and where the code for its response goes.
pub(crate) struct Order {
    pub(crate) deferred: Box<Deferred>,
    pub(crate) answer: oneshot::Sender<Rcode>,
}

/// Requests that wait at one time; those beyond are told to try again.
pub(crate) const MAX_ORDERS: usize = 1024;

impl Dns {
    /// Carries out what listeners hand over. Orders outlive a restart of the child in their queue.
    pub(crate) async fn keep(&self, child: &Child) -> ChildResult {
        let mut orders = self.orders.lock().await;
        child.ready();
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some(Order { deferred, answer }) = order else { return Ok(()) };
                    let rcode = match deferred.request {
                        Request::Update => self.update(&deferred).await,
                        Request::Notify => self.heard(&deferred),
                    };
                    // Who asked may have gone; what was asked for is done all the same.
                    if answer.send(rcode).is_err() {
                        tracing::debug!(zone = %deferred.zone, "nobody waits for the answer");
                    }
                }
                () = child.draining() => return Ok(()),
            }
        }
    }

    async fn update(&self, deferred: &Deferred) -> Rcode {
        let Ok(update) = Update::read(&deferred.message) else {
            return Rcode::FORMERR;
        };
        let mut applied = self.applied.lock().await;
        let state = self.shared.state.load_full();
        let served = state.served(&deferred.zone);
        let held = applied.held.get(&deferred.zone).cloned();
        let (Some(served), Some(held)) = (served, held) else {
            return Rcode::NOTAUTH;
        };
        let (rules, zone) = (served.rules.clone(), served.id());
        let key = deferred.key().map(NameRef::to_owned);
        let address = deferred.client.address;
        let work = move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            let requester = Requester {
                address,
                key: key.as_ref().map(Name::as_ref),
            };
            if held.frozen {
                log_update_refused(&zone, &requester, Rcode::REFUSED, "the zone is frozen");
                return Err(Rcode::REFUSED);
            }
            match update::run(&held.zone, &update, &rules.update, &requester) {
                update::Outcome::Unchanged => Ok(None),
                update::Outcome::Refused(rcode, reason) => {
                    log_update_refused(&zone, &requester, rcode, &reason);
                    Err(rcode)
                }
                update::Outcome::Changed(after, change) => {
                    let after = Arc::<Zone>::from(after);
                    let committed = held.commit(std::slice::from_ref(&change), after.clone());
                    if let Err(error) = committed {
                        warn!(%zone, %error, "update not taken: the journal cannot be written");
                        return Err(Rcode::SERVFAIL);
                    }
                    info!(%zone, %requester, serial = change.to, removed = change.removed.len() - 1,
                        added = change.added.len() - 1, "zone updated");
                    if held.is_long()
                        && let Err(error) = held.sync()
                    {
                        warn!(%zone, %error, "the zone's file cannot be written");
                    }
                    Ok(Some((after, change)))
                }
            }
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(None)) => Rcode::NOERROR,
            Ok(Ok(Some((own, change)))) => {
                let id = deferred.zone.clone();
                self.publish_zone(&mut applied, &id, &own, Some(Arc::new(change)))
                    .await;
                Rcode::NOERROR
            }
            Ok(Err(rcode)) => rcode,
            Err(error) => {
                warn!(zone = %deferred.zone, %error, "update failed");
                Rcode::SERVFAIL
            }
        }
    }

    /// Does something with the zone of an update or a transfer, and publishes what comes of it.
    pub(crate) async fn with_held(
        &self,
        id: &ZoneId,
        work: impl FnOnce(&mut Held) -> Result<Option<Change>, String> + Send + 'static,
    ) -> Result<(), String> {
        let mut applied = self.applied.lock().await;
        self.with_held_in(&mut applied, id, work).await
    }

    async fn with_held_in(
        &self,
        applied: &mut Applied,
        id: &ZoneId,
        work: impl FnOnce(&mut Held) -> Result<Option<Change>, String> + Send + 'static,
    ) -> Result<(), String> {
        let held = applied.held.get(id).cloned();
        let held =
            held.ok_or_else(|| format!("{id} is not a zone that updates or transfers change"))?;
        let work = move || {
            let mut held = held.lock().unwrap_or_else(PoisonError::into_inner);
            watched(&mut held, work)
        };
        let (after, done) = tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| error.to_string())?;
        let (change, result) = match done {
            Ok(change) => (change, Ok(())),
            Err(reason) => (None, Err(reason)),
        };
        if let Some(own) = after {
            self.publish_zone(applied, id, &own, change.map(Arc::new))
                .await;
        }
        result
    }
}

/// Does something with a zone; gives what has become of it, if anything has. That is to be served
/// also where something went wrong behind the change: nothing would look at it again.
pub(crate) fn watched<R>(
    held: &mut Held,
    work: impl FnOnce(&mut Held) -> R,
) -> (Option<Arc<Zone>>, R) {
    let before = held.zone.clone();
    let done = work(held);
    let after = held.zone.clone();
    ((!Arc::ptr_eq(&before, &after)).then_some(after), done)
}

//! What the resolver does by itself: looks after trust anchors, and keeps what is to outlive it.

use std::sync::PoisonError;
use std::time::Duration;

use omnid_store::Database;
use omnid_supervisor::{Child, ChildResult};
use tracing::{info, warn};

use super::Recursion;
use crate::data::{self, Kept};
use crate::resolver::engine::anchors::Exemption;
use crate::wire::name::Name;

/// Bounds of the time between two looks at an anchor's keys (RFC 5011 2.3).
const LOOK: (Duration, Duration) = (Duration::from_secs(3600), Duration::from_secs(15 * 86_400));
/// The time to the next look where one failed, at first.
const RETRY: Duration = Duration::from_secs(60);

impl Recursion {
    /// Takes in what an earlier run kept.
    pub(crate) fn remember(&self, kept: Kept) {
        *self.kept.lock().unwrap_or_else(PoisonError::into_inner) = kept;
    }

    /// Gives the resolver that runs now what was kept.
    pub(super) fn put_back(&self) {
        let Some(running) = self.running() else {
            return;
        };
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let memory = &running.resolver.memory;
        let mut exempt = memory.exempt.lock().unwrap_or_else(PoisonError::into_inner);
        exempt.clone_from(&kept.exempt);
        drop(exempt);
        let follows = self.follows();
        let mut managed = memory
            .managed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        managed.clear();
        let anchors = &running.resolver.settings.anchors;
        for (zone, state) in kept.anchors.iter().filter(|_| follows) {
            // An anchor that the configuration names no more is none, and keys of which it now
            // names others have to be begun with anew.
            let anchor = anchors.iter().find(|anchor| anchor.zone == *zone);
            if anchor.is_some_and(|anchor| anchor.vouches_for(state)) {
                managed.insert(zone.clone(), state.clone());
            }
        }
    }

    fn follows(&self) -> bool {
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        applied
            .as_ref()
            .is_some_and(|plan| plan.config.trust_anchor_rollover && plan.config.validation)
    }

    /// Looks after the trust anchors until it is to stop.
    pub(crate) async fn upkeep(&self, child: &Child, database: &Database) -> ChildResult {
        child.ready();
        loop {
            let wait = if self.follows() {
                self.look_at_anchors(database).await
            } else {
                LOOK.1
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = self.changed.notified() => {}
                () = child.draining() => return Ok(()),
            }
        }
    }

    /// Looks at the keys of every anchor; the time to the next look.
    async fn look_at_anchors(&self, database: &Database) -> Duration {
        let Some(running) = self.running() else {
            return LOOK.1;
        };
        let resolver = &running.resolver;
        let mut wait = LOOK.1;
        for anchor in resolver.settings.anchors.iter() {
            let zone = &anchor.zone;
            match resolver.look_at_anchor(anchor).await {
                Ok((state, ttl)) => {
                    let next = Duration::from_secs(u64::from(ttl) / 2).clamp(LOOK.0, LOOK.1);
                    wait = wait.min(next);
                    let before = {
                        let managed = resolver.memory.managed.lock();
                        let mut managed = managed.unwrap_or_else(PoisonError::into_inner);
                        managed.insert(zone.clone(), state.clone())
                    };
                    if before.as_ref() == Some(&state) {
                        continue;
                    }
                    for key in &state.keys {
                        let tag = crate::dnssec::key_tag(&key.data);
                        info!(%zone, tag, state = key.state.word(), "trust anchor");
                    }
                    {
                        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                        kept.anchors.retain(|(name, _)| name != zone);
                        kept.anchors.push((zone.clone(), state.clone()));
                    }
                    if let Err(error) = data::keep_anchor(database, zone, state).await {
                        warn!(%zone, %error, "the state of a trust anchor cannot be kept");
                    }
                }
                Err(reason) => {
                    wait = wait.min(RETRY);
                    info!(%zone, reason, "the keys of a trust anchor cannot be looked at");
                }
            }
        }
        wait
    }

    /// Exempts a name from validation, or validates it again.
    pub(crate) async fn exempt(
        &self,
        database: &Database,
        name: &Name,
        exemption: Option<Exemption>,
    ) -> Result<bool, omnid_store::StoreError> {
        data::keep_exempt(database, name, exemption.clone()).await?;
        let known = {
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            let before = kept.exempt.len();
            kept.exempt.retain(|known| known.name != *name);
            let known = kept.exempt.len() < before;
            kept.exempt.extend(exemption);
            known
        };
        self.put_back();
        // What was judged before was judged by other rules.
        if let Some(running) = self.running() {
            running.flush(Some(name), true);
        }
        Ok(known)
    }

    /// The names exempt from validation for a time.
    pub(crate) fn exemptions(&self) -> Vec<Exemption> {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        kept.exempt.clone()
    }
}

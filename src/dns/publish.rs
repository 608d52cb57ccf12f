//! From what a zone is to what is served of it. Every version of every zone goes out through
//! [`Dns::published_version`]: the zone's own records, then what services publish in it, then its
//! signatures, then the change that tells secondaries.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};

use omnid_hub::{Event, Record};
use tracing::{info, warn};

use crate::config::{Config, ZoneConfig};
use crate::data::merge;
use crate::engine::change::{Change, is_later};
use crate::engine::history::History;
use crate::engine::state::State;
use crate::engine::tsig::Key;
use crate::engine::zone::Zone;
use crate::engine::zones::{Served, ZoneId};
use crate::io::News;
use crate::keeper::SharedHeld;
use crate::service::{Applied, Dns, served, settings, zip};

/// A version of a zone: as it stands in its file, journal or transfer, and as it is served.
#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// The zone's own records.
    pub(crate) own: Arc<Zone>,
    /// With what services publish in it, and not signed.
    pub(crate) unsigned: Arc<Zone>,
    /// What is served.
    pub(crate) zone: Arc<Zone>,
    /// How what is served came to be what it is.
    pub(crate) history: Arc<History>,
}

impl Dns {
    /// Makes a new snapshot of what was applied and what is published, and swaps it in. Zones that
    /// have not changed stay the same objects.
    pub(crate) async fn publish_state(&self, applied: &mut Applied) {
        let Some(config) = &applied.config else {
            return;
        };
        let before = self.shared.state.load_full();
        let mut records = self.published(config);
        let (mut zones, mut published, mut changed) = (Vec::new(), HashMap::new(), Vec::new());
        let rules = applied.rules.zones.iter();
        for ((id, zone, loaded), rules) in zip(config, &applied.zones).zip(rules) {
            let mut served = served(id.clone(), zone, loaded, rules);
            let held = applied.held.get(&id);
            let (own, restored) =
                held.map_or_else(|| (loaded.zone.clone(), Vec::new()), version_of);
            // A secondary without a copy, or whose copy is too old, has nothing to be served.
            served.expired = zone.is_secondary() && !self.is_valid(&id, &own);
            let records = records.remove(&id).unwrap_or_default();
            let kept = applied.published.get(&id);
            let version = if served.expired {
                None
            } else {
                self.published_version(config, (&id, zone), &own, None, &records, kept)
                    .await
            };
            let Some(mut version) = version else {
                served.expired = true;
                served.zone = Arc::new(Zone::unknown(own.apex()));
                zones.push(served);
                continue;
            };
            if kept.is_none() {
                // What the journal knows of the last changes outlives a restart, where the zone is
                // served as it stands there.
                version.history = restore(&version, restored);
            }
            served.zone = version.zone.clone();
            served.history = version.history.clone();
            let running = before.served(&id).map(|running| &running.zone);
            published.insert(id, version);
            if running.is_none_or(|running| !Arc::ptr_eq(running, &served.zone)) {
                let old = running.map(|running| running.serial());
                let key = applied.rules.notify_key(zone);
                changed.push((served.zone.clone(), old, zone.notify.clone(), key));
            }
            zones.push(served);
        }
        self.signer.retain(config).await;
        let mut settings = settings(config, self.made_up_secret);
        settings.limiter = applied.limiter.clone();
        let (views, keys) = (&applied.rules.views, applied.rules.keys.clone());
        let state = State::new(zones, views, keys, settings);
        self.shared.state.store(Arc::new(state));
        applied.published = published;
        for (zone, old, secondaries, key) in changed {
            self.announce(&zone, old, secondaries, key);
        }
    }

    /// Publishes the next version of one zone: what it costs is the zone's affair, not that of the
    /// others.
    pub(crate) async fn publish_zone(
        &self,
        applied: &mut Applied,
        id: &ZoneId,
        own: &Arc<Zone>,
        change: Option<Arc<Change>>,
    ) {
        let Some(config) = &applied.config else {
            return;
        };
        let Some(zone) = config.zone(id) else {
            return;
        };
        let records = self.published(config).remove(id).unwrap_or_default();
        let kept = applied.published.get(id);
        let version = self
            .published_version(config, (id, zone), own, change, &records, kept)
            .await;
        let Some(version) = version else {
            return;
        };
        let before = self.shared.state.load_full();
        let Some(running) = before.served(id) else {
            return;
        };
        let old = (!running.expired).then(|| running.zone.serial());
        let served = Served {
            zone: version.zone.clone(),
            history: version.history.clone(),
            expired: false,
            ..Served::clone(running)
        };
        let state = before.with(running, served);
        self.shared.state.store(Arc::new(state));
        // Where it cannot be signed, what is served is what was.
        if !Arc::ptr_eq(&version.zone, &running.zone) {
            let key = applied.rules.notify_key(zone);
            self.announce(&version.zone, old, zone.notify.clone(), key);
        }
        applied.published.insert(id.clone(), version);
        if zone.catalog.is_some() {
            self.follow_catalogs(applied).await;
        }
    }

    /// The version to be served of a zone whose own records are `own`: `change` is what led to
    /// them from those of `kept`, where that is known without comparing them. None if it was to be
    /// signed and is not.
    ///
    /// Signing belongs between the merge and the history: it takes the version served before
    /// (`kept.zone`), the unsigned version after the merge and the change that led to it, and
    /// gives a zone. What it changed beyond that the comparison here finds.
    async fn published_version(
        &self,
        config: &Config,
        (id, settings): (&ZoneId, &ZoneConfig),
        own: &Arc<Zone>,
        change: Option<Arc<Change>>,
        records: &[Record],
        kept: Option<&Published>,
    ) -> Option<Published> {
        let merged = self.with_published(id, own, records, kept).await;
        let unsigned = merged.as_ref().unwrap_or(own).clone();
        let served = kept.map(|kept| &kept.zone);
        let zone = self
            .signed_version(config, id, settings, &unsigned, served)
            .await?;
        let Some(kept) = kept else {
            return Some(Published {
                own: own.clone(),
                unsigned,
                zone,
                history: Arc::default(),
            });
        };
        if Arc::ptr_eq(&kept.own, own) && Arc::ptr_eq(&kept.zone, &zone) {
            return Some(kept.clone());
        }
        let known = change.filter(|change| {
            let plain = Arc::ptr_eq(&zone, own) && Arc::ptr_eq(&kept.zone, &kept.own);
            plain && change.to == zone.serial()
        });
        let history = with_change(kept, &zone, known).await;
        Some(Published {
            own: own.clone(),
            unsigned,
            zone,
            history,
        })
    }

    /// A zone is served that was not, or not as it is now.
    fn announce(
        &self,
        zone: &Zone,
        old: Option<u32>,
        secondaries: Vec<SocketAddr>,
        key: Option<Arc<Key>>,
    ) {
        let (apex, serial, records) = (zone.apex(), zone.serial(), zone.record_count());
        if old == Some(serial) {
            warn!(zone = %apex, serial, "zone has changed but its serial has not: secondaries \
                will not see it");
            return;
        }
        info!(zone = %apex, serial, records, "zone loaded");
        let event = Event::ZoneChanged {
            zone: apex.to_string(),
            serial,
        };
        self.shared.ground.hub.events().publish(event);
        if secondaries.is_empty() {
            return;
        }
        let news = News {
            zone: apex.to_owned(),
            secondaries,
            key,
        };
        if self.news.try_send(news).is_err() {
            warn!(zone = %apex, "too many changes at once: its secondaries are not told");
        }
    }

    /// What services publish, by the zones it belongs to: in each view, that with the longest name.
    fn published(&self, config: &Config) -> HashMap<ZoneId, Vec<Record>> {
        let facts = self.shared.ground.server.load_full();
        let mut published: HashMap<ZoneId, Vec<Record>> = HashMap::new();
        for domain in facts.domains.iter().filter(|domain| domain.publish) {
            let records = self.shared.ground.hub.records().about(domain.name.as_str());
            if records.is_empty() {
                continue;
            }
            for id in config.zones_above(&domain.name) {
                let held = published.entry(id).or_default();
                held.extend(records.iter().cloned());
            }
        }
        published
    }

    /// A zone with what services publish in it; none if it is as its file says.
    async fn with_published(
        &self,
        id: &ZoneId,
        base: &Arc<Zone>,
        records: &[Record],
        kept: Option<&Published>,
    ) -> Option<Arc<Zone>> {
        let serial = match self.serials.of(id, base.serial(), records).await {
            Ok(serial) => serial,
            Err(error) => {
                warn!(zone = %base.apex(), %error, "cannot keep the zone's serial: what services \
                    publish stays out of it");
                return None;
            }
        };
        // The same file and the same records have the same serial, and make the same zone.
        let same =
            |kept: &&Published| Arc::ptr_eq(&kept.own, base) && kept.unsigned.serial() == serial;
        if let Some(kept) = kept.filter(same) {
            return Some(kept.unsigned.clone()).filter(|zone| !Arc::ptr_eq(zone, base));
        }
        let merged = merge(base, records, serial);
        for reason in merged.left_out {
            info!(zone = %base.apex(), reason, "published record left out");
        }
        merged.zone.map(Arc::new)
    }
}

/// The history of a zone with the change from the version served before; `known` where nobody has
/// to look for it.
async fn with_change(
    kept: &Published,
    zone: &Arc<Zone>,
    known: Option<Arc<Change>>,
) -> Arc<History> {
    // A serial that has not grown, or that was served before, tells no secondary anything.
    if !is_later(zone.serial(), kept.zone.serial()) {
        return Arc::default();
    }
    let change = match known {
        Some(change) => Some(change),
        None => {
            let (old, new) = (kept.zone.clone(), zone.clone());
            let compare = move || Change::between(&old, &new).map(Arc::new);
            // A panic of the comparison costs the history only.
            tokio::task::spawn_blocking(compare).await.ok().flatten()
        }
    };
    let Some(change) = change else {
        return Arc::default();
    };
    let mut history = History::clone(&kept.history);
    history.push(change, history_size(zone));
    Arc::new(history)
}

/// The version that a zone with a journal is at, and the changes that led there.
fn version_of(held: &SharedHeld) -> (Arc<Zone>, Vec<Change>) {
    let held = held.lock().unwrap_or_else(PoisonError::into_inner);
    (held.zone.clone(), held.changes.clone())
}

fn restore(version: &Published, changes: Vec<Change>) -> Arc<History> {
    let mut history = History::default();
    if Arc::ptr_eq(&version.own, &version.zone) {
        for change in changes {
            history.push(Arc::new(change), history_size(&version.zone));
        }
    }
    Arc::new(history)
}

/// More history than zone is not worth keeping: a transfer of the whole is shorter then.
fn history_size(zone: &Zone) -> usize {
    zone.size().max(1 << 16)
}

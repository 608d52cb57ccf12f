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
use crate::engine::zones::{Served, Zones};
use crate::io::News;
use crate::keeper::SharedHeld;
use crate::service::{Applied, Dns, served, settings, zip};
use crate::wire::name::Name;

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
        for ((zone, loaded), rules) in zip(config, &applied.zones).zip(rules) {
            let mut served = served(zone, loaded, rules);
            let name = zone.name.as_str();
            let held = applied.held.get(&loaded.zone.apex().to_owned());
            let (own, restored) =
                held.map_or_else(|| (loaded.zone.clone(), Vec::new()), version_of);
            // A secondary without a copy, or whose copy is too old, has nothing to be served.
            served.expired = zone.is_secondary() && !self.is_valid(&own);
            let records = records.remove(name).unwrap_or_default();
            let kept = applied.published.get(name);
            let version = if served.expired {
                None
            } else {
                self.published_version(config, zone, &own, None, &records, kept)
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
            published.insert(name.to_owned(), version);
            let running = before
                .zones
                .get(served.zone.apex())
                .map(|running| &running.zone);
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
        let state = State {
            zones: Zones::new(zones),
            keys: applied.rules.keys.clone(),
            settings,
        };
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
        name: &Name,
        own: &Arc<Zone>,
        change: Option<Arc<Change>>,
    ) {
        let Some(config) = &applied.config else {
            return;
        };
        let at = applied
            .zones
            .iter()
            .position(|loaded| loaded.zone.apex() == name.as_ref());
        let Some(zone) = at.and_then(|at| config.zone.get(at)) else {
            return;
        };
        let text = zone.name.to_string();
        let records = self.published(config).remove(&text).unwrap_or_default();
        let kept = applied.published.get(&text);
        let version = self
            .published_version(config, zone, own, change, &records, kept)
            .await;
        let Some(version) = version else {
            return;
        };
        let before = self.shared.state.load_full();
        let Some(running) = before.zones.get(name.as_ref()) else {
            return;
        };
        let old = (!running.expired).then(|| running.zone.serial());
        let served = Served {
            zone: version.zone.clone(),
            history: version.history.clone(),
            expired: false,
            ..running.clone()
        };
        let state = State {
            zones: before.zones.with(served),
            keys: before.keys.clone(),
            settings: before.settings.clone(),
        };
        self.shared.state.store(Arc::new(state));
        // Where it cannot be signed, what is served is what was.
        if !Arc::ptr_eq(&version.zone, &running.zone) {
            let key = applied.rules.notify_key(zone);
            self.announce(&version.zone, old, zone.notify.clone(), key);
        }
        applied.published.insert(text, version);
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
        settings: &ZoneConfig,
        own: &Arc<Zone>,
        change: Option<Arc<Change>>,
        records: &[Record],
        kept: Option<&Published>,
    ) -> Option<Published> {
        let merged = self.with_published(own, records, kept).await;
        let unsigned = merged.as_ref().unwrap_or(own).clone();
        let served = kept.map(|kept| &kept.zone);
        let zone = self
            .signed_version(config, settings, &unsigned, served)
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

    /// What services publish, by the zone it belongs to: that with the longest name.
    fn published(&self, config: &Config) -> HashMap<String, Vec<Record>> {
        let facts = self.shared.ground.server.load_full();
        let mut published: HashMap<String, Vec<Record>> = HashMap::new();
        for domain in facts.domains.iter().filter(|domain| domain.publish) {
            let above = config
                .zone
                .iter()
                .filter(|zone| domain.name.is_within(&zone.name.value));
            let zone = above.max_by_key(|zone| zone.name.as_str().len());
            let records = self.shared.ground.hub.records().about(domain.name.as_str());
            if let Some(zone) = zone.filter(|_| !records.is_empty()) {
                published
                    .entry(zone.name.to_string())
                    .or_default()
                    .extend(records);
            }
        }
        published
    }

    /// A zone with what services publish in it; none if it is as its file says.
    async fn with_published(
        &self,
        base: &Arc<Zone>,
        records: &[Record],
        kept: Option<&Published>,
    ) -> Option<Arc<Zone>> {
        let serial = match self.serials.of(base.apex(), base.serial(), records).await {
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

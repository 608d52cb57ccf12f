//! Signing as the service does it: keys out of the store, the clock, the zone as it was signed
//! before, and what the operator asks.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use omnid_hub::ControlError;
use omnid_store::{Database, StoreError};
use omnid_supervisor::{Child, ChildResult};
use serde_json::{Value, json};
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

use crate::config::{Config, ZoneConfig};
use crate::control::zone_text;
use crate::data::{KeyStore, load, read_key_files, replace, signed_path};
use crate::dnssec::config::PolicyConfig;
use crate::dnssec::explain::explain;
use crate::dnssec::import::import;
use crate::dnssec::keyring::Keyring;
use crate::dnssec::policy::{Policy, Role, Time};
use crate::dnssec::signer::{Signed, sign};
use crate::dnssec::states::{self, Key, Request};
use crate::engine::zone::Zone;
use crate::engine::zones::ZoneId;
use crate::service::Dns;

/// How often the clock is looked at: it may be set while nothing is due.
const LOOK: Duration = Duration::from_secs(1);
/// Between tries to sign a zone once that has failed: the first, and the longest.
const FIRST_RETRY: Duration = Duration::from_secs(2);
const LAST_RETRY: Duration = Duration::from_secs(60);
/// Zones whose parents are asked at one time.
const MAX_ASKING: usize = 16;

/// Zones that are signed here.
pub(crate) struct Signer {
    store: KeyStore,
    zones: tokio::sync::Mutex<HashMap<String, Held>>,
    failed: Mutex<HashMap<String, Failed>>,
}

/// A zone that could not be signed.
struct Failed {
    times: u32,
    again: Instant,
}

/// A zone that is signed here.
struct Held {
    ring: Keyring,
    policy: Policy,
    /// The zone unsigned, and as it is served.
    versions: Option<(Arc<Zone>, Arc<Zone>)>,
    /// The zone as a run before this one signed it.
    earlier: Option<Arc<Zone>>,
    serial: i64,
    /// When something is to be done.
    next: Time,
    /// Replace every signature at the next occasion.
    all: bool,
    asked_parent: Time,
    /// Held by who asks.
    asking: Weak<()>,
}

fn now() -> Time {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| Time::try_from(since.as_secs()).unwrap_or(0))
}

impl Signer {
    pub(crate) async fn open(database: Database) -> Result<Signer, StoreError> {
        Ok(Signer {
            store: KeyStore::open(database).await?,
            zones: tokio::sync::Mutex::default(),
            failed: Mutex::default(),
        })
    }

    /// Forgets zones that the configuration has no more; what is kept of them stays kept.
    pub(crate) async fn retain(&self, config: &Config) {
        let known: HashSet<String> = config.zones().map(|(id, _)| id.to_string()).collect();
        self.zones
            .lock()
            .await
            .retain(|name, _| known.contains(name));
        self.failed().retain(|name, _| known.contains(name));
    }

    fn failed(&self) -> MutexGuard<'_, HashMap<String, Failed>> {
        self.failed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A zone could not be signed; gives how long until it is tried again.
    fn put_off(&self, name: &str) -> Duration {
        let mut failed = self.failed();
        let times = failed.get(name).map_or(0, |failed| failed.times);
        let wait = FIRST_RETRY
            .saturating_mul(1 << times.min(16))
            .min(LAST_RETRY);
        let again = Instant::now() + wait;
        let times = times.saturating_add(1);
        failed.insert(name.to_owned(), Failed { times, again });
        wait
    }

    /// True if a key or a signature of some zone is due, or a zone that could not be signed.
    async fn is_due(&self) -> bool {
        let instant = Instant::now();
        if self.failed().values().any(|zone| zone.again <= instant) {
            return true;
        }
        let now = now();
        self.zones
            .lock()
            .await
            .values()
            .any(|held| held.next <= now)
    }
}

/// What is signed by which policy: none for a zone that is to be unsigned.
fn policy_of(config: &Config, zone: &ZoneConfig) -> Option<Policy> {
    let name = zone.dnssec.as_ref()?.value.as_str();
    if name == "insecure" {
        return None;
    }
    let named = config.policy.get(name).map(PolicyConfig::policy);
    Some(named.unwrap_or_default())
}

impl Dns {
    /// The signed form of a version of a zone; the version itself if it is not signed here. Where
    /// signing fails, what was served before stays, by this run or by the one before; none where
    /// there is no such thing. Never the zone unsigned: to who has its DS that would be forged.
    pub(crate) async fn signed_version(
        &self,
        config: &Config,
        id: &ZoneId,
        zone: &ZoneConfig,
        unsigned: &Arc<Zone>,
        served: Option<&Arc<Zone>>,
    ) -> Option<Arc<Zone>> {
        let name = id.to_string();
        let name = name.as_str();
        let reason = match self.try_sign(config, id, zone, unsigned).await {
            Ok(signed) => {
                self.signer.failed().remove(name);
                return Some(signed.unwrap_or_else(|| unsigned.clone()));
            }
            Err(reason) => reason,
        };
        let again = self.signer.put_off(name);
        let mut zones = self.signer.zones.lock().await;
        let earlier = match zones.get_mut(name) {
            Some(held) => {
                // What was due is so no sooner than that.
                let again = i64::try_from(again.as_secs()).unwrap_or(0);
                held.next = held.next.max(now().saturating_add(again));
                held.earlier.clone()
            }
            None if served.is_none() => self.earlier(name).await,
            None => None,
        };
        drop(zones);
        let kept = served.cloned().or(earlier);
        // Neither to be signed nor ever signed: nobody has a DS of it.
        let kept = kept.or_else(|| {
            let plain = policy_of(config, zone).is_none() && !self.signed_path(name).exists();
            plain.then(|| unsigned.clone())
        });
        let what = match kept {
            Some(_) => "it stays as it is",
            None => "it is not served",
        };
        error!(zone = %unsigned.apex(), reason, ?again, "cannot sign the zone: {what}");
        kept
    }

    async fn try_sign(
        &self,
        config: &Config,
        id: &ZoneId,
        zone: &ZoneConfig,
        unsigned: &Arc<Zone>,
    ) -> Result<Option<Arc<Zone>>, String> {
        let name = id.to_string();
        let policy = policy_of(config, zone);
        let mut zones = self.signer.zones.lock().await;
        if !zones.contains_key(&name) {
            // A zone that was moved into another view, or out of one, keeps its keys.
            let elsewhere = |key: &str| {
                let other = ZoneId::from_text(key);
                other.is_ok_and(|other| config.zone(&other).is_none())
            };
            let plain = ZoneId::outside(id.name.clone()).to_string();
            let kept = match self.signer.store.load(&name).await {
                Ok(None) => self.signer.store.load_moved(&plain, elsewhere).await,
                kept => kept,
            };
            let kept = kept.map_err(|error| format!("cannot read its keys: {error}"))?;
            let held = match (kept, &policy) {
                (None, None) => return Ok(None),
                (None, Some(policy)) => {
                    let ring = match &zone.import_keys {
                        Some(directory) => {
                            let files = read_key_files(&directory.value, zone.name.as_str())?;
                            info!(zone = %unsigned.apex(), keys = files.len(), "keys imported");
                            import(&files, policy, now())?
                        }
                        None => Keyring::default(),
                    };
                    // Before anything is published with them.
                    let held = Held::new(ring, -1, policy.clone());
                    self.save(&name, &held).await?;
                    held
                }
                (Some((text, serial)), policy) => {
                    let value = serde_json::from_str(&text).ok();
                    let ring = value.as_ref().and_then(Keyring::from_json);
                    let ring = ring.ok_or("its keys in the store cannot be read")?;
                    if policy.is_none() && ring.keys.iter().all(Key::is_gone) {
                        return Ok(None);
                    }
                    let mut held = Held::new(ring, serial, policy.clone().unwrap_or_default());
                    held.earlier = self.earlier(&name).await;
                    held
                }
            };
            zones.insert(name.clone(), held);
        }
        let Some(held) = zones.get_mut(&name) else {
            return Ok(None);
        };
        if policy.is_none() && !held.ring.stop && !held.ring.keys.is_empty() {
            warn!(zone = %unsigned.apex(), "signing is being stopped: the zone stays signed until \
                its parent has no DS for it; `omnid zone keys` says how far it is");
        }
        held.ring.stop = policy.is_none();
        if let Some(policy) = policy {
            held.policy = policy;
        }
        let longest = unsigned.node_ids().flat_map(|id| unsigned.sets(id));
        let longest = longest.map(|set| Time::from(set.ttl)).max().unwrap_or(0);
        held.policy.max_zone_ttl = held.policy.max_zone_ttl.max(longest);
        let signed = self.bring_up_to_date(&name, held, unsigned).await?;
        Ok(Some(signed))
    }

    /// The zone as a run before this one signed it.
    async fn earlier(&self, name: &str) -> Option<Arc<Zone>> {
        let path = self.signed_path(name);
        let apex = ZoneId::from_text(name).ok()?.name;
        let loading = tokio::task::spawn_blocking(move || load(&apex, &path));
        match loading.await {
            Ok(Ok(loaded)) => Some(loaded.zone.clone()),
            _ => {
                warn!(
                    zone = name,
                    "its signed form is not to be had: all of it is signed anew"
                );
                None
            }
        }
    }

    fn signed_path(&self, name: &str) -> std::path::PathBuf {
        let facts = self.shared.ground.server.load_full();
        signed_path(&facts.server.data_dir, name)
    }

    /// Takes the steps that are due, and signs what is to be signed.
    async fn bring_up_to_date(
        &self,
        name: &str,
        held: &mut Held,
        unsigned: &Arc<Zone>,
    ) -> Result<Arc<Zone>, String> {
        let now = now();
        let before = held.ring.clone();
        let ticked = held
            .ring
            .tick(&held.policy, now)
            .map_err(|error| error.to_string())?;
        for line in changes(&before.keys, &held.ring.keys) {
            info!(zone = %unsigned.apex(), "{line}");
        }
        if ticked.changed
            && let Err(reason) = self.save(name, held).await
        {
            held.ring = before;
            return Err(reason);
        }
        let same = held
            .versions
            .as_ref()
            .filter(|(base, _)| Arc::ptr_eq(base, unsigned) && !ticked.changed && !held.all);
        if let Some((_, signed)) = same.filter(|_| held.next > now) {
            return Ok(signed.clone());
        }
        let previous = held.versions.as_ref().map(|(_, signed)| signed.clone());
        let previous = previous.or_else(|| held.earlier.clone());
        let (base, ring, policy, all) = (
            unsigned.clone(),
            held.ring.clone(),
            held.policy.clone(),
            held.all,
        );
        let least = u32::try_from(held.serial).ok();
        let signing = tokio::task::spawn_blocking(move || {
            let mut plan = ring.plan(&policy, now, all);
            plan.least_serial = least;
            let Signed { zone, made, due } =
                sign(&base, previous.as_deref(), &plan).map_err(|error| error.to_string())?;
            let text = zone.as_ref().map(zone_text);
            Ok::<_, String>((zone.map(Arc::new).or(previous), text, made, due))
        });
        let (zone, text, made, due) = signing.await.map_err(|error| error.to_string())??;
        let zone = zone.ok_or("nothing came of it")?;
        if let Some(text) = text {
            // First the serial, then the zone, then the answers: none is taken back.
            held.serial = zone.serial().into();
            self.save(name, held).await?;
            let path = self.signed_path(name);
            let shown = path.display().to_string();
            let writing = tokio::task::spawn_blocking(move || replace(&path, &text));
            let written = writing.await.map_err(|error| error.to_string())?;
            written.map_err(|error| format!("cannot write {shown}: {error}"))?;
            info!(zone = %zone.apex(), serial = zone.serial(), signatures = made, "zone signed");
        }
        held.all = false;
        held.next = due.min(ticked.next.unwrap_or(Time::MAX));
        held.versions = Some((unsigned.clone(), zone.clone()));
        held.earlier = None;
        Ok(zone)
    }

    async fn save(&self, name: &str, held: &Held) -> Result<(), String> {
        let text = held.ring.to_json().to_string();
        let saved = self.signer.store.save(name, &text, held.serial).await;
        saved.map_err(|error| format!("cannot keep its keys: {error}"))
    }

    /// Looks at the clock, and asks parents for their DS records.
    pub(crate) async fn watch_keys(self: &Arc<Self>, child: &Child) -> ChildResult {
        let asking = Arc::new(Semaphore::new(MAX_ASKING));
        child.ready();
        loop {
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                () = self.look_again.notified() => {}
                () = child.draining() => return Ok(()),
            }
            if self.signer.is_due().await {
                self.publish_again().await;
            }
            self.ask_parents(child, &asking).await;
        }
    }

    /// Has the parental agents asked of zones that wait for their parent: by children, as an agent
    /// that does not answer must hold up neither signing nor the end.
    async fn ask_parents(self: &Arc<Self>, child: &Child, asking: &Arc<Semaphore>) {
        let now = now();
        for (id, agents, interval) in self.parental_agents().await {
            let (name, apex) = (id.to_string(), id.name.to_string());
            let token = Arc::new(());
            {
                let mut zones = self.signer.zones.lock().await;
                let Some(held) = zones.get_mut(&name) else {
                    continue;
                };
                let due =
                    now >= held.asked_parent.saturating_add(interval) || now < held.asked_parent;
                let busy = held.asking.strong_count() > 0;
                if !due || busy || !held.waits_for_parent(now) {
                    continue;
                }
                held.asked_parent = now;
                held.asking = Arc::downgrade(&token);
            }
            let (dns, own, asking) = (self.clone(), child.clone(), asking.clone());
            let span = tracing::info_span!("parent", zone = name);
            child.spawn("parent", span, async move {
                let ask = async {
                    let _permit = asking.acquire().await;
                    crate::io::parent_ds(&apex, &agents).await
                };
                tokio::select! {
                    told = ask => dns.parent_told(&name, told).await,
                    () = own.draining() => {}
                }
                drop(token);
                Ok(())
            });
        }
    }

    /// What the parental agents of a zone have said.
    async fn parent_told(&self, name: &str, told: Result<Vec<Vec<u8>>, String>) {
        let ds = match told {
            Ok(ds) => ds,
            Err(reason) => {
                warn!(zone = name, reason, "cannot ask for the DS records");
                return;
            }
        };
        let now = now();
        let mut zones = self.signer.zones.lock().await;
        if let (Some(held), Ok(id)) = (zones.get_mut(name), ZoneId::from_text(name))
            && held.ring.observe_ds(id.name.as_ref(), &ds, now)
        {
            info!(zone = name, "the parent's DS records have changed");
            if let Err(reason) = self.save(name, held).await {
                error!(zone = name, reason, "keys");
            }
            held.next = now;
        }
    }

    /// Explains a zone's keys; takes the operator's word about the parent.
    pub(crate) async fn zone_keys(&self, arguments: &Value) -> Result<Value, ControlError> {
        let seen = arguments.get("ds_seen").and_then(Value::as_bool) == Some(true);
        let name = zone_name(arguments)?;
        if seen {
            self.change_keys(&name, |held, now| {
                if held.ring.ds_seen(now) {
                    Ok(())
                } else {
                    Err("the zone asks nothing of its parent that is not known already".to_owned())
                }
            })
            .await?;
        }
        let zones = self.signer.zones.lock().await;
        let held = zones.get(&name).ok_or_else(|| not_signed(&name))?;
        let id = ZoneId::from_text(&name);
        let apex = id
            .map_err(|error| ControlError::new(error.to_string()))?
            .name;
        let next = Some(held.next).filter(|next| *next < Time::MAX);
        Ok(explain(
            apex.as_ref(),
            &held.ring,
            &held.policy,
            now(),
            next,
        ))
    }

    /// Begins to replace keys.
    pub(crate) async fn zone_roll(&self, arguments: &Value) -> Result<Value, ControlError> {
        let name = zone_name(arguments)?;
        let role = arguments.get("role").and_then(Value::as_str);
        let role = match role {
            None => None,
            Some(text) => Some(Role::from_name(text).ok_or_else(|| {
                ControlError::new(format!("\"{text}\" is none of csk, ksk and zsk"))
            })?),
        };
        let tag = arguments.get("key").and_then(Value::as_u64);
        self.change_keys(&name, |held, now| {
            let which = |key: &Key| {
                role.is_none_or(|role| key.role == role)
                    && tag.is_none_or(|tag| u64::from(key.tag) == tag)
            };
            if held.ring.stop {
                return Err("signing of the zone is being stopped".to_owned());
            }
            let busy = |key: &Key| which(key) && !key.wanted && !key.is_gone();
            if tag.is_none() && held.ring.keys.iter().any(busy) {
                return Err("keys of the zone are being replaced already".to_owned());
            }
            match held.ring.roll(which, &held.policy, now) {
                Ok(true) => Ok(()),
                Ok(false) => Err("the zone has no such key in use".to_owned()),
                Err(error) => Err(error.to_string()),
            }
        })
        .await?;
        self.zone_keys(&json!({ "zone": name })).await
    }

    /// Replaces every signature of a zone.
    pub(crate) async fn zone_sign(&self, arguments: &Value) -> Result<Value, ControlError> {
        let name = zone_name(arguments)?;
        self.change_keys(&name, |held, _| {
            held.all = true;
            Ok(())
        })
        .await?;
        let zones = self.signer.zones.lock().await;
        let held = zones.get(&name).ok_or_else(|| not_signed(&name))?;
        Ok(json!({ "zone": name, "serial": held.serial }))
    }

    /// Changes the keys of a zone, keeps them, and publishes what follows.
    async fn change_keys(
        &self,
        name: &str,
        change: impl FnOnce(&mut Held, Time) -> Result<(), String>,
    ) -> Result<(), ControlError> {
        {
            let mut zones = self.signer.zones.lock().await;
            let held = zones.get_mut(name).ok_or_else(|| not_signed(name))?;
            let before = held.ring.clone();
            let changed = change(held, now());
            changed.map_err(|reason| ControlError::new(format!("{name}: {reason}")))?;
            if let Err(reason) = self.save(name, held).await {
                held.ring = before;
                return Err(ControlError::new(reason));
            }
            held.next = now();
        }
        self.publish_again().await;
        Ok(())
    }
}

impl Held {
    fn new(ring: Keyring, serial: i64, policy: Policy) -> Held {
        Held {
            ring,
            policy,
            versions: None,
            earlier: None,
            serial,
            next: 0,
            all: false,
            asked_parent: 0,
            asking: Weak::new(),
        }
    }

    fn waits_for_parent(&self, now: Time) -> bool {
        match states::request(&self.ring.keys, now, self.ring.stop) {
            Request::None => false,
            Request::Delete => true,
            Request::Keys(asked) => self.ring.keys.iter().enumerate().any(|(index, key)| {
                key.role.signs_keys() && asked.contains(&index) != key.ds.state.is_published()
            }),
        }
    }
}

fn not_signed(name: &str) -> ControlError {
    ControlError::new(format!(
        "{name} is not signed by this server; `dnssec = \"default\"` in its [[dns.zone]] signs it"
    ))
}

fn zone_name(arguments: &Value) -> Result<String, ControlError> {
    let name = arguments
        .get("zone")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let id = ZoneId::from_text(name)
        .map_err(|error| ControlError::new(format!("\"{name}\" is not a zone's name: {error}")))?;
    Ok(id.to_string())
}

/// What has happened to keys, a line for each.
fn changes(before: &[Key], after: &[Key]) -> Vec<String> {
    let mut lines = Vec::new();
    for key in after {
        let old = before.iter().find(|old| old.dnskey == key.dnskey);
        let (role, tag, algorithm) = (key.role.name(), key.tag, key.algorithm);
        let Some(old) = old else {
            lines.push(format!("key {tag} ({role}, {algorithm}) made"));
            continue;
        };
        for (what, from, to) in [
            ("DNSKEY", old.key, key.key),
            ("signatures", old.signatures, key.signatures),
            ("DS", old.ds, key.ds),
        ] {
            if from.state != to.state {
                let (from, to) = (from.state.name(), to.state.name());
                lines.push(format!("key {tag} ({role}): {what} {from} → {to}"));
            }
        }
    }
    lines
}

//! The keys of one zone, with their secrets: made, kept as text, and put to use.

use std::sync::Arc;

use serde_json::{Value, json};

use super::algorithm::Algorithm;
use super::ds::Ds;
use super::key::{DnsKey, key_tag};
use super::policy::{KeySpec, Policy, Role, Time};
use super::private::{PrivateKey, PrivateKeyError};
use super::signer::{Plan, Signing};
use super::states::{self, Key, Request, Stage, State, Ticked};
use crate::wire::name::NameRef;

/// The keys of a zone.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    /// Keys and their states, the oldest first.
    pub keys: Vec<Key>,
    /// The zone is to become unsigned.
    pub stop: bool,
    /// The secrets, in the order of the keys.
    secrets: Vec<Arc<PrivateKey>>,
}

impl Keyring {
    /// Takes all steps that are due.
    pub fn tick(&mut self, policy: &Policy, now: Time) -> Result<Ticked, PrivateKeyError> {
        let mut keys = self.keys.clone();
        let mut made: Vec<Arc<PrivateKey>> = Vec::new();
        let mut tags: Vec<u16> = keys.iter().map(|key| key.tag).collect();
        let ticked = states::tick(policy, &mut keys, now, self.stop, |spec| {
            let (key, secret) = make_key(spec, &tags, now)?;
            tags.push(key.tag);
            made.push(Arc::new(secret));
            Ok::<_, PrivateKeyError>(key)
        })?;
        let secrets: Option<Vec<Arc<PrivateKey>>> = keys
            .iter()
            .map(|key| {
                let known = self.secrets.iter().chain(&made);
                known
                    .clone()
                    .find(|secret| secret.dnskey(key.role.flags()) == key.dnskey)
                    .cloned()
            })
            .collect();
        self.secrets = secrets.ok_or(PrivateKeyError::Mismatch)?;
        self.keys = keys;
        Ok(ticked)
    }

    /// Begins to replace the keys of a role, or the one with a tag; false if there is none.
    pub fn roll(
        &mut self,
        which: impl Fn(&Key) -> bool,
        policy: &Policy,
        now: Time,
    ) -> Result<bool, PrivateKeyError> {
        let mut rolled = false;
        for index in 0..self.keys.len() {
            let Some(key) = self.keys.get(index).filter(|key| key.wanted && which(key)) else {
                continue;
            };
            let spec = policy
                .keys
                .iter()
                .find(|spec| spec.role == key.role && spec.algorithm == key.algorithm);
            let Some(spec) = spec else { continue };
            let tags: Vec<u16> = self.keys.iter().map(|key| key.tag).collect();
            let (made, secret) = make_key(spec, &tags, now.max(key.created + 1))?;
            self.keys.push(made);
            self.secrets.push(Arc::new(secret));
            if let Some(old) = self.keys.get_mut(index) {
                old.wanted = false;
            }
            rolled = true;
        }
        Ok(rolled)
    }

    /// Adds a key that was made elsewhere.
    pub fn add(&mut self, key: Key, secret: PrivateKey) {
        self.keys.push(key);
        self.secrets.push(Arc::new(secret));
    }

    /// What to put into the zone now.
    pub fn plan<'k>(&'k self, policy: &'k Policy, now: Time, all: bool) -> Plan<'k> {
        let pairs = || self.keys.iter().zip(&self.secrets);
        let published = |key: &Key| key.key.state.is_published();
        let signing = pairs().filter_map(|(key, private)| {
            let keys = key.role.signs_keys() && published(key);
            let zone = key.role.signs_zone() && key.signatures.state.is_published();
            (keys || zone).then_some(Signing {
                private,
                tag: key.tag,
                keys,
                zone,
            })
        });
        let request = states::request(&self.keys, now, self.stop);
        let cds = match &request {
            Request::Keys(indices) => indices
                .iter()
                .filter_map(|index| Some(self.keys.get(*index)?.dnskey.clone()))
                .collect(),
            _ => Vec::new(),
        };
        Plan {
            policy,
            published: self
                .keys
                .iter()
                .filter(|key| published(key))
                .map(|key| key.dnskey.clone())
                .collect(),
            signing: signing.collect(),
            cds,
            delete_ds: request == Request::Delete,
            now,
            all,
        }
    }

    /// Takes note of the DS set that the parent has.
    pub fn observe_ds(&mut self, zone: NameRef<'_>, ds: &[Vec<u8>], now: Time) -> bool {
        states::observe(&mut self.keys, now, |key| {
            DnsKey::read(&key.dnskey).is_some_and(|dnskey| {
                ds.iter()
                    .filter_map(|rdata| Ds::read(rdata))
                    .any(|ds| ds.matches(zone, &dnskey))
            })
        })
    }

    /// Takes the operator's word that the parent has what the zone asks for.
    pub fn ds_seen(&mut self, now: Time) -> bool {
        let wanted = match states::request(&self.keys, now, self.stop) {
            Request::Keys(indices) => indices,
            Request::Delete => Vec::new(),
            Request::None => return false,
        };
        let wanted: Vec<u16> = wanted
            .iter()
            .filter_map(|index| self.keys.get(*index))
            .map(|key| key.tag)
            .collect();
        states::observe(&mut self.keys, now, |key| wanted.contains(&key.tag))
    }

    /// All of it, secrets included.
    pub fn to_json(&self) -> Value {
        let stage = |stage: &Stage| json!({"state": stage.state.name(), "since": stage.since});
        let rows: Vec<Value> = self
            .keys
            .iter()
            .zip(&self.secrets)
            .map(|(key, secret)| {
                json!({
                    "role": key.role.name(),
                    "algorithm": key.algorithm.0,
                    "bits": key.bits,
                    "public": hex(secret.public()),
                    "private": secret.to_text(),
                    "created": key.created,
                    "wanted": key.wanted,
                    "key": stage(&key.key),
                    "signatures": stage(&key.signatures),
                    "ds": stage(&key.ds),
                })
            })
            .collect();
        json!({ "stop": self.stop, "keys": rows })
    }

    /// Reads what [`Keyring::to_json`] wrote; none if it is not that.
    pub fn from_json(value: &Value) -> Option<Keyring> {
        let mut ring = Keyring {
            stop: value.get("stop")?.as_bool()?,
            ..Keyring::default()
        };
        for row in value.get("keys")?.as_array()? {
            let stage = |name: &str| {
                let value = row.get(name)?;
                Some(Stage {
                    state: State::from_name(value.get("state")?.as_str()?)?,
                    since: value.get("since")?.as_i64()?,
                })
            };
            let algorithm = Algorithm(u8::try_from(row.get("algorithm")?.as_u64()?).ok()?);
            let role = Role::from_name(row.get("role")?.as_str()?)?;
            let public = unhex(row.get("public")?.as_str()?)?;
            let text = row.get("private")?.as_str()?;
            let secret = PrivateKey::from_text(text, algorithm, &public).ok()?;
            let dnskey = secret.dnskey(role.flags());
            let key = Key {
                tag: key_tag(&dnskey),
                algorithm,
                role,
                bits: u16::try_from(row.get("bits")?.as_u64()?).ok()?,
                dnskey,
                created: row.get("created")?.as_i64()?,
                wanted: row.get("wanted")?.as_bool()?,
                key: stage("key")?,
                signatures: stage("signatures")?,
                ds: stage("ds")?,
            };
            ring.add(key, secret);
        }
        Some(ring)
    }
}

/// Makes a key whose tag no other key of the zone has, nor would have once revoked.
fn make_key(
    spec: &KeySpec,
    taken: &[u16],
    now: Time,
) -> Result<(Key, PrivateKey), PrivateKeyError> {
    for _ in 0..20 {
        let secret = PrivateKey::generate(spec.algorithm, spec.bits)?;
        let dnskey = secret.dnskey(spec.role.flags());
        let tag = key_tag(&dnskey);
        let revoked = tag.wrapping_add(DnsKey::REVOKE);
        if !taken.contains(&tag) && !taken.contains(&revoked) {
            return Ok((Key::new(spec, tag, dnskey, now), secret));
        }
    }
    Err(PrivateKeyError::Failed)
}

fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).map(|value| value as u8))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => Some(high << 4 | low),
            _ => None,
        })
        .collect()
}

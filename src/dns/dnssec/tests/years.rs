//! Years of rollovers under a clock of their own. At each step every DS set, key set and signature
//! that some resolver may still hold is put together with every other, and must validate; and the
//! zone as it is published is checked by ldns-verify-zone.
#![allow(clippy::unwrap_used, clippy::expect_used)]

use std::cell::RefCell;
use std::collections::HashMap;
use std::process::Command;
use std::sync::Arc;

use crate::control::zone_text;
use crate::dnssec::keyring::Keyring;
use crate::dnssec::policy::{KeySpec, Nsec3Policy, Policy, Role, Time};
use crate::dnssec::signer::sign;
use crate::dnssec::states::{Request, State, request};
use crate::dnssec::*;
use crate::engine::zone::tests::load;
use crate::engine::zone::{RrSet, Zone};
use crate::wire::code::{Class, RrType};

const DAY: Time = 86_400;
const START: Time = 1_800_000_000;

struct World {
    policy: Policy,
    ring: Keyring,
    base: Zone,
    /// From when on each was published.
    zones: Vec<(Time, Arc<Zone>)>,
    parent: Vec<(Time, Vec<Vec<u8>>)>,
    now: Time,
    due: Time,
    ds_at: Option<Time>,
    directory: tempfile::TempDir,
    checked: usize,
    signed: usize,
    /// Zone, name, type and key to the times of signatures that verify: each is verified once.
    verified: RefCell<Verified>,
    /// Nobody tells the server what the parent has done.
    deaf: bool,
}

type Verified = HashMap<(usize, &'static str, RrType, u16), Vec<(u32, u32)>>;

/// When the signatures of a set by a key are valid, of those that verify.
fn valid_times(held: &Zone, name: &str, rr_type: RrType, key: &DnsKey<'_>) -> Vec<(u32, u32)> {
    let owner = crate::wire::name::Name::from_text(name).unwrap();
    let id = held.search(owner.as_ref()).0.unwrap();
    let signatures = held.set(id, RrType::RRSIG);
    let records = || {
        held.set(id, rr_type)
            .unwrap()
            .records()
            .map(|(rdata, _)| rdata)
    };
    signatures
        .iter()
        .flat_map(RrSet::records)
        .filter_map(|(rdata, _)| Rrsig::read(rdata))
        .filter(|rrsig| rrsig.covered == rr_type && rrsig.key_tag == key.tag())
        .filter(|rrsig| {
            rrsig
                .verify(key, owner.as_ref(), Class::IN, records())
                .is_ok()
        })
        .map(|rrsig| (rrsig.inception, rrsig.expiration))
        .collect()
}

fn spec(role: Role, algorithm: Algorithm, days: Option<Time>) -> KeySpec {
    KeySpec {
        role,
        algorithm,
        bits: 2048,
        lifetime: days.map(|days| days * DAY),
    }
}

impl World {
    fn new(policy: Policy) -> World {
        let base = load(
            "example.org",
            "$TTL 86400\n@ SOA ns hm 1 7200 3600 1209600 3600\n@ NS ns\nns A 192.0.2.1\n\
             www A 192.0.2.2\n*.w TXT w\na.b.c A 192.0.2.3\nsub NS ns.sub\nns.sub A 192.0.2.4\n\
             safe NS ns\nsafe DS 1 13 2 \
             0102030405060708091011121314151617181920212223242526272829303132",
        );
        World {
            policy,
            ring: Keyring::default(),
            base: base.zone.unwrap(),
            zones: Vec::new(),
            parent: vec![(0, Vec::new())],
            now: START,
            due: START,
            ds_at: None,
            directory: tempfile::tempdir().unwrap(),
            checked: 0,
            signed: 0,
            verified: RefCell::default(),
            deaf: false,
        }
    }

    /// Goes on until a time; the parent reads CDS records two days after they have changed.
    fn run_until(&mut self, end: Time) {
        while self.now <= end {
            let before = self.ring.keys.clone();
            let ticked = self.ring.tick(&self.policy, self.now).unwrap();
            if ticked.changed || self.due <= self.now || self.zones.is_empty() {
                self.publish(before != self.ring.keys);
            }
            self.check();
            let wanted = self.cds();
            let held = &self.parent.last().unwrap().1;
            match (self.ds_at, wanted) {
                (_, None) => self.ds_at = None,
                (_, Some(wanted)) if wanted == *held => self.ds_at = None,
                (None, Some(_)) => self.ds_at = Some(self.now + 2 * DAY),
                (Some(at), Some(wanted)) if at <= self.now => {
                    self.parent.push((self.now, wanted.clone()));
                    self.ds_at = None;
                    // The server looks an hour later.
                    self.now += 3600;
                    let apex = self.base.apex();
                    if !self.deaf {
                        self.ring.observe_ds(apex, &wanted, self.now);
                    }
                    continue;
                }
                _ => {}
            }
            let step = [
                ticked.next.unwrap_or(Time::MAX),
                self.due,
                self.ds_at.unwrap_or(Time::MAX),
                self.now + 3 * DAY,
            ];
            self.now = step.into_iter().min().unwrap().max(self.now + 60);
        }
    }

    fn publish(&mut self, keys_changed: bool) {
        // What is kept over a restart is all there is.
        self.ring = Keyring::from_json(&self.ring.to_json()).unwrap();
        let plan = self.ring.plan(&self.policy, self.now, false);
        let previous = self.zones.last().map(|(_, zone)| zone.clone());
        let signed = sign(&self.base, previous.as_deref(), &plan).unwrap();
        self.due = signed.due;
        self.signed += signed.made;
        let Some(zone) = signed.zone else { return };
        let zone = Arc::new(zone);
        self.zones.push((self.now, zone.clone()));
        if keys_changed && zone.is_signed() {
            self.verify(&zone);
        }
    }

    fn verify(&self, zone: &Zone) {
        let file = self.directory.path().join("zone");
        std::fs::write(&file, zone_text(zone)).unwrap();
        let mut at = String::new();
        crate::wire::rdata::write_time(self.now as u32, &mut at).unwrap();
        let output = Command::new("ldns-verify-zone")
            .args(["-V", "2", "-t", &at])
            .arg(&file)
            .output()
            .unwrap();
        let told = String::from_utf8_lossy(&output.stdout).into_owned()
            + &String::from_utf8_lossy(&output.stderr);
        assert!(
            output.status.success(),
            "{told}\n{}\n{:#?}",
            zone_text(zone),
            self.ring.keys
        );
    }

    /// What the zone's CDS set asks of the parent; none if it asks nothing.
    fn cds(&self) -> Option<Vec<Vec<u8>>> {
        let zone = &self.zones.last()?.1;
        let set = zone.set(0, RrType::CDS)?;
        let rows: Vec<Vec<u8>> = set.records().map(|(rdata, _)| rdata.to_vec()).collect();
        let delete = rows.iter().any(|row| row[..4] == [0, 0, 0, 0]);
        Some(if delete { Vec::new() } else { rows })
    }

    /// What caches may hold of a row of versions.
    fn cached<T: Clone>(&self, versions: &[(Time, T)], wait: Time) -> Vec<T> {
        let ends = versions
            .iter()
            .skip(1)
            .map(|(from, _)| *from)
            .chain([Time::MAX]);
        versions
            .iter()
            .zip(ends)
            .filter(|(_, end)| end.saturating_add(wait) > self.now)
            .map(|((_, held), _)| held.clone())
            .collect()
    }

    fn check(&mut self) {
        let policy = &self.policy;
        let ds = self.cached(
            &self.parent,
            policy.parent_ds_ttl + policy.parent_propagation,
        );
        let key_wait = Time::from(policy.dnskey_ttl) + policy.zone_propagation;
        let keys = self.cached(&self.zones, key_wait);
        let data = self.cached(&self.zones, policy.max_zone_ttl + policy.zone_propagation);
        for ds in &ds {
            for keys in &keys {
                for data in &data {
                    self.validate(ds, keys, data);
                    self.checked += 1;
                }
            }
        }
    }

    fn validate(&self, ds: &[Vec<u8>], keys: &Zone, data: &Zone) {
        if ds.is_empty() {
            return;
        }
        let zone = self.base.apex();
        let now = self.now as u32;
        let set = keys.set(0, RrType::DNSKEY);
        let rows: Vec<&[u8]> = set.iter().flat_map(RrSet::records).map(|r| r.0).collect();
        let all: Vec<DnsKey<'_>> = rows.iter().map(|row| DnsKey::read(row).unwrap()).collect();
        let told = || {
            let mut at = String::new();
            crate::wire::rdata::write_time(now, &mut at).unwrap();
            format!(
                "at {at}\n{:#?}\n{}\n{}",
                self.ring.keys,
                zone_text(keys),
                zone_text(data)
            )
        };
        let signed_by = |held: &Zone, name: &'static str, rr_type: RrType, key: &DnsKey<'_>| {
            let known = (std::ptr::from_ref(held).addr(), name, rr_type, key.tag());
            let mut verified = self.verified.borrow_mut();
            let times = verified
                .entry(known)
                .or_insert_with(|| valid_times(held, name, rr_type, key));
            let valid = |(from, to): &(u32, u32)| (*from..=*to).contains(&now);
            times.iter().any(valid)
        };
        for ds in ds.iter().map(|rdata| Ds::read(rdata).unwrap()) {
            let algorithm = ds.algorithm;
            let meant = all
                .iter()
                .filter(|key| key.algorithm == algorithm)
                .any(|key| {
                    self.parent_means(key)
                        && signed_by(keys, "example.org", RrType::DNSKEY, key)
                        && ds.algorithm == key.algorithm
                });
            assert!(meant, "no key of the DS set: {}", told());
        }
        let matched = all.iter().any(|key| {
            ds.iter()
                .any(|rdata| Ds::read(rdata).unwrap().matches(zone, key))
                && signed_by(keys, "example.org", RrType::DNSKEY, key)
        });
        assert!(matched, "no key matches the DS set: {}", told());
        for algorithm in all.iter().map(|key| key.algorithm) {
            let mut of = all.iter().filter(|key| key.algorithm == algorithm);
            for (name, rr_type) in [("www.example.org", RrType::A), ("example.org", RrType::SOA)] {
                let mut of = of.clone();
                assert!(
                    of.any(|key| signed_by(data, name, rr_type, key)),
                    "{name} is not signed with {algorithm}: {}",
                    told()
                );
            }
            assert!(
                of.any(|key| signed_by(keys, "example.org", RrType::DNSKEY, key)),
                "the keys are not signed with {algorithm}: {}",
                told()
            );
        }
    }

    /// True of a key that some DS set in caches means.
    fn parent_means(&self, key: &DnsKey<'_>) -> bool {
        let zone = self.base.apex();
        let mut sets = self.parent.iter().flat_map(|(_, set)| set);
        sets.any(|rdata| Ds::read(rdata).unwrap().matches(zone, key))
    }

    fn secure(&self) -> bool {
        let current = self.ring.keys.iter().filter(|key| key.wanted);
        current.clone().count() > 0
            && current
                .filter(|key| key.role.signs_keys())
                .all(|key| key.ds.state == State::Omnipresent)
    }
}

#[test]
fn one_key_is_rolled_each_year() {
    let policy = Policy {
        keys: vec![spec(Role::Csk, Algorithm::ECDSAP256SHA256, Some(365))],
        ..Policy::default()
    };
    let mut world = World::new(policy);
    world.run_until(START + 5 * DAY);
    assert!(world.secure(), "{:#?}", world.ring.keys);
    world.run_until(START + 2 * 365 * DAY + 40 * DAY);
    assert!(world.secure(), "{:#?}", world.ring.keys);
    // The parent has had the key of each year.
    assert_eq!(world.parent.len(), 1 + 3, "{:?}", world.parent);
    assert!(world.checked > 300);
}

/// The parent does what the zone asks of it, and the server never hears of it: no key goes that a
/// DS record may mean.
#[test]
fn what_nobody_has_told_is_not_taken_for_granted() {
    let mut world = World::new(Policy::default());
    world.deaf = true;
    world.run_until(START + 10 * DAY);
    let (policy, now) = (world.policy.clone(), world.now);
    assert_eq!(world.ring.roll(|_| true, &policy, now), Ok(true));
    world.run_until(now + 30 * DAY);
    let published = world
        .ring
        .keys
        .iter()
        .filter(|key| key.key.state.is_published());
    assert_eq!(published.count(), 2, "{:#?}", world.ring.keys);
    // Two words of the operator later the old key is gone.
    assert!(world.ring.ds_seen(world.now));
    world.run_until(world.now + 10 * DAY);
    let published = world
        .ring
        .keys
        .iter()
        .filter(|key| key.key.state.is_published());
    assert_eq!(published.count(), 1, "{:#?}", world.ring.keys);
    // And a stop waits for the parent as well.
    world.ring.stop = true;
    world.run_until(world.now + 20 * DAY);
    assert!(world.zones.last().unwrap().1.is_signed());
    assert!(world.ring.ds_seen(world.now));
    world.run_until(world.now + 20 * DAY);
    assert!(!world.zones.last().unwrap().1.is_signed());
}

#[test]
fn two_keys_with_hashed_denial() {
    let policy = Policy {
        keys: vec![
            spec(Role::Ksk, Algorithm::ED25519, Some(2 * 365)),
            spec(Role::Zsk, Algorithm::ED25519, Some(60)),
        ],
        nsec3: Some(Nsec3Policy { opt_out: true }),
        ..Policy::default()
    };
    let mut world = World::new(policy);
    world.run_until(START + 3 * 365 * DAY);
    assert!(world.secure(), "{:#?}", world.ring.keys);
    assert_eq!(world.parent.len(), 1 + 2);
}

#[test]
fn algorithms_and_roles_are_changed_and_signing_is_stopped() {
    let policy = Policy {
        keys: vec![
            spec(Role::Ksk, Algorithm::RSASHA256, None),
            spec(Role::Zsk, Algorithm::RSASHA256, Some(30)),
        ],
        nsec3: Some(Nsec3Policy { opt_out: false }),
        ..Policy::default()
    };
    let mut world = World::new(policy);
    world.run_until(START + 70 * DAY);
    assert!(world.secure(), "{:#?}", world.ring.keys);
    let algorithms = |world: &World| -> Vec<Algorithm> {
        let zone = &world.zones.last().unwrap().1;
        let keys = zone.set(0, RrType::DNSKEY);
        let rows = keys.iter().flat_map(RrSet::records);
        let mut all: Vec<Algorithm> = rows.map(|(rdata, _)| Algorithm(rdata[3])).collect();
        all.sort();
        all.dedup();
        all
    };
    assert_eq!(algorithms(&world), [Algorithm::RSASHA256]);
    // To one key of another algorithm, and from NSEC3 to NSEC; then back to two.
    world.policy = Policy::default();
    world.run_until(world.now + 40 * DAY);
    assert!(world.secure(), "{:#?}", world.ring.keys);
    assert_eq!(algorithms(&world), [Algorithm::ECDSAP256SHA256]);
    world.policy.keys = vec![
        spec(Role::Ksk, Algorithm::ECDSAP256SHA256, None),
        spec(Role::Zsk, Algorithm::ECDSAP256SHA256, None),
    ];
    world.run_until(world.now + 40 * DAY);
    assert!(world.secure(), "{:#?}", world.ring.keys);
    let current = world
        .ring
        .keys
        .iter()
        .filter(|key| key.key.state != State::Hidden);
    assert_eq!(current.count(), 2);
    // And to no signing at all.
    world.ring.stop = true;
    world.run_until(world.now + 30 * DAY);
    assert!(
        world.ring.keys.iter().all(states::Key::is_gone),
        "{:#?}",
        world.ring.keys
    );
    let zone = &world.zones.last().unwrap().1;
    assert!(!zone.is_signed() && !zone.has_signatures() && zone.set(0, RrType::CDS).is_none());
    assert_eq!(request(&world.ring.keys, world.now, true), Request::None);
    assert_eq!(world.parent.last().unwrap().1.len(), 0);
}

/// Where the serial that is served has run ahead of the file's.
#[test]
fn a_served_serial_that_is_ahead_hides_no_change() {
    let zone = |hm: &str, address: &str| {
        let text = format!("$TTL 60\n@ SOA ns {hm} 1 2 3 4 5\n@ NS ns\nns A 192.0.2.{address}\n");
        load("example.org", &text).zone.unwrap()
    };
    let (policy, mut ring) = (Policy::default(), Keyring::default());
    ring.tick(&policy, START).unwrap();
    let made = |base: &Zone, previous: Option<&Zone>| {
        let plan = ring.plan(&policy, START, false);
        sign(base, previous, &plan).unwrap().zone
    };
    let first = made(&zone("hm", "1"), None).unwrap();
    let second = made(&zone("hm", "2"), Some(&first)).unwrap();
    assert_eq!((first.serial(), second.serial()), (1, 2));
    assert!(made(&zone("hm", "2"), Some(&second)).is_none());
    let third = made(&zone("other", "2"), Some(&second)).unwrap();
    assert_eq!(third.serial(), 3);
    let soa = third.set(0, RrType::SOA).unwrap();
    assert!(
        soa.records()
            .any(|(rdata, _)| rdata.windows(5).any(|part| part == b"other"))
    );
}

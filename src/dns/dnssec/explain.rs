//! The state of a zone's keys in sentences: what each key does, what it waits for, until when, and
//! what the operator has to do.

use serde_json::{Value, json};

use super::ds::{DigestType, Ds};
use super::keyring::Keyring;
use super::policy::{Policy, Time};
use super::states::{self, Key, Request, State};
use crate::wire::code::RrType;
use crate::wire::name::NameRef;
use crate::wire::rdata::Rdata;

/// A point in time as people read it.
pub fn shown(time: Time) -> String {
    let mut digits = String::new();
    // Writing to a String does not fail; before 1970 and after 2106 no key is made.
    let _ = crate::wire::rdata::write_time(time.clamp(0, i64::from(u32::MAX)) as u32, &mut digits);
    let part = |from: usize, to: usize| digits.get(from..to).unwrap_or("").to_owned();
    format!(
        "{}-{}-{} {}:{} UTC",
        part(0, 4),
        part(4, 6),
        part(6, 8),
        part(8, 10),
        part(10, 12)
    )
}

/// The DS record for a key, as a zone file of the parent has it.
pub fn ds_text(zone: NameRef<'_>, dnskey: &[u8]) -> Option<String> {
    let rdata = Ds::make(zone, dnskey, DigestType::SHA256)?;
    let data = Rdata {
        rr_type: RrType::DS,
        bytes: &rdata,
    };
    Some(format!("{zone} IN DS {data}"))
}

/// Everything about a zone's keys; `next` is when something happens by itself next.
pub fn explain(
    zone: NameRef<'_>,
    ring: &Keyring,
    policy: &Policy,
    now: Time,
    next: Option<Time>,
) -> Value {
    let request = states::request(&ring.keys, now, ring.stop);
    let keys: Vec<Value> = ring
        .keys
        .iter()
        .enumerate()
        .map(|(index, key)| {
            let asked = matches!(&request, Request::Keys(list) if list.contains(&index));
            json!({
                "tag": key.tag,
                "role": key.role.name(),
                "algorithm": key.algorithm.to_string(),
                "created": shown(key.created),
                "use": if key.wanted { "in use" } else { "on its way out" },
                "dnskey": key.key.state.name(),
                "signatures": if key.role.signs_zone() { key.signatures.state.name() } else { "-" },
                "ds": if key.role.signs_keys() { key.ds.state.name() } else { "-" },
                "says": sentences(key, ring, policy, asked),
                "ds_record": key.role.signs_keys().then(|| ds_text(zone, &key.dnskey)).flatten(),
            })
        })
        .collect();
    json!({
        "zone": zone.to_string(),
        "summary": summary(ring, now),
        "todo": todo(zone, ring, &request),
        "next": next.map(shown),
        "whole": states::is_whole(&ring.keys),
        "keys": keys,
    })
}

fn summary(ring: &Keyring, now: Time) -> String {
    let secure = ring
        .keys
        .iter()
        .any(|key| key.ds.state == State::Omnipresent);
    let rolling = ring.keys.iter().filter(|key| !key.wanted && !key.is_gone());
    if ring.keys.iter().all(Key::is_gone) && ring.stop {
        return "The zone is not signed any more.".to_owned();
    }
    if ring.stop {
        return "Signing is being stopped: the zone stays signed until no cache holds its DS."
            .to_owned();
    }
    let rolling = rolling.count();
    let chain = match (secure, states::request(&ring.keys, now, false)) {
        (true, _) => "The zone is signed, and its parent vouches for it.",
        (false, Request::Keys(_)) => {
            "The zone is signed; its parent does not vouch for it yet, or not in every cache."
        }
        (false, _) => "The zone is signed; it is too early to tell the parent.",
    };
    match rolling {
        0 => chain.to_owned(),
        1 => format!("{chain} A key is being replaced."),
        many => format!("{chain} {many} keys are being replaced."),
    }
}

/// What the operator has to do, if anything.
fn todo(zone: NameRef<'_>, ring: &Keyring, request: &Request) -> Vec<String> {
    let mut list = Vec::new();
    match request {
        Request::None => {}
        Request::Delete => {
            if ring.keys.iter().any(|key| key.ds.state.is_published()) {
                list.push(format!(
                    "Have the parent remove all DS records of {zone}; then run `omnid zone keys \
                     {zone} --ds-seen`, unless parental agents are configured."
                ));
            }
        }
        Request::Keys(indices) => {
            let asked: Vec<&Key> = indices
                .iter()
                .filter_map(|index| ring.keys.get(*index))
                .collect();
            let surplus = ring
                .keys
                .iter()
                .any(|key| key.ds.state.is_published() && !asked.iter().any(|a| a.tag == key.tag));
            let missing = asked.iter().any(|key| !key.ds.state.is_published());
            if missing || surplus {
                let records: Vec<String> = asked
                    .iter()
                    .filter_map(|key| ds_text(zone, &key.dnskey))
                    .collect();
                list.push(format!(
                    "Have the parent publish exactly this, in place of any other DS of {zone}: {}. \
                     A parent that reads CDS records does so by itself. Then run `omnid zone keys \
                     {zone} --ds-seen`, unless parental agents are configured.",
                    records.join(" and ")
                ));
            }
        }
    }
    list
}

fn sentences(key: &Key, ring: &Keyring, policy: &Policy, asked: bool) -> Vec<String> {
    let mut says = Vec::new();
    let until = |since: Time, wait: i64| shown(since + wait);
    match key.key.state {
        State::Hidden if key.wanted => says.push(
            "It is made but not published: the signatures it makes must reach every cache first."
                .to_owned(),
        ),
        State::Hidden => says.push("It is not published.".to_owned()),
        State::Rumoured => says.push(format!(
            "It is published; caches may not know it before {}.",
            until(key.key.since, policy.key_wait())
        )),
        State::Omnipresent => says.push("It is published and known everywhere.".to_owned()),
        State::Unretentive => says.push(format!(
            "It has been withdrawn; caches may still hold it until {}.",
            until(key.key.since, policy.key_gone_wait())
        )),
    }
    if key.role.signs_zone() {
        match key.signatures.state {
            State::Hidden if key.wanted => {
                says.push("It will sign the zone once it is known everywhere.".to_owned());
            }
            State::Hidden => {}
            State::Rumoured => says.push(format!(
                "It signs the zone; caches may hold other signatures until {}.",
                until(key.signatures.since, policy.signature_wait())
            )),
            State::Omnipresent => says.push("It signs the zone.".to_owned()),
            State::Unretentive => says.push(format!(
                "It signs the zone no longer; caches may hold its signatures until {}.",
                until(key.signatures.since, policy.signature_wait())
            )),
        }
    }
    if key.role.signs_keys() {
        match key.ds.state {
            State::Hidden if key.wanted && asked => says.push(
                "It waits for its DS record in the parent zone: that has no end of its own."
                    .to_owned(),
            ),
            State::Hidden if key.wanted => {
                says.push("It must not have a DS record yet.".to_owned())
            }
            State::Hidden => {}
            State::Rumoured => says.push(format!(
                "The parent has its DS record; caches may not have it before {}.",
                until(key.ds.since, policy.ds_wait())
            )),
            State::Omnipresent if key.wanted => {
                says.push("The parent vouches for it.".to_owned());
            }
            State::Omnipresent => says.push(
                "The parent still vouches for it, and it stays until that has ended.".to_owned(),
            ),
            State::Unretentive => says.push(format!(
                "The parent has withdrawn its DS record; caches may hold it until {}.",
                until(key.ds.since, policy.ds_wait())
            )),
        }
    }
    if !key.wanted && !key.is_gone() && key.key.state == State::Omnipresent && !ring.stop {
        says.push("It goes once its successor has taken its place.".to_owned());
    }
    if let Some(lifetime) = policy
        .keys
        .iter()
        .find(|spec| spec.role == key.role && spec.algorithm == key.algorithm)
        .and_then(|spec| spec.lifetime)
        .filter(|_| key.wanted)
    {
        let end = states::end_of(key, lifetime);
        says.push(format!("Its successor takes over around {}.", shown(end)));
    }
    says
}

//! Keys that BIND made: `K….key`, `.private` and `.state`. They are taken over as they are, so that
//! nobody sees a difference.

use super::algorithm::Algorithm;
use super::key::{DnsKey, key_tag};
use super::keyring::Keyring;
use super::policy::{Policy, Role, Time};
use super::private::PrivateKey;
use super::states::{Key, Stage, State};
use crate::wire::code::RrType;
use crate::wire::name::Name;
use crate::wire::record::OwnRecord;

/// The files of one key.
#[derive(Debug, Clone, Default)]
pub struct KeyFiles {
    /// Their name without what is behind the last dot.
    pub name: String,
    /// `.key`: the DNSKEY record.
    pub public: String,
    /// `.private`.
    pub private: String,
    /// `.state`, which only dnssec-policy writes.
    pub state: Option<String>,
}

/// Makes a keyring out of key files. Fails where the policy would begin a roll at once: that is to
/// be meant, not an accident.
pub fn import(files: &[KeyFiles], policy: &Policy, now: Time) -> Result<Keyring, String> {
    let mut read = Vec::new();
    for files in files {
        let told = |reason: String| format!("{}: {reason}", files.name);
        read.push((files, read_pair(files).map_err(told)?));
    }
    let zone_keys = |algorithm: Algorithm| {
        read.iter()
            .any(|(_, (flags, secret))| *flags == 256 && secret.algorithm() == algorithm)
    };
    let roles: Vec<Role> = read
        .iter()
        .map(|(files, (flags, secret))| {
            let says = |what| value(files.state.as_deref().unwrap_or(""), what) == Some("yes");
            match (flags & DnsKey::SEP != 0, says("KSK") && says("ZSK")) {
                (false, _) => Role::Zsk,
                (true, true) => Role::Csk,
                (true, false) if zone_keys(secret.algorithm()) => Role::Ksk,
                (true, false) => Role::Csk,
            }
        })
        .collect();
    let mut ring = Keyring::default();
    for ((files, (flags, secret)), role) in read.into_iter().zip(roles) {
        let dnskey = secret.dnskey(flags);
        let mut key = Key {
            tag: key_tag(&dnskey),
            algorithm: secret.algorithm(),
            role,
            bits: rsa_bits(&secret),
            dnskey,
            // Lifetimes count from here: a key that is old would otherwise be replaced at once.
            created: now,
            wanted: true,
            key: Stage::NEVER,
            signatures: Stage::NEVER,
            ds: Stage::NEVER,
            asked: false,
        };
        match &files.state {
            Some(state) => by_state(&mut key, state, now),
            None => by_times(&mut key, &files.private, now),
        }
        ring.add(key, secret);
    }
    if !ring.keys.iter().any(|key| key.wanted) {
        return Err("none of the keys is in use".to_owned());
    }
    let mut after = ring.clone();
    after.tick(policy, now).map_err(|error| error.to_string())?;
    if after.keys.len() > ring.keys.len() {
        let held: Vec<String> = ring
            .keys
            .iter()
            .filter(|key| key.wanted)
            .map(|key| format!("{} {}", key.role.name(), key.algorithm))
            .collect();
        return Err(format!(
            "the policy wants other keys than those imported ({}), and would replace them at once; \
             describe these in the policy first",
            held.join(", ")
        ));
    }
    Ok(ring)
}

/// Flags and secret.
fn read_pair(files: &KeyFiles) -> Result<(u16, PrivateKey), String> {
    let lines = files.public.lines().map(str::trim);
    let line = lines
        .filter(|line| !line.is_empty() && !line.starts_with(';'))
        .find_map(|line| line.split_once("DNSKEY"))
        .map(|(_, data)| data.trim());
    let data = line.ok_or("no DNSKEY record in the .key file")?;
    let record = OwnRecord::from_text(root()?, RrType::DNSKEY, 0, data)?;
    let dnskey = DnsKey::read(&record.rdata).ok_or("no DNSKEY record in the .key file")?;
    let secret = PrivateKey::from_text(&files.private, dnskey.algorithm, dnskey.key)
        .map_err(|error| error.to_string())?;
    // What is written back must be the same record.
    if secret.dnskey(dnskey.flags) != record.rdata || !matches!(dnskey.flags, 256 | 257) {
        return Err("not a key that signs zones".to_owned());
    }
    Ok((dnskey.flags, secret))
}

fn root() -> Result<Name, String> {
    Name::from_text(".").map_err(|error| error.to_string())
}

fn rsa_bits(secret: &PrivateKey) -> u16 {
    match secret.algorithm() {
        Algorithm::RSASHA256 | Algorithm::RSASHA512 => {
            let modulus = super::algorithm::rsa_parts(secret.public()).map_or(0, |(_, n)| n.len());
            u16::try_from(modulus * 8).unwrap_or(0)
        }
        _ => 0,
    }
}

/// What a line `name: value …` says.
fn value<'t>(text: &'t str, name: &str) -> Option<&'t str> {
    let mut lines = text.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(field, _)| field.trim() == name)?;
    value.split_whitespace().next()
}

fn time(text: &str, name: &str) -> Option<Time> {
    crate::wire::rdata::read_time(value(text, name)?.as_bytes()).map(Time::from)
}

fn by_state(key: &mut Key, state: &str, now: Time) {
    let stage = |record: &str| {
        let read = value(state, &format!("{record}State")).and_then(State::from_name);
        Stage {
            state: read.unwrap_or(State::Hidden),
            since: time(state, &format!("{record}Change")).unwrap_or(now),
        }
    };
    key.key = stage("DNSKEY");
    if key.role.signs_zone() {
        key.signatures = stage("ZRRSIG");
    }
    if key.role.signs_keys() {
        key.ds = stage("DS");
    }
    let goal = value(state, "GoalState").and_then(State::from_name);
    key.wanted = match goal {
        Some(goal) => goal == State::Omnipresent,
        None => time(state, "Retired").is_none_or(|at| at > now),
    };
    // A state file that dnssec-keygen wrote has no states yet: named sets them.
    if value(state, "DNSKEYState").is_none() {
        by_times_of(
            key,
            |name| match name {
                "Publish" => time(state, "Published"),
                "Activate" => time(state, "Active"),
                "Inactive" => time(state, "Retired"),
                _ => time(state, "Removed"),
            },
            now,
        );
    }
}

fn by_times(key: &mut Key, private: &str, now: Time) {
    by_times_of(key, |name| time(private, name), now);
}

/// Without states: what is published has been so for long, and the parent vouches for the keys that
/// it can vouch for. To take that for true where it is not keeps a key longer than it need be.
fn by_times_of(key: &mut Key, at: impl Fn(&str) -> Option<Time>, now: Time) {
    let since = |name: &str| at(name).filter(|at| *at <= now);
    let known = |at: Option<Time>| {
        at.map_or(Stage::NEVER, |since| Stage {
            state: State::Omnipresent,
            since,
        })
    };
    let gone = since("Delete").is_some();
    key.wanted = since("Inactive").is_none() && !gone;
    if gone {
        return;
    }
    key.key = known(since("Publish"));
    let active = since("Activate").filter(|_| since("Inactive").is_none());
    if key.role.signs_zone() {
        key.signatures = known(active);
    }
    if key.role.signs_keys() {
        key.ds = known(active);
    }
}

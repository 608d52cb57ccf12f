//! The states of keys (RFC 7583), as a machine over a clock.
//!
//! Of each key three things are seen by others: its DNSKEY record, the signatures it makes in the
//! zone, and the DS record that means it. Each is hidden, rumoured (published, but not in every
//! cache), omnipresent, or unretentive (withdrawn, but still in some caches). A step is taken only
//! if afterwards every view that some cache may have of DS set, key set and signatures still makes
//! an unbroken chain; so pre-publication, double signatures and the order of an algorithm roll are
//! not written down anywhere: they follow.

use super::algorithm::Algorithm;
use super::policy::{KeySpec, Policy, Role, Seconds, Time};

/// How far others know of something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// In no cache.
    Hidden,
    /// Published; caches may hold what was before.
    Rumoured,
    /// In every cache that holds anything.
    Omnipresent,
    /// Withdrawn; caches may still hold it.
    Unretentive,
}

impl State {
    /// As in output, and in BIND's key files.
    pub fn name(self) -> &'static str {
        match self {
            State::Hidden => "hidden",
            State::Rumoured => "rumoured",
            State::Omnipresent => "omnipresent",
            State::Unretentive => "unretentive",
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<State> {
        [
            State::Hidden,
            State::Rumoured,
            State::Omnipresent,
            State::Unretentive,
        ]
        .into_iter()
        .find(|state| state.name().eq_ignore_ascii_case(name))
    }

    /// True of what is published now.
    pub fn is_published(self) -> bool {
        matches!(self, State::Rumoured | State::Omnipresent)
    }
}

/// A state and since when.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stage {
    /// State.
    pub state: State,
    /// Since.
    pub since: Time,
}

impl Stage {
    /// Never seen by anybody.
    pub const NEVER: Stage = Stage {
        state: State::Hidden,
        since: 0,
    };

    fn set(&mut self, state: State, now: Time) {
        *self = Stage { state, since: now };
    }
}

/// A key of a zone, and what others know of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// Tag.
    pub tag: u16,
    /// Algorithm.
    pub algorithm: Algorithm,
    /// What it is for.
    pub role: Role,
    /// Size, if it is one of RSA.
    pub bits: u16,
    /// The data of its DNSKEY record.
    pub dnskey: Vec<u8>,
    /// When it was made.
    pub created: Time,
    /// It is to be used; else it is on its way out.
    pub wanted: bool,
    /// Its DNSKEY record.
    pub key: Stage,
    /// Its signatures in the zone.
    pub signatures: Stage,
    /// The DS record that means it.
    pub ds: Stage,
}

impl Key {
    /// A key that nobody has seen yet.
    pub fn new(spec: &KeySpec, tag: u16, dnskey: Vec<u8>, now: Time) -> Key {
        Key {
            tag,
            algorithm: spec.algorithm,
            role: spec.role,
            bits: spec.bits,
            dnskey,
            created: now,
            wanted: true,
            key: Stage::NEVER,
            signatures: Stage::NEVER,
            ds: Stage::NEVER,
        }
    }

    fn is_of(&self, spec: &KeySpec) -> bool {
        let rsa = matches!(spec.algorithm, Algorithm::RSASHA256 | Algorithm::RSASHA512);
        self.role == spec.role
            && self.algorithm == spec.algorithm
            && (!rsa || self.bits == spec.bits)
    }

    /// True of a key of which nothing is left anywhere.
    pub fn is_gone(&self) -> bool {
        let hidden = |stage: &Stage| stage.state == State::Hidden;
        !self.wanted && hidden(&self.key) && hidden(&self.signatures) && hidden(&self.ds)
    }

    fn stage(&mut self, thing: Thing) -> &mut Stage {
        match thing {
            Thing::Key => &mut self.key,
            Thing::Signatures => &mut self.signatures,
            Thing::Ds => &mut self.ds,
        }
    }
}

/// What others see of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Thing {
    Key,
    Signatures,
    Ds,
}

/// What came of a look at the clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ticked {
    /// Something is to be published otherwise than before, or kept.
    pub changed: bool,
    /// When to look again, if nothing happens before.
    pub next: Option<Time>,
}

/// How long a key of which nothing is left is kept for the record.
const PURGE: Seconds = 90 * 86_400;

/// Takes all steps that are due. `make` makes a key for a specification. With `stop` the zone is to
/// become unsigned.
pub fn tick<E>(
    policy: &Policy,
    keys: &mut Vec<Key>,
    now: Time,
    stop: bool,
    mut make: impl FnMut(&KeySpec) -> Result<Key, E>,
) -> Result<Ticked, E> {
    let before = keys.clone();
    let mut next = None;
    if stop {
        keys.iter_mut().for_each(|key| key.wanted = false);
    } else {
        want(policy, keys, now, &mut next, &mut make)?;
    }
    while step(policy, keys, now) {}
    keys.retain(|key| {
        let last = key.key.since.max(key.ds.since).max(key.signatures.since);
        !(key.is_gone() && now >= last.max(key.created) + PURGE)
    });
    for key in keys.iter() {
        for due in [Thing::Key, Thing::Signatures, Thing::Ds] {
            earliest(&mut next, timed(policy, key, due).map(|(_, at)| at));
        }
    }
    Ok(Ticked {
        changed: *keys != before,
        next,
    })
}

fn earliest(next: &mut Option<Time>, at: Option<Time>) {
    *next = match (*next, at) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    };
}

/// Sees to it that there is one wanted key for each that the policy names.
fn want<E>(
    policy: &Policy,
    keys: &mut Vec<Key>,
    now: Time,
    next: &mut Option<Time>,
    make: &mut impl FnMut(&KeySpec) -> Result<Key, E>,
) -> Result<(), E> {
    for spec in &policy.keys {
        let rolling = keys
            .iter()
            .any(|key| key.is_of(spec) && !key.wanted && !key.is_gone());
        let newest = keys
            .iter()
            .filter(|key| key.wanted && key.is_of(spec))
            .max_by_key(|key| key.created);
        let replace = match newest {
            None => true,
            Some(key) => {
                let end = spec
                    .lifetime
                    .filter(|_| key.key.state == State::Omnipresent && !rolling)
                    .map(|lifetime| end_of(key, lifetime) - policy.key_wait());
                earliest(next, end.filter(|end| *end > now));
                end.is_some_and(|end| end <= now)
            }
        };
        if replace {
            let made = make(spec)?;
            keys.push(made);
        }
        let newest = keys
            .iter()
            .filter(|key| key.wanted && key.is_of(spec))
            .max_by_key(|key| key.created)
            .map(|key| (key.tag, key.created));
        for key in keys.iter_mut().filter(|key| key.is_of(spec)) {
            key.wanted &= Some((key.tag, key.created)) == newest;
        }
    }
    for key in keys.iter_mut() {
        key.wanted &= policy.keys.iter().any(|spec| key.is_of(spec));
    }
    Ok(())
}

/// When a key's lifetime is over: counted from when it was first published.
pub fn end_of(key: &Key, lifetime: Seconds) -> Time {
    key.created + lifetime
}

/// Takes one step, or one that several keys take together; false if none is due.
fn step(policy: &Policy, keys: &mut Vec<Key>, now: Time) -> bool {
    for index in 0..keys.len() {
        for thing in [Thing::Signatures, Thing::Key, Thing::Ds] {
            let Some(key) = keys.get(index) else { continue };
            if let Some((state, at)) = timed(policy, key, thing) {
                if at <= now
                    && let Some(key) = keys.get_mut(index)
                {
                    key.stage(thing).set(state, now);
                    return true;
                }
                continue;
            }
            let Some(state) = willed(keys, index, thing) else {
                continue;
            };
            if try_step(keys, &[index], thing, state, now) {
                return true;
            }
            // The first and the last keys of an algorithm come and go together.
            let algorithm = keys.get(index).map(|key| key.algorithm);
            let group: Vec<usize> = (0..keys.len())
                .filter(|other| keys.get(*other).map(|key| key.algorithm) == algorithm)
                .filter(|other| willed(keys, *other, thing) == Some(state))
                .collect();
            if group.len() > 1 && try_step(keys, &group, thing, state, now) {
                return true;
            }
        }
    }
    false
}

/// The step that time alone brings.
fn timed(policy: &Policy, key: &Key, thing: Thing) -> Option<(State, Time)> {
    let (stage, known, forgotten) = match thing {
        Thing::Key => (key.key, policy.key_wait(), policy.key_gone_wait()),
        Thing::Signatures => {
            let wait = policy.signature_wait();
            (key.signatures, wait, wait)
        }
        Thing::Ds => (key.ds, policy.ds_wait(), policy.ds_wait()),
    };
    match stage.state {
        // What is to go need not become known first.
        State::Rumoured if !key.wanted && thing != Thing::Ds => None,
        State::Rumoured => Some((State::Omnipresent, stage.since + known)),
        State::Unretentive => Some((State::Hidden, stage.since + forgotten)),
        _ => None,
    }
}

/// The step that is wished for, if the others allow it.
fn willed(keys: &[Key], index: usize, thing: Thing) -> Option<State> {
    let key = keys.get(index)?;
    let peers = || {
        keys.iter()
            .enumerate()
            .filter(move |(other, peer)| *other != index && peer.algorithm == key.algorithm)
            .map(|(_, peer)| peer)
    };
    match thing {
        Thing::Key if key.wanted => (key.key.state == State::Hidden).then_some(State::Rumoured),
        Thing::Key => {
            // A key that others may still be told to look for, or to check signatures with, stays;
            // signatures of an algorithm on its way out stay longer than its keys (RFC 6781 4.1.4).
            let last = !peers().any(|peer| peer.wanted);
            let unused = key.signatures.state == State::Hidden || last;
            let published = key.key.state.is_published();
            (published && key.ds.state == State::Hidden && unused).then_some(State::Unretentive)
        }
        Thing::Signatures if !key.role.signs_zone() => None,
        Thing::Signatures if key.wanted => {
            let signed = peers().any(|peer| peer.signatures.state.is_published());
            let ready = key.key.state == State::Omnipresent || !signed;
            (key.signatures.state == State::Hidden && ready).then_some(State::Rumoured)
        }
        Thing::Signatures => key
            .signatures
            .state
            .is_published()
            .then_some(State::Unretentive),
        // The parent's to do.
        Thing::Ds => None,
    }
}

/// Takes a step if every view that is whole now is so afterwards.
fn try_step(keys: &mut Vec<Key>, group: &[usize], thing: Thing, state: State, now: Time) -> bool {
    let mut after = keys.clone();
    for index in group {
        if let Some(key) = after.get_mut(*index) {
            key.stage(thing).set(state, now);
        }
    }
    let safe = is_whole(&after) || !is_whole(keys);
    if safe {
        *keys = after;
    }
    safe
}

/// True if the zone validates with every combination of DS set, key set and signatures that a
/// resolver may hold.
pub fn is_whole(keys: &[Key]) -> bool {
    let ds_views = views(keys, |key| key.ds);
    let key_views = views(keys, |key| key.key);
    let signature_views = views(keys, |key| key.signatures);
    ds_views.iter().all(|ds| {
        key_views.iter().all(|published| {
            signature_views
                .iter()
                .all(|signing| validates(keys, ds, published, signing))
        })
    })
}

/// What a cache may hold, one row for each time at which something changed that is not yet settled.
fn views(keys: &[Key], stage: impl Fn(&Key) -> Stage) -> Vec<Vec<bool>> {
    let unsettled = |stage: &Stage| matches!(stage.state, State::Rumoured | State::Unretentive);
    let mut times: Vec<Time> = keys
        .iter()
        .map(&stage)
        .filter(unsettled)
        .map(|stage| stage.since)
        .collect();
    times.push(Time::MIN);
    times.sort_unstable();
    times.dedup();
    let view = |at: &Time| {
        let held = |key: &Key| {
            let stage = stage(key);
            match stage.state {
                State::Hidden => false,
                State::Omnipresent => true,
                State::Rumoured => stage.since <= *at,
                State::Unretentive => stage.since > *at,
            }
        };
        keys.iter().map(held).collect()
    };
    times.iter().map(view).collect()
}

/// RFC 4035 2.2 to the letter: each algorithm of the DS set has a key that it means, and each
/// algorithm of the key set signs both the keys and the zone.
fn validates(keys: &[Key], ds: &[bool], published: &[bool], signing: &[bool]) -> bool {
    if !ds.contains(&true) {
        return true;
    }
    let rows = || {
        keys.iter()
            .zip(ds.iter().zip(published).zip(signing))
            .map(|(key, ((ds, published), signing))| (key, *ds, *published, *signing))
    };
    let found = |algorithm: Algorithm, test: &dyn Fn(&Key, bool, bool, bool) -> bool| {
        rows().any(|(key, ds, published, signing)| {
            key.algorithm == algorithm && test(key, ds, published, signing)
        })
    };
    rows().all(|(key, has_ds, is_published, _)| {
        let chained = !has_ds || found(key.algorithm, &|_, ds, published, _| ds && published);
        let signed = !is_published
            || found(key.algorithm, &|key, _, published, _| {
                published && key.role.signs_keys()
            }) && found(key.algorithm, &|_, _, published, signing| {
                published && signing
            });
        chained && signed
    })
}

/// True if the parent may publish a DS for a key: every cache could follow it.
pub fn is_ready_for_ds(keys: &[Key], index: usize, now: Time) -> bool {
    let mut after = keys.to_vec();
    let Some(key) = after.get_mut(index) else {
        return false;
    };
    if !key.role.signs_keys() || !key.wanted || key.key.state != State::Omnipresent {
        return false;
    }
    if key.ds.state.is_published() {
        return true;
    }
    // As if alone: the parent may put it in the place of all others.
    for other in &mut after {
        if other.ds.state.is_published() {
            other.ds.set(State::Unretentive, now);
        }
    }
    if let Some(key) = after.get_mut(index) {
        key.ds.set(State::Rumoured, now);
    }
    is_whole(&after)
}

/// What the zone's CDS and CDNSKEY records ask of the parent (RFC 7344, RFC 8078).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Nothing.
    None,
    /// A DS set of these keys, by their place in the list.
    Keys(Vec<usize>),
    /// No DS set.
    Delete,
}

/// What to ask of the parent.
pub fn request(keys: &[Key], now: Time, stop: bool) -> Request {
    let has_ds = |key: &Key| key.ds.state.is_published();
    if stop {
        let any = keys.iter().any(|key| key.ds.state != State::Hidden);
        return if any { Request::Delete } else { Request::None };
    }
    let mut wanted: Vec<usize> = (0..keys.len())
        .filter(|index| is_ready_for_ds(keys, *index, now))
        .collect();
    if wanted.is_empty() {
        wanted = (0..keys.len())
            .filter(|index| keys.get(*index).is_some_and(has_ds))
            .collect();
    }
    if wanted.is_empty() {
        Request::None
    } else {
        Request::Keys(wanted)
    }
}

/// Takes note of the DS set that the parent has; `present` tells whether it means a key.
pub fn observe(keys: &mut [Key], now: Time, present: impl Fn(&Key) -> bool) -> bool {
    let mut changed = false;
    for key in keys.iter_mut().filter(|key| key.role.signs_keys()) {
        let state = match (present(key), key.ds.state) {
            (true, State::Hidden | State::Unretentive) => State::Rumoured,
            (false, State::Rumoured | State::Omnipresent) => State::Unretentive,
            _ => continue,
        };
        key.ds.set(state, now);
        changed = true;
    }
    changed
}

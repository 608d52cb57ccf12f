//! Signs a zone: keys, denial and signatures put to what the zone file says.
//!
//! Signatures of the zone as it was signed before are taken over where the set they sign is the
//! same and they are not due, so that a change costs the signatures of what changed.

use std::hash::{DefaultHasher, Hash as _, Hasher};

use super::algorithm::Algorithm;
use super::ds::{DigestType, Ds};
use super::nsec3::{self, Hash, Nsec3Hash};
use super::policy::{Policy, Time};
use super::private::{PrivateKey, PrivateKeyError};
use super::rrset::signed_labels;
use super::rrsig::Rrsig;
use super::types::write_types;
use crate::engine::zone::{Built, Cut, Found, NodeId, RrSet, Zone, build};
use crate::wire::code::{Class, RrType};
use crate::wire::master::{Place, Records, Sources};
use crate::wire::name::{Name, NameRef};

/// A key as the signer needs it.
#[derive(Debug, Clone, Copy)]
pub struct Signing<'k> {
    /// The key.
    pub private: &'k PrivateKey,
    /// Tag.
    pub tag: u16,
    /// It signs the key set, and what speaks to the parent.
    pub keys: bool,
    /// It signs the rest.
    pub zone: bool,
}

/// What to put into a zone.
#[derive(Debug)]
pub struct Plan<'k> {
    /// How.
    pub policy: &'k Policy,
    /// DNSKEY records.
    pub published: Vec<Vec<u8>>,
    /// Keys that sign.
    pub signing: Vec<Signing<'k>>,
    /// DNSKEY data of the keys that the parent shall have a DS for.
    pub cds: Vec<Vec<u8>>,
    /// The parent shall have no DS (RFC 8078 4).
    pub delete_ds: bool,
    /// Now.
    pub now: Time,
    /// Replace every signature.
    pub all: bool,
    /// A serial that the zone was served under, whether or not that zone is still to be had.
    pub least_serial: Option<u32>,
}

/// A zone, signed.
#[derive(Debug)]
pub struct Signed {
    /// The zone; none if it is the one signed before.
    pub zone: Option<Zone>,
    /// Signatures made.
    pub made: usize,
    /// When the first signature is due to be replaced.
    pub due: Time,
}

/// Why a zone cannot be signed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// A key failed.
    #[error("{0}")]
    Key(#[from] PrivateKeyError),
    /// What was put together is no zone.
    #[error("{0}")]
    Zone(String),
}

/// Signatures are valid from so long ago, for clocks that are slow.
const INCEPTION: Time = 3600;
/// Signatures due within this are replaced together, under one serial.
const TOGETHER: Time = 3600;

/// True of types that only a signer puts into a zone.
pub fn is_signers(rr_type: RrType) -> bool {
    matches!(
        rr_type,
        RrType::RRSIG
            | RrType::NSEC
            | RrType::NSEC3
            | RrType::NSEC3PARAM
            | RrType::DNSKEY
            | RrType::CDS
            | RrType::CDNSKEY
    )
}

/// A set on its way into the signed zone.
struct Set {
    owner: Name,
    rr_type: RrType,
    ttl: u32,
    records: Vec<Vec<u8>>,
    signed: bool,
}

/// Signs a zone. `previous` is the zone as it was signed and served before.
pub fn sign(base: &Zone, previous: Option<&Zone>, plan: &Plan<'_>) -> Result<Signed, SignError> {
    let mut sets = Vec::new();
    let names = collect(base, plan, &mut sets);
    if plan.signing.iter().any(|key| key.zone) {
        match plan.policy.nsec3 {
            None => add_nsec(base, &names, plan, &mut sets),
            Some(_) => add_nsec3(base, &names, plan, &mut sets)?,
        }
    }
    // The SOA's serial is settled last: it changes if anything else does. Till then it is the one
    // that is served, which may be ahead of the file's.
    let soa = sets.iter().position(|set| set.rr_type == RrType::SOA);
    let base_serial = base.serial();
    if let Some(held) = previous.filter(|held| !is_later(base_serial, held.serial()))
        && let Some(set) = soa.and_then(|at| sets.get_mut(at))
    {
        for rdata in &mut set.records {
            set_serial(rdata, held.serial());
        }
    }
    let unchanged = |set: &Set| previous.is_some_and(|previous| is_held(previous, set));
    let same_sets = previous.is_some_and(|previous| {
        let held = previous
            .node_ids()
            .flat_map(|id| previous.sets(id))
            .filter(|set| set.rr_type != RrType::RRSIG)
            .count();
        held == sets.len()
    });
    let mut made = 0;
    let mut due = Time::MAX;
    let mut signatures: Vec<Vec<Vec<u8>>> = Vec::with_capacity(sets.len());
    let mut changed = !same_sets;
    for set in &sets {
        let held = unchanged(set);
        changed |= !held;
        let known = previous.filter(|_| held && !plan.all);
        let rows = sign_set(base.apex(), set, known, plan, &mut made, &mut due)?;
        signatures.push(rows);
    }
    changed |= made > 0 || previous.is_some_and(|held| count(held) != total(&signatures));
    let serial = match previous {
        None => match plan.least_serial {
            Some(least) if !is_later(base_serial, least) => least.wrapping_add(1),
            _ => base_serial,
        },
        Some(held) if !changed && !is_later(base_serial, held.serial()) => {
            return Ok(Signed {
                zone: None,
                made: 0,
                due,
            });
        }
        Some(held) if is_later(base_serial, held.serial()) => base_serial,
        Some(held) => held.serial().wrapping_add(1),
    };
    if let Some((set, rows)) = soa.and_then(|at| Some((sets.get_mut(at)?, signatures.get_mut(at)?)))
    {
        for rdata in &mut set.records {
            set_serial(rdata, serial);
        }
        *rows = sign_set(base.apex(), set, None, plan, &mut made, &mut due)?;
    }
    let zone = assemble(base, &sets, &signatures)?;
    Ok(Signed {
        zone: Some(zone),
        made,
        due,
    })
}

fn is_later(serial: u32, than: u32) -> bool {
    (serial.wrapping_sub(than) as i32) > 0
}

fn count(zone: &Zone) -> usize {
    zone.node_ids()
        .filter_map(|id| zone.set(id, RrType::RRSIG))
        .map(|set| set.len())
        .sum()
}

fn total(signatures: &[Vec<Vec<u8>>]) -> usize {
    signatures.iter().map(Vec::len).sum()
}

/// Replaces the serial in the data of an SOA record.
fn set_serial(soa: &mut [u8], serial: u32) {
    let at = soa.len().checked_sub(20);
    if let Some(slot) = at.and_then(|at| soa.get_mut(at..at + 4)) {
        slot.copy_from_slice(&serial.to_be_bytes());
    }
}

/// A name of the zone that has a place in its chain of denial.
struct Link {
    id: NodeId,
    types: Vec<RrType>,
    /// A delegation without DS.
    insecure: bool,
}

/// Takes over what the zone file says, and adds the keys.
fn collect(base: &Zone, plan: &Plan<'_>, sets: &mut Vec<Set>) -> Vec<Link> {
    let mut names = Vec::new();
    for id in base.node_ids() {
        let owner = base.name(id).to_owned();
        let (delegation, occluded) = match base.cut(Found::Exact(id)) {
            Some(Cut::Delegation(cut)) => (cut == id, cut != id),
            Some(Cut::Dname(_)) => (false, true),
            None => (false, false),
        };
        let mut types = Vec::new();
        for set in base.sets(id).filter(|set| !is_signers(set.rr_type)) {
            let signed = !occluded && (!delegation || set.rr_type == RrType::DS);
            // RFC 4034 4.1.2: what is not this zone's to say has no place in its map.
            if !occluded && (!delegation || matches!(set.rr_type, RrType::DS | RrType::NS)) {
                types.push(set.rr_type);
            }
            sets.push(taken(&owner, &set, signed));
        }
        if id == 0 {
            add_keys(&owner, base, plan, sets, &mut types);
        }
        if !occluded {
            let insecure = delegation && !types.contains(&RrType::DS);
            names.push(Link {
                id,
                types,
                insecure,
            });
        }
    }
    names
}

fn taken(owner: &Name, set: &RrSet<'_>, signed: bool) -> Set {
    Set {
        owner: owner.clone(),
        rr_type: set.rr_type,
        ttl: set.ttl,
        records: set.records().map(|(rdata, _)| rdata.to_vec()).collect(),
        signed,
    }
}

fn add_keys(
    owner: &Name,
    base: &Zone,
    plan: &Plan<'_>,
    sets: &mut Vec<Set>,
    types: &mut Vec<RrType>,
) {
    let mut add = |rr_type, records: Vec<Vec<u8>>| {
        if records.is_empty() {
            return;
        }
        types.push(rr_type);
        sets.push(Set {
            owner: owner.clone(),
            rr_type,
            ttl: plan.policy.dnskey_ttl,
            records,
            signed: true,
        });
    };
    add(RrType::DNSKEY, plan.published.clone());
    if plan.delete_ds {
        // RFC 8078 4.
        add(RrType::CDS, vec![vec![0, 0, Algorithm::DELETE.0, 0, 0]]);
        add(RrType::CDNSKEY, vec![vec![0, 0, 3, Algorithm::DELETE.0, 0]]);
    } else {
        let cds = plan
            .cds
            .iter()
            .filter_map(|key| Ds::make(base.apex(), key, DigestType::SHA256));
        add(RrType::CDS, cds.collect());
        add(RrType::CDNSKEY, plan.cds.clone());
    }
    if plan.policy.nsec3.is_some() && plan.signing.iter().any(|key| key.zone) {
        let parameters = Nsec3Hash {
            iterations: 0,
            salt: &[],
        };
        add(RrType::NSEC3PARAM, vec![parameters.write(0)]);
    }
    types.sort_unstable();
}

fn add_nsec(base: &Zone, names: &[Link], plan: &Plan<'_>, sets: &mut Vec<Set>) {
    // An empty non-terminal has no record of its own.
    let names: Vec<&Link> = names.iter().filter(|name| !name.types.is_empty()).collect();
    let nexts = names.iter().skip(1).chain(names.first());
    for (name, next) in names.iter().zip(nexts) {
        let mut types = name.types.clone();
        types.extend([RrType::RRSIG, RrType::NSEC]);
        types.sort_unstable();
        let mut rdata = base.name(next.id).wire().to_vec();
        write_types(&types, &mut rdata);
        sets.push(Set {
            owner: base.name(name.id).to_owned(),
            rr_type: RrType::NSEC,
            ttl: base.negative_ttl(),
            records: vec![rdata],
            signed: plan.signing.iter().any(|key| key.zone),
        });
    }
}

fn add_nsec3(
    base: &Zone,
    names: &[Link],
    plan: &Plan<'_>,
    sets: &mut Vec<Set>,
) -> Result<(), SignError> {
    let parameters = Nsec3Hash {
        iterations: 0,
        salt: &[],
    };
    let opt_out = plan.policy.nsec3.is_some_and(|nsec3| nsec3.opt_out);
    // RFC 5155 7.1: with opt-out neither an unsigned delegation nor what is above such alone.
    let mut needed: Vec<bool> = names
        .iter()
        .map(|name| !(name.types.is_empty() || opt_out && name.insecure))
        .collect();
    if opt_out {
        let at = |id: NodeId| names.binary_search_by_key(&id, |name| name.id).ok();
        for index in (0..names.len()).rev() {
            let Some(name) = names
                .get(index)
                .filter(|_| needed.get(index) == Some(&true))
            else {
                continue;
            };
            if let Some(above) = at(base.above(name.id))
                && let Some(slot) = needed.get_mut(above)
            {
                *slot = true;
            }
        }
    } else {
        needed.iter_mut().for_each(|needed| *needed = true);
    }
    let mut chain: Vec<(Hash, &Link)> = names
        .iter()
        .zip(&needed)
        .filter(|(_, needed)| **needed)
        .map(|(name, _)| (parameters.hash(base.name(name.id)), name))
        .collect();
    chain.sort_unstable_by_key(|(hash, _)| *hash);
    let nexts = chain.iter().skip(1).chain(chain.first());
    for ((hash, name), (next, _)) in chain.iter().zip(nexts) {
        let mut types = name.types.clone();
        let signs = !types.is_empty() && !name.insecure;
        types.extend(signs.then_some(RrType::RRSIG));
        types.sort_unstable();
        let mut rdata = parameters.write(u8::from(opt_out));
        rdata.push(nsec3::HASH_LEN as u8);
        rdata.extend_from_slice(next);
        write_types(&types, &mut rdata);
        let owner = nsec3::owner(hash, base.apex())
            .ok_or_else(|| SignError::Zone("the zone's name is too long for NSEC3".to_owned()))?;
        sets.push(Set {
            owner,
            rr_type: RrType::NSEC3,
            ttl: base.negative_ttl(),
            records: vec![rdata],
            signed: true,
        });
    }
    Ok(())
}

/// True if a zone holds this set as it is.
fn is_held(zone: &Zone, set: &Set) -> bool {
    let Some(held) = find(zone, set) else {
        return false;
    };
    let mut sorted: Vec<&[u8]> = set.records.iter().map(Vec::as_slice).collect();
    let mut rows: Vec<&[u8]> = held.records().map(|(rdata, _)| rdata).collect();
    sorted.sort_unstable();
    rows.sort_unstable();
    held.ttl == set.ttl && sorted == rows
}

fn node(zone: &Zone, owner: NameRef<'_>) -> Option<NodeId> {
    zone.node_named(owner)
}

fn find<'z>(zone: &'z Zone, set: &Set) -> Option<RrSet<'z>> {
    zone.set(node(zone, set.owner.as_ref())?, set.rr_type)
}

/// The signatures of a set: those of the zone before where they can stay.
fn sign_set(
    apex: NameRef<'_>,
    set: &Set,
    known: Option<&Zone>,
    plan: &Plan<'_>,
    made: &mut usize,
    due: &mut Time,
) -> Result<Vec<Vec<u8>>, SignError> {
    if !set.signed {
        return Ok(Vec::new());
    }
    // RFC 7344 4.1: what speaks to the parent is signed as the keys are.
    let by_keys = matches!(set.rr_type, RrType::DNSKEY | RrType::CDS | RrType::CDNSKEY);
    let held: Vec<&[u8]> = known
        .and_then(|zone| zone.set(node(zone, set.owner.as_ref())?, RrType::RRSIG))
        .map(|rows| rows.records().map(|(rdata, _)| rdata).collect())
        .unwrap_or_default();
    let mut rows = Vec::new();
    for key in &plan.signing {
        if !(if by_keys { key.keys } else { key.zone }) {
            continue;
        }
        let reusable = held.iter().find_map(|rdata| {
            let rrsig = Rrsig::read(rdata)?;
            let mine = rrsig.covered == set.rr_type
                && rrsig.key_tag == key.tag
                && rrsig.algorithm == key.private.algorithm()
                && rrsig.original_ttl == set.ttl;
            let until = due_of(&rrsig, plan);
            (mine && starts_before(&rrsig, plan.now) && until > plan.now + TOGETHER)
                .then_some((*rdata, until))
        });
        let (row, until) = match reusable {
            Some((rdata, until)) => (rdata.to_vec(), until),
            None => {
                *made += 1;
                let row = make(apex, set, key, plan)?;
                let until = Rrsig::read(&row).map_or(plan.now, |rrsig| due_of(&rrsig, plan));
                (row, until)
            }
        };
        *due = (*due).min(until);
        rows.push(row);
    }
    Ok(rows)
}

/// When a signature is to be replaced.
fn due_of(rrsig: &Rrsig<'_>, plan: &Plan<'_>) -> Time {
    let left = rrsig.expiration.wrapping_sub(plan.now as u32) as i32;
    plan.now + Time::from(left) - plan.policy.refresh
}

/// False of a signature from the future: the clock has been set back since.
fn starts_before(rrsig: &Rrsig<'_>, now: Time) -> bool {
    ((now as u32).wrapping_sub(rrsig.inception) as i32) >= 0
}

fn make(
    apex: NameRef<'_>,
    set: &Set,
    key: &Signing<'_>,
    plan: &Plan<'_>,
) -> Result<Vec<u8>, SignError> {
    let mut hasher = DefaultHasher::new();
    (set.owner.as_ref().wire(), set.rr_type, key.tag, plan.now).hash(&mut hasher);
    let spread = (hasher.finish() % (plan.policy.jitter.max(0) as u64 + 1)) as Time;
    let rrsig = Rrsig {
        covered: set.rr_type,
        algorithm: key.private.algorithm(),
        labels: signed_labels(set.owner.as_ref()),
        original_ttl: set.ttl,
        expiration: (plan.now + plan.policy.validity - spread) as u32,
        inception: (plan.now - INCEPTION) as u32,
        key_tag: key.tag,
        signer: apex,
        signature: &[],
    };
    let records = set.records.iter().map(Vec::as_slice);
    let octets = rrsig
        .signed_octets(set.owner.as_ref(), Class::IN, records)
        .ok_or(PrivateKeyError::Failed)?;
    let mut row = rrsig.head();
    row.extend_from_slice(&key.private.sign(&octets)?);
    Ok(row)
}

fn assemble(base: &Zone, sets: &[Set], signatures: &[Vec<Vec<u8>>]) -> Result<Zone, SignError> {
    let (mut records, mut sources) = (Records::default(), Sources::default());
    let place = Place {
        file: sources.add("signed".into(), Vec::new().into(), None),
        at: 0,
    };
    let full = |_| SignError::Zone("the zone is larger than 4 GiB".to_owned());
    for (set, rows) in sets.iter().zip(signatures) {
        let owner = set.owner.as_ref();
        for rdata in &set.records {
            records
                .push(owner, set.rr_type, set.ttl, rdata, place)
                .map_err(full)?;
        }
        for rdata in rows {
            records
                .push(owner, RrType::RRSIG, set.ttl, rdata, place)
                .map_err(full)?;
        }
    }
    let Built { zone, faults } = build(base.apex(), &records, &sources);
    zone.ok_or_else(|| {
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        SignError::Zone(faults.join("; "))
    })
}

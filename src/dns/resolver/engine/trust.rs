//! From an anchor down to a zone's keys, and from the keys to the verdict on a set (RFC 4035 5).

use std::sync::{Arc, PoisonError};
use std::time::Instant;

use futures_util::future::BoxFuture;

use super::Resolver;
use super::anchors::Exemption;
use super::budget::{Path, Request, reason};
use super::denial::{Claim, Proof, Proofs};
use super::record::{Entry, Fact, RrSet, Security, bit};
use super::store::Kept;
use crate::dnssec::{DigestType, DnsKey, Ds, Rrsig, Validity};
use crate::wire::code::{Class, RrType};
use crate::wire::name::{Name, NameRef};

/// Signatures tried for one set, and keys for one signature (KeyTrap).
pub(super) const MAX_SIGNATURES: usize = 8;
const MAX_KEYS: usize = 4;
/// DS records tried for one zone.
const MAX_DS: usize = 8;
/// Seconds that a broken link of a chain is remembered.
const BROKEN_TTL: u32 = 30;

/// How a name stands in the chain of trust.
#[derive(Debug, Clone)]
pub(crate) enum Standing {
    /// A zone begins here, and these are its keys.
    Keys(Arc<RrSet>),
    /// A zone begins here or the one above ends, and it is proven unsigned.
    Insecure(Option<u16>),
    /// No zone begins here.
    NoCut,
    /// The chain is broken here.
    Bogus(u16),
}

/// What was found out about one name.
#[derive(Debug)]
pub(crate) struct Link {
    name: Name,
    standing: Standing,
    stored: Instant,
    ttl: u32,
}

impl Link {
    pub(crate) fn name(&self) -> &Name {
        &self.name
    }
}

impl Kept for Link {
    fn is(&self, name: NameRef<'_>, _: u32) -> bool {
        self.name.as_ref() == name
    }

    fn size(&self) -> usize {
        let keys = match &self.standing {
            Standing::Keys(keys) => keys.size(),
            _ => 0,
        };
        96 + self.name.as_ref().wire().len() + keys
    }
}

/// How far the zone of a name can be trusted.
#[derive(Debug, Clone)]
enum Trust {
    Secure { zone: Name, keys: Arc<RrSet> },
    Insecure(Option<u16>),
    Bogus(u16),
    Indeterminate,
}

/// What a verified signature says of its set.
#[derive(Debug, Clone, Copy)]
struct Good {
    /// The labels of a wildcard's parent, if one made the set.
    expanded: Option<usize>,
    /// Seconds that the set may count for from now (RFC 4035 5.3.3).
    ttl: u32,
    /// Which of the set's signatures it is.
    which: usize,
}

/// What the sets that came with an entry prove.
struct Proved {
    proof: Proof,
    /// Which of them have a good signature, bit by bit, and the seconds they count for.
    good: u32,
    ttl: u32,
    /// Those sets, each with the one signature that was verified.
    sets: Vec<Arc<RrSet>>,
}

impl Proved {
    fn add(&mut self, at: usize, set: &RrSet, good: Good) {
        self.good |= bit(at);
        self.ttl = self.ttl.min(set.ttl).min(good.ttl);
        self.sets.push(Arc::new(RrSet {
            signatures: set
                .signatures
                .get(good.which)
                .cloned()
                .into_iter()
                .collect(),
            ..set.clone()
        }));
    }
}

/// A verdict with the extended error that explains it.
type Verdict = (Security, Option<u16>);

impl Resolver {
    /// How far an entry can be trusted.
    pub(crate) async fn verdict(&self, request: &Request, entry: &Entry) -> Security {
        let known = entry.security();
        if known != Security::Unchecked {
            return known;
        }
        let (security, reason) = match &entry.fact {
            Fact::Failed => return Security::Indeterminate,
            _ => self.judge(request, entry).await,
        };
        if security == Security::Bogus {
            tracing::info!(name = %entry.name, rr_type = %entry.rr_type, reason, "bogus");
            // Not checked to the end: another question may afford it.
            if request.is_spent() {
                return security;
            }
        }
        entry.judge(security, reason);
        security
    }

    async fn judge(&self, request: &Request, entry: &Entry) -> Verdict {
        let signer = self.signer(entry);
        if let Some(signer) = signer {
            let trust = self.trust(request, &signer, RrType::DNSKEY).await;
            let verdict = match &trust {
                // Above an unsigned zone may be a signature of no worth by a zone that is signed:
                // the way down says whether one was needed.
                Trust::Secure { zone, .. } if *zone != signer => None,
                Trust::Secure { zone, keys } => Some(self.check(request, entry, zone, keys)),
                _ => None,
            };
            if let Some(verdict) = verdict.filter(|(security, _)| *security != Security::Bogus) {
                return verdict;
            }
        }
        match self
            .trust(request, self.subject(entry), entry.rr_type)
            .await
        {
            Trust::Secure { zone, keys } => self.check(request, entry, &zone, &keys),
            Trust::Insecure(reason) => (Security::Insecure, reason),
            Trust::Bogus(reason) => (Security::Bogus, Some(reason)),
            Trust::Indeterminate => (Security::Indeterminate, None),
        }
    }

    /// Whose zone decides about an entry.
    fn subject<'e>(&self, entry: &'e Entry) -> &'e Name {
        match &entry.fact {
            Fact::Renamed { dname, .. } => &dname.owner,
            _ => &entry.name,
        }
    }

    /// The zone that the signatures say they are of, if it can be.
    fn signer(&self, entry: &Entry) -> Option<Name> {
        let of = |set: &RrSet| {
            let signature = set.signatures.first()?;
            Rrsig::read(signature).map(|signature| signature.signer.to_owned())
        };
        let (signer, subject) = match &entry.fact {
            Fact::Set(set) => (of(set)?, &entry.name),
            Fact::Renamed { dname, .. } => (of(dname)?, &dname.owner),
            Fact::NoData | Fact::NoName => {
                (entry.authority.iter().find_map(|set| of(set))?, &entry.name)
            }
            Fact::Failed => return None,
        };
        let above = subject.as_ref().is_within(signer.as_ref());
        let beside =
            entry.rr_type == RrType::DS && signer == *subject && !signer.as_ref().is_root();
        (above && !beside).then_some(signer)
    }

    /// Checks an entry with the keys of its zone.
    fn check(&self, request: &Request, entry: &Entry, zone: &Name, keys: &RrSet) -> Verdict {
        let bogus = |reason| (Security::Bogus, Some(reason));
        // What came along unasked is not looked at, and does not go out as if it had been.
        let secure = |good: Good| {
            entry.vouch(0, good.ttl, self.network.now());
            (Security::Secure, None)
        };
        match &entry.fact {
            // A wildcard makes no DNAME record for a name below it: its owner is not the name that
            // is asked for (RFC 6672 3.3).
            Fact::Renamed { dname, .. } => match self.check_set(request, dname, zone, keys) {
                Ok(good) if good.expanded.is_none() => secure(good),
                Ok(_) => bogus(reason::BOGUS),
                Err(reason) => bogus(reason),
            },
            Fact::Set(set) => match self.check_set(request, set, zone, keys) {
                Ok(good) => match good.expanded {
                    None => secure(good),
                    Some(labels) => {
                        let claim = (Claim::Expanded(labels), good.ttl);
                        self.denied(request, entry, zone, keys, claim)
                    }
                },
                Err(reason) => bogus(reason),
            },
            Fact::NoData => self.denied(request, entry, zone, keys, (Claim::NoData, u32::MAX)),
            Fact::NoName => self.denied(request, entry, zone, keys, (Claim::NoName, u32::MAX)),
            Fact::Failed => (Security::Indeterminate, None),
        }
    }

    /// Whether the proofs that came with an entry prove its claim, which holds for so long.
    fn denied(
        &self,
        request: &Request,
        entry: &Entry,
        zone: &Name,
        keys: &RrSet,
        claim: (Claim, u32),
    ) -> Verdict {
        let bogus = |reason| (Security::Bogus, Some(reason));
        let (claim, ttl) = claim;
        let mut proved = match self.proof(request, entry, zone, keys, claim) {
            Ok(proved) => proved,
            Err(reason) => return bogus(reason),
        };
        match proved.proof {
            Proof::Holds { .. } => {}
            Proof::OptOut => return (Security::Insecure, None),
            Proof::TooManyIterations => {
                return (Security::Insecure, Some(reason::UNSUPPORTED_ITERATIONS));
            }
            Proof::Missing => return bogus(reason::NSEC_MISSING),
        }
        // The SOA record goes out with the denial, and says how long it holds.
        let sets = entry.authority.iter().enumerate();
        for (at, set) in sets.filter(|(_, set)| set.rr_type == RrType::SOA) {
            match self.check_set(request, set, zone, keys) {
                Ok(good) if good.expanded.is_none() => proved.add(at, set, good),
                Ok(_) => return bogus(reason::BOGUS),
                Err(reason) => return bogus(reason),
            }
        }
        let now = self.network.now();
        entry.vouch(proved.good, proved.ttl.min(ttl), now);
        self.learn_ranges(entry, zone, &proved.sets);
        (Security::Secure, None)
    }

    /// Keeps the ranges that a denial by NSEC showed to be empty (RFC 8198).
    fn learn_ranges(&self, entry: &Entry, zone: &Name, good: &[Arc<RrSet>]) {
        let has = |rr_type: RrType| good.iter().any(|set| set.rr_type == rr_type);
        if has(RrType::NSEC) && has(RrType::SOA) {
            let now = self.network.now();
            let left = entry.left(now).unwrap_or(0);
            self.memory.ranges.learn(zone, good, now, left);
        }
    }

    fn proof(
        &self,
        request: &Request,
        entry: &Entry,
        zone: &Name,
        keys: &RrSet,
        claim: Claim,
    ) -> Result<Proved, u16> {
        let sets = entry.authority.iter().enumerate();
        let denials = sets.filter(|(_, set)| matches!(set.rr_type, RrType::NSEC | RrType::NSEC3));
        let mut wrong = None;
        let mut proved = Proved {
            proof: Proof::Missing,
            good: 0,
            ttl: u32::MAX,
            sets: Vec::new(),
        };
        for (at, set) in denials {
            match self.check_set(request, set, zone, keys) {
                Ok(good) if good.expanded.is_none() => proved.add(at, set, good),
                // A proof that a wildcard made is none.
                Ok(_) => {}
                Err(reason) => wrong = Some(reason),
            }
        }
        let proofs = Proofs::of(zone.as_ref(), proved.sets.iter().map(|set| &**set));
        proved.proof = proofs.prove(claim, &entry.name, entry.rr_type);
        match proved.proof {
            Proof::Missing => Err(wrong.unwrap_or(reason::NSEC_MISSING)),
            _ => Ok(proved),
        }
    }

    /// Checks the signatures over a set.
    fn check_set(
        &self,
        request: &Request,
        set: &RrSet,
        zone: &Name,
        keys: &RrSet,
    ) -> Result<Good, u16> {
        let now = self.network.unix_time() as u32;
        let mut wrong = reason::RRSIGS_MISSING;
        let owner = set.owner.as_ref();
        if !owner.is_within(zone.as_ref()) {
            return Err(reason::BOGUS);
        }
        for (which, data) in set.signatures.iter().enumerate().take(MAX_SIGNATURES) {
            let Some(signature) = Rrsig::read(data) else {
                continue;
            };
            let fits = signature.covered == set.rr_type && signature.signer == zone.as_ref();
            if !fits {
                continue;
            }
            match signature.validity(now) {
                Validity::Valid => {}
                Validity::Expired => {
                    wrong = reason::SIGNATURE_EXPIRED;
                    continue;
                }
                Validity::NotYet => {
                    wrong = reason::SIGNATURE_NOT_YET_VALID;
                    continue;
                }
            }
            let candidates = keys
                .data
                .iter()
                .filter_map(|data| DnsKey::read(data))
                .filter(|key| key.is_zone_key() && key.algorithm == signature.algorithm)
                .filter(|key| key.tag() == signature.key_tag);
            let mut tried = 0;
            for key in candidates.take(MAX_KEYS) {
                tried += 1;
                request.take_signature().ok_or(reason::OTHER)?;
                let records = set.data.iter().map(|data| &**data);
                if signature.verify(&key, owner, Class::IN, records).is_ok() {
                    let labels = usize::from(signature.labels);
                    let left = signature.expiration.wrapping_sub(now);
                    return Ok(Good {
                        expanded: signature.is_expanded(owner).then_some(labels),
                        ttl: signature.original_ttl.min(left),
                        which,
                    });
                }
                wrong = reason::BOGUS;
            }
            if tried == 0 && wrong == reason::RRSIGS_MISSING {
                wrong = reason::DNSKEY_MISSING;
            }
        }
        Err(wrong)
    }

    /// How far the zone that holds a name and type can be trusted.
    async fn trust(&self, request: &Request, name: &Name, rr_type: RrType) -> Trust {
        // The DS set of a zone's name is in the zone above.
        let target = match name.as_ref().parent() {
            Some(above) if rr_type == RrType::DS => above,
            _ => name.as_ref(),
        };
        let Some(anchor) = self.settings.anchors.above(target) else {
            return Trust::Indeterminate;
        };
        let now = self.network.unix_time();
        if self.is_exempt(target, anchor.zone.as_ref(), now) {
            return Trust::Insecure(None);
        }
        let depth = target.label_count();
        let top = anchor.zone.as_ref().label_count();
        let mut zone = anchor.zone.clone();
        let mut keys = match self.link(request, &zone, None).await {
            Standing::Keys(keys) => keys,
            Standing::Insecure(reason) => return Trust::Insecure(reason),
            Standing::Bogus(reason) => return Trust::Bogus(reason),
            Standing::NoCut => return Trust::Bogus(reason::DNSKEY_MISSING),
        };
        for labels in top + 1..=depth {
            let Some(at) = target.skip(depth - labels) else {
                break;
            };
            let at = at.to_owned();
            match self.link(request, &at, Some((&zone, &keys))).await {
                Standing::Keys(found) => (zone, keys) = (at, found),
                Standing::NoCut => {}
                Standing::Insecure(reason) => return Trust::Insecure(reason),
                Standing::Bogus(reason) => return Trust::Bogus(reason),
            }
        }
        Trust::Secure { zone, keys }
    }

    /// True of a name that is not validated, though an anchor is above it.
    pub(crate) fn is_let_be(&self, name: NameRef<'_>) -> bool {
        let (anchor, now) = (self.settings.anchors.above(name), self.network.unix_time());
        anchor.is_some_and(|anchor| self.is_exempt(name, anchor.zone.as_ref(), now))
    }

    /// True of a name that the operator has exempt from validation, or that is below one, unless
    /// an anchor is closer to it.
    fn is_exempt(&self, target: NameRef<'_>, anchor: NameRef<'_>, now: u64) -> bool {
        let above =
            |name: &Name| target.is_within(name.as_ref()) && name.as_ref().is_within(anchor);
        if self.settings.exempt.iter().any(above) {
            return true;
        }
        let exempt = self.memory.exempt.lock();
        let exempt = exempt.unwrap_or_else(PoisonError::into_inner);
        let counts = |exemption: &Exemption| exemption.until.is_none_or(|until| until > now);
        let mut counting = exempt.iter().filter(|exemption| counts(exemption));
        counting.any(|exemption| above(&exemption.name))
    }

    /// One link of the chain; without a zone above it hangs on an anchor.
    fn link<'a>(
        &'a self,
        request: &'a Request,
        name: &'a Name,
        above: Option<(&'a Name, &'a RrSet)>,
    ) -> BoxFuture<'a, Standing> {
        Box::pin(async move {
            let now = self.network.now();
            if let Some(known) = self.memory.links.get(name.as_ref(), 0) {
                let age = now.saturating_duration_since(known.stored).as_secs();
                if age < u64::from(known.ttl) {
                    return known.standing.clone();
                }
            }
            let (standing, ttl) = match above {
                None => self.hang_on_anchor(request, name).await,
                Some((zone, keys)) => self.hang_on_zone(request, name, zone, keys).await,
            };
            let ttl = match standing {
                Standing::Bogus(_) => ttl.min(BROKEN_TTL),
                _ => ttl,
            };
            let unfinished = matches!(standing, Standing::Bogus(_)) && request.is_spent();
            if ttl > 0 && !unfinished {
                let link = Link {
                    name: name.clone(),
                    standing: standing.clone(),
                    stored: now,
                    ttl,
                };
                self.memory.links.put(name.as_ref(), 0, Arc::new(link));
            }
            standing
        })
    }

    async fn hang_on_anchor(&self, request: &Request, zone: &Name) -> (Standing, u32) {
        let Some(anchor) = self.settings.anchors.above(zone.as_ref()) else {
            return (Standing::Insecure(None), 0);
        };
        let digests = self.trusted(anchor);
        self.keys(request, zone, &digests).await
    }

    /// The keys of a zone, of which one at least is meant by a trusted DS record and signs them.
    async fn keys(&self, request: &Request, zone: &Name, digests: &[Box<[u8]>]) -> (Standing, u32) {
        let usable = usable(digests);
        if usable.is_empty() {
            // Signed in ways unknown here: as good as unsigned (RFC 4035 5.2).
            return (Standing::Insecure(Some(reason::UNSUPPORTED_ALGORITHM)), 300);
        }
        let path = Path::start(zone, RrType::DNSKEY);
        let entry = self.lookup(request, &path, zone, RrType::DNSKEY).await;
        let left = entry.left(self.network.now()).unwrap_or(0);
        let set = match &entry.fact {
            Fact::Set(set) if set.rr_type == RrType::DNSKEY => set,
            Fact::Failed => {
                let reason = entry.reason().unwrap_or(reason::DNSKEY_MISSING);
                return (Standing::Bogus(reason), 1);
            }
            _ => return (Standing::Bogus(reason::DNSKEY_MISSING), left),
        };
        let (standing, ttl) = self.vouch(request, zone, digests, set);
        (standing, left.min(ttl))
    }

    /// Whether one of the keys that a trusted DS record means signs the set of keys, and for how
    /// many seconds that holds.
    pub(super) fn vouch(
        &self,
        request: &Request,
        zone: &Name,
        digests: &[Box<[u8]>],
        set: &Arc<RrSet>,
    ) -> (Standing, u32) {
        let usable = usable(digests);
        let mut wrong = reason::DNSKEY_MISSING;
        let mut tried = 0;
        for data in &set.data {
            let Some(key) = DnsKey::read(data).filter(DnsKey::is_zone_key) else {
                continue;
            };
            let meant = usable
                .iter()
                .take(MAX_DS)
                .any(|ds| ds.matches(zone.as_ref(), &key));
            if !meant {
                continue;
            }
            tried += 1;
            if tried > MAX_KEYS {
                break;
            }
            let alone = RrSet {
                data: vec![data.clone()],
                ..RrSet::clone(set)
            };
            match self.check_set(request, set, zone, &alone) {
                // Nor does a wildcard hold a zone's keys.
                Ok(good) if good.expanded.is_some() => wrong = reason::BOGUS,
                Ok(good) => return (Standing::Keys(set.clone()), good.ttl),
                Err(reason) => wrong = reason,
            }
        }
        (Standing::Bogus(wrong), BROKEN_TTL)
    }

    /// What the zone above says of a name: another zone's keys, that none begins there, that an
    /// unsigned one does.
    async fn hang_on_zone(
        &self,
        request: &Request,
        name: &Name,
        zone: &Name,
        keys: &RrSet,
    ) -> (Standing, u32) {
        let path = Path::start(name, RrType::DS);
        let entry = self.lookup(request, &path, name, RrType::DS).await;
        let left = entry.left(self.network.now()).unwrap_or(0);
        let bogus = |reason| (Standing::Bogus(reason), left);
        match &entry.fact {
            Fact::Set(set) if set.rr_type == RrType::DS => {
                let good = match self.check_set(request, set, zone, keys) {
                    // No zone is delegated by a wildcard (RFC 4592 4.2).
                    Ok(good) if good.expanded.is_some() => return bogus(reason::BOGUS),
                    Ok(good) => good,
                    Err(reason) => return bogus(reason),
                };
                entry.vouch(0, good.ttl, self.network.now());
                entry.judge(Security::Secure, None);
                let (standing, ttl) = self.keys(request, name, &set.data).await;
                (standing, ttl.min(left).min(good.ttl))
            }
            // An alias is no zone (RFC 2181 10.1), nor is what a DNAME renames.
            Fact::Set(_) | Fact::Renamed { .. } => {
                let (security, reason) = self.check(request, &entry, zone, keys);
                let left = entry.left(self.network.now()).unwrap_or(0);
                match security {
                    Security::Secure => (Standing::NoCut, left),
                    // A wildcard made it, and an unsigned zone may be there all the same (opt-out).
                    Security::Insecure => (Standing::Insecure(reason), left),
                    _ => bogus(reason.unwrap_or(reason::BOGUS)),
                }
            }
            Fact::NoData | Fact::NoName => {
                let claim = match entry.fact {
                    Fact::NoName => Claim::NoName,
                    _ => Claim::NoData,
                };
                let proved = match self.proof(request, &entry, zone, keys, claim) {
                    Ok(proved) => proved,
                    Err(reason) => return bogus(reason),
                };
                let standing = match proved.proof {
                    Proof::Holds { cut: true } | Proof::OptOut => Standing::Insecure(None),
                    Proof::Holds { cut: false } => Standing::NoCut,
                    Proof::TooManyIterations => {
                        Standing::Insecure(Some(reason::UNSUPPORTED_ITERATIONS))
                    }
                    Proof::Missing => return bogus(reason::NSEC_MISSING),
                };
                (standing, left.min(proved.ttl))
            }
            Fact::Failed => {
                let reason = entry.reason().unwrap_or(reason::NETWORK_ERROR);
                (Standing::Bogus(reason), 1)
            }
        }
    }
}

/// The DS records that count.
fn usable(digests: &[Box<[u8]>]) -> Vec<Ds<'_>> {
    let mut usable: Vec<Ds<'_>> = digests
        .iter()
        .filter_map(|data| Ds::read(data))
        .filter(|ds| ds.algorithm.is_supported() && ds.digest_type.is_supported())
        .collect();
    // RFC 4509 3: SHA-1 only where there is nothing better.
    if usable.iter().any(|ds| ds.digest_type != DigestType::SHA1) {
        usable.retain(|ds| ds.digest_type != DigestType::SHA1);
    }
    usable
}

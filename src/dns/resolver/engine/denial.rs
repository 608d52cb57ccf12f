//! Whether NSEC and NSEC3 records prove that something is not there (RFC 4035 5.4, RFC 5155 8).
//! The records were checked before; here it is only asked what they say.

use std::cell::Cell;

use super::record::RrSet;
use crate::dnssec::{Hash, Nsec, Nsec3, Nsec3Hash, nsec3};
use crate::wire::code::RrType;
use crate::wire::name::{Name, NameBuf, NameRef};

/// Rounds of hashing that are worth the work (RFC 9276 3.2); beyond it a zone counts as unsigned.
pub(crate) const MAX_ITERATIONS: u16 = 50;
/// Names hashed for one answer.
const MAX_HASHES: u32 = 80;

/// What is to be proven.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Claim {
    /// There is no such name.
    NoName,
    /// The name has no such type.
    NoData,
    /// The name is not there, and the set that was given comes from the wildcard whose parent has
    /// so many labels.
    Expanded(usize),
}

/// What a proof is worth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Proof {
    /// It holds; `cut`: an unsigned zone begins at the name.
    Holds { cut: bool },
    /// The zone does not say which unsigned zones it has (opt-out).
    OptOut,
    /// Too much work to tell (RFC 9276).
    TooManyIterations,
    /// It is none.
    Missing,
}

/// Proof records of one zone, whose signatures are good.
pub(crate) struct Proofs<'a> {
    zone: NameRef<'a>,
    nsec: Vec<(NameRef<'a>, Nsec<'a>)>,
    nsec3: Vec<(Hash, Nsec3<'a>)>,
    hashes: Cell<u32>,
}

impl<'a> Proofs<'a> {
    pub(crate) fn of(zone: NameRef<'a>, sets: impl Iterator<Item = &'a RrSet>) -> Proofs<'a> {
        let mut proofs = Proofs {
            zone,
            nsec: Vec::new(),
            nsec3: Vec::new(),
            hashes: Cell::new(0),
        };
        for set in sets {
            let owner = set.owner.as_ref();
            for data in &set.data {
                match set.rr_type {
                    RrType::NSEC => proofs
                        .nsec
                        .extend(Nsec::read(data).map(|nsec| (owner, nsec))),
                    RrType::NSEC3 => {
                        let hash = nsec3::of_owner(owner);
                        let direct = owner.parent() == Some(zone);
                        let read = hash.filter(|_| direct).zip(Nsec3::read(data));
                        proofs.nsec3.extend(read);
                    }
                    _ => {}
                }
            }
        }
        proofs
    }

    /// Judges a claim about a name of the zone.
    pub(crate) fn prove(&self, claim: Claim, name: &Name, rr_type: RrType) -> Proof {
        let name = name.as_ref();
        if !name.is_within(self.zone) {
            return Proof::Missing;
        }
        let by_nsec = self.by_nsec(claim, name, rr_type);
        if by_nsec != Proof::Missing || self.nsec3.is_empty() {
            return by_nsec;
        }
        self.by_nsec3(claim, name, rr_type)
    }

    fn by_nsec(&self, claim: Claim, name: NameRef<'_>, rr_type: RrType) -> Proof {
        if claim == Claim::NoData {
            let at = self.nsec.iter().find(|(owner, _)| *owner == name);
            if let Some((_, nsec)) = at {
                return match lacks(&|sought| nsec.types.contains(sought), name, rr_type) {
                    Some(cut) => Proof::Holds { cut },
                    None => Proof::Missing,
                };
            }
        }
        let covering = self.nsec.iter().find(|(owner, nsec)| {
            nsec.covers(*owner, name)
                && !leads_away(&|sought| nsec.types.contains(sought), *owner, name)
        });
        let Some((owner, nsec)) = covering else {
            return Proof::Missing;
        };
        if nsec.next.is_within(name) {
            // Names below it: it is there, and empty (RFC 4592 2.2.2).
            return match claim {
                Claim::NoData => Proof::Holds { cut: false },
                _ => Proof::Missing,
            };
        }
        let encloser = longest(common(name, *owner), common(name, nsec.next));
        if let Claim::Expanded(labels) = claim {
            // A closer wildcard or name would have had precedence.
            return match encloser.label_count() <= labels {
                true => Proof::Holds { cut: false },
                false => Proof::Missing,
            };
        }
        let Some(wildcard) = wildcard(encloser) else {
            return Proof::Missing;
        };
        let wildcard = wildcard.as_ref();
        match claim {
            Claim::NoName => {
                let denied = self.nsec.iter().any(|(owner, nsec)| {
                    nsec.covers(*owner, wildcard) && !nsec.next.is_within(wildcard)
                });
                match denied {
                    true => Proof::Holds { cut: false },
                    false => Proof::Missing,
                }
            }
            _ => {
                let at = self.nsec.iter().find(|(owner, _)| *owner == wildcard);
                let holds = at.is_some_and(|(_, nsec)| {
                    lacks(&|sought| nsec.types.contains(sought), wildcard, rr_type).is_some()
                });
                match holds {
                    true => Proof::Holds { cut: false },
                    false => Proof::Missing,
                }
            }
        }
    }

    fn by_nsec3(&self, claim: Claim, name: NameRef<'_>, rr_type: RrType) -> Proof {
        let Some((_, first)) = self.nsec3.first() else {
            return Proof::Missing;
        };
        let how = first.hash;
        if how.iterations > MAX_ITERATIONS {
            return Proof::TooManyIterations;
        }
        let hashed = |name: NameRef<'_>| self.hash(&how, name);
        let alike = || self.nsec3.iter().filter(|(_, nsec3)| nsec3.hash == how);
        let matching = |hash: &Hash| alike().find(|(owner, _)| owner == hash);
        let covering = |hash: &Hash| alike().find(|(owner, nsec3)| nsec3.covers(owner, hash));
        let missing = Proof::Missing;

        if claim == Claim::NoData {
            let Some(hash) = hashed(name) else {
                return missing;
            };
            if let Some((_, nsec3)) = matching(&hash) {
                return match lacks(&|sought| nsec3.types.contains(sought), name, rr_type) {
                    Some(cut) => Proof::Holds { cut },
                    None => missing,
                };
            }
        }
        // The closest encloser: the longest name above that is there (RFC 5155 8.3).
        let mut next_closer = name;
        let encloser = if let Claim::Expanded(labels) = claim {
            let total = name.label_count();
            let Some(below) = total.checked_sub(labels + 1) else {
                return missing;
            };
            let Some(closer) = name.skip(below) else {
                return missing;
            };
            next_closer = closer;
            None
        } else {
            let mut above = name.parent();
            loop {
                let Some(candidate) = above.filter(|above| above.is_within(self.zone)) else {
                    return missing;
                };
                let Some(hash) = hashed(candidate) else {
                    return missing;
                };
                if let Some((_, nsec3)) = matching(&hash) {
                    if leads_away(&|sought| nsec3.types.contains(sought), candidate, name) {
                        return missing;
                    }
                    break Some(candidate);
                }
                next_closer = candidate;
                above = candidate.parent();
            }
        };
        let Some(cover) = hashed(next_closer).and_then(|hash| covering(&hash)) else {
            return missing;
        };
        let opt_out = cover.1.is_opt_out();
        let Some(encloser) = encloser else {
            return match opt_out {
                true => Proof::OptOut,
                false => Proof::Holds { cut: false },
            };
        };
        if claim == Claim::NoData && rr_type == RrType::DS && opt_out {
            return Proof::OptOut;
        }
        let Some(wildcard) = wildcard(encloser) else {
            return missing;
        };
        let Some(hash) = hashed(wildcard.as_ref()) else {
            return missing;
        };
        let holds = match claim {
            Claim::NoName => covering(&hash).is_some(),
            _ => matching(&hash).is_some_and(|(_, nsec3)| {
                let has = |sought| nsec3.types.contains(sought);
                lacks(&has, wildcard.as_ref(), rr_type).is_some()
            }),
        };
        match (holds, opt_out) {
            (false, _) => missing,
            // An unsigned zone may begin there that the zone does not mention.
            (true, true) => Proof::OptOut,
            (true, false) => Proof::Holds { cut: false },
        }
    }

    fn hash(&self, how: &Nsec3Hash<'_>, name: NameRef<'_>) -> Option<Hash> {
        let count = self.hashes.get();
        if count >= MAX_HASHES {
            return None;
        }
        self.hashes.set(count + 1);
        Some(how.hash(name))
    }
}

/// Whether the types at a name lack the one sought, as a record of the right side of a zone cut
/// says it; `Some(true)`: another zone begins there, unsigned.
fn lacks(has: &dyn Fn(RrType) -> bool, name: NameRef<'_>, rr_type: RrType) -> Option<bool> {
    if has(rr_type) || has(RrType::CNAME) && rr_type != RrType::CNAME {
        return None;
    }
    let (ns, soa) = (has(RrType::NS), has(RrType::SOA));
    if rr_type == RrType::DS {
        // The zone below says nothing about its own DS set (RFC 4035 5.2); the root has none above.
        return (!soa || name.is_root()).then_some(ns && !soa);
    }
    // And the zone above nothing about what is in the zone below.
    (!ns || soa).then_some(false)
}

/// True if names below an owner are another zone's, or another name's.
fn leads_away(has: &dyn Fn(RrType) -> bool, owner: NameRef<'_>, name: NameRef<'_>) -> bool {
    let below = owner != name && name.is_within(owner);
    below && (has(RrType::DNAME) || has(RrType::NS) && !has(RrType::SOA))
}

/// The longest name that ends both.
fn common<'n>(name: NameRef<'n>, other: NameRef<'_>) -> NameRef<'n> {
    let mut at = name;
    while !other.is_within(at) {
        match at.parent() {
            Some(above) => at = above,
            None => break,
        }
    }
    at
}

fn longest<'n>(one: NameRef<'n>, other: NameRef<'n>) -> NameRef<'n> {
    if one.wire().len() >= other.wire().len() {
        one
    } else {
        other
    }
}

fn wildcard(encloser: NameRef<'_>) -> Option<NameBuf> {
    let star = NameRef::from_wire(b"\x01*\0").ok()?;
    NameBuf::join(star, encloser).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wire::record::OwnRecord;

    fn name(text: &str) -> Name {
        Name::from_text(text).unwrap()
    }

    fn sets(rr_type: RrType, lines: &[(&str, &str)]) -> Vec<RrSet> {
        let set = |(owner, data): &(&str, &str)| {
            let record = OwnRecord::from_text(name(owner), rr_type, 60, data).unwrap();
            RrSet {
                owner: record.owner,
                rr_type,
                ttl: 60,
                data: vec![record.rdata.into()],
                signatures: Vec::new(),
            }
        };
        lines.iter().map(set).collect()
    }

    fn judge(sets: &[RrSet], claim: Claim, asked: &str, rr_type: RrType) -> Proof {
        let zone = name("example.");
        Proofs::of(zone.as_ref(), sets.iter()).prove(claim, &name(asked), rr_type)
    }

    const YES: Proof = Proof::Holds { cut: false };
    const CUT: Proof = Proof::Holds { cut: true };
    const NO: Proof = Proof::Missing;

    /// The zone of RFC 4035 appendix A, so far as it is needed.
    #[test]
    fn nsec() {
        let zone = sets(
            RrType::NSEC,
            &[
                ("example.", "a.example. NS SOA MX RRSIG NSEC DNSKEY"),
                ("a.example.", "ai.example. NS DS RRSIG NSEC"),
                ("ai.example.", "b.example. A HINFO AAAA RRSIG NSEC"),
                ("b.example.", "ns1.example. NS RRSIG NSEC"),
                ("ns1.example.", "ns2.example. A RRSIG NSEC"),
                ("ns2.example.", "*.w.example. A RRSIG NSEC"),
                ("*.w.example.", "x.w.example. MX RRSIG NSEC"),
                ("x.w.example.", "x.y.w.example. MX RRSIG NSEC"),
                ("x.y.w.example.", "xx.example. MX RRSIG NSEC"),
                ("xx.example.", "example. A RRSIG NSEC"),
            ],
        );
        let cases = [
            (Claim::NoName, "ml.example.", RrType::A, YES),
            (Claim::NoData, "ns1.example.", RrType::MX, YES),
            (Claim::NoData, "ns1.example.", RrType::A, NO),
            // B.5: a referral without a DS set.
            (Claim::NoData, "b.example.", RrType::DS, CUT),
            (Claim::NoData, "a.example.", RrType::DS, NO),
            // What is below a cut, or at it, is not for this zone to deny.
            (Claim::NoName, "mc.b.example.", RrType::A, NO),
            (Claim::NoData, "b.example.", RrType::A, NO),
            // B.6 and B.7: wildcards.
            (Claim::Expanded(2), "a.z.w.example.", RrType::MX, YES),
            (Claim::Expanded(1), "a.z.w.example.", RrType::MX, NO),
            (Claim::NoData, "a.z.w.example.", RrType::AAAA, YES),
            (Claim::NoData, "a.z.w.example.", RrType::MX, NO),
            // The wildcard exists, so the name cannot be denied.
            (Claim::NoName, "a.z.w.example.", RrType::A, NO),
            // An empty name is there.
            (Claim::NoData, "y.w.example.", RrType::A, YES),
            (Claim::NoName, "y.w.example.", RrType::A, NO),
            // B.8: the apex of a zone does not speak of its own DS set.
            (Claim::NoData, "example.", RrType::DS, NO),
            (Claim::NoName, "zz.example.", RrType::A, YES),
            (Claim::NoName, "other.", RrType::A, NO),
        ];
        for (claim, asked, rr_type, expected) in cases {
            assert_eq!(
                judge(&zone, claim, asked, rr_type),
                expected,
                "{claim:?} {asked} {rr_type}"
            );
        }
        assert_eq!(
            judge(&zone[1..], Claim::NoName, "ml.example.", RrType::A),
            NO
        );
    }

    /// The zone of RFC 5155 appendix A: salt AABBCCDD, 12 iterations.
    #[test]
    fn nsec3() {
        let row = |hash: &str| format!("{hash}.example.");
        let data =
            |flags: u8, next: &str, types: &str| format!("1 {flags} 12 AABBCCDD {next} {types}");
        let zone = |flags: u8| {
            let rows = [
                (
                    "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
                    "2t7b4g4vsa5smi47k61mv5bv1a22bojr",
                    "MX DNSKEY NS SOA NSEC3PARAM RRSIG",
                ),
                (
                    "2t7b4g4vsa5smi47k61mv5bv1a22bojr",
                    "2vptu5timamqttgl4luu9kg21e0aor3s",
                    "A RRSIG",
                ),
                (
                    "2vptu5timamqttgl4luu9kg21e0aor3s",
                    "35mthgpgcu1qg68fab165klnsnk3dpvl",
                    "MX RRSIG",
                ),
                (
                    "35mthgpgcu1qg68fab165klnsnk3dpvl",
                    "b4um86eghhds6nea196smvmlo4ors995",
                    "NS DS RRSIG",
                ),
                (
                    "b4um86eghhds6nea196smvmlo4ors995",
                    "gjeqe526plbf1g8mklp59enfd789njgi",
                    "MX RRSIG",
                ),
                (
                    "gjeqe526plbf1g8mklp59enfd789njgi",
                    "ji6neoaepv8b5o6k4ev33abha8ht9fgc",
                    "HINFO A AAAA RRSIG",
                ),
                (
                    "ji6neoaepv8b5o6k4ev33abha8ht9fgc",
                    "k8udemvp1j2f7eg6jebps17vp3n8i58h",
                    "",
                ),
                (
                    "k8udemvp1j2f7eg6jebps17vp3n8i58h",
                    "kohar7mbb8dc2ce8a9qvl8hon4k53uhi",
                    "",
                ),
                (
                    "kohar7mbb8dc2ce8a9qvl8hon4k53uhi",
                    "q04jkcevqvmu85r014c7dkba38o0ji5r",
                    "A RRSIG",
                ),
                (
                    "q04jkcevqvmu85r014c7dkba38o0ji5r",
                    "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
                    "A RRSIG",
                ),
                (
                    "r53bq7cc2uvmubfu5ocmm6pers9tk9en",
                    "t644ebqk9bibcna874givr6joj62mlhv",
                    "MX RRSIG",
                ),
                (
                    "t644ebqk9bibcna874givr6joj62mlhv",
                    "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom",
                    "HINFO A AAAA RRSIG",
                ),
            ];
            let rows: Vec<(String, String)> = rows
                .iter()
                .map(|(owner, next, types)| (row(owner), data(flags, next, types)))
                .collect();
            let rows: Vec<(&str, &str)> = rows
                .iter()
                .map(|(owner, data)| (owner.as_str(), data.as_str()))
                .collect();
            sets(RrType::NSEC3, &rows)
        };
        let plain = zone(0);
        let cases = [
            // B.1 and the other examples of appendix B.
            (Claim::NoName, "a.c.x.w.example.", RrType::A, YES),
            (Claim::NoData, "ns1.example.", RrType::MX, YES),
            (Claim::NoData, "ns1.example.", RrType::A, NO),
            (Claim::NoData, "y.w.example.", RrType::A, YES),
            (Claim::Expanded(2), "a.z.w.example.", RrType::MX, YES),
            (Claim::NoData, "a.z.w.example.", RrType::AAAA, YES),
            (Claim::NoData, "a.z.w.example.", RrType::MX, NO),
            (Claim::NoName, "a.z.w.example.", RrType::A, NO),
            (Claim::NoData, "example.", RrType::DS, NO),
            (Claim::NoName, "x.a.example.", RrType::A, NO),
        ];
        for (claim, asked, rr_type, expected) in cases {
            assert_eq!(
                judge(&plain, claim, asked, rr_type),
                expected,
                "{claim:?} {asked} {rr_type}"
            );
        }
        // B.3: an unsigned zone that is not mentioned.
        let lax = zone(1);
        assert_eq!(
            judge(&lax, Claim::NoData, "c.example.", RrType::DS),
            Proof::OptOut
        );
        assert_eq!(judge(&plain, Claim::NoData, "c.example.", RrType::DS), NO);
        assert_eq!(
            judge(&lax, Claim::NoName, "a.c.x.w.example.", RrType::A),
            Proof::OptOut
        );
        let heavy = sets(
            RrType::NSEC3,
            &[(
                "0p9mhaveqvm6t7vbl5lop2u3t2rp3tom.example.",
                "1 0 51 - 2t7b4g4vsa5smi47k61mv5bv1a22bojr A",
            )],
        );
        assert_eq!(
            judge(&heavy, Claim::NoName, "a.example.", RrType::A),
            Proof::TooManyIterations
        );
        // Names of very many labels cost no more than they may.
        let deep = format!("{}example.", "a.".repeat(100));
        assert_eq!(judge(&plain, Claim::NoName, &deep, RrType::A), NO);
    }
}

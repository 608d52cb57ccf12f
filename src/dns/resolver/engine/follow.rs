//! Trust anchors as they are at a time: what is trusted of them, and what their zone's keys say now.

use std::sync::PoisonError;

use super::Resolver;
use super::anchors::Anchor;
use super::budget::{Fault, Path, Request, reason};
use super::managed::Managed;
use super::record::{Fact, RrSet};
use super::trust::{MAX_SIGNATURES, Standing};
use crate::dnssec::{DigestType, DnsKey, Ds, Rrsig, Validity, verify};
use crate::wire::code::{Class, RrType};

impl Resolver {
    /// The data of DS records for the keys that are trusted of an anchor's zone: those it has come
    /// to follow, or else those that the configuration names and that have not been revoked. None
    /// are left where all were: then nothing is said of the zone any more (RFC 5011 5).
    pub(super) fn trusted(&self, anchor: &Anchor) -> Vec<Box<[u8]>> {
        let managed = self.memory.managed.lock();
        let managed = managed.unwrap_or_else(PoisonError::into_inner);
        let Some(keys) = managed.get(&anchor.zone) else {
            return anchor.digests();
        };
        let zone = anchor.zone.as_ref();
        let digest = |key: &[u8]| Ds::make(zone, key, DigestType::SHA256).map(Into::into);
        let trusted: Vec<Box<[u8]>> = keys.trusted().filter_map(digest).collect();
        if !trusted.is_empty() {
            return trusted;
        }
        let mut named = anchor.digests();
        named.retain(|data| {
            let mut revoked = keys.revoked().filter_map(DnsKey::read);
            Ds::read(data).is_some_and(|ds| !revoked.any(|key| ds.matches(zone, &key)))
        });
        named
    }

    /// Looks at the keys of an anchor's zone anew (RFC 5011 2.3): the state they are in then, and
    /// the seconds until they are to be looked at again.
    pub(crate) async fn look_at_anchor(&self, anchor: &Anchor) -> Result<(Managed, u32), u16> {
        let zone = &anchor.zone;
        let request = Request::new(&self.settings.budget, self.network.now(), true);
        let path = Path::start(zone, RrType::DNSKEY);
        let found = self.find(&request, &path, zone, RrType::DNSKEY).await;
        let entry = found.map_err(|Fault(reason)| reason)?;
        let Fact::Set(set) = &entry.fact else {
            return Err(reason::DNSKEY_MISSING);
        };
        let digests = self.trusted(anchor);
        let (standing, _) = self.vouch(&request, zone, &digests, set);
        if let Standing::Bogus(reason) = standing {
            return Err(reason);
        }
        let now = self.network.unix_time();
        let revoked: Vec<&[u8]> = set
            .data
            .iter()
            .map(|data| &**data)
            .filter(|data| signs_its_end(set, data, now as u32))
            .collect();
        let known = {
            let managed = self.memory.managed.lock();
            let managed = managed.unwrap_or_else(PoisonError::into_inner);
            managed.get(zone).filter(|state| state.is_begun()).cloned()
        };
        let mut state = known.unwrap_or_else(|| {
            let vouched = |data: &[u8]| {
                let key = DnsKey::read(data);
                let digests = digests.iter().filter_map(|digest| Ds::read(digest));
                key.is_some_and(|key| {
                    digests
                        .into_iter()
                        .any(|ds| ds.matches(zone.as_ref(), &key))
                })
            };
            Managed::begin(&set.data, vouched, now)
        });
        state.observe(&set.data, &revoked, now);
        Ok((state, set.ttl))
    }
}

/// True of a key with the mark of a revoked one that signs the set it is in (RFC 5011 2.1).
fn signs_its_end(set: &RrSet, data: &[u8], now: u32) -> bool {
    let Some(key) = DnsKey::read(data).filter(|key| key.flags & DnsKey::REVOKE != 0) else {
        return false;
    };
    let signatures = set.signatures.iter().take(MAX_SIGNATURES);
    let read = signatures.filter_map(|signature| Rrsig::read(signature));
    let own = read.filter(|signature| {
        signature.key_tag == key.tag()
            && signature.algorithm == key.algorithm
            && signature.validity(now) == Validity::Valid
    });
    own.into_iter().any(|signature| {
        let records = set.data.iter().map(|data| &**data);
        let octets = signature.signed_octets(set.owner.as_ref(), Class::IN, records);
        octets.is_some_and(|octets| {
            verify(key.algorithm, key.key, &octets, signature.signature).is_ok()
        })
    })
}

//! Where the lists of the policy meet an answer.

use std::net::IpAddr;
use std::sync::Arc;

use super::Resolver;
use super::budget::reason;
use super::policy::{self, Action, Hit, Policy};
use super::record::{Fact, RrSet, Security};
use super::reply::address_of;
use super::resolve::{Ask, Delivery, Resolved};
use crate::wire::code::{Rcode, RrType};
use crate::wire::name::{Name, NameRef};

/// Seconds that a replaced answer counts for.
const TTL: u32 = 60;

impl Resolver {
    /// The rule that an answer calls for, if one of a list before `found`, or of any where there
    /// is none, does so.
    pub(crate) fn filter<'p>(
        &self,
        policy: &'p Policy,
        found: Option<Hit<'p>>,
        resolved: &Resolved,
        names: &[Name],
    ) -> Option<Hit<'p>> {
        let mut best = found;
        // Of one list, an earlier kind of trigger goes before a later one.
        let mut take = |hit: Option<Hit<'p>>| {
            if let Some(hit) = hit
                && best.is_none_or(|(number, _)| hit.0 < number)
            {
                best = Some(hit);
            }
        };
        for (set, _) in &resolved.answer {
            for data in &set.data {
                if let Some(address) = address_of(set.rr_type, data) {
                    take(policy.address(address));
                }
            }
        }
        if policy.has_servers() {
            for name in names {
                let (servers, addresses) = self.servers_of(name.as_ref());
                servers
                    .iter()
                    .for_each(|server| take(policy.server_name(server)));
                for address in addresses {
                    take(policy.server_address(address));
                }
            }
        }
        best
    }

    /// The known servers of all zones above a name, below the root.
    fn servers_of(&self, name: NameRef<'_>) -> (Vec<Name>, Vec<IpAddr>) {
        let (mut servers, mut addresses) = (Vec::new(), Vec::new());
        let mut above = Some(name).filter(|name| !name.is_root());
        while let Some(zone) = above.filter(|zone| !zone.is_root()) {
            if let Some(delegation) = self.memory.delegations.get(zone, 0) {
                for (server, glue) in &delegation.servers {
                    addresses.extend(glue);
                    for rr_type in [RrType::A, RrType::AAAA] {
                        let kind = rr_type.0.into();
                        let known = self.memory.records.get(server.as_ref(), kind);
                        if let Some(Fact::Set(set)) = known.as_ref().map(|entry| &entry.fact) {
                            let found = set.data.iter();
                            addresses.extend(found.filter_map(|data| address_of(rr_type, data)));
                        }
                    }
                    servers.push(server.clone());
                }
            }
            above = zone.parent();
        }
        (servers, addresses)
    }

    /// Does to an answer what a rule says; gives the name to go on with.
    pub(crate) fn apply(
        &self,
        action: &Action,
        resolved: &mut Resolved,
        name: &Name,
        ask: &Ask,
    ) -> Option<Name> {
        resolved.security = Security::Indeterminate;
        resolved.reason = Some(reason::BLOCKED);
        resolved.authority.clear();
        resolved.stale = false;
        resolved.ttl = resolved.ttl.min(TTL);
        resolved.rcode = Rcode::NOERROR;
        match action {
            Action::NoName => resolved.rcode = Rcode::NXDOMAIN,
            Action::NoData | Action::Pass => {}
            Action::Drop => resolved.delivery = Delivery::Drop,
            Action::TcpOnly => resolved.delivery = Delivery::TcpOnly,
            Action::Local(sets) => {
                resolved.reason = Some(reason::FORGED);
                let set = policy::local(sets, name, ask.rr_type)?;
                let ttl = set.ttl;
                resolved.ttl = resolved.ttl.min(ttl);
                let alias = set.rr_type == RrType::CNAME && ask.rr_type != RrType::CNAME;
                let next = set.target().filter(|_| alias).map(NameRef::to_owned);
                resolved.answer.push((Arc::new(set), ttl));
                return next;
            }
        }
        None
    }

    /// IPv6 addresses for a name that has none, PTR records for those that were made.
    pub(crate) async fn with_dns64(&self, ask: &Ask, resolved: Resolved) -> Resolved {
        let Some(dns64) = self.settings.dns64 else {
            return resolved;
        };
        let plain = resolved.rcode == Rcode::NOERROR && resolved.delivery == Delivery::Normal;
        // Who checks for himself is not to be given what cannot be checked (RFC 6147 5.5).
        if !plain && ask.rr_type != RrType::PTR || ask.dnssec_ok && ask.checking_disabled {
            return resolved;
        }
        if ask.rr_type == RrType::PTR
            && let Some(real) = dns64.reverse(&ask.name)
        {
            let alias = RrSet {
                owner: ask.name.clone(),
                rr_type: RrType::CNAME,
                ttl: TTL,
                data: vec![real.as_ref().wire().into()],
                signatures: Vec::new(),
            };
            let real = Ask {
                name: real,
                ..ask.clone()
            };
            let mut found = self.resolve_plain(&real).await;
            found.security = Security::Indeterminate;
            found.answer.insert(0, (Arc::new(alias), TTL));
            return found;
        }
        if ask.rr_type != RrType::AAAA {
            return resolved;
        }
        let real = |(set, _): &(Arc<RrSet>, u32)| {
            let mapped = set.data.iter().all(|data| super::dns64::is_mapped(data));
            set.rr_type == RrType::AAAA && !mapped
        };
        if resolved.answer.iter().any(real) {
            return resolved;
        }
        let v4 = Ask {
            rr_type: RrType::A,
            ..ask.clone()
        };
        let mut found = self.resolve_plain(&v4).await;
        let has = |(set, _): &(Arc<RrSet>, u32)| set.rr_type == RrType::A;
        if found.rcode != Rcode::NOERROR || !found.answer.iter().any(has) {
            return resolved;
        }
        for (set, _) in &mut found.answer {
            if set.rr_type == RrType::A {
                *set = dns64.set(set);
            }
        }
        found.security = Security::Indeterminate;
        found.authority.clear();
        found
    }
}

//! A client's question, from the name it asks for along every alias to the end.

use std::collections::HashMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};

use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};

use super::Resolver;
use super::answer::{Answer, kind};
use super::budget::{Path, Request, reason};
use super::policy::{Action, Hit};
use super::record::{Entry, Fact, NO_NAME, RrSet, Security};
use crate::wire::code::{Rcode, RrType};
use crate::wire::name::{Name, NameRef};

/// A question.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) name: Name,
    pub(crate) rr_type: RrType,
    pub(crate) dnssec_ok: bool,
    pub(crate) checking_disabled: bool,
    /// The answer that there is gets old: a new one, please.
    pub(crate) refresh: bool,
    /// The lists of the policy let this client's questions be.
    pub(crate) unfiltered: bool,
}

/// How an answer goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Delivery {
    Normal,
    /// Not at all.
    Drop,
    /// Over UDP only as a hint to ask over TCP.
    TcpOnly,
}

impl Ask {
    pub(crate) fn kind(&self) -> u32 {
        let unfiltered = u32::from(self.unfiltered) << 18;
        kind(self.rr_type, self.dnssec_ok, self.checking_disabled) | unfiltered
    }
}

/// An answer, not written yet.
#[derive(Debug)]
pub(crate) struct Resolved {
    pub(crate) rcode: Rcode,
    pub(crate) answer: Vec<(Arc<RrSet>, u32)>,
    pub(crate) authority: Vec<(Arc<RrSet>, u32)>,
    pub(crate) security: Security,
    pub(crate) reason: Option<u16>,
    pub(crate) ttl: u32,
    pub(crate) stale: bool,
    pub(crate) delivery: Delivery,
}

impl Resolved {
    fn failed(reason: Option<u16>, ttl: u32) -> Resolved {
        Resolved {
            rcode: Rcode::SERVFAIL,
            answer: Vec::new(),
            authority: Vec::new(),
            security: Security::Indeterminate,
            reason,
            ttl,
            stale: false,
            delivery: Delivery::Normal,
        }
    }

    pub(crate) fn empty(ttl: u32) -> Resolved {
        Resolved {
            rcode: Rcode::NOERROR,
            security: Security::Secure,
            ..Resolved::failed(None, ttl)
        }
    }
}

/// True of a type that a record set can have, and that is asked for by itself. Nothing that comes
/// back answers a question for another, so no server is to be blamed for it.
pub(crate) fn is_sought(rr_type: RrType) -> bool {
    !matches!(rr_type, RrType(0) | RrType::RRSIG) && !rr_type.is_meta()
}

/// True of what a referral said of a missing DS set: a validator knows enough, a client is given
/// the SOA record as well (RFC 2308 2.2).
fn is_half(entry: &Entry) -> bool {
    let denies = matches!(entry.fact, Fact::NoData) && entry.rr_type == RrType::DS;
    denies && entry.authority.iter().all(|set| set.rr_type != RrType::SOA)
}

/// Seconds that stale data is said to hold (RFC 8767 4).
pub(crate) const STALE_TTL: u32 = 30;
/// Seconds that the set counts for that stands for all of a name.
const ANY_TTL: u32 = 3600;
/// Questions under way at which those are first sought whose askers have all gone.
const MAX_ABANDONED: usize = 1024;

/// An answer that is being found out.
pub(crate) type Pending = Shared<BoxFuture<'static, Arc<Answer>>>;

/// The answers being found out that somebody waits for, by question.
#[derive(Default)]
pub(crate) struct InFlight {
    flights: HashMap<(Name, u32), WeakShared<BoxFuture<'static, Arc<Answer>>>>,
    /// How many were left by the last sweep.
    swept: usize,
}

impl InFlight {
    /// Drops what nobody waits for any more, once there may be as much of it as of the rest: the
    /// work of a sweep is shared by the questions since the last.
    fn sweep(&mut self) {
        if self.flights.len() < MAX_ABANDONED.max(2 * self.swept) {
            return;
        }
        self.flights.retain(|_, weak| {
            let pending = weak.upgrade();
            pending.is_some_and(|pending| pending.peek().is_none())
        });
        self.swept = self.flights.len();
    }
}

impl Resolver {
    /// The answer to a question; who asks what is being found out already waits for the same.
    pub(crate) fn answer(self: &Arc<Self>, ask: Ask) -> Pending {
        let key = (ask.name.clone(), ask.kind());
        let in_flight = &self.memory.in_flight;
        let mut flights = in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(pending) = flights.flights.get(&key).and_then(WeakShared::upgrade) {
            return pending;
        }
        flights.sweep();
        let (resolver, own) = (self.clone(), key.clone());
        let work = async move {
            let resolved = resolver.resolve(&ask).await;
            let now = resolver.network.now();
            let mut answer = Arc::new(Answer::new(&ask, &resolved, now));
            let answers = &resolver.memory.answers;
            let failed = answer.rcode == Rcode::SERVFAIL || answer.stale;
            let before = answers.get(ask.name.as_ref(), ask.kind());
            match before.filter(|before| failed && before.is_fresh(now)) {
                // One that was to be renewed, and could not be, is as good as it was.
                Some(before) => answer = before,
                None if answer.ttl > 0 => {
                    answers.put(ask.name.as_ref(), ask.kind(), answer.clone());
                }
                None => {}
            }
            let in_flight = &resolver.memory.in_flight;
            in_flight
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .flights
                .remove(&own);
            answer
        };
        let pending = work.boxed().shared();
        if let Some(weak) = pending.downgrade() {
            flights.flights.insert(key, weak);
        }
        pending
    }

    /// Drops what a test says; gives how much that was.
    pub(crate) fn flush(&self, about: impl Fn(&Name) -> bool) -> usize {
        let memory = &self.memory;
        memory
            .delegations
            .retain(|delegation| !about(&delegation.zone));
        memory.answers.retain(|answer| !about(&answer.name()));
        memory.links.retain(|link| !about(link.name()));
        memory.ranges.forget(&about);
        memory.records.retain(|entry| !about(&entry.name))
    }

    /// The answer that a rule about the client gives.
    pub(crate) fn by_rule(
        &self,
        action: &Action,
        name: NameRef<'_>,
        rr_type: RrType,
        dnssec_ok: bool,
    ) -> Answer {
        let ask = Ask {
            name: name.to_owned(),
            rr_type,
            dnssec_ok,
            checking_disabled: false,
            refresh: false,
            unfiltered: false,
        };
        let mut resolved = Resolved::empty(self.settings.max_ttl);
        // A CNAME is given as it is: what it leads to is another question.
        self.apply(action, &mut resolved, &ask.name, &ask);
        Answer::new(&ask, &resolved, self.network.now())
    }

    /// The answer to a question for what is no type of a record set; none if it is one. Whoever
    /// asks for all types is given one set that stands for them (RFC 8482 4.2).
    pub(crate) fn not_sought(&self, ask: &Ask) -> Option<Answer> {
        if is_sought(ask.rr_type) {
            return None;
        }
        let mut resolved = Resolved::empty(STALE_TTL);
        resolved.security = Security::Indeterminate;
        if ask.rr_type == RrType::ANY {
            let set = RrSet {
                owner: ask.name.clone(),
                rr_type: RrType::HINFO,
                ttl: ANY_TTL,
                data: vec![b"\x07RFC8482\0".as_slice().into()],
                signatures: Vec::new(),
            };
            resolved.answer.push((Arc::new(set), ANY_TTL));
        } else {
            resolved.rcode = Rcode::NOTIMP;
            resolved.reason = Some(reason::NOT_SUPPORTED);
        }
        Some(Answer::new(ask, &resolved, self.network.now()))
    }

    /// Finds the answer to a question.
    pub(crate) async fn resolve(&self, ask: &Ask) -> Resolved {
        let plain = self.resolve_plain(ask).await;
        self.with_dns64(ask, plain).await
    }

    /// Finds the answer to a question, changed by nothing but the policy.
    pub(crate) async fn resolve_plain(&self, ask: &Ask) -> Resolved {
        let budget = &self.settings.budget;
        let request = Request::new(budget, self.network.now(), ask.refresh);
        let mut name = ask.name.clone();
        let mut resolved = Resolved::empty(self.settings.max_ttl);
        let mut seen: Vec<Name> = Vec::new();
        let policy = &*self.settings.policy;
        let mut filtered = !ask.unfiltered && !policy.is_empty();
        let mut rewritten = false;
        // A rule for a name that has to wait, since a list before it may have one for the answer.
        let mut waiting: Option<(Hit<'_>, Name)> = None;
        loop {
            if filtered
                && waiting.is_none()
                && let Some(hit) = policy.name(&name)
            {
                if policy.needs_answer_before(hit.0) {
                    waiting = Some((hit, name.clone()));
                } else if *hit.1 == Action::Pass {
                    filtered = false;
                } else {
                    (filtered, rewritten) = (false, true);
                    let Some(next) = self.apply(hit.1, &mut resolved, &name, ask) else {
                        break;
                    };
                    seen.push(name);
                    name = next;
                    continue;
                }
            }
            let path = Path::start(&name, ask.rr_type);
            let mut entry = self.lookup(&request, &path, &name, ask.rr_type).await;
            if is_half(&entry)
                && let Ok(whole) = self.find(&request, &path, &name, ask.rr_type).await
            {
                entry = whole;
            }
            let mut security = self.security(&request, &entry, ask).await;
            if matches!(entry.fact, Fact::Failed) || security == Security::Bogus {
                let Some(old) = self.stale(&name, ask.rr_type) else {
                    return self.failure(&request, &entry, security);
                };
                (entry, resolved.stale) = (old, true);
                security = entry.security();
            }
            resolved.security = resolved.security.min(security);
            if resolved.reason.is_none() {
                resolved.reason = entry.reason();
            }
            let left = match resolved.stale {
                true => STALE_TTL,
                false => entry.left(self.network.now()).unwrap_or(0),
            };
            resolved.ttl = resolved.ttl.min(left);
            let next = self.take(&mut resolved, &entry, ask, left);
            let Some(next) = next else {
                if filtered {
                    let found = waiting.as_ref().map(|(hit, _)| *hit);
                    let names = [seen.as_slice(), std::slice::from_ref(&name)].concat();
                    let hit = self.filter(policy, found, &resolved, &names);
                    filtered = false;
                    if let Some((_, action)) = hit.filter(|(_, action)| **action != Action::Pass) {
                        rewritten = true;
                        resolved.answer.clear();
                        if let Some(next) = self.apply(action, &mut resolved, &ask.name, ask) {
                            seen.push(name);
                            name = next;
                            continue;
                        }
                    }
                }
                break;
            };
            seen.push(name);
            if seen.contains(&next) || seen.len() >= budget.chain as usize {
                self.memory.counts.failed.fetch_add(1, Ordering::Relaxed);
                return Resolved::failed(Some(reason::OTHER), self.settings.failure_ttl);
            }
            name = next;
        }
        if rewritten {
            self.memory.counts.rewritten.fetch_add(1, Ordering::Relaxed);
            resolved.security = Security::Indeterminate;
        }
        if resolved.stale {
            self.memory.counts.stale.fetch_add(1, Ordering::Relaxed);
            resolved.reason = Some(match resolved.rcode {
                Rcode::NXDOMAIN => reason::STALE_NXDOMAIN,
                _ => reason::STALE_ANSWER,
            });
        }
        resolved
    }

    fn failure(&self, request: &Request, entry: &Entry, security: Security) -> Resolved {
        self.memory.counts.failed.fetch_add(1, Ordering::Relaxed);
        if security == Security::Bogus {
            self.memory.counts.bogus.fetch_add(1, Ordering::Relaxed);
        }
        let spent = request.is_spent().then_some(reason::OTHER);
        let reason = entry.reason().or(spent);
        let mut resolved = Resolved::failed(reason, self.settings.failure_ttl);
        resolved.security = security;
        resolved
    }

    /// Adds what an entry says to an answer; gives the name to go on with.
    fn take(&self, resolved: &mut Resolved, entry: &Entry, ask: &Ask, left: u32) -> Option<Name> {
        let authority = |resolved: &mut Resolved| {
            let sets = entry.vouched().map(|set| (set.clone(), left));
            resolved.authority.extend(sets);
        };
        let next = match &entry.fact {
            Fact::Set(set) => {
                resolved.answer.push((set.clone(), left));
                let alias = set.rr_type == RrType::CNAME && ask.rr_type != RrType::CNAME;
                set.target().filter(|_| alias)
            }
            Fact::Renamed { dname, cname } => {
                resolved.answer.push((dname.clone(), left));
                resolved.answer.push((cname.clone(), left));
                cname.target().filter(|_| ask.rr_type != RrType::CNAME)
            }
            Fact::NoData => None,
            Fact::NoName => {
                resolved.rcode = Rcode::NXDOMAIN;
                None
            }
            Fact::Failed => None,
        };
        match &entry.fact {
            Fact::Failed => {}
            // A set that a wildcard made comes with the proof that the name itself is not there.
            _ => authority(resolved),
        }
        next.map(NameRef::to_owned)
    }

    /// What was known, and is past its time, but not by too much (RFC 8767).
    fn stale(&self, name: &Name, rr_type: RrType) -> Option<Arc<Entry>> {
        if self.settings.stale.is_zero() {
            return None;
        }
        let now = self.network.now();
        let kept = |kind: u32| self.memory.records.get(name.as_ref(), kind);
        let alias = kept(RrType::CNAME.0.into()).filter(|entry| entry.is_alias());
        let known = [kept(rr_type.0.into()), alias, kept(NO_NAME)];
        known
            .into_iter()
            .flatten()
            .filter(|entry| !matches!(entry.fact, Fact::Failed))
            .filter(|entry| entry.security() != Security::Bogus)
            // What was never checked must not pass for checked now.
            .filter(|entry| !self.settings.validate || entry.security() != Security::Unchecked)
            .find(|entry| entry.stale_for(now) < self.settings.stale)
    }

    /// How far an entry can be trusted, so far as the client wants to know.
    async fn security(&self, request: &Request, entry: &Entry, ask: &Ask) -> Security {
        if !self.settings.validate || ask.checking_disabled {
            return Security::Indeterminate;
        }
        self.verdict(request, entry).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use futures_util::FutureExt;

    use super::*;

    /// Thousands of questions under way are not all looked at for each one more.
    #[test]
    fn sweeps_are_far_between() {
        let mut flights = InFlight::default();
        let (mut held, mut sweeps) = (Vec::new(), 0);
        for number in 0..10_000u32 {
            let before = flights.swept;
            flights.sweep();
            sweeps += u32::from(flights.swept != before);
            let pending = std::future::pending().boxed().shared();
            let weak = pending.downgrade().unwrap();
            flights.flights.insert((Name::root(), number), weak);
            held.push(pending);
        }
        assert_eq!((flights.flights.len(), sweeps), (10_000, 4));
        held.clear();
        for number in 10_000..20_000u32 {
            flights.sweep();
            let weak = std::future::pending().boxed().shared().downgrade().unwrap();
            flights.flights.insert((Name::root(), number), weak);
        }
        assert!(flights.flights.len() <= 2 * MAX_ABANDONED);
    }
}

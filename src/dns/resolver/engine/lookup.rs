//! One name and type: out of the cache, or from wherever the configuration says.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::future::BoxFuture;

use super::Resolver;
use super::budget::{Fault, Path, Request, reason};
use super::network::{Opt, Outgoing, Style};
use super::record::{Entry, Fact, NO_NAME, Security};
use super::reply::{self, Learned, Reply, Source};
use super::settings::Route;
use super::special;
use crate::wire::code::RrType;
use crate::wire::message::Message;
use crate::wire::name::{Name, NameRef};

/// Seconds that an answer with data of our own zones counts for.
const OWN_TTL: u32 = 5;
/// How long data that failed validation is kept.
const BOGUS_TIME: Duration = Duration::from_secs(30);

impl Resolver {
    /// What is known of a name and type, and still counts.
    pub(crate) fn cached(
        &self,
        request: &Request,
        name: &Name,
        rr_type: RrType,
    ) -> Option<Arc<Entry>> {
        let now = self.network.now();
        let known = |kind: u32| {
            if let Some(entry) = request.recall(name.as_ref(), kind) {
                return Some(entry);
            }
            let entry = self.memory.records.get(name.as_ref(), kind)?;
            // A forger, or a server that was repaired, may have been behind it.
            let bogus = entry.security() == Security::Bogus;
            if bogus && now.saturating_duration_since(entry.stored) > BOGUS_TIME {
                return None;
            }
            let counts = if request.refresh {
                !entry.is_old(now)
            } else {
                entry.left(now).is_some()
            };
            counts.then_some(entry)
        };
        // That a name has no CNAME, or that nobody could say, says nothing of its other types.
        let alias = || known(RrType::CNAME.0.into()).filter(|entry| entry.is_alias());
        known(rr_type.0.into())
            .or_else(alias)
            .or_else(|| known(NO_NAME))
            .or_else(|| {
                // Nothing is below a name that does not exist (RFC 8020); taken only from those
                // who sign it, since others have been seen to deny what has names below.
                let realm = self.provable(name.as_ref(), rr_type)?;
                let realm = realm.as_ref();
                let within = |name: &NameRef<'_>| name.is_within(realm) && *name != realm;
                let mut above = name.as_ref().parent();
                while let Some(name) = above.filter(within) {
                    let entry = self.memory.records.get(name, NO_NAME);
                    let holds = |entry: &Arc<Entry>| {
                        entry.security() == Security::Secure && entry.left(now).is_some()
                    };
                    if let Some(entry) = entry.filter(holds) {
                        return Some(entry);
                    }
                    above = name.parent();
                }
                None
            })
    }

    /// Finds out about one name and type; CNAME records are given, not followed.
    pub(crate) fn lookup<'a>(
        &'a self,
        request: &'a Request,
        path: &'a Path<'a>,
        name: &'a Name,
        rr_type: RrType,
    ) -> BoxFuture<'a, Arc<Entry>> {
        Box::pin(async move {
            if let Some(entry) = self.cached(request, name, rr_type) {
                return entry;
            }
            let found = self.find(request, path, name, rr_type).await;
            match found {
                Ok(entry) => entry,
                Err(Fault(reason)) => {
                    let ttl = self.failure_time().as_secs() as u32;
                    let learned = Learned {
                        name: name.clone(),
                        rr_type,
                        fact: Fact::Failed,
                        authority: Vec::new(),
                        ttl,
                    };
                    self.keep_as(request, learned, Some(reason))
                }
            }
        })
    }

    pub(crate) async fn find(
        &self,
        request: &Request,
        path: &Path<'_>,
        name: &Name,
        rr_type: RrType,
    ) -> Result<Arc<Entry>, Fault> {
        // The DS set of a zone's name is the business of the zone above, and of its route.
        let above = if rr_type == RrType::DS {
            name.as_ref().parent()
        } else {
            None
        };
        match self.own(request, name, rr_type) {
            Some(Reply::Facts(facts)) => {
                let entries = facts
                    .into_iter()
                    .map(|learned| self.own_entry(request, learned));
                let first = entries.fold(None, |first: Option<Arc<Entry>>, entry| {
                    first.or(Some(entry).filter(|entry| entry.name == *name))
                });
                return first.ok_or(Fault(reason::OTHER));
            }
            // A zone that one of ours delegates, whatever the root says of it.
            Some(Reply::Referral(below, _)) => {
                return self
                    .iterate(request, path, name, rr_type, Some(&below))
                    .await;
            }
            _ => {}
        }
        let route = self.settings.route(above.unwrap_or(name.as_ref()));
        if self.settings.empty_zones
            && let Some(zone) = special::zone(name.as_ref())
            && route.is_none_or(|(at, _)| !at.as_ref().is_within(zone.as_ref()))
            && let Some(learned) = special::answer(&zone, name, rr_type)
        {
            let entry = self.keep(request, learned);
            entry.judge(Security::Insecure, None);
            return Ok(entry);
        }
        if self.settings.validate
            && rr_type != RrType::DS
            && let Some(realm) = self.provable(name.as_ref(), rr_type)
            && let Some(learned) =
                (self.memory.ranges).deny(name, rr_type, self.network.now(), realm.as_ref())
        {
            self.memory.counts.denied.fetch_add(1, Ordering::Relaxed);
            let entry = self.keep(request, learned);
            entry.judge(Security::Secure, None);
            return Ok(entry);
        }
        match route {
            None | Some((_, Route::Iterate)) => {
                self.iterate(request, path, name, rr_type, None).await
            }
            Some((_, Route::Stub(stub))) => {
                self.iterate(request, path, name, rr_type, Some(stub)).await
            }
            Some((zone, Route::Forward { servers, first })) => {
                let forwarded = self.forward(request, zone, servers, name, rr_type).await;
                match forwarded {
                    Err(_) if *first => self.iterate(request, path, name, rr_type, None).await,
                    other => other,
                }
            }
        }
    }

    /// The zone with a source of its own, a route or this server's data, that a name and type
    /// belong to: nothing that was learned elsewhere speaks of them.
    pub(crate) fn realm(&self, name: NameRef<'_>, rr_type: RrType) -> Name {
        // The DS set of a zone's name is the business of the zone above, and of its route.
        let above = match name.parent() {
            Some(above) if rr_type == RrType::DS => above,
            _ => name,
        };
        let route = self.settings.route(above).map(|(zone, _)| zone.clone());
        let own = self
            .local
            .as_ref()
            .and_then(|local| local.zone(name, rr_type));
        let zones = route.into_iter().chain(own);
        zones
            .max_by_key(|zone| zone.as_ref().label_count())
            .unwrap_or_else(Name::root)
    }

    /// The zone within which a proof about other names may speak of this one as well; none for a
    /// name that is not validated, since those who have it need not be those who would prove it.
    fn provable(&self, name: NameRef<'_>, rr_type: RrType) -> Option<Name> {
        (!self.is_let_be(name)).then(|| self.realm(name, rr_type))
    }

    /// Keeps what a response says to a question, but for what is another source's to say.
    pub(crate) fn keep_all(
        &self,
        request: &Request,
        name: NameRef<'_>,
        rr_type: RrType,
        facts: Vec<Learned>,
    ) -> Vec<Arc<Entry>> {
        let realm = self.realm(name, rr_type);
        let ours = |learned: &Learned| self.realm(learned.name.as_ref(), learned.rr_type) == realm;
        let facts = facts.into_iter().filter(ours);
        facts.map(|learned| self.keep(request, learned)).collect()
    }

    /// What this server's own zones say.
    fn own(&self, request: &Request, name: &Name, rr_type: RrType) -> Option<Reply> {
        let local = self.local.as_ref()?;
        let style = Style {
            edns: true,
            dnssec_ok: true,
            ..Style::default()
        };
        request.take_query(self.network.now()).ok()?;
        let query = Outgoing::new(name.as_ref(), rr_type, style, &*self.network);
        let (zone, bytes) = local.ask(name.as_ref(), rr_type, &query.bytes)?;
        let message = Message::read(&bytes).ok()?;
        let source = Source {
            zone: zone.as_ref(),
            forwarder: false,
        };
        Some(reply::read(
            source,
            name,
            rr_type,
            &message,
            &Opt::of(&message),
        ))
    }

    /// What is our own is not remembered beyond the question: the zone may change at any time.
    fn own_entry(&self, request: &Request, learned: Learned) -> Arc<Entry> {
        let Learned {
            name,
            rr_type,
            fact,
            authority,
            ttl,
        } = learned;
        let (now, ttl) = (self.network.now(), ttl.clamp(1, OWN_TTL));
        let entry = Arc::new(Entry::new(name, rr_type, fact, authority, now, ttl));
        entry.judge(Security::Insecure, None);
        request.remember(&entry);
        entry
    }

    /// Keeps what was learned.
    pub(crate) fn keep(&self, request: &Request, learned: Learned) -> Arc<Entry> {
        self.keep_as(request, learned, None)
    }

    fn keep_as(&self, request: &Request, learned: Learned, reason: Option<u16>) -> Arc<Entry> {
        let settings = &self.settings;
        let ttl = match &learned.fact {
            // What its signatures allow, once they are verified, comes on top of it.
            Fact::Set(_) | Fact::Renamed { .. } => {
                learned.ttl.clamp(settings.min_ttl, settings.max_ttl)
            }
            Fact::NoData | Fact::NoName => {
                let least = settings.min_ttl.min(settings.max_negative_ttl);
                learned.ttl.clamp(least, settings.max_negative_ttl)
            }
            Fact::Failed => learned.ttl,
        };
        let Learned {
            name,
            rr_type,
            fact,
            authority,
            ..
        } = learned;
        let failed = matches!(fact, Fact::Failed);
        let now = self.network.now();
        let entry = Arc::new(Entry::new(name, rr_type, fact, authority, now, ttl));
        if reason.is_some() {
            entry.judge(Security::Unchecked, reason);
        }
        request.remember(&entry);
        let records = &self.memory.records;
        // A failure is no reason to forget what still counts, or may still serve when stale; that
        // one question cost too much says nothing to the next.
        let old = records.get(entry.name.as_ref(), entry.kind());
        let keep_old = failed
            && (request.is_spent()
                || old.is_some_and(|old| {
                    let serves = old.left(now).is_some() || old.stale_for(now) < settings.stale;
                    !matches!(old.fact, Fact::Failed) && serves
                }));
        if ttl > 0 && !keep_old {
            records.put(entry.name.as_ref(), entry.kind(), entry.clone());
        }
        entry
    }
}

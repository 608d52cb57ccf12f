//! From the root down: which servers to ask for what (RFC 1034 5.3.3), telling each only as much
//! of the name as it needs (RFC 9156).

use std::collections::{HashSet, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tracing::trace;

use super::Resolver;
use super::ask::Asked;
use super::budget::{Fault, Path, Request, reason};
use super::delegation::Delegation;
use super::network::{Carrier, Server};
use super::record::{Entry, Fact};
use super::reply::{self, Reply, Source, address_of};
use crate::wire::code::{Rcode, RrType};
use crate::wire::name::{Name, NameRef};

/// Servers asked for one question at one zone.
const MAX_TRIES: usize = 12;
/// Servers without a known address that are looked up for one question at one zone.
const MAX_GLUELESS: usize = 4;
/// Referrals and steps of minimisation for one name.
const MAX_STEPS: usize = 48;
/// RFC 9156 2.3: steps in all, and those that add one label only.
const MAX_MINIMISE: usize = 10;
const MINIMISE_ONE: usize = 4;
/// Seconds that the addresses of the root out of an answer count for at least.
const ROOT_TTL: u32 = 3600;

impl Resolver {
    /// Finds out about a name by asking the servers of its zone.
    pub(crate) async fn iterate(
        &self,
        request: &Request,
        path: &Path<'_>,
        name: &Name,
        rr_type: RrType,
        stub: Option<&Delegation>,
    ) -> Result<Arc<Entry>, Fault> {
        let total = name.as_ref().label_count();
        let mut at = self.start(request, name, rr_type, stub).await;
        let mut shown = at.zone.as_ref().label_count();
        let mut minimise = self.settings.minimise;
        let mut added = 0;
        for _ in 0..MAX_STEPS {
            let more = total.saturating_sub(shown);
            let step = if added < MINIMISE_ONE {
                1
            } else {
                more.div_ceil(MAX_MINIMISE.saturating_sub(added).max(1))
            };
            let whole = !minimise || more <= step || added >= MAX_MINIMISE;
            let shown_now = if whole { total } else { shown + step };
            let part = name
                .as_ref()
                .skip(total - shown_now)
                .unwrap_or(name.as_ref());
            // The last step tells the type; a DS set is the business of the zone above its name.
            let asked = if whole { rr_type } else { RrType::A };
            let part = part.to_owned();
            if !whole && self.is_no_cut(request, &part) {
                (shown, added) = (shown_now, added + 1);
                continue;
            }
            let outcome = self.ask_zone(request, path, &at, &part, asked).await;
            match outcome {
                Ok(Reply::Referral(mut below, keys)) => {
                    let now = self.network.now();
                    below.ttl = below.ttl.clamp(1, self.settings.max_ttl);
                    below.stored = Some(now);
                    if let Some(keys) = keys {
                        self.keep(request, keys);
                    }
                    shown = below.zone.as_ref().label_count();
                    at = Arc::new(below);
                    self.memory.delegations.put(at.zone.as_ref(), 0, at.clone());
                }
                Ok(Reply::Facts(facts)) => {
                    let entries = self.keep_all(request, name.as_ref(), rr_type, facts);
                    let first = entries.into_iter().find(|entry| entry.name == part);
                    match first {
                        Some(entry) if whole => return Ok(entry),
                        // Old servers deny names that have others below them: the whole name is
                        // the question then (RFC 9156 3).
                        Some(entry) if matches!(entry.fact, Fact::NoName) => minimise = false,
                        _ if whole => return Err(Fault(reason::OTHER)),
                        _ => (shown, added) = (shown_now, added + 1),
                    }
                }
                Ok(Reply::Lame | Reply::Failed(_)) | Err(_) if !whole => minimise = false,
                Ok(Reply::Lame) => return Err(Fault(reason::NO_REACHABLE_AUTHORITY)),
                Ok(Reply::Failed(_)) => return Err(Fault(reason::NETWORK_ERROR)),
                Err(fault) => return Err(fault),
            }
        }
        Err(Fault(reason::OTHER))
    }

    /// True if it is known already that no zone begins at a name, or what there is to say of it.
    fn is_no_cut(&self, request: &Request, name: &Name) -> bool {
        let known = self.cached(request, name, RrType::A);
        known.is_some_and(|entry| matches!(entry.fact, Fact::Set(_) | Fact::NoData))
    }

    /// The closest servers known.
    async fn start(
        &self,
        request: &Request,
        name: &Name,
        rr_type: RrType,
        stub: Option<&Delegation>,
    ) -> Arc<Delegation> {
        let now = self.network.now();
        let mut zone = Some(name.as_ref());
        if rr_type == RrType::DS {
            zone = name.as_ref().parent().or(zone);
        }
        while let Some(at) = zone {
            let within = stub.is_none_or(|stub| {
                at.label_count() > stub.zone.as_ref().label_count()
                    && at.is_within(stub.zone.as_ref())
            });
            if !within {
                break;
            }
            let known = self.memory.delegations.get(at, 0);
            if let Some(known) = known.filter(|known| known.is_fresh(now)) {
                return known;
            }
            zone = at.parent();
        }
        match stub {
            Some(stub) => Arc::new(stub.clone()),
            None => self.prime(request).await,
        }
    }

    /// The servers of the root, as one of those in the hints names them (RFC 8109).
    async fn prime(&self, request: &Request) -> Arc<Delegation> {
        let hints = &self.settings.hints;
        let ranked = self.addresses(hints);
        let root = Name::root();
        for (address, carrier) in ranked.into_iter().take(4) {
            let question = (root.as_ref(), RrType::NS);
            let asked = self
                .ask_server(request, &root, (address, &carrier), question, false)
                .await;
            let Ok(Asked::Answer(answer)) = asked else {
                continue;
            };
            let message = &answer.0;
            let mut servers: Vec<(Name, Vec<IpAddr>)> = message
                .answers
                .iter()
                .filter(|record| record.rr_type == RrType::NS && record.owner == root)
                .filter_map(|record| Name::from_wire(&record.rdata).ok())
                .take(super::delegation::MAX_SERVERS)
                .map(|server| (server, Vec::new()))
                .collect();
            reply::add_addresses(&mut servers, message.additionals.iter());
            // The hints know what an answer without additional records leaves out.
            for (server, addresses) in &mut servers {
                let hint = hints.servers.iter().find(|(name, _)| name == server);
                if let Some((_, known)) = hint.filter(|_| addresses.is_empty()) {
                    addresses.clone_from(known);
                }
            }
            if servers.iter().any(|(_, addresses)| !addresses.is_empty()) {
                let ttl = message.answers.iter().map(|record| record.ttl).min();
                let ttl = ttl
                    .unwrap_or(0)
                    .clamp(ROOT_TTL, self.settings.max_ttl.max(ROOT_TTL));
                let mut primed = Delegation::new(root.clone(), servers, ttl);
                primed.stored = Some(self.network.now());
                let primed = Arc::new(primed);
                self.memory
                    .delegations
                    .put(root.as_ref(), 0, primed.clone());
                return primed;
            }
        }
        Arc::new(hints.clone())
    }

    /// The known addresses of a zone's servers, best first.
    fn addresses(&self, delegation: &Delegation) -> Vec<(SocketAddr, Carrier)> {
        let port = self.settings.port;
        let known = delegation.servers.iter().flat_map(|(_, known)| known);
        let usable = known.filter(|address| self.is_usable(**address));
        let servers = usable.map(|address| (SocketAddr::new(*address, port), Carrier::Udp));
        let zone = delegation.zone.as_ref();
        self.memory.servers.rank(zone, servers, &*self.network)
    }

    fn is_usable(&self, address: IpAddr) -> bool {
        (address.is_ipv4() || self.settings.ipv6)
            && !address.is_unspecified()
            && !address.is_multicast()
    }

    /// Asks the servers of a zone until one of them has something to say.
    async fn ask_zone(
        &self,
        request: &Request,
        path: &Path<'_>,
        delegation: &Delegation,
        name: &Name,
        rr_type: RrType,
    ) -> Result<Reply, Fault> {
        let zone = &delegation.zone;
        let source = Source {
            zone: zone.as_ref(),
            forwarder: false,
        };
        let mut waiting = VecDeque::from(self.addresses(delegation));
        let mut without: Vec<&Name> = delegation
            .servers
            .iter()
            .filter(|(_, addresses)| !addresses.iter().any(|address| self.is_usable(*address)))
            .map(|(server, _)| server)
            .collect();
        // By chance, so that not always the same are looked up.
        let turn = self.network.random_u32() as usize;
        if let Some(turn) = turn.checked_rem(without.len()) {
            without.rotate_left(turn);
        }
        let mut without = without.into_iter().take(MAX_GLUELESS);
        let mut asked: HashSet<SocketAddr> = HashSet::new();
        let mut again: VecDeque<(SocketAddr, Carrier)> = VecDeque::new();
        let mut last = Err(Fault(reason::NO_REACHABLE_AUTHORITY));
        for _ in 0..MAX_TRIES {
            let (address, carrier) = match waiting.pop_front() {
                Some(next) => next,
                None => {
                    if let Some(server) = without.next() {
                        waiting = self
                            .server_addresses(request, path, zone, server)
                            .await
                            .into();
                        continue;
                    }
                    // Everybody has had one chance: those that were silent get another.
                    match again.pop_front() {
                        Some(next) => next,
                        None => break,
                    }
                }
            };
            let second = !asked.insert(address);
            let question = (name.as_ref(), rr_type);
            let server = (address, &carrier);
            let came = self
                .ask_server(request, zone, server, question, false)
                .await?;
            let Asked::Answer(answer) = came else {
                trace!(%address, %zone, %name, %rr_type, "no answer");
                if !second {
                    again.push_back((address, carrier));
                }
                continue;
            };
            let reply = reply::read(source, name, rr_type, &answer.0, &answer.1);
            trace!(%address, %zone, %name, %rr_type, ?reply, "answer");
            match reply {
                Reply::Lame => {
                    self.memory
                        .servers
                        .lame(address, zone.as_ref(), &*self.network);
                    last = Ok(Reply::Lame);
                }
                Reply::Failed(rcode) => {
                    if matches!(rcode, Rcode::REFUSED | Rcode::NOTAUTH) {
                        self.memory
                            .servers
                            .lame(address, zone.as_ref(), &*self.network);
                    }
                    last = Ok(Reply::Failed(rcode));
                }
                useful => return Ok(useful),
            }
        }
        last
    }

    /// The addresses of a server that came without glue.
    async fn server_addresses(
        &self,
        request: &Request,
        path: &Path<'_>,
        zone: &Name,
        server: &Name,
    ) -> Vec<(SocketAddr, Carrier)> {
        let mut found = Vec::new();
        for rr_type in [RrType::A, RrType::AAAA] {
            if rr_type == RrType::AAAA && (!self.settings.ipv6 || !found.is_empty()) {
                continue;
            }
            let known = self.cached(request, server, rr_type);
            let entry = match known {
                Some(entry) => entry,
                None => {
                    // Those that would have to be asked for themselves have no way in.
                    let Some(path) = path.into(server, rr_type) else {
                        if path.is_deepest() {
                            request.spend();
                        }
                        continue;
                    };
                    if request.take_lookup().is_none() {
                        break;
                    }
                    self.lookup(request, &path, server, rr_type).await
                }
            };
            if let Fact::Set(set) = &entry.fact
                && set.rr_type == rr_type
            {
                let addresses = set.data.iter().filter_map(|data| address_of(rr_type, data));
                let usable = addresses.filter(|address| self.is_usable(*address)).take(8);
                let port = self.settings.port;
                found.extend(usable.map(|address| (SocketAddr::new(address, port), Carrier::Udp)));
            }
        }
        let zone: NameRef<'_> = zone.as_ref();
        self.memory
            .servers
            .rank(zone, found.into_iter(), &*self.network)
    }

    /// Finds out about a name by asking other resolvers.
    pub(crate) async fn forward(
        &self,
        request: &Request,
        zone: &Name,
        servers: &[Server],
        name: &Name,
        rr_type: RrType,
    ) -> Result<Arc<Entry>, Fault> {
        let source = Source {
            zone: zone.as_ref(),
            forwarder: true,
        };
        let listed = servers
            .iter()
            .map(|server| (server.address, server.carrier.clone()));
        let ranked = self
            .memory
            .servers
            .rank(zone.as_ref(), listed, &*self.network);
        // Twice round: a datagram may be lost where there is only one forwarder.
        let mut last = Fault(reason::NO_REACHABLE_AUTHORITY);
        let mut failures = 0;
        for (address, carrier) in ranked.iter().chain(&ranked).take(MAX_TRIES) {
            let question = (name.as_ref(), rr_type);
            let server = (*address, carrier);
            let came = self
                .ask_server(request, zone, server, question, true)
                .await?;
            let Asked::Answer(answer) = came else {
                continue;
            };
            match reply::read(source, name, rr_type, &answer.0, &answer.1) {
                Reply::Facts(facts) => {
                    let entries = self.keep_all(request, name.as_ref(), rr_type, facts);
                    let first = entries.into_iter().find(|entry| entry.name == *name);
                    return first.ok_or(Fault(reason::OTHER));
                }
                Reply::Failed(rcode) => {
                    trace!(%address, %rcode, "forwarder failed");
                    last = Fault(
                        answer
                            .1
                            .errors
                            .first()
                            .copied()
                            .unwrap_or(reason::NETWORK_ERROR),
                    );
                    failures += 1;
                    // Each has said so.
                    if failures >= ranked.len() {
                        break;
                    }
                }
                Reply::Lame | Reply::Referral(..) => last = Fault(reason::NETWORK_ERROR),
            }
        }
        Err(last)
    }

    /// How long a failed lookup is remembered.
    pub(crate) fn failure_time(&self) -> Duration {
        Duration::from_secs(self.settings.failure_ttl.into())
    }
}

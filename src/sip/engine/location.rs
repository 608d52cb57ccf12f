//! Where users can be reached: the bindings that their phones register.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use omnid_identity::Address;

use super::{Flow, unwritten::Unwritten};
use crate::wire::{Transport, Uri};

const SHARDS: usize = 64;

/// One contact of one user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Binding {
    /// The contact's URI as the phone wrote it: what requests to it say.
    pub uri: Box<str>,
    /// Preference, in thousandths.
    pub q: u16,
    /// When it runs out, in Unix seconds.
    pub expires: u64,
    /// When it was first bound, in Unix seconds.
    pub since: u64,
    /// The registration's Call-ID …
    pub call_id: Box<str>,
    /// … and CSeq, in whose order updates count.
    pub cseq: u32,
    /// Where it came from, and so where it can be reached.
    pub flow: Flow,
    /// The instance and flow number, where the phone gave both (RFC 5626).
    pub instance: Option<Box<str>>,
    /// What it calls itself.
    pub user_agent: Box<str>,
    /// Whether what it wrote into Via is not where its messages come from.
    pub behind_nat: bool,
}

impl Binding {
    /// Where to send a request for this contact, if there is still a way; `alive` tells which
    /// connections are.
    ///
    /// Never to an address other than the one it registered from: a contact that could name any
    /// would make us send calls, and the floods of calls to one user, to whomever it names.
    #[must_use]
    pub fn destination(&self, alive: &dyn Fn(&Flow) -> bool) -> Option<Flow> {
        let flow = self.flow;
        if flow.transport.is_reliable() && alive(&flow) {
            return Some(flow);
        }
        let datagrams = Some(flow).filter(|flow| !flow.transport.is_reliable());
        let source = flow.remote.ip();
        let uri = match Uri::parse(self.uri.as_bytes()) {
            Ok(Uri::Sip(uri)) if !self.behind_nat && uri.host.address() == Some(source) => uri,
            _ => return datagrams,
        };
        let transport = match uri.param("transport") {
            Some(name) => Transport::from_bytes(name).unwrap_or(flow.transport),
            None if uri.secure => Transport::Tls,
            None => flow.transport,
        };
        let port = uri.port.unwrap_or_else(|| transport.default_port());
        // A plain connection can be made anew; one under TLS could only be made to a phone that has
        // a certificate, which none has. And what came encrypted does not go back in the clear.
        let reachable = match transport {
            Transport::Udp => flow.transport == Transport::Udp,
            Transport::Tcp => flow.transport != Transport::Tls,
            Transport::Tls => false,
        };
        if !reachable {
            return datagrams;
        }
        Some(Flow {
            transport,
            local: flow.local,
            remote: (source, port).into(),
            connection: 0,
        })
    }
}

/// All bindings of all users.
pub struct Location {
    shards: [Mutex<HashMap<Address, Vec<Arc<Binding>>>>; SHARDS],
    hasher: RandomState,
    count: AtomicUsize,
    unwritten: Mutex<Unwritten>,
}

impl Default for Location {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            unwritten: Mutex::default(),
        }
    }
}

impl Location {
    /// How many bindings there are, expired ones that have not been swept included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// A user's bindings that have not run out.
    #[must_use]
    pub fn lookup(&self, user: &Address, unix: u64) -> Vec<Arc<Binding>> {
        self.shard(user)
            .get(user)
            .into_iter()
            .flatten()
            .filter(|binding| binding.expires > unix)
            .cloned()
            .collect()
    }

    /// Changes a user's bindings; `change` says whether it did. With its result comes the change's
    /// place among those that are to be written down, if it was one.
    pub fn update<R>(
        &self,
        user: &Address,
        unix: u64,
        change: impl FnOnce(&mut Vec<Arc<Binding>>) -> (bool, R),
    ) -> (R, Option<u64>) {
        let (changed, result) = {
            let mut shard = self.shard(user);
            let mut bindings = shard.remove(user).unwrap_or_default();
            let before = bindings.len();
            bindings.retain(|binding| binding.expires > unix);
            let (changed, result) = change(&mut bindings);
            self.recount(before, bindings.len());
            if !bindings.is_empty() {
                shard.insert(user.clone(), bindings);
            }
            (changed, result)
        };
        (result, changed.then(|| self.unwritten().enter(user)))
    }

    /// Puts in what was written down before a restart.
    pub fn restore(&self, user: Address, bindings: Vec<Binding>) {
        let bindings: Vec<_> = bindings.into_iter().map(Arc::new).collect();
        if bindings.is_empty() {
            return;
        }
        self.recount(0, bindings.len());
        let before = self.shard(&user).insert(user, bindings);
        self.recount(before.map_or(0, |before| before.len()), 0);
    }

    /// Forgets what has run out in one part of the table; call it with ever the next number.
    pub fn sweep(&self, part: usize, unix: u64) {
        let mut emptied = Vec::new();
        if let Some(shard) = self.shards.get(part % SHARDS) {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|user, bindings| {
                let before = bindings.len();
                bindings.retain(|binding| binding.expires > unix);
                self.recount(before, bindings.len());
                if bindings.len() != before {
                    emptied.push(user.clone());
                }
                !bindings.is_empty()
            });
        }
        for user in &emptied {
            self.unwritten().enter(user);
        }
    }

    /// Everybody's bindings.
    #[must_use]
    pub fn all(&self, unix: u64) -> Vec<(Address, Arc<Binding>)> {
        let mut all = Vec::new();
        for shard in &self.shards {
            let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            for (user, bindings) in shard.iter() {
                let live = bindings.iter().filter(|binding| binding.expires > unix);
                all.extend(live.map(|binding| (user.clone(), binding.clone())));
            }
        }
        all.sort_by(|(a, x), (b, y)| (a, &x.uri).cmp(&(b, &y.uri)));
        all
    }

    /// Takes users whose bindings have changed, those that have waited longest.
    #[must_use]
    pub fn take_unwritten(&self, limit: usize) -> Batch<'_> {
        Batch {
            taken: self.unwritten().take(limit),
            location: self,
        }
    }

    /// A user's bindings as they are to be written down.
    #[must_use]
    pub fn bindings(&self, user: &Address) -> Vec<Arc<Binding>> {
        self.shard(user).get(user).cloned().unwrap_or_default()
    }

    fn unwritten(&self) -> MutexGuard<'_, Unwritten> {
        self.unwritten
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn recount(&self, before: usize, after: usize) {
        self.count.fetch_add(after, Ordering::Relaxed);
        self.count.fetch_sub(before, Ordering::Relaxed);
    }

    fn shard(&self, user: &Address) -> MutexGuard<'_, HashMap<Address, Vec<Arc<Binding>>>> {
        let at = self.hasher.hash_one(user) as usize % SHARDS;
        self.shards[at]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// Users whose bindings are being written down. Dropped, they are still to be.
pub struct Batch<'a> {
    taken: Vec<(u64, Address)>,
    location: &'a Location,
}

impl Batch<'_> {
    /// The users.
    pub fn users(&self) -> impl Iterator<Item = &Address> {
        self.taken.iter().map(|(_, user)| user)
    }

    /// It is done. Returns the place up to which everything now is; `None` if there was nothing.
    #[must_use]
    pub fn written(mut self) -> Option<u64> {
        let taken = std::mem::take(&mut self.taken);
        taken.last().map(|(place, _)| *place)
    }
}

impl Drop for Batch<'_> {
    fn drop(&mut self) {
        let taken = std::mem::take(&mut self.taken);
        self.location.unwritten().put_back(taken);
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in crate::engine) fn binding(uri: &str, source: &str, expires: u64) -> Binding {
        Binding {
            uri: uri.into(),
            q: 1000,
            expires,
            since: 0,
            call_id: "c".into(),
            cseq: 1,
            flow: Flow {
                transport: Transport::Udp,
                local: ([192, 0, 2, 9], 5060).into(),
                remote: source.parse().unwrap_or(([0, 0, 0, 0], 0).into()),
                connection: 0,
            },
            instance: None,
            user_agent: "".into(),
            behind_nat: false,
        }
    }

    #[test]
    fn a_contact_is_reached_where_it_registered_from() {
        let to = |uri: &str, nat: bool| {
            let mut binding = binding(uri, "198.51.100.7:40000", 9);
            binding.behind_nat = nat;
            let flow = binding.destination(&|_| false);
            flow.map(|flow| format!("{} {}", flow.transport, flow.remote))
        };
        let udp = |port: u16| Some(format!("UDP 198.51.100.7:{port}"));
        assert_eq!(to("sip:a@198.51.100.7:5070", false), udp(5070));
        assert_eq!(to("sip:a@198.51.100.7", false), udp(5060));
        assert_eq!(to("sip:a@198.51.100.7:5070", true), udp(40000));
        assert_eq!(to("sip:a@10.0.0.1:5070", false), udp(40000));
        assert_eq!(to("sip:victim@203.0.113.1", false), udp(40000));
        assert_eq!(
            to("sip:a@198.51.100.7:5070;transport=tcp", false).as_deref(),
            Some("TCP 198.51.100.7:5070")
        );
    }

    #[test]
    fn a_connection_is_used_while_it_lasts() {
        let to = |transport, uri: &str, alive: bool| {
            let mut binding = binding(uri, "198.51.100.7:40000", 9);
            binding.flow.transport = transport;
            binding.flow.connection = 7;
            let flow = binding.destination(&|flow| alive && flow.connection == 7);
            flow.map(|flow| (flow.remote.port(), flow.connection))
        };
        let uri = "sip:a@198.51.100.7:5070";
        assert_eq!(to(Transport::Tcp, uri, true), Some((40000, 7)));
        assert_eq!(to(Transport::Tcp, uri, false), Some((5070, 0)));
        assert_eq!(to(Transport::Tcp, "sip:a@10.0.0.1:5070", false), None);
        assert_eq!(to(Transport::Tls, uri, true), Some((40000, 7)));
        assert_eq!(to(Transport::Tls, uri, false), None);
    }

    #[test]
    fn bindings_run_out() {
        let location = Location::default();
        let Ok(alice) = "alice@example.org".parse::<Address>() else {
            panic!("an address");
        };
        location.update(&alice, 0, |bindings| {
            bindings.push(Arc::new(binding("sip:a@b", "192.0.2.1:1", 100)));
            bindings.push(Arc::new(binding("sip:a@c", "192.0.2.1:2", 200)));
            (true, ())
        });
        assert_eq!(location.len(), 2);
        drop(location.take_unwritten(9));
        assert_eq!(location.take_unwritten(9).written(), Some(1));
        assert_eq!(location.lookup(&alice, 99).len(), 2);
        assert_eq!(location.lookup(&alice, 100).len(), 1);
        for part in 0..SHARDS {
            location.sweep(part, 150);
        }
        assert_eq!(location.len(), 1);
        assert_eq!(location.take_unwritten(9).written(), Some(2));
        location.update(&alice, 250, |_| (false, ()));
        assert!(location.is_empty());
        assert_eq!(location.take_unwritten(9).written(), None);
    }
}

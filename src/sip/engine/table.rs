//! All transactions of an engine: how they are found, and when they are woken.

use std::{collections::HashMap, net::IpAddr, time::Instant};

use bytes::Bytes;
use omnid_net::subnet_key;

use super::{
    Destination, Flow, Key, Settings, Timers,
    arena::Arena,
    forward::{Branches, COOKIE},
    reply::reply_to,
    transaction::{Client, ClientInvite, Effects, Server, ServerInvite},
    wheel::Wheel,
};
use crate::wire::{HeaderName, Limits, Message, Method, Via, cancel};

/// The transactions.
pub(super) struct Table {
    transactions: Arena<Transaction>,
    /// Server transactions by what their requests have in common (RFC 3261 17.2.3).
    servers: HashMap<Box<[u8]>, Key>,
    /// The same by what one request has in common with itself come another way (RFC 3261 8.2.2.2).
    merged: HashMap<Box<[u8]>, Key>,
    /// How many server transactions each source has open.
    sources: HashMap<IpAddr, usize>,
    /// CANCELs by the INVITE that they are for.
    cancels: HashMap<Key, Key>,
    wheel: Wheel<Wake>,
}

/// Who is woken.
#[derive(Debug, Clone, Copy)]
pub(super) enum Wake {
    Transaction(Key),
    Proxy(Key),
    Parked(Key),
    Agent(Key),
}

/// Who asks something of a peer, and which of its requests it is.
#[derive(Debug, Clone, Copy)]
pub(super) enum Owner {
    /// A fork's branch.
    Branch(Key, usize),
    /// A trunk's agent.
    Agent(Key, usize),
}

/// What a request that has a server transaction is doing.
#[derive(Debug, Clone, Copy)]
pub(super) enum Doing {
    Nothing,
    Parked(Key),
    Proxy(Key),
}

/// What an engine needs to know of a transaction to carry out what it wants done.
pub(super) struct Settled {
    /// Where it sends.
    pub(super) to: Destination,
    /// Whose request it is.
    pub(super) owner: Option<Owner>,
    /// The fork that it no longer refers to, now that it is over.
    pub(super) released: Option<Key>,
}

struct Transaction {
    machine: Machine,
    to: Destination,
    user: User,
    /// The earliest moment the wheel will wake it.
    armed: Option<Instant>,
}

enum Machine {
    ServerInvite(ServerInvite),
    Server(Server),
    ClientInvite(ClientInvite),
    Client(Client),
}

/// Who uses a transaction.
enum User {
    /// A request passed on, or waiting to be: its keys among the servers.
    Server {
        key: Box<[u8]>,
        merge: Option<Box<[u8]>>,
        source: IpAddr,
        doing: Doing,
    },
    /// Something that we ask.
    Client { owner: Owner, branch: Box<[u8]> },
    /// A CANCEL, whose answer nobody waits for. It has its INVITE's branch.
    Cancel { branch: Box<[u8]>, invite: Key },
}

impl Table {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            transactions: Arena::default(),
            servers: HashMap::new(),
            merged: HashMap::new(),
            sources: HashMap::new(),
            cancels: HashMap::new(),
            wheel: Wheel::new(now),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.transactions.len()
    }

    /// When somebody is next to be woken.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wheel.next()
    }

    /// Has somebody woken then.
    pub(super) fn wake(&mut self, at: Instant, who: Wake) {
        self.wheel.insert(at, who);
    }

    /// Takes out who is to be woken now.
    pub(super) fn due(&mut self, now: Instant, due: &mut Vec<Wake>) {
        self.wheel.expire(now, due);
    }

    /// The server transaction of a request, or, under another method, of the one it follows.
    pub(super) fn find(&self, request: &Message, method: &[u8]) -> Option<Key> {
        self.servers.get(&server_key(request, method)).copied()
    }

    /// Whether a request has come already, another way. One that has been here before is a spiral,
    /// and may.
    pub(super) fn is_merged(&self, request: &Message) -> bool {
        merge_key(request).is_some_and(|key| self.merged.contains_key(&key))
            && !request
                .list(HeaderName::Via)
                .filter_map(|via| Via::parse(via).ok()?.branch())
                .filter_map(Branches::read)
                .any(|key| self.transactions.get(key).is_some())
    }

    /// Opens a server transaction, unless there are too many.
    pub(super) fn serve(
        &mut self,
        request: &Message,
        arrival: &Flow,
        settings: &Settings,
    ) -> Option<Key> {
        let source = subnet_key(arrival.remote.ip());
        let open = self.sources.get(&source).copied().unwrap_or(0);
        if self.transactions.len() >= settings.transactions
            || open >= settings.transactions_per_source
        {
            return None;
        }
        *self.sources.entry(source).or_default() += 1;
        let reliable = arrival.transport.is_reliable();
        let timers = settings.timers;
        let machine = match request.method() {
            Method::Invite => Machine::ServerInvite(ServerInvite::new(reliable, timers)),
            _ => Machine::Server(Server::new(reliable, timers)),
        };
        let key = server_key(request, request.method_text());
        let merge = merge_key(request);
        let transaction = self.transactions.insert(Transaction {
            machine,
            to: reply_to(request, arrival),
            user: User::Server {
                key: key.clone(),
                merge: merge.clone(),
                source,
                doing: Doing::Nothing,
            },
            armed: None,
        });
        self.servers.insert(key, transaction);
        if let Some(merge) = merge {
            self.merged.insert(merge, transaction);
        }
        Some(transaction)
    }

    pub(super) fn set_doing(&mut self, server: Key, now: Doing) {
        if let Some(Transaction {
            user: User::Server { doing, .. },
            ..
        }) = self.transactions.get_mut(server)
        {
            *doing = now;
        }
    }

    /// What a request is doing, and where it came from.
    pub(super) fn doing(&self, server: Key) -> Option<(Doing, IpAddr)> {
        let transaction = self.transactions.get(server)?;
        match &transaction.user {
            User::Server { doing, .. } => Some((*doing, transaction.to.flow.remote.ip())),
            User::Client { .. } | User::Cancel { .. } => None,
        }
    }

    /// A server transaction's request has come again.
    pub(super) fn again(&self, server: Key) -> Effects {
        match self.transactions.get(server).map(|found| &found.machine) {
            Some(Machine::ServerInvite(machine)) => machine.request_again(),
            Some(Machine::Server(machine)) => machine.request_again(),
            _ => Effects::default(),
        }
    }

    /// The ACK of a server transaction's INVITE has come.
    pub(super) fn acknowledge(&mut self, server: Key, now: Instant) -> Effects {
        match self.machine(server) {
            Some(Machine::ServerInvite(machine)) => machine.ack(now),
            _ => Effects::default(),
        }
    }

    /// Answers a server transaction's request.
    pub(super) fn respond(
        &mut self,
        server: Key,
        status: u16,
        bytes: Bytes,
        now: Instant,
    ) -> Effects {
        match self.machine(server) {
            Some(Machine::ServerInvite(machine)) => machine.respond(status, bytes, now),
            Some(Machine::Server(machine)) => machine.respond(status, bytes, now),
            _ => Effects::default(),
        }
    }

    /// Opens a client transaction; `make` builds its branch identifier and
    /// its request.
    pub(super) fn send(
        &mut self,
        owner: Owner,
        method: Method,
        to: Flow,
        (timers, now): (Timers, Instant),
        make: impl FnOnce(Key) -> (String, Bytes),
    ) -> (Key, Effects) {
        let reliable = to.transport.is_reliable();
        let mut effects = Effects::default();
        let key = self.transactions.insert_with(|key| {
            let (branch, bytes) = make(key);
            let machine = if method == Method::Invite {
                let (machine, first) = ClientInvite::new(bytes, reliable, timers, now);
                effects = first;
                Machine::ClientInvite(machine)
            } else {
                let (machine, first) = Client::new(bytes, reliable, timers, now);
                effects = first;
                Machine::Client(machine)
            };
            Transaction {
                machine,
                to: to.into(),
                user: User::Client {
                    owner,
                    branch: branch.into_bytes().into(),
                },
                armed: None,
            }
        });
        (key, effects)
    }

    /// Opens a client transaction for the CANCEL of an INVITE.
    pub(super) fn cancel(
        &mut self,
        invite: Key,
        reason: Option<&[u8]>,
        timers: Timers,
        now: Instant,
    ) -> Option<(Key, Effects)> {
        let Transaction {
            machine: Machine::ClientInvite(machine),
            to,
            user: User::Client { branch, .. },
            ..
        } = self.transactions.get(invite)?
        else {
            return None;
        };
        // We made it; it parses.
        let request = Message::parse(machine.request().clone(), &Limits::RELAXED).ok()?;
        let bytes = cancel(&request, reason);
        let (to, branch) = (*to, branch.clone());
        let reliable = to.flow.transport.is_reliable();
        let (machine, effects) = Client::new(bytes, reliable, timers, now);
        let key = self.transactions.insert(Transaction {
            machine: Machine::Client(machine),
            to,
            user: User::Cancel { branch, invite },
            armed: None,
        });
        self.cancels.insert(invite, key);
        Some((key, effects))
    }

    /// The client transaction that a response is for, and what it makes of it. There is none for
    /// what we did not ask (RFC 6026 7.2).
    pub(super) fn receive(&mut self, response: &Message, now: Instant) -> Option<(Key, Effects)> {
        let branch = response.via().ok()?.branch()?;
        let method = response.method();
        let key = match (Branches::read(branch)?, method) {
            (invite, Method::Cancel) => self.cancels.get(&invite).copied()?,
            (key, _) => key,
        };
        let transaction = self.transactions.get_mut(key)?;
        match &transaction.user {
            User::Client { branch: own, .. } | User::Cancel { branch: own, .. }
                if **own == *branch => {}
            _ => return None,
        }
        let effects = match &mut transaction.machine {
            Machine::ClientInvite(machine) if method == Method::Invite => {
                machine.response(response, now)
            }
            Machine::Client(machine) if method != Method::Invite => {
                machine.response(response.status().unwrap_or(0), now)
            }
            _ => return None,
        };
        Some((key, effects))
    }

    /// It is late enough for a transaction's timer.
    pub(super) fn expire(&mut self, key: Key, now: Instant) -> Effects {
        let Some(transaction) = self.transactions.get_mut(key) else {
            return Effects::default();
        };
        transaction.armed = None;
        match &mut transaction.machine {
            Machine::ServerInvite(machine) => machine.expire(now),
            Machine::Server(machine) => machine.expire(now),
            Machine::ClientInvite(machine) => machine.expire(now),
            Machine::Client(machine) => machine.expire(now),
        }
    }

    /// Whose request a transaction is, if it still waits for a final response.
    pub(super) fn unanswered(&self, key: Key) -> Option<Owner> {
        let transaction = self.transactions.get(key)?;
        let answered = match &transaction.machine {
            Machine::ClientInvite(machine) => machine.is_answered(),
            Machine::Client(machine) => machine.is_answered(),
            Machine::ServerInvite(_) | Machine::Server(_) => true,
        };
        match transaction.user {
            User::Client { owner, .. } if !answered => Some(owner),
            _ => None,
        }
    }

    /// After a machine has acted: has it woken in time, or forgets it if it is over.
    pub(super) fn settle(&mut self, key: Key, ended: bool) -> Option<Settled> {
        let transaction = self.transactions.get_mut(key)?;
        let (owner, fork) = match &transaction.user {
            User::Client { owner, .. } => match owner {
                Owner::Branch(proxy, _) => (Some(*owner), Some(*proxy)),
                Owner::Agent(..) => (Some(*owner), None),
            },
            User::Server {
                doing: Doing::Proxy(proxy),
                ..
            } => (None, Some(*proxy)),
            User::Server { .. } | User::Cancel { .. } => (None, None),
        };
        let settled = Settled {
            to: transaction.to,
            owner,
            released: fork.filter(|_| ended),
        };
        if ended {
            self.remove(key);
            return Some(settled);
        }
        let deadline = match &transaction.machine {
            Machine::ServerInvite(machine) => machine.deadline(),
            Machine::Server(machine) => machine.deadline(),
            Machine::ClientInvite(machine) => machine.deadline(),
            Machine::Client(machine) => machine.deadline(),
        };
        if let Some(deadline) = deadline
            && transaction.armed.is_none_or(|armed| deadline < armed)
        {
            transaction.armed = Some(deadline);
            self.wheel.insert(deadline, Wake::Transaction(key));
        }
        Some(settled)
    }

    /// Forgets a transaction; false if it was forgotten already.
    pub(super) fn remove(&mut self, key: Key) -> bool {
        let Some(transaction) = self.transactions.remove(key) else {
            return false;
        };
        match transaction.user {
            User::Server {
                key: server,
                merge,
                source,
                ..
            } => {
                self.servers.remove(&server);
                if let Some(merge) = merge
                    && self.merged.get(&merge) == Some(&key)
                {
                    self.merged.remove(&merge);
                }
                if let Some(open) = self.sources.get_mut(&source) {
                    *open -= 1;
                    if *open == 0 {
                        self.sources.remove(&source);
                    }
                }
            }
            User::Cancel { invite, .. } => {
                self.cancels.remove(&invite);
            }
            User::Client { .. } => {}
        }
        true
    }

    fn machine(&mut self, key: Key) -> Option<&mut Machine> {
        self.transactions
            .get_mut(key)
            .map(|found| &mut found.machine)
    }
}

/// What a request has in common with its retransmissions, its ACK and its CANCEL, all of which are
/// looked for under its method.
fn server_key(request: &Message, method: &[u8]) -> Box<[u8]> {
    let via = request.list(HeaderName::Via).next().unwrap_or_default();
    let parsed = Via::parse(via).ok();
    let branch = parsed.as_ref().and_then(Via::branch).unwrap_or_default();
    if branch.len() > COOKIE.len() && branch.starts_with(COOKIE) {
        let sent_by = parsed.map(|via| format!("{}:{}", via.host, via.port.unwrap_or(5060)));
        let sent_by = sent_by.unwrap_or_default().to_ascii_lowercase();
        return [branch, b"\n", sent_by.as_bytes(), b"\n", method]
            .concat()
            .into();
    }
    // RFC 3261 17.2.3: a client of RFC 2543 is told by all the rest.
    let number = request.cseq().map_or(0, |cseq| cseq.number);
    [
        request.uri_text(),
        request.from_tag().unwrap_or_default(),
        request.call_id(),
        &number.to_be_bytes(),
        via,
        method,
    ]
    .join(&b'\n')
    .into()
}

/// What a request that begins something has in common with itself come another way.
fn merge_key(request: &Message) -> Option<Box<[u8]>> {
    if request.to_tag().is_some() {
        return None;
    }
    let cseq = request.cseq().ok()?;
    let key = [
        request.call_id(),
        request.from_tag()?,
        &cseq.number.to_be_bytes(),
        cseq.method,
        request.uri_text(),
    ];
    Some(key.join(&b'\n').into())
}

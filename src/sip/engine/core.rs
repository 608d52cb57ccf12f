//! The engine: what happens to a message, from its arrival to what is done about it.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;

use super::{
    Action, Fact, Flow, Key, Question, Turn,
    admit::{Facts, Plan},
    agent::Agent,
    arena::Arena,
    calls::Calls,
    forward::{Branches, Hop, forwarded},
    proxy::Proxy,
    reply::{Reply, reply_to},
    table::{Doing, Owner, Table, Wake},
    transaction::{Effects, Tell},
};
use crate::wire::{Defect, HeaderName, Message, Method, Start};

/// How long a request waits for a fact.
const PARKED_MAX: Duration = Duration::from_secs(10);

/// All state of some of the calls.
pub struct Engine {
    pub(super) branches: Branches,
    pub(super) calls: Calls,
    pub(super) table: Table,
    pub(super) proxies: Arena<Proxy>,
    pub(super) agents: Arena<Agent>,
    pub(super) agent_keys: Vec<Key>,
    parked: Arena<Parked>,
    due: Vec<Wake>,
}

/// A request that waits for facts.
struct Parked {
    request: Arc<Message>,
    arrival: Flow,
    server: Key,
    facts: Facts,
    deadline: Instant,
}

impl Engine {
    /// An engine with nothing to do.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            branches: Branches::default(),
            calls: Calls::default(),
            table: Table::new(now),
            proxies: Arena::default(),
            agents: Arena::default(),
            agent_keys: Vec::new(),
            parked: Arena::default(),
            due: Vec::new(),
        }
    }

    /// How many transactions are open.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.table.len()
    }

    /// The calls under way.
    #[must_use]
    pub fn calls(&self) -> &Calls {
        &self.calls
    }

    /// How many requests still wait for their final response.
    #[must_use]
    pub fn unanswered(&self) -> usize {
        let unanswered = self.proxies.iter().filter(|proxy| !proxy.is_answered());
        unanswered.count() + self.parked.len()
    }

    /// When to call [`Self::expire`] next, if ever.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        self.table.deadline()
    }

    /// A message arrived.
    pub fn receive(&mut self, message: Message, arrival: Flow, turn: &mut Turn<'_>) {
        match message.start() {
            Start::Request(Method::Ack) => self.ack(&message, &arrival, turn),
            Start::Request(Method::Cancel) => self.cancel(&message, &arrival, turn),
            Start::Request(_) => self.request(message, arrival, turn),
            Start::Response(_) => self.response(message, turn),
        }
    }

    /// A request arrived that no element may accept.
    pub fn refuse(
        &mut self,
        request: &Message,
        defect: Defect,
        arrival: Flow,
        turn: &mut Turn<'_>,
    ) {
        if request.method() == Method::Ack {
            return;
        }
        let reply = Reply {
            reason: Some(defect.reason.into()),
            ..Reply::unasked(defect.status)
        };
        self.reply(request, &arrival, None, &reply, turn);
    }

    /// It is late enough for some timers.
    pub fn expire(&mut self, turn: &mut Turn<'_>) {
        let mut due = std::mem::take(&mut self.due);
        self.table.due(turn.now, &mut due);
        for wake in due.drain(..) {
            match wake {
                Wake::Transaction(key) => {
                    let effects = self.table.expire(key, turn.now);
                    self.apply(key, effects, None, turn);
                }
                Wake::Proxy(key) => self.wake_proxy(key, turn),
                Wake::Agent(key) => self.wake_agent(key, turn),
                Wake::Parked(key) => {
                    let late = |parked: &Parked| parked.deadline <= turn.now;
                    if self.parked.get(key).is_some_and(late) {
                        self.told(key, Fact::Unknown, turn);
                    }
                }
            }
        }
        self.due = due;
    }

    /// Gives up calls that were never ended.
    pub fn sweep(&mut self, turn: &mut Turn<'_>) {
        for event in self.calls.sweep(turn.now) {
            turn.note(Some(event));
        }
    }

    /// What a transaction sent could not be sent.
    pub fn failed(&mut self, key: Key, turn: &mut Turn<'_>) {
        match self.table.unanswered(key) {
            Some(Owner::Branch(proxy, number)) => {
                self.table.remove(key);
                self.branch_failed(proxy, number, 480, turn);
                self.release(proxy);
            }
            Some(Owner::Agent(agent, number)) => {
                self.table.remove(key);
                self.agent_answered(agent, number, None, turn);
            }
            None => {}
        }
    }

    /// What was asked is answered.
    pub fn told(&mut self, ticket: Key, fact: Fact, turn: &mut Turn<'_>) {
        let Some(Parked {
            request,
            arrival,
            server,
            mut facts,
            ..
        }) = self.parked.remove(ticket)
        else {
            return;
        };
        if let Fact::Secret(ha1) = &fact
            && let Some((username, realm, algorithm)) = facts.asked_for()
        {
            let ha1 = ha1.clone();
            turn.shared
                .secrets
                .put(username, realm, algorithm, ha1, turn.now);
        }
        facts.learn(fact);
        self.decide(request, arrival, Some(server), facts, turn);
    }

    fn request(&mut self, request: Message, arrival: Flow, turn: &mut Turn<'_>) {
        if let Some(server) = self.table.find(&request, request.method_text()) {
            let effects = self.table.again(server);
            self.apply(server, effects, None, turn);
            return;
        }
        // RFC 3261 8.2.2.2. Whoever knows where the user is, is the last who can tell that a request
        // has come twice.
        if self.table.is_merged(&request) {
            self.reply(&request, &arrival, None, &Reply::new(482), turn);
            return;
        }
        self.decide(Arc::new(request), arrival, None, Facts::default(), turn);
    }

    fn decide(
        &mut self,
        request: Arc<Message>,
        arrival: Flow,
        server: Option<Key>,
        mut facts: Facts,
        turn: &mut Turn<'_>,
    ) {
        let plan = self.admit(&request, &arrival, &mut facts, turn);
        if let Plan::Reply(reply) = &plan {
            self.reply(&request, &arrival, server, reply, turn);
            return;
        }
        let Some(server) = server.or_else(|| self.serve(&request, &arrival, turn)) else {
            return;
        };
        match plan {
            Plan::Reply(_) => {}
            Plan::Ask(question) => self.park(request, arrival, server, facts, *question, turn),
            Plan::Pass(pass) => {
                self.pass(request, arrival, server, *pass, turn);
            }
        }
    }

    /// Opens a server transaction, unless there are too many.
    fn serve(&mut self, request: &Message, arrival: &Flow, turn: &mut Turn<'_>) -> Option<Key> {
        let server = self.table.serve(request, arrival, turn.settings);
        if server.is_none() {
            let busy = Reply::new(503).with(HeaderName::RetryAfter, b"5");
            self.reply(request, arrival, None, &busy, turn);
        } else if request.method() == Method::Invite {
            self.reply(request, arrival, server, &Reply::new(100), turn);
        }
        server
    }

    fn park(
        &mut self,
        request: Arc<Message>,
        arrival: Flow,
        server: Key,
        mut facts: Facts,
        question: Question,
        turn: &mut Turn<'_>,
    ) {
        facts.asking(&question);
        let deadline = turn.now + PARKED_MAX;
        let ticket = self.parked.insert(Parked {
            request,
            arrival,
            server,
            facts,
            deadline,
        });
        self.table.set_doing(server, Doing::Parked(ticket));
        self.table.wake(deadline, Wake::Parked(ticket));
        turn.actions.push(Action::Ask(ticket, question));
    }

    /// Answers a request, through its transaction where it has one.
    pub(super) fn reply(
        &mut self,
        request: &Message,
        arrival: &Flow,
        server: Option<Key>,
        reply: &Reply,
        turn: &mut Turn<'_>,
    ) {
        let source = arrival.remote.ip();
        let rate = turn.settings.unauthenticated_per_second;
        if server.is_none() && reply.unasked && !turn.shared.limiter.allow(source, rate, turn.now) {
            return;
        }
        let tag = self.branches.tag(request);
        let bytes = reply.render(request, arrival, &tag, turn.settings);
        match server {
            Some(server) => self.respond(server, reply.status, bytes, turn),
            None => turn.actions.push(Action::Send {
                to: reply_to(request, arrival),
                bytes,
                transaction: None,
            }),
        }
    }

    pub(super) fn respond(&mut self, server: Key, status: u16, bytes: Bytes, turn: &mut Turn<'_>) {
        let effects = self.table.respond(server, status, bytes, turn.now);
        self.apply(server, effects, None, turn);
    }

    fn ack(&mut self, ack: &Message, arrival: &Flow, turn: &mut Turn<'_>) {
        if let Some(server) = self.table.find(ack, b"INVITE") {
            let effects = self.table.acknowledge(server, turn.now);
            let passes = effects.tell == Some(Tell::Ack);
            self.apply(server, effects, None, turn);
            if !passes {
                return;
            }
        }
        // The ACK of a 2xx is a request of the dialog, and has no response.
        let Some((passing, to)) = self.within_dialog(ack, arrival, turn) else {
            return;
        };
        let trail = self.branches.trail(ack, passing.routes_done);
        let branch = self.branches.without_transaction(ack, trail);
        let hop = Hop {
            uri: None,
            to: &to,
            record_route: None,
            headers: &[],
            from: None,
            step: 0,
            branch: &branch,
        };
        turn.actions.push(Action::Send {
            to: to.into(),
            bytes: forwarded(ack, arrival, &passing, &hop, turn.settings),
            transaction: None,
        });
    }

    fn cancel(&mut self, cancel: &Message, arrival: &Flow, turn: &mut Turn<'_>) {
        let found = self.table.find(cancel, b"INVITE");
        let invite = found.and_then(|server| Some((server, self.table.doing(server)?)));
        // Nobody but the caller may: it is the one request that cannot be challenged.
        let own = invite.filter(|(_, (_, source))| *source == arrival.remote.ip());
        let Some((server, (doing, _))) = own else {
            self.reply(cancel, arrival, None, &Reply::unasked(481), turn);
            return;
        };
        self.reply(cancel, arrival, None, &Reply::new(200), turn);
        match doing {
            Doing::Proxy(key) => self.give_up(key, turn),
            Doing::Parked(ticket) => {
                if let Some(parked) = self.parked.remove(ticket) {
                    let (request, arrival) = (&parked.request, &parked.arrival);
                    self.reply(request, arrival, Some(server), &Reply::new(487), turn);
                }
            }
            Doing::Nothing => {}
        }
    }

    fn response(&mut self, response: Message, turn: &mut Turn<'_>) {
        if let Some((key, effects)) = self.table.receive(&response, turn.now) {
            self.apply(key, effects, Some(response), turn);
        }
    }

    /// Carries out what a transaction wants done.
    pub(super) fn apply(
        &mut self,
        key: Key,
        effects: Effects,
        response: Option<Message>,
        turn: &mut Turn<'_>,
    ) {
        let Some(settled) = self.table.settle(key, effects.ended) else {
            return;
        };
        if let Some(bytes) = effects.send {
            turn.actions.push(Action::Send {
                to: settled.to,
                bytes,
                transaction: Some(key),
            });
        }
        let response = match effects.tell {
            Some(Tell::Response) => response,
            Some(Tell::Timeout) => None,
            _ => return self.let_go(settled.released),
        };
        match (settled.owner, response) {
            (Some(Owner::Branch(proxy, number)), Some(response)) => {
                self.branch_answered(proxy, number, response, turn);
            }
            (Some(Owner::Branch(proxy, number)), None) => {
                self.branch_failed(proxy, number, 408, turn);
            }
            (Some(Owner::Agent(agent, number)), response) => {
                self.agent_answered(agent, number, response.as_ref(), turn);
            }
            (None, _) => {}
        }
        self.let_go(settled.released);
    }

    fn let_go(&mut self, fork: Option<Key>) {
        if let Some(fork) = fork {
            self.release(fork);
        }
    }
}

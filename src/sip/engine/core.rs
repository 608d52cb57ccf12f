//! The engine: transactions found, machines driven, forks carried out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use omnid_net::subnet_key;

use super::{
    Action, Destination, Fact, Flow, Key, Parked, Question, Turn,
    admit::{Facts, Plan, Reply},
    arena::Arena,
    calls::Calls,
    forward::{Branches, COOKIE, Passing, forwarded, returned},
    proxy::{Proxy, Step, Target, Why},
    transaction::{Client, ClientInvite, Effects, Server, ServerInvite, Tell},
    wheel::Wheel,
};
use crate::wire::{
    Defect, Edit, HeaderName, Limits, Message, Method, Response, Start, Via, cancel, reason_phrase,
};

/// How long a request waits for a fact.
const PARKED_MAX: Duration = Duration::from_secs(10);

/// All state of some of the calls.
pub struct Engine {
    pub(super) branches: Branches,
    pub(super) calls: Calls,
    transactions: Arena<Transaction>,
    /// Server transactions by what their requests have in common (RFC 3261 17.2.3).
    servers: HashMap<Box<[u8]>, Key>,
    /// The same by what one request has in common with itself come another way (RFC 3261 8.2.2.2).
    merged: HashMap<Box<[u8]>, Key>,
    /// Server transactions by source.
    sources: HashMap<IpAddr, usize>,
    /// CANCELs by the INVITE that they are for.
    cancels: HashMap<Key, Key>,
    proxies: Arena<Proxy>,
    parked: Arena<Parked>,
    wheel: Wheel<Wake>,
    due: Vec<Wake>,
}

#[derive(Debug, Clone, Copy)]
enum Wake {
    Transaction(Key),
    Proxy(Key),
    Parked(Key),
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

/// What a request is doing.
#[derive(Debug, Clone, Copy)]
enum Of {
    Nothing,
    Parked(Key),
    Proxy(Key),
}

/// Who uses a transaction.
enum User {
    /// A request passed on, or waiting to be: its keys among the servers.
    Server {
        key: Box<[u8]>,
        merge: Option<Box<[u8]>>,
        source: IpAddr,
        of: Of,
    },
    /// A branch of a request passed on, and its number.
    Branch {
        proxy: Key,
        number: usize,
        branch: Box<[u8]>,
    },
    /// A CANCEL, whose answer nobody waits for. It has its INVITE's branch.
    Cancel { branch: Box<[u8]>, invite: Key },
}

impl Engine {
    /// An engine with nothing to do.
    #[must_use]
    pub fn new(now: Instant) -> Self {
        Self {
            branches: Branches::default(),
            calls: Calls::default(),
            transactions: Arena::default(),
            servers: HashMap::new(),
            merged: HashMap::new(),
            sources: HashMap::new(),
            cancels: HashMap::new(),
            proxies: Arena::default(),
            parked: Arena::default(),
            wheel: Wheel::new(now),
            due: Vec::new(),
        }
    }

    /// How many transactions are open.
    #[must_use]
    pub fn transactions(&self) -> usize {
        self.transactions.len()
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
        self.wheel.next()
    }

    /// A message arrived.
    pub fn receive(&mut self, message: Message, arrival: Flow, turn: &mut Turn<'_>) {
        match message.start() {
            Start::Request(Method::Ack) => self.ack(message, arrival, turn),
            Start::Request(Method::Cancel) => self.cancel(&message, arrival, turn),
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
        self.wheel.expire(turn.now, &mut due);
        for wake in due.drain(..) {
            match wake {
                Wake::Transaction(key) => self.wake_transaction(key, turn),
                Wake::Proxy(key) => self.wake_proxy(key, turn),
                Wake::Parked(key) => {
                    if self
                        .parked
                        .get(key)
                        .is_some_and(|parked| parked.deadline <= turn.now)
                    {
                        self.told(key, Fact::Unknown, turn);
                    }
                }
            }
        }
        self.due = due;
    }

    /// Gives up calls that were never ended.
    pub fn sweep(&mut self, turn: &mut Turn<'_>) {
        let events = self.calls.sweep(turn.now);
        turn.actions.extend(events.into_iter().map(Action::Call));
    }

    /// What a transaction sent could not be sent.
    pub fn failed(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(transaction) = self.transactions.get(key) else {
            return;
        };
        if let User::Branch { proxy, number, .. } = transaction.user {
            let answered = match &transaction.machine {
                Machine::ClientInvite(machine) => machine.is_answered(),
                Machine::Client(machine) => machine.is_answered(),
                Machine::ServerInvite(_) | Machine::Server(_) => true,
            };
            if !answered {
                self.remove(key);
                self.branch_failed(proxy, number, 480, turn);
                self.release(proxy);
            }
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
        let key = server_key(&request, request.method_text());
        if let Some(transaction) = self.servers.get(&key).copied() {
            let effects = match self
                .transactions
                .get(transaction)
                .map(|found| &found.machine)
            {
                Some(Machine::ServerInvite(machine)) => machine.request_again(),
                Some(Machine::Server(machine)) => machine.request_again(),
                _ => return,
            };
            self.apply(transaction, effects, None, turn);
            return;
        }
        // RFC 3261 8.2.2.2. Whoever knows where the user is, is the last who can tell that a request
        // has come twice; but one that has been here before is a spiral, and may.
        if let Some(key) = merge_key(&request)
            && self.merged.contains_key(&key)
            && !self.is_ours_in_via(&request)
        {
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
        match self.admit(&request, &arrival, &mut facts, turn) {
            Plan::Reply(reply) => self.reply(&request, &arrival, server, &reply, turn),
            Plan::Ask(question) => {
                let Some(server) = server.or_else(|| self.serve(&request, &arrival, turn)) else {
                    return;
                };
                self.park(request, arrival, server, facts, question, turn);
            }
            Plan::Pass {
                passing,
                targets,
                to,
            } => {
                let Some(server) = server.or_else(|| self.serve(&request, &arrival, turn)) else {
                    return;
                };
                self.pass(request, arrival, server, facts, passing, targets, to, turn);
            }
        }
    }

    /// Opens a server transaction, unless there are too many.
    fn serve(&mut self, request: &Message, arrival: &Flow, turn: &mut Turn<'_>) -> Option<Key> {
        let source = subnet_key(arrival.remote.ip());
        let open = self.sources.get(&source).copied().unwrap_or(0);
        if self.transactions.len() >= turn.settings.transactions
            || open >= turn.settings.transactions_per_source
        {
            let mut busy = Reply::new(503);
            busy.header(HeaderName::RetryAfter, b"5");
            self.reply(request, arrival, None, &busy, turn);
            return None;
        }
        *self.sources.entry(source).or_default() += 1;
        let reliable = arrival.transport.is_reliable();
        let timers = turn.settings.timers;
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
                of: Of::Nothing,
            },
            armed: None,
        });
        self.servers.insert(key, transaction);
        if let Some(merge) = merge {
            self.merged.insert(merge, transaction);
        }
        if request.method() == Method::Invite {
            let trying = Reply::new(100);
            self.reply(request, arrival, Some(transaction), &trying, turn);
        }
        Some(transaction)
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
        self.set_doing(server, Of::Parked(ticket));
        self.wheel.insert(deadline, Wake::Parked(ticket));
        turn.actions.push(Action::Ask(ticket, question));
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one caller, and each is its own thing"
    )]
    fn pass(
        &mut self,
        request: Arc<Message>,
        arrival: Flow,
        server: Key,
        facts: Facts,
        passing: Passing,
        targets: Vec<Target>,
        to: Option<String>,
        turn: &mut Turn<'_>,
    ) {
        let begins_call =
            request.method() == Method::Invite && passing.leg.is_none() && to.is_some();
        if begins_call
            && self.calls.len() < turn.settings.calls
            && let (Some(from), Some(to)) = (&facts.account, &to)
        {
            let event = self.calls.start(&request, from.as_str(), to, turn.now);
            turn.actions.extend(event.map(Action::Call));
        }
        let mut proxy = Proxy::new(request, arrival, server, passing, begins_call, targets);
        let mut steps = Vec::new();
        proxy.advance(&mut steps);
        let key = self.proxies.insert(proxy);
        self.set_doing(server, Of::Proxy(key));
        self.carry_out(key, steps, turn);
    }

    fn set_doing(&mut self, server: Key, doing: Of) {
        if let Some(Transaction {
            user: User::Server { of, .. },
            ..
        }) = self.transactions.get_mut(server)
        {
            *of = doing;
        }
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
        if server.is_none() && reply.unasked {
            let rate = turn.settings.unauthenticated_per_second;
            if !turn
                .shared
                .limiter
                .allow(arrival.remote.ip(), rate, turn.now)
            {
                return;
            }
        }
        let tag = self.branches.tag(request);
        let mut response = Response::new(
            request,
            arrival.remote,
            reply.status,
            reply
                .reason
                .as_deref()
                .unwrap_or(reason_phrase(reply.status)),
            &tag,
        );
        for (name, value) in &reply.headers {
            response.header(*name, value);
        }
        if !turn.settings.server.is_empty() && reply.status > 100 {
            response.header(HeaderName::Server, turn.settings.server.as_bytes());
        }
        let bytes = response.finish();
        match server {
            Some(server) => self.respond(server, reply.status, bytes, turn),
            None => turn.actions.push(Action::Send {
                to: reply_to(request, arrival),
                bytes,
                transaction: None,
            }),
        }
    }

    fn respond(&mut self, server: Key, status: u16, bytes: Bytes, turn: &mut Turn<'_>) {
        let Some(transaction) = self.transactions.get_mut(server) else {
            return;
        };
        let effects = match &mut transaction.machine {
            Machine::ServerInvite(machine) => machine.respond(status, bytes, turn.now),
            Machine::Server(machine) => machine.respond(status, bytes, turn.now),
            Machine::ClientInvite(_) | Machine::Client(_) => return,
        };
        self.apply(server, effects, None, turn);
    }

    fn ack(&mut self, ack: Message, arrival: Flow, turn: &mut Turn<'_>) {
        let key = server_key(&ack, b"INVITE");
        if let Some(server) = self.servers.get(&key).copied() {
            let effects = match self
                .transactions
                .get_mut(server)
                .map(|found| &mut found.machine)
            {
                Some(Machine::ServerInvite(machine)) => machine.ack(turn.now),
                _ => return,
            };
            let passes = effects.tell == Some(Tell::Ack);
            self.apply(server, effects, None, turn);
            if !passes {
                return;
            }
        }
        // The ACK of a 2xx is a request of the dialog, and has no response.
        let Some((passing, to)) = self.within_dialog(&ack, &arrival, turn) else {
            return;
        };
        let trail = self.branches.trail(&ack, passing.routes_done);
        let branch = self.branches.make(Key::from_bits(u64::MAX), trail);
        let bytes = forwarded(
            &ack,
            &arrival,
            &passing,
            None,
            &to,
            None,
            &branch,
            turn.settings,
        );
        turn.actions.push(Action::Send {
            to: to.into(),
            bytes,
            transaction: None,
        });
    }

    fn cancel(&mut self, cancel: &Message, arrival: Flow, turn: &mut Turn<'_>) {
        let key = server_key(cancel, b"INVITE");
        let found = self.servers.get(&key).copied();
        let Some((server, transaction)) =
            found.and_then(|server| Some((server, self.transactions.get(server)?)))
        else {
            self.reply(cancel, &arrival, None, &Reply::unasked(481), turn);
            return;
        };
        // Nobody but the caller may: it is the one request that cannot be challenged.
        if transaction.to.flow.remote.ip() != arrival.remote.ip() {
            self.reply(cancel, &arrival, None, &Reply::unasked(481), turn);
            return;
        }
        let doing = match &transaction.user {
            User::Server { of, .. } => *of,
            User::Branch { .. } | User::Cancel { .. } => Of::Nothing,
        };
        self.reply(cancel, &arrival, None, &Reply::new(200), turn);
        match doing {
            Of::Proxy(key) => {
                let timers = turn.settings.timers;
                let mut steps = Vec::new();
                if let Some(proxy) = self.proxies.get_mut(key) {
                    proxy.cancel(turn.now, &timers, &mut steps);
                }
                self.carry_out(key, steps, turn);
            }
            Of::Parked(ticket) => {
                if let Some(parked) = self.parked.remove(ticket) {
                    let (request, arrival) = (&parked.request, &parked.arrival);
                    self.reply(request, arrival, Some(server), &Reply::new(487), turn);
                }
            }
            Of::Nothing => {}
        }
    }

    fn response(&mut self, response: Message, turn: &mut Turn<'_>) {
        // RFC 6026 7.2: what belongs to no transaction of ours is not passed on.
        let Some(branch) = response.via().ok().and_then(|via| via.branch()) else {
            return;
        };
        let method = response.method();
        let key = Branches::read(branch).and_then(|key| match method {
            Method::Cancel => self.cancels.get(&key).copied(),
            _ => Some(key),
        });
        let Some((key, transaction)) =
            key.and_then(|key| Some((key, self.transactions.get_mut(key)?)))
        else {
            return;
        };
        let own = match &transaction.user {
            User::Branch { branch, .. } | User::Cancel { branch, .. } => branch,
            User::Server { .. } => return,
        };
        if **own != *branch {
            return;
        }
        let effects = match &mut transaction.machine {
            Machine::ClientInvite(machine) if method == Method::Invite => {
                machine.response(&response, turn.now)
            }
            Machine::Client(machine) if method != Method::Invite => {
                machine.response(response.status().unwrap_or(0), turn.now)
            }
            _ => return,
        };
        self.apply(key, effects, Some(response), turn);
    }

    /// Carries out what a machine wants done.
    fn apply(
        &mut self,
        key: Key,
        effects: Effects,
        response: Option<Message>,
        turn: &mut Turn<'_>,
    ) {
        let Some(transaction) = self.transactions.get_mut(key) else {
            return;
        };
        if let Some(bytes) = effects.send {
            turn.actions.push(Action::Send {
                to: transaction.to,
                bytes,
                transaction: Some(key),
            });
        }
        let branch = match &transaction.user {
            User::Branch { proxy, number, .. } => Some((*proxy, *number)),
            User::Server { .. } | User::Cancel { .. } => None,
        };
        if effects.ended {
            self.end(key);
        } else {
            self.arm(key);
        }
        let Some((proxy, number)) = branch else {
            return;
        };
        match (effects.tell, response) {
            (Some(Tell::Response), Some(response)) => {
                let timers = turn.settings.timers;
                let ring = turn.now.checked_add(turn.settings.ring_timeout);
                let mut steps = Vec::new();
                if let Some(found) = self.proxies.get_mut(proxy) {
                    found.response(number, response, turn.now, ring, &timers, &mut steps);
                }
                self.carry_out(proxy, steps, turn);
            }
            (Some(Tell::Timeout), _) => self.branch_failed(proxy, number, 408, turn),
            _ => {}
        }
        if effects.ended {
            self.release(proxy);
        }
    }

    fn branch_failed(&mut self, proxy: Key, number: usize, status: u16, turn: &mut Turn<'_>) {
        let mut steps = Vec::new();
        if let Some(proxy) = self.proxies.get_mut(proxy) {
            proxy.failed(number, status, &mut steps);
        }
        self.carry_out(proxy, steps, turn);
    }

    /// Carries out what a fork wants done.
    fn carry_out(&mut self, key: Key, steps: Vec<Step>, turn: &mut Turn<'_>) {
        for step in steps {
            let Some(proxy) = self.proxies.get(key) else {
                return;
            };
            let (server, request, arrival) = (proxy.server, proxy.request.clone(), proxy.arrival);
            match step {
                Step::Try(number, target) => self.try_target(key, number, &target, turn),
                Step::Return(response) => {
                    let status = response.status().unwrap_or(0);
                    self.call_answered(key, status, turn);
                    self.respond(server, status, returned(&response), turn);
                }
                Step::Final(response, challenges) => {
                    let status = response.status().unwrap_or(0);
                    self.call_answered(key, status, turn);
                    let bytes = with_challenges(returned(&response), &challenges);
                    self.respond(server, status, bytes, turn);
                }
                Step::Own(status) => {
                    self.call_answered(key, status, turn);
                    self.reply(&request, &arrival, Some(server), &Reply::new(status), turn);
                }
                Step::Cancel(client, why) => self.send_cancel(client, why, turn),
                Step::Abandon(client) => {
                    if self.remove(client) {
                        self.release(key);
                    }
                }
                Step::Silence => {
                    if self.remove(server) {
                        self.release(key);
                    }
                }
            }
        }
        if let Some(deadline) = self.proxies.get(key).and_then(Proxy::deadline) {
            self.wheel.insert(deadline, Wake::Proxy(key));
        }
    }

    fn try_target(&mut self, key: Key, number: usize, target: &Target, turn: &mut Turn<'_>) {
        let Some(proxy) = self.proxies.get_mut(key) else {
            return;
        };
        proxy.references += 1;
        let request = proxy.request.clone();
        let flow = target.flow;
        let record = proxy.passing.record_route.then(|| {
            turn.shared
                .routes
                .record(&request, &proxy.arrival, &flow, turn.settings)
        });
        let trail = self.branches.trail(&request, proxy.passing.routes_done);
        let reliable = flow.transport.is_reliable();
        let timers = turn.settings.timers;
        let branches = &mut self.branches;
        let mut effects = Effects::default();
        let client = self.transactions.insert_with(|client| {
            let branch = branches.make(client, trail);
            let bytes = forwarded(
                &request,
                &proxy.arrival,
                &proxy.passing,
                target.uri.as_deref(),
                &flow,
                record.as_deref(),
                &branch,
                turn.settings,
            );
            let machine = if request.method() == Method::Invite {
                let (machine, first) = ClientInvite::new(bytes, reliable, timers, turn.now);
                effects = first;
                Machine::ClientInvite(machine)
            } else {
                let (machine, first) = Client::new(bytes, reliable, timers, turn.now);
                effects = first;
                Machine::Client(machine)
            };
            Transaction {
                machine,
                to: flow.into(),
                user: User::Branch {
                    proxy: key,
                    number,
                    branch: branch.into_bytes().into(),
                },
                armed: None,
            }
        });
        let deadline = turn.now.checked_add(turn.settings.ring_timeout);
        proxy.sent(number, client, deadline);
        self.apply(client, effects, None, turn);
    }

    fn send_cancel(&mut self, invite: Key, why: Why, turn: &mut Turn<'_>) {
        let Some(Transaction {
            machine: Machine::ClientInvite(machine),
            to,
            user: User::Branch { branch, .. },
            ..
        }) = self.transactions.get(invite)
        else {
            return;
        };
        // We made it; it parses.
        let Ok(request) = Message::parse(machine.request().clone(), &Limits::RELAXED) else {
            return;
        };
        let reason: Option<&[u8]> = match why {
            Why::Elsewhere => Some(b"SIP;cause=200;text=\"Call completed elsewhere\""),
            Why::Refused => Some(b"SIP;cause=600;text=\"Busy Everywhere\""),
            Why::Time => Some(b"SIP;cause=408;text=\"Request Timeout\""),
            Why::Caller => None,
        };
        let bytes = cancel(&request, reason);
        let (to, invite_branch) = (*to, branch.clone());
        let reliable = to.flow.transport.is_reliable();
        let (machine, effects) = Client::new(bytes, reliable, turn.settings.timers, turn.now);
        let transaction = self.transactions.insert(Transaction {
            machine: Machine::Client(machine),
            to,
            user: User::Cancel {
                branch: invite_branch,
                invite,
            },
            armed: None,
        });
        self.cancels.insert(invite, transaction);
        self.apply(transaction, effects, None, turn);
    }

    fn call_answered(&mut self, proxy: Key, status: u16, turn: &mut Turn<'_>) {
        let Some(proxy) = self.proxies.get(proxy) else {
            return;
        };
        if proxy.begins_call && status >= 200 {
            let event = self.calls.answered(&proxy.request, status, turn.now);
            turn.actions.extend(event.map(Action::Call));
        }
        // A BYE that got no 2xx, but was told that there is no such call, ends it as well.
        if let Some(leg) = &proxy.passing.leg
            && proxy.request.method() == Method::Bye
            && matches!(status, 200..=299 | 408 | 480 | 481)
        {
            let event = self.calls.ended(&proxy.request, leg, turn.now);
            turn.actions.extend(event.map(Action::Call));
        }
    }

    fn wake_transaction(&mut self, key: Key, turn: &mut Turn<'_>) {
        let Some(transaction) = self.transactions.get_mut(key) else {
            return;
        };
        transaction.armed = None;
        let effects = match &mut transaction.machine {
            Machine::ServerInvite(machine) => machine.expire(turn.now),
            Machine::Server(machine) => machine.expire(turn.now),
            Machine::ClientInvite(machine) => machine.expire(turn.now),
            Machine::Client(machine) => machine.expire(turn.now),
        };
        self.apply(key, effects, None, turn);
    }

    fn wake_proxy(&mut self, key: Key, turn: &mut Turn<'_>) {
        let timers = turn.settings.timers;
        let mut steps = Vec::new();
        let Some(proxy) = self.proxies.get_mut(key) else {
            return;
        };
        if proxy
            .deadline()
            .is_some_and(|deadline| deadline <= turn.now)
        {
            proxy.expire(turn.now, &timers, &mut steps);
        }
        self.carry_out(key, steps, turn);
    }

    /// Has the wheel wake a transaction in time, if it will not anyway.
    fn arm(&mut self, key: Key) {
        let Some(transaction) = self.transactions.get_mut(key) else {
            return;
        };
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
    }

    /// A transaction is over. Its proxy is released by the caller, who may still need it.
    fn end(&mut self, key: Key) {
        let of = match self.transactions.get(key).map(|found| &found.user) {
            Some(User::Server { of, .. }) => *of,
            _ => Of::Nothing,
        };
        self.remove(key);
        if let Of::Proxy(proxy) = of {
            self.release(proxy);
        }
    }

    fn remove(&mut self, key: Key) -> bool {
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
            User::Branch { .. } => {}
        }
        true
    }

    /// One transaction less refers to a request passed on.
    fn release(&mut self, proxy: Key) {
        if let Some(found) = self.proxies.get_mut(proxy) {
            found.references = found.references.saturating_sub(1);
            if found.references == 0 {
                self.proxies.remove(proxy);
            }
        }
    }

    fn is_ours_in_via(&self, request: &Message) -> bool {
        request
            .list(HeaderName::Via)
            .filter_map(|via| Via::parse(via).ok()?.branch())
            .filter_map(Branches::read)
            .any(|key| self.transactions.get(key).is_some())
    }
}

/// Where the answer to a request goes (RFC 3261 18.2.2, RFC 3581 4): back where it came from. Only
/// a client that is not behind a NAT, and did not ask for better, is answered at the port it names.
fn reply_to(request: &Message, arrival: &Flow) -> Destination {
    let mut flow = *arrival;
    let Ok(via) = request.via() else {
        return flow.into();
    };
    let port = via.port.unwrap_or_else(|| flow.transport.default_port());
    let here = via.host.address() == Some(flow.remote.ip());
    if flow.transport.is_reliable() {
        let direct = (flow.transport == crate::wire::Transport::Tcp && here)
            .then(|| (flow.remote.ip(), port).into());
        return Destination { flow, direct };
    }
    if here && via.params.get("rport").is_none() {
        flow.remote.set_port(port);
    }
    flow.into()
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

fn with_challenges(response: Bytes, challenges: &[(HeaderName, Box<[u8]>)]) -> Bytes {
    if challenges.is_empty() {
        return response;
    }
    let Ok(response) = Message::parse(response.clone(), &Limits::RELAXED) else {
        return response;
    };
    let mut edit = Edit::new(&response);
    for (name, value) in challenges {
        edit.append(*name, value);
    }
    edit.finish()
}

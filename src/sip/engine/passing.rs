//! Requests passed on: forks begun, carried out and ended.

use std::sync::Arc;

use bytes::Bytes;

use super::{
    Engine, Flow, Key, Turn,
    admit::Pass,
    client_digest,
    forward::{Hop, forwarded, returned},
    place::{is_apart, reachable},
    proxy::{Proxy, Step, Target, Why},
    reply::Reply,
    table::{Doing, Owner, Wake},
};
use crate::{
    plan::Cause,
    wire::{Edit, HeaderName, Limits, Message, Method},
};

impl Engine {
    /// Begins to pass a request on.
    pub(super) fn pass(
        &mut self,
        request: Arc<Message>,
        arrival: Flow,
        server: Key,
        pass: Pass,
        turn: &mut Turn<'_>,
    ) {
        let Pass {
            passing,
            targets,
            then,
            apart,
            from,
            to,
        } = pass;
        let begins_call =
            request.method() == Method::Invite && passing.leg.is_none() && to.is_some();
        if begins_call
            && self.calls.len() < turn.settings.calls
            && let (Some(from), Some(to)) = (&from, &to)
        {
            let event = self.calls.start(&request, from, to, turn.now);
            turn.note(event);
        }
        let mut proxy = Proxy::new(request, arrival, server, passing, begins_call, targets);
        proxy.follow(then, apart);
        let mut steps = Vec::new();
        proxy.advance(turn.now, &mut steps);
        let key = self.proxies.insert(proxy);
        self.table.set_doing(server, Doing::Proxy(key));
        self.carry_out(key, steps, turn);
    }

    /// The caller of a request that is passed on gave up.
    pub(super) fn give_up(&mut self, key: Key, turn: &mut Turn<'_>) {
        let timers = turn.settings.timers;
        let mut steps = Vec::new();
        if let Some(proxy) = self.proxies.get_mut(key) {
            proxy.cancel(turn.now, &timers, &mut steps);
        }
        self.carry_out(key, steps, turn);
    }

    /// A branch got a response.
    pub(super) fn branch_answered(
        &mut self,
        key: Key,
        number: usize,
        response: Message,
        turn: &mut Turn<'_>,
    ) {
        let timers = turn.settings.timers;
        let ring = turn.now.checked_add(turn.settings.ring_timeout);
        let mut steps = Vec::new();
        if let Some(proxy) = self.proxies.get_mut(key) {
            proxy.response(number, response, turn.now, ring, &timers, &mut steps);
        }
        self.carry_out(key, steps, turn);
    }

    /// A branch will get none.
    pub(super) fn branch_failed(
        &mut self,
        key: Key,
        number: usize,
        status: u16,
        turn: &mut Turn<'_>,
    ) {
        let mut steps = Vec::new();
        if let Some(proxy) = self.proxies.get_mut(key) {
            proxy.failed(number, status, turn.now, &mut steps);
        }
        self.carry_out(key, steps, turn);
    }

    /// A fork's branches may have rung long enough.
    pub(super) fn wake_proxy(&mut self, key: Key, turn: &mut Turn<'_>) {
        let timers = turn.settings.timers;
        let mut steps = Vec::new();
        let Some(proxy) = self.proxies.get_mut(key) else {
            return;
        };
        proxy.armed = None;
        if proxy
            .deadline()
            .is_some_and(|deadline| deadline <= turn.now)
        {
            proxy.expire(turn.now, &timers, &mut steps);
        }
        self.carry_out(key, steps, turn);
    }

    /// One transaction less refers to a fork.
    pub(super) fn release(&mut self, key: Key) {
        if let Some(proxy) = self.proxies.get_mut(key) {
            proxy.references = proxy.references.saturating_sub(1);
            if proxy.references == 0 {
                self.proxies.remove(key);
            }
        }
    }

    /// Carries out what a fork wants done.
    fn carry_out(&mut self, key: Key, steps: Vec<Step>, turn: &mut Turn<'_>) {
        for step in steps {
            let Some(proxy) = self.proxies.get(key) else {
                return;
            };
            let (server, request, arrival) = (proxy.server, proxy.request.clone(), proxy.arrival);
            match step {
                Step::Try(number, target) => self.try_target(key, number, &target, None, turn),
                Step::Login(number, step, target, response) => {
                    self.log_in(key, number, step, &target, &response, turn);
                }
                Step::Taken(account) => self.calls.taken(&request, &account),
                Step::Fall(cause) => self.fall(key, cause, turn),
                Step::Return(response) => {
                    let status = response.status().unwrap_or(0);
                    self.note_answer(key, status, turn);
                    self.respond(server, status, returned(&response, &request), turn);
                }
                Step::Final(response, challenges) => {
                    let status = response.status().unwrap_or(0);
                    self.note_answer(key, status, turn);
                    let bytes = with_challenges(returned(&response, &request), &challenges);
                    self.respond(server, status, bytes, turn);
                }
                Step::Own(status) => {
                    self.note_answer(key, status, turn);
                    self.reply(&request, &arrival, Some(server), &Reply::new(status), turn);
                }
                Step::Cancel(client, why) => self.send_cancel(client, why, turn),
                Step::Abandon(transaction) => {
                    if self.table.remove(transaction) {
                        self.release(key);
                    }
                }
                Step::Silence => {
                    if self.table.remove(server) {
                        self.release(key);
                    }
                }
            }
        }
        if let Some(proxy) = self.proxies.get_mut(key)
            && let Some(deadline) = proxy.deadline()
            && proxy.armed.is_none_or(|armed| deadline < armed)
        {
            proxy.armed = Some(deadline);
            self.table.wake(deadline, Wake::Proxy(key));
        }
    }

    /// Nobody has taken a call so far: goes on as the plan says.
    fn fall(&mut self, key: Key, cause: Cause, turn: &mut Turn<'_>) {
        let Some(proxy) = self.proxies.get_mut(key) else {
            return;
        };
        let way = turn.settings.plan.next(proxy.take_then(), cause, &*turn);
        let (way, targets) = reachable(way, turn);
        let apart = is_apart(&way);
        let mut steps = Vec::new();
        proxy.follow(way.then, apart);
        proxy.go_on(targets, turn.now, &mut steps);
        self.carry_out(key, steps, turn);
    }

    /// Sends a branch's request again with the trunk's password.
    fn log_in(
        &mut self,
        key: Key,
        number: usize,
        step: u8,
        target: &Target,
        response: &Message,
        turn: &mut Turn<'_>,
    ) {
        let cnonce = self.branches.secret();
        let trunk = target.outward.as_ref().map(|outward| outward.trunk);
        let trunk = trunk.and_then(|trunk| turn.settings.trunks.get(trunk));
        let login = trunk.and_then(|trunk| trunk.login.as_ref());
        let answer = login
            .zip(self.proxies.get(key))
            .and_then(|((user, password), proxy)| {
                let own = || proxy.request.uri_text().into();
                let uri: Box<[u8]> = target.uri.clone().unwrap_or_else(own);
                let (method, uri) = (proxy.request.method(), String::from_utf8_lossy(&uri));
                let login = (user.as_str(), password.expose());
                client_digest::answer(response, method.name(), &uri, login, cnonce)
            });
        match answer {
            Some(answer) => self.try_target(key, number, target, Some((step, answer)), turn),
            None => self.branch_failed(key, number, 502, turn),
        }
    }

    fn try_target(
        &mut self,
        key: Key,
        number: usize,
        target: &Target,
        login: Option<(u8, (HeaderName, String))>,
        turn: &mut Turn<'_>,
    ) {
        let Some(proxy) = self.proxies.get_mut(key) else {
            return;
        };
        proxy.references += 1;
        let request = &proxy.request;
        let (arrival, passing, settings) = (&proxy.arrival, &proxy.passing, turn.settings);
        let step = login.as_ref().map_or(0, |(step, _)| *step);
        let record = passing.record_route.then(|| {
            let routes = &turn.shared.routes;
            routes.record(request, arrival, (&target.flow, step), settings)
        });
        let from = target.outward.as_ref().map(|outward| {
            let tag = request.from_tag().unwrap_or_default();
            [outward.from.as_bytes(), b";tag=", tag].concat()
        });
        let mut headers = target.headers.as_deref().unwrap_or_default().to_vec();
        if let Some((_, (name, value))) = login {
            headers.push((name, value.into_bytes().into()));
        }
        let trail = self.branches.trail(request, passing.routes_done);
        let branches = &mut self.branches;
        let make = |client| {
            let branch = branches.make(client, trail);
            let hop = Hop {
                uri: target.uri.as_deref(),
                to: &target.flow,
                record_route: record.as_deref(),
                headers: &headers,
                from: from.as_deref(),
                step,
                branch: &branch,
            };
            let bytes = forwarded(request, arrival, passing, &hop, settings);
            (branch, bytes)
        };
        let when = (settings.timers, turn.now);
        let method = request.method();
        let (client, effects) =
            self.table
                .send(Owner::Branch(key, number), method, target.flow, when, make);
        let deadline = turn.now.checked_add(settings.ring_timeout);
        let reply_within = target.outward.as_ref().map(|outward| outward.reply_within);
        let reply_within = reply_within.and_then(|within| turn.now.checked_add(within));
        proxy.sent(number, client, deadline, reply_within);
        self.apply(client, effects, None, turn);
    }

    fn send_cancel(&mut self, invite: Key, why: Why, turn: &mut Turn<'_>) {
        let reason: Option<&[u8]> = match why {
            Why::Elsewhere => Some(b"SIP;cause=200;text=\"Call completed elsewhere\""),
            Why::Refused => Some(b"SIP;cause=600;text=\"Busy Everywhere\""),
            Why::Time => Some(b"SIP;cause=408;text=\"Request Timeout\""),
            Why::Caller => None,
        };
        let timers = turn.settings.timers;
        if let Some((key, effects)) = self.table.cancel(invite, reason, timers, turn.now) {
            self.apply(key, effects, None, turn);
        }
    }

    /// Takes note of what an answer means for a call.
    fn note_answer(&mut self, key: Key, status: u16, turn: &mut Turn<'_>) {
        let Some(proxy) = self.proxies.get(key) else {
            return;
        };
        if proxy.begins_call && status >= 200 {
            let event = self.calls.answered(&proxy.request, status, turn.now);
            turn.note(event);
        }
        // A BYE that got no 2xx, but was told that there is no such call, ends it as well.
        if let Some(leg) = &proxy.passing.leg
            && proxy.request.method() == Method::Bye
            && matches!(status, 200..=299 | 408 | 480 | 481)
        {
            let event = self.calls.ended(&proxy.request, leg, turn.now);
            turn.note(event);
        }
    }
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

//! The response context of RFC 3261 16.7: one request, its forks, and the answer it gets.
//!
//! Like the transactions it decides and does nothing: it is told what the branches got, and says
//! what is to be sent.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use omnid_identity::Address;

use super::{Flow, arena::Key, forward::Passing, transaction::Timers};
use crate::{
    plan::{Cause, Then},
    wire::{HeaderName, Message},
};

/// How often a password may be asked for by one server.
const LOGINS: u8 = 2;

/// A header line.
pub(super) type Line = (HeaderName, Box<[u8]>);

/// One place where a request is sent.
#[derive(Debug, Clone)]
pub(super) struct Target {
    /// The URI it is given; its own where there is none.
    pub uri: Option<Box<[u8]>>,
    /// Where it goes.
    pub flow: Flow,
    /// Equal ones are tried at once, lower ones later.
    pub rank: u32,
    /// Whose phone it is.
    pub account: Option<Address>,
    /// How long it may ring, where that is less than any phone may.
    pub ring: Option<Duration>,
    /// How long after those before it is tried while they go on ringing.
    pub join: Option<Duration>,
    /// What is said to it besides.
    pub headers: Option<Arc<[Line]>>,
    /// The trunk that it goes out through.
    pub outward: Option<Outward>,
}

/// How a call is sent out through a trunk.
#[derive(Debug, Clone)]
pub(super) struct Outward {
    /// Which trunk.
    pub trunk: usize,
    /// What From says there, but for its tag.
    pub from: String,
    /// How long it may say nothing before another is tried.
    pub reply_within: Duration,
}

impl Target {
    /// The one end of a flow.
    pub(super) const fn only(flow: Flow) -> Self {
        Self {
            uri: None,
            flow,
            rank: 0,
            account: None,
            ring: None,
            join: None,
            headers: None,
            outward: None,
        }
    }
}

/// A request being passed on.
#[derive(Debug)]
pub(super) struct Proxy {
    /// The request as it arrived …
    pub request: Arc<Message>,
    /// … and where from.
    pub arrival: Flow,
    /// Its server transaction.
    pub server: Key,
    /// How it is passed on.
    pub passing: Passing,
    /// Whether a call depends on it.
    pub begins_call: bool,
    branches: Vec<Branch>,
    /// Targets yet to be tried, the ones to be tried last first.
    waiting: Vec<Target>,
    best: Option<Best>,
    /// What all those challenged with whose answer is the best one.
    challenges: Vec<(HeaderName, Box<[u8]>)>,
    /// What follows where none of those takes it.
    then: Vec<Then>,
    /// Whether somebody's refusal is nobody else's.
    apart: bool,
    /// When those who join ringing phones do so.
    join_at: Option<Instant>,
    cancelled: bool,
    answered: bool,
    invite: bool,
    /// The earliest moment it will be woken.
    pub(super) armed: Option<Instant>,
    /// Transactions that still refer to it.
    pub references: usize,
}

#[derive(Debug)]
struct Branch {
    client: Option<Key>,
    ringing: bool,
    cancel: Cancel,
    finished: bool,
    account: Option<Address>,
    /// What went out through a trunk: it may have to be sent again with a password.
    outward: Option<Box<Target>>,
    logins: u8,
    /// When it has rung long enough, whatever it says meanwhile.
    until: Option<Instant>,
    /// Timer C; after a CANCEL, when to stop waiting for what becomes of it.
    deadline: Option<Instant>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cancel {
    No,
    /// As soon as the peer has shown that it has the request.
    Wanted(Why),
    Sent,
}

/// Why a branch is cancelled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// The caller gave up.
    Caller,
    /// Another phone was answered.
    Elsewhere,
    /// Nobody answered in time.
    Time,
    /// Another phone refused for all of them.
    Refused,
}

#[derive(Debug)]
enum Best {
    Response(Box<Message>),
    /// One that we have to make up ourselves.
    Own(u16),
}

impl Best {
    fn status(&self) -> u16 {
        match self {
            Self::Response(response) => response.status().unwrap_or(500),
            Self::Own(status) => *status,
        }
    }
}

/// What is to be done about it.
#[derive(Debug)]
pub(super) enum Step {
    /// Send the request there, as the branch of that number.
    Try(usize, Target),
    /// Send the request of that branch again, for the so manieth time, with an answer to this
    /// challenge.
    Login(usize, u8, Box<Target>, Box<Message>),
    /// Whoever this is has taken the call.
    Taken(Address),
    /// Nobody has, and there is more to do about that.
    Fall(Cause),
    /// Pass this response on.
    Return(Box<Message>),
    /// Give the final answer: one that came, with the challenges of others, …
    Final(Box<Message>, Vec<(HeaderName, Box<[u8]>)>),
    /// … or one of our own.
    Own(u16),
    /// Send a CANCEL after the request of that transaction.
    Cancel(Key, Why),
    /// Forget that transaction.
    Abandon(Key),
    /// Say nothing, and forget the request (RFC 4320 4.2).
    Silence,
}

impl Proxy {
    /// Begins to pass a request on to these targets.
    #[must_use]
    pub(super) fn new(
        request: Arc<Message>,
        arrival: Flow,
        server: Key,
        passing: Passing,
        begins_call: bool,
        mut targets: Vec<Target>,
    ) -> Self {
        targets.sort_by_key(|target| target.rank);
        let invite = request.method() == crate::wire::Method::Invite;
        Self {
            request,
            arrival,
            server,
            passing,
            begins_call,
            branches: Vec::new(),
            waiting: targets,
            best: None,
            challenges: Vec::new(),
            then: Vec::new(),
            apart: false,
            join_at: None,
            cancelled: false,
            answered: false,
            invite,
            armed: None,
            references: 1,
        }
    }

    /// Tries the next targets: all that are preferred alike.
    pub(super) fn advance(&mut self, now: Instant, steps: &mut Vec<Step>) {
        self.join_at = None;
        let Some(rank) = self.waiting.last().map(|target| target.rank) else {
            return;
        };
        while let Some(target) = self.waiting.pop_if(|target| target.rank == rank) {
            let number = self.branches.len();
            self.branches.push(Branch {
                client: None,
                ringing: false,
                cancel: Cancel::No,
                finished: false,
                account: target.account.clone(),
                outward: target.outward.is_some().then(|| Box::new(target.clone())),
                logins: 0,
                until: target.ring.and_then(|ring| now.checked_add(ring)),
                deadline: None,
            });
            steps.push(Step::Try(number, target));
        }
        let join = self.waiting.last().and_then(|target| target.join);
        self.join_at = join.and_then(|join| now.checked_add(join));
    }

    /// What follows where nobody takes it, and whether those who are called are nothing to each
    /// other, so that none refuses for all.
    pub(super) fn follow(&mut self, then: Vec<Then>, apart: bool) {
        self.then = then;
        self.apart = apart;
    }

    /// Takes out what follows.
    pub(super) fn take_then(&mut self) -> Vec<Then> {
        std::mem::take(&mut self.then)
    }

    /// Goes on with these, after all before have come to nothing; without any, to the final answer.
    pub(super) fn go_on(&mut self, mut targets: Vec<Target>, now: Instant, steps: &mut Vec<Step>) {
        targets.sort_by_key(|target| target.rank);
        self.waiting = targets;
        self.conclude(now, steps);
    }

    /// A branch was sent, in this transaction.
    pub(super) fn sent(
        &mut self,
        number: usize,
        client: Key,
        deadline: Option<Instant>,
        reply_within: Option<Instant>,
    ) {
        if let Some(branch) = self.branches.get_mut(number) {
            branch.client = Some(client);
            branch.deadline = earlier(deadline, branch.until).filter(|_| self.invite);
            if let Some(within) = reply_within.filter(|_| self.invite) {
                branch.deadline = earlier(branch.deadline, Some(within));
            }
        }
    }

    /// A branch got a response.
    pub(super) fn response(
        &mut self,
        number: usize,
        response: Message,
        now: Instant,
        ring_deadline: Option<Instant>,
        timers: &Timers,
        steps: &mut Vec<Step>,
    ) {
        let status = response.status().unwrap_or(0);
        let Some(branch) = self.branches.get_mut(number) else {
            return;
        };
        if status < 200 {
            branch.ringing = true;
            if let (Cancel::Wanted(why), Some(client)) = (branch.cancel, branch.client) {
                branch.cancel = Cancel::Sent;
                branch.deadline = now.checked_add(timers.patience());
                steps.push(Step::Cancel(client, why));
            } else if (status > 100 || branch.outward.is_some()) && branch.cancel == Cancel::No {
                branch.deadline = earlier(ring_deadline, branch.until).filter(|_| self.invite);
            }
            // RFC 3261 16.7 step 5: a 100 is for us.
            if status > 100 && !self.answered && !branch.finished {
                steps.push(Step::Return(Box::new(response)));
            }
            return;
        }
        if status < 300 {
            branch.finished = true;
            branch.deadline = None;
            if !self.answered {
                steps.extend(branch.account.clone().map(Step::Taken));
            }
            // Every 2xx to an INVITE goes back, even a second one; to anything else, one does.
            if self.invite || !self.answered {
                steps.push(Step::Return(Box::new(response)));
            }
            self.answered = true;
            self.stop_trying();
            self.cancel_all(Why::Elsewhere, now, timers, steps);
            return;
        }
        if branch.finished {
            return;
        }
        if let Some(target) = &branch.outward {
            if matches!(status, 401 | 407) {
                // That is asked of us, and no business of the caller's.
                if branch.logins < LOGINS && !self.cancelled && branch.cancel == Cancel::No {
                    branch.logins += 1;
                    let target = target.clone();
                    steps.push(Step::Login(
                        number,
                        branch.logins,
                        target,
                        Box::new(response),
                    ));
                    return;
                }
                self.failed(number, 502, now, steps);
                return;
            }
            if Cause::of(status) != Cause::Failed {
                // Another server of the same trunk would say the same.
                let trunk = target.outward.as_ref().map(|outward| outward.trunk);
                let other = |target: &Target| target.outward.as_ref().map(|to| to.trunk) != trunk;
                self.waiting.retain(other);
            }
        }
        branch.finished = true;
        branch.deadline = None;
        if matches!(status, 401 | 407) {
            for name in [HeaderName::WwwAuthenticate, HeaderName::ProxyAuthenticate] {
                let values = response.lines(name).map(|value| (name, value.into()));
                self.challenges.extend(values);
            }
        }
        self.consider(Best::Response(Box::new(response)));
        if status >= 600 && !self.apart {
            // RFC 3261 16.7 step 5: nobody else is to be asked.
            self.stop_trying();
            self.cancel_all(Why::Refused, now, timers, steps);
        }
        self.conclude(now, steps);
    }

    /// A branch will get none: it timed out (408) or could not be sent (480).
    pub(super) fn failed(
        &mut self,
        number: usize,
        status: u16,
        now: Instant,
        steps: &mut Vec<Step>,
    ) {
        let Some(branch) = self.branches.get_mut(number) else {
            return;
        };
        if branch.finished {
            return;
        }
        branch.finished = true;
        branch.deadline = None;
        // A trunk that says nothing has failed, and not whoever is called through it.
        let silent = status == 408 && branch.outward.is_some() && !branch.ringing;
        let status = if silent { 504 } else { status };
        self.consider(Best::Own(status));
        self.conclude(now, steps);
    }

    /// The caller gave up.
    pub(super) fn cancel(&mut self, now: Instant, timers: &Timers, steps: &mut Vec<Step>) {
        if self.answered {
            return;
        }
        self.cancelled = true;
        self.stop_trying();
        self.cancel_all(Why::Caller, now, timers, steps);
    }

    /// The earliest moment at which a branch has rung, or been cancelled, long enough.
    #[must_use]
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.branches
            .iter()
            .filter_map(|branch| branch.deadline)
            .chain(self.join_at)
            .min()
    }

    /// It is that late.
    pub(super) fn expire(&mut self, now: Instant, timers: &Timers, steps: &mut Vec<Step>) {
        for branch in &mut self.branches {
            if branch.deadline.is_none_or(|deadline| deadline > now) {
                continue;
            }
            branch.deadline = None;
            let Some(client) = branch.client else {
                continue;
            };
            if branch.ringing && branch.cancel == Cancel::No {
                // RFC 3261 16.8: as if a 408 had come; what still comes is late.
                branch.cancel = Cancel::Sent;
                branch.deadline = now.checked_add(timers.patience());
                steps.push(Step::Cancel(client, Why::Time));
            } else if (branch.until.is_some() || branch.outward.is_some())
                && branch.cancel == Cancel::No
            {
                // It may yet ring, and is then told that it need not.
                branch.cancel = Cancel::Wanted(Why::Time);
                branch.deadline = now.checked_add(timers.patience());
            } else {
                steps.push(Step::Abandon(client));
            }
            if !branch.finished {
                branch.finished = true;
                let status = match &branch.outward {
                    _ if self.cancelled => 487,
                    Some(_) if !branch.ringing => 504,
                    _ => 408,
                };
                if self
                    .best
                    .as_ref()
                    .is_none_or(|best| rank(status) < rank(best.status()))
                {
                    self.best = Some(Best::Own(status));
                }
            }
        }
        if self.join_at.is_some_and(|at| at <= now) {
            self.advance(now, steps);
        }
        self.conclude(now, steps);
    }

    /// Whether a final response has gone back.
    #[must_use]
    pub(super) const fn is_answered(&self) -> bool {
        self.answered
    }

    fn stop_trying(&mut self) {
        self.waiting.clear();
        self.join_at = None;
    }

    fn cancel_all(&mut self, why: Why, now: Instant, timers: &Timers, steps: &mut Vec<Step>) {
        if !self.invite {
            return;
        }
        for branch in &mut self.branches {
            if branch.finished || branch.cancel != Cancel::No {
                continue;
            }
            branch.deadline = now.checked_add(timers.patience());
            match branch.client {
                Some(client) if branch.ringing => {
                    branch.cancel = Cancel::Sent;
                    steps.push(Step::Cancel(client, why));
                }
                _ => branch.cancel = Cancel::Wanted(why),
            }
        }
    }

    fn consider(&mut self, found: Best) {
        let better = match &self.best {
            Some(best) => rank(found.status()) < rank(best.status()),
            None => true,
        };
        if better {
            self.best = Some(found);
        }
    }

    /// Once every branch has come to an end: the next targets, or the final answer.
    fn conclude(&mut self, now: Instant, steps: &mut Vec<Step>) {
        if self.answered || self.branches.iter().any(|branch| !branch.finished) {
            return;
        }
        if !self.waiting.is_empty() {
            self.advance(now, steps);
            return;
        }
        if !self.cancelled && !self.then.is_empty() {
            let status = self.best.as_ref().map_or(480, Best::status);
            steps.push(Step::Fall(Cause::of(status)));
            return;
        }
        self.answered = true;
        match self.best.take() {
            _ if self.cancelled => steps.push(Step::Own(487)),
            // RFC 3261 16.7 step 6: it is not we who are unavailable.
            Some(best) if best.status() == 503 => steps.push(Step::Own(500)),
            Some(Best::Response(response)) => {
                let mut challenges = std::mem::take(&mut self.challenges);
                if matches!(response.status(), Some(401 | 407)) {
                    challenges.retain(|(name, value)| {
                        response.lines(*name).all(|own| own != value.as_ref())
                    });
                } else {
                    challenges.clear();
                }
                steps.push(Step::Final(response, challenges));
            }
            Some(Best::Own(408)) if !self.invite => steps.push(Step::Silence),
            Some(Best::Own(status)) => steps.push(Step::Own(status)),
            None => steps.push(Step::Own(500)),
        }
    }
}

fn earlier(one: Option<Instant>, other: Option<Instant>) -> Option<Instant> {
    one.into_iter().chain(other).min()
}

/// How much one final response is to be preferred to another; the least is the best (RFC 3261 16.7
/// step 6). Within 4xx those come first that the caller can do something about, then those that say
/// why, and last those that only say that nobody was there.
const fn rank(status: u16) -> u8 {
    match status {
        600.. => 0,
        300..=399 => 1,
        401 | 407 => 2,
        415 | 420 | 484 => 3,
        486 => 4,
        408 | 480 | 487 => 6,
        400..=499 => 5,
        503 => 8,
        _ => 7,
    }
}

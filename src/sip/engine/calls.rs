//! The calls under way, as seen in the dialogs that pass.

use std::{
    collections::HashMap,
    time::{Duration, Instant},
};

use omnid_identity::Address;

use super::{Flow, route::Leg};
use crate::wire::Message;

/// After so long without a request in it, a call is taken to be over: both ends must have lost it.
const SILENCE_MAX: Duration = Duration::from_secs(12 * 3600);

/// A call.
#[derive(Debug, Clone)]
pub struct Call {
    /// Its Call-ID.
    pub id: String,
    /// The caller's address of record.
    pub from: String,
    /// The address that was called.
    pub to: String,
    /// The account that took it, where it is known.
    pub by: Option<String>,
    /// When it was placed …
    pub started: Instant,
    /// … and answered.
    pub answered: Option<Instant>,
    /// Where the ends are now, where they have moved since the call began.
    caller: Option<Flow>,
    callee: Option<Flow>,
    seen: Instant,
}

/// What becomes known of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CallEvent {
    /// It was placed.
    Started {
        /// Its Call-ID.
        id: String,
        /// The caller.
        from: String,
        /// The called.
        to: String,
    },
    /// It was answered.
    Answered {
        /// Its Call-ID.
        id: String,
        /// The account that took it.
        by: Option<String>,
    },
    /// It is over.
    Ended {
        /// Its Call-ID.
        id: String,
        /// The caller.
        from: String,
        /// The called.
        to: String,
        /// The account that took it, where one did.
        by: Option<String>,
        /// What became of it.
        outcome: &'static str,
        /// From answer to end.
        talked: Duration,
    },
}

/// Calls by Call-ID and caller's tag.
#[derive(Debug, Default)]
pub struct Calls {
    calls: HashMap<Box<[u8]>, Call>,
}

fn key(call_id: &[u8], caller_tag: &[u8]) -> Box<[u8]> {
    [call_id, b"\n", caller_tag].concat().into()
}

fn leg_key(request: &Message, from_caller: bool) -> Box<[u8]> {
    let tag = if from_caller {
        request.from_tag()
    } else {
        request.to_tag()
    };
    key(request.call_id(), tag.unwrap_or_default())
}

impl Calls {
    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Call> {
        self.calls.values()
    }

    /// A call is placed by an INVITE that begins a dialog.
    pub fn start(
        &mut self,
        invite: &Message,
        from: &str,
        to: &str,
        now: Instant,
    ) -> Option<CallEvent> {
        let key = leg_key(invite, true);
        if self.calls.contains_key(&key) {
            return None;
        }
        let call = Call {
            id: String::from_utf8_lossy(invite.call_id()).into_owned(),
            from: from.to_owned(),
            to: to.to_owned(),
            by: None,
            started: now,
            answered: None,
            caller: None,
            callee: None,
            seen: now,
        };
        let event = CallEvent::Started {
            id: call.id.clone(),
            from: call.from.clone(),
            to: call.to.clone(),
        };
        self.calls.insert(key, call);
        Some(event)
    }

    /// Its INVITE got a final response.
    pub fn answered(&mut self, invite: &Message, status: u16, now: Instant) -> Option<CallEvent> {
        let key = leg_key(invite, true);
        if status >= 300 {
            let outcome = match status {
                486 | 600 | 603 => "busy",
                487 => "cancelled",
                408 | 480 => "no answer",
                _ => "failed",
            };
            return self.remove(&key, outcome, now);
        }
        let call = self.calls.get_mut(&key)?;
        if call.answered.is_some() {
            return None;
        }
        call.answered = Some(now);
        Some(CallEvent::Answered {
            id: call.id.clone(),
            by: call.by.clone(),
        })
    }

    /// Somebody is about to answer it.
    pub fn taken(&mut self, invite: &Message, by: &Address) {
        if let Some(call) = self.calls.get_mut(&leg_key(invite, true)) {
            call.by = Some(by.to_string());
        }
    }

    /// One end hung up.
    pub fn ended(&mut self, bye: &Message, leg: &Leg, now: Instant) -> Option<CallEvent> {
        self.remove(&leg_key(bye, leg.from_caller), "answered", now)
    }

    /// Where to send a request of a dialog: to the other end, wherever it was last heard from.
    /// Remembers where this one was heard from.
    pub fn pass(&mut self, request: &Message, leg: &Leg, arrival: &Flow, now: Instant) -> Flow {
        let (near, far) = if leg.from_caller {
            (leg.caller, leg.callee)
        } else {
            (leg.callee, leg.caller)
        };
        let Some(call) = self.calls.get_mut(&leg_key(request, leg.from_caller)) else {
            return far;
        };
        call.seen = now;
        let (near_now, far_now) = if leg.from_caller {
            (&mut call.caller, &call.callee)
        } else {
            (&mut call.callee, &call.caller)
        };
        *near_now = (*arrival != near).then_some(*arrival);
        far_now.unwrap_or(far)
    }

    /// Who is in the call that a request of a dialog belongs to: caller and called.
    pub(super) fn parties(&self, request: &Message, leg: &Leg) -> Option<[&str; 2]> {
        let call = self.calls.get(&leg_key(request, leg.from_caller))?;
        Some([&call.from, call.by.as_ref().unwrap_or(&call.to)])
    }

    /// Gives up calls that nobody has said anything in for very long.
    pub fn sweep(&mut self, now: Instant) -> Vec<CallEvent> {
        let silent: Vec<_> = self
            .calls
            .iter()
            .filter(|(_, call)| now.saturating_duration_since(call.seen) > SILENCE_MAX)
            .map(|(key, _)| key.clone())
            .collect();
        silent
            .iter()
            .filter_map(|key| self.remove(key, "failed", now))
            .collect()
    }

    fn remove(&mut self, key: &[u8], outcome: &'static str, now: Instant) -> Option<CallEvent> {
        let call = self.calls.remove(key)?;
        let talked = call
            .answered
            .map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
        Some(CallEvent::Ended {
            id: call.id,
            from: call.from,
            to: call.to,
            by: call.by.filter(|_| call.answered.is_some()),
            outcome,
            talked,
        })
    }
}

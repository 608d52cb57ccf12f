//! Who sees whose presence: the nine states of RFC 6121 appendix A, and how they change.

use crate::wire::PresenceType;

/// A user's relation with one contact, as the user's server sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Subscription {
    /// The user sees the contact's presence.
    pub to: bool,
    /// The contact sees the user's.
    pub from: bool,
    /// The user asked to see the contact's, and there is no answer. Never with `to`.
    pub pending_out: bool,
    /// The contact asked to see the user's. Never with `from`.
    pub pending_in: bool,
}

/// The four kinds of presence that change a subscription (RFC 6121 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Request {
    /// May I see your presence?
    Subscribe,
    /// You may.
    Subscribed,
    /// I no longer want to.
    Unsubscribe,
    /// You may not, or no longer.
    Unsubscribed,
}

impl Request {
    /// The request that a presence type is.
    pub fn from_type(kind: PresenceType) -> Option<Request> {
        match kind {
            PresenceType::Subscribe => Some(Request::Subscribe),
            PresenceType::Subscribed => Some(Request::Subscribed),
            PresenceType::Unsubscribe => Some(Request::Unsubscribe),
            PresenceType::Unsubscribed => Some(Request::Unsubscribed),
            _ => None,
        }
    }

    /// The value of the attribute `type`.
    pub fn as_str(self) -> &'static str {
        match self {
            Request::Subscribe => "subscribe",
            Request::Subscribed => "subscribed",
            Request::Unsubscribe => "unsubscribe",
            Request::Unsubscribed => "unsubscribed",
        }
    }
}

impl Subscription {
    /// The value of a roster item's `subscription`.
    pub fn as_str(self) -> &'static str {
        match (self.to, self.from) {
            (false, false) => "none",
            (true, false) => "to",
            (false, true) => "from",
            (true, true) => "both",
        }
    }

    /// As stored: one bit each.
    pub fn to_bits(self) -> i64 {
        i64::from(self.to)
            | i64::from(self.from) << 1
            | i64::from(self.pending_out) << 2
            | i64::from(self.pending_in) << 3
    }

    /// From what was stored; impossible combinations lose what is pending.
    pub fn from_bits(bits: i64) -> Subscription {
        let (to, from) = (bits & 1 != 0, bits & 2 != 0);
        let (pending_out, pending_in) = (bits & 4 != 0 && !to, bits & 8 != 0 && !from);
        Subscription {
            to,
            from,
            pending_out,
            pending_in,
        }
    }

    /// The user sends `request` to the contact (appendix A.2): the new state, and whether the
    /// request goes on to the contact.
    #[must_use]
    pub fn outbound(self, request: Request) -> (Subscription, bool) {
        let mut new = self;
        match request {
            // Always goes on, also when it was asked before: the contact may have lost it.
            Request::Subscribe => {
                new.pending_out = !self.to;
                (new, true)
            }
            Request::Unsubscribe => {
                new.to = false;
                new.pending_out = false;
                (new, true)
            }
            // Allowing goes on only where it was asked for; see pre-approval for the rest.
            Request::Subscribed => {
                if self.pending_in {
                    new.from = true;
                    new.pending_in = false;
                }
                (new, self.pending_in)
            }
            Request::Unsubscribed => {
                new.from = false;
                new.pending_in = false;
                (new, self.pending_in || self.from)
            }
        }
    }

    /// The contact's `request` arrives for the user (appendix A.3): the new state, and whether the
    /// user's clients are shown it.
    #[must_use]
    pub fn inbound(self, request: Request) -> (Subscription, bool) {
        let mut new = self;
        match request {
            Request::Subscribe => {
                new.pending_in = !self.from;
                (new, !self.from && !self.pending_in)
            }
            Request::Unsubscribe => {
                new.from = false;
                new.pending_in = false;
                (new, self.from || self.pending_in)
            }
            Request::Subscribed => {
                if self.pending_out {
                    new.to = true;
                    new.pending_out = false;
                }
                (new, self.pending_out)
            }
            Request::Unsubscribed => {
                new.to = false;
                new.pending_out = false;
                (new, self.to || self.pending_out)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Request::*, *};

    /// The states by the names of appendix A.1.
    fn state(name: &str) -> Subscription {
        let mut parts = name.split('+');
        let base = parts.next();
        let mut state = Subscription {
            to: matches!(base, Some("To" | "Both")),
            from: matches!(base, Some("From" | "Both")),
            ..Subscription::default()
        };
        for part in parts {
            match part {
                "out" => state.pending_out = true,
                "in" => state.pending_in = true,
                other => panic!("{other}"),
            }
        }
        state
    }

    const STATES: [&str; 9] = [
        "None",
        "None+out",
        "None+in",
        "None+out+in",
        "To",
        "To+in",
        "From",
        "From+out",
        "Both",
    ];

    /// Appendix A.2 and A.3, row by row: state after, and whether it is routed or delivered.
    #[test]
    fn rfc_6121_appendix_a() {
        type Rows = [(&'static str, bool); 9];
        let tables: [(bool, Request, Rows); 8] = [
            // A.2.1
            (
                true,
                Subscribe,
                [
                    ("None+out", true),
                    ("None+out", true),
                    ("None+out+in", true),
                    ("None+out+in", true),
                    ("To", true),
                    ("To+in", true),
                    ("From+out", true),
                    ("From+out", true),
                    ("Both", true),
                ],
            ),
            // A.2.2
            (
                true,
                Unsubscribe,
                [
                    ("None", true),
                    ("None", true),
                    ("None+in", true),
                    ("None+in", true),
                    ("None", true),
                    ("None+in", true),
                    ("From", true),
                    ("From", true),
                    ("From", true),
                ],
            ),
            // A.2.3
            (
                true,
                Subscribed,
                [
                    ("None", false),
                    ("None+out", false),
                    ("From", true),
                    ("From+out", true),
                    ("To", false),
                    ("Both", true),
                    ("From", false),
                    ("From+out", false),
                    ("Both", false),
                ],
            ),
            // A.2.4
            (
                true,
                Unsubscribed,
                [
                    ("None", false),
                    ("None+out", false),
                    ("None", true),
                    ("None+out", true),
                    ("To", false),
                    ("To", true),
                    ("None", true),
                    ("None+out", true),
                    ("To", true),
                ],
            ),
            // A.3.1
            (
                false,
                Subscribe,
                [
                    ("None+in", true),
                    ("None+out+in", true),
                    ("None+in", false),
                    ("None+out+in", false),
                    ("To+in", true),
                    ("To+in", false),
                    ("From", false),
                    ("From+out", false),
                    ("Both", false),
                ],
            ),
            // A.3.2
            (
                false,
                Unsubscribe,
                [
                    ("None", false),
                    ("None+out", false),
                    ("None", true),
                    ("None+out", true),
                    ("To", false),
                    ("To", true),
                    ("None", true),
                    ("None+out", true),
                    ("To", true),
                ],
            ),
            // A.3.3
            (
                false,
                Subscribed,
                [
                    ("None", false),
                    ("To", true),
                    ("None+in", false),
                    ("To+in", true),
                    ("To", false),
                    ("To+in", false),
                    ("From", false),
                    ("Both", true),
                    ("Both", false),
                ],
            ),
            // A.3.4
            (
                false,
                Unsubscribed,
                [
                    ("None", false),
                    ("None", true),
                    ("None+in", false),
                    ("None+in", true),
                    ("None", true),
                    ("None+in", true),
                    ("From", false),
                    ("From", true),
                    ("From", true),
                ],
            ),
        ];
        for (outbound, request, rows) in tables {
            for (before, (after, passed)) in STATES.into_iter().zip(rows) {
                let before_state = state(before);
                let seen = if outbound {
                    before_state.outbound(request)
                } else {
                    before_state.inbound(request)
                };
                let direction = if outbound { "outbound" } else { "inbound" };
                assert_eq!(
                    seen,
                    (state(after), passed),
                    "{direction} {request:?} in {before}"
                );
            }
        }
    }

    #[test]
    fn stored_and_read() {
        for name in STATES {
            assert_eq!(
                Subscription::from_bits(state(name).to_bits()),
                state(name),
                "{name}"
            );
        }
        let odd = Subscription::from_bits(0xf);
        assert_eq!(odd, state("Both"));
    }
}

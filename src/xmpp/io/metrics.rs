//! What is counted.

use omnid_telemetry::metrics::{Counter, Gauge, counter, gauge};

use crate::wire::Kind;

/// Handles, looked up once.
pub(crate) struct Metrics {
    pub(crate) sessions: Gauge,
    pub(crate) logins: Counter,
    pub(crate) failed_logins: Counter,
    pub(crate) resumed: Counter,
    pub(crate) kept: Counter,
    pub(crate) flawed: Counter,
    messages: Counter,
    presences: Counter,
    iqs: Counter,
}

impl Metrics {
    pub(crate) fn new() -> Metrics {
        let stanzas = |kind| {
            counter(
                "omnid_xmpp_stanzas",
                "Stanzas received from clients",
                &[("kind", kind)],
            )
        };
        Metrics {
            sessions: gauge("omnid_xmpp_sessions", "Bound sessions", &[]),
            logins: counter("omnid_xmpp_logins", "Logins", &[("result", "right")]),
            failed_logins: counter("omnid_xmpp_logins", "Logins", &[("result", "wrong")]),
            resumed: counter("omnid_xmpp_resumed", "Sessions resumed", &[]),
            kept: counter(
                "omnid_xmpp_kept_messages",
                "Messages kept for accounts away",
                &[],
            ),
            flawed: counter("omnid_xmpp_stream_errors", "Streams ended by an error", &[]),
            messages: stanzas("message"),
            presences: stanzas("presence"),
            iqs: stanzas("iq"),
        }
    }

    pub(crate) fn stanza(&self, kind: Kind) {
        match kind {
            Kind::Message(_) => self.messages.inc(),
            Kind::Presence(_) => self.presences.inc(),
            Kind::Iq(_) => self.iqs.inc(),
        };
    }
}

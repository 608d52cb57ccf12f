//! What is counted.

use omnid_telemetry::metrics::{Counter, Gauge, counter, gauge};

use crate::{
    engine::{Action, CallEvent},
    wire::{Message, Method, Start},
};

/// The service's metrics, taken once.
pub(crate) struct Metrics {
    requests: [Counter; Method::KNOWN.len() + 1],
    responses: [Counter; 6],
    received_responses: Counter,
    pub(crate) malformed: Counter,
    pub(crate) unsent: Counter,
    calls: Counter,
    answered: Counter,
    pub(crate) transactions: Gauge,
    pub(crate) live_calls: Gauge,
    pub(crate) registrations: Gauge,
    pub(crate) connections: Gauge,
}

impl Default for Metrics {
    fn default() -> Self {
        let method = |name: &str| {
            let help = "Requests received";
            counter("omnid_sip_requests", help, &[("method", name)])
        };
        let class = |index: usize| {
            let class = format!("{}xx", index + 1);
            let help = "Responses sent";
            counter("omnid_sip_responses", help, &[("class", &class)])
        };
        Self {
            requests: std::array::from_fn(|index| {
                method(Method::KNOWN.get(index).map_or("other", |(_, name)| name))
            }),
            responses: std::array::from_fn(class),
            received_responses: counter("omnid_sip_responses_received", "Responses received", &[]),
            malformed: counter("omnid_sip_malformed", "Messages that were no SIP", &[]),
            unsent: counter("omnid_sip_unsent", "Messages that could not be sent", &[]),
            calls: counter("omnid_sip_calls", "Calls placed", &[]),
            answered: counter("omnid_sip_calls_answered", "Calls answered", &[]),
            transactions: gauge("omnid_sip_transactions", "Open transactions", &[]),
            live_calls: gauge("omnid_sip_calls_live", "Calls under way", &[]),
            registrations: gauge("omnid_sip_registrations", "Registered contacts", &[]),
            connections: gauge("omnid_sip_connections", "Open TCP and TLS connections", &[]),
        }
    }
}

impl Metrics {
    pub(crate) fn received(&self, message: &Message) {
        match message.start() {
            Start::Request(method) => {
                let index = Method::KNOWN.iter().position(|(known, _)| *known == method);
                let index = index.unwrap_or(Method::KNOWN.len());
                if let Some(counter) = self.requests.get(index) {
                    counter.inc();
                }
            }
            Start::Response(_) => {
                self.received_responses.inc();
            }
        }
    }

    pub(crate) fn acted(&self, action: &Action) {
        match action {
            Action::Send { bytes, .. } => {
                // "SIP/2.0 4": a response's class stands at one place.
                let class = bytes
                    .strip_prefix(b"SIP/2.0 ")
                    .and_then(|rest| rest.first());
                let class =
                    class.and_then(|digit| usize::from(*digit).checked_sub(usize::from(b'1')));
                if let Some(counter) = class.and_then(|class| self.responses.get(class)) {
                    counter.inc();
                }
            }
            Action::Call(CallEvent::Started { .. }) => {
                self.calls.inc();
            }
            Action::Call(CallEvent::Answered { .. }) => {
                self.answered.inc();
            }
            Action::Call(CallEvent::Ended { .. }) | Action::Ask(..) | Action::Login { .. } => {}
        }
    }
}

//! What is counted, and how it is kept off the hot path: workers count for themselves and hand in
//! their figures once for each batch.

use omnid_telemetry::metrics::{Counter, Histogram, counter, histogram};

use crate::engine::answer::Transport;
use crate::wire::code::{Rcode, RrType};

const TYPES: [RrType; 20] = [
    RrType::A,
    RrType::AAAA,
    RrType::NS,
    RrType::SOA,
    RrType::CNAME,
    RrType::PTR,
    RrType::MX,
    RrType::TXT,
    RrType::SRV,
    RrType::NAPTR,
    RrType::DS,
    RrType::DNSKEY,
    RrType::SVCB,
    RrType::HTTPS,
    RrType::CAA,
    RrType::TLSA,
    RrType::SSHFP,
    RrType::ANY,
    RrType::AXFR,
    RrType::IXFR,
];
const CODES: [Rcode; 9] = [
    Rcode::NOERROR,
    Rcode::FORMERR,
    Rcode::SERVFAIL,
    Rcode::NXDOMAIN,
    Rcode::NOTIMP,
    Rcode::REFUSED,
    Rcode::NOTAUTH,
    Rcode::BADVERS,
    Rcode::YXDOMAIN,
];
const TRANSPORTS: [&str; 4] = ["udp", "tcp", "tls", "https"];

/// Times from 1 µs to 100 ms, in seconds.
const LATENCY: &[f64] = &[
    1e-6, 2.5e-6, 5e-6, 1e-5, 2.5e-5, 5e-5, 1e-4, 2.5e-4, 5e-4, 1e-3, 5e-3, 1e-2, 1e-1,
];

/// Figures of the process.
pub(crate) struct Metrics {
    transports: [Counter; TRANSPORTS.len()],
    types: Vec<Counter>,
    codes: Vec<Counter>,
    dropped: Counter,
    latency: [Histogram; TRANSPORTS.len()],
    /// Transfers of whole zones begun.
    pub(crate) transfers: Counter,
}

impl Default for Metrics {
    fn default() -> Metrics {
        let named = |name: &str, help: &str, label: &str, values: Vec<String>| {
            values
                .iter()
                .map(|value| counter(name, help, &[(label, value)]))
                .collect::<Vec<_>>()
        };
        let other = |mut names: Vec<String>| {
            names.push("other".to_owned());
            names
        };
        let types = other(TYPES.iter().map(ToString::to_string).collect());
        let codes = other(CODES.iter().map(ToString::to_string).collect());
        let (queries, seconds) = ("omnid_dns_queries", "omnid_dns_response_seconds");
        let help = "Time from a query's arrival to its answer";
        Metrics {
            transports: TRANSPORTS.map(|name| counter(queries, "Queries", &[("transport", name)])),
            types: named("omnid_dns_queries_by_type", "Queries", "type", types),
            codes: named("omnid_dns_responses", "Responses", "rcode", codes),
            dropped: counter("omnid_dns_dropped", "Messages not answered", &[]),
            latency: TRANSPORTS
                .map(|name| histogram(seconds, help, &[("transport", name)], LATENCY)),
            transfers: counter("omnid_dns_transfers", "Zone transfers sent", &[]),
        }
    }
}

/// Figures of a worker, not handed in yet.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    queries: u64,
    types: [u32; TYPES.len() + 1],
    codes: [u32; CODES.len() + 1],
    pub(crate) dropped: u64,
}

impl Tally {
    pub(crate) fn answered(&mut self, rr_type: RrType, rcode: Rcode) {
        self.queries += 1;
        let index = TYPES
            .iter()
            .position(|known| *known == rr_type)
            .unwrap_or(TYPES.len());
        if let Some(count) = self.types.get_mut(index) {
            *count += 1;
        }
        let index = CODES
            .iter()
            .position(|known| *known == rcode)
            .unwrap_or(CODES.len());
        if let Some(count) = self.codes.get_mut(index) {
            *count += 1;
        }
    }
}

fn index(transport: Transport) -> usize {
    match transport {
        Transport::Udp => 0,
        Transport::Tcp => 1,
        Transport::Tls => 2,
        Transport::Https => 3,
    }
}

impl Metrics {
    /// Takes a worker's figures, and the seconds that the last batch took.
    pub(crate) fn hand_in(&self, transport: Transport, tally: &mut Tally, seconds: f64) {
        let index = index(transport);
        if let Some(counter) = self.transports.get(index) {
            counter.inc_by(tally.queries);
        }
        if let Some(histogram) = self.latency.get(index) {
            histogram.observe(seconds);
        }
        for (count, counter) in tally
            .types
            .iter_mut()
            .zip(&self.types)
            .filter(|(n, _)| **n > 0)
        {
            counter.inc_by(u64::from(std::mem::take(count)));
        }
        for (count, counter) in tally
            .codes
            .iter_mut()
            .zip(&self.codes)
            .filter(|(n, _)| **n > 0)
        {
            counter.inc_by(u64::from(std::mem::take(count)));
        }
        if tally.dropped > 0 {
            self.dropped.inc_by(tally.dropped);
        }
        (tally.queries, tally.dropped) = (0, 0);
    }
}

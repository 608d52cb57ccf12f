//! Response rate limiting: a server that anybody may ask must not be of use to those who put
//! another's address on their questions. Responses that are alike and go to one network are counted
//! together; beyond a rate they are left out, or sent cut short, which an honest client answers by
//! asking again over TCP.

use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};

use omnid_telemetry::metrics::{Counter, counter};

use super::access::{Access, Who};
use super::cookie::siphash_2_4;
use crate::wire::code::{Class, Rcode, RrType};
use crate::wire::name::MAX_NAME;

/// What a response says, as far as its limit depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Records that were asked for.
    Answer,
    /// The way to another zone's servers.
    Referral,
    /// The name has no records of the type.
    NoData,
    /// There is no such name.
    NoName,
    /// Anything that went wrong.
    Error,
    /// Any response at all.
    Any,
}

const KINDS: [(Kind, &str); 6] = [
    (Kind::Answer, "answer"),
    (Kind::Referral, "referral"),
    (Kind::NoData, "no data"),
    (Kind::NoName, "no such name"),
    (Kind::Error, "error"),
    (Kind::Any, "any"),
];

impl Kind {
    fn index(self) -> usize {
        KINDS
            .iter()
            .position(|(kind, _)| *kind == self)
            .unwrap_or(0)
    }

    fn text(self) -> &'static str {
        KINDS.get(self.index()).map_or("", |(_, text)| text)
    }
}

/// How many responses there may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Answers to one question from one network in a second; 0 is no limit, here and below.
    pub answers: u16,
    /// Referrals to one zone.
    pub referrals: u16,
    /// Denials of types of one name.
    pub no_data: u16,
    /// Denials of names in one zone.
    pub no_names: u16,
    /// Errors.
    pub errors: u16,
    /// Responses of all kinds.
    pub all: u16,
    /// Seconds for which what went beyond the rate is held against a network.
    pub window: u16,
    /// Each so many-th response beyond the rate is sent cut short; 0 is none.
    pub slip: u8,
    /// Bits of an IPv4 address that make a network.
    pub ipv4_prefix: u8,
    /// Bits of an IPv6 address that make a network.
    pub ipv6_prefix: u8,
    /// Clients who are not limited.
    pub exempt: Access,
    /// Say what would be done, and send everything.
    pub log_only: bool,
    /// Rows of the table.
    pub table_size: u32,
}

/// What becomes of a response.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is sent.
    Send,
    /// It is sent without records, so that the client comes back over TCP.
    Truncate,
    /// It is not sent.
    Drop,
}

/// What responses have in common that are counted together.
#[derive(Debug, Clone, Copy)]
pub(super) struct Alike<'a> {
    pub(super) kind: Kind,
    /// Octets of a name, in any letter case.
    pub(super) name: &'a [u8],
    /// It is the name above a wildcard, which stands for all names that it makes up.
    pub(super) wildcard: bool,
    pub(super) rr_type: RrType,
    pub(super) class: Class,
}

impl Alike<'_> {
    pub(super) const ERROR: Alike<'static> = Alike {
        kind: Kind::Error,
        name: &[],
        wildcard: false,
        rr_type: RrType(0),
        class: Class::IN,
    };
}

/// A row: the balance of one kind of response to one network.
#[derive(Debug, Clone, Copy, Default)]
struct Row {
    /// Of what is counted, with a key that nobody knows; 0 is an empty row.
    hash: u64,
    /// When the balance was last made up, in seconds since 1970.
    at: u32,
    balance: i32,
    /// Responses beyond the rate since the last that was sent cut short.
    slipped: u8,
}

/// Rows that one hash may be in: the one longest untouched makes room for another.
const WAYS: usize = 4;
/// Parts of the table, so that workers seldom wait for each other.
const PARTS: usize = 64;

/// One part of the table: the sets of rows that a hash may lead to.
type Part = Box<[[Row; WAYS]]>;

/// The table of who has had how many responses. Its size is fixed.
#[derive(Debug)]
pub struct Limiter {
    limits: Limits,
    key: [u8; 16],
    parts: Box<[Mutex<Part>]>,
    dropped: Counter,
    truncated: Counter,
}

impl Limiter {
    /// With an empty table; `key` is not for others to know.
    pub fn new(limits: Limits, key: [u8; 16]) -> Limiter {
        let sets = (limits.table_size as usize).div_ceil(WAYS * PARTS).max(1);
        let part = |_| Mutex::new(vec![[Row::default(); WAYS]; sets].into_boxed_slice());
        let help = "Responses beyond the rate limit";
        let counter = |action| counter("omnid_dns_rate_limited", help, &[("action", action)]);
        Limiter {
            limits,
            key,
            parts: (0..PARTS).map(part).collect(),
            dropped: counter("drop"),
            truncated: counter("truncate"),
        }
    }

    /// The limits it keeps to.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Counts a response, and says what becomes of it. `now` is in seconds since 1970.
    pub(super) fn count(&self, who: &Who<'_>, alike: Alike<'_>, now: u32) -> Verdict {
        if !self.limits.exempt.is_empty() && self.limits.exempt.allows(who) {
            return Verdict::Send;
        }
        let network = self.network(who.address);
        let every = Alike {
            kind: Kind::Any,
            ..Alike::ERROR
        };
        // Of responses counted only by their number none is sent in part: there would be no end to
        // them.
        let within = match self.debit(network, every, now) {
            Verdict::Send => self.debit(network, alike, now),
            Verdict::Truncate | Verdict::Drop => Verdict::Drop,
        };
        match within {
            Verdict::Send => {}
            Verdict::Truncate => _ = self.truncated.inc(),
            Verdict::Drop => _ = self.dropped.inc(),
        }
        if self.limits.log_only {
            return Verdict::Send;
        }
        within
    }

    fn rate(&self, kind: Kind) -> i32 {
        let limits = &self.limits;
        i32::from(match kind {
            Kind::Answer => limits.answers,
            Kind::Referral => limits.referrals,
            Kind::NoData => limits.no_data,
            Kind::NoName => limits.no_names,
            Kind::Error => limits.errors,
            Kind::Any => limits.all,
        })
    }

    fn debit(&self, network: IpAddr, alike: Alike<'_>, now: u32) -> Verdict {
        let rate = self.rate(alike.kind);
        if rate == 0 {
            return Verdict::Send;
        }
        let hash = self.hash(network, alike);
        let part = self.parts.get(hash as usize % PARTS);
        let Some(part) = part else {
            return Verdict::Send;
        };
        let mut sets = part.lock().unwrap_or_else(PoisonError::into_inner);
        let set = (hash >> 32) as usize % sets.len().max(1);
        let Some(row) = sets.get_mut(set).map(|rows| row(rows, hash, now, rate)) else {
            return Verdict::Send;
        };
        // A clock that was set back credits nothing; BIND too makes up balances by the second.
        let age = (now.wrapping_sub(row.at) as i32).max(0);
        if age > 0 {
            row.balance = row
                .balance
                .saturating_add(rate.saturating_mul(age))
                .min(rate);
            row.at = now;
        }
        let before = row.balance;
        let least = -rate.saturating_mul(i32::from(self.limits.window));
        row.balance = before.saturating_sub(1).max(least);
        if row.balance >= 0 {
            return Verdict::Send;
        }
        if before == 0 {
            let (kind, log_only) = (alike.kind.text(), self.limits.log_only);
            let every = std::time::Duration::from_secs(10);
            omnid_telemetry::limited!(
                every, key = (network, kind), info, %network, kind, log_only,
                "responses beyond the rate limit"
            );
        }
        let slip = self.limits.slip;
        // An error leads nobody to TCP, and named too leaves it out.
        if slip == 0 || matches!(alike.kind, Kind::Any | Kind::Error) {
            return Verdict::Drop;
        }
        // The first is cut short, and then each so many-th.
        let first = row.slipped == 0;
        row.slipped = (row.slipped + 1) % slip.max(1);
        if first {
            Verdict::Truncate
        } else {
            Verdict::Drop
        }
    }

    fn network(&self, address: IpAddr) -> IpAddr {
        match address.to_canonical() {
            IpAddr::V4(v4) => {
                let left = 32u32.saturating_sub(u32::from(self.limits.ipv4_prefix));
                let mask = u32::MAX.checked_shl(left).unwrap_or(0);
                IpAddr::V4((u32::from(v4) & mask).into())
            }
            IpAddr::V6(v6) => {
                let left = 128u32.saturating_sub(u32::from(self.limits.ipv6_prefix));
                let mask = u128::MAX.checked_shl(left).unwrap_or(0);
                IpAddr::V6((u128::from(v6) & mask).into())
            }
        }
    }

    /// 64 bits whose key is a secret: nobody can aim at another's row, and that two meet in one by
    /// chance does not happen.
    fn hash(&self, network: IpAddr, alike: Alike<'_>) -> u64 {
        let mut input = [0u8; 24 + MAX_NAME];
        let address = match network {
            IpAddr::V4(v4) => v4.to_ipv6_mapped(),
            IpAddr::V6(v6) => v6,
        };
        let (kind, wildcard) = (alike.kind.index() as u8, u8::from(alike.wildcard));
        let [t1, t0] = alike.rr_type.0.to_be_bytes();
        let [c1, c0] = alike.class.0.to_be_bytes();
        let head = address.octets().into_iter();
        let head = head.chain([kind, wildcard, t1, t0, c1, c0]);
        let octets = head.chain(alike.name.iter().map(u8::to_ascii_lowercase));
        let mut length = 0;
        for (slot, octet) in input.iter_mut().zip(octets) {
            *slot = octet;
            length += 1;
        }
        let hash = siphash_2_4(&self.key, input.get(..length).unwrap_or(&[]));
        hash.max(1)
    }
}

/// The row of a hash, or one that it may have.
fn row(rows: &mut [Row; WAYS], hash: u64, now: u32, rate: i32) -> &mut Row {
    let known = rows.iter().position(|row| row.hash == hash);
    let age = |row: &Row| match row.hash {
        0 => u32::MAX,
        _ => now.wrapping_sub(row.at),
    };
    let oldest = || (0..WAYS).max_by_key(|at| rows.get(*at).map_or(0, age));
    let at = known.or_else(oldest).unwrap_or(0) % WAYS;
    // In bounds: the remainder of WAYS.
    #[allow(clippy::indexing_slicing)]
    let row = &mut rows[at];
    if known.is_none() {
        *row = Row {
            hash,
            at: now,
            balance: rate,
            slipped: 0,
        };
    }
    row
}

/// What kind of response a code and sections make.
pub(super) fn kind_of(rcode: Rcode, authoritative: bool, answers: u16, authorities: u16) -> Kind {
    match rcode {
        Rcode::NXDOMAIN if answers == 0 => Kind::NoName,
        Rcode::NOERROR | Rcode::NXDOMAIN if answers > 0 => Kind::Answer,
        Rcode::NOERROR if !authoritative && authorities > 0 => Kind::Referral,
        Rcode::NOERROR => Kind::NoData,
        _ => Kind::Error,
    }
}

#[cfg(test)]
mod tests;

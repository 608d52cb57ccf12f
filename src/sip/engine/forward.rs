//! A request as it goes on from us (RFC 3261 16.6), and what it goes by.

use std::hash::{BuildHasher, RandomState};

use bytes::Bytes;

use super::{Flow, Settings, arena::Key, route::Leg};
use crate::wire::{Credentials, Edit, HeaderName, Message, Transport, Values, stamped_via};

/// What every branch of ours begins with (RFC 3261 8.1.1.7).
pub(super) const COOKIE: &[u8] = b"z9hG4bK";

/// How a request is passed on, the same for all its branches.
#[derive(Debug, Clone, Default)]
pub(super) struct Passing {
    /// How many values of Route lead to us, and are done with.
    pub routes_done: usize,
    /// Where a peer that knows no loose routing put us into the request's URI: the Route value that
    /// is meant instead.
    pub strict: Option<Box<[u8]>>,
    /// The dialog it belongs to, if it does.
    pub leg: Option<Leg>,
    /// The realm whose credentials are for us alone.
    pub realm: Option<String>,
    /// Whether its dialog's further requests have to come through us.
    pub record_route: bool,
}

/// One hop that a request takes from us.
pub(super) struct Hop<'a> {
    /// The URI that replaces its own, where it is given.
    pub(super) uri: Option<&'a [u8]>,
    /// Where it goes.
    pub(super) to: &'a Flow,
    /// What brings the dialog's further requests through us.
    pub(super) record_route: Option<&'a str>,
    /// What is said besides.
    pub(super) headers: &'a [(HeaderName, Box<[u8]>)],
    /// What From says there, where that is not what it says here.
    pub(super) from: Option<&'a [u8]>,
    /// By how much its CSeq is ahead there, for what we have asked before on our own.
    pub(super) step: u8,
    /// The identifier of the transaction.
    pub(super) branch: &'a str,
}

/// The request for one hop.
#[must_use]
pub(super) fn forwarded(
    request: &Message,
    arrival: &Flow,
    passing: &Passing,
    hop: &Hop<'_>,
    settings: &Settings,
) -> Bytes {
    let Hop {
        uri,
        to,
        record_route,
        headers,
        from,
        step,
        branch,
    } = hop;
    let mut edit = Edit::new(request);
    if let Some(uri) = uri.or(passing.strict.as_deref()) {
        edit.set_uri(uri);
    }
    let first = request.list(HeaderName::Via).next().unwrap_or_default();
    if let Some(stamped) = stamped_via(first, arrival.remote) {
        edit.replace_first(HeaderName::Via, &stamped);
    }
    let rport = if to.transport == Transport::Udp {
        ";rport"
    } else {
        ""
    };
    let via = format!(
        "SIP/2.0/{} {};branch={branch}{rport}",
        to.transport,
        settings.sent_by(to),
    );
    edit.push(HeaderName::Via, via.as_bytes());
    match request.max_forwards() {
        Some(hops) => {
            let hops = hops.saturating_sub(1).to_string();
            edit.set(HeaderName::MaxForwards, hops.as_bytes());
        }
        None => edit.set(HeaderName::MaxForwards, b"70"),
    }
    if passing.strict.is_some() {
        // It was the last of the route set.
        edit.pop_last(HeaderName::Route);
    }
    edit.pop(HeaderName::Route, passing.routes_done);
    if let Some(value) = record_route {
        edit.push(HeaderName::RecordRoute, value.as_bytes());
    }
    if let Some(from) = from {
        edit.set(HeaderName::From, from);
    }
    // The other end of a call that went out through a trunk counts from where we have left off.
    let step = step.saturating_add(passing.leg.map_or(0, |leg| leg.step()));
    if step > 0 {
        count_on(request, step, &mut edit);
    }
    for (name, value) in *headers {
        edit.push(*name, value);
    }
    if let Some(realm) = &passing.realm {
        edit.remove_where(HeaderName::ProxyAuthorization, |value| {
            matches!(Credentials::parse(value), Ok(Some(credentials))
                if credentials.realm.eq_ignore_ascii_case(realm.as_bytes()))
        });
        // RFC 3325 6: what users say of themselves there is not vouched for by anybody.
        edit.remove(HeaderName::PAssertedIdentity);
        edit.remove(HeaderName::RemotePartyId);
    }
    if request.value(HeaderName::ContentLength).is_none() {
        // A datagram's body ends where it ends; a stream's next element has to be told.
        let length = request.body().len().to_string();
        edit.set(HeaderName::ContentLength, length.as_bytes());
    }
    edit.finish()
}

/// A response as it goes on from us: without our Via.
#[must_use]
pub(super) fn returned(response: &Message, request: &Message) -> Bytes {
    let mut edit = Edit::new(response);
    edit.pop(HeaderName::Via, 1);
    // Who asked is told what he has said, and not what we have made of it.
    for name in [HeaderName::From, HeaderName::CSeq] {
        if let Some(asked) = request.value(name)
            && response.value(name) != Some(asked)
        {
            edit.set(name, asked);
        }
    }
    edit.finish()
}

fn count_on(request: &Message, step: u8, edit: &mut Edit<'_>) {
    if let Ok(cseq) = request.cseq() {
        let number = cseq.number.saturating_add(step.into()).to_string();
        edit.set(
            HeaderName::CSeq,
            &[number.as_bytes(), b" ", cseq.method].concat(),
        );
    }
    // RFC 3262 7.2: it names the CSeq of the INVITE as well.
    let mut parts = request
        .value(HeaderName::RAck)
        .and_then(|value| std::str::from_utf8(value).ok())
        .into_iter()
        .flat_map(str::split_whitespace);
    if let (Some(reliable), Some(number), Some(method)) = (parts.next(), parts.next(), parts.next())
        && let Ok(number) = number.parse::<u32>()
    {
        let number = number.saturating_add(step.into());
        let value = format!("{reliable} {number} {method}");
        edit.set(HeaderName::RAck, value.as_bytes());
    }
}

/// The identifiers that we put into branches. They cannot be guessed, so that nobody can answer in
/// another's place, and tell where a request has been, so that loops are noticed.
#[derive(Debug, Default)]
pub(super) struct Branches {
    hasher: RandomState,
    count: u64,
}

impl Branches {
    /// The branch of a transaction of ours.
    pub(super) fn make(&mut self, key: Key, trail: u64) -> String {
        self.count += 1;
        let secret = self.hasher.hash_one(self.count);
        format!("z9hG4bK{:x}.{secret:x}.{trail:x}", key.to_bits())
    }

    /// A number that nobody can guess.
    pub(super) fn secret(&mut self) -> u64 {
        self.count += 1;
        self.hasher.hash_one(self.count)
    }

    /// The branch of a request that has no transaction here: the same for the same request, so that
    /// whoever gets it twice notices (RFC 3261 16.11).
    pub(crate) fn without_transaction(&self, request: &Message, trail: u64) -> String {
        let via = request.list(HeaderName::Via).next();
        let same = self.hasher.hash_one((via, request.call_id()));
        let nobody = Key::from_bits(u64::MAX).to_bits();
        format!("z9hG4bK{nobody:x}.{same:x}.{trail:x}")
    }

    /// The transaction that a branch may be of.
    #[must_use]
    pub(super) fn read(branch: &[u8]) -> Option<Key> {
        let rest = branch.strip_prefix(COOKIE)?;
        let key = rest.split(|byte| *byte == b'.').next()?;
        let key = std::str::from_utf8(key).ok()?;
        u64::from_str_radix(key, 16).ok().map(Key::from_bits)
    }

    /// All that decides where a request goes on from us: if it comes back with the same, it would
    /// go round for ever (RFC 3261 16.6 step 8).
    #[must_use]
    pub(super) fn trail(&self, request: &Message, routes_done: usize) -> u64 {
        let routes: Vec<&[u8]> = request.list(HeaderName::Route).skip(routes_done).collect();
        self.hasher.hash_one((
            request.uri_text(),
            request.call_id(),
            request.from_tag(),
            request.to_tag(),
            request.cseq().map(|cseq| cseq.number).ok(),
            routes,
        ))
    }

    /// Whether a request has been here before on just that trail.
    #[must_use]
    pub(super) fn has_been_here(&self, request: &Message, trail: u64) -> bool {
        let end = format!(".{trail:x}");
        request
            .lines(HeaderName::Via)
            .flat_map(Values::new)
            // Cheap, and sure enough: the number is keyed with a secret of this process.
            .any(|via| memchr::memmem::find(via, end.as_bytes()).is_some())
    }

    /// A number that is the same for the same text and cannot be foretold.
    #[must_use]
    pub(super) fn tag(&self, request: &Message) -> String {
        let branch = request.via().ok().and_then(|via| via.branch());
        let tag = self
            .hasher
            .hash_one((request.call_id(), request.from_tag(), branch));
        format!("{tag:x}")
    }
}

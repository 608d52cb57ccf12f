//! Phones that cannot be offered a choice.
//!
//! RFC 8760 has a server offer several algorithms, and a client take the first that it knows. But
//! what was built before it often gives up on a challenge it does not know entirely, though MD5 is
//! in it too. So who leaves such a challenge unanswered and asks again is offered MD5 alone; who has
//! answered an offer of both never is. An attacker on the way could strip the better offer anyway, and
//! one elsewhere cannot, for what is remembered is remembered of his own address.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use omnid_identity::DigestAlgorithm;
use omnid_net::subnet_key;

use crate::wire::{HeaderName, Message, Uri};

/// Clients remembered, and for how long.
const REMEMBERED: usize = 50_000;
const LIFE: Duration = Duration::from_secs(24 * 3600);
/// Known to give up: libre before it learned SHA-256.
const KNOWN: [&[u8]; 2] = [b"baresip v0.", b"baresip v1."];

/// What is known of clients.
#[derive(Default)]
pub(crate) struct Dialects {
    clients: Mutex<HashMap<u64, Client>>,
    hasher: RandomState,
}

struct Client {
    knows: Knows,
    /// Which request was last challenged, and not answered so far.
    challenged: Option<u64>,
    seen: Instant,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Knows {
    Unclear,
    OnlyMd5,
    /// How to choose, whatever it chose.
    Choice,
}

impl Dialects {
    /// Whether a request is to be challenged with MD5 alone, where there would be a choice.
    pub(crate) fn only_md5(&self, request: &Message, source: IpAddr, now: Instant) -> bool {
        let agent = request.value(HeaderName::UserAgent).unwrap_or_default();
        if KNOWN.iter().any(|known| agent.starts_with(known)) {
            return true;
        }
        let this = self
            .hasher
            .hash_one((request.call_id(), request.value(HeaderName::CSeq)));
        let key = self.key(request, source);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut clients, now);
        let client = clients.entry(key).or_insert(Client {
            knows: Knows::Unclear,
            challenged: None,
            seen: now,
        });
        client.seen = now;
        // The same request again is only a retransmission.
        if client.knows == Knows::Unclear && client.challenged.is_some_and(|before| before != this)
        {
            client.knows = Knows::OnlyMd5;
        }
        client.challenged = Some(this);
        client.knows == Knows::OnlyMd5
    }

    /// A request answered a challenge.
    pub(crate) fn answered(
        &self,
        request: &Message,
        source: IpAddr,
        algorithm: DigestAlgorithm,
        now: Instant,
    ) {
        let key = self.key(request, source);
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        make_room(&mut clients, now);
        let client = clients.entry(key).or_insert(Client {
            knows: Knows::Unclear,
            challenged: None,
            seen: now,
        });
        client.seen = now;
        let offered = client.challenged.take().is_some();
        client.knows = match (algorithm, client.knows) {
            (DigestAlgorithm::Sha256, _) => Knows::Choice,
            (DigestAlgorithm::Md5, Knows::Unclear) if offered => Knows::Choice,
            // It answers a challenge of before a restart: there was a reason then.
            (DigestAlgorithm::Md5, Knows::Unclear) => Knows::OnlyMd5,
            (DigestAlgorithm::Md5, known) => known,
        };
    }

    /// A client is known by where it is, what it calls itself and whose it says it is.
    fn key(&self, request: &Message, source: IpAddr) -> u64 {
        let from = request.from().ok();
        let user = from.and_then(|from| match from.uri {
            Uri::Sip(uri) => uri.user,
            Uri::Tel { .. } | Uri::Other(_) => None,
        });
        self.hasher.hash_one((
            subnet_key(source),
            request.value(HeaderName::UserAgent),
            user,
        ))
    }
}

fn make_room(clients: &mut HashMap<u64, Client>, now: Instant) {
    if clients.len() < REMEMBERED {
        return;
    }
    let age = |client: &Client| now.saturating_duration_since(client.seen);
    clients.retain(|_, client| age(client) < LIFE && client.knows != Knows::Unclear);
    if clients.len() >= REMEMBERED {
        clients.clear();
    }
}

//! All that the service's tasks share, and how wishes come true.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime},
};

use arc_swap::ArcSwap;
use aws_lc_rs::rand;
use omnid_ground::Ground;
use omnid_hub::Event;
use omnid_identity::{Address, ScramHash};
use omnid_store::{Reader, StoreError};
use omnid_supervisor::Child;
use omnid_telemetry::limited;

use super::{
    accounts::{Accounts, Cell},
    archive::Archive,
    caps::Known,
    metrics::Metrics,
    outbox::Outbox,
    rooms::Rooms,
    s2s::{Components, Remotes},
    settings::Settings,
    upload::Filling,
    web::Bosh,
};
use crate::{
    data::{self, archive::Entry},
    engine::{
        account::{Account, Outlet, SessionId, bounce},
        delivery::is_storable,
        login::Policy,
        sasl::Hash,
        sm::Sent,
        wish::{Plan, Wish, Wishes},
    },
    features::last::stored,
    wire::{BareJid, Condition, Element, Jid, Kind, Stanza, StanzaError, ns, time},
};

/// A session that stream management can resume.
#[derive(Clone)]
pub(crate) struct Resumable {
    pub(crate) cell: Arc<Cell>,
    pub(crate) id: SessionId,
    pub(crate) outbox: Arc<Outbox>,
}

/// What every task of the service shares.
pub(crate) struct Server {
    pub(crate) ground: Ground,
    pub(crate) settings: ArcSwap<Settings>,
    pub(crate) accounts: Accounts,
    pub(crate) archive: Archive,
    pub(crate) caps: Known,
    pub(crate) rooms: Rooms,
    pub(crate) remotes: Remotes,
    pub(crate) filling: Filling,
    pub(crate) bosh: Bosh,
    pub(crate) components: Components,
    /// Itself, for tasks that outlive a call.
    pub(crate) me: Weak<Server>,
    pub(crate) metrics: Metrics,
    pub(crate) started: Instant,
    /// Bound sessions, which the sweep looks after.
    sessions: Mutex<HashMap<SessionId, Resumable>>,
    /// Tokens of the sessions that can be resumed.
    resumable: Mutex<HashMap<Arc<str>, SessionId>>,
    /// Sessions that could be resumed until lately, and how many of their clients' stanzas were
    /// handled: a client that comes too late learns what it need not send again (XEP-0198 5).
    expired: Mutex<VecDeque<(Arc<str>, BareJid, u32)>>,
    next: AtomicU64,
    /// Who runs the sessions' tasks: not the listeners, so that a reload that takes a listener
    /// away leaves its sessions alone.
    pub(crate) runner: ArcSwap<Option<Child>>,
}

/// Sessions that are remembered after they can no longer be resumed.
const EXPIRED: usize = 1000;

/// Wishes that one cause may bring about. No cause needs nearly as many: it is a bound on mistakes.
const WISHES: usize = 1_000_000;

impl Server {
    /// What clients that log in now are offered.
    pub(crate) fn policy(&self) -> Arc<Policy> {
        let policy = self.settings.load().policy.clone();
        let lacking = self.ground.identity.lacking();
        if lacking.is_empty() {
            return policy;
        }
        let mut restricted = Policy::clone(&policy);
        for (domain, hashes) in &*lacking {
            // Accounts have A-labels, and streams U-labels.
            let Ok(host) = BareJid::from_domain(domain) else {
                continue;
            };
            let hashes = hashes.iter().map(|hash| match hash {
                ScramHash::Sha1 => Hash::Sha1,
                ScramHash::Sha256 => Hash::Sha256,
                ScramHash::Sha512 => Hash::Sha512,
            });
            restricted
                .lacking
                .insert(host.as_str().into(), hashes.collect());
        }
        Arc::new(restricted)
    }

    pub(crate) fn new(
        ground: Ground,
        settings: Settings,
        archive: Archive,
        me: Weak<Server>,
    ) -> Server {
        Server {
            ground,
            settings: ArcSwap::from_pointee(settings),
            accounts: Accounts::new(),
            archive,
            caps: Known::default(),
            rooms: Rooms::default(),
            remotes: Remotes::new(),
            filling: Filling::default(),
            bosh: Bosh::default(),
            components: Components::default(),
            me,
            metrics: Metrics::new(),
            started: Instant::now(),
            sessions: Mutex::default(),
            resumable: Mutex::default(),
            expired: Mutex::default(),
            next: AtomicU64::new(1),
            runner: ArcSwap::default(),
        }
    }

    /// Whether a domain is served here.
    pub(crate) fn serves(&self, domain: &str) -> bool {
        self.settings.load().hosts.contains(domain)
    }

    /// Whether a domain is served here, for accounts or for rooms.
    pub(crate) fn is_ours(&self, domain: &str) -> bool {
        self.serves(domain) || self.has_rooms(domain) || self.has_component(domain)
    }

    /// Whether a domain is a component's.
    pub(crate) fn has_component(&self, domain: &str) -> bool {
        self.settings.load().components.contains(domain)
    }

    // ----- Accounts -----

    /// An account, from the table or from the database; `None` if there is none of that name.
    pub(crate) async fn account(&self, bare: &BareJid) -> Result<Option<Arc<Cell>>, StoreError> {
        if let Some(cell) = self.accounts.get(bare.as_str()) {
            return Ok(Some(cell));
        }
        let Some(address) = address(bare) else {
            return Ok(None);
        };
        if self.ground.identity.account(&address).await?.is_none() {
            return Ok(None);
        }
        let whose = bare.clone();
        let load = move |reader: &mut Reader<'_>| data::account(reader, &whose);
        let account = self.ground.database.read(load).await?;
        Ok(Some(self.accounts.insert(account)))
    }

    /// Makes a change of an account's roster: looked at, written, made, and told to its clients, in
    /// turn with other changes.
    pub(crate) async fn change(
        &self,
        cell: &Cell,
        plan: impl FnOnce(&Account) -> Result<Plan, StanzaError>,
    ) -> Result<Wishes, StanzaError> {
        let _turn = cell.changing.lock().await;
        let (plan, account) = {
            let live = cell.live();
            (plan(&live)?, live.jid().clone())
        };
        if !plan.changes.is_empty() {
            let changes = plan.changes.clone();
            let written = self
                .ground
                .database
                .write(move |tx| data::roster::write(tx, account.as_str(), &changes))
                .await;
            if let Err(error) = written {
                limited!(Duration::from_secs(10), error, "a roster was not written", %error);
                return Err(Condition::InternalServerError.into());
            }
            for change in &plan.changes {
                let pushes = cell.live().commit(change);
                for push in pushes {
                    if let Wish::Send(outlet, stanza) = push {
                        outlet.send(&stanza);
                    }
                }
            }
        }
        Ok(plan.then)
    }

    // ----- Sessions -----

    pub(crate) fn next_session(&self) -> SessionId {
        self.next.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) fn enrol(&self, session: Resumable) {
        let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.insert(session.id, session);
        self.metrics
            .sessions
            .set(i64::try_from(sessions.len()).unwrap_or(i64::MAX));
    }

    pub(crate) fn each_session(&self) -> Vec<Resumable> {
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        sessions.values().cloned().collect()
    }

    /// Lets a session be found by `token`.
    pub(crate) fn allow_resume(&self, token: Arc<str>, id: SessionId) {
        self.resumable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(token, id);
    }

    /// The session of `account` that `token` resumes.
    pub(crate) fn find_resumable(&self, token: &str, account: &BareJid) -> Option<Resumable> {
        let id = {
            let resumable = self
                .resumable
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            *resumable.get(token)?
        };
        let sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
        let session = sessions.get(&id)?;
        (session.outbox.facts.jid.bare_str() == account.as_str()).then(|| session.clone())
    }

    /// How many of its client's stanzas a session of `account` had handled that can no longer be
    /// resumed.
    pub(crate) fn expired(&self, token: &str, account: &BareJid) -> Option<u32> {
        let expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        let mut known = expired.iter();
        let found = known.find(|(known, whose, _)| &**known == token && whose == account)?;
        Some(found.2)
    }

    /// A session is over: its account says goodbye for it, and what its client never got finds
    /// another way (XEP-0198 5).
    pub(crate) async fn leave(&self, session: Resumable) {
        let known = {
            let mut sessions = self.sessions.lock().unwrap_or_else(PoisonError::into_inner);
            let known = sessions.remove(&session.id).is_some();
            self.metrics
                .sessions
                .set(i64::try_from(sessions.len()).unwrap_or(i64::MAX));
            known
        };
        if !known {
            return;
        }
        if let Some((token, handled)) = session.outbox.token() {
            self.resumable
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .remove(&token);
            let mut expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
            if expired.len() >= EXPIRED {
                expired.pop_front();
            }
            expired.push_back((token, session.outbox.facts.jid.to_bare(), handled));
        }
        let wishes = session.cell.live().unbind(session.id);
        let missed = session.outbox.finish();
        self.apply(wishes).await;
        for Sent { stanza, at, .. } in missed {
            let wishes = match stanza.kind() {
                Kind::Message(_) => {
                    let delayed = delayed(&stanza, session.outbox.facts.jid.domain(), at);
                    session.cell.live().message(&delayed)
                }
                Kind::Iq(_) => bounce(&stanza, Condition::RecipientUnavailable),
                Kind::Presence(_) => Wishes::new(),
            };
            self.apply(wishes).await;
        }
    }

    // ----- Wishes -----

    /// Carries wishes out, and those that come of them.
    pub(crate) async fn apply(&self, wishes: Wishes) {
        let mut queue: VecDeque<Wish> = wishes.into_iter().collect();
        for _ in 0..WISHES {
            let Some(wish) = queue.pop_front() else {
                return;
            };
            let more = match wish {
                Wish::Send(outlet, stanza) => {
                    if outlet.send(&stanza) {
                        continue;
                    }
                    // The session ended meanwhile.
                    self.missed(stanza)
                }
                Wish::Route(stanza) => self.route(stanza).await,
                Wish::Keep(stanza) => self.keep(stanza).await,
                Wish::Probe { from, contact } => self.probe(&from, &contact).await,
                Wish::HandOver(account, outlet) => {
                    self.hand_over(&account, outlet).await;
                    continue;
                }
                Wish::Close(outlet, error) => {
                    outlet.close(error);
                    continue;
                }
                Wish::Left(account, status) => {
                    self.left(account, status).await;
                    continue;
                }
            };
            // In the order they would have been if what caused them had been done here.
            for wish in more.into_iter().rev() {
                queue.push_front(wish);
            }
        }
        limited!(
            Duration::from_secs(10),
            error,
            "wishes without end were cut off",
            left = queue.len()
        );
    }

    /// What becomes of a stanza whose session had just gone.
    fn missed(&self, stanza: Stanza) -> Wishes {
        match stanza.kind() {
            Kind::Message(_) if is_storable(&stanza) && stanza.to().is_some() => {
                Wishes::from_iter([Wish::Keep(stanza)])
            }
            Kind::Iq(_) => bounce(&stanza, Condition::ServiceUnavailable),
            _ => Wishes::new(),
        }
    }

    /// Keeps a message. It is on disk when this returns; or the sender is told that it isn't.
    async fn keep(&self, stanza: Stanza) -> Wishes {
        let Some(account) = stanza.to().map(Jid::to_bare) else {
            return Wishes::new();
        };
        let limit = self.settings.load().config.offline_messages;
        let (at, bytes) = (stored(SystemTime::now()), stanza.bytes());
        let kept = self
            .ground
            .database
            .write(move |tx| data::offline::keep(tx, account.as_str(), at, &bytes, limit))
            .await;
        match kept {
            Ok(true) => {
                self.metrics.kept.inc();
                self.tell(&stanza, true);
                Wishes::new()
            }
            Ok(false) => bounce(&stanza, Condition::ServiceUnavailable),
            Err(error) => {
                limited!(Duration::from_secs(10), error, "a message was not kept", %error);
                bounce(&stanza, Condition::InternalServerError)
            }
        }
    }

    /// Publishes that a message went through.
    pub(crate) fn tell(&self, stanza: &Stanza, stored: bool) {
        let events = self.ground.hub.events();
        if let (true, Some(from), Some(to)) = (events.wanted(), stanza.from(), stanza.to()) {
            events.publish(Event::Message {
                from: from.bare_str().to_owned(),
                to: to.bare_str().to_owned(),
                stored,
            });
        }
    }

    /// Hands over the messages that were kept for an account, and forgets them once the client has
    /// them.
    async fn hand_over(&self, account: &BareJid, outlet: Arc<dyn Outlet>) {
        let Some(cell) = self.accounts.get(account.as_str()) else {
            return;
        };
        if cell.handing_over.swap(true, Ordering::AcqRel) {
            return;
        }
        let whose = account.clone();
        let kept = self
            .ground
            .database
            .read(move |reader| data::offline::kept(reader, whose.as_str()))
            .await;
        let kept = match kept {
            Ok(kept) => kept,
            Err(error) => {
                limited!(Duration::from_secs(10), error, "kept messages were not read", %error);
                Vec::new()
            }
        };
        let Some(last) = kept.last().map(|kept| kept.id) else {
            cell.handing_over.store(false, Ordering::Release);
            return;
        };
        for message in kept {
            let Ok(stanza) = Stanza::from_stored(message.stanza) else {
                continue;
            };
            let at = SystemTime::UNIX_EPOCH + Duration::from_secs(message.at);
            if !outlet.send_kept(&delayed(&stanza, account.domain(), at)) {
                break;
            }
        }
        let database = self.ground.database.clone();
        let account = account.clone();
        let runtime = tokio::runtime::Handle::current();
        outlet.then(Box::new(move |got_there| {
            if !got_there {
                cell.handing_over.store(false, Ordering::Release);
                return;
            }
            runtime.spawn(async move {
                let forgotten = database
                    .write(move |tx| data::offline::forget(tx, account.as_str(), last))
                    .await;
                cell.handing_over.store(false, Ordering::Release);
                if let Err(error) = forgotten {
                    limited!(
                        Duration::from_secs(10), error,
                        "messages were handed over and not forgotten", %error
                    );
                }
            });
        }));
    }

    async fn left(&self, account: BareJid, status: String) {
        let at = stored(SystemTime::now());
        let noted = self
            .ground
            .database
            .write(move |tx| data::last::left(tx, account.as_str(), at, &status))
            .await;
        if let Err(error) = noted {
            limited!(Duration::from_secs(10), error, "a departure was not noted", %error);
        }
    }
}

/// A message about to be archived.
pub(crate) struct Archived {
    entry: Entry,
}

impl Archived {
    fn new(owner: &BareJid, peer: &Jid, id: u64, stanza: &Stanza) -> Archived {
        let entry = Entry {
            owner: owner.as_str().into(),
            id,
            peer: peer.bare_str().into(),
            resource: peer.resource().unwrap_or_default().into(),
            stanza: stanza.bytes(),
        };
        Archived { entry }
    }

    /// Its id.
    pub(crate) fn id(&self) -> u64 {
        self.entry.id
    }
}

/// Archives (XEP-0313).
impl Server {
    /// The message as `account` gets it, and its entry in the account's archive, if it is to have
    /// one: with the entry's id in it (XEP-0359).
    pub(crate) fn received(
        &self,
        account: &Account,
        stanza: &Stanza,
    ) -> (Stanza, Option<Archived>) {
        // An id by us that isn't of our making is a lie (XEP-0359 6).
        let stanza = if stanza.has_child("stanza-id", ns::SID) {
            without_ids(stanza, account.jid())
        } else {
            stanza.clone()
        };
        let wanted = self.settings.load().archives
            && stanza
                .from()
                .is_some_and(|from| account.archive.want(&stanza, from, &account.roster));
        let (true, Some(from)) = (wanted, stanza.from()) else {
            return (stanza, None);
        };
        let id = self.archive.next_id();
        let archived = Archived::new(account.jid(), from, id, &stanza);
        (with_id(&stanza, account.jid().as_str(), id), Some(archived))
    }

    /// The entry of a message that one of the account's clients sends.
    pub(crate) fn sending(&self, account: &Account, stanza: &Stanza) -> Option<Archived> {
        let to = stanza.to()?;
        // A message to oneself is archived as it arrives.
        if !self.settings.load().archives
            || to.bare_str() == account.jid().as_str()
            || !account.archive.want(stanza, to, &account.roster)
        {
            return None;
        }
        let id = self.archive.next_id();
        Some(Archived::new(account.jid(), to, id, stanza))
    }

    /// Has an entry written. The number to wait for.
    pub(crate) fn archive(&self, archived: Archived) -> u64 {
        self.archive.append(archived.entry)
    }
}

/// With the id that it has in the archive of `by`.
pub(crate) fn with_id(stanza: &Stanza, by: &str, id: u64) -> Stanza {
    let child = Element::new("stanza-id", ns::SID)
        .attr("by", by)
        .attr("id", id.to_string());
    stanza.with_child(&child)
}

/// Without the ids that it says to have by `by`, in whatever case that is written.
fn without_ids(stanza: &Stanza, by: &BareJid) -> Stanza {
    let Ok(mut element) = stanza.to_element() else {
        return stanza.clone();
    };
    let ours = |text: &str| Jid::new(text).is_ok_and(|jid| jid == *by.as_jid());
    element.retain(|child| {
        !(child.is("stanza-id", ns::SID) && child.get_attr("by").is_some_and(ours))
    });
    Stanza::from_element(&element).unwrap_or_else(|| stanza.clone())
}

/// The account's address as identity knows it.
pub(crate) fn address(bare: &BareJid) -> Option<Address> {
    Address::new(bare.local()?, bare.domain()).ok()
}

/// With a note of when it was sent (XEP-0203), unless it has one.
fn delayed(stanza: &Stanza, domain: &str, at: SystemTime) -> Stanza {
    if stanza.has_child("delay", ns::DELAY) {
        return stanza.clone();
    }
    let delay = Element::new("delay", ns::DELAY)
        .attr("from", domain)
        .attr("stamp", time::format(at));
    stanza.with_child(&delay)
}

/// 128 random bits as text: stream ids, nonces, resources, tokens. All from one generator that is
/// fit for secrets.
pub(crate) fn token() -> String {
    let mut bytes = [0; 16];
    // It fails only where the kernel gives no randomness, and then nothing is safe any more.
    if rand::fill(&mut bytes).is_err() {
        std::process::abort();
    }
    bytes
        .iter()
        .fold(String::with_capacity(32), |mut text, byte| {
            for digit in [byte >> 4, byte & 15] {
                text.extend(char::from_digit(u32::from(digit), 16));
            }
            text
        })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ids_by_us_are_ours_in_any_case() {
        let id = |by: &str| Element::new("stanza-id", ns::SID).attr("by", by);
        let message = Element::new("message", ns::CLIENT)
            .child(id("Alice@ONE.test"))
            .child(id("alice@one.test"))
            .child(id("alice@one.test/x"))
            .child(id("bob@one.test"));
        let stanza = Stanza::from_element(&message).unwrap();
        let left = without_ids(&stanza, &BareJid::new("alice@one.test").unwrap());
        let left = left.to_element().unwrap();
        let by: Vec<_> = left
            .children()
            .map(|id| id.get_attr("by").unwrap())
            .collect();
        assert_eq!(by, ["alice@one.test/x", "bob@one.test"]);
    }
}

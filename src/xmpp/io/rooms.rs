//! The rooms that are in use. What a room decides is carried out in its turn, so that all who are in
//! see the same things in the same order.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use omnid_store::StoreError;
use omnid_telemetry::limited;

use super::server::{Server, token};
use crate::{
    data::{self, archive::Entry, archive::Filter},
    engine::{
        account::{Outlet, bounce, bounce_with},
        room::{Affiliation, Answer, HISTORY, Kept, Outcome, Room},
        wish::{Wish, Wishes},
    },
    features::{Reply, mam, rooms},
    wire::{
        BareJid, Condition, Element, IqType, Jid, Kind, MessageType, PresenceType, Stanza,
        StanzaError, form::Page, ns,
    },
};

/// Rooms on one page of a host's list.
const LISTED: u32 = 100;

/// One room; none once it is gone.
type Cell = Arc<tokio::sync::Mutex<State>>;

enum State {
    Unknown,
    Open(Box<Room>),
    Gone,
}

/// A room in use.
struct Used {
    cell: Cell,
    /// Who made it, where that was since it came into use.
    maker: Option<BareJid>,
}

/// The rooms in use, by address.
#[derive(Default)]
pub(crate) struct Rooms {
    open: Mutex<HashMap<BareJid, Used>>,
}

impl Rooms {
    fn open(&self) -> MutexGuard<'_, HashMap<BareJid, Used>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn get(&self, room: &BareJid) -> Cell {
        let unknown = || Used {
            cell: Arc::new(tokio::sync::Mutex::new(State::Unknown)),
            maker: None,
        };
        self.open()
            .entry(room.clone())
            .or_insert_with(unknown)
            .cell
            .clone()
    }

    /// Somebody makes a room in use. Which of those in use they have made, this one among them:
    /// who makes several at once has made them all.
    fn makes(&self, room: &BareJid, maker: &BareJid) -> HashSet<String> {
        let mut open = self.open();
        if let Some(used) = open.get_mut(room) {
            used.maker = Some(maker.clone());
        }
        open.iter()
            .filter(|(_, used)| used.maker.as_ref() == Some(maker))
            .map(|(room, _)| room.as_str().to_owned())
            .collect()
    }

    /// Forgets a room that is no more, or not in use.
    fn drop_room(&self, room: &BareJid, cell: &Cell) {
        let mut open = self.open();
        if open
            .get(room)
            .is_some_and(|known| Arc::ptr_eq(&known.cell, cell))
        {
            open.remove(room);
        }
    }

    /// Lets go of rooms that nobody is in: they are kept elsewhere, or not at all.
    pub(crate) fn sweep(&self) {
        self.open().retain(|_, Used { cell, .. }| {
            // Nobody else holds it, and nobody can get it while the table is locked.
            if Arc::strong_count(cell) > 1 {
                return true;
            }
            match cell.try_lock() {
                Ok(state) => match &*state {
                    State::Open(room) => room.occupancy() > 0,
                    State::Unknown | State::Gone => false,
                },
                Err(_) => true,
            }
        });
    }
}

impl Server {
    /// Whether a domain is one of rooms.
    pub(crate) fn has_rooms(&self, domain: &str) -> bool {
        self.settings.load().rooms.contains(domain)
    }

    /// A stanza for a room, or the host of rooms. What is left to be done.
    pub(crate) async fn to_room(&self, to: &Jid, stanza: &Stanza) -> Wishes {
        if to.local().is_none() {
            return match stanza.kind() {
                Kind::Iq(IqType::Get | IqType::Set) if to.is_bare() => {
                    self.host_of_rooms(to, stanza).await
                }
                _ => bounce(stanza, Condition::ServiceUnavailable),
            };
        }
        if matches!(stanza.kind(), Kind::Message(_)) && !self.archive.has_room() {
            return bounce(stanza, Condition::ResourceConstraint);
        }
        let address = to.to_bare();
        // A room that is gone by the time it is its turn is looked for again.
        for _ in 0..3 {
            let cell = self.rooms.get(&address);
            let mut state = cell.lock().await;
            if matches!(*state, State::Unknown) {
                match self.enter_or_make(&address, stanza).await {
                    Ok(Some(room)) => *state = State::Open(Box::new(room)),
                    Ok(None) => {
                        *state = State::Gone;
                        self.rooms.drop_room(&address, &cell);
                        return match stanza.kind() {
                            Kind::Presence(PresenceType::Available) => {
                                bounce(stanza, Condition::NotAcceptable)
                            }
                            Kind::Presence(_) => Wishes::new(),
                            _ => bounce(stanza, Condition::ItemNotFound),
                        };
                    }
                    Err(error) => {
                        *state = State::Gone;
                        self.rooms.drop_room(&address, &cell);
                        return bounce_with(stanza, &error);
                    }
                }
            }
            let State::Open(room) = &mut *state else {
                continue;
            };
            let (later, gone) = self.in_room(room, stanza).await;
            if gone {
                *state = State::Gone;
                self.rooms.drop_room(&address, &cell);
            }
            return later;
        }
        bounce(stanza, Condition::ItemNotFound)
    }

    /// A room that is kept, or one that somebody makes by entering it.
    async fn enter_or_make(
        &self,
        address: &BareJid,
        stanza: &Stanza,
    ) -> Result<Option<Room>, StanzaError> {
        let settings = self.settings.load_full();
        let most = settings.config.rooms.occupants as usize;
        let whose = address.clone();
        let known = self
            .ground
            .database
            .read(move |reader| {
                let Some(kept) = data::rooms::load(reader, whose.as_str())? else {
                    return Ok(None);
                };
                let filter = Filter {
                    backwards: true,
                    limit: HISTORY as u32,
                    ..Filter::default()
                };
                let last = data::archive::page(reader, whose.as_str(), &filter)?;
                Ok(Some((kept, last)))
            })
            .await
            .map_err(|error| failed(&error))?;
        if let Some((kept, last)) = known {
            let history = history(last, &kept);
            return Ok(Some(Room::new(address.clone(), kept, history, most)));
        }
        let enters = stanza.kind() == Kind::Presence(PresenceType::Available)
            && stanza.has_child("x", ns::MUC)
            && stanza.to().is_some_and(|to| !to.is_bare());
        let Some(creator) = stanza.from().filter(|_| enters).map(Jid::to_bare) else {
            return Ok(None);
        };
        // Rooms are made by those who have an account here.
        if !self.serves(creator.domain()) {
            return Err(StanzaError::with_text(
                Condition::NotAllowed,
                "rooms are made by this server's own accounts",
            ));
        }
        let whose = creator.clone();
        // Rooms that end with their last occupant count as long as they are there, or they would
        // be a way to any number of rooms.
        let mut made = self.rooms.makes(address, &creator);
        made.extend(
            self.ground
                .database
                .read(move |reader| data::rooms::made_by(reader, whose.as_str()))
                .await
                .map_err(|error| failed(&error))?,
        );
        if made.len() > settings.config.rooms.per_account as usize {
            return Err(StanzaError::with_text(
                Condition::ResourceConstraint,
                "you have made as many rooms as one account can",
            ));
        }
        let mut kept = Kept {
            salt: token(),
            creator: creator.as_str().to_owned(),
            ..Kept::default()
        };
        kept.config.history = settings.config.rooms.history;
        kept.affiliations
            .insert(creator.as_str().to_owned(), Affiliation::Owner);
        self.clear_archive(address).await?;
        Ok(Some(Room::made(address.clone(), kept, most)))
    }

    /// Whoever makes a room does not get what was said in another one of the same name: rooms that
    /// nobody keeps can end with the process, their archives stay until here.
    async fn clear_archive(&self, address: &BareJid) -> Result<(), StanzaError> {
        // What still waits to be written would come after.
        if !self.archive.settled(self.archive.count()).await {
            return Err(Condition::InternalServerError.into());
        }
        let whose = address.clone();
        self.ground
            .database
            .write(move |tx| data::archive::clear(tx, whose.as_str()))
            .await
            .map_err(|error| failed(&error))
    }

    /// A stanza's turn in a room: decided, kept, archived and sent. What is left to be done when the
    /// turn is over, and whether the room is no more.
    async fn in_room(&self, room: &mut Room, stanza: &Stanza) -> (Wishes, bool) {
        // What can't be kept has not happened.
        let before = may_be_kept(stanza).then(|| room.clone());
        let (outcome, then) = match self.decide(room, stanza).await {
            Ok(decided) => decided,
            Err(error) => return (bounce_with(stanza, &error), false),
        };
        if let Err(error) = self.keep_room(room, &outcome).await {
            // A room that ends because nobody is in it has ended all the same: nothing of it is
            // kept, and what it left in the archive is cleared when the room is made again.
            if let Some(before) = before {
                *room = before;
                return (bounce_with(stanza, &failed(&error)), false);
            }
            failed(&error);
        }
        self.carry_out(room, outcome, then)
    }

    /// What comes of a stanza in a room, and what is sent behind that.
    async fn decide(
        &self,
        room: &mut Room,
        stanza: &Stanza,
    ) -> Result<(Outcome, Wishes), StanzaError> {
        if !matches!(stanza.kind(), Kind::Iq(_)) {
            let outcome = room.handle(stanza, &mut || self.archive.next_id());
            return Ok((outcome, Wishes::new()));
        }
        let result = |payload: Option<Element>| -> Wishes {
            let result = iq_result(stanza).children_from(payload);
            Wish::route(&result).into_iter().collect()
        };
        match room.iq(stanza)? {
            Answer::Result(payload, outcome) => Ok((outcome, result(payload))),
            Answer::Pass(outcome) => Ok((outcome, Wishes::new())),
            Answer::Archive => {
                // What was said a moment ago is asked for, too.
                self.archive.settled(self.archive.count()).await;
                let answer = self.archive_of_room(room, stanza).await;
                Ok((Outcome::default(), answer))
            }
            Answer::Moderate(id, tombstone, outcome) => {
                self.archive.settled(self.archive.count()).await;
                let (owner, bytes) = (room.jid().clone(), tombstone.bytes());
                let replaced = self
                    .ground
                    .database
                    .write(move |tx| data::archive::replace(tx, owner.as_str(), id, &bytes))
                    .await
                    .map_err(|error| failed(&error))?;
                if !replaced {
                    return Err(Condition::ItemNotFound.into());
                }
                room.forget_said(id);
                Ok((outcome, result(None)))
            }
        }
    }

    /// Keeps what is to be kept of a room.
    async fn keep_room(&self, room: &Room, outcome: &Outcome) -> Result<(), StoreError> {
        let address = room.jid().clone();
        if outcome.gone {
            self.archive.settled(self.archive.count()).await;
            let gone = self.ground.database.write(move |tx| {
                data::rooms::forget(tx, address.as_str())?;
                data::archive::clear(tx, address.as_str())
            });
            return gone.await;
        }
        if !outcome.keep {
            return Ok(());
        }
        let kept = room.kept.clone();
        let done = self.ground.database.write(move |tx| {
            if kept.config.persistent {
                data::rooms::keep(tx, address.as_str(), address.domain(), &kept)
            } else {
                data::rooms::forget(tx, address.as_str())
            }
        });
        done.await
    }

    /// Archives and sends.
    fn carry_out(&self, room: &Room, outcome: Outcome, then: Wishes) -> (Wishes, bool) {
        if let Some(said) = outcome.said.filter(|_| self.settings.load().archives) {
            let address = room.jid().as_str();
            self.archive.append(Entry {
                owner: address.into(),
                id: said.id,
                peer: address.into(),
                resource: said.nick.into(),
                stanza: said.stanza.bytes(),
            });
        }
        let mut later = Wishes::new();
        for wish in outcome.wishes {
            match wish {
                Wish::Route(stanza) => self.hand_out(stanza, &mut later),
                other => later.push(other),
            }
        }
        later.extend(then);
        (later, outcome.gone)
    }

    /// Gives an occupant what is for it, now and in order; what can't be is done later.
    fn hand_out(&self, stanza: Stanza, later: &mut Wishes) {
        let cell = stanza
            .to()
            .filter(|to| !to.is_bare())
            .and_then(|to| self.accounts.get(to.bare_str()));
        let Some(cell) = cell else {
            return later.push(Wish::Route(stanza));
        };
        let live = cell.live();
        if stanza.from().is_some_and(|from| live.blocks(from)) {
            return;
        }
        let wishes = match stanza.kind() {
            Kind::Message(MessageType::Groupchat) => live.message(&stanza),
            Kind::Presence(PresenceType::Available | PresenceType::Unavailable) => {
                live.presence(&stanza)
            }
            _ => {
                drop(live);
                return later.push(Wish::Route(stanza));
            }
        };
        drop(live);
        for wish in wishes {
            match wish {
                Wish::Send(outlet, stanza) if send(&*outlet, &stanza) => {}
                Wish::Send(_, stanza) => {
                    later.extend(bounce(&stanza, Condition::ServiceUnavailable));
                }
                other => later.push(other),
            }
        }
    }

    async fn archive_of_room(&self, room: &Room, iq: &Stanza) -> Wishes {
        let tree = iq.to_element().ok();
        let query = tree.as_ref().and_then(|tree| tree.children().next());
        let Some(query) = query else {
            return bounce(iq, Condition::BadRequest);
        };
        let set = iq.kind() == Kind::Iq(IqType::Set);
        let mut reply = mam::archive(query, set, room.jid().as_str());
        for _ in 0..2 {
            reply = match reply {
                Reply::Read(read) => match self.ground.database.read(read).await {
                    Ok(reply) => reply,
                    Err(error) => return bounce_with(iq, &failed(&error)),
                },
                Reply::Result(payload) => {
                    let result = iq_result(iq).children_from(payload);
                    return Wish::route(&result).into_iter().collect();
                }
                Reply::Page(messages, fin) => return super::route::page(iq, messages, fin),
                Reply::Error(error) => return bounce_with(iq, &error),
                _ => break,
            };
        }
        bounce(iq, Condition::InternalServerError)
    }

    /// The host of rooms is asked.
    async fn host_of_rooms(&self, host: &Jid, iq: &Stanza) -> Wishes {
        let tree = iq.to_element().ok();
        let query = tree.as_ref().and_then(|tree| tree.children().next());
        let set = iq.kind() == Kind::Iq(IqType::Set);
        let payload = match query.map(|query| (query, query.ns())) {
            Some((query, ns::DISCO_INFO)) if !set && query.get_attr("node").is_none() => {
                Some(rooms::host_info())
            }
            Some((query, ns::DISCO_ITEMS)) if !set && query.get_attr("node").is_none() => {
                let page = match Page::find(query) {
                    Ok(page) => page,
                    Err(condition) => return bounce(iq, condition),
                };
                let most = page.max.unwrap_or(LISTED).min(LISTED);
                let (host, after) = (host.domain().to_owned(), page.after.unwrap_or_default());
                let asked = query.get_child("set", ns::RSM).is_some();
                let listed = self
                    .ground
                    .database
                    .read(move |reader| data::rooms::public(reader, &host, &after, most))
                    .await;
                match listed {
                    Ok(listed) => Some(rooms::host_items(&listed, asked)),
                    Err(error) => return bounce_with(iq, &failed(&error)),
                }
            }
            Some((_, ns::PING)) if !set => None,
            _ => return bounce(iq, Condition::ServiceUnavailable),
        };
        let result = iq_result(iq).children_from(payload);
        Wish::route(&result).into_iter().collect()
    }
}

/// Whether a stanza can change what is kept of a room: requests, another subject, and invitations,
/// which make members.
fn may_be_kept(stanza: &Stanza) -> bool {
    match stanza.kind() {
        Kind::Iq(kind) => kind == IqType::Set && stanza.to().is_some_and(Jid::is_bare),
        Kind::Message(_) => {
            stanza.has_child("subject", ns::CLIENT) || stanza.has_child("x", ns::MUC_USER)
        }
        Kind::Presence(_) => false,
    }
}

fn send(outlet: &dyn Outlet, stanza: &Stanza) -> bool {
    outlet.send(stanza)
}

fn iq_result(iq: &Stanza) -> Element {
    iq.result()
}

fn failed(error: &StoreError) -> StanzaError {
    limited!(Duration::from_secs(10), error, "a room's data were not read or written", %error);
    Condition::InternalServerError.into()
}

/// What was said last, as it was sent then.
fn history(last: Vec<(u64, Bytes)>, kept: &Kept) -> Vec<(u64, Stanza)> {
    let most = kept.config.history as usize;
    let said = last.into_iter().filter_map(|(id, bytes)| {
        let stanza = Stanza::from_stored(bytes).ok()?;
        let spoken = stanza.from().is_some_and(|from| !from.is_bare());
        let subject =
            stanza.has_child("subject", ns::CLIENT) && !stanza.has_child("body", ns::CLIENT);
        let by = stanza.from()?.bare_str().to_owned();
        (spoken && !subject).then(|| (id, super::server::with_id(&stanza, &by, id)))
    });
    let mut said: Vec<_> = said.collect();
    said.drain(..said.len().saturating_sub(most));
    said
}

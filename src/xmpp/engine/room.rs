//! A room (XEP-0045): who is in it, who may do what, and what was said last.
//!
//! A room changes in place and says what is to be sent, kept and archived; nothing here waits. What
//! all occupants get is made once, and its bytes are shared.

use std::collections::{BTreeMap, HashMap, VecDeque};

use aws_lc_rs::hmac;
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD as BASE64};
use serde::{Deserialize, Serialize};

use super::wish::{Wish, Wishes};
use crate::wire::{
    BareJid, Condition, Element, Jid, Kind, PresenceType, Stanza, StanzaError, ns, time,
};

mod admin;
mod config;
mod iq;
mod message;
mod occupancy;

pub use config::RoomConfig;
pub use iq::Answer;

/// Affiliations that one room remembers.
const AFFILIATIONS: usize = 10_000;
/// Messages in memory, for those who enter.
pub const HISTORY: usize = 100;
/// Things that somebody can send at once, from all of their clients,
const BURST: u64 = 100;
/// and the time in which it gains another, in microseconds.
const GAIN: u64 = 100_000;
/// People whose sending is counted.
const COUNTED: usize = 10_000;
/// Bytes of what a client says of itself, which everybody who enters is shown.
const PRESENCE: usize = 16 * 1024;

/// What lasts of somebody's relation to a room (section 5.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Affiliation {
    /// Not let in.
    Outcast,
    /// Nobody in particular.
    #[default]
    None,
    /// Let in where not everybody is.
    Member,
    /// May ban and appoint.
    Admin,
    /// May do everything.
    Owner,
}

/// What an occupant may do while it is in (section 5.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Not in.
    None,
    /// May listen.
    Visitor,
    /// May speak.
    Participant,
    /// May take others' voice, and make them leave.
    Moderator,
}

macro_rules! names {
    ($kind:ident { $($variant:ident = $text:literal),* }) => {
        impl $kind {
            /// As it is written.
            pub fn as_str(self) -> &'static str {
                match self { $($kind::$variant => $text,)* }
            }

            /// What is written so.
            pub fn from_name(name: &str) -> Option<$kind> {
                match name { $($text => Some($kind::$variant),)* _ => None }
            }
        }
    };
}

names!(Affiliation {
    Outcast = "outcast",
    None = "none",
    Member = "member",
    Admin = "admin",
    Owner = "owner"
});
names!(Role {
    None = "none",
    Visitor = "visitor",
    Participant = "participant",
    Moderator = "moderator"
});

/// What a room is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Subject {
    /// The words.
    pub text: String,
    /// Who said so, and when, in microseconds since 1970.
    pub nick: String,
    /// When.
    pub at: u64,
}

/// What is kept of a room.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Kept {
    /// How it is configured.
    pub config: RoomConfig,
    /// What it is about.
    pub subject: Option<Subject>,
    /// Who is somebody in it, by bare address.
    pub affiliations: BTreeMap<String, Affiliation>,
    /// Its card, as a document.
    pub card: Option<String>,
    /// Makes the occupants' ids (XEP-0421) this room's own.
    pub salt: String,
    /// Who made it.
    pub creator: String,
}

/// Somebody in a room, under one nick with one or several clients.
#[derive(Debug, Clone)]
struct Occupant {
    nick: String,
    /// The room's address with the nick.
    address: Jid,
    role: Role,
    /// The clients, the latest last.
    clients: Vec<Client>,
    /// See XEP-0421.
    id: String,
}

#[derive(Debug, Clone)]
struct Client {
    jid: Jid,
    /// What it says of itself: what is in its presence.
    presence: Element,
}

impl Occupant {
    fn bare(&self) -> &str {
        self.clients
            .last()
            .map(|client| client.jid.bare_str())
            .unwrap_or_default()
    }
}

/// A message that goes into the room's archive.
#[derive(Debug, Clone)]
pub struct Said {
    /// Its id there.
    pub id: u64,
    /// Who said it.
    pub nick: String,
    /// The message.
    pub stanza: Stanza,
}

/// What comes of a stanza.
#[derive(Default)]
pub struct Outcome {
    /// To be sent.
    pub wishes: Wishes,
    /// What is kept of the room has changed.
    pub keep: bool,
    /// The room is no more.
    pub gone: bool,
    /// To be archived.
    pub said: Option<Said>,
}

impl Outcome {
    fn send(&mut self, stanza: &Stanza, to: &Jid) {
        self.wishes.push(Wish::Route(stanza.with_to(to)));
    }
}

/// A room in use.
#[derive(Debug, Clone)]
pub struct Room {
    jid: BareJid,
    /// What is kept of it.
    pub kept: Kept,
    occupants: Vec<Occupant>,
    history: VecDeque<(u64, Stanza)>,
    /// Who invited whom lately.
    invited: VecDeque<(BareJid, BareJid)>,
    /// When people will have gained what they have spent on sending. Leaving doesn't give it back.
    spent: HashMap<String, u64>,
    /// Occupants that it holds.
    most: usize,
    /// Nobody has entered yet since it was made.
    fresh: bool,
}

/// What an occupant's presence says beside what its client does.
#[derive(Debug, Clone, Default)]
struct Change<'a> {
    /// The occupant is leaving.
    leaves: bool,
    /// Status codes for everybody.
    status: &'a [u16],
    /// Status codes for the occupant alone, beside 110.
    own: &'a [u16],
    /// The nick of who did it.
    actor: Option<&'a str>,
    /// Why.
    reason: Option<String>,
    /// The nick that comes.
    nick: Option<&'a str>,
    /// The room is destroyed, which says this.
    destroy: Option<&'a Element>,
}

impl Room {
    /// A room of which `kept` is known, and what was said in it last.
    pub fn new(jid: BareJid, kept: Kept, history: Vec<(u64, Stanza)>, most: usize) -> Room {
        Room {
            jid,
            kept,
            occupants: Vec::new(),
            history: history.into(),
            invited: VecDeque::new(),
            spent: HashMap::new(),
            most,
            fresh: false,
        }
    }

    /// A room that somebody makes by entering it.
    pub fn made(jid: BareJid, kept: Kept, most: usize) -> Room {
        Room {
            fresh: true,
            ..Room::new(jid, kept, Vec::new(), most)
        }
    }

    /// Its address.
    pub fn jid(&self) -> &BareJid {
        &self.jid
    }

    /// How many are in.
    pub fn occupancy(&self) -> usize {
        self.occupants.len()
    }

    /// What somebody is to the room.
    pub fn affiliation(&self, bare: &str) -> Affiliation {
        let known = self.kept.affiliations.get(bare);
        known.copied().unwrap_or_default()
    }

    fn set_affiliation(&mut self, bare: &str, affiliation: Affiliation) {
        if affiliation == Affiliation::None {
            self.kept.affiliations.remove(bare);
        } else {
            self.kept.affiliations.insert(bare.to_owned(), affiliation);
        }
    }

    /// Something that the room passes on costs; nobody can send more than they gain.
    fn spend(&mut self, from: &Jid, now: u64) -> Result<(), StanzaError> {
        let rested = now.saturating_sub(BURST * GAIN);
        if self.spent.len() >= COUNTED {
            self.spent.retain(|_, spent| *spent > rested);
        }
        let bare = from.bare_str();
        let spent = match self.spent.get(bare) {
            Some(spent) => rested.max(*spent),
            None if self.spent.len() >= COUNTED => now,
            None => rested,
        };
        let spent = spent.saturating_add(GAIN);
        if spent > now {
            return refuse(Condition::PolicyViolation, "too much at once");
        }
        self.spent.insert(bare.to_owned(), spent);
        Ok(())
    }

    /// The role that goes with an affiliation.
    fn role_for(&self, affiliation: Affiliation) -> Role {
        match affiliation {
            Affiliation::Owner | Affiliation::Admin => Role::Moderator,
            Affiliation::Member => Role::Participant,
            Affiliation::None if self.kept.config.moderated => Role::Visitor,
            Affiliation::None => Role::Participant,
            Affiliation::Outcast => Role::None,
        }
    }

    /// The occupant that a client is.
    fn of(&self, jid: &Jid) -> Option<&Occupant> {
        let mut occupants = self.occupants.iter();
        occupants.find(|occupant| occupant.clients.iter().any(|client| client.jid == *jid))
    }

    fn by_nick(&self, nick: &str) -> Option<&Occupant> {
        self.occupants.iter().find(|occupant| occupant.nick == nick)
    }

    fn index_of(&self, jid: &Jid) -> Option<usize> {
        let mut occupants = self.occupants.iter();
        occupants.position(|occupant| occupant.clients.iter().any(|client| client.jid == *jid))
    }

    /// See XEP-0421: the same for all of somebody's visits, and nothing to anybody else.
    fn occupant_id(&self, bare: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, self.kept.salt.as_bytes());
        BASE64.encode(hmac::sign(&key, bare.as_bytes()))
    }

    /// All clients in the room, with what their occupants may do.
    fn clients(&self) -> impl Iterator<Item = (&Occupant, &Client)> {
        self.occupants.iter().flat_map(|occupant| {
            occupant
                .clients
                .iter()
                .map(move |client| (occupant, client))
        })
    }

    /// Whether an occupant sees who the others really are.
    fn sees_addresses(&self, role: Role) -> bool {
        !self.kept.config.anonymous || role == Role::Moderator
    }

    /// A stanza comes that is no iq. `next` gives ids to what is archived, which are times.
    pub fn handle(&mut self, stanza: &Stanza, next: &mut dyn FnMut() -> u64) -> Outcome {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return Outcome::default();
        };
        let done = match stanza.kind() {
            Kind::Presence(PresenceType::Available) => self.available(stanza, from, to, next),
            Kind::Presence(PresenceType::Unavailable) => Ok(self.unavailable(stanza, from)),
            Kind::Presence(PresenceType::Error) => Ok(self.failed(stanza, from)),
            Kind::Presence(_) => Ok(Outcome::default()),
            Kind::Message(_) => self.message(stanza, from, to, next),
            Kind::Iq(_) => Ok(Outcome::default()),
        };
        let out = done.unwrap_or_else(|error| Outcome {
            wishes: super::account::bounce_with(stanza, &error),
            ..Outcome::default()
        });
        // Nor does a room stay that was made by somebody who was not let in.
        self.finish(out)
    }

    /// Presence of an occupant, for everybody.
    fn show(&self, occupant: &Occupant, change: &Change<'_>, out: &mut Outcome) {
        let Some(client) = occupant.clients.last() else {
            return;
        };
        let make = |with_address: bool, own: bool| {
            let mut presence = client.presence.clone();
            presence.set_attr("from", occupant.address.as_str());
            let leaves = change.leaves || change.nick.is_some();
            if leaves {
                presence.set_attr("type", "unavailable");
            }
            let (affiliation, role) = if change.leaves && change.destroy.is_some() {
                (Affiliation::None, Role::None)
            } else {
                let role = if change.leaves {
                    Role::None
                } else {
                    occupant.role
                };
                (self.affiliation(occupant.bare()), role)
            };
            let actor = change
                .actor
                .map(|nick| Element::new("actor", ns::MUC_USER).attr("nick", nick));
            let reason = change.reason.as_deref();
            let reason = reason.map(|reason| Element::new("reason", ns::MUC_USER).text(reason));
            let address = with_address.then(|| client.jid.as_str());
            let item = Element::new("item", ns::MUC_USER)
                .attr("affiliation", affiliation.as_str())
                .attr("role", role.as_str())
                .attr_opt("jid", address)
                .attr_opt("nick", change.nick)
                .children_from(actor)
                .children_from(reason);
            let codes = change.status.iter().copied();
            let own = own.then(|| change.own.iter().copied().chain([110]));
            let codes = codes.chain(own.into_iter().flatten());
            let codes = codes
                .map(|code| Element::new("status", ns::MUC_USER).attr("code", code.to_string()));
            let x = Element::new("x", ns::MUC_USER)
                .child(item)
                .children_from(change.destroy.cloned())
                .children_from(codes);
            let id = Element::new("occupant-id", ns::OCCUPANT_ID).attr("id", occupant.id.as_str());
            Stanza::from_element(&presence.child(id).child(x))
        };
        let all = [
            make(false, false),
            make(true, false),
            make(self.sees_addresses(occupant.role), true),
        ];
        let [Some(hidden), Some(shown), Some(own)] = all else {
            return;
        };
        for (other, client) in self.clients() {
            let stanza = if other.nick == occupant.nick {
                &own
            } else if self.sees_addresses(other.role) {
                &shown
            } else {
                &hidden
            };
            out.send(stanza, &client.jid);
        }
    }

    /// What the room says to everybody.
    fn announce(&self, codes: &[u16], out: &mut Outcome) {
        if codes.is_empty() {
            return;
        }
        let codes = codes
            .iter()
            .map(|code| Element::new("status", ns::MUC_USER).attr("code", code.to_string()));
        let message = Element::new("message", ns::CLIENT)
            .attr("type", "groupchat")
            .attr("from", self.jid.as_str())
            .child(Element::new("x", ns::MUC_USER).children_from(codes));
        if let Some(stanza) = Stanza::from_element(&message) {
            for (_, client) in self.clients() {
                out.send(&stanza, &client.jid);
            }
        }
    }

    /// Takes an occupant out, as `change` says.
    fn remove(&mut self, at: usize, change: &Change<'_>, out: &mut Outcome) {
        let Some(occupant) = self.occupants.get(at) else {
            return;
        };
        let change = Change {
            leaves: true,
            ..change.clone()
        };
        self.show(occupant, &change, out);
        self.occupants.remove(at);
    }

    /// A room that nobody is in is gone, unless it is to stay.
    fn finish(&self, mut out: Outcome) -> Outcome {
        out.gone |= self.occupants.is_empty() && !self.kept.config.persistent;
        out
    }
}

/// An error with words.
fn refuse<T>(condition: Condition, text: &str) -> Result<T, StanzaError> {
    Err(StanzaError::with_text(condition, text))
}

/// With a note of when the room got it (XEP-0203).
fn delayed(stanza: &Stanza, room: &BareJid, at: u64) -> Stanza {
    let delay = Element::new("delay", ns::DELAY)
        .attr("from", room.as_str())
        .attr("stamp", time::format_micros(at));
    stanza.with_child(&delay)
}

#[cfg(test)]
mod tests;

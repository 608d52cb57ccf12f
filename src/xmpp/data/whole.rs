//! Everything that is kept of an account or a room, taken out whole and put in whole: for those who
//! move here or away.

use std::{collections::BTreeSet, time::SystemTime};

use bytes::Bytes;
use omnid_store::{Reader, StoreError, Transaction};

use super::{archive, blocking, last, offline, pubsub, rooms, roster, storage};
use crate::{
    engine::{
        archive::Preferences,
        pubsub::{ITEMS, Item, NodeConfig},
        room::Kept,
        roster::{Contact, RosterChange},
    },
    io::server::token,
    wire::{BareJid, ns, time},
};

/// What one account has.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Whole {
    /// Its contacts, and those who asked to be.
    pub contacts: Vec<(BareJid, Contact)>,
    /// Its vCard, as a document.
    pub vcard: Option<String>,
    /// Its private storage.
    pub private: Vec<Private>,
    /// Its nodes, each with its items, the oldest first.
    pub nodes: Vec<Node>,
    /// Whom it blocks.
    pub blocked: BTreeSet<String>,
    /// What it wants archived.
    pub preferences: Option<Preferences>,
    /// When it was last there, in seconds since 1970, and what it said.
    pub last: Option<(u64, String)>,
    /// Messages that wait for it, the oldest first.
    pub offline: Vec<Waiting>,
    /// Its archive, the oldest first.
    pub archive: Vec<Archived>,
}

/// An element of private storage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Private {
    /// The element's namespace
    pub namespace: String,
    /// and name.
    pub element: String,
    /// It, as a document.
    pub content: String,
}

/// A node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Its name.
    pub name: String,
    /// How it is configured.
    pub config: NodeConfig,
    /// What is there.
    pub items: Vec<Item>,
}

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Waiting {
    /// Since when, in seconds since 1970.
    pub at: u64,
    /// The stanza, as [`crate::wire::Stanza::bytes`] gives it.
    pub stanza: Bytes,
}

/// A message in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// What clients know it by.
    pub name: String,
    /// When it was archived, in microseconds since 1970.
    pub at: u64,
    /// The other side: a bare address,
    pub peer: Box<str>,
    /// and its resource; empty if it had none. In a room, the nick.
    pub resource: Box<str>,
    /// The stanza, as [`crate::wire::Stanza::bytes`] gives it.
    pub stanza: Bytes,
}

/// What a room has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WholeRoom {
    /// Its address.
    pub jid: BareJid,
    /// What is kept of it.
    pub kept: Kept,
    /// Its archive, the oldest first.
    pub archive: Vec<Archived>,
}

/// How many things were put in, and how many were there already and stayed as they were.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Put in.
    pub new: u64,
    /// There already.
    pub there: u64,
}

impl Count {
    /// One more.
    pub fn add(&mut self, is_new: bool) {
        if is_new {
            self.new += 1;
        } else {
            self.there += 1;
        }
    }

    /// With another's.
    pub fn join(&mut self, other: Count) {
        self.new += other.new;
        self.there += other.there;
    }
}

/// What came of putting in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Contacts.
    pub contacts: Count,
    /// vCards.
    pub vcards: Count,
    /// Elements of private storage.
    pub private: Count,
    /// Nodes.
    pub nodes: Count,
    /// Addresses that are blocked.
    pub blocked: Count,
    /// Messages that wait.
    pub offline: Count,
    /// Messages in archives.
    pub archived: Count,
    /// Rooms.
    pub rooms: Count,
}

impl Counts {
    /// Each with its name.
    pub fn named(&self) -> [(&'static str, Count); 8] {
        [
            ("contacts", self.contacts),
            ("vcards", self.vcards),
            ("private elements", self.private),
            ("nodes", self.nodes),
            ("blocked addresses", self.blocked),
            ("waiting messages", self.offline),
            ("archived messages", self.archived),
            ("rooms", self.rooms),
        ]
    }

    /// With another's.
    pub fn join(&mut self, other: &Counts) {
        self.contacts.join(other.contacts);
        self.vcards.join(other.vcards);
        self.private.join(other.private);
        self.nodes.join(other.nodes);
        self.blocked.join(other.blocked);
        self.offline.join(other.offline);
        self.archived.join(other.archived);
        self.rooms.join(other.rooms);
    }
}

/// Puts in what an account has. What is there already stays as it is, so that doing it again
/// changes nothing, and what somebody did here meanwhile is not undone.
///
/// # Errors
/// When the database fails.
pub fn restore(
    tx: &mut Transaction<'_>,
    account: &str,
    whole: &Whole,
) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    contacts(tx, account, whole, &mut counts.contacts)?;
    if let Some(vcard) = &whole.vcard {
        let is_new = storage::vcard(tx, account)?.is_none();
        if is_new {
            storage::set_vcard(tx, account, vcard)?;
        }
        counts.vcards.add(is_new);
    }
    for private in &whole.private {
        let (space, name) = (private.namespace.as_str(), private.element.as_str());
        let is_new = storage::private(tx, account, space, name)?.is_none();
        if is_new {
            // As much as there was: who moves here does not lose what is beyond our limit.
            storage::set_private(tx, account, space, name, &private.content, usize::MAX)?;
        }
        counts.private.add(is_new);
    }
    let existing: BTreeSet<String> = pubsub::nodes(tx, account)?
        .into_iter()
        .map(|(name, _)| name)
        .collect();
    for node in &whole.nodes {
        let is_new = !existing.contains(&node.name);
        if is_new {
            pubsub::publish(tx, account, &node.name, &node.config, &node.items)?;
        }
        counts.nodes.add(is_new);
    }
    let blocked = blocking::load(tx, account)?;
    for jid in &whole.blocked {
        blocking::add(tx, account, jid)?;
        counts.blocked.add(!blocked.contains(jid));
    }
    if let Some(preferences) = &whole.preferences
        && archive::preferences(tx, account)?.is_none()
    {
        let content = serde_json::to_string(preferences).map_err(StoreError::other)?;
        archive::set_preferences(tx, account, &content)?;
    }
    if let Some((at, status)) = &whole.last
        && last::when(tx, account)?.is_none()
    {
        last::left(tx, account, *at, status)?;
    }
    let waiting = offline::kept(tx, account)?;
    for message in &whole.offline {
        let mut same = waiting.iter();
        let is_new = !same.any(|kept| kept.at == message.at && kept.stanza == message.stanza);
        if is_new {
            offline::keep(tx, account, message.at, &message.stanza, u32::MAX)?;
        }
        counts.offline.add(is_new);
    }
    for message in &whole.archive {
        counts.archived.add(archive::restore(tx, account, message)?);
    }
    Ok(counts)
}

fn contacts(
    tx: &mut Transaction<'_>,
    account: &str,
    whole: &Whole,
    count: &mut Count,
) -> Result<(), StoreError> {
    let before = roster::load(tx, account)?;
    // Clients that kept a roster of the old server's must not take its version for ours.
    let now = time::micros(SystemTime::now());
    let version = now.max(before.version().saturating_add(1));
    let mut changes = Vec::new();
    for (jid, contact) in &whole.contacts {
        let is_new = before.get(jid.as_str()).is_none();
        count.add(is_new);
        if is_new {
            changes.push(RosterChange {
                contact: jid.clone(),
                after: Some(contact.clone()),
                version,
                visible: contact.listed,
            });
        }
    }
    roster::write(tx, account, &changes)
}

/// All that an account has.
///
/// # Errors
/// When the database fails, or holds what was never written.
pub fn load(reader: &mut Reader<'_>, account: &str) -> Result<Whole, StoreError> {
    let roster = roster::load(reader, account)?;
    let contacts = roster.contacts();
    let contacts = contacts.map(|(jid, contact)| (jid.clone(), contact.clone()));
    let mut nodes = Vec::new();
    for (name, config) in pubsub::nodes(reader, account)? {
        let items = pubsub::items(reader, account, &name, ITEMS)?;
        nodes.push(Node {
            name,
            config,
            items,
        });
    }
    nodes.sort_by(|a, b| a.name.cmp(&b.name));
    let preferences = archive::preferences(reader, account)?
        .map(|content| serde_json::from_str(&content))
        .transpose()
        .map_err(StoreError::other)?;
    let offline = offline::kept(reader, account)?;
    let offline = offline.into_iter().map(|kept| Waiting {
        at: kept.at,
        stanza: kept.stanza,
    });
    Ok(Whole {
        contacts: contacts.collect(),
        vcard: storage::vcard(reader, account)?,
        private: storage::all_private(reader, account)?,
        nodes,
        blocked: blocking::load(reader, account)?,
        preferences,
        last: last::when(reader, account)?,
        offline: offline.collect(),
        archive: archive::whole(reader, account)?,
    })
}

/// Puts in what a room has, where there is no such room.
///
/// # Errors
/// When the database fails.
pub fn restore_room(tx: &mut Transaction<'_>, room: &WholeRoom) -> Result<Counts, StoreError> {
    let mut counts = Counts::default();
    let is_new = rooms::load(tx, room.jid.as_str())?.is_none();
    if is_new {
        let mut kept = room.kept.clone();
        // Occupants' ids are guessed where there is no salt.
        if kept.salt.is_empty() {
            kept.salt = token();
        }
        let host = room.jid.as_jid().domain();
        rooms::keep(tx, room.jid.as_str(), host, &kept)?;
    }
    counts.rooms.add(is_new);
    for message in &room.archive {
        let is_new = archive::restore(tx, room.jid.as_str(), message)?;
        counts.archived.add(is_new);
    }
    Ok(counts)
}

/// All that a room has.
///
/// # Errors
/// When the database fails, or holds what was never written.
pub fn load_room(reader: &mut Reader<'_>, jid: &BareJid) -> Result<Option<WholeRoom>, StoreError> {
    let Some(kept) = rooms::load(reader, jid.as_str())? else {
        return Ok(None);
    };
    Ok(Some(WholeRoom {
        jid: jid.clone(),
        kept,
        archive: archive::whole(reader, jid.as_str())?,
    }))
}

/// What older clients keep as bookmarks in private storage, as a node of its own: what the server
/// itself does when such a client stores them (XEP-0402, `#compat`).
pub fn bookmarks(whole: &mut Whole) {
    let is_old = |private: &Private| {
        private.namespace == ns::BOOKMARKS_STORAGE && private.element == "storage"
    };
    let Some(at) = whole.private.iter().position(is_old) else {
        return;
    };
    if whole.nodes.iter().any(|node| node.name == ns::BOOKMARKS) {
        return;
    }
    let node = whole
        .private
        .get(at)
        .and_then(|private| crate::features::pep::bookmarks::node(&private.content));
    if let Some(node) = node {
        whole.private.remove(at);
        whole.nodes.push(node);
    }
}

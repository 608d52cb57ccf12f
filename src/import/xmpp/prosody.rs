//! Prosody's data directory: for each host a directory, in it one for each store, and in that a file
//! for each user.

mod rooms;
mod stored;

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use omnid_identity::{
    Address, ScramHash,
    moving::{Moving, Verifiers},
};
use omnid_xmpp::{
    data::whole::{Node, Private, Whole, WholeRoom},
    engine::{
        archive::{Preferences, Rule},
        pubsub::Item,
        roster::Contact,
    },
    wire::{BareJid, Element, Jid, Scope, ns},
};
use zeroize::Zeroizing;

use self::{
    rooms::kept_room,
    stored::{decoded, directories, element, files, left, old_privacy, store_name, unhex, when},
};
use super::{
    MoveError, Moved, MovedAccount, Secret, Source, What,
    lua::{self, Lua, Table, Wrong},
    pie, privacy, read, vcard,
};
use crate::report::{Finding, Kind};

/// Stores of users that are read.
const USERS: &[&str] = &[
    "accounts",
    "roster",
    "vcard",
    "private",
    "blocklist",
    "privacy",
    "pep",
    "archive",
    "archive_prefs",
    "offline",
    "lastlog",
    "lastlog2",
];
/// Stores of rooms that are read.
const ROOMS: &[&str] = &["config", "muc_log", "vcard_muc"];

pub(super) fn open(path: &Path) -> Result<Source, MoveError> {
    let mut hosts = Vec::new();
    for (name, directory) in directories(path)? {
        let host = decoded(&name);
        let has = |store: &str| directory.join(store).is_dir();
        if has("config") || directory.join("persistent.dat").is_file() {
            hosts.push(Host::rooms(host, directory)?);
        } else if USERS.iter().any(|store| has(store)) {
            hosts.push(Host::users(host, directory)?);
        } else if !name.starts_with('.') {
            hosts.push(Host {
                todo: Vec::new(),
                stray: vec![(
                    directory,
                    Kind::Lost,
                    "what this component keeps is not known here",
                )],
                host,
                is_rooms: false,
                directory: PathBuf::new(),
            });
        }
    }
    if hosts.is_empty() {
        return Err(MoveError::Form {
            path: path.to_owned(),
            line: 0,
            reason: "no data of Prosody's is here: it has a directory for each host, with \
                accounts or rooms in it. What Prosody keeps in an SQL database it writes here by \
                its `migrator`"
                .to_owned(),
        });
    }
    Ok(Box::new(hosts.into_iter().flatten()))
}

/// What one host has.
struct Host {
    host: String,
    directory: PathBuf,
    is_rooms: bool,
    /// Names of files, the last first.
    todo: Vec<String>,
    /// Stores that are not read.
    stray: Vec<(PathBuf, Kind, &'static str)>,
}

impl Host {
    fn users(host: String, directory: PathBuf) -> Result<Host, MoveError> {
        let mut users = BTreeSet::new();
        let mut stray = Vec::new();
        for (store, below) in directories(&directory)? {
            let name = decoded(&store);
            if USERS.contains(&name.as_str()) || name.starts_with("pep_") {
                // Users whom another authentication knows have no account here.
                users.extend(files(&below)?);
            } else {
                stray.push(left(&name, below));
            }
        }
        Ok(Host {
            host,
            directory,
            is_rooms: false,
            todo: users.into_iter().rev().collect(),
            stray,
        })
    }

    fn rooms(host: String, directory: PathBuf) -> Result<Host, MoveError> {
        let mut rooms = BTreeSet::new();
        let mut stray = Vec::new();
        for (store, below) in directories(&directory)? {
            let name = decoded(&store);
            if name == "config" {
                rooms.extend(files(&below)?);
            } else if !ROOMS.contains(&name.as_str()) {
                stray.push(left(&name, below));
            }
        }
        Ok(Host {
            host,
            directory,
            is_rooms: true,
            todo: rooms.into_iter().rev().collect(),
            stray,
        })
    }
}

impl Iterator for Host {
    type Item = Result<Moved, MoveError>;

    fn next(&mut self) -> Option<Self::Item> {
        if let Some(file) = self.todo.pop() {
            let mut one = One {
                host: &self.host,
                directory: &self.directory,
                file: &file,
                findings: Vec::new(),
            };
            let what = if self.is_rooms {
                one.room()
            } else {
                one.user()
            };
            return Some(what.map(|what| Moved {
                what: what.unwrap_or(What::Nothing),
                findings: one.findings,
            }));
        }
        let (file, kind, advice) = self.stray.pop()?;
        Some(Ok(Moved {
            what: What::Nothing,
            findings: vec![Finding {
                text: decoded(&file.file_name()?.to_string_lossy()),
                file,
                line: 0,
                kind,
                advice: advice.to_owned(),
            }],
        }))
    }
}

/// A user, or a room: by the name of its files.
struct One<'a> {
    host: &'a str,
    directory: &'a Path,
    file: &'a str,
    findings: Vec<Finding>,
}

impl One<'_> {
    fn path(&self, store: &str, ending: &str) -> PathBuf {
        let below = self.directory.join(store_name(store));
        let path = below.join(format!("{}.{ending}", self.file));
        if path.exists() {
            return path;
        }
        // As versions before 0.10 named stores.
        self.directory
            .join(store)
            .join(format!("{}.{ending}", self.file))
    }

    fn add(&mut self, file: &Path, line: usize, kind: Kind, text: &str, advice: &str) {
        self.findings.push(Finding {
            file: file.to_owned(),
            line,
            kind,
            text: text.to_owned(),
            advice: advice.to_owned(),
        });
    }

    fn wrong(&mut self, file: &Path, wrong: &Wrong) {
        let advice = "what is behind it is lost; is the file whole?";
        self.add(file, wrong.line, Kind::Lost, wrong.what, advice);
    }

    /// A store's table.
    fn table(&mut self, store: &str) -> Result<Option<(PathBuf, Table)>, MoveError> {
        let path = self.path(store, "dat");
        if !path.exists() {
            return Ok(None);
        }
        match lua::file(&read(&path)?) {
            Ok(Lua::Table(table)) => Ok(Some((path, table))),
            Ok(_) => Ok(None),
            Err(wrong) => {
                self.wrong(&path, &wrong);
                Ok(None)
            }
        }
    }

    /// A store's items.
    fn items(&mut self, store: &str) -> Result<(PathBuf, Vec<(usize, Table)>), MoveError> {
        let path = self.path(store, "list");
        if !path.exists() {
            return Ok((path, Vec::new()));
        }
        let (items, wrong) = lua::items(&read(&path)?);
        if let Some(wrong) = wrong {
            self.wrong(&path, &wrong);
        }
        Ok((path, items))
    }

    fn element(&mut self, path: &Path, line: usize, table: &Table) -> Option<Element> {
        let element = element(table);
        if element.is_none() {
            let name = table.text("name").unwrap_or_default();
            let text = format!("<{name}/>");
            self.add(path, line, Kind::Lost, &text, "is no XML that can be sent");
        }
        element
    }

    fn user(&mut self) -> Result<Option<What>, MoveError> {
        let name = decoded(self.file);
        let place = self.path("accounts", "dat");
        let found = Address::new(&name, self.host);
        let found =
            found
                .map_err(|error| error.to_string())
                .and_then(|address| match BareJid::new(address.as_str()) {
                    Ok(own) => Ok((address, own)),
                    Err(error) => Err(error.to_string()),
                });
        let (address, own) = match found {
            Ok(found) => found,
            Err(error) => {
                self.add(&place, 0, Kind::Lost, &name, &error);
                return Ok(None);
            }
        };
        if address.user() != name {
            let advice = format!("is {address} here");
            self.add(&place, 0, Kind::Changed, &name, &advice);
        }
        let mut moving = Moving::default();
        let secret = self.secret(&mut moving)?;
        let mut whole = Whole::default();
        self.roster(&own, &mut whole)?;
        self.stored(&mut whole)?;
        self.nodes(&mut whole)?;
        self.card(&mut whole);
        self.blocked(&mut whole)?;
        self.messages(&own, &mut whole)?;
        Ok(Some(What::Account(Box::new(MovedAccount {
            address,
            secret,
            moving,
            whole,
        }))))
    }

    fn secret(&mut self, moving: &mut Moving) -> Result<Secret, MoveError> {
        let Some((path, account)) = self.table("accounts")? else {
            return Ok(Secret::Unknown);
        };
        moving.enabled = account.flag("disabled") != Some(true);
        for (name, at) in [
            ("created", &mut moving.created_at),
            ("updated", &mut moving.password_changed_at),
        ] {
            if let Some(seconds) = account.number(name).filter(|at| *at > 0.0) {
                *at = seconds as i64;
            }
        }
        if let Some(password) = account.text("password") {
            return Ok(Secret::Password(Zeroizing::new(password.to_owned())));
        }
        let key = |name| account.text(name).and_then(unhex);
        let (stored, server) = (key("stored_key"), key("server_key"));
        let hash = stored.as_ref().and_then(|key| {
            ScramHash::ALL
                .into_iter()
                .find(|hash| hash.length() == key.len())
        });
        let iterations = account.number("iteration_count").unwrap_or_default() as u32;
        let salt = account.text("salt").unwrap_or_default().as_bytes().to_vec();
        let verifier = hash
            .zip(stored)
            .zip(server)
            .and_then(|((hash, stored), server)| {
                Some((hash, pie::verifier(hash, salt, iterations, stored, server)?))
            });
        match verifier {
            Some(verifier) => Ok(Secret::Verifiers(Verifiers {
                scram: vec![verifier],
                digest: Vec::new(),
            })),
            None => {
                let text = "no password, and no hash that SCRAM has";
                self.add(
                    &path,
                    1,
                    Kind::Lost,
                    text,
                    "the account has no password now",
                );
                Ok(Secret::Unknown)
            }
        }
    }

    fn roster(&mut self, own: &BareJid, whole: &mut Whole) -> Result<(), MoveError> {
        let Some((path, roster)) = self.table("roster")? else {
            return Ok(());
        };
        for (text, item) in roster.named() {
            let (Ok(jid), Some(item)) = (Jid::new(text), item.table()) else {
                // Old versions kept requests under this name.
                if text != "pending" {
                    self.add(&path, 0, Kind::Lost, text, "is no address");
                }
                continue;
            };
            let jid = jid.to_bare();
            if jid == *own || whole.contacts.iter().any(|(there, _)| *there == jid) {
                let advice = "is themselves, or there twice: once is enough";
                self.add(&path, 0, Kind::Changed, text, advice);
                continue;
            }
            let mut contact = Contact {
                listed: true,
                name: item
                    .text("name")
                    .filter(|name| !name.is_empty())
                    .map(Into::into),
                approved: item.flag("approved") == Some(true),
                ..Contact::default()
            };
            if let Some(groups) = item.inner("groups") {
                let mut names: Vec<Box<str>> =
                    groups.named().map(|(group, _)| group.into()).collect();
                names.sort();
                contact.groups = names;
            }
            let asks = item.text("ask") == Some("subscribe");
            pie::relate(&mut contact, item.text("subscription"), asks);
            whole.contacts.push((jid, contact));
        }
        let requests = roster
            .about()
            .and_then(|about| about.inner("pending"))
            .or_else(|| roster.inner("pending"));
        for (text, request) in requests.into_iter().flat_map(Table::named) {
            let Ok(jid) = Jid::new(text).map(|jid| jid.to_bare()) else {
                self.add(&path, 0, Kind::Lost, text, "is no address");
                continue;
            };
            let stanza = request.table().and_then(element);
            let plain = || {
                Element::new("presence", ns::CLIENT)
                    .attr("from", jid.as_str())
                    .attr("type", "subscribe")
            };
            pie::pending(&jid, &stanza.unwrap_or_else(plain), whole);
        }
        whole.contacts.sort_by(|(a, _), (b, _)| a.cmp(b));
        Ok(())
    }

    /// Private storage, and the card where it is kept as it is shown.
    fn stored(&mut self, whole: &mut Whole) -> Result<(), MoveError> {
        if let Some((path, private)) = self.table("private")? {
            for (_, kept) in private.named() {
                let Some(table) = kept.table() else { continue };
                if let Some(kept) = self.element(&path, 0, table) {
                    whole.private.push(Private {
                        namespace: kept.ns().to_owned(),
                        element: kept.name().to_owned(),
                        content: kept.to_document(),
                    });
                }
            }
        }
        if let Some((path, card)) = self.table("vcard")? {
            let card = self.element(&path, 1, &card);
            whole.vcard = card.map(|card| card.to_document());
        }
        for store in ["lastlog2", "lastlog"] {
            let Some((_, seen)) = self.table(store)? else {
                continue;
            };
            let events = ["logout", "login"].into_iter();
            let at = events
                .filter_map(|event| seen.inner(event)?.number("timestamp"))
                .reduce(f64::max)
                .or_else(|| seen.number("timestamp"));
            whole.last = at.map(|at| (at as u64, String::new()));
            break;
        }
        Ok(())
    }

    fn nodes(&mut self, whole: &mut Whole) -> Result<(), MoveError> {
        let Some((path, nodes)) = self.table("pep")? else {
            return Ok(());
        };
        for (name, node) in nodes.named() {
            // `true` says that it is as nodes are.
            let empty = Table::default();
            let node = node.table().unwrap_or(&empty);
            let config = node.inner("config").unwrap_or(&empty);
            let (mut config, lost) = pie::node_config(|field| match config.get(field)? {
                Lua::Text(text) => Some(text.clone()),
                Lua::Bool(flag) => Some(flag.to_string()),
                Lua::Number(number) => Some(number.to_string()),
                _ => None,
            });
            for lost in lost {
                self.add(&path, 0, Kind::Changed, &format!("node {name:?}"), &lost);
            }
            for (what, table) in [
                ("subscribers", node.inner("subscribers")),
                ("affiliations", node.inner("affiliations")),
            ] {
                if table.is_some_and(|table| !table.keyed.is_empty()) {
                    let advice = "nodes of accounts are read by those who see their presence, \
                        or by all";
                    let text = format!("{what} of node {name:?}");
                    self.add(&path, 0, Kind::Lost, &text, advice);
                }
            }
            let mut items: Vec<Item> = Vec::new();
            let (path, stored) = self.items(&format!("pep_{name}"))?;
            for (line, item) in stored {
                let Some(id) = item.text("key").map(ToOwned::to_owned) else {
                    continue;
                };
                if let Some(payload) = self.element(&path, line, &item) {
                    // An item that was published again is behind.
                    items.retain(|there| there.id != id);
                    items.push(Item {
                        id,
                        payload: payload.to_document(),
                    });
                }
            }
            if items.len() > config.max_items as usize {
                // It was said after there were more.
                let over = items.len() - config.max_items as usize;
                items.drain(..over);
                let text = format!("the oldest {over} items of node {name:?}");
                let advice = "a node has no more than it is configured for, and 256 at most";
                self.add(&path, 0, Kind::Lost, &text, advice);
            }
            config.max_items = config.max_items.max(1);
            whole.nodes.push(Node {
                name: name.to_owned(),
                config,
                items,
            });
        }
        whole.nodes.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(())
    }

    /// The card as it is shown, where it is kept at a node; with the picture of the other nodes.
    fn card(&mut self, whole: &mut Whole) {
        let last = |name: &str| {
            let node = whole.nodes.iter().find(|node| node.name == name)?;
            node.items.last()?.element()
        };
        let mut card = match (&whole.vcard, last(vcard::NODE)) {
            (Some(card), _) => Element::parse(card.as_bytes(), &Scope::empty()).ok(),
            (None, Some(vcard4)) => {
                let (card, lost) = vcard::temp(&vcard4);
                if !lost.is_empty() {
                    let path = self.path(&format!("pep_{}", vcard::NODE), "list");
                    let text = lost.join(", ");
                    let advice = "is in the card at the node, and not in the card of vcard-temp";
                    self.add(&path, 0, Kind::Changed, &text, advice);
                }
                Some(card)
            }
            (None, None) => None,
        };
        let picture = last(ns::AVATAR_DATA);
        let kind = last(ns::AVATAR_METADATA).and_then(|metadata| {
            let info = metadata.get_child("info", ns::AVATAR_METADATA)?;
            info.get_attr("type").map(ToOwned::to_owned)
        });
        if let Some((picture, kind)) = picture.zip(kind) {
            let new = |name, text: String| Element::new(name, ns::VCARD).text(text);
            let card = card.get_or_insert_with(|| Element::new("vCard", ns::VCARD));
            if card.get_child("PHOTO", ns::VCARD).is_none() {
                card.push(
                    Element::new("PHOTO", ns::VCARD)
                        .child(new("TYPE", kind))
                        .child(new("BINVAL", picture.text_content())),
                );
            }
        }
        whole.vcard = card.map(|card| card.to_document());
    }

    fn blocked(&mut self, whole: &mut Whole) -> Result<(), MoveError> {
        if let Some((path, list)) = self.table("blocklist")? {
            for (text, _) in list.named() {
                match Jid::new(text) {
                    Ok(jid) => {
                        whole.blocked.insert(jid.as_str().to_owned());
                    }
                    Err(_) => self.add(&path, 0, Kind::Lost, text, "is no address"),
                }
            }
        }
        // Versions before 0.10.
        let Some((path, privacy)) = self.table("privacy")? else {
            return Ok(());
        };
        let (jids, lost) = privacy::blocked(&old_privacy(&privacy));
        whole.blocked.extend(jids);
        for lost in lost {
            let advice = "only what blocks an address comes over";
            self.add(&path, 0, Kind::Lost, &lost, advice);
        }
        Ok(())
    }

    fn messages(&mut self, own: &BareJid, whole: &mut Whole) -> Result<(), MoveError> {
        let (path, offline) = self.items("offline")?;
        for (line, item) in offline {
            let at = when(&item);
            let message = self.element(&path, line, &item);
            let kept = message.and_then(|message| pie::kept_message(&message, at));
            match kept {
                Some(kept) => whole.offline.push(kept),
                None => self.add(
                    &path,
                    line,
                    Kind::Lost,
                    "a waiting message",
                    "is no message",
                ),
            }
        }
        let (path, archive) = self.items("archive")?;
        whole.archive = self.archived(&path, archive, own, false);
        if let Some((_, preferences)) = self.table("archive_prefs")? {
            let mut wanted = Preferences::default();
            for (key, value) in &preferences.keyed {
                match (key, value) {
                    (Lua::Bool(false), Lua::Bool(true)) => wanted.rule = Rule::Always,
                    (Lua::Bool(false), Lua::Bool(false)) => wanted.rule = Rule::Never,
                    (Lua::Bool(false), Lua::Text(_)) => wanted.rule = Rule::Roster,
                    (Lua::Text(jid), Lua::Bool(always)) => {
                        if let Ok(jid) = Jid::new(jid) {
                            let list = if *always {
                                &mut wanted.always
                            } else {
                                &mut wanted.never
                            };
                            list.insert(jid.as_str().to_owned());
                        }
                    }
                    _ => {}
                }
            }
            whole.preferences = Some(wanted);
        }
        Ok(())
    }

    fn archived(
        &mut self,
        path: &Path,
        items: Vec<(usize, Table)>,
        owner: &BareJid,
        is_room: bool,
    ) -> Vec<omnid_xmpp::data::whole::Archived> {
        let mut archive = Vec::new();
        for (line, item) in items {
            // Rooms' logs have who came and went, too.
            if item.text("name") != Some("message") {
                continue;
            }
            let id = item.text("key").unwrap_or_default().to_owned();
            let at = when(&item);
            let message = self.element(path, line, &item);
            let one = message.and_then(|m| pie::archived(&m, &id, at, owner, is_room));
            match one {
                Some(one) => archive.push(one),
                None => {
                    let advice = "has no id, no time or no message";
                    self.add(path, line, Kind::Lost, "an archived message", advice);
                }
            }
        }
        archive.sort_by_key(|message| message.at);
        archive
    }

    fn room(&mut self) -> Result<Option<What>, MoveError> {
        let name = decoded(self.file);
        let Some((path, config)) = self.table("config")? else {
            return Ok(None);
        };
        let jid = match BareJid::from_parts(&name, self.host) {
            Ok(jid) => jid,
            Err(error) => {
                self.add(&path, 0, Kind::Lost, &name, &error.to_string());
                return Ok(None);
            }
        };
        let empty = Table::default();
        let data = config.inner("_data").unwrap_or(&empty);
        let kept = kept_room(&config, data);
        if data.flag("persistent") != Some(true) {
            let advice = "was only there as long as somebody was in";
            self.add(&path, 0, Kind::Needless, &name, advice);
            return Ok(None);
        }
        for (what, advice) in [
            (
                "default_role",
                "who enters may speak unless the room is moderated",
            ),
            ("presence_broadcast", "everybody's presence is shown"),
            (
                "allow_pm",
                "who is in can talk to each other, or nobody can",
            ),
        ] {
            if let Some(value) = data.get(what)
                && !matches!(value, Lua::Text(text) if text == "anyone")
                && value.table().is_none_or(|table| !table.keyed.is_empty())
            {
                self.add(&path, 0, Kind::Changed, &format!("{name}: {what}"), advice);
            }
        }
        let (log, items) = self.items("muc_log")?;
        let archive = self.archived(&log, items, &jid, true);
        let mut kept = kept;
        if let Some((path, card)) = self.table("vcard_muc")? {
            let card = self.element(&path, 1, &card);
            kept.card = card.map(|card| card.to_document());
        }
        Ok(Some(What::Room(Box::new(WholeRoom { jid, kept, archive }))))
    }
}

//! XEP-0227, the portable format of users' data: reading it, whoever wrote it, and writing it so
//! that reading it again gives the same. What the format has no word for is in elements of our own
//! namespace beside it, which others pass over.

mod write;

use std::path::Path;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use omnid_identity::{
    Address, DigestAlgorithm, Role, Roles, ScramHash, ScramVerifier,
    moving::{DigestVerifier, Moving, Verifiers},
};
use omnid_xmpp::{
    data::whole::{Archived, Node, Private, Waiting, Whole, WholeRoom},
    engine::{
        archive::Preferences,
        pubsub::{Access, ITEMS, Item, NodeConfig, SendLast},
        room::{Affiliation, Kept, RoomConfig, Subject},
        roster::Contact,
    },
    wire::{BareJid, Element, Jid, Stanza, form::Form, ns, time},
};
use zeroize::Zeroizing;

use super::{
    MoveError, Moved, MovedAccount, Secret, Source, What, privacy,
    split::{Piece, Pieces},
};
use crate::report::{Finding, Kind};

pub use write::{Exported, export};

const PIE: &str = "urn:xmpp:pie:0";
const SCRAM: &str = "urn:xmpp:pie:0#scram";
const ARCHIVE: &str = "urn:xmpp:pie:0#mam";
/// What the format has no word for.
const OWN: &str = "urn:omnid:pie:0";

pub(super) fn open(path: &Path) -> Result<Source, MoveError> {
    let pieces = Pieces::open(path)?;
    Ok(Box::new(pieces.map(|piece| Ok(moved(&piece?)))))
}

/// The same of what `ejabberdctl export_piefxis` wrote into a directory: the last time, if it did
/// several times.
pub(super) fn open_export(path: &Path) -> Result<Source, MoveError> {
    if !path.is_dir() {
        return open(path);
    }
    let failed = |source| MoveError::File {
        path: path.to_owned(),
        source,
    };
    let mut found = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let file = entry.map_err(failed)?.path();
        let is_whole = file.extension().is_some_and(|ending| ending == "xml")
            && super::read(&file)?
                .windows(13)
                .any(|part| part == b"<server-data ");
        if is_whole {
            found.push(file);
        }
    }
    match found.into_iter().max() {
        Some(document) => open(&document),
        None => Err(failed(std::io::ErrorKind::NotFound.into())),
    }
}

/// What was found, with a place for each thing that stays behind.
struct Findings<'a> {
    piece: &'a Piece,
    whose: String,
    found: Vec<Finding>,
}

impl Findings<'_> {
    fn add(&mut self, kind: Kind, text: &str, advice: &str) {
        let text = if self.whose.is_empty() {
            text.to_owned()
        } else {
            format!("{}: {text}", self.whose)
        };
        self.found.push(Finding {
            file: self.piece.file.clone(),
            line: self.piece.line,
            kind,
            text,
            advice: advice.to_owned(),
        });
    }

    fn lost(&mut self, text: &str, advice: &str) {
        self.add(Kind::Lost, text, advice);
    }
}

fn moved(piece: &Piece) -> Moved {
    let mut findings = Findings {
        piece,
        whose: String::new(),
        found: Vec::new(),
    };
    let element = &piece.element;
    let what = match (element.ns(), element.name()) {
        (PIE, "user") => user(piece, &mut findings),
        (OWN, "room") => room(piece, &mut findings),
        (_, name) => {
            findings.lost(&format!("<{name}/>"), "is not known here");
            None
        }
    };
    Moved {
        what: what.unwrap_or(What::Nothing),
        findings: findings.found,
    }
}

fn user(piece: &Piece, findings: &mut Findings<'_>) -> Option<What> {
    let element = &piece.element;
    let name = element.get_attr("name").unwrap_or_default();
    let address = match Address::new(name, &piece.host) {
        Ok(address) => address,
        Err(error) => {
            findings.lost("a user", &error.to_string());
            return None;
        }
    };
    address.as_str().clone_into(&mut findings.whose);
    let Ok(own) = BareJid::new(address.as_str()) else {
        findings.lost("a user", "the name cannot be an address of XMPP");
        return None;
    };
    let mut verifiers = Verifiers::default();
    let mut moving = Moving::default();
    let mut whole = Whole::default();
    let mut configs = Vec::new();
    for child in element.children() {
        match (child.ns(), child.name()) {
            (SCRAM, "scram-credentials") => match scram(child) {
                Some(verifier) => verifiers.scram.push(verifier),
                None => findings.lost(
                    "credentials",
                    &format!(
                        "{:?} is not known here, or they are not whole",
                        child.get_attr("mechanism").unwrap_or_default()
                    ),
                ),
            },
            (ns::ROSTER, "query") => {
                for item in child.children().filter(|item| item.name() == "item") {
                    contact(item, &own, &mut whole, findings);
                }
            }
            (ns::CLIENT, "presence") if child.get_attr("type") == Some("subscribe") => {
                asked(child, &mut whole, findings);
            }
            (PIE, "offline-messages") => {
                for message in child.children() {
                    match waiting(message, &own) {
                        Some(message) => whole.offline.push(message),
                        None => findings.lost("a waiting message", "is no message"),
                    }
                }
            }
            (ns::PRIVATE, "query") => whole.private.extend(child.children().map(|kept| Private {
                namespace: kept.ns().to_owned(),
                element: kept.name().to_owned(),
                content: kept.to_document(),
            })),
            (ns::VCARD, "vCard") => whole.vcard = Some(child.to_document()),
            ("jabber:iq:privacy", "query") => {
                let (jids, lost) = privacy::blocked(child);
                whole.blocked.extend(jids);
                for lost in lost {
                    findings.lost(&lost, "only what blocks an address comes over");
                }
            }
            (ns::BLOCKING, "blocklist") => {
                let jids = child.children().filter_map(|item| item.get_attr("jid"));
                let jids = jids.filter_map(|jid| Jid::new(jid).ok());
                whole
                    .blocked
                    .extend(jids.map(|jid| jid.as_str().to_owned()));
            }
            (ns::MAM, "prefs") => match Preferences::parse(child) {
                Ok(preferences) => whole.preferences = Some(preferences),
                Err(_) => findings.lost("what is archived", "is not as XEP-0441 says"),
            },
            (ns::PUBSUB_OWNER, "pubsub") => configs.extend(child.children().cloned()),
            (ns::PUBSUB, "pubsub") => {
                for items in child.children().filter(|items| items.name() == "items") {
                    node(items, &mut whole);
                }
            }
            (ARCHIVE, "archive") => archive(child, &own, false, &mut whole.archive, findings),
            (OWN, "account") => own_words(child, &mut moving, &mut verifiers, &mut whole),
            (_, name) => findings.lost(&format!("<{name}/>"), "is not known here"),
        }
    }
    configure(&configs, &mut whole, findings);
    let secret = match element.get_attr("password") {
        _ if !verifiers.scram.is_empty() => Secret::Verifiers(verifiers),
        Some(password) => Secret::Password(Zeroizing::new(password.to_owned())),
        None => Secret::Unknown,
    };
    Some(What::Account(Box::new(MovedAccount {
        address,
        secret,
        moving,
        whole,
    })))
}

fn scram(element: &Element) -> Option<(ScramHash, ScramVerifier)> {
    let mechanism = element.get_attr("mechanism")?;
    let hash = ScramHash::ALL
        .into_iter()
        .find(|hash| hash.mechanism() == mechanism)?;
    let text = |name| Some(element.get_child(name, SCRAM)?.text_content());
    let bytes = |name| BASE64.decode(text(name)?.trim()).ok();
    let (mut salt, mut stored, mut server) =
        (bytes("salt")?, bytes("stored-key")?, bytes("server-key")?);
    // ejabberd writes the Base64 of what it keeps, which is Base64.
    if stored.len() != hash.length() {
        for value in [&mut salt, &mut stored, &mut server] {
            *value = BASE64.decode(&*value).ok()?;
        }
    }
    let iterations = text("iter-count")?.trim().parse().ok()?;
    verifier(hash, salt, iterations, stored, server).map(|verifier| (hash, verifier))
}

/// A verifier, if it is whole.
pub(super) fn verifier(
    hash: ScramHash,
    salt: Vec<u8>,
    iterations: u32,
    stored_key: Vec<u8>,
    server_key: Vec<u8>,
) -> Option<ScramVerifier> {
    let whole = stored_key.len() == hash.length()
        && server_key.len() == hash.length()
        && !salt.is_empty()
        && (1..=10_000_000).contains(&iterations);
    whole.then_some(ScramVerifier {
        salt,
        iterations,
        stored_key,
        server_key,
        exists: true,
    })
}

fn contact(item: &Element, own: &BareJid, whole: &mut Whole, findings: &mut Findings<'_>) {
    let text = item.get_attr("jid").unwrap_or_default();
    let Ok(jid) = Jid::new(text).map(|jid| jid.to_bare()) else {
        return findings.lost(&format!("contact {text:?}"), "is no address");
    };
    if jid == *own || whole.contacts.iter().any(|(there, _)| *there == jid) {
        return findings.add(
            Kind::Changed,
            &format!("contact {text:?}"),
            "is themselves, or there twice: once is enough",
        );
    }
    let mut contact = Contact {
        listed: item.get_attr("listed") != Some("false"),
        name: item
            .get_attr("name")
            .filter(|name| !name.is_empty())
            .map(Into::into),
        approved: item.get_attr("approved") == Some("true"),
        ..Contact::default()
    };
    for group in item.children().filter(|group| group.name() == "group") {
        let group: Box<str> = group.text_content().into();
        if !group.is_empty() && !contact.groups.contains(&group) {
            contact.groups.push(group);
        }
    }
    let asks = item.get_attr("ask") == Some("subscribe");
    relate(&mut contact, item.get_attr("subscription"), asks);
    whole.contacts.push((jid, contact));
}

/// Sets who sees whom.
pub(super) fn relate(contact: &mut Contact, subscription: Option<&str>, asks: bool) {
    let state = &mut contact.subscription;
    (state.to, state.from) = match subscription {
        Some("both") => (true, true),
        Some("to") => (true, false),
        Some("from") => (false, true),
        _ => (false, false),
    };
    state.pending_out = asks && !state.to;
}

/// Somebody who asked to see the user's presence.
fn asked(presence: &Element, whole: &mut Whole, findings: &mut Findings<'_>) {
    let from = presence.get_attr("from").unwrap_or_default();
    match Jid::new(from) {
        Ok(from) => pending(&from.to_bare(), presence, whole),
        Err(_) => findings.lost(&format!("a request of {from:?}"), "is from no address"),
    }
}

/// Notes that a contact asks, by `presence`.
pub(super) fn pending(from: &BareJid, presence: &Element, whole: &mut Whole) {
    let at = whole.contacts.iter().position(|(jid, _)| jid == from);
    let at = at.unwrap_or_else(|| {
        whole.contacts.push((from.clone(), Contact::default()));
        whole.contacts.len() - 1
    });
    if let Some((_, contact)) = whole.contacts.get_mut(at)
        && !contact.subscription.from
    {
        contact.subscription.pending_in = true;
        contact.request = Stanza::from_element(presence).map(|stanza| stanza.bytes());
    }
}

/// A message that waits, since when the stamp says that the user's server put on it.
fn waiting(message: &Element, own: &BareJid) -> Option<Waiting> {
    let mut message = message.clone();
    let domain = own.as_jid().domain().to_owned();
    let by_server = |delay: &Element| {
        delay.is("delay", ns::DELAY) && delay.get_attr("from").is_none_or(|from| from == domain)
    };
    let stamp = message.children().find(|delay| by_server(delay));
    let stamp = stamp.and_then(|delay| time::parse_micros(delay.get_attr("stamp")?));
    message.retain(|child| !by_server(child));
    kept_message(&message, stamp.unwrap_or_default())
}

/// A message as it is kept for somebody who is away.
pub(super) fn kept_message(message: &Element, micros: u64) -> Option<Waiting> {
    if !message.is("message", ns::CLIENT) {
        return None;
    }
    let stanza = Stanza::from_element(message)?.bytes();
    Some(Waiting {
        at: micros / 1_000_000,
        stanza,
    })
}

fn archive(
    element: &Element,
    owner: &BareJid,
    is_room: bool,
    archive: &mut Vec<Archived>,
    findings: &mut Findings<'_>,
) {
    for result in element
        .children()
        .filter(|result| result.is("result", ns::MAM))
    {
        let forwarded = result.get_child("forwarded", ns::FORWARD);
        let stamp = forwarded
            .and_then(|forwarded| forwarded.get_child("delay", ns::DELAY))
            .and_then(|delay| time::parse_micros(delay.get_attr("stamp")?));
        let message = forwarded.and_then(|forwarded| forwarded.get_child("message", ns::CLIENT));
        let id = result.get_attr("id").unwrap_or_default();
        let archived = stamp
            .zip(message)
            .and_then(|(stamp, message)| archived(message, id, stamp, owner, is_room));
        match archived {
            Some(message) => archive.push(message),
            None => findings.lost(
                &format!("archived message {id:?}"),
                "has no id, no time or no message",
            ),
        }
    }
}

/// A message as it is archived for `owner`.
pub(super) fn archived(
    message: &Element,
    id: &str,
    at: u64,
    owner: &BareJid,
    is_room: bool,
) -> Option<Archived> {
    let side = |name| message.get_attr(name).and_then(|jid| Jid::new(jid).ok());
    let (from, to) = (side("from"), side("to"));
    let peer = match (is_room, from) {
        (true, from) => from?,
        (false, Some(from)) if from.bare_str() != owner.as_str() => from,
        (false, _) => to.unwrap_or_else(|| owner.as_jid().clone()),
    };
    if id.is_empty() || at == 0 {
        return None;
    }
    Some(Archived {
        name: id.to_owned(),
        at,
        peer: peer.bare_str().into(),
        resource: peer.resource().unwrap_or_default().into(),
        stanza: Stanza::from_element(message)?.bytes(),
    })
}

fn node(items: &Element, whole: &mut Whole) {
    let Some(name) = items.get_attr("node") else {
        return;
    };
    let found = items.children().filter(|item| item.name() == "item");
    let found = found.filter_map(|item| {
        let payload = item.children().next().map(Element::to_document);
        Some(Item {
            id: item.get_attr("id")?.to_owned(),
            payload: payload.unwrap_or_default(),
        })
    });
    let found: Vec<_> = found.collect();
    named_node(whole, name).items.extend(found);
}

fn named_node<'a>(whole: &'a mut Whole, name: &str) -> &'a mut Node {
    let at = whole.nodes.iter().position(|node| node.name == name);
    let at = at.unwrap_or(whole.nodes.len());
    if at == whole.nodes.len() {
        whole.nodes.push(Node {
            name: name.to_owned(),
            config: NodeConfig::default(),
            items: Vec::new(),
        });
    }
    &mut whole.nodes[at]
}

fn configure(configs: &[Element], whole: &mut Whole, findings: &mut Findings<'_>) {
    for config in configs {
        let Some(name) = config.get_attr("node") else {
            continue;
        };
        let node = named_node(whole, name);
        match config.name() {
            "configure" => {
                let Some(form) = config.children().find_map(Form::parse) else {
                    continue;
                };
                let (config, lost) = node_config(|name| {
                    let value = form.get(&format!("pubsub#{name}"))?;
                    Some(value.trim().to_owned())
                });
                node.config = config;
                for lost in lost {
                    findings.add(Kind::Changed, &format!("node {name:?}"), &lost);
                }
            }
            other if config.children().next().is_some() => findings.lost(
                &format!("{other} of node {name:?}"),
                "nodes of accounts are read by those who see their presence, or by all",
            ),
            _ => {}
        }
    }
    bound(whole, findings);
}

fn bound(whole: &mut Whole, findings: &mut Findings<'_>) {
    for node in &mut whole.nodes {
        let most = node.config.max_items as usize;
        if node.items.len() > most {
            let over = node.items.len() - most;
            node.items.drain(..over);
            findings.lost(
                &format!("the oldest {over} items of node {:?}", node.name),
                &format!("a node has at most {most} here"),
            );
        }
    }
}

/// A node's configuration from the fields of XEP-0060 16.4.4, and what of it is otherwise here.
pub(super) fn node_config(get: impl Fn(&str) -> Option<String>) -> (NodeConfig, Vec<String>) {
    let mut config = NodeConfig::default();
    let mut lost = Vec::new();
    match get("access_model").as_deref() {
        Some("open") => config.access = Access::Open,
        Some("presence") | None => {}
        Some("whitelist") => config.access = Access::Whitelist,
        Some(other) => {
            config.access = Access::Whitelist;
            lost.push(format!(
                "access model {other:?} is not known here: only the account itself can read it"
            ));
        }
    }
    if let Some(flag) = get("persist_items") {
        config.persist_items = flag != "0" && flag != "false";
    }
    config.max_items = match get("max_items").as_deref() {
        Some("max") => ITEMS,
        Some(number) => match number.parse::<f64>() {
            Ok(number) if number >= f64::from(ITEMS) => ITEMS,
            Ok(number) if number >= 1.0 => number as u32,
            _ => 1,
        },
        None => config.max_items,
    };
    config.send_last = match get("send_last_published_item").as_deref() {
        Some("never") => SendLast::Never,
        Some("on_sub") => SendLast::OnSub,
        _ => SendLast::OnSubAndPresence,
    };
    config.title = get("title").unwrap_or_default();
    (config, lost)
}

fn own_words(element: &Element, moving: &mut Moving, verifiers: &mut Verifiers, whole: &mut Whole) {
    let number = |name| {
        element
            .get_attr(name)
            .and_then(|number| number.parse().ok())
    };
    element
        .get_attr("display-name")
        .unwrap_or_default()
        .clone_into(&mut moving.display_name);
    moving.enabled = element.get_attr("enabled") != Some("false");
    if let Some(roles) = element.get_attr("roles") {
        let roles = roles.split_whitespace().filter_map(Role::from_name);
        moving.roles = roles.collect::<Roles>();
    }
    moving.created_at = number("created").unwrap_or(moving.created_at);
    moving.password_changed_at = number("password-changed").unwrap_or(moving.password_changed_at);
    for child in element.children() {
        let attr = |name| child.get_attr(name).unwrap_or_default();
        match child.name() {
            "digest" => {
                let named = |algorithm: &DigestAlgorithm| algorithm.name() == attr("algorithm");
                if let Some(algorithm) = DigestAlgorithm::ALL.into_iter().find(named) {
                    verifiers.digest.push(DigestVerifier {
                        username: attr("username").to_owned(),
                        algorithm,
                        ha1: attr("ha1").to_owned(),
                    });
                }
            }
            "last" => {
                let at = attr("at").parse().unwrap_or_default();
                whole.last = Some((at, child.text_content()));
            }
            _ => {}
        }
    }
}

fn room(piece: &Piece, findings: &mut Findings<'_>) -> Option<What> {
    let element = &piece.element;
    let attr = |name| element.get_attr(name).unwrap_or_default();
    let Ok(jid) = BareJid::from_parts(attr("name"), &piece.host) else {
        findings.lost(&format!("room {:?}", attr("name")), "is no address");
        return None;
    };
    jid.as_str().clone_into(&mut findings.whose);
    let mut kept = Kept {
        salt: attr("salt").to_owned(),
        creator: attr("creator").to_owned(),
        ..Kept::default()
    };
    let mut messages = Vec::new();
    for child in element.children() {
        match (child.ns(), child.name()) {
            (ns::DATA_FORMS, "x") => {
                let form = Form::parse(child).unwrap_or_default();
                match RoomConfig::default().with(&form) {
                    Ok(config) => kept.config = config,
                    Err(_) => findings.lost("its configuration", "makes no sense"),
                }
            }
            (OWN, "subject") => {
                let at = child.get_attr("stamp").and_then(time::parse_micros);
                kept.subject = Some(Subject {
                    text: child.text_content(),
                    nick: child.get_attr("nick").unwrap_or_default().to_owned(),
                    at: at.unwrap_or_default(),
                });
            }
            (ns::MUC_ADMIN, "query") => {
                for item in child.children() {
                    let affiliation = item.get_attr("affiliation");
                    let affiliation = affiliation.and_then(Affiliation::from_name);
                    let who = item.get_attr("jid").and_then(|jid| Jid::new(jid).ok());
                    if let (Some(affiliation), Some(who)) = (affiliation, who) {
                        kept.affiliations
                            .insert(who.bare_str().to_owned(), affiliation);
                    }
                }
            }
            (ns::VCARD, "vCard") => kept.card = Some(child.to_document()),
            (ARCHIVE, "archive") => archive(child, &jid, true, &mut messages, findings),
            (_, name) => findings.lost(&format!("<{name}/>"), "is not known here"),
        }
    }
    Some(What::Room(Box::new(WholeRoom {
        jid,
        kept,
        archive: messages,
    })))
}

fn document(text: &str) -> Option<Element> {
    Element::parse(text.as_bytes(), &omnid_xmpp::wire::Scope::empty()).ok()
}

fn stanza(bytes: &[u8]) -> Option<Element> {
    Element::parse(bytes, &omnid_xmpp::wire::Scope::client()).ok()
}

#[cfg(test)]
mod tests;

//! XEP-0227, the portable format of users' data: reading it, whoever wrote it, and writing it so
//! that reading it again gives the same. What the format has no word for is in elements of our own
//! namespace beside it, which others pass over.

use std::{io::Write, path::Path};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use omnid_identity::{
    Address, DigestAlgorithm, Identity, Role, Roles, ScramHash, ScramVerifier,
    moving::{self, DigestVerifier, Moving, Verifiers},
};
use omnid_store::Database;
use omnid_xmpp::{
    data::{
        self,
        whole::{self, Archived, Node, Private, Waiting, Whole, WholeRoom},
    },
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

const PIE: &str = "urn:xmpp:pie:0";
const SCRAM: &str = "urn:xmpp:pie:0#scram";
const ARCHIVE: &str = "urn:xmpp:pie:0#mam";
/// What the format has no word for.
const OWN: &str = "urn:omnid:pie:0";

pub(super) fn open(path: &Path) -> Result<Source, MoveError> {
    let pieces = Pieces::open(path)?;
    Ok(Box::new(pieces.map(|piece| Ok(moved(&piece?)))))
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
    verifier(
        hash,
        bytes("salt")?,
        text("iter-count")?.trim().parse().ok()?,
        bytes("stored-key")?,
        bytes("server-key")?,
    )
    .map(|verifier| (hash, verifier))
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

/// How much was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Exported {
    /// Accounts.
    pub accounts: u64,
    /// Rooms.
    pub rooms: u64,
}

/// Writes everybody, or those of one domain (and its rooms' domains), as a document.
///
/// # Errors
/// When the database fails, or the document cannot be written.
pub async fn export(
    identity: &Identity,
    database: &Database,
    domain: Option<&str>,
    out: &mut (dyn Write + Send),
) -> Result<Exported, MoveError> {
    data::migrate(database).await?;
    let mut exported = Exported::default();
    let failed = |source| MoveError::File {
        path: "the document".into(),
        source,
    };
    let mut put = |text: &str| out.write_all(text.as_bytes()).map_err(failed);
    put("<?xml version='1.0' encoding='UTF-8'?>\n<server-data xmlns='urn:xmpp:pie:0'>\n")?;
    let mut host: Option<String> = None;
    for account in identity.list(domain).await? {
        let address = account.address;
        if host.as_deref() != Some(address.domain()) {
            if host.is_some() {
                put("</host>\n")?;
            }
            put(&opening(address.domain()))?;
            host = Some(address.domain().to_owned());
        }
        let jid = super::jid(address.as_str())?;
        let found = database
            .read(move |reader| {
                let Some(moving) = moving::leaving(reader, &address)? else {
                    return Ok(None);
                };
                let whole = whole::load(reader, &jid)?;
                Ok(Some(written(&address, &moving, &whole)))
            })
            .await?;
        if let Some(user) = found {
            let mut text = String::new();
            user.write(PIE, &mut text);
            put(&text)?;
            put("\n")?;
            exported.accounts += 1;
        }
    }
    if host.take().is_some() {
        put("</host>\n")?;
    }
    let wanted = |room: &BareJid| {
        domain.is_none_or(|domain| {
            let host = room.as_jid().domain();
            host == domain
                || host
                    .strip_suffix(domain)
                    .is_some_and(|sub| sub.ends_with('.'))
        })
    };
    for room in database.read(data::rooms::all).await? {
        let Some(room) = BareJid::new(&room).ok().filter(wanted) else {
            continue;
        };
        if host.as_deref() != Some(room.as_jid().domain()) {
            if host.is_some() {
                put("</host>\n")?;
            }
            put(&opening(room.as_jid().domain()))?;
            host = Some(room.as_jid().domain().to_owned());
        }
        let found = database
            .read(move |reader| whole::load_room(reader, &room))
            .await?;
        if let Some(room) = found {
            let mut text = String::new();
            written_room(&room).write(PIE, &mut text);
            put(&text)?;
            put("\n")?;
            exported.rooms += 1;
        }
    }
    if host.is_some() {
        put("</host>\n")?;
    }
    put("</server-data>\n")?;
    out.flush().map_err(failed)?;
    Ok(exported)
}

fn opening(host: &str) -> String {
    let element = Element::new("host", PIE).attr("jid", host);
    let mut text = String::new();
    element.write(PIE, &mut text);
    format!("{}>\n", text.trim_end_matches("/>"))
}

/// An account as `<user/>`.
fn written(address: &Address, moving: &Moving, whole: &Whole) -> Element {
    let mut user = Element::new("user", PIE).attr("name", address.user());
    for (hash, verifier) in &moving.verifiers.scram {
        let text = |name, text: String| Element::new(name, SCRAM).text(text);
        user.push(
            Element::new("scram-credentials", SCRAM)
                .attr("mechanism", hash.mechanism())
                .child(text("iter-count", verifier.iterations.to_string()))
                .child(text("salt", BASE64.encode(&verifier.salt)))
                .child(text("server-key", BASE64.encode(&verifier.server_key)))
                .child(text("stored-key", BASE64.encode(&verifier.stored_key))),
        );
    }
    let roles: Vec<_> = moving.roles.iter().map(Role::name).collect();
    let mut own = Element::new("account", OWN)
        .attr_opt(
            "display-name",
            (!moving.display_name.is_empty()).then_some(&*moving.display_name),
        )
        .attr_opt("enabled", (!moving.enabled).then_some("false"))
        .attr("roles", roles.join(" "))
        .attr("created", moving.created_at.to_string())
        .attr("password-changed", moving.password_changed_at.to_string());
    for digest in &moving.verifiers.digest {
        own.push(
            Element::new("digest", OWN)
                .attr("username", digest.username.as_str())
                .attr("algorithm", digest.algorithm.name())
                .attr("ha1", digest.ha1.as_str()),
        );
    }
    if let Some((at, status)) = &whole.last {
        own.push(
            Element::new("last", OWN)
                .attr("at", at.to_string())
                .text(status.as_str()),
        );
    }
    user.push(own);
    write_contacts(&mut user, whole);
    if let Some(vcard) = whole.vcard.as_deref().and_then(document) {
        user.push(vcard);
    }
    if !whole.private.is_empty() {
        let kept = whole.private.iter();
        let kept = kept.filter_map(|private| document(&private.content));
        user.push(Element::new("query", ns::PRIVATE).children_from(kept));
    }
    if !whole.blocked.is_empty() {
        let jids = whole.blocked.iter();
        let jids = jids.map(|jid| Element::new("item", ns::BLOCKING).attr("jid", jid.as_str()));
        user.push(Element::new("blocklist", ns::BLOCKING).children_from(jids));
    }
    if let Some(preferences) = &whole.preferences {
        user.push(preferences.to_element());
    }
    if !whole.nodes.is_empty() {
        let configs = whole.nodes.iter().map(|node| {
            Element::new("configure", ns::PUBSUB_OWNER)
                .attr("node", node.name.as_str())
                .child(node.config.to_form("submit"))
        });
        user.push(Element::new("pubsub", ns::PUBSUB_OWNER).children_from(configs));
        let items = whole.nodes.iter().map(|node| {
            let items = node.items.iter().map(|item| item.to_element(ns::PUBSUB));
            Element::new("items", ns::PUBSUB)
                .attr("node", node.name.as_str())
                .children_from(items)
        });
        user.push(Element::new("pubsub", ns::PUBSUB).children_from(items));
    }
    if !whole.offline.is_empty() {
        let messages = whole.offline.iter().filter_map(|waiting| {
            let mut message = stanza(&waiting.stanza)?;
            let stamp = time::format_micros(waiting.at.saturating_mul(1_000_000));
            message.push(
                Element::new("delay", ns::DELAY)
                    .attr("from", jid_domain(address))
                    .attr("stamp", stamp),
            );
            Some(message)
        });
        user.push(Element::new("offline-messages", PIE).children_from(messages));
    }
    if !whole.archive.is_empty() {
        user.push(written_archive(&whole.archive));
    }
    user
}

/// The domain as the XMPP service writes it.
fn jid_domain(address: &Address) -> String {
    let jid = BareJid::new(address.as_str());
    jid.map_or_else(
        |_| address.domain().to_owned(),
        |jid| jid.as_jid().domain().to_owned(),
    )
}

fn write_contacts(user: &mut Element, whole: &Whole) {
    let mut roster = Element::new("query", ns::ROSTER);
    let mut requests = Vec::new();
    for (jid, contact) in &whole.contacts {
        let state = contact.subscription;
        if state.pending_in {
            let plain = || {
                Element::new("presence", ns::CLIENT)
                    .attr("from", jid.as_str())
                    .attr("type", "subscribe")
            };
            let request = contact.request.as_ref().and_then(|bytes| stanza(bytes));
            requests.push(request.unwrap_or_else(plain));
        }
        let only_asks =
            !contact.listed && !contact.approved && !state.to && !state.from && !state.pending_out;
        if only_asks {
            continue;
        }
        let groups = contact.groups.iter();
        let groups = groups.map(|group| Element::new("group", ns::ROSTER).text(&**group));
        roster.push(
            Element::new("item", ns::ROSTER)
                .attr("jid", jid.as_str())
                .attr_opt("name", contact.name.as_deref())
                .attr("subscription", state.as_str())
                .attr_opt("ask", state.pending_out.then_some("subscribe"))
                .attr_opt("approved", contact.approved.then_some("true"))
                .attr_opt("listed", (!contact.listed).then_some("false"))
                .children_from(groups),
        );
    }
    if roster.children().next().is_some() {
        user.push(roster);
    }
    for request in requests {
        user.push(request);
    }
}

fn written_archive(archive: &[Archived]) -> Element {
    let results = archive.iter().filter_map(|message| {
        let delay = Element::new("delay", ns::DELAY).attr("stamp", time::format_micros(message.at));
        let forwarded = Element::new("forwarded", ns::FORWARD)
            .child(delay)
            .child(stanza(&message.stanza)?);
        let result = Element::new("result", ns::MAM).attr("id", message.name.as_str());
        Some(result.child(forwarded))
    });
    Element::new("archive", ARCHIVE).children_from(results)
}

/// A room as `<room/>`.
fn written_room(room: &WholeRoom) -> Element {
    let kept = &room.kept;
    let mut form = kept.config.to_form();
    form.set_attr("type", "submit");
    let mut element = Element::new("room", OWN)
        .attr("name", room.jid.as_jid().local().unwrap_or_default())
        .attr("creator", kept.creator.as_str())
        .attr("salt", kept.salt.as_str())
        .child(form);
    if let Some(subject) = &kept.subject {
        element.push(
            Element::new("subject", OWN)
                .attr("nick", subject.nick.as_str())
                .attr("stamp", time::format_micros(subject.at))
                .text(subject.text.as_str()),
        );
    }
    let items = kept.affiliations.iter().map(|(jid, affiliation)| {
        Element::new("item", ns::MUC_ADMIN)
            .attr("affiliation", affiliation.as_str())
            .attr("jid", jid.as_str())
    });
    element.push(Element::new("query", ns::MUC_ADMIN).children_from(items));
    if let Some(card) = kept.card.as_deref().and_then(document) {
        element.push(card);
    }
    if !room.archive.is_empty() {
        element.push(written_archive(&room.archive));
    }
    element
}

fn document(text: &str) -> Option<Element> {
    Element::parse(text.as_bytes(), &omnid_xmpp::wire::Scope::empty()).ok()
}

fn stanza(bytes: &[u8]) -> Option<Element> {
    Element::parse(bytes, &omnid_xmpp::wire::Scope::client()).ok()
}

#[cfg(test)]
mod tests;

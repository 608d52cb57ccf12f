//! Writing it.

use std::io::Write;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use omnid_identity::{
    Address, Identity, Role,
    moving::{self, Moving},
};
use omnid_store::Database;
use omnid_xmpp::{
    data::{
        self,
        whole::{self, Archived, Whole, WholeRoom},
    },
    wire::{BareJid, Element, ns, time},
};

use super::{ARCHIVE, OWN, PIE, SCRAM, document, stanza};
use crate::xmpp::MoveError;

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
        let jid = crate::xmpp::jid(address.as_str())?;
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
pub(super) fn written(address: &Address, moving: &Moving, whole: &Whole) -> Element {
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
pub(super) fn written_room(room: &WholeRoom) -> Element {
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

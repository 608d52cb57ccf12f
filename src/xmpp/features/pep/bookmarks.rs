//! XEP-0402 with `#compat`: bookmarks in private storage (XEP-0048 over XEP-0049) are the ones at
//! the node.

use super::Publication;
use crate::{
    data,
    engine::pubsub::{Access, Happened, ITEMS, Item, NodeConfig, SendLast},
    features::{Asked, Feature, Reply, Spec, nothing},
    wire::{Condition, Element, Jid, Scope, ns},
};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "bookmarks",
    spec: Spec::Xep(402, "1.2.0"),
    more: &[Spec::Xep(48, "1.2")],
    server: &[],
    account: &["urn:xmpp:bookmarks:1#compat"],
    identities: &[],
    stream: nothing,
    handlers: &[],
};

/// How the node is made if no client has made it.
fn config() -> NodeConfig {
    NodeConfig {
        access: Access::Whitelist,
        persist_items: true,
        max_items: ITEMS,
        send_last: SendLast::Never,
        title: String::new(),
    }
}

/// Whether an element of private storage is the bookmarks.
pub fn is_storage(element: &Element, asked: &Asked<'_>) -> bool {
    element.is("storage", ns::BOOKMARKS_STORAGE) && asked.features.has(FEATURE.name)
}

/// What an older client asks for, made of what is at the node.
pub fn load(asked: &Asked<'_>) -> Option<Reply> {
    let owner = asked.account.as_deref()?.jid().clone();
    Some(Reply::Read(Box::new(move |reader| {
        let items = data::pubsub::items(reader, owner.as_str(), ns::BOOKMARKS, ITEMS)?;
        let rooms = items.iter().filter_map(|item| {
            let conference = item.element()?;
            let text = |name: &'static str| {
                let found = conference.get_child(name, ns::BOOKMARKS)?.text_content();
                Some(Element::new(name, ns::BOOKMARKS_STORAGE).text(found))
            };
            let flag = |name| conference.get_attr(name).map(ToOwned::to_owned);
            let old = Element::new("conference", ns::BOOKMARKS_STORAGE)
                .attr("jid", item.id.as_str())
                .attr_opt("name", flag("name"))
                .attr_opt("autojoin", flag("autojoin"))
                .children_from(text("nick"))
                .children_from(text("password"));
            Some(old)
        });
        let storage = Element::new("storage", ns::BOOKMARKS_STORAGE).children_from(rooms);
        Ok(Element::new("query", ns::PRIVATE).child(storage).into())
    })))
}

/// What an older client stores, published at the node; what it no longer has is taken back.
pub fn store(asked: &Asked<'_>, storage: &Element) -> Option<Reply> {
    let account = asked.account.as_deref()?;
    let items = match read(storage) {
        Ok(items) => items,
        Err(condition) => return Some(condition.into()),
    };
    let publication = Publication::new(account, ns::BOOKMARKS, config(), items);
    let owner = account.jid().clone();
    Some(Reply::Write(Box::new(move |tx| {
        let before = data::pubsub::items(tx, owner.as_str(), ns::BOOKMARKS, ITEMS)?;
        let mut publication = publication.clone();
        let mut gone = Vec::new();
        for old in before {
            match publication.items.iter().position(|item| item.id == old.id) {
                // What newer clients keep in it (its extensions) stays if nothing changed.
                Some(at)
                    if publication
                        .items
                        .get(at)
                        .is_some_and(|new| says_the_same(new, &old)) =>
                {
                    publication.items.remove(at);
                }
                Some(_) => {}
                None => {
                    data::pubsub::retract(tx, owner.as_str(), ns::BOOKMARKS, &old.id)?;
                    gone.push(old.id);
                }
            }
        }
        publication.write(tx, &owner)?;
        Ok(Reply::Account(Box::new(move |account| {
            let mut wishes = crate::engine::wish::Wishes::new();
            for id in gone {
                let happened = Happened::Retracted(id);
                wishes.extend(account.notify(ns::BOOKMARKS, &publication.config, &happened));
            }
            // One notification an item, as of clients that publish them one by one.
            for item in &publication.items {
                let one = Publication {
                    items: vec![item.clone()],
                    ..publication.clone()
                };
                wishes.extend(one.announce(account));
            }
            account
                .nodes
                .insert(publication.node.clone(), publication.config.clone());
            Reply::Done(None, wishes)
        })))
    })))
}

/// Bookmarks as older clients store them, as items.
fn read(storage: &Element) -> Result<Vec<Item>, Condition> {
    let mut items: Vec<Item> = Vec::new();
    for old in storage.children().filter(|old| old.name() == "conference") {
        let jid = Jid::new(old.get_attr("jid").unwrap_or_default());
        let jid = jid.map_err(|_| Condition::JidMalformed)?;
        let text = |name: &'static str| {
            let found = old.get_child(name, ns::BOOKMARKS_STORAGE)?.text_content();
            Some(Element::new(name, ns::BOOKMARKS).text(found))
        };
        let flag = |name| old.get_attr(name).map(ToOwned::to_owned);
        let conference = Element::new("conference", ns::BOOKMARKS)
            .attr_opt("name", flag("name"))
            .attr_opt("autojoin", flag("autojoin"))
            .children_from(text("nick"))
            .children_from(text("password"));
        if items.len() >= ITEMS as usize {
            return Err(Condition::ResourceConstraint);
        }
        // A room that is there twice is as it was put in last.
        items.retain(|item| item.id != jid.as_str());
        items.push(Item {
            id: jid.as_str().to_owned(),
            payload: conference.to_document(),
        });
    }
    Ok(items)
}

/// The node that such bookmarks, as a document, become; `None` where they are none.
pub fn node(storage: &str) -> Option<data::whole::Node> {
    let storage = Element::parse(storage.as_bytes(), &Scope::empty()).ok()?;
    Some(data::whole::Node {
        name: ns::BOOKMARKS.to_owned(),
        config: config(),
        items: read(&storage).ok()?,
    })
}

/// Whether an older client would see no difference.
fn says_the_same(new: &Item, old: &Item) -> bool {
    let said = |item: &Item| {
        let element = item.element()?;
        let text = |name| {
            element
                .get_child(name, ns::BOOKMARKS)
                .map(Element::text_content)
        };
        let flag = |name| element.get_attr(name).map(ToOwned::to_owned);
        let joins = matches!(flag("autojoin").as_deref(), Some("1" | "true"));
        Some((flag("name"), joins, text("nick"), text("password")))
    };
    said(new) == said(old)
}

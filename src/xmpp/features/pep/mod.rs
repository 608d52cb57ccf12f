//! XEP-0163: an account publishes what others may want to know of it, and its own clients share.
//!
//! [`publish`] changes nodes, [`read`] answers what is at them; [`bookmarks`] and [`avatar`] keep
//! what older clients use the same as what newer ones publish.

pub mod avatar;
pub mod bookmarks;
mod publish;
mod read;

pub use publish::Publication;

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::wire::{Condition, Element, ns};

/// The name in `xmpp.disable`.
pub const NAME: &str = "pep";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(163, "1.2.2"),
    more: &[
        Spec::Xep(60, "1.28.0"),
        Spec::Xep(115, "1.6.0"),
        Spec::Xep(223, "1.1.1"),
    ],
    server: &[],
    account: &[
        ns::PUBSUB,
        "http://jabber.org/protocol/pubsub#access-open",
        "http://jabber.org/protocol/pubsub#access-presence",
        "http://jabber.org/protocol/pubsub#access-whitelist",
        "http://jabber.org/protocol/pubsub#auto-create",
        "http://jabber.org/protocol/pubsub#auto-subscribe",
        "http://jabber.org/protocol/pubsub#config-node",
        "http://jabber.org/protocol/pubsub#config-node-max",
        "http://jabber.org/protocol/pubsub#create-and-configure",
        "http://jabber.org/protocol/pubsub#create-nodes",
        "http://jabber.org/protocol/pubsub#delete-items",
        "http://jabber.org/protocol/pubsub#delete-nodes",
        "http://jabber.org/protocol/pubsub#filtered-notifications",
        "http://jabber.org/protocol/pubsub#item-ids",
        "http://jabber.org/protocol/pubsub#last-published",
        "http://jabber.org/protocol/pubsub#multi-items",
        "http://jabber.org/protocol/pubsub#persistent-items",
        "http://jabber.org/protocol/pubsub#presence-notifications",
        "http://jabber.org/protocol/pubsub#publish",
        "http://jabber.org/protocol/pubsub#publish-options",
        "http://jabber.org/protocol/pubsub#purge-nodes",
        "http://jabber.org/protocol/pubsub#retract-items",
        "http://jabber.org/protocol/pubsub#retrieve-default",
        "http://jabber.org/protocol/pubsub#retrieve-items",
    ],
    identities: &[("pubsub", "pep")],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::PUBSUB,
            to: To::Own,
            answer: own,
        },
        Handler {
            ns: ns::PUBSUB,
            to: To::Anybody,
            answer: anybody,
        },
        Handler {
            ns: ns::PUBSUB_OWNER,
            to: To::Own,
            answer: owner,
        },
        Handler {
            ns: ns::PUBSUB_OWNER,
            to: To::Anybody,
            answer: refuse,
        },
    ],
};

/// What is asked of a node: the first child that isn't about how.
fn what(query: &Element) -> Option<&Element> {
    let about_how = |name: &str| matches!(name, "configure" | "publish-options");
    query.children().find(|child| !about_how(child.name()))
}

fn own(asked: &mut Asked<'_>) -> Reply {
    let query = asked.query;
    let Some(what) = what(query) else {
        return Condition::BadRequest.into();
    };
    match (asked.set, what.name()) {
        (true, "publish") => publish::publish(asked, what),
        (true, "retract") => publish::retract(asked, what),
        (true, "create") => publish::create(asked, what),
        _ => anybody(asked),
    }
}

fn anybody(asked: &mut Asked<'_>) -> Reply {
    let query = asked.query;
    match (asked.set, what(query)) {
        (false, Some(items)) if items.name() == "items" => read::items(asked, items),
        (false, Some(default)) if default.name() == "default" => read::default(),
        (true, Some(what)) if matches!(what.name(), "publish" | "retract" | "create") => {
            Condition::Forbidden.into()
        }
        _ => Condition::FeatureNotImplemented.into(),
    }
}

fn owner(asked: &mut Asked<'_>) -> Reply {
    let query = asked.query;
    let Some(what) = query.children().next() else {
        return Condition::BadRequest.into();
    };
    match (asked.set, what.name()) {
        (false, "configure") => read::configuration(asked, what),
        (false, "default") => read::default(),
        (true, "configure") => publish::configure(asked, what),
        (true, "delete") => publish::delete(asked, what),
        (true, "purge") => publish::purge(asked, what),
        _ => Condition::FeatureNotImplemented.into(),
    }
}

/// Nobody else's nodes.
fn refuse(_: &mut Asked<'_>) -> Reply {
    Condition::Forbidden.into()
}

/// The nodes of an account that the one who asks may read, for disco.
pub fn listed(asked: &Asked<'_>) -> Vec<Element> {
    let Some(account) = asked
        .account
        .as_deref()
        .filter(|_| asked.features.has(NAME))
    else {
        return Vec::new();
    };
    let mine = account
        .nodes
        .iter()
        .filter(|(_, config)| account.may_read(config, asked.from).is_ok());
    mine.map(|(node, config)| {
        let title = Some(config.title.as_str()).filter(|title| !title.is_empty());
        Element::new("item", ns::DISCO_ITEMS)
            .attr("jid", account.jid().as_str())
            .attr("node", node.as_str())
            .attr_opt("name", title)
    })
    .collect()
}

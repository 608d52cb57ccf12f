//! What is at an account's nodes.

use crate::{
    data,
    engine::pubsub::{ITEMS, NodeConfig, error},
    features::{Asked, Reply},
    wire::{Condition, Element, ns},
};

/// XEP-0060 6.5.
pub(super) fn items(asked: &mut Asked<'_>, items: &Element) -> Reply {
    let Some(account) = asked.account.as_deref() else {
        return Condition::ServiceUnavailable.into();
    };
    let Some(node) = items.get_attr("node") else {
        return error(Condition::BadRequest, "nodeid-required").into();
    };
    let Some(config) = account.nodes.get(node) else {
        return Condition::ItemNotFound.into();
    };
    if let Err(error) = account.may_read(config, asked.from) {
        return error.into();
    }
    let most = match items.get_attr("max_items").map(str::parse::<u32>) {
        None => ITEMS,
        Some(Ok(most)) => most.min(ITEMS),
        Some(Err(_)) => return Condition::BadRequest.into(),
    };
    let ids = items.children().filter(|item| item.is("item", ns::PUBSUB));
    let ids: Vec<_> = ids
        .filter_map(|item| item.get_attr("id").map(ToOwned::to_owned))
        .take(ITEMS as usize)
        .collect();
    let (owner, node) = (account.jid().clone(), node.to_owned());
    Reply::Read(Box::new(move |reader| {
        let found = if ids.is_empty() {
            data::pubsub::items(reader, owner.as_str(), &node, most)?
        } else {
            let mut found = Vec::new();
            for id in &ids {
                found.extend(data::pubsub::item(reader, owner.as_str(), &node, id)?);
            }
            found
        };
        let items = Element::new("items", ns::PUBSUB)
            .attr("node", node.as_str())
            .children_from(found.iter().map(|item| item.to_element(ns::PUBSUB)));
        Ok(Element::new("pubsub", ns::PUBSUB).child(items).into())
    }))
}

/// 8.2: how a node is configured.
pub(super) fn configuration(asked: &mut Asked<'_>, configure: &Element) -> Reply {
    let Some(account) = asked.account.as_deref() else {
        return Condition::ServiceUnavailable.into();
    };
    let Some(node) = configure.get_attr("node") else {
        return error(Condition::BadRequest, "nodeid-required").into();
    };
    let Some(config) = account.nodes.get(node) else {
        return Condition::ItemNotFound.into();
    };
    let configure = Element::new("configure", ns::PUBSUB_OWNER)
        .attr("node", node)
        .child(config.to_form("form"));
    Element::new("pubsub", ns::PUBSUB_OWNER)
        .child(configure)
        .into()
}

/// 8.3: how a node is configured if nothing is said.
pub(super) fn default() -> Reply {
    let default = Element::new("default", ns::PUBSUB_OWNER);
    let default = default.child(NodeConfig::default().to_form("form"));
    Element::new("pubsub", ns::PUBSUB_OWNER)
        .child(default)
        .into()
}

//! XEP-0030: what the server and its accounts can do. Made from what the features declare.

use std::collections::BTreeSet;

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing, pep, upload};
use crate::wire::{Condition, Element, ns};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "disco",
    spec: Spec::Xep(30, "2.5rc3"),
    more: &[],
    server: &[ns::DISCO_INFO, ns::DISCO_ITEMS],
    account: &[ns::DISCO_INFO, ns::DISCO_ITEMS],
    identities: &[],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::DISCO_INFO,
            to: To::Server,
            answer: server_info,
        },
        Handler {
            ns: ns::DISCO_INFO,
            to: To::Anybody,
            answer: account_info,
        },
        Handler {
            ns: ns::DISCO_ITEMS,
            to: To::Server,
            answer: server_items,
        },
        Handler {
            ns: ns::DISCO_ITEMS,
            to: To::Anybody,
            answer: account_items,
        },
    ],
};

fn server_info(asked: &mut Asked<'_>) -> Reply {
    let features = asked
        .features
        .on()
        .iter()
        .flat_map(|feature| feature.server);
    // XEP-0160: messages are kept for accounts that are away.
    let features = features.copied().chain([ns::OFFLINE]);
    let limits = upload::limits(asked);
    let store = limits.as_ref().map(|_| identity("store", "file"));
    let identities = std::iter::once(identity("server", "im").attr("name", "omnid")).chain(store);
    match info(asked, identities, features.collect()) {
        Reply::Result(Some(query)) => query.children_from(limits).into(),
        other => other,
    }
}

fn account_info(asked: &mut Asked<'_>) -> Reply {
    // Strangers can't tell an account from none (section 8).
    if !asked.may_see() {
        return Condition::ServiceUnavailable.into();
    }
    let features = asked
        .features
        .on()
        .iter()
        .flat_map(|feature| feature.account);
    let identities = asked.features.on().iter();
    let identities = identities.flat_map(|feature| feature.identities);
    let more = identities.map(|(category, kind)| identity(category, kind));
    let identities = std::iter::once(identity("account", "registered")).chain(more);
    info(asked, identities, features.copied().collect())
}

fn identity(category: &str, kind: &str) -> Element {
    Element::new("identity", ns::DISCO_INFO)
        .attr("category", category)
        .attr("type", kind)
}

fn info(
    asked: &Asked<'_>,
    identities: impl IntoIterator<Item = Element>,
    features: BTreeSet<&'static str>,
) -> Reply {
    if asked.set {
        return Condition::NotAllowed.into();
    }
    if asked.query.get_attr("node").is_some() {
        return Condition::ItemNotFound.into();
    }
    let features = features.into_iter();
    let features = features.map(|var| Element::new("feature", ns::DISCO_INFO).attr("var", var));
    Element::new("query", ns::DISCO_INFO)
        .children_from(identities)
        .children_from(features)
        .into()
}

fn server_items(asked: &mut Asked<'_>) -> Reply {
    let more = asked.neighbours.iter();
    let more = more.map(|jid| Element::new("item", ns::DISCO_ITEMS).attr("jid", &**jid));
    let more: Vec<_> = more.collect();
    match items(asked) {
        Reply::Result(Some(query)) => query.children_from(more).into(),
        other => other,
    }
}

fn items(asked: &mut Asked<'_>) -> Reply {
    if asked.set {
        return Condition::NotAllowed.into();
    }
    if asked.query.get_attr("node").is_some() {
        return Condition::ItemNotFound.into();
    }
    Element::new("query", ns::DISCO_ITEMS).into()
}

fn account_items(asked: &mut Asked<'_>) -> Reply {
    if !asked.may_see() {
        return Condition::ServiceUnavailable.into();
    }
    match items(asked) {
        Reply::Result(Some(query)) => query.children_from(pep::listed(asked)).into(),
        other => other,
    }
}

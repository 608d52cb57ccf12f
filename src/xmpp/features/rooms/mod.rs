//! XEP-0045: rooms, at a host of their own.
//!
//! What happens in one is decided by [`crate::engine::room`].

use super::{Feature, Spec, nothing};
use crate::wire::{Element, form::Page, ns};

/// The name in `xmpp.disable`.
pub const NAME: &str = "rooms";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(45, "1.35.1"),
    more: &[
        Spec::Xep(249, "1.2"),
        Spec::Xep(410, "1.1.0"),
        Spec::Xep(421, "1.0.1"),
        Spec::Xep(425, "0.3.0"),
    ],
    server: &[],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[],
};

/// What disco says of a host of rooms.
pub fn host_info() -> Element {
    let features = [
        ns::MUC,
        ns::DISCO_INFO,
        ns::DISCO_ITEMS,
        ns::RSM,
        ns::MAM,
        ns::OCCUPANT_ID,
        ns::PING,
    ];
    let features = features.map(|var| Element::new("feature", ns::DISCO_INFO).attr("var", var));
    let identity = Element::new("identity", ns::DISCO_INFO)
        .attr("category", "conference")
        .attr("type", "text")
        .attr("name", "Rooms");
    Element::new("query", ns::DISCO_INFO)
        .child(identity)
        .children_from(features)
}

/// The rooms of a host, a page of them.
pub fn host_items(rooms: &[(String, String)], asked: bool) -> Element {
    let items = rooms.iter().map(|(room, name)| {
        let local = room.split('@').next().unwrap_or_default();
        let name = if name.is_empty() { local } else { name };
        Element::new("item", ns::DISCO_ITEMS)
            .attr("jid", room.as_str())
            .attr("name", name)
    });
    let ends = (rooms.first(), rooms.last());
    let id = |room: Option<&(String, String)>| room.map(|(room, _)| room.clone());
    let (first, last) = (id(ends.0), id(ends.1));
    let page = asked.then(|| Page::said(first.as_deref(), last.as_deref(), None));
    Element::new("query", ns::DISCO_ITEMS)
        .children_from(items)
        .children_from(page)
}

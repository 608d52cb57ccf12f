//! Publishing at an account's nodes (XEP-0163, XEP-0060): who may read, and who is told.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    account::Account,
    wish::{Wish, Wishes},
};
use crate::wire::{
    Condition, Element, Jid, Scope, Stanza, StanzaError,
    form::{self, Form},
    ns,
};

/// Items of one node, which is also what `max` means.
pub const ITEMS: u32 = 256;
/// Nodes of one account.
pub const NODES: usize = 200;
/// Bytes of one item.
pub const BYTES: usize = 64 * 1024;

/// Who may read a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Access {
    /// Everybody.
    Open,
    /// Who may see the account's presence.
    Presence,
    /// Nobody but the account.
    Whitelist,
}

impl Access {
    fn as_str(self) -> &'static str {
        match self {
            Access::Open => "open",
            Access::Presence => "presence",
            Access::Whitelist => "whitelist",
        }
    }
}

/// When the last item is sent without being asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SendLast {
    /// Never.
    Never,
    /// To those who subscribe.
    OnSub,
    /// And those who become available.
    OnSubAndPresence,
}

impl SendLast {
    fn as_str(self) -> &'static str {
        match self {
            SendLast::Never => "never",
            SendLast::OnSub => "on_sub",
            SendLast::OnSubAndPresence => "on_sub_and_presence",
        }
    }
}

/// How a node is configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeConfig {
    /// Who may read it.
    pub access: Access,
    /// Whether items are kept.
    pub persist_items: bool,
    /// How many.
    pub max_items: u32,
    /// When the last one is sent.
    pub send_last: SendLast,
    /// Its title.
    pub title: String,
}

impl Default for NodeConfig {
    fn default() -> NodeConfig {
        NodeConfig {
            access: Access::Presence,
            persist_items: true,
            max_items: 1,
            send_last: SendLast::OnSubAndPresence,
            title: String::new(),
        }
    }
}

impl NodeConfig {
    /// With what a form says.
    ///
    /// # Errors
    /// When it asks for something that isn't done here.
    pub fn with(mut self, form: &Form) -> Result<NodeConfig, StanzaError> {
        let not = || StanzaError::from(Condition::NotAcceptable);
        for (name, values) in form.fields() {
            let value = values.first().map(|value| value.trim()).unwrap_or_default();
            match name {
                "pubsub#access_model" => {
                    let all = [Access::Open, Access::Presence, Access::Whitelist];
                    let found = all.into_iter().find(|access| access.as_str() == value);
                    self.access = found.ok_or_else(not)?;
                }
                "pubsub#persist_items" => {
                    self.persist_items = form.flag(name).ok_or_else(not)?;
                }
                "pubsub#max_items" => {
                    self.max_items = match value {
                        "max" => ITEMS,
                        number => number.parse().map_err(|_| not())?,
                    };
                    if !(1..=ITEMS).contains(&self.max_items) {
                        return Err(not());
                    }
                }
                "pubsub#send_last_published_item" => {
                    let all = [SendLast::Never, SendLast::OnSub, SendLast::OnSubAndPresence];
                    let found = all.into_iter().find(|when| when.as_str() == value);
                    self.send_last = found.ok_or_else(not)?;
                }
                "pubsub#title" => value.clone_into(&mut self.title),
                // What else there is says how subscribers are told; here they always are.
                _ => {}
            }
        }
        Ok(self)
    }

    /// Whether it is as `form` says: the preconditions of a publication (XEP-0060 7.1.5).
    pub fn meets(&self, form: &Form) -> bool {
        self.clone().with(form).is_ok_and(|wanted| wanted == *self)
    }

    /// As a form.
    pub fn to_form(&self, kind: &'static str) -> Element {
        let flag = if self.persist_items { "1" } else { "0" };
        let items = self.max_items.to_string();
        form::form(
            kind,
            ns::PUBSUB_NODE_CONFIG,
            [
                form::field("pubsub#title", "text-single", [self.title.as_str()]),
                form::field("pubsub#access_model", "list-single", [self.access.as_str()]),
                form::field("pubsub#persist_items", "boolean", [flag]),
                form::field("pubsub#max_items", "text-single", [items.as_str()]),
                form::field(
                    "pubsub#send_last_published_item",
                    "list-single",
                    [self.send_last.as_str()],
                ),
            ],
        )
    }
}

/// An item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Its id at its node.
    pub id: String,
    /// What was published, as a document; empty for nothing.
    pub payload: String,
}

impl Item {
    /// The payload.
    pub fn element(&self) -> Option<Element> {
        Element::parse(self.payload.as_bytes(), &Scope::empty()).ok()
    }

    /// As it is told in namespace `space`.
    pub fn to_element(&self, space: &'static str) -> Element {
        Element::new("item", space)
            .attr("id", self.id.as_str())
            .children_from(self.element())
    }
}

/// What happened at a node.
#[derive(Debug, Clone)]
pub enum Happened {
    /// Items were published.
    Published(Vec<Item>),
    /// An item was taken back.
    Retracted(String),
    /// All items were.
    Purged,
    /// The node is gone.
    Deleted,
}

/// As subscribers are told.
pub fn event(node: &str, happened: &Happened) -> Element {
    let items = || Element::new("items", ns::PUBSUB_EVENT).attr("node", node);
    let what = match happened {
        Happened::Published(published) => items().children_from(
            published
                .iter()
                .map(|item| item.to_element(ns::PUBSUB_EVENT)),
        ),
        Happened::Retracted(id) => {
            items().child(Element::new("retract", ns::PUBSUB_EVENT).attr("id", id.as_str()))
        }
        Happened::Purged => Element::new("purge", ns::PUBSUB_EVENT).attr("node", node),
        Happened::Deleted => Element::new("delete", ns::PUBSUB_EVENT).attr("node", node),
    };
    Element::new("event", ns::PUBSUB_EVENT).child(what)
}

/// An error with a condition of PubSub's own.
pub fn error(condition: Condition, own: &'static str) -> StanzaError {
    StanzaError {
        application: Some(Box::new(Element::new(own, ns::PUBSUB_ERRORS))),
        ..condition.into()
    }
}

/// The account's nodes.
pub type Nodes = BTreeMap<String, NodeConfig>;

impl Account {
    /// Whether `who` may read a node that is configured so.
    ///
    /// # Errors
    /// Why not.
    pub fn may_read(&self, config: &NodeConfig, who: &Jid) -> Result<(), StanzaError> {
        if who.bare_str() == self.jid().as_str() {
            return Ok(());
        }
        match config.access {
            Access::Open => Ok(()),
            Access::Presence if self.roster.subscription(who.bare_str()).from => Ok(()),
            Access::Presence => Err(error(
                Condition::NotAuthorized,
                "presence-subscription-required",
            )),
            Access::Whitelist => Err(error(Condition::NotAllowed, "closed-node")),
        }
    }

    /// Tells those who want to know, as their clients say (XEP-0163 4).
    pub fn notify(&self, node: &str, config: &NodeConfig, happened: &Happened) -> Wishes {
        let watching = self
            .watchers()
            .filter(|(who, caps)| caps.notify.contains(node) && self.may_read(config, who).is_ok());
        let Some(told) = self.telling(node, happened) else {
            return Wishes::new();
        };
        watching
            .map(|(who, _)| Wish::Route(told.with_to(who)))
            .collect()
    }

    /// The same for one of them.
    pub fn tell(&self, who: &Jid, node: &str, happened: &Happened) -> Option<Wish> {
        let told = self.telling(node, happened)?;
        Some(Wish::Route(told.with_to(who)))
    }

    fn telling(&self, node: &str, happened: &Happened) -> Option<Stanza> {
        let message = Element::new("message", ns::CLIENT)
            .attr("type", "headline")
            .attr("from", self.jid().as_str())
            .child(event(node, happened));
        Stanza::from_element(&message)
    }

    /// Nodes whose last item a client gets when it becomes available: those that it wants, and may
    /// read.
    pub fn to_send(&self, who: &Jid, wanted: &Caps) -> Vec<String> {
        let nodes = self.nodes.iter().filter(|(node, config)| {
            config.send_last == SendLast::OnSubAndPresence
                && wanted.notify.contains(*node)
                && self.may_read(config, who).is_ok()
        });
        nodes.map(|(node, _)| node.clone()).collect()
    }
}

pub use super::caps::Caps;

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn filled(fields: &[(&str, &str)]) -> Form {
        let fields = fields
            .iter()
            .map(|(name, value)| form::field(name, "", [*value]));
        let x = form::form("submit", ns::PUBSUB_PUBLISH_OPTIONS, fields);
        Form::parse(&x).unwrap()
    }

    #[test]
    fn configurations() {
        let open = filled(&[("pubsub#access_model", "open"), ("pubsub#max_items", "max")]);
        let config = NodeConfig::default().with(&open).unwrap();
        assert_eq!((config.access, config.max_items), (Access::Open, ITEMS));
        assert!(config.meets(&open) && !NodeConfig::default().meets(&open));
        assert!(config.meets(&filled(&[("pubsub#persist_items", "true")])));
        assert!(!config.meets(&filled(&[("pubsub#persist_items", "0")])));
        for bad in [
            ("pubsub#access_model", "authorize"),
            ("pubsub#max_items", "0"),
            ("pubsub#max_items", "257"),
            ("pubsub#persist_items", "perhaps"),
        ] {
            assert!(
                NodeConfig::default().with(&filled(&[bad])).is_err(),
                "{bad:?}"
            );
        }
        let form = Form::parse(&config.to_form("result")).unwrap();
        assert_eq!(NodeConfig::default().with(&form).unwrap(), config);
    }
}

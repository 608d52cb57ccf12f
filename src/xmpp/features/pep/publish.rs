//! Changes of an account's nodes.

use omnid_store::{StoreError, Transaction};

use super::avatar;
use crate::{
    data,
    engine::{
        account::Account,
        pubsub::{BYTES, Happened, Item, NODES, NodeConfig, error},
        wish::Wishes,
    },
    features::{Asked, Reply},
    io::server::token,
    wire::{BareJid, Condition, Element, StanzaError, form::Form, ns},
};

/// Items on their way to a node, and the node as it is to be.
#[derive(Debug, Clone)]
pub struct Publication {
    /// The node.
    pub node: String,
    /// How it is configured.
    pub config: NodeConfig,
    /// What is published.
    pub items: Vec<Item>,
}

impl Publication {
    /// To a node that is as it is, or else made as `otherwise` says.
    pub fn new(
        account: &Account,
        node: &str,
        otherwise: NodeConfig,
        items: Vec<Item>,
    ) -> Publication {
        let config = account.nodes.get(node).cloned().unwrap_or(otherwise);
        Publication {
            node: node.to_owned(),
            config,
            items,
        }
    }

    /// Writes it.
    ///
    /// # Errors
    /// When the database fails.
    pub fn write(&self, tx: &mut Transaction<'_>, owner: &BareJid) -> Result<(), StoreError> {
        data::pubsub::publish(tx, owner.as_str(), &self.node, &self.config, &self.items)
    }

    /// Remembers it, once written, and tells who wants to know.
    pub fn announce(self, account: &mut Account) -> Wishes {
        account.nodes.insert(self.node.clone(), self.config.clone());
        let happened = Happened::Published(self.items);
        account.notify(&self.node, &self.config, &happened)
    }
}

fn named(element: &Element) -> Result<&str, StanzaError> {
    match element.get_attr("node") {
        Some(node) if !node.is_empty() && node.len() <= 1023 => Ok(node),
        _ => Err(error(Condition::BadRequest, "nodeid-required")),
    }
}

fn no_account() -> StanzaError {
    Condition::ServiceUnavailable.into()
}

/// How a new node is to be.
fn fresh(account: &Account, form: Option<&Form>) -> Result<NodeConfig, StanzaError> {
    if account.nodes.len() >= NODES {
        return Err(Condition::ResourceConstraint.into());
    }
    match form {
        Some(form) => NodeConfig::default().with(form),
        None => Ok(NodeConfig::default()),
    }
}

/// XEP-0060 7.1.
pub(super) fn publish(asked: &mut Asked<'_>, publish: &Element) -> Reply {
    publication(asked, publish).unwrap_or_else(Reply::from)
}

fn publication(asked: &Asked<'_>, publish: &Element) -> Result<Reply, StanzaError> {
    let account = asked.account.as_deref().ok_or_else(no_account)?;
    let node = named(publish)?;
    let options = asked.query.get_child("publish-options", ns::PUBSUB);
    let options = options.and_then(|options| Form::find(options, ns::PUBSUB_PUBLISH_OPTIONS));
    let config = match account.nodes.get(node) {
        Some(config) => {
            if options
                .as_ref()
                .is_some_and(|options| !config.meets(options))
            {
                return Err(error(Condition::Conflict, "precondition-not-met"));
            }
            config.clone()
        }
        None => fresh(account, options.as_ref())?,
    };
    let mut items = Vec::new();
    for item in publish
        .children()
        .filter(|item| item.is("item", ns::PUBSUB))
    {
        let mut payloads = item.children();
        let payload = payloads.next();
        if payloads.next().is_some() {
            return Err(error(Condition::BadRequest, "invalid-payload"));
        }
        let payload = payload.map(Element::to_document).unwrap_or_default();
        if payload.len() > BYTES {
            return Err(error(Condition::NotAcceptable, "payload-too-big"));
        }
        let id = item.get_attr("id").filter(|id| !id.is_empty());
        if id.is_some_and(|id| id.len() > 1023) {
            return Err(Condition::BadRequest.into());
        }
        items.push(Item {
            id: id.map_or_else(token, ToOwned::to_owned),
            payload,
        });
    }
    if items.len() > 1 || (items.is_empty() && config.persist_items) {
        let own = if items.is_empty() {
            "item-required"
        } else {
            "max-items-exceeded"
        };
        return Err(error(Condition::BadRequest, own));
    }
    let ids = items
        .iter()
        .map(|item| Element::new("item", ns::PUBSUB).attr("id", item.id.as_str()));
    let ids = Element::new("publish", ns::PUBSUB)
        .attr("node", node)
        .children_from(ids);
    let result = Element::new("pubsub", ns::PUBSUB).child(ids);
    let publication = Publication {
        node: node.to_owned(),
        config,
        items,
    };
    let owner = account.jid().clone();
    let converts = asked.features.has(avatar::NAME);
    Ok(Reply::Write(Box::new(move |tx| {
        publication.write(tx, &owner)?;
        let more = if converts && publication.node == ns::AVATAR_METADATA {
            Some(avatar::to_card(tx, &owner, &publication)?)
        } else {
            None
        };
        let (publication, result) = (publication.clone(), result.clone());
        Ok(Reply::Account(Box::new(move |account| {
            let mut wishes = publication.announce(account);
            if let Some(photo) = more {
                wishes.extend(account.change_photo(photo));
            }
            Reply::Done(Some(result), wishes)
        })))
    })))
}

/// 7.2.
pub(super) fn retract(asked: &mut Asked<'_>, retract: &Element) -> Reply {
    retraction(asked, retract).unwrap_or_else(Reply::from)
}

fn retraction(asked: &Asked<'_>, retract: &Element) -> Result<Reply, StanzaError> {
    let account = asked.account.as_deref().ok_or_else(no_account)?;
    let node = named(retract)?.to_owned();
    let config = account.nodes.get(&node).ok_or(Condition::ItemNotFound)?;
    let config = config.clone();
    let item = retract.get_child("item", ns::PUBSUB);
    let id = item.and_then(|item| item.get_attr("id"));
    let id = id.ok_or_else(|| error(Condition::BadRequest, "item-required"))?;
    // Clients ask for notifications of what they retract; bookmarks would not converge without.
    let (id, owner) = (id.to_owned(), account.jid().clone());
    Ok(Reply::Write(Box::new(move |tx| {
        if !data::pubsub::retract(tx, owner.as_str(), &node, &id)? {
            return Ok(Condition::ItemNotFound.into());
        }
        let (node, config, id) = (node.clone(), config.clone(), id.clone());
        Ok(Reply::Account(Box::new(move |account| {
            let wishes = account.notify(&node, &config, &Happened::Retracted(id));
            Reply::Done(None, wishes)
        })))
    })))
}

/// 8.1.
pub(super) fn create(asked: &mut Asked<'_>, create: &Element) -> Reply {
    creation(asked, create).unwrap_or_else(Reply::from)
}

fn creation(asked: &Asked<'_>, create: &Element) -> Result<Reply, StanzaError> {
    let account = asked.account.as_deref().ok_or_else(no_account)?;
    let node = named(create)?.to_owned();
    if account.nodes.contains_key(&node) {
        return Err(Condition::Conflict.into());
    }
    let configure = asked.query.get_child("configure", ns::PUBSUB);
    let form = configure.and_then(|configure| Form::find(configure, ns::PUBSUB_NODE_CONFIG));
    let config = fresh(account, form.as_ref())?;
    Ok(set(account.jid().clone(), node, config))
}

/// 8.2.
pub(super) fn configure(asked: &mut Asked<'_>, configure: &Element) -> Reply {
    configuration(asked, configure).unwrap_or_else(Reply::from)
}

fn configuration(asked: &Asked<'_>, configure: &Element) -> Result<Reply, StanzaError> {
    let account = asked.account.as_deref().ok_or_else(no_account)?;
    let node = named(configure)?.to_owned();
    let config = account.nodes.get(&node).ok_or(Condition::ItemNotFound)?;
    let config = config.clone();
    let config = match Form::find(configure, ns::PUBSUB_NODE_CONFIG) {
        Some(form) => config.with(&form)?,
        // A form that was cancelled.
        None => config,
    };
    Ok(set(account.jid().clone(), node, config))
}

fn set(owner: BareJid, node: String, config: NodeConfig) -> Reply {
    Reply::Write(Box::new(move |tx| {
        data::pubsub::set_node(tx, owner.as_str(), &node, &config)?;
        let (node, config) = (node.clone(), config.clone());
        Ok(Reply::Account(Box::new(move |account| {
            account.nodes.insert(node, config);
            Reply::Result(None)
        })))
    }))
}

/// 8.4.
pub(super) fn delete(asked: &mut Asked<'_>, delete: &Element) -> Reply {
    emptied(asked, delete, true).unwrap_or_else(Reply::from)
}

/// 8.5.
pub(super) fn purge(asked: &mut Asked<'_>, purge: &Element) -> Reply {
    emptied(asked, purge, false).unwrap_or_else(Reply::from)
}

fn emptied(asked: &Asked<'_>, what: &Element, delete: bool) -> Result<Reply, StanzaError> {
    let account = asked.account.as_deref().ok_or_else(no_account)?;
    let node = named(what)?.to_owned();
    let config = account.nodes.get(&node).ok_or(Condition::ItemNotFound)?;
    let (config, owner) = (config.clone(), account.jid().clone());
    Ok(Reply::Write(Box::new(move |tx| {
        if delete {
            data::pubsub::delete_node(tx, owner.as_str(), &node)?;
        } else {
            data::pubsub::purge(tx, owner.as_str(), &node)?;
        }
        let (node, config) = (node.clone(), config.clone());
        Ok(Reply::Account(Box::new(move |account| {
            if delete {
                account.nodes.remove(&node);
            }
            let happened = if delete {
                Happened::Deleted
            } else {
                Happened::Purged
            };
            Reply::Done(None, account.notify(&node, &config, &happened))
        })))
    })))
}

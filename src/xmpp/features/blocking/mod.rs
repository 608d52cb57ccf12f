//! XEP-0191: addresses that an account wants nothing to do with.
//!
//! What blocking does to stanzas is decided where they are routed ([`crate::engine::account`]).

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::{
    data,
    engine::account::Account,
    wire::{Condition, Element, Jid, ns},
};

/// Addresses that one account can block.
const LIMIT: usize = 1000;

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "blocking",
    spec: Spec::Xep(191, "1.3"),
    more: &[],
    server: &[ns::BLOCKING],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::BLOCKING,
            to: To::Own,
            answer,
        },
        Handler {
            ns: ns::BLOCKING,
            to: To::Anybody,
            answer: refuse,
        },
    ],
};

fn answer(asked: &mut Asked<'_>) -> Reply {
    let session = asked.session;
    let Some(account) = asked.account.as_deref_mut() else {
        return Condition::ServiceUnavailable.into();
    };
    let named = asked
        .query
        .children()
        .filter(|item| item.is("item", ns::BLOCKING));
    let named = named.map(|item| Jid::new(item.get_attr("jid").unwrap_or_default()));
    let Ok(named) = named.collect::<Result<Vec<_>, _>>() else {
        return Condition::JidMalformed.into();
    };
    match (asked.set, asked.query.name()) {
        (false, "blocklist") => {
            if let Some(session) = session.and_then(|id| account.session_mut(id)) {
                session.shows_blocked = true;
            }
            let items = account.blocked().iter();
            let items =
                items.map(|jid| Element::new("item", ns::BLOCKING).attr("jid", jid.as_str()));
            Element::new("blocklist", ns::BLOCKING)
                .children_from(items)
                .into()
        }
        (true, "block") if named.is_empty() => Condition::BadRequest.into(),
        (true, "block") if account.blocked().len() + named.len() > LIMIT => {
            Condition::ResourceConstraint.into()
        }
        (true, "block") => change(account, named, true),
        (true, "unblock") => change(account, named, false),
        _ => Condition::BadRequest.into(),
    }
}

fn change(account: &Account, named: Vec<Jid>, block: bool) -> Reply {
    let whose = account.jid().clone();
    // Unblocking nobody in particular is unblocking everybody (3.4).
    let all = named.is_empty();
    let jids: Vec<Jid> = if all {
        let blocked = account.blocked().iter();
        blocked.filter_map(|jid| Jid::new(jid).ok()).collect()
    } else {
        named
    };
    Reply::Write(Box::new(move |tx| {
        for jid in &jids {
            if block {
                data::blocking::add(tx, whose.as_str(), jid.as_str())?;
            } else {
                data::blocking::remove(tx, whose.as_str(), jid.as_str())?;
            }
        }
        let jids = jids.clone();
        Ok(Reply::Account(Box::new(move |account| {
            let wishes = if block {
                account.block(&jids)
            } else {
                account.unblock(&jids, all)
            };
            Reply::Done(None, wishes)
        })))
    }))
}

/// Nobody else's list.
fn refuse(_: &mut Asked<'_>) -> Reply {
    Condition::Forbidden.into()
}

//! XEP-0012: how long the server has been running, or an account away.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::{
    data,
    engine::account::Session,
    wire::{Condition, Element, ns},
};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "last",
    spec: Spec::Xep(12, "2.0"),
    more: &[],
    server: &[ns::LAST],
    account: &[ns::LAST],
    identities: &[],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::LAST,
            to: To::Server,
            answer: uptime,
        },
        Handler {
            ns: ns::LAST,
            to: To::Anybody,
            answer: away,
        },
    ],
};

fn seconds(seconds: u64) -> Element {
    Element::new("query", ns::LAST).attr("seconds", seconds.to_string())
}

fn uptime(asked: &mut Asked<'_>) -> Reply {
    if asked.set {
        Condition::NotAllowed.into()
    } else {
        seconds(asked.uptime.as_secs()).into()
    }
}

fn away(asked: &mut Asked<'_>) -> Reply {
    if asked.set {
        return Condition::NotAllowed.into();
    }
    // XEP-0012 8: only for those who may see presence.
    if !asked.may_see() {
        return Condition::Forbidden.into();
    }
    let Some(account) = asked.account.as_deref_mut() else {
        return Condition::ItemNotFound.into();
    };
    if account
        .sessions()
        .iter()
        .any(|session: &Session| session.presence().is_some())
    {
        return seconds(0).into();
    }
    let now = asked
        .now
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let account = account.jid().clone();
    Reply::Read(Box::new(move |reader| {
        Ok(match data::last::when(reader, account.as_str())? {
            Some((at, status)) => seconds(now.saturating_sub(at)).text(status).into(),
            None => Condition::ItemNotFound.into(),
        })
    }))
}

/// The time as it is stored.
pub fn stored(now: SystemTime) -> u64 {
    now.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

//! Rosters as clients ask for and change them (RFC 6121 2), with versions (2.6, once XEP-0237).

use super::{Asked, Feature, Handler, Reply, Spec, To};
use crate::{
    engine::roster::RosterSet,
    wire::{Condition, Element, ns},
};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "roster",
    spec: Spec::Rfc(6121),
    more: &[Spec::Xep(237, "1.3")],
    server: &[],
    account: &[],
    identities: &[],
    stream: offer,
    handlers: &[
        Handler {
            ns: ns::ROSTER,
            to: To::Own,
            answer,
        },
        Handler {
            ns: ns::ROSTER,
            to: To::Anybody,
            answer: refuse,
        },
    ],
};

fn offer() -> Vec<Element> {
    vec![
        Element::new("ver", ns::ROSTER_VERSIONING),
        // RFC 6121 3.4: approving a request before it is made.
        Element::new("sub", ns::PRE_APPROVAL),
    ]
}

fn answer(asked: &mut Asked<'_>) -> Reply {
    let Some(account) = asked.account.as_deref_mut() else {
        return Condition::ServiceUnavailable.into();
    };
    if asked.set {
        return match RosterSet::parse(asked.query) {
            Ok(set) => {
                let now = asked.now;
                Reply::Change(Box::new(move |account| account.set_roster(set, now)))
            }
            Err(error) => error.into(),
        };
    }
    if let Some(session) = asked.session.and_then(|id| account.session_mut(id)) {
        session.interested = true;
    }
    Reply::Result(account.roster.query(asked.query.get_attr("ver")))
}

/// RFC 6121 2.3.3: nobody else's roster.
fn refuse(_: &mut Asked<'_>) -> Reply {
    Condition::Forbidden.into()
}

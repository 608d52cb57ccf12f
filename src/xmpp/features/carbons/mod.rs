//! XEP-0280: an account's clients all see a conversation, whichever of them it is held with.
//!
//! What is copied is decided where messages are delivered ([`crate::engine::carbons`]).

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::wire::{Condition, ns};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "carbons",
    spec: Spec::Xep(280, "1.0.1"),
    more: &[],
    server: &[ns::CARBONS],
    account: &[ns::CARBONS],
    identities: &[],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::CARBONS,
            to: To::Own,
            answer,
        },
        Handler {
            ns: ns::CARBONS,
            to: To::Anybody,
            answer: refuse,
        },
    ],
};

fn answer(asked: &mut Asked<'_>) -> Reply {
    let wanted = match (asked.set, asked.query.name()) {
        (true, "enable") => true,
        (true, "disable") => false,
        _ => return Condition::BadRequest.into(),
    };
    let (Some(account), Some(session)) = (asked.account.as_deref_mut(), asked.session) else {
        return Condition::NotAllowed.into();
    };
    if let Some(session) = account.session_mut(session) {
        session.carbons = wanted;
    }
    Reply::Result(None)
}

/// Section 4: nobody else's copies.
fn refuse(_: &mut Asked<'_>) -> Reply {
    Condition::Forbidden.into()
}

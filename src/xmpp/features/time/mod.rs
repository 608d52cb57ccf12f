//! XEP-0202: what time it is here.

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::wire::{Condition, Element, ns, time::format};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "time",
    spec: Spec::Xep(202, "2.0"),
    more: &[],
    server: &[ns::TIME],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[Handler {
        ns: ns::TIME,
        to: To::Server,
        answer,
    }],
};

fn answer(asked: &mut Asked<'_>) -> Reply {
    if asked.set {
        return Condition::NotAllowed.into();
    }
    Element::new("time", ns::TIME)
        .child(Element::new("tzo", ns::TIME).text("+00:00"))
        .child(Element::new("utc", ns::TIME).text(format(asked.now)))
        .into()
}

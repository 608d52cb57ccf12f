//! XEP-0092: what software this is.

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::wire::{Condition, Element, ns};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "version",
    spec: Spec::Xep(92, "1.1"),
    more: &[],
    server: &[ns::VERSION],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[Handler {
        ns: ns::VERSION,
        to: To::Server,
        answer,
    }],
};

fn answer(asked: &mut Asked<'_>) -> Reply {
    if asked.set {
        return Condition::NotAllowed.into();
    }
    // The operating system is nobody's business.
    Element::new("query", ns::VERSION)
        .child(Element::new("name", ns::VERSION).text("omnid"))
        .child(Element::new("version", ns::VERSION).text(env!("CARGO_PKG_VERSION")))
        .into()
}

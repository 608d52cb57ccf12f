//! Session establishment of RFC 3921, which older clients still ask for and RFC 6121 made void.

use super::{Asked, Feature, Handler, Reply, Spec, To};
use crate::wire::{Element, ns};

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "session",
    spec: Spec::Rfc(3921),
    more: &[],
    server: &[],
    account: &[],
    identities: &[],
    stream: offer,
    handlers: &[
        Handler {
            ns: ns::SESSION,
            to: To::Server,
            answer,
        },
        Handler {
            ns: ns::SESSION,
            to: To::Own,
            answer,
        },
    ],
};

fn offer() -> Vec<Element> {
    // Optional, so that newer clients save the round trip.
    vec![Element::new("session", ns::SESSION).child(Element::new("optional", ns::SESSION))]
}

fn answer(_: &mut Asked<'_>) -> Reply {
    Reply::Result(None)
}

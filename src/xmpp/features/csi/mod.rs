//! XEP-0352: a client that nobody looks at is not woken for what can wait.
//!
//! What can wait is decided by [`crate::engine::csi`], and held where stanzas wait to be written.

use super::{Feature, Spec};
use crate::wire::{Element, ns};

/// The name in `xmpp.disable`.
pub const NAME: &str = "csi";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(352, "1.0.0"),
    more: &[],
    server: &[],
    account: &[],
    identities: &[],
    stream: offer,
    handlers: &[],
};

fn offer() -> Vec<Element> {
    vec![Element::new("csi", ns::CSI)]
}

//! XEP-0198: stanzas are acknowledged, and a session survives the connection that it began on.
//!
//! The queue is in [`crate::engine::sm`]; the stream's elements are handled where streams are.

use super::{Feature, Spec};
use crate::wire::{Element, ns};

/// The name in `xmpp.disable`.
pub const NAME: &str = "sm";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(198, "1.6.1"),
    more: &[],
    server: &[],
    account: &[],
    identities: &[],
    stream: offer,
    handlers: &[],
};

fn offer() -> Vec<Element> {
    vec![Element::new("sm", ns::SM)]
}

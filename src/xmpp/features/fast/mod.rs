//! XEP-0484: tokens, with which a client logs in without its password (`engine::login`,
//! `io::tokens`).

use super::{Feature, Spec, nothing};

/// The name in `xmpp.disable`.
pub const NAME: &str = "fast";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(484, "0.1.0"),
    more: &[],
    server: &[],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[],
};

//! XEP-0386: a resource, and what goes with it, asked for with the login (`engine::login`).

use super::{Feature, Spec, nothing};

/// The name in `xmpp.disable`.
pub const NAME: &str = "bind2";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(386, "1.0.0"),
    more: &[],
    server: &[],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[],
};

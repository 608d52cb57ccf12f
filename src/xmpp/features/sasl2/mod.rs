//! XEP-0388: a login that says at once what it wants, without a stream that begins anew
//! (`engine::login`).

use super::{Feature, Spec, nothing};

/// The name in `xmpp.disable`.
pub const NAME: &str = "sasl2";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(388, "0.4.0"),
    more: &[],
    server: &[],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[],
};

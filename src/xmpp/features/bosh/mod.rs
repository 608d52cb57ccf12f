//! XEP-0124 and XEP-0206: streams over HTTP requests, at sites of the HTTP service (`io::web`).

use super::{Feature, Spec, nothing};

/// The name in `xmpp.disable`.
pub const NAME: &str = "bosh";
/// Where it is.
pub const PATH: &str = "/http-bind";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Xep(124, "1.11.2"),
    more: &[Spec::Xep(156, "1.4.0"), Spec::Xep(206, "1.4")],
    server: &[],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[],
};

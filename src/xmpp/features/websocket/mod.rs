//! RFC 7395: streams over WebSocket, at sites of the HTTP service (`io::web`).

use super::{Feature, Spec, nothing};

/// The name in `xmpp.disable`.
pub const NAME: &str = "websocket";
/// Where it is.
pub const PATH: &str = "/xmpp-websocket";

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: NAME,
    spec: Spec::Rfc(7395),
    more: &[Spec::Xep(156, "1.4.0")],
    server: &[],
    account: &[],
    identities: &[],
    stream: nothing,
    handlers: &[],
};

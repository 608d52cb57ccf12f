//! XEP-0199: is anybody there?

use super::{Asked, Feature, Handler, Reply, Spec, To, nothing};
use crate::wire::ns;

/// The declaration.
pub const FEATURE: Feature = Feature {
    name: "ping",
    spec: Spec::Xep(199, "2.0.1"),
    more: &[],
    server: &[ns::PING],
    account: &[ns::PING],
    identities: &[],
    stream: nothing,
    handlers: &[
        Handler {
            ns: ns::PING,
            to: To::Server,
            answer,
        },
        Handler {
            ns: ns::PING,
            to: To::Own,
            answer,
        },
    ],
};

fn answer(_: &mut Asked<'_>) -> Reply {
    Reply::Result(None)
}

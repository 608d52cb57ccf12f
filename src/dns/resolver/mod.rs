//! The resolver: answers about names that are not in this server's zones, found out from other
//! servers and remembered. Off unless configured, and open to nobody but this host by default.

pub(crate) mod config;
mod control;
pub(crate) mod engine;
mod io;
mod setup;

pub use config::ResolverConfig;
pub(crate) use control::register;
pub(crate) use engine::anchors::Exemption;
pub use engine::fuzz_response;
pub(crate) use engine::managed::{Key as AnchorKey, Managed, State};
pub(crate) use io::{Later, Own, Quick, Recursion, open};
pub(crate) use setup::{Plan, prepare};

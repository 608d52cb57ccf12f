//! Moving here from other servers: their configuration read, ours written, and every line that
//! could not be brought over reported with its place and what to do about it; and what they keep of
//! their users, put into the store.

mod apache;
mod report;
mod toml;
pub mod xmpp;

pub use apache::{ImportError, Options, Source, import};
pub use report::{Finding, Import, Kind};

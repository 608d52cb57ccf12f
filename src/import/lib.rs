//! Moving here from other servers: their configuration read, ours written, and every line that
//! could not be brought over reported with its place and what to do about it.

mod apache;
mod report;
mod toml;

pub use apache::{ImportError, Options, Source, import};
pub use report::{Finding, Import, Kind};

//! The access log: one line for each request, made when its response is over and written off the
//! request's path.

mod apache;
mod escape;
mod format;
mod record;

pub use apache::Custom;
pub use format::Format;
pub use record::{AccessLog, Record};

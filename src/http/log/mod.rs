//! The access log: one line for each request, made when its response is over and written off the
//! request's path.

mod escape;
mod format;
mod record;
mod writer;

pub use format::Format;
pub use record::{AccessLog, Record};
pub use writer::{Destination, LogFile, LogFiles};

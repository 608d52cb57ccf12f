//! What the service keeps over a reload: log files, open document roots, connections to upstreams.
//! It keeps nothing in the database.

mod log_files;
mod shelf;

pub use log_files::{Destination, LogFile, LogFiles};
pub use shelf::Shelf;

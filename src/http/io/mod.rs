//! The edge: connections, their deadlines, and what is read from and written to them.

mod body;
mod connection;
mod executor;
mod line;
mod serve;
mod sent;
mod wire;

pub use body::{RequestBody, UploadError};
pub use connection::{Connector, Door};
pub use line::Line;
pub use sent::SentBody;
pub use serve::{ConnectionFacts, Handler};
pub use wire::Wire;

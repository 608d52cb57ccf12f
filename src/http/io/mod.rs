//! The edge: connections, their deadlines, and what is read from and written to them.

mod auth;
mod body;
mod connection;
mod exchange;
mod executor;
mod finish;
mod handler;
mod line;
mod linger;
mod pages;
mod ruled;
mod sent;
mod slow;
mod wire;

pub use body::{RequestBody, UploadError};
pub use connection::{Door, serve};
pub use handler::{Answering, ConnectionFacts, Handler};
pub use line::Line;
pub use sent::SentBody;
pub use wire::Wire;

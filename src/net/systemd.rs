//! What a service manager gives and is told: passed sockets, kept sockets, and the state of the
//! daemon. All of it is silent where there is no service manager.

mod activation;
mod notify;

pub use activation::{Passed, PassedSocket};
pub use notify::Notify;
pub(crate) use notify::descriptor_name;

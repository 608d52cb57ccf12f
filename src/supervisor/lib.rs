//! The tree of tasks that omnid is made of.
//!
//! A [`Supervisor`] starts its children in order, starts again those that fail (waiting longer each
//! time), and gives up, failing itself, when they fail too often: its own supervisor then starts the
//! whole branch anew. Past the root's patience the process ends, and who runs it starts it again.
//!
//! ```no_run
//! # use omnid_supervisor::{ChildSpec, Strategy, Supervisor, SupervisorSpec};
//! # use std::time::Duration;
//! # #[tokio::main] async fn main() {
//! let tree = SupervisorSpec::new("omnid").child(ChildSpec::supervisor(
//!     SupervisorSpec::new("dns").strategy(Strategy::OneForOne).child(ChildSpec::worker(
//!         "tcp 127.0.0.1:53",
//!         |child| async move {
//!             child.ready();
//!             child.draining().await; // until then: accept, and child.spawn() each connection
//!             Ok(())
//!         },
//!     )),
//! ));
//! let (handle, exit) = Supervisor::start(tree);
//! handle.wait_ready().await;
//! handle.shutdown(Duration::from_secs(30)).await;
//! # drop(exit);
//! # }
//! ```
//!
//! What the tree promises:
//!
//! - A child is started after its elder siblings, and drained before them.
//! - A panic or an error ends one child. What the child must not lose (sockets, sessions) is not inside
//!   its future: its closure is called again with the same surroundings.
//! - A connection is a temporary child ([`Child::spawn`]): it fails alone, it outlives a restart of the
//!   child that accepted it, and a drain waits for it.
//! - Every wait has a bound: per child its shutdown time, and over all the deadline of
//!   [`Handle::shutdown`].
//! - A child once added is started, whatever its supervisor goes through meanwhile, until removed.

mod child;
mod error;
mod guard;
mod handle;
mod policy;
mod spec;
mod status;
mod supervise;
mod tree;

#[cfg(test)]
mod tests;

pub use child::Child;
pub use error::{AddError, ChildError, ChildResult, Exit, RemoveError};
pub use handle::{Handle, Supervisor};
pub use policy::{Backoff, Intensity};
pub use spec::{ChildSpec, Drain, Restart, Strategy, SupervisorSpec};
pub use status::{State, Status, Temporary};

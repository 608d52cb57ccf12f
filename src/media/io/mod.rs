//! The edge: sockets, and the shards that carry packets between them.

mod media;
mod poll;
mod record;
mod session;
mod shard;
mod stage;
mod state;

pub use media::{AllocateError, Media, Settings};
pub use record::{Channels, Recorder};
pub use session::{Busy, RefusedRemote, Session};
pub use shard::Shard;
pub use stage::ConferenceId;
pub use state::Report;

use crate::engine::{Side, relay};

/// The number that a session has for its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SessionId(pub(crate) u64);

/// What a call hears of its media.
#[derive(Clone, Debug)]
pub enum Event {
    /// One of the ends did something.
    Ends(SessionId, relay::Event),
    /// What was to be played once to this side has been.
    Played(SessionId, Side),
    /// The session is over and its ports are closed: the last that is told of it.
    Ended(SessionId, Report),
}

//! The edge: sockets and tasks that drive the engine.

mod metrics;
mod notify;
mod script;
mod stream;
mod udp;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use omnid_ground::Ground;

pub(crate) use metrics::Metrics;
pub(crate) use notify::{News, notify};
pub(crate) use stream::{dot, tcp, tls};
pub(crate) use udp::udp;

use crate::engine::answer::Scratch;
use crate::engine::state::State;
use crate::resolver::Recursion;

/// What every listener shares.
pub(crate) struct Shared {
    pub(crate) ground: Ground,
    pub(crate) state: ArcSwap<State>,
    pub(crate) metrics: Metrics,
    pub(crate) recursion: Arc<Recursion>,
    /// How long a connection may lie idle, in milliseconds; looked up live.
    pub(crate) idle_ms: std::sync::atomic::AtomicU64,
    /// Queries that scripts may work on at one time.
    pub(crate) scripted: Arc<tokio::sync::Semaphore>,
}

/// Queries in the hands of scripts at one time; beyond it they are dropped, as a full queue would.
pub(crate) const MAX_SCRIPTED: usize = 4096;

/// Largest message.
pub(crate) const MAX_MESSAGE: usize = 65_535;

/// Room for answers on streams: one for each thread, not one for each of ten thousand idle
/// connections.
struct Room {
    scratch: Scratch,
    out: Box<[u8]>,
}

thread_local! {
    static ROOM: RefCell<Room> = RefCell::new(Room {
        scratch: Scratch::default(),
        out: vec![0; MAX_MESSAGE].into_boxed_slice(),
    });
}

/// Seconds since 1970, for cookies.
pub(crate) fn unix_time() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as u32)
}

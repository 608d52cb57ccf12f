//! The edge: sockets and tasks that drive the engine.

mod exchange;
pub(crate) mod fetch;
pub(crate) mod handed;
mod https;
mod metrics;
mod notify;
mod parent;
mod script;
mod stream;
mod udp;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use omnid_ground::Ground;

pub(crate) use https::Https;
pub(crate) use metrics::Metrics;
pub(crate) use notify::{News, notify};
pub(crate) use parent::parent_ds;
pub(crate) use stream::{dot, tcp, tls};
pub(crate) use udp::udp;

use crate::engine::answer::{Answered, Scratch};
use crate::engine::deferred::Deferred;
use crate::engine::state::State;
use crate::keeper::Order;
use crate::resolver::Recursion;
use crate::wire::code::Rcode;

/// What every listener shares.
pub(crate) struct Shared {
    pub(crate) ground: Ground,
    pub(crate) state: ArcSwap<State>,
    pub(crate) metrics: Metrics,
    pub(crate) recursion: Arc<Recursion>,
    /// How long a connection may lie idle, in milliseconds; looked up live.
    pub(crate) idle_ms: std::sync::atomic::AtomicU64,
    /// Whether clients are asked for certificates, since an access list names one.
    pub(crate) certificates: std::sync::atomic::AtomicBool,
    /// Where requests go that cannot be answered in place.
    pub(crate) orders: tokio::sync::mpsc::Sender<Order>,
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

/// Has a request carried out, and writes the response.
async fn carry_out(shared: &Shared, deferred: Box<Deferred>) -> Option<(Vec<u8>, Answered)> {
    let (answer, answered) = tokio::sync::oneshot::channel();
    let own = deferred.clone();
    let rcode = match shared.orders.try_send(Order { deferred, answer }) {
        // A queue that is gone has dropped the order: nothing was done.
        Ok(()) => answered.await.unwrap_or(Rcode::SERVFAIL),
        Err(_) => Rcode::SERVFAIL,
    };
    let (state, now) = (shared.state.load_full(), unix_time());
    ROOM.with_borrow_mut(|room| {
        let (out, scratch) = (&mut *room.out, &mut room.scratch);
        let answered = own.respond(&state, now, rcode, out, scratch)?;
        Some((out.get(..answered.len)?.to_vec(), answered))
    })
}

/// Seconds since 1970, for cookies and signatures.
pub(crate) fn unix_time() -> u32 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs() as u32)
}

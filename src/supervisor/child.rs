//! What a running child is given.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tracing::Instrument;

use crate::error::ChildResult;
use crate::guard::{Outcome, guarded};
use crate::status::State;
use crate::tree::{Kind, Node, Term};

/// How long a future lives on after [`Child::cancelled`], to say goodbye.
pub(crate) const GRACE: Duration = Duration::from_millis(250);

/// A running child's line to its supervisor: it says how it is, hears when to stop, and has temporary
/// children. Clones are the same child.
#[derive(Clone)]
pub struct Child {
    pub(crate) node: Arc<Node>,
    pub(crate) term: Arc<Term>,
    pub(crate) run: u64,
}

impl Child {
    /// Says that it does all of its work. Until then it counts as starting.
    pub fn ready(&self) {
        self.node.say(self.run, State::Ready);
    }

    /// Says that it cannot do all of its work, and why. [`Child::ready`] takes it back.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.node.say(self.run, State::Degraded(reason.into()));
    }

    /// Says how much it carries, in whatever it counts; unsaid, its temporary children are counted.
    pub fn load(&self, load: u64) {
        self.node.set_load(load);
    }

    /// Its name and those above it, joined by `/`, without the root's.
    pub fn path(&self) -> &str {
        &self.node.path
    }

    /// Resolves when it is to accept nothing new, finish what is under way, and end.
    pub async fn draining(&self) {
        self.term.drain.cancelled().await;
    }

    /// Whether it is to finish.
    pub fn is_draining(&self) -> bool {
        self.term.drain.is_cancelled()
    }

    /// Resolves when the time to finish is over. A quarter of a second later the future is dropped.
    pub async fn cancelled(&self) {
        self.term.cancel.cancelled().await;
    }

    /// Runs a temporary child (a connection, a call…) in `span`. Its panic or error is logged there and
    /// counted, and ends it alone. It lives on when this child is restarted; when it is drained, it has
    /// what is left of this child's shutdown time.
    pub fn spawn(
        &self,
        kind: &'static str,
        span: tracing::Span,
        future: impl Future<Output = ChildResult> + Send + 'static,
    ) {
        let alive = Alive::new(self.node.kind(kind));
        let term = self.term.clone();
        let task = async move {
            let outcome = guarded(future, &alive.0.trap, &term.cancel, GRACE).await;
            match &outcome {
                Outcome::Finished | Outcome::Cancelled => {}
                Outcome::Failed(error) => tracing::warn!(%error, "{kind} failed"),
                Outcome::Panicked(reason) => tracing::error!(%reason, "{kind} panicked"),
            }
            if matches!(outcome, Outcome::Failed(_) | Outcome::Panicked(_)) {
                alive.0.failed.fetch_add(1, Ordering::Relaxed);
            }
        };
        self.term.temporaries.spawn(task.instrument(span));
    }
}

/// Counts one temporary child from its making to its end, however it ends.
struct Alive(Arc<Kind>);

impl Alive {
    fn new(kind: Arc<Kind>) -> Self {
        kind.alive.fetch_add(1, Ordering::Relaxed);
        kind.total.fetch_add(1, Ordering::Relaxed);
        Self(kind)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.alive.fetch_sub(1, Ordering::Relaxed);
    }
}

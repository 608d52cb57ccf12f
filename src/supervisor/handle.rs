//! The tree from outside.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use crate::child::GRACE;
use crate::error::{AddError, Exit, RemoveError};
use crate::guard::{Outcome, guarded};
use crate::spec::{ChildSpec, SupervisorSpec};
use crate::status::{State, Status};
use crate::supervise::{see_off, supervise};
use crate::tree::{Node, Term};

/// The root of a tree.
pub struct Supervisor;

impl Supervisor {
    /// Starts the tree. The task ends when the tree has: after [`Handle::shutdown`], or because it
    /// could not go on.
    pub fn start(spec: SupervisorSpec) -> (Handle, JoinHandle<Exit>) {
        let node = Node::root(spec);
        let term = Term::below(&CancellationToken::new());
        let ended = CancellationToken::new();
        let handle = Handle {
            node: node.clone(),
            root: Arc::new(Root {
                term: term.clone(),
                ended: ended.clone(),
            }),
        };
        node.begin(ROOT_RUN);
        let span = tracing::info_span!(parent: None, "tree", name = node.name);
        let task = async move {
            let tree = supervise(node.clone(), term.clone(), ROOT_RUN);
            // It is never dropped: after a cancellation its own waits are short.
            let never = CancellationToken::new();
            let outcome = guarded(tree, &node.trap, &never, GRACE).await;
            let exit = match outcome {
                Outcome::Finished => {
                    node.enter(State::Stopped);
                    Exit::Stopped
                }
                outcome => {
                    let error = outcome.error().unwrap_or_default();
                    node.ended(Some(error.clone()));
                    node.enter(State::Failed(error.clone()));
                    Exit::Escalated(error)
                }
            };
            ended.cancel();
            exit
        };
        (handle, tokio::spawn(task.instrument(span)))
    }
}

/// The root is not restarted, so it has one run.
const ROOT_RUN: u64 = 0;

struct Root {
    term: Arc<Term>,
    ended: CancellationToken,
}

/// A child in the tree, and through it those below. Clones are the same child; dropping one does nothing.
#[derive(Clone)]
pub struct Handle {
    node: Arc<Node>,
    root: Arc<Root>,
}

impl Handle {
    /// Adds a child, the youngest, and starts it in its turn: at once, or when the supervisor runs again.
    #[allow(
        clippy::unused_async,
        reason = "the face of the crate; a cluster will have to wait"
    )]
    pub async fn add(&self, child: ChildSpec) -> Result<(), AddError> {
        self.node.adopt(child)
    }

    /// Takes a child out: drains it within its shutdown time, and returns when it is gone. Its name is
    /// free at once, so that its successor can start beside it.
    pub async fn remove(&self, name: &str) -> Result<(), RemoveError> {
        self.remove_until(name, None).await
    }

    async fn remove_until(&self, name: &str, limit: Option<Instant>) -> Result<(), RemoveError> {
        if self.node.family.is_none() {
            return Err(RemoveError::NotASupervisor(self.node.shown()));
        }
        let slot = self
            .node
            .dismiss(name)
            .ok_or_else(|| RemoveError::Unknown(self.node.shown(), name.to_owned()))?;
        let leaving = see_off(self.node.clone(), slot, limit);
        if let Err(error) = leaving.await {
            tracing::error!(%error, child = name, "could not be removed");
        }
        Ok(())
    }

    /// The child of that name.
    pub fn child(&self, name: &str) -> Option<Self> {
        let node = self.node.child(name)?;
        Some(Self {
            node,
            root: self.root.clone(),
        })
    }

    /// How it stands, and all below it.
    pub fn status(&self) -> Status {
        self.node.status()
    }

    /// Drains all of it, the youngest child first, each within its shutdown time and all within
    /// `deadline`; then cancels what is left. For a child below the root, it is removed.
    pub async fn shutdown(&self, deadline: Duration) {
        self.node.retire();
        if let Some(node) = self.node.parent.upgrade() {
            let parent = Self {
                node,
                root: self.root.clone(),
            };
            let limit = Instant::now().checked_add(deadline);
            // An error means that it is gone or going already.
            drop(parent.remove_until(&self.node.name, limit).await);
            return;
        }
        self.node.enter(State::Draining);
        self.root.term.drain.cancel();
        if timeout(deadline, self.root.ended.cancelled())
            .await
            .is_err()
        {
            tracing::warn!(?deadline, "the tree did not finish in time and is cut off");
            self.root.term.cancel.cancel();
            self.root.ended.cancelled().await;
        }
    }

    /// Resolves once it and all below are ready (or have ended well). False when the tree ended instead.
    pub async fn wait_ready(&self) -> bool {
        self.wait(Status::is_ready).await
    }

    /// Resolves once `condition` holds of its status, which is looked at whenever a state changes. False
    /// when the tree ended instead.
    pub async fn wait(&self, condition: impl Fn(&Status) -> bool) -> bool {
        let mut changed = self.node.changed.subscribe();
        while !condition(&self.node.status()) {
            tokio::select! {
                biased;
                _ = changed.changed() => {}
                () = self.root.ended.cancelled() => return condition(&self.node.status()),
            }
        }
        true
    }

    /// For tests: makes the future of the child at `path` (names joined by `/`; empty: this one's own)
    /// panic when it is polled next, and wakes it. A path may end in a kind of temporary children, of
    /// which one then panics when it is next polled. False when nothing of that name runs.
    pub fn inject_panic(&self, path: &str) -> bool {
        self.node.inject(path)
    }
}

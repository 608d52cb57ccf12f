//! What a tree is to look like, before any of it runs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{BoxFuture, FutureExt};

use crate::child::Child;
use crate::error::ChildResult;
use crate::policy::{Backoff, Intensity};

/// When a child that ended is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Restart {
    /// Always.
    Permanent,
    /// When it failed; not when it ended well.
    Transient,
    /// Never: it is forgotten when it ends.
    Temporary,
}

/// Who else is restarted with a child that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody: the children are independent.
    OneForOne,
    /// Everybody: the children cannot do without each other.
    OneForAll,
    /// Those started after it: each child stands on its elders.
    RestForOne,
}

/// How a supervisor's children are drained when it stops.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Drain {
    /// The youngest first, and each only when the one before has ended.
    InTurn,
    /// All are asked at once, the youngest first: the whole takes as long as the slowest child.
    Together,
}

pub(crate) type StartFn = dyn Fn(Child) -> BoxFuture<'static, ChildResult> + Send + Sync;

/// A child to be: its name, what it does, and what becomes of it when it ends.
#[derive(Clone)]
pub struct ChildSpec {
    pub(crate) name: String,
    pub(crate) restart: Restart,
    /// None: as long as its own children take.
    pub(crate) shutdown: Option<Duration>,
    pub(crate) start: Start,
}

#[derive(Clone)]
pub(crate) enum Start {
    Worker(Arc<StartFn>),
    Supervisor(SupervisorSpec),
}

impl ChildSpec {
    /// A child that does the work of `start`, which is called at each start and restart. Unless told
    /// otherwise it is permanent and has 5 seconds to finish when asked to.
    pub fn worker<F, Fut>(name: impl Into<String>, start: F) -> Self
    where
        F: Fn(Child) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = ChildResult> + Send + 'static,
    {
        Self {
            name: name.into(),
            restart: Restart::Permanent,
            shutdown: Some(Duration::from_secs(5)),
            start: Start::Worker(Arc::new(move |child| start(child).boxed())),
        }
    }

    /// A child that is itself a supervisor. It is transient, since it ends well only when asked to, and
    /// its shutdown takes what its children's shutdown times add up to.
    pub fn supervisor(spec: SupervisorSpec) -> Self {
        Self {
            name: spec.name.clone(),
            restart: Restart::Transient,
            shutdown: None,
            start: Start::Supervisor(spec),
        }
    }

    /// Sets when it is started again.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = restart;
        self
    }

    /// Sets how long it may take to finish when asked to. Zero: it is simply dropped.
    #[must_use]
    pub fn shutdown(mut self, shutdown: Duration) -> Self {
        self.shutdown = Some(shutdown);
        self
    }

    /// Its name among its siblings.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Debug for ChildSpec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("ChildSpec");
        debug
            .field("name", &self.name)
            .field("restart", &self.restart);
        debug.field("shutdown", &self.shutdown);
        if let Start::Supervisor(spec) = &self.start {
            debug.field("supervisor", spec);
        }
        debug.finish_non_exhaustive()
    }
}

/// A supervisor to be.
#[derive(Debug, Clone)]
pub struct SupervisorSpec {
    pub(crate) name: String,
    pub(crate) strategy: Strategy,
    pub(crate) intensity: Intensity,
    pub(crate) backoff: Backoff,
    pub(crate) drain: Drain,
    pub(crate) start_patience: Duration,
    pub(crate) children: Vec<ChildSpec>,
}

impl SupervisorSpec {
    /// One-for-one, at most 5 restarts in a minute, waits from 100 ms to 30 s, drained in turn.
    pub fn new(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            strategy: Strategy::OneForOne,
            intensity: Intensity::default(),
            backoff: Backoff::default(),
            drain: Drain::InTurn,
            start_patience: Duration::from_secs(5),
            children: Vec::new(),
        }
    }

    /// Sets who is restarted together.
    #[must_use]
    pub fn strategy(mut self, strategy: Strategy) -> Self {
        self.strategy = strategy;
        self
    }

    /// Sets how many restarts are too many.
    #[must_use]
    pub fn intensity(mut self, intensity: Intensity) -> Self {
        self.intensity = intensity;
        self
    }

    /// Sets the waits between restarts.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how the children are drained.
    #[must_use]
    pub fn drain(mut self, drain: Drain) -> Self {
        self.drain = drain;
        self
    }

    /// Sets how long a child may take to become ready before its younger siblings start without it.
    #[must_use]
    pub fn start_patience(mut self, patience: Duration) -> Self {
        self.start_patience = patience;
        self
    }

    /// Adds a child, younger than those before. Of two with one name, the second is never started.
    #[must_use]
    pub fn child(mut self, child: ChildSpec) -> Self {
        self.children.push(child);
        self
    }
}

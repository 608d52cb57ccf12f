//! What the tree looks like from outside.

use std::fmt;

use serde::{Deserialize, Serialize};

/// Where a child stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", content = "detail", rename_all = "lowercase")]
pub enum State {
    /// Started, or about to be, and not yet ready.
    Starting,
    /// Doing its work.
    Ready,
    /// Doing part of its work, and why not all.
    Degraded(String),
    /// Failed, and waiting to be started for the n-th time again.
    Restarting(u32),
    /// Finishing what is under way.
    Draining,
    /// Ended for good by an error or panic.
    Failed(String),
    /// Ended well, or not running because its supervisor is not.
    Stopped,
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Starting => f.write_str("starting"),
            Self::Ready => f.write_str("ready"),
            Self::Degraded(reason) => write!(f, "degraded ({reason})"),
            Self::Restarting(times) => write!(f, "restarting ({times})"),
            Self::Draining => f.write_str("draining"),
            Self::Failed(reason) => write!(f, "failed ({reason})"),
            Self::Stopped => f.write_str("stopped"),
        }
    }
}

/// A child and those below it, at one moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Status {
    /// Its name among its siblings.
    pub name: String,
    /// Where it stands; a supervisor stands where its children do.
    #[serde(flatten)]
    pub state: State,
    /// When it came to stand there, in seconds since 1970.
    pub since: u64,
    /// How often it was started again.
    pub restarts: u32,
    /// What ended it the last time.
    pub last_error: Option<String>,
    /// What it says it carries ([`crate::Child::load`]), or else how many temporary children it has.
    pub load: u64,
    /// Its temporary children by kind.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub temporary: Vec<Temporary>,
    /// Its children, eldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub children: Vec<Status>,
}

/// The temporary children of one kind.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Temporary {
    /// What they are: `connection`, `call`…
    pub kind: String,
    /// How many are alive.
    pub alive: u64,
    /// How many there have been.
    pub total: u64,
    /// How many ended by an error or panic.
    pub failed: u64,
}

impl Status {
    /// Whether this child and all below it are ready (or have ended well, having no more to do).
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Ready | State::Stopped)
            && self.children.iter().all(Self::is_ready)
    }

    /// The status at `path` below this one, its names joined by `/`. Names may hold a `/` themselves.
    pub fn find(&self, path: &str) -> Option<&Self> {
        if path.is_empty() {
            return Some(self);
        }
        self.children.iter().find_map(|child| {
            let rest = path.strip_prefix(child.name.as_str())?;
            if rest.is_empty() {
                Some(child)
            } else {
                child.find(rest.strip_prefix('/')?)
            }
        })
    }

    /// The sum of the loads of all below, or its own where it has no children.
    pub fn total_load(&self) -> u64 {
        self.children.iter().fold(self.load, |sum, child| {
            sum.saturating_add(child.total_load())
        })
    }
}

//! How a child, and the tree, can end.

use std::error::Error;
use std::fmt;

/// What a child's future ends with.
pub type ChildResult = Result<(), ChildError>;

/// Why a child ended: any error, shown with its whole chain of causes.
///
/// It is not itself an [`Error`], so that `?` turns every error into it.
pub struct ChildError(Box<dyn Error + Send + Sync>);

impl ChildError {
    /// An error that is only a message.
    pub fn new(message: impl Into<String>) -> Self {
        Self(message.into().into())
    }
}

impl<E: Error + Send + Sync + 'static> From<E> for ChildError {
    fn from(error: E) -> Self {
        Self(Box::new(error))
    }
}

impl fmt::Display for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut cause = self.0.source();
        while let Some(error) = cause {
            write!(f, ": {error}")?;
            cause = error.source();
        }
        Ok(())
    }
}

impl fmt::Debug for ChildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// How the whole tree ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Exit {
    /// It was asked to stop, and did.
    Stopped,
    /// Its children failed more often than the root allows. The process should exit non-zero.
    Escalated(String),
}

/// Why a child could not be added.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddError {
    /// A sibling has this name.
    #[error("{0} already has a child named {1:?}")]
    Duplicate(String, String),
    /// The supervisor was removed or is shutting down for good.
    #[error("{0} is stopping")]
    Stopping(String),
    /// Only supervisors have children.
    #[error("{0} is not a supervisor")]
    NotASupervisor(String),
}

/// Why a child could not be removed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RemoveError {
    /// There is no such child.
    #[error("{0} has no child named {1:?}")]
    Unknown(String, String),
    /// Only supervisors have children.
    #[error("{0} is not a supervisor")]
    NotASupervisor(String),
}

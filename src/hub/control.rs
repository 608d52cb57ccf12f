//! Verbs for the operator: services answer them, the control socket and the command line carry
//! them. JSON in, JSON out, so that `--json` prints what the service said.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use arc_swap::ArcSwap;
use futures_util::future::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Why a verb was not carried out, in words for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct ControlError {
    /// What is wrong, and what to do about it.
    pub message: String,
}

impl ControlError {
    /// An error with its message.
    pub fn new(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
        }
    }
}

impl From<serde_json::Error> for ControlError {
    fn from(error: serde_json::Error) -> Self {
        Self::new(format!("the arguments do not fit this command: {error}"))
    }
}

/// What answers a verb.
pub type ControlHandler =
    Arc<dyn Fn(Value) -> BoxFuture<'static, Result<Value, ControlError>> + Send + Sync>;

/// The table of verbs.
#[derive(Default)]
pub struct Control {
    verbs: ArcSwap<BTreeMap<&'static str, ControlHandler>>,
}

impl Control {
    /// Answers `verb` (`zone.list`, `sessions`) with `handler`, in place of an earlier one.
    pub fn register<F, Answer>(&self, verb: &'static str, handler: F)
    where
        F: Fn(Value) -> Answer + Send + Sync + 'static,
        Answer: Future<Output = Result<Value, ControlError>> + Send + 'static,
    {
        let handler: ControlHandler = Arc::new(move |arguments| Box::pin(handler(arguments)));
        self.verbs.rcu(|verbs| {
            let mut verbs = BTreeMap::clone(verbs);
            verbs.insert(verb, handler.clone());
            verbs
        });
    }

    /// Answers a verb no more.
    pub fn withdraw(&self, verb: &str) {
        self.verbs.rcu(|verbs| {
            let mut verbs = BTreeMap::clone(verbs);
            verbs.remove(verb);
            verbs
        });
    }

    /// Carries out a verb.
    ///
    /// # Errors
    /// What the service said, or that no service answers this verb.
    pub async fn call(&self, verb: &str, arguments: Value) -> Result<Value, ControlError> {
        let handler = self.verbs.load().get(verb).cloned();
        match handler {
            Some(handler) => handler(arguments).await,
            None => Err(ControlError::new(format!(
                "no running service answers \"{verb}\"; is its section in the configuration?"
            ))),
        }
    }

    /// The verbs answered now.
    #[must_use]
    pub fn verbs(&self) -> Vec<&'static str> {
        self.verbs.load().keys().copied().collect()
    }
}

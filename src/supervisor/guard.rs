//! Running one future so that whatever it does ends it alone.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Context;
use std::time::Duration;

use futures_util::future::FutureExt;
use futures_util::task::AtomicWaker;
use tokio_util::sync::CancellationToken;

use crate::error::{ChildError, ChildResult};

/// How a guarded future ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    Finished,
    Failed(ChildError),
    Panicked(String),
    /// It did not end by itself and was dropped.
    Cancelled,
}

impl Outcome {
    /// Why it was not a good end.
    pub(crate) fn error(&self) -> Option<String> {
        match self {
            Self::Finished => None,
            Self::Failed(error) => Some(error.to_string()),
            Self::Panicked(message) => Some(format!("panicked: {message}")),
            Self::Cancelled => Some("cancelled".to_owned()),
        }
    }
}

/// Runs `future` to its end, or, once `cancel` is set, for `grace` more at most.
pub(crate) async fn guarded<F>(
    future: F,
    trap: &Trap,
    cancel: &CancellationToken,
    grace: Duration,
) -> Outcome
where
    F: Future<Output = ChildResult>,
{
    let mut future = pin!(future);
    let watched = std::future::poll_fn(|cx| {
        trap.spring(cx);
        future.as_mut().poll(cx)
    });
    let overdue = async {
        cancel.cancelled().await;
        tokio::time::sleep(grace).await;
    };
    tokio::select! {
        biased;
        end = AssertUnwindSafe(watched).catch_unwind() => match end {
            Ok(Ok(())) => Outcome::Finished,
            Ok(Err(error)) => Outcome::Failed(error),
            Err(panic) => Outcome::Panicked(message(panic.as_ref())),
        },
        () = overdue => Outcome::Cancelled,
    }
}

/// A panic waiting to be injected, for tests: the future that looks next steps into it.
#[derive(Debug, Default)]
pub(crate) struct Trap {
    set: AtomicBool,
    /// Whom to wake, where only one future looks.
    waker: Option<AtomicWaker>,
}

impl Trap {
    /// A trap for one future at a time, which is woken when it is set.
    pub(crate) fn alone() -> Self {
        Self {
            set: AtomicBool::new(false),
            waker: Some(AtomicWaker::new()),
        }
    }

    /// A trap for many futures: one of them steps in when it is polled for reasons of its own.
    pub(crate) fn shared() -> Self {
        Self::default()
    }

    pub(crate) fn set(&self) {
        self.set.store(true, Ordering::Release);
        if let Some(waker) = &self.waker {
            waker.wake();
        }
    }

    fn spring(&self, cx: &Context<'_>) {
        if let Some(waker) = &self.waker {
            waker.register(cx.waker());
        }
        // Almost never set, so looking costs one load; of several futures that look, one steps in.
        if self.set.load(Ordering::Acquire) && self.set.swap(false, Ordering::AcqRel) {
            panic!("injected by a test");
        }
    }
}

fn message(panic: &(dyn Any + Send)) -> String {
    if let Some(text) = panic.downcast_ref::<&str>() {
        (*text).to_owned()
    } else if let Some(text) = panic.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}

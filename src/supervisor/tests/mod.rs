//! The tree's behaviour, under paused time: a wait takes no time, and times are exact.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod drain;
mod property;
mod restart;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::Instant;

use crate::*;

/// What happened, in order.
#[derive(Clone)]
struct Journal {
    begin: Instant,
    lines: Arc<Mutex<Vec<(Instant, String)>>>,
}

impl Journal {
    fn new() -> Self {
        Self {
            begin: Instant::now(),
            lines: Arc::default(),
        }
    }

    fn note(&self, line: impl Into<String>) {
        self.lines
            .lock()
            .expect("no panic under it")
            .push((Instant::now(), line.into()));
    }

    /// The lines so far, which are forgotten.
    fn take(&self) -> Vec<String> {
        let mut lines = self.lines.lock().expect("no panic under it");
        lines.drain(..).map(|(_, line)| line).collect()
    }

    /// When, in milliseconds since the beginning, `line` was noted.
    fn times(&self, line: &str) -> Vec<u128> {
        let lines = self.lines.lock().expect("no panic under it");
        let times = lines.iter().filter(|(_, noted)| noted == line);
        times
            .map(|(at, _)| at.duration_since(self.begin).as_millis())
            .collect()
    }

    /// A worker that notes `+name` when started and `-name` when it ends as asked.
    fn worker(&self, name: &'static str) -> ChildSpec {
        let journal = self.clone();
        ChildSpec::worker(name, move |child| {
            let journal = journal.clone();
            async move {
                journal.note(format!("+{name}"));
                child.ready();
                child.draining().await;
                journal.note(format!("-{name}"));
                Ok(())
            }
        })
    }

    /// A worker that notes `+name` and fails after `time`.
    fn failing(&self, name: &'static str, time: Duration) -> ChildSpec {
        let journal = self.clone();
        ChildSpec::worker(name, move |child| {
            let journal = journal.clone();
            async move {
                journal.note(format!("+{name}"));
                child.ready();
                tokio::time::sleep(time).await;
                Err(ChildError::new("no luck"))
            }
        })
    }
}

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// Lets everything that can happen without time passing happen.
async fn settle() {
    tokio::time::sleep(Duration::from_nanos(1)).await;
}

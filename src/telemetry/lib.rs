//! What omnid says about itself: log entries and metrics.
//!
//! Entries are made with `tracing`, and carry the spans they are made in, so that one line names the
//! listener, the peer, the user and the query, request, stanza or call. [`init`] decides from the
//! `[log]` section how much is logged, in which form and where to; [`Telemetry`] changes that while the
//! server runs and lets `omnid log -f` listen in. [`limited!`] is for what peers can repeat at will.
//! [`metrics`] counts.
//!
//! A worker that logs never waits for the log's reader: see [`LineWriter`].

mod config;
mod journal;
mod json;
mod layer;
mod levels;
#[doc(hidden)]
pub mod limit;
pub mod metrics;
mod panic;
mod record;
mod text;
mod writer;

#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::broadcast;
use tracing::Dispatch;
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::registry::Registry;
use tracing_subscriber::reload;
use tracing_subscriber::util::SubscriberInitExt as _;

pub use config::{LogConfig, LogFormat, LogLevel};
pub use levels::LevelError;
/// For [`limited!`].
#[doc(hidden)]
pub use tracing;
pub use writer::{Destination, LineWriter};

use layer::{Entries, Form, Output};
use levels::Levels;

/// Starts logging for the whole process, once, and has panics logged.
pub fn init(config: &LogConfig) -> Result<Telemetry, TelemetryError> {
    let (telemetry, dispatch) = Telemetry::build(config)?;
    dispatch.try_init().map_err(|_| TelemetryError::Twice)?;
    panic::log_panics();
    Ok(telemetry)
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The log's file or socket.
    #[error("cannot log to {path}", path = path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// The process logs already.
    #[error("logging is set up already")]
    Twice,
}

/// The log of the process. Clones are the same.
#[derive(Clone)]
pub struct Telemetry {
    output: Arc<Output>,
    levels: Arc<Mutex<Levels>>,
    filter: reload::Handle<Levels, Registry>,
}

impl Telemetry {
    fn build(config: &LogConfig) -> Result<(Self, Dispatch), TelemetryError> {
        let levels = Levels::new(config);
        let (filter, handle) = reload::Layer::new(levels.clone());
        let form = Form::open(config, None)
            .map_err(|(path, source)| TelemetryError::Open { path, source })?;
        let output = Output::new(form);
        let subscriber =
            tracing_subscriber::registry().with(Entries(output.clone()).with_filter(filter));
        let levels = Arc::new(Mutex::new(levels));
        Ok((
            Self {
                output,
                levels,
                filter: handle,
            },
            Dispatch::new(subscriber),
        ))
    }

    /// Changes what is logged, until the next [`Telemetry::reconfigure`]: `debug`, or for parts of the
    /// server `info,dns=debug,dns::resolver=trace`. Returns what was before, in the same form.
    pub fn set_level(&self, levels: &str) -> Result<String, LevelError> {
        Ok(self.swap_levels(levels.parse()?).to_string())
    }

    /// What is logged, in the form of [`Telemetry::set_level`].
    pub fn level(&self) -> String {
        self.levels
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .to_string()
    }

    /// Does as `config` says from now on. On an error nothing has changed.
    pub fn reconfigure(&self, config: &LogConfig) -> Result<(), TelemetryError> {
        let form = Form::open(config, Some(&self.output.current.load()))
            .map_err(|(path, source)| TelemetryError::Open { path, source })?;
        self.output.current.store(Arc::new(form));
        self.swap_levels(Levels::new(config));
        Ok(())
    }

    /// Every entry from now on, as text without its end of line. A reader that is slow loses the oldest
    /// and is told how many.
    pub fn tail(&self) -> broadcast::Receiver<Arc<str>> {
        self.output.tail.subscribe()
    }

    /// Waits until all that was logged is written, for at most `patience`. For the end of the process.
    pub fn flush(&self, patience: Duration) -> bool {
        self.output.current.load().writer.flush(patience)
    }

    fn swap_levels(&self, new: Levels) -> Levels {
        let mut levels = self.levels.lock().unwrap_or_else(PoisonError::into_inner);
        let swapped = self.filter.modify(|filter| *filter = new.clone());
        if let Err(error) = swapped {
            // Only when the subscriber is gone, and with it whatever could be logged.
            tracing::error!(%error, "the log level could not be changed");
        }
        std::mem::replace(&mut levels, new)
    }
}

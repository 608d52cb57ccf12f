//! How the operator reaches the running daemon: the control socket that the command line speaks
//! to, and an HTTP address for metrics, health and status.

mod client;
mod config;
mod http;
mod protocol;
mod socket;

use std::sync::Arc;

use omnid_ground::{Ground, ListenerSet, ServiceError, Wanted};
use omnid_supervisor::{Handle, State, Status};
use omnid_telemetry::Telemetry;

pub use client::{Client, ClientError};
pub use config::Config;
pub use protocol::{Reply, Request};

/// The control socket and the watchers' HTTP address of one daemon.
pub struct Admin {
    config: Config,
    ground: Ground,
    telemetry: Telemetry,
    tree: Handle,
}

impl Admin {
    /// `tree` is the root of the supervisor tree, which `/status` shows.
    #[must_use]
    pub fn new(config: Config, ground: Ground, telemetry: Telemetry, tree: Handle) -> Arc<Self> {
        Arc::new(Self {
            config,
            ground,
            telemetry,
            tree,
        })
    }

    /// Makes the listeners of `supervisor` those of this configuration.
    ///
    /// # Errors
    /// Where the supervisor is gone.
    pub async fn apply(
        self: &Arc<Self>,
        listeners: &ListenerSet,
        supervisor: &Handle,
    ) -> Result<(), ServiceError> {
        let mut wanted: Vec<Wanted> = vec![socket::listener(self)];
        wanted.extend(
            self.config
                .listen
                .iter()
                .map(|address| http::listener(self, address)),
        );
        listeners.apply(&self.ground, supervisor, wanted).await
    }

    /// Paths and reasons of everything in the tree that is not well.
    #[must_use]
    pub fn unwell(&self) -> Vec<String> {
        let mut unwell = Vec::new();
        collect(&self.tree.status(), "", &mut unwell);
        unwell
    }
}

fn collect(status: &Status, path: &str, unwell: &mut Vec<String>) {
    let path = if path.is_empty() {
        status.name.clone()
    } else {
        format!("{path}/{}", status.name)
    };
    match &status.state {
        State::Ready | State::Stopped => {}
        other => unwell.push(format!("{path}: {other}")),
    }
    for child in &status.children {
        collect(child, &path, unwell);
    }
}

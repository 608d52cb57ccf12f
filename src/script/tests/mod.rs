//! Scripts as services and operators meet them.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod fetch;
mod load;
mod runaway;
mod verbs;

use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{Problems, Sources, Spanned};
use omnid_hub::{Event, Hub, Subscription};
use omnid_store::{Database, StoreConfig};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::*;

/// Scripts that serve, with all around them.
struct Stage {
    scripts: Scripts,
    hub: Hub,
    directory: TempDir,
    serving: JoinHandle<()>,
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Stage {
    async fn new(script: &str) -> Self {
        Self::with(script, ScriptConfig::default()).await
    }

    async fn with(script: &str, config: ScriptConfig) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let database = Database::open(&StoreConfig::default(), directory.path())
            .await
            .unwrap();
        let hub = Hub::new();
        let scripts = Scripts::open(hub.clone(), database).await.unwrap();
        let serving = tokio::spawn({
            let scripts = scripts.clone();
            async move { scripts.serve().await }
        });
        let stage = Self {
            scripts,
            hub,
            directory,
            serving,
        };
        stage.play(script, config);
        stage
    }

    /// Replaces the script.
    fn play(&self, script: &str, config: ScriptConfig) {
        let path = self.directory.path().join("script.lua");
        std::fs::write(&path, script).unwrap();
        let config = ScriptConfig {
            files: files([path]),
            ..config
        };
        let mut sources = Sources::new();
        match Scripts::load(&config, &mut sources) {
            Ok(prepared) => self.scripts.swap(prepared),
            Err(problems) => panic!("{}", sources.render(&problems, false)),
        }
    }

    async fn ask(&self, arguments: Value) -> Result<Option<Value>, ScriptError> {
        self.scripts.call(Hook::DnsQuery, arguments).await
    }
}

fn files(paths: impl IntoIterator<Item = PathBuf>) -> Vec<Spanned<PathBuf>> {
    paths.into_iter().map(Spanned::from).collect()
}

/// The data of the next event that a script emitted with this topic.
async fn heard(subscription: &mut Subscription, topic: &str) -> Value {
    let listening = async {
        loop {
            let published = subscription.next().await.expect("the hub is there");
            if let Event::Custom { topic: heard, data } = &published.event
                && heard == topic
            {
                return data.clone();
            }
        }
    };
    let within = tokio::time::timeout(Duration::from_secs(10), listening).await;
    within.unwrap_or_else(|_| panic!("no event {topic:?}"))
}

//! Lua at named phases of the services, the same verbs in each.
//!
//! ```lua
//! omnid.hook("dns.query", function(query)          -- a service asks: nil to go on, or a decision
//!     if query.name == "blocked.example.org." then
//!         return { rcode = "REFUSED" }
//!     end
//! end)
//!
//! omnid.on("call.*", function(event)               -- something happened: "login", "message", …
//!     omnid.log("info", event.topic .. " " .. event.call)
//! end)
//!
//! omnid.after(60, function()                       -- later, within 7 days
//!     local response, problem = omnid.fetch("https://example.org/", {
//!         method = "POST", headers = { ["content-type"] = "text/plain" }, body = "hello", timeout = 5,
//!     })
//!     omnid.store.set("last", response and response.status or problem)   -- kept on disk
//!     omnid.emit("mine", { last = omnid.store.get("last") })             -- to all who listen
//! end)
//! ```
//!
//! - Hooks and listeners are registered at a script's top level, which runs once in every Lua state: one
//!   for each processor answers services, one more does what happens by itself. Variables are a state's
//!   own; what all are to know goes through `omnid.store`.
//! - `omnid.fetch` and `omnid.store` wait without holding up anything else. They cannot be used at the
//!   top level, nor within a coroutine of the script's own.
//! - A call has bounded processor time, memory and waiting time. Luau can be stopped wherever it loops;
//!   the few library functions that it could not be stopped in are replaced (`prelude.lua`).
//! - A failed call is logged with its traceback (now and then, if it repeats), and counts as no decision
//!   or, with `on_error = "deny"`, as a refusal.
//! - Where no script has a hook, asking costs the load of one number.

mod ask;
mod compile;
mod config;
mod convert;
mod data;
mod fetch;
mod hook;
mod meter;
mod pool;
mod state;
mod text;
mod verbs;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use arc_swap::ArcSwapOption;
use omnid_config::{Problems, Sources};
use omnid_hub::Hub;
use omnid_store::{Database, StoreError};
use tokio::sync::watch;

pub use config::{FetchConfig, OnError, ScriptConfig};
pub use hook::Hook;
pub use pool::Prepared;

use pool::Pool;

/// A script failed, and `on_error = "deny"`: what it was asked about is to be refused. It is logged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a script failed: {0}")]
pub struct ScriptError(String);

/// The scripts that serve. Clones are the same.
#[derive(Clone)]
pub struct Scripts {
    inner: Arc<Inner>,
}

struct Inner {
    hub: Hub,
    database: Database,
    pool: ArcSwapOption<Pool>,
    /// A bit for each hook that a script has, so that asking costs nothing where none has.
    hooked: AtomicU32,
    changed: watch::Sender<()>,
}

impl Scripts {
    /// Makes ready what scripts keep. No scripts serve yet.
    ///
    /// # Errors
    /// When the store cannot be brought to the crate's schema.
    pub async fn open(hub: Hub, database: Database) -> Result<Self, StoreError> {
        database.migrate("script", data::MIGRATIONS).await?;
        Ok(Self {
            inner: Arc::new(Inner {
                hub,
                database,
                pool: ArcSwapOption::empty(),
                hooked: AtomicU32::new(0),
                changed: watch::Sender::new(()),
            }),
        })
    }

    /// Compiles the scripts and runs their top level, without effect outside of them. Their texts are
    /// added to `sources`, over which problems are drawn.
    ///
    /// # Errors
    /// Everything that is wrong with the section, the files or the scripts in them.
    pub fn load(config: &ScriptConfig, sources: &mut Sources) -> Result<Prepared, Problems> {
        Prepared::load(config, sources)
    }

    /// Lets other scripts serve, if they are others. Calls under way end with those that they began with;
    /// what waits for `omnid.after` is dropped.
    pub fn swap(&self, prepared: Prepared) {
        if let Some(pool) = self
            .inner
            .pool
            .load_full()
            .filter(|pool| pool.is(&prepared))
        {
            // They go on, with their variables and timers.
            pool.fetcher.forget_authorities();
            return;
        }
        let pool = Pool::new(
            prepared,
            self.inner.hub.clone(),
            self.inner.database.clone(),
        );
        let hooked = pool.hooked();
        // A call between the two finds no handler, or a hook that is not asked for a moment longer.
        let old = self.inner.pool.swap(Some(pool));
        self.inner.hooked.store(hooked, Ordering::Release);
        if let Some(old) = old {
            old.retire();
        }
        self.inner.changed.send_replace(());
    }

    /// Whether a script wants to be asked at this phase: to be looked at before arguments are made.
    pub fn hooked(&self, hook: Hook) -> bool {
        self.inner.hooked.load(Ordering::Relaxed) & hook.bit() != 0
    }

    /// Asks the scripts that have this hook, in order, until one decides. `None`: go on.
    ///
    /// # Errors
    /// When one failed and `on_error = "deny"`. Refuse what was asked about; it is logged already.
    pub async fn call(
        &self,
        hook: Hook,
        arguments: serde_json::Value,
    ) -> Result<Option<serde_json::Value>, ScriptError> {
        if !self.hooked(hook) {
            return Ok(None);
        }
        match self.inner.pool.load_full() {
            Some(pool) => pool.ask(hook, &arguments).await,
            None => Ok(None),
        }
    }

    /// Does what scripts do by themselves (events, timers of their top level): a child of the supervisor
    /// tree, which does not end.
    pub async fn serve(&self) {
        let mut changed = self.inner.changed.subscribe();
        let mut subscription = None;
        loop {
            changed.mark_unchanged();
            let Some(pool) = self.inner.pool.load_full() else {
                if changed.changed().await.is_err() {
                    return;
                }
                continue;
            };
            pool.start_timers();
            if pool.listens() {
                subscription.get_or_insert_with(|| self.inner.hub.events().subscribe());
            } else {
                subscription = None; // so that nobody makes events that nobody wants
            }
            loop {
                let published = async {
                    match &mut subscription {
                        Some(subscription) => subscription.next().await,
                        None => std::future::pending().await,
                    }
                };
                tokio::select! {
                    _ = changed.changed() => break,
                    published = published => match published {
                        Some(published) => pool.tell(&published),
                        None => return,
                    }
                }
            }
        }
    }
}

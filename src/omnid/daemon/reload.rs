//! From what runs to what the file now says. A configuration that does not check changes nothing.

use std::sync::Arc;

use omnid_ground::{Change, ServerFacts};
use omnid_hub::Event;
use serde::Serialize;

use super::Daemon;
use crate::{
    check::{self, Rejected},
    root::Root,
};

/// What a reload changes.
#[derive(Debug, Serialize)]
pub struct Plan {
    /// Sections whose text means something else than before.
    pub sections: Vec<&'static str>,
    /// Differences inside services, as `service: what`.
    pub services: Vec<ServiceChange>,
    /// Settings that only a restart can change; a reload leaves them as they run.
    pub needs_restart: Vec<&'static str>,
}

/// One service's difference.
#[derive(Debug, Serialize)]
pub struct ServiceChange {
    /// The service.
    pub service: &'static str,
    /// What changes in it.
    #[serde(flatten)]
    pub change: Change,
}

impl Plan {
    /// How many differences there are.
    pub fn changes(&self) -> usize {
        self.sections.len() + self.services.len()
    }
}

impl Daemon {
    /// Reads, checks and, unless it is a dry run, applies the configuration file.
    ///
    /// # Errors
    /// Every problem of the new configuration; then nothing has changed.
    pub async fn reload(self: &Arc<Self>, dry_run: bool) -> Result<Plan, Rejected> {
        let mut current = self.current.lock().await;
        let (path, daemon) = (self.path.clone(), self.clone());
        // Zone files and certificates are read here: not on a worker.
        let checked = tokio::task::spawn_blocking(move || check::check(&path, &daemon.services))
            .await
            .map_err(|error| Rejected(format!("the check broke off: {error}")))??;
        let new = checked.root.clone();
        let services = self.services.plan(&checked.services).await;
        let plan = Plan {
            sections: changed_sections(&current, &new),
            services: services
                .into_iter()
                .map(|(service, change)| ServiceChange { service, change })
                .collect(),
            needs_restart: needs_restart(&current, &new),
        };
        if dry_run {
            return Ok(plan);
        }

        // The one part that can still refuse: nothing has changed yet.
        self.ground
            .certificates
            .swap(checked.certificates)
            .map_err(|error| Rejected(format!("{error}\n")))?;
        self.ground.net.notify().reloading();
        // Nothing below is refused any more: every part was checked above.
        if let Err(error) = self.telemetry.reconfigure(&new.log) {
            tracing::error!(%error, "the log keeps its old settings");
        }
        self.ground.net.update(&new.net);
        self.ground.scripts.swap(checked.scripts);
        let facts = ServerFacts {
            server: new.server.clone(),
            domains: new.domain.clone(),
        };
        self.ground.server.store(Arc::new(facts));
        if new.admin != current.admin
            && let Err(error) = self.apply_admin(&new).await
        {
            tracing::error!(%error, "the control socket keeps its old settings");
        }
        for error in self
            .services
            .apply(checked.services, &self.ground, &self.tree)
            .await
        {
            tracing::error!(%error, "service not reloaded");
        }
        *current = new;
        let sections = plan.sections.iter().map(ToString::to_string).collect();
        self.ground
            .hub
            .events()
            .publish(Event::ConfigReloaded { sections });
        self.ground.net.notify().ready();
        Ok(plan)
    }
}

fn changed_sections(old: &Root, new: &Root) -> Vec<&'static str> {
    let differences = [
        ("server", old.server != new.server),
        ("domain", old.domain != new.domain),
        ("log", old.log != new.log),
        ("net", old.net != new.net),
        ("tls", old.tls != new.tls),
        ("store", old.store != new.store),
        ("identity", old.identity != new.identity),
        ("script", old.script != new.script),
        ("admin", old.admin != new.admin),
        ("dns", old.dns != new.dns),
        ("http", old.http != new.http),
        ("sip", old.sip != new.sip),
        ("xmpp", old.xmpp != new.xmpp),
    ];
    differences
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| name)
        .collect()
}

fn needs_restart(old: &Root, new: &Root) -> Vec<&'static str> {
    let differences = [
        (
            "server.data_dir",
            old.server.data_dir != new.server.data_dir,
        ),
        ("store", old.store != new.store),
        ("identity", old.identity != new.identity),
    ];
    differences
        .into_iter()
        .filter(|(_, differs)| *differs)
        .map(|(name, _)| name)
        .collect()
}

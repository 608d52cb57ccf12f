//! Zones that catalogs name (RFC 9432): the configuration with them is the one that is served.

use std::collections::BTreeMap;
use std::sync::Arc;

use omnid_config::{DomainName, Problem, Problems};
use tracing::{info, warn};

use crate::config::{Config, ZoneConfig};
use crate::data::{self, Loaded};
use crate::engine::catalog::{Membership, follow, read};
use crate::engine::zone::Zone;
use crate::engine::zones::ZoneId;
use crate::rules::compile;
use crate::secondary::Nudge;
use crate::service::{Applied, Dns, zip};
use crate::wire::code::RrType;

/// What the configuration says, without what catalogs add to it.
#[derive(Debug, Clone)]
pub(crate) struct Base {
    pub(crate) config: Config,
    pub(crate) zones: Vec<Arc<Loaded>>,
}

impl Base {
    /// The configuration with the members of its catalogs.
    fn with(&self, members: &BTreeMap<ZoneId, Membership>) -> (Config, Vec<Arc<Loaded>>) {
        let mut config = self.config.clone();
        for (id, membership) in members {
            let template = self.template(membership);
            let name = ZoneId::outside(id.name.clone()).to_string();
            let name = name.parse::<DomainName>();
            let (Some(template), Ok(name)) = (template, name) else {
                warn!(zone = %id, catalog = %membership.catalog, "not a name for a zone: left out");
                continue;
            };
            let zone = ZoneConfig {
                name: name.into(),
                ..template.clone()
            };
            let mut views = config.view.iter_mut();
            match &id.view {
                None => config.zone.push(zone),
                Some(view) => {
                    let view = views.find(|own| own.name.value == **view);
                    view.into_iter().for_each(|own| own.zone.push(zone.clone()));
                }
            }
        }
        let mut loaded: BTreeMap<ZoneId, &Arc<Loaded>> = zip(&self.config, &self.zones)
            .map(|(id, _, loaded)| (id, loaded))
            .collect();
        let zones = config.zones().map(|(id, _)| match loaded.remove(&id) {
            Some(loaded) => loaded.clone(),
            None => Arc::new(Loaded::unknown(&id.name)),
        });
        let zones = zones.collect();
        (config, zones)
    }

    /// What a member is made by: the template of its group's name, or that of the catalog.
    fn template(&self, membership: &Membership) -> Option<&ZoneConfig> {
        let templates = &self.config.template;
        let group = membership.group.as_ref();
        let group = group.and_then(|group| templates.iter().find(|own| own.name.as_str() == group));
        group.or_else(|| {
            let catalog = self.config.zone(&membership.catalog)?.catalog.as_ref()?;
            templates
                .iter()
                .find(|own| own.name.as_str() == catalog.value)
        })
    }
}

/// Checks that templates are there, and good for what they are wanted for.
pub(crate) fn check(config: &Config, problems: &mut Problems) {
    for (_, zone) in config.zones() {
        let Some(catalog) = &zone.catalog else {
            continue;
        };
        let template = config
            .template
            .iter()
            .find(|own| own.name.as_str() == catalog.value);
        if template.is_none() {
            let message = format!("there is no [[dns.template]] {}", catalog.value);
            problems.push(Problem::error(message).at(catalog.span, "no such template"));
        }
    }
    for template in &config.template {
        if !template.is_secondary() || template.catalog.is_some() || template.dnssec.is_some() {
            problems.push(
                Problem::error("the zones of a catalog come from other servers, and as they are")
                    .at(template.name.span, "this template")
                    .help("give it `primaries`, and neither `catalog` nor `dnssec`"),
            );
        }
    }
}

impl Dns {
    /// Takes up the configuration with the members that are known of its catalogs.
    pub(crate) fn take_up(&self, applied: &mut Applied) {
        let Some(base) = &applied.base else { return };
        let (config, zones) = base.with(&applied.members);
        if !applied.members.is_empty() || zones.len() != applied.rules.zones.len() {
            // What is wrong in it was said when it was checked.
            applied.rules = compile(&config, &mut Problems::new());
        }
        applied.config = Some(config);
        applied.zones = zones;
    }

    /// Looks at all catalogs, and serves what they name. True if that has changed.
    pub(crate) async fn follow_catalogs(&self, applied: &mut Applied) -> bool {
        let Some(base) = applied.base.clone() else {
            return false;
        };
        let mut catalogs = Vec::new();
        for (id, zone, loaded) in zip(&base.config, &base.zones) {
            if zone.catalog.is_none() {
                continue;
            }
            let held = applied.held.get(&id).map(crate::secondary::version);
            let own = held.unwrap_or_else(|| loaded.zone.clone());
            let members = if own.set(0, RrType::SOA).is_some() {
                members(&id, &own)
            } else {
                None
            };
            catalogs.push((id, members));
        }
        let own = |id: &ZoneId| base.config.zone(id).is_some();
        let followed = follow(&catalogs, &applied.members, own);
        for reason in followed.left_out {
            info!(reason, "zone of a catalog left out");
        }
        if followed.members == applied.members {
            return false;
        }
        if let Err(error) = self.serials.keep_members(&followed.members).await {
            warn!(%error, "cannot keep what the catalogs say: they are looked at again later");
            return false;
        }
        for id in &followed.gone {
            info!(zone = %id, "zone of a catalog removed");
            applied.held.remove(id);
            applied.published.remove(id);
            self.forget_copy(id).await;
        }
        for (id, membership) in &followed.members {
            if !applied.members.contains_key(id) {
                info!(zone = %id, catalog = %membership.catalog, "zone of a catalog added");
            }
        }
        applied.members = followed.members;
        self.take_up(applied);
        if let Err(error) = self.open_held(applied).await {
            warn!(reason = error.reason, "a zone of a catalog");
        }
        self.publish_state(applied).await;
        self.nudge(Nudge::Changed);
        for id in followed.gone {
            // Where it is there again it is another one, to be fetched anew.
            self.nudge(Nudge::Retransfer(id));
        }
        true
    }

    /// Removes what is kept of a zone that comes from other servers.
    async fn forget_copy(&self, id: &ZoneId) {
        let data_dir = self.shared.ground.database.data_dir().to_owned();
        let paths = [
            data::journal_path(&data_dir, id),
            data::copy_path(&data_dir, id),
        ];
        let remove = move || {
            for path in paths {
                match std::fs::remove_file(&path) {
                    Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                        warn!(file = %path.display(), %error, "cannot be removed");
                    }
                    _ => {}
                }
            }
        };
        if tokio::task::spawn_blocking(remove).await.is_err() {
            warn!(zone = %id, "its copy is still there");
        }
    }
}

fn members(id: &ZoneId, zone: &Zone) -> Option<Vec<crate::engine::catalog::Member>> {
    match read(zone) {
        Ok(members) => Some(members),
        Err(reason) => {
            warn!(catalog = %id, reason, "catalog is broken: its zones stay as they are");
            None
        }
    }
}

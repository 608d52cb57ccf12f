//! Files that change: renewed certificates come into use by themselves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use omnid_hub::{Event, Hub};
use time::OffsetDateTime;

use crate::clients::Authorities;
use crate::load::{self, Loaded};
use crate::prepare::{Entry, Fault};
use crate::{CertStore, Prepared};

/// How often files are looked at. A look costs two system calls for each certificate.
const EVERY: Duration = Duration::from_secs(3);

impl CertStore {
    /// Looks at the files every few seconds, for ever, takes what has changed, and says so.
    pub async fn watch(&self, hub: &Hub) {
        loop {
            tokio::time::sleep(EVERY).await;
            let store = self.clone();
            // Files may lie on a disk that hangs.
            match tokio::task::spawn_blocking(move || store.refresh()).await {
                Ok(names) if names.is_empty() => {}
                Ok(names) => hub.events().publish(Event::CertificateChanged {
                    names: names.into_iter().collect(),
                }),
                Err(error) => tracing::error!("looking for changed certificates: {error}"),
            }
        }
    }

    /// Looks at the files once, and returns the names whose certificates have come into use, or
    /// gone out of it. What cannot be used is logged, and what was used before stays in use.
    pub fn refresh(&self) -> BTreeSet<String> {
        self.refresh_at(OffsetDateTime::now_utc())
    }

    pub(crate) fn refresh_at(&self, now: OffsetDateTime) -> BTreeSet<String> {
        let mut prepared = self.prepared();
        let mut changes = Changes::default();
        prepared.look_at_folder(&mut changes);
        for entry in &mut prepared.entries {
            entry.look(&mut changes);
        }
        prepared.look_at_authorities(&mut changes);
        prepared.renew(now, &mut changes);
        if changes.any {
            self.show(&prepared);
        }
        changes.names
    }
}

#[derive(Default)]
struct Changes {
    any: bool,
    names: BTreeSet<String>,
}

impl Changes {
    fn came(&mut self, loaded: &Loaded) {
        tracing::info!(
            file = loaded.info.source,
            names = loaded.info.names.join(" "),
            not_after = %loaded.info.not_after,
            "certificate loaded",
        );
        self.note(loaded);
    }

    fn went(&mut self, loaded: &Loaded) {
        tracing::info!(file = loaded.info.source, "certificate removed");
        self.note(loaded);
    }

    fn note(&mut self, loaded: &Loaded) {
        self.any = true;
        self.names.extend(loaded.info.names.iter().cloned());
    }
}

impl Entry {
    fn look(&mut self, changes: &mut Changes) {
        let stamps = self.pair.stamps();
        let first_look = stamps != self.stamps;
        if !first_look && self.fault != Fault::Unsaid {
            return;
        }
        self.stamps = stamps;
        let mut warnings = Vec::new();
        match self.pair.load(&mut warnings) {
            Ok(loaded) => {
                self.fault = Fault::None;
                // The chain may be another while the certificate is the same; a key belongs to its
                // certificate and does not change alone.
                let same = self.loaded.as_ref().is_some_and(|before| {
                    before.key.cert == loaded.key.cert && before.info == loaded.info
                });
                if !same {
                    for warning in warnings {
                        tracing::warn!("{}", warning.message);
                    }
                    changes.came(&loaded);
                    self.loaded = Some(loaded);
                }
            }
            Err(_) if first_look => self.fault = Fault::Unsaid,
            Err(problem) => {
                self.fault = Fault::Said;
                let rest = match self.loaded {
                    Some(_) => "; the certificate read before stays in use",
                    None => "",
                };
                tracing::error!("{}{rest}", problem.message);
            }
        }
    }
}

impl Prepared {
    /// Takes in pairs that have come into the folder, and drops those that have gone from it.
    fn look_at_folder(&mut self, changes: &mut Changes) {
        let Some((path, span)) = &self.folder else {
            return;
        };
        // A folder that cannot be read is not an empty folder.
        let Ok(pairs) = load::pairs(path, *span) else {
            return;
        };
        self.entries.retain_mut(|entry| {
            if !entry.in_folder || pairs.contains(&entry.pair) {
                entry.missed = false;
                return true;
            }
            // Whoever renews a certificate may take the old file away first.
            let gone = entry.missed;
            entry.missed = true;
            if gone && let Some(loaded) = &entry.loaded {
                changes.went(loaded);
            }
            !gone
        });
        for pair in pairs {
            let known = |entry: &Entry| entry.in_folder && entry.pair == pair;
            if !self.entries.iter().any(known) {
                self.entries.push(Entry::unread(pair, true));
            }
        }
        // As at start, where the first certificate is the default.
        self.entries.sort_by(|a, b| a.order().cmp(&b.order()));
    }

    fn look_at_authorities(&mut self, changes: &mut Changes) {
        let stamps: Vec<_> = self
            .authority_files
            .iter()
            .map(|(path, _)| load::stamp(path))
            .collect();
        if stamps == self.authority_stamps {
            return;
        }
        self.authority_stamps = stamps;
        match load::authorities(&self.authority_files) {
            Ok(roots) => {
                self.authorities = Arc::new(Authorities::new(roots));
                changes.any = true;
                tracing::info!("client authorities loaded");
            }
            Err(problem) => {
                tracing::error!("{}; those read before stay in use", problem.message);
            }
        }
    }

    /// Renews the private authority's certificate when its time has come.
    fn renew(&mut self, now: OffsetDateTime, changes: &mut Changes) {
        let Some(private) = &mut self.private else {
            return;
        };
        let failed = match private.renew(now) {
            Ok(Some(loaded)) => {
                changes.came(loaded);
                false
            }
            Ok(None) => false,
            Err(error) => {
                if !private.failed {
                    tracing::error!("{error}; the certificate stays in use");
                }
                true
            }
        };
        private.failed = failed;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TlsConfig;

    #[test]
    fn the_private_certificate_is_renewed_by_the_watch() -> Result<(), Box<dyn std::error::Error>> {
        let folder = tempfile::tempdir()?;
        let config = TlsConfig {
            self_signed: true,
            ..TlsConfig::default()
        };
        let names = ["a.test".to_owned()];
        let prepared = CertStore::load(&config, &names, folder.path())
            .map_err(|problems| format!("{problems:?}"))?;
        let store = CertStore::new(prepared)?;
        let before = store.list();
        assert!(store.refresh().is_empty());
        let later = OffsetDateTime::now_utc() + time::Duration::days(70);
        assert!(store.refresh_at(later).contains("a.test"));
        assert_ne!(store.list(), before);
        assert!(store.refresh_at(later).is_empty());
        Ok(())
    }
}

//! Files that change: renewed certificates come into use by themselves.

use std::sync::Arc;
use std::time::Duration;

use time::OffsetDateTime;

use crate::clients::Authorities;
use crate::load::{self, Loaded};
use crate::store::{self, Broken, CertStore, Entry, Prepared};

/// How often files are looked at. A look costs two system calls for each certificate.
const EVERY: Duration = Duration::from_secs(3);

impl CertStore {
    /// Looks at the files every few seconds, for ever, and takes what has changed.
    pub async fn watch(&self) {
        loop {
            tokio::time::sleep(EVERY).await;
            let store = self.clone();
            // Files may lie on a disk that hangs.
            if let Err(error) = tokio::task::spawn_blocking(move || store.refresh()).await {
                tracing::error!("looking for changed certificates: {error}");
            }
        }
    }

    /// Looks at the files once. Says whether anything has come into use or gone out of it.
    ///
    /// What cannot be used is logged, and what was used before stays in use.
    pub fn refresh(&self) -> bool {
        let mut prepared = self.prepared();
        let mut changed = prepared.look_at_folder();
        for entry in &mut prepared.entries {
            changed |= entry.look();
        }
        changed |= prepared.look_at_authorities();
        changed |= prepared.renew(OffsetDateTime::now_utc());
        if changed {
            self.show(&prepared);
        }
        changed
    }
}

impl Entry {
    fn look(&mut self) -> bool {
        let stamps = self.pair.stamps();
        if stamps == self.stamps && self.broken != Broken::Unsaid {
            return false;
        }
        let first_look = stamps != self.stamps;
        self.stamps = stamps;
        let mut warnings = Vec::new();
        match self.pair.load(&mut warnings) {
            Ok(loaded) => {
                self.broken = Broken::No;
                for warning in warnings {
                    tracing::warn!("{}", warning.message);
                }
                let changed = loaded.info != self.loaded.info;
                if changed {
                    say_loaded(&loaded);
                }
                // The key may have changed alone, if only by being written again.
                self.loaded = loaded;
                changed
            }
            Err(_) if first_look => {
                self.broken = Broken::Unsaid;
                false
            }
            Err(problem) => {
                self.broken = Broken::Said;
                tracing::error!(
                    "{}; the certificate read before stays in use",
                    problem.message
                );
                false
            }
        }
    }
}

impl Prepared {
    /// Adds pairs that have come into the folder, and drops those that have gone from it.
    fn look_at_folder(&mut self) -> bool {
        let Some((path, span)) = &self.folder else {
            return false;
        };
        // A folder that cannot be read is not an empty folder.
        let Ok(pairs) = load::pairs(path, *span) else {
            return false;
        };
        let before = self.entries.len();
        self.entries.retain(|entry| {
            let stays = !entry.in_folder || pairs.contains(&entry.pair);
            if !stays {
                tracing::info!(file = entry.loaded.info.source, "certificate removed");
            }
            stays
        });
        let mut changed = self.entries.len() != before;
        for pair in pairs {
            if self
                .entries
                .iter()
                .any(|entry| entry.in_folder && entry.pair == pair)
            {
                continue;
            }
            let stamps = pair.stamps();
            // One that cannot be read yet is half written, and is looked at again.
            if let Ok(loaded) = pair.load(&mut Vec::new()) {
                say_loaded(&loaded);
                self.entries.push(Entry {
                    pair,
                    loaded,
                    stamps,
                    broken: Broken::No,
                    in_folder: true,
                });
                changed = true;
            }
        }
        changed
    }

    fn look_at_authorities(&mut self) -> bool {
        let stamps: Vec<_> = self
            .authority_files
            .iter()
            .map(|(path, _)| load::stamp(path))
            .collect();
        if stamps == self.authority_stamps {
            return false;
        }
        self.authority_stamps = stamps;
        match load::authorities(&self.authority_files) {
            Ok(roots) => {
                self.authorities = Arc::new(Authorities::new(roots));
                tracing::info!("client authorities read again");
                true
            }
            Err(problem) => {
                tracing::error!("{}; those read before stay in use", problem.message);
                false
            }
        }
    }

    /// Renews the private authority's certificate when its time has come.
    pub(crate) fn renew(&mut self, now: OffsetDateTime) -> bool {
        let Some(private) = &mut self.private else {
            return false;
        };
        if !private.authority.is_due(&private.loaded.info, now) {
            return false;
        }
        match store::issue(&private.authority, &private.names) {
            Ok(loaded) => {
                say_loaded(&loaded);
                private.loaded = loaded;
                true
            }
            Err(why) => {
                tracing::error!("{why}");
                false
            }
        }
    }
}

fn say_loaded(loaded: &Loaded) {
    tracing::info!(
        file = loaded.info.source,
        names = loaded.info.names.join(" "),
        not_after = %loaded.info.not_after,
        "certificate loaded",
    );
}

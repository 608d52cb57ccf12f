//! What a config asks for, read and checked before anything of it comes into use.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use omnid_config::{Problem, Problems, Span};
use rustls::sign::CertifiedKey;
use time::OffsetDateTime;

use crate::acme::{self, Automatic};
use crate::authority::{AuthorityError, PrivateAuthority};
use crate::clients::Authorities;
use crate::load::{self, Loaded, Pair, Stamp};
use crate::names::Names;
use crate::{CertStore, CertificateInfo, MinVersion, TlsConfig, provider};

/// Everything that a config asks for, read and checked, but not yet in use.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) entries: Vec<Entry>,
    pub(crate) folder: Option<(PathBuf, Option<Span>)>,
    pub(crate) private: Option<Private>,
    /// What is asked of an authority.
    pub(crate) automatic: Option<Automatic>,
    pub(crate) authority_files: Vec<(PathBuf, Option<Span>)>,
    pub(crate) authority_stamps: Vec<Stamp>,
    pub(crate) authorities: Arc<Authorities>,
    pub(crate) min_version: MinVersion,
    warnings: Problems,
}

/// A pair of files and what was last read from it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) pair: Pair,
    /// What is in use. `None`: a pair that came into the folder and could never be read.
    pub(crate) loaded: Option<Loaded>,
    /// As of the last look, whether or not what was read then could be used.
    pub(crate) stamps: (Stamp, Stamp),
    pub(crate) fault: Fault,
    pub(crate) in_folder: bool,
    /// The last look did not find it in the folder.
    pub(crate) missed: bool,
}

/// Did the last look find something that cannot be used?
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// A certificate and its key are seldom written at the same moment: wait for the next look.
    Unsaid,
    Said,
}

/// A certificate from the private authority.
#[derive(Debug)]
pub(crate) struct Private {
    folder: PathBuf,
    names: Vec<String>,
    issued: Option<(PrivateAuthority, Loaded)>,
    /// The last renewal failed, and the log has it.
    pub(crate) failed: bool,
}

impl CertStore {
    /// Reads what `config` asks for, and writes nothing. `names` are the server's own, for which
    /// the private authority issues a certificate where no other has them; it lives in
    /// `data_dir`/tls.
    ///
    /// # Errors
    /// All that is wrong, each with the file it is about.
    pub fn load(
        config: &TlsConfig,
        names: &[String],
        data_dir: &Path,
    ) -> Result<Prepared, Problems> {
        let mut problems = Problems::new();
        let mut entries: Vec<Entry> = config
            .certificates
            .iter()
            .map(|config| Entry::unread(config.pair(), false))
            .collect();
        let folder = config
            .directory
            .as_ref()
            .map(|path| (path.value.clone(), path.span));
        if let Some((path, span)) = &folder {
            match load::pairs(path, *span) {
                Ok(pairs) => {
                    entries.extend(pairs.into_iter().map(|pair| Entry::unread(pair, true)));
                }
                Err(error) => problems.push(
                    Problem::error(format!(
                        "cannot read the folder of certificates {}: {error}",
                        path.display()
                    ))
                    .at(*span, ""),
                ),
            }
        }
        let mut warnings = Vec::new();
        for entry in &mut entries {
            entry.stamps = entry.pair.stamps();
            match entry.pair.load(&mut warnings) {
                Ok(loaded) => entry.loaded = Some(loaded),
                Err(problem) => problems.push(problem),
            }
        }

        let authority_files: Vec<_> = config
            .client_authorities
            .iter()
            .map(|path| (path.value.clone(), path.span))
            .collect();
        let authority_stamps = authority_files
            .iter()
            .map(|(path, _)| load::stamp(path))
            .collect();
        let authorities = load::authorities(&authority_files).unwrap_or_else(|problem| {
            problems.push(problem);
            rustls::RootCertStore::empty()
        });

        for warning in warnings {
            problems.push(warning);
        }
        if problems.has_errors() {
            return Err(problems);
        }
        let mut prepared = Prepared {
            entries,
            folder,
            private: None,
            automatic: config.acme.as_ref().map(|config| Automatic {
                config: config.clone(),
                folder: data_dir.join("tls").join("acme"),
                domains: Vec::new(),
                wanted: Vec::new(),
            }),
            authority_files,
            authority_stamps,
            authorities: Arc::new(Authorities::new(authorities)),
            min_version: config.min_version,
            warnings: problems,
        };
        let covered = prepared.names();
        let missing = names.is_empty() || !names.iter().all(|name| covered.covers(name));
        if config.self_signed && (missing || prepared.is_empty()) {
            let (folder, names) = (data_dir.join("tls"), names.to_vec());
            prepared.private = Some(Private {
                folder,
                names,
                issued: None,
                failed: false,
            });
        }
        Ok(prepared)
    }
}

impl Prepared {
    /// What is questionable, but no reason not to start.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// Says which certificates the services need: each of `groups` is the names of one. Where the
    /// config has no [`acme`](TlsConfig::acme), nothing comes of it. `domains` are those that the
    /// server's own zones publish records about.
    pub fn need(&mut self, groups: &[Vec<String>], domains: &[String]) {
        // With a private authority's word for a name, a better one is still asked for.
        let mut names = Names::default();
        for loaded in self
            .entries
            .iter()
            .filter_map(|entry| entry.loaded.as_ref())
        {
            names.add(&loaded.info.names, &loaded.key);
        }
        let Some(automatic) = &mut self.automatic else {
            return;
        };
        let own = automatic.config.names.iter();
        let own = own.map(|name| vec![name.value.to_ascii_lowercase()]);
        let groups: Vec<Vec<String>> = own.chain(groups.iter().cloned()).collect();
        // A name below a wildcard that is asked for needs no certificate of its own.
        let wild: Vec<String> = groups
            .iter()
            .flatten()
            .filter_map(|name| name.strip_prefix("*.").map(str::to_ascii_lowercase))
            .collect();
        let covered = |name: &str| {
            let above = name.split_once('.').map(|(_, above)| above);
            let by_wildcard = above.is_some_and(|above| wild.iter().any(|wild| wild == above));
            names.covers(name) || (by_wildcard && !name.starts_with("*."))
        };
        automatic.domains = domains
            .iter()
            .map(|domain| domain.trim_end_matches('.').to_ascii_lowercase())
            .collect();
        let mut warnings = Vec::new();
        automatic.wanted = acme::certificates(&groups, covered)
            .into_iter()
            .map(|names| {
                let mut wanted = acme::Wanted {
                    names,
                    loaded: None,
                    state: acme::State::default(),
                };
                wanted.read(&automatic.folder, &mut warnings);
                wanted
            })
            .collect();
        for warning in warnings {
            self.warnings.push(warning);
        }
    }

    /// Is there, or will there be, a certificate for this name?
    pub fn covers(&self, name: &str) -> bool {
        let wanted = self.private.iter().flat_map(|private| &private.names);
        let asked = self
            .automatic
            .iter()
            .flat_map(|automatic| &automatic.wanted);
        self.names().covers(name)
            || wanted.into_iter().any(|own| own.eq_ignore_ascii_case(name))
            || asked
                .flat_map(|wanted| &wanted.names)
                .any(|asked| asked.eq_ignore_ascii_case(name))
    }

    /// Will there be no certificate at all?
    pub fn is_empty(&self) -> bool {
        let asked = self
            .automatic
            .iter()
            .flat_map(|automatic| &automatic.wanted);
        self.private.is_none() && self.loaded().next().is_none() && asked.count() == 0
    }

    pub(crate) fn loaded(&self) -> impl Iterator<Item = &Loaded> {
        let private = self
            .private
            .iter()
            .filter_map(|private| private.issued.as_ref());
        let obtained = self
            .automatic
            .iter()
            .flat_map(|automatic| &automatic.wanted)
            .filter_map(|wanted| wanted.loaded.as_ref());
        self.entries
            .iter()
            .filter_map(|entry| entry.loaded.as_ref())
            .chain(obtained)
            .chain(private.map(|(_, loaded)| loaded))
    }

    pub(crate) fn names(&self) -> Names {
        let mut names = Names::default();
        for loaded in self.loaded() {
            names.add(&loaded.info.names, &loaded.key);
        }
        names
    }

    pub(crate) fn list(&self) -> Vec<CertificateInfo> {
        self.loaded().map(|loaded| loaded.info.clone()).collect()
    }

    /// Has the private authority issue what it is to issue.
    pub(crate) fn issue(&mut self) -> Result<(), AuthorityError> {
        let Some(private) = &mut self.private else {
            return Ok(());
        };
        let authority = PrivateAuthority::open_or_create(&private.folder)?;
        let loaded = issue(&authority, &private.names, OffsetDateTime::now_utc())?;
        private.issued = Some((authority, loaded));
        Ok(())
    }

    pub(crate) fn private_authority(&self) -> Option<PathBuf> {
        let (authority, _) = self.private.as_ref()?.issued.as_ref()?;
        Some(authority.certificate_path())
    }
}

impl Private {
    /// A new certificate, if it is time for one.
    pub(crate) fn renew(&mut self, now: OffsetDateTime) -> Result<Option<&Loaded>, AuthorityError> {
        let Some((authority, loaded)) = &mut self.issued else {
            return Ok(None);
        };
        if !authority.is_due(&loaded.info, now) {
            return Ok(None);
        }
        *loaded = issue(authority, &self.names, now)?;
        Ok(Some(loaded))
    }
}

fn issue(
    authority: &PrivateAuthority,
    names: &[String],
    now: OffsetDateTime,
) -> Result<Loaded, AuthorityError> {
    let issued = authority.issue_at(names, now)?;
    let path = issued.source.clone();
    let fail = |why: String| AuthorityError::Content {
        path: path.clone(),
        why,
    };
    let leaf = issued
        .chain
        .first()
        .ok_or_else(|| fail("an empty chain".into()))?;
    let info = CertificateInfo::read(leaf, path.display().to_string()).map_err(fail)?;
    let key = CertifiedKey::from_der(issued.chain, issued.key, &provider())
        .map_err(|error| fail(error.to_string()))?;
    Ok(Loaded {
        key: Arc::new(key),
        info,
    })
}

impl Entry {
    pub(crate) fn unread(pair: Pair, in_folder: bool) -> Self {
        Self {
            pair,
            loaded: None,
            stamps: (None, None),
            fault: Fault::None,
            in_folder,
            missed: false,
        }
    }

    /// Those of the config as they are written, then those of the folder by name.
    pub(crate) fn order(&self) -> (bool, Option<&Path>) {
        let by_name = self.in_folder.then_some(self.pair.cert.as_path());
        (self.in_folder, by_name)
    }
}

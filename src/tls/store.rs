//! The store: what is loaded, what is in use, and the configs that look it up.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use arc_swap::ArcSwap;
use omnid_config::{Problem, Problems, Span};
use rustls::ServerConfig;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls_pki_types::{CertificateDer, UnixTime};

use crate::authority::PrivateAuthority;
use crate::clients::{Authorities, Live};
use crate::load::{self, Loaded, Pair, Stamp};
use crate::names::{Names, suited};
use crate::{CertificateInfo, ClientCertificates, MinVersion, TlsConfig, provider, tickets};

/// Everything that a config asks for, read and checked, but not yet in use.
#[derive(Debug)]
pub struct Prepared {
    pub(crate) entries: Vec<Entry>,
    pub(crate) folder: Option<(PathBuf, Option<Span>)>,
    pub(crate) private: Option<Private>,
    pub(crate) authority_files: Vec<(PathBuf, Option<Span>)>,
    pub(crate) authority_stamps: Vec<Stamp>,
    pub(crate) authorities: Arc<Authorities>,
    min_version: MinVersion,
    warnings: Problems,
}

/// A pair of files and what was last read from it.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) pair: Pair,
    pub(crate) loaded: Loaded,
    /// As of the last look, whether or not what was read then could be used.
    pub(crate) stamps: (Stamp, Stamp),
    /// The last look found something that cannot be used.
    pub(crate) broken: Broken,
    pub(crate) in_folder: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broken {
    No,
    /// A certificate and its key are seldom written at the same moment: wait for the next look.
    Unsaid,
    Said,
}

/// A certificate of the private authority.
#[derive(Debug)]
pub(crate) struct Private {
    pub(crate) authority: PrivateAuthority,
    pub(crate) names: Vec<String>,
    pub(crate) loaded: Loaded,
}

impl Private {
    pub(crate) fn issue(authority: PrivateAuthority, names: Vec<String>) -> Result<Self, String> {
        let loaded = issue(&authority, &names)?;
        Ok(Self {
            authority,
            names,
            loaded,
        })
    }
}

pub(crate) fn issue(authority: &PrivateAuthority, names: &[String]) -> Result<Loaded, String> {
    let issued = authority.issue(names).map_err(|error| error.to_string())?;
    let leaf = issued.chain.first().ok_or("an empty chain")?;
    let info = CertificateInfo::read(leaf, issued.source.display().to_string())?;
    let key = CertifiedKey::from_der(issued.chain, issued.key, &provider())
        .map_err(|error| error.to_string())?;
    Ok(Loaded {
        key: Arc::new(key),
        info,
    })
}

impl Prepared {
    /// What is questionable, but no reason not to start.
    pub fn warnings(&self) -> &Problems {
        &self.warnings
    }

    /// Is there a certificate for this name?
    pub fn covers(&self, name: &str) -> bool {
        self.names().covers(name)
    }

    /// Is there no certificate at all?
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.private.is_none()
    }

    pub(crate) fn loaded(&self) -> impl Iterator<Item = &Loaded> {
        self.entries
            .iter()
            .map(|entry| &entry.loaded)
            .chain(self.private.iter().map(|private| &private.loaded))
    }

    fn names(&self) -> Names {
        let mut names = Names::default();
        for loaded in self.loaded() {
            names.add(&loaded.info.names, &loaded.key);
        }
        names
    }
}

/// Every certificate of the daemon. Clones are the same store.
#[derive(Clone)]
pub struct CertStore(Arc<Shared>);

struct Shared {
    current: Arc<Current>,
    authorities: Arc<ArcSwap<Authorities>>,
    ticketer: Arc<dyn ProducesTickets>,
    configs: Mutex<Configs>,
    prepared: Mutex<Prepared>,
}

/// What handshakes look at.
#[derive(Debug)]
struct Current {
    names: ArcSwap<Names>,
    list: ArcSwap<Vec<CertificateInfo>>,
}

struct Configs {
    min_version: MinVersion,
    made: BTreeMap<(Vec<String>, ClientCertificates), Arc<ServerConfig>>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let names = self.names.load();
        suited(names.choose(hello.server_name()), hello.signature_schemes()).cloned()
    }
}

impl CertStore {
    /// Reads what `config` asks for. `names` are the server's own, for which the private authority
    /// issues a certificate where no other has them; it lives in `data_dir`/tls.
    ///
    /// # Errors
    /// All that is wrong, each with the file it is about.
    pub fn load(
        config: &TlsConfig,
        names: &[String],
        data_dir: &Path,
    ) -> Result<Prepared, Problems> {
        let mut problems = Problems::new();
        let mut warnings = Vec::new();
        let mut entries = Vec::new();
        let mut add = |pair: Pair, in_folder: bool, problems: &mut Problems| {
            let stamps = pair.stamps();
            match pair.load(&mut warnings) {
                Ok(loaded) => {
                    entries.push(Entry {
                        pair,
                        loaded,
                        stamps,
                        broken: Broken::No,
                        in_folder,
                    });
                }
                Err(problem) => problems.push(problem),
            }
        };
        for certificate in &config.certificates {
            let pair = Pair {
                cert: certificate.cert.value.clone(),
                key: certificate.key.value.clone(),
                names: certificate
                    .names
                    .iter()
                    .map(|name| name.value.clone())
                    .collect(),
                cert_span: certificate.cert.span,
                key_span: certificate.key.span,
            };
            add(pair, false, &mut problems);
        }
        let folder = config
            .directory
            .as_ref()
            .map(|path| (path.value.clone(), path.span));
        if let Some((path, span)) = &folder {
            match load::pairs(path, *span) {
                Ok(pairs) => pairs
                    .into_iter()
                    .for_each(|pair| add(pair, true, &mut problems)),
                Err(error) => problems.push(
                    Problem::error(format!(
                        "cannot read the folder of certificates {}: {error}",
                        path.display()
                    ))
                    .at(*span, ""),
                ),
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
        let authorities = match load::authorities(&authority_files) {
            Ok(roots) => Some(Arc::new(Authorities::new(roots))),
            Err(problem) => {
                problems.push(problem);
                None
            }
        };

        let mut covered = Names::default();
        for entry in &entries {
            covered.add(&entry.loaded.info.names, &entry.loaded.key);
        }
        let all_covered = !entries.is_empty() && names.iter().all(|name| covered.covers(name));
        let mut private = None;
        if config.self_signed && !all_covered {
            let made = PrivateAuthority::open_or_create(&data_dir.join("tls"))
                .map_err(|error| error.to_string())
                .and_then(|authority| Private::issue(authority, names.to_vec()));
            match made {
                Ok(made) => private = Some(made),
                Err(why) => problems.push(Problem::error(why)),
            }
        }

        match authorities {
            Some(authorities) if !problems.has_errors() => Ok(Prepared {
                entries,
                folder,
                private,
                authority_files,
                authority_stamps,
                authorities,
                min_version: config.min_version,
                warnings: warnings.into_iter().collect(),
            }),
            _ => {
                for warning in warnings {
                    problems.push(warning);
                }
                Err(problems)
            }
        }
    }

    /// A store with what was prepared.
    ///
    /// # Errors
    /// When the system has no random numbers for the tickets' keys.
    pub fn new(prepared: Prepared) -> Result<Self, rustls::Error> {
        let store = Self(Arc::new(Shared {
            current: Arc::new(Current {
                names: ArcSwap::from_pointee(prepared.names()),
                list: ArcSwap::from_pointee(list(&prepared)),
            }),
            authorities: Arc::new(ArcSwap::new(prepared.authorities.clone())),
            ticketer: rustls::crypto::aws_lc_rs::Ticketer::new()?,
            configs: Mutex::new(Configs {
                min_version: prepared.min_version,
                made: BTreeMap::new(),
            }),
            prepared: Mutex::new(prepared),
        }));
        Ok(store)
    }

    /// Puts what was prepared in the place of what is. Open connections go on with what they have.
    pub fn swap(&self, prepared: Prepared) {
        let mut current = self.prepared();
        *current = prepared;
        self.show(&current);
    }

    /// A config for one listener: with ALPN protocols in order of preference, and what is asked of
    /// clients. Certificates, authorities and tickets are looked up at each handshake, so that it
    /// stays good over renewals. Configs are made once and shared; calling this for each connection
    /// is cheap, and also follows a change of `tls.min_version`.
    pub fn server_config(&self, alpn: &[&str], clients: ClientCertificates) -> Arc<ServerConfig> {
        let mut configs = self
            .0
            .configs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let key = (
            alpn.iter().map(|id| (*id).to_owned()).collect::<Vec<_>>(),
            clients,
        );
        if let Some(config) = configs.made.get(&key) {
            return config.clone();
        }
        let config = Arc::new(self.make_config(configs.min_version, alpn, clients));
        configs.made.insert(key, config.clone());
        config
    }

    fn make_config(
        &self,
        min_version: MinVersion,
        alpn: &[&str],
        clients: ClientCertificates,
    ) -> ServerConfig {
        let versions: &[&'static rustls::SupportedProtocolVersion] = match min_version {
            MinVersion::Tls12 => &[&rustls::version::TLS13, &rustls::version::TLS12],
            MinVersion::Tls13 => &[&rustls::version::TLS13],
        };
        let builder =
            ServerConfig::builder_with_provider(provider()).with_protocol_versions(versions);
        #[allow(clippy::expect_used)]
        // The provider has cipher suites and groups for both versions, whatever the config says.
        let builder = builder.expect("the provider speaks TLS 1.2 and 1.3");
        let verifier = Live {
            clients,
            authorities: self.0.authorities.clone(),
        };
        let mut config = builder
            .with_client_cert_verifier(Arc::new(verifier))
            .with_cert_resolver(self.0.current.clone());
        config.alpn_protocols = alpn.iter().map(|id| id.as_bytes().to_vec()).collect();
        let authorities = self.0.authorities.clone();
        config.ticketer = Arc::new(tickets::Bound {
            shared: self.0.ticketer.clone(),
            policy: Arc::new(move || authorities.load().policy(clients)),
        });
        // Tickets resume all that needs resuming; a cache of sessions would be state for each client.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config
    }

    /// The certificate shown to clients that ask for this name.
    ///
    /// For the channel binding tls-server-end-point (RFC 5929) of a connection.
    pub fn certificate(&self, sni: Option<&str>) -> Option<Arc<CertifiedKey>> {
        self.0.current.names.load().choose(sni).first().cloned()
    }

    /// Judges a client's certificate chain, as [`ClientCertificates::Unverified`] leaves it to the
    /// service.
    ///
    /// # Errors
    /// Why it does not convince.
    pub fn verify_client(&self, chain: &[CertificateDer<'_>]) -> Result<(), rustls::Error> {
        let Some((end_entity, intermediates)) = chain.split_first() else {
            return Err(rustls::Error::NoCertificatesPresented);
        };
        self.0
            .authorities
            .load()
            .verify(end_entity, intermediates, UnixTime::now())
    }

    /// Has any certificate this name?
    pub fn covers(&self, name: &str) -> bool {
        self.0.current.names.load().covers(name)
    }

    /// Every certificate in use.
    pub fn list(&self) -> Arc<Vec<CertificateInfo>> {
        self.0.current.list.load_full()
    }

    /// The private authority's certificate, if one is in use: clients must be told to trust it.
    pub fn private_authority(&self) -> Option<PathBuf> {
        self.prepared()
            .private
            .as_ref()
            .map(|private| private.authority.certificate_path())
    }

    pub(crate) fn prepared(&self) -> std::sync::MutexGuard<'_, Prepared> {
        self.0
            .prepared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes handshakes see what is in `prepared`.
    pub(crate) fn show(&self, prepared: &Prepared) {
        self.0.current.names.store(Arc::new(prepared.names()));
        self.0.current.list.store(Arc::new(list(prepared)));
        self.0.authorities.store(prepared.authorities.clone());
        let mut configs = self
            .0
            .configs
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if configs.min_version != prepared.min_version {
            configs.min_version = prepared.min_version;
            configs.made.clear();
        }
    }
}

impl fmt::Debug for CertStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertStore")
            .field("certificates", &self.list().len())
            .finish()
    }
}

fn list(prepared: &Prepared) -> Vec<CertificateInfo> {
    prepared
        .loaded()
        .map(|loaded| loaded.info.clone())
        .collect()
}

//! The store: what handshakes look up, and the configs that make them look.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use arc_swap::ArcSwap;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, NoServerSessionStorage, ProducesTickets, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use rustls::version::{TLS12, TLS13};
use rustls::{
    ConfigBuilder, ServerConfig, SignatureScheme, SupportedProtocolVersion, WantsVerifier,
};
use rustls_pki_types::{CertificateDer, UnixTime};

use tokio::sync::Notify;

use crate::acme::{self, Automatic, Challenges};
use crate::clients::{Authorities, Live};
use crate::names::{Names, suited};
use crate::{
    AuthorityError, CertificateInfo, ClientCertificates, MinVersion, Prepared, provider, tickets,
};

/// Why a store cannot be made, or not take what was prepared.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The tickets' keys cannot be made.
    #[error("no random numbers for TLS: {0}")]
    Random(#[source] rustls::Error),
    /// The cryptographic provider lacks what a version of TLS needs.
    #[error("TLS cannot be set up: {0}")]
    Provider(#[source] rustls::Error),
    /// The private authority cannot issue.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
}

/// Every certificate of the daemon. Clones are the same store.
#[derive(Clone)]
pub struct CertStore(Arc<Shared>);

/// The beginning of a config: provider and versions, which may be refused, are settled.
type Builder = ConfigBuilder<ServerConfig, WantsVerifier>;

fn builder(versions: &[&'static SupportedProtocolVersion]) -> Result<Builder, StoreError> {
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(versions)
        .map_err(StoreError::Provider)
}

struct Shared {
    current: Arc<Current>,
    authorities: Arc<ArcSwap<Authorities>>,
    ticketer: Arc<dyn ProducesTickets>,
    from_tls12: Builder,
    from_tls13: Builder,
    configs: Mutex<Configs>,
    prepared: Mutex<Prepared>,
    /// Told when other certificates are wanted.
    changed: Notify,
}

/// What handshakes look at.
#[derive(Debug)]
struct Current {
    names: ArcSwap<Names>,
    list: ArcSwap<Vec<CertificateInfo>>,
    /// Certificates that prove a name to an authority.
    challenges: Arc<Challenges>,
}

struct Configs {
    min_version: MinVersion,
    made: BTreeMap<(Vec<String>, ClientCertificates), Arc<ServerConfig>>,
}

impl ResolvesServerCert for Current {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let mut protocols = hello.alpn().into_iter().flatten();
        // RFC 8737 section 3: nothing else is offered by an authority that looks.
        if let (Some(protocol), None) = (protocols.next(), protocols.next())
            && protocol == acme::ALPN.as_bytes()
        {
            return self.challenges.certificate(hello.server_name());
        }
        let names = self.names.load();
        suited(names.choose(hello.server_name()), hello.signature_schemes()).cloned()
    }
}

/// A certificate that is shown to servers.
#[derive(Debug)]
struct Shown {
    current: Arc<Current>,
    name: String,
}

impl ResolvesClientCert for Shown {
    fn resolve(&self, _: &[&[u8]], schemes: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        let names = self.current.names.load();
        let own = names
            .covers(&self.name)
            .then(|| names.choose(Some(&self.name)));
        suited(own.unwrap_or_default(), schemes).cloned()
    }

    fn has_certs(&self) -> bool {
        self.current.names.load().covers(&self.name)
    }
}

impl CertStore {
    /// A store with what was prepared. The private authority, where one is needed, issues now.
    ///
    /// # Errors
    /// When it cannot, or the system has no random numbers.
    pub fn new(mut prepared: Prepared) -> Result<Self, StoreError> {
        prepared.issue()?;
        Ok(Self(Arc::new(Shared {
            current: Arc::new(Current {
                names: ArcSwap::from_pointee(prepared.names()),
                list: ArcSwap::from_pointee(prepared.list()),
                challenges: Arc::default(),
            }),
            changed: Notify::new(),
            authorities: Arc::new(ArcSwap::new(prepared.authorities.clone())),
            ticketer: rustls::crypto::aws_lc_rs::Ticketer::new().map_err(StoreError::Random)?,
            from_tls12: builder(&[&TLS13, &TLS12])?,
            from_tls13: builder(&[&TLS13])?,
            configs: Mutex::new(Configs {
                min_version: prepared.min_version,
                made: BTreeMap::new(),
            }),
            prepared: Mutex::new(prepared),
        })))
    }

    /// Puts what was prepared in the place of what is. Open connections go on with what they have.
    ///
    /// # Errors
    /// When the private authority is needed and cannot issue; then nothing has changed.
    pub fn swap(&self, mut prepared: Prepared) -> Result<(), StoreError> {
        prepared.issue()?;
        let mut current = self.prepared();
        *current = prepared;
        self.show(&current);
        self.0.changed.notify_one();
        Ok(())
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
        let builder = match min_version {
            MinVersion::Tls12 => self.0.from_tls12.clone(),
            MinVersion::Tls13 => self.0.from_tls13.clone(),
        };
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

    /// Judges a client's certificate chain, and gives the names that it is for.
    ///
    /// # Errors
    /// Why it does not convince.
    pub fn client_names(&self, chain: &[CertificateDer<'_>]) -> Result<Vec<String>, rustls::Error> {
        self.verify_client(chain)?;
        let end_entity = chain.first();
        let info = end_entity.map(|der| CertificateInfo::read(der, String::new()));
        match info {
            Some(Ok(info)) => Ok(info.names),
            _ => Err(rustls::CertificateError::BadEncoding.into()),
        }
    }

    /// Shows servers that ask for a certificate the one for `name`, as it is at each handshake;
    /// none where there is none for that name.
    pub fn shown_as(&self, name: &str) -> Arc<dyn ResolvesClientCert> {
        Arc::new(Shown {
            current: self.0.current.clone(),
            name: name.to_owned(),
        })
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
        self.prepared().private_authority()
    }

    /// Other certificates are wanted than before.
    pub(crate) fn changed(&self) -> impl Future<Output = ()> + '_ {
        self.0.changed.notified()
    }

    /// What is asked of an authority now.
    pub(crate) fn automatic_plan(&self) -> Option<Automatic> {
        self.prepared().automatic.clone()
    }

    pub(crate) fn challenges(&self) -> Arc<Challenges> {
        self.0.current.challenges.clone()
    }

    pub(crate) fn prepared(&self) -> MutexGuard<'_, Prepared> {
        self.0
            .prepared
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes handshakes see what is in `prepared`.
    pub(crate) fn show(&self, prepared: &Prepared) {
        self.0.current.names.store(Arc::new(prepared.names()));
        self.0.current.list.store(Arc::new(prepared.list()));
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

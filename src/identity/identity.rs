//! The face of the crate: accounts and logins.

use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use omnid_hub::{Event, Hub};
use omnid_store::{Database, StoreError};
use tokio::sync::Semaphore;
use zeroize::Zeroizing;

use crate::credentials::{Derived, prepare, random};
use crate::data::{self, accounts};
use crate::{
    Account, Address, AuthError, DigestAlgorithm, IdentityConfig, IdentityError, Roles, ScramHash,
    ScramVerifier,
};

/// Where a login comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Source {
    /// The client's address.
    pub ip: IpAddr,
    /// The service that asks: "http", "sip", "xmpp", …
    pub service: &'static str,
}

/// Accounts and logins; clones share them.
#[derive(Clone)]
pub struct Identity {
    inner: Arc<Inner>,
}

struct Inner {
    database: Database,
    hub: Hub,
    iterations: NonZeroU32,
    password_length: usize,
    /// What made-up verifiers are made from.
    secret: Vec<u8>,
    /// Hashing under way at once.
    hashing: Arc<Semaphore>,
}

impl Identity {
    /// Brings the tables up to date and starts.
    pub async fn open(
        config: &IdentityConfig,
        database: Database,
        hub: Hub,
    ) -> Result<Self, StoreError> {
        database.migrate("identity", data::MIGRATIONS).await?;
        let fresh = random::<32>();
        let secret = database
            .write(move |tx| accounts::secret(tx, "pretend", &fresh))
            .await?;
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            inner: Arc::new(Inner {
                database,
                hub,
                iterations: NonZeroU32::new(config.scram_iterations.max(10_000))
                    .unwrap_or(NonZeroU32::MIN),
                password_length: config.password_length,
                secret,
                hashing: Arc::new(Semaphore::new(cores)),
            }),
        })
    }

    /// Makes an account.
    pub async fn create(
        &self,
        address: &Address,
        password: &str,
        roles: impl Into<Roles>,
    ) -> Result<Account, IdentityError> {
        let roles = roles.into();
        let derived = self.derive(address, password).await?;
        let new = address.clone();
        self.inner
            .database
            .write(move |tx| {
                if accounts::find(tx, &new)?.is_some() {
                    return Ok(None);
                }
                accounts::insert(tx, &new, roles, &derived, unix_now()).map(Some)
            })
            .await?
            .ok_or_else(|| IdentityError::Exists(address.to_string()))
    }

    /// Gives an account a new password.
    pub async fn set_password(
        &self,
        address: &Address,
        password: &str,
    ) -> Result<(), IdentityError> {
        let derived = self.derive(address, password).await?;
        let whose = address.clone();
        let found = self
            .inner
            .database
            .write(move |tx| {
                let Some((id, _)) = accounts::find(tx, &whose)? else {
                    return Ok(false);
                };
                accounts::replace_password(tx, id, &whose, &derived, unix_now())?;
                Ok(true)
            })
            .await?;
        if found {
            Ok(())
        } else {
            Err(IdentityError::NoAccount(address.clone()))
        }
    }

    /// Removes an account and all that identity keeps of it.
    pub async fn remove(&self, address: &Address) -> Result<(), IdentityError> {
        let whose = address.clone();
        let found = self
            .inner
            .database
            .write(move |tx| {
                let Some((id, _)) = accounts::find(tx, &whose)? else {
                    return Ok(false);
                };
                accounts::remove(tx, id)?;
                Ok(true)
            })
            .await?;
        if found {
            Ok(())
        } else {
            Err(IdentityError::NoAccount(address.clone()))
        }
    }

    /// The accounts of a domain, or of all, by name.
    pub async fn list(&self, domain: Option<&str>) -> Result<Vec<Account>, StoreError> {
        let domain = domain.map(str::to_owned);
        self.inner
            .database
            .read(move |reader| accounts::list(reader, domain.as_deref()))
            .await
    }

    /// The account at an address.
    pub async fn account(&self, address: &Address) -> Result<Option<Account>, StoreError> {
        let address = address.clone();
        let found = self
            .inner
            .database
            .read(move |reader| accounts::find(reader, &address))
            .await?;
        Ok(found.map(|(_, account)| account))
    }

    /// Checks a password that a client handed over (HTTP basic, SASL PLAIN).
    pub async fn verify(
        &self,
        address: &Address,
        password: &str,
        source: Source,
    ) -> Result<Account, AuthError> {
        const HASH: ScramHash = ScramHash::Sha256;
        let asked = address.clone();
        let found = self
            .inner
            .database
            .read(move |reader| accounts::with_verifier(reader, &asked, HASH))
            .await?;
        let (account, verifier) = match found {
            Some((_, account, verifier)) => (Some(account), verifier),
            None => (None, self.pretend(HASH, address.as_str())),
        };
        // A password that SASLprep refuses was never set; it costs what a wrong one costs.
        let prepared = prepare(password);
        let fits = self
            .hash(move || {
                let usable = prepared.is_some();
                let candidate = prepared.unwrap_or_default();
                verifier.fits(HASH, &candidate) & usable
            })
            .await?;
        match account {
            Some(account) if fits => {
                self.succeeded(address, source);
                if account.enabled {
                    Ok(account)
                } else {
                    Err(AuthError::Disabled)
                }
            }
            _ => {
                self.failed(address.as_str(), source);
                Err(AuthError::BadCredentials)
            }
        }
    }

    /// What a SCRAM exchange needs. Report its outcome with [`succeeded`](Self::succeeded) or
    /// [`failed`](Self::failed).
    pub async fn scram(
        &self,
        address: &Address,
        hash: ScramHash,
        _source: Source,
    ) -> Result<ScramVerifier, AuthError> {
        let asked = address.clone();
        let found = self
            .inner
            .database
            .read(move |reader| accounts::with_verifier(reader, &asked, hash))
            .await?;
        Ok(match found {
            Some((_, account, verifier)) if account.enabled => verifier,
            _ => self.pretend(hash, address.as_str()),
        })
    }

    /// H(username:realm:password) in hexadecimal, for digest. `None` for a name that may not log
    /// in; answer as to a wrong password. Report the outcome with [`succeeded`](Self::succeeded) or
    /// [`failed`](Self::failed).
    pub async fn digest_ha1(
        &self,
        user: &str,
        realm: &str,
        algorithm: DigestAlgorithm,
        _source: Source,
    ) -> Result<Option<Vec<u8>>, AuthError> {
        let (user, realm) = (user.to_owned(), realm.to_owned());
        let ha1 = self
            .inner
            .database
            .read(move |reader| accounts::ha1(reader, &user, &realm, algorithm))
            .await?;
        Ok(ha1.map(String::into_bytes))
    }

    /// A login succeeded that the service itself checked (SCRAM, digest).
    pub fn succeeded(&self, address: &Address, source: Source) {
        self.inner.hub.events().publish(Event::Login {
            account: address.to_string(),
            source: source.ip,
            service: source.service,
        });
    }

    /// A login failed that the service itself checked; `name` is whatever the client called itself.
    pub fn failed(&self, name: &str, source: Source) {
        self.inner.hub.events().publish(Event::LoginFailed {
            account: name.chars().take(256).collect(),
            source: source.ip,
            service: source.service,
        });
    }

    fn pretend(&self, hash: ScramHash, name: &str) -> ScramVerifier {
        ScramVerifier::pretend(hash, &self.inner.secret, name, self.inner.iterations.get())
    }

    async fn derive(&self, address: &Address, password: &str) -> Result<Derived, IdentityError> {
        if password.chars().count() < self.inner.password_length {
            return Err(IdentityError::Password(format!(
                "has fewer than {} characters",
                self.inner.password_length
            )));
        }
        let (address, password) = (address.clone(), Zeroizing::new(password.to_owned()));
        let iterations = self.inner.iterations;
        self.hash(move || Derived::new(&address, &password, iterations))
            .await?
    }

    /// Runs costly hashing off the runtime's workers, a few at a time.
    async fn hash<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, StoreError> {
        let wait = Arc::clone(&self.inner.hashing).acquire_owned();
        let permit = tokio::time::timeout(Duration::from_secs(10), wait)
            .await
            .map_err(|_| StoreError::Busy("too many passwords are being checked"))?
            .map_err(|_| StoreError::Closed)?;
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Closed)
    }
}

pub(crate) fn unix_now() -> i64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| {
            i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
        })
}

//! Letting people in, or not.

use std::sync::{Arc, PoisonError};
use std::time::{Instant, SystemTime};

use omnid_hub::Event;
use omnid_store::StoreError;

use crate::audit::AuditEvent;
use crate::credentials::{Derived, app_password_hash, prepare};
use crate::data::{accounts, app_passwords};
use crate::engine::remembered::Mark;
use crate::engine::throttle::{Lockout, Refusal};
use crate::identity::Inner;
use crate::{
    Account, Address, AuthError, DigestAlgorithm, Identity, ScramHash, ScramVerifier, Source,
};

/// The verifier that passwords handed over are checked against, where the account has it.
const HASH: ScramHash = ScramHash::Sha256;

/// What the database knows about a password that was handed over.
struct Candidate {
    account: Option<(i64, Account)>,
    hash: ScramHash,
    verifier: ScramVerifier,
    /// Whether it has a verifier for every hash.
    complete: bool,
    /// The app password that it is.
    app_password: Option<i64>,
}

impl Identity {
    /// Checks a password that a client handed over (HTTP basic, SASL PLAIN): the account's own, or
    /// one of its app passwords. Counts, logs and records the outcome by itself.
    pub async fn verify(
        &self,
        address: &Address,
        password: &str,
        source: Source,
    ) -> Result<Account, AuthError> {
        let inner = &*self.inner;
        // Before the memory is asked, or a source that is shut out could go on guessing at those
        // who have just logged in.
        inner.check(address.as_str(), source)?;
        let mark = inner.marker.mark(address, password, source);
        if let Some(account) = inner.remembered().find(&mark, Instant::now()) {
            return Ok((*account).clone());
        }
        let alone = Alone::with(inner, mark);
        let _alone = alone.lock.lock().await;
        if let Some(account) = inner.remembered().find(&mark, Instant::now()) {
            return Ok((*account).clone());
        }
        let _attempt = Attempt::begin(inner, address.as_str(), source)?;
        self.verify_anew(address, password, source, mark).await
    }

    async fn verify_anew(
        &self,
        address: &Address,
        password: &str,
        source: Source,
        mark: Mark,
    ) -> Result<Account, AuthError> {
        let inner = &*self.inner;
        let generation = inner.remembered().generation;
        let app_hash = app_password_hash(password);
        let candidate = self.candidate(address, app_hash).await?;
        let (hash, verifier) = (candidate.hash, candidate.verifier.clone());
        // A password that SASLprep refuses was never set; it costs what a wrong one costs.
        let prepared = prepare(password);
        let is_app_password = candidate.app_password.is_some();
        let fits = is_app_password
            || inner
                .hash(move || {
                    let usable = prepared.is_some();
                    verifier.fits(hash, &prepared.unwrap_or_default()) & usable
                })
                .await?;
        let Some((id, account)) = candidate.account.filter(|_| fits) else {
            self.failed(address.as_str(), source);
            return Err(AuthError::BadCredentials);
        };
        if !account.enabled {
            inner.audit.record(
                AuditEvent::now("login.failed", address.as_str())
                    .from(source.ip, source.service)
                    .detail("the account is disabled"),
            );
            return Err(AuthError::Disabled);
        }
        self.succeeded(address, source);
        if let Some(id) = candidate.app_password {
            inner.audit.app_password_used(id);
        } else if !candidate.complete || candidate.verifier.iterations < inner.iterations.get() {
            self.strengthen(id, address, password, hash, candidate.verifier);
        }
        let account = Arc::new(account);
        inner
            .remembered()
            .keep(mark, Arc::clone(&account), generation, Instant::now());
        Ok(Arc::unwrap_or_clone(account))
    }

    /// Checks a password that is kept elsewhere, such as in a file that a service has: `fits` does,
    /// off the workers and with all else that hashes. Throttled, counted, logged and recorded as
    /// any other login, under `name`.
    pub async fn verify_elsewhere(
        &self,
        name: &str,
        source: Source,
        fits: impl FnOnce() -> bool + Send + 'static,
    ) -> Result<(), AuthError> {
        let inner = &*self.inner;
        inner.check(name, source)?;
        let _attempt = Attempt::begin(inner, name, source)?;
        if !inner.hash(fits).await? {
            self.failed(name, source);
            return Err(AuthError::BadCredentials);
        }
        self.has_succeeded(name, source);
        Ok(())
    }

    /// Whether a login under this name from there would be looked at now.
    pub fn is_open(&self, name: &str, source: Source) -> Result<(), AuthError> {
        self.inner.check(name, source)
    }

    /// Asks the same of the database for a name that exists and for one that does not.
    async fn candidate(
        &self,
        address: &Address,
        app_hash: [u8; 32],
    ) -> Result<Candidate, StoreError> {
        let asked = address.clone();
        let (found, complete, app_password) = self
            .inner
            .database
            .read(move |reader| {
                let found = accounts::with_any_verifier(reader, &asked)?;
                let id = found.as_ref().map_or(-1, |(id, ..)| *id);
                let complete = accounts::is_complete(reader, id)?;
                let app_password = app_passwords::find(reader, id, &app_hash)?;
                Ok((found, complete, app_password))
            })
            .await?;
        Ok(match found {
            Some((id, account, hash, verifier)) => Candidate {
                account: Some((id, account)),
                hash,
                verifier,
                complete,
                app_password,
            },
            None => Candidate {
                account: None,
                hash: HASH,
                complete: true,
                verifier: self.inner.pretend(HASH, address.as_str()),
                app_password: None,
            },
        })
    }

    /// Derives a password's verifiers again, all of them and at today's cost, now that it is at hand.
    fn strengthen(
        &self,
        id: i64,
        address: &Address,
        password: &str,
        hash: ScramHash,
        old: ScramVerifier,
    ) {
        let (identity, address) = (self.clone(), address.clone());
        let password = zeroize::Zeroizing::new(password.to_owned());
        tokio::spawn(async move {
            let inner = &*identity.inner;
            let (iterations, whose) = (inner.iterations, address.clone());
            let derived = inner
                .hash(move || Derived::new(&whose, &password, iterations))
                .await;
            let Ok(Ok(derived)) = derived else { return };
            let whose = address.clone();
            let written = inner
                .database
                .write(move |tx| {
                    // Not if it was changed meanwhile.
                    match accounts::with_verifier(tx, &whose, hash)? {
                        Some((same, account, now)) if same == id && now == old => {
                            let set_at = account.password_changed_at;
                            accounts::replace_password(tx, id, &whose, &derived, set_at)
                        }
                        _ => Ok(()),
                    }
                })
                .await;
            match written {
                Ok(()) => {
                    inner.look_who_lacks().await;
                    tracing::debug!(account = %address, "verifiers derived anew");
                }
                Err(error) => tracing::warn!(account = %address, %error, "verifiers not renewed"),
            }
        });
    }

    /// What a SCRAM exchange needs. Report its outcome with [`succeeded`](Self::succeeded) or
    /// [`failed`](Self::failed).
    pub async fn scram(
        &self,
        address: &Address,
        hash: ScramHash,
        source: Source,
    ) -> Result<ScramVerifier, AuthError> {
        self.inner.check(address.as_str(), source)?;
        let asked = address.clone();
        let found = self
            .inner
            .database
            .read(move |reader| accounts::with_verifier(reader, &asked, hash))
            .await?;
        Ok(match found {
            Some((_, account, verifier)) if account.enabled => verifier,
            // One that is disabled looks like one that is not there, down to the salt's constancy.
            Some((_, _, verifier)) => ScramVerifier {
                exists: false,
                ..verifier
            },
            None => self.inner.pretend(hash, address.as_str()),
        })
    }

    /// H(username:realm:password) in hexadecimal, for digest; `user` as the client wrote it: the
    /// account's user part, or the whole address. `None` for a name that may not log in; answer as
    /// to a wrong password. Report the outcome with [`succeeded`](Self::succeeded) or
    /// [`failed`](Self::failed).
    pub async fn digest_ha1(
        &self,
        user: &str,
        realm: &str,
        algorithm: DigestAlgorithm,
        source: Source,
    ) -> Result<Option<Vec<u8>>, AuthError> {
        // Throttled under the account's name where it is one, so that SIP counts with the others.
        match Address::parse_in(user, realm) {
            Ok(address) => self.inner.check(address.as_str(), source)?,
            Err(_) => {
                self.inner.check(user, source)?;
                return Ok(None);
            }
        }
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
        self.has_succeeded(address.as_str(), source);
    }

    fn has_succeeded(&self, name: &str, source: Source) {
        let inner = &*self.inner;
        let counted = inner.counted(source);
        inner.throttle().succeeded(name, counted, Instant::now());
        tracing::debug!(account = name, source = %source.ip, service = source.service, "login");
        inner.audit.login(name, source.ip, source.service);
        inner.hub.events().publish(Event::Login {
            account: name.to_owned(),
            source: source.ip,
            service: source.service,
        });
    }

    /// A login failed that the service itself checked; `name` is the account's address, or
    /// whatever else the client called itself.
    pub fn failed(&self, name: &str, source: Source) {
        let inner = &*self.inner;
        let name: String = name.chars().take(320).collect();
        let counted = inner.counted(source);
        let lockouts = inner.throttle().failed(&name, counted, Instant::now());
        // Bounded by the throttle, which is asked before every attempt.
        tracing::info!(account = name, source = %source.ip, service = source.service, "login failed");
        inner
            .audit
            .record(AuditEvent::now("login.failed", &name).from(source.ip, source.service));
        for lockout in lockouts {
            let subject = match lockout {
                Lockout::Account => name.clone(),
                Lockout::Source(ip) => ip.to_string(),
            };
            let seconds = inner.lock_time.as_secs();
            tracing::warn!(subject, seconds, "locked out after too many failed logins");
            inner.audit.record(
                AuditEvent::now("lockout", &subject)
                    .from(source.ip, source.service)
                    .detail(format!("{seconds} s")),
            );
            inner
                .hub
                .events()
                .publish(Event::Lockout { subject, seconds });
        }
        inner.hub.events().publish(Event::LoginFailed {
            account: name,
            source: source.ip,
            service: source.service,
        });
    }
}

impl Inner {
    fn pretend(&self, hash: ScramHash, name: &str) -> ScramVerifier {
        ScramVerifier::pretend(hash, &self.secret, name, self.iterations.get())
    }

    fn check(&self, name: &str, source: Source) -> Result<(), AuthError> {
        let counted = self.counted(source);
        Ok(self.throttle().check(name, counted, Instant::now())?)
    }
}

impl From<Refusal> for AuthError {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Wait(retry_after) => Self::Throttled { retry_after },
            Refusal::Locked(time) => Self::Locked {
                until: SystemTime::now()
                    .checked_add(time)
                    .unwrap_or(SystemTime::UNIX_EPOCH),
            },
        }
    }
}

/// An attempt under way, as the throttle counts it.
struct Attempt<'a> {
    inner: &'a Inner,
    name: &'a str,
    source: Source,
}

impl<'a> Attempt<'a> {
    fn begin(inner: &'a Inner, name: &'a str, source: Source) -> Result<Self, AuthError> {
        let counted = inner.counted(source);
        inner.throttle().begin(name, counted, Instant::now())?;
        Ok(Self {
            inner,
            name,
            source,
        })
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let counted = self.inner.counted(self.source);
        self.inner.throttle().end(self.name, counted);
    }
}

/// One check at a time of the same password for the same account.
struct Alone<'a> {
    inner: &'a Inner,
    mark: Mark,
    lock: Arc<tokio::sync::Mutex<()>>,
}

impl<'a> Alone<'a> {
    fn with(inner: &'a Inner, mark: Mark) -> Self {
        let mut checking = inner
            .checking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let lock = Arc::clone(checking.entry(mark).or_default());
        Self { inner, mark, lock }
    }
}

impl Drop for Alone<'_> {
    fn drop(&mut self) {
        let mut checking = self
            .inner
            .checking
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        // The map's and ours: nobody else waits.
        if Arc::strong_count(&self.lock) <= 2 {
            checking.remove(&self.mark);
        }
    }
}

//! Accounts that come from another server, or go to one: with what is kept of their passwords.

use std::collections::HashMap;
use std::sync::Arc;

use omnid_store::{Reader, StoreError, Transaction};
use zeroize::Zeroizing;

use crate::audit::AuditEvent;
use crate::credentials::{Derived, DigestSecret};
use crate::data::{accounts, audit, names};
use crate::identity::unix_now;
use crate::{
    Account, Address, DigestAlgorithm, Identity, IdentityError, Roles, ScramHash, ScramVerifier,
};

/// What is kept of a password.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verifiers {
    /// For SCRAM.
    pub scram: Vec<(ScramHash, ScramVerifier)>,
    /// For digest.
    pub digest: Vec<DigestVerifier>,
}

/// HA1 of one user name and hash.
#[derive(Clone, PartialEq, Eq)]
pub struct DigestVerifier {
    /// The user part, or the whole address.
    pub username: String,
    /// The hash.
    pub algorithm: DigestAlgorithm,
    /// In hexadecimal.
    pub ha1: String,
}

/// Keys are no business of a log's.
impl std::fmt::Debug for DigestVerifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DigestVerifier")
            .field("username", &self.username)
            .field("algorithm", &self.algorithm)
            .finish_non_exhaustive()
    }
}

/// An account on its way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Moving {
    /// What to show people; may be empty.
    pub display_name: String,
    /// Whether it may log in.
    pub enabled: bool,
    /// What it may do.
    pub roles: Roles,
    /// When it was made, in seconds since 1970.
    pub created_at: i64,
    /// When its password was last set, in seconds since 1970.
    pub password_changed_at: i64,
    /// What is kept of its password.
    pub verifiers: Verifiers,
}

/// Hashes of SCRAM that not every account of a domain has a verifier for, by domain.
pub type Lacking = HashMap<String, Vec<ScramHash>>;

/// Makes an account that comes from elsewhere. Whether there was none at its address.
///
/// # Errors
/// When the database fails.
pub fn adopt(
    tx: &mut Transaction<'_>,
    address: &Address,
    moving: &Moving,
) -> Result<bool, StoreError> {
    if accounts::find(tx, address)?.is_some() || names::alias(tx, address)?.is_some() {
        return Ok(false);
    }
    let event = AuditEvent::now("account.imported", address.as_str());
    audit::insert(tx, &event.detail(moving.roles.to_text()))?;
    let digest = moving.verifiers.digest.iter().map(|one| DigestSecret {
        username: one.username.clone(),
        algorithm: one.algorithm,
        ha1: one.ha1.clone(),
    });
    let derived = Derived {
        scram: moving.verifiers.scram.clone(),
        digest: digest.collect(),
    };
    let account = Account {
        address: address.clone(),
        display_name: moving.display_name.clone(),
        enabled: moving.enabled,
        roles: moving.roles,
        created_at: moving.created_at,
        password_changed_at: moving.password_changed_at,
    };
    accounts::insert_as(tx, &account, &derived)?;
    Ok(true)
}

/// An account as it would go elsewhere.
///
/// # Errors
/// When the database fails.
pub fn leaving(reader: &mut Reader<'_>, address: &Address) -> Result<Option<Moving>, StoreError> {
    let Some((id, account)) = accounts::find(reader, address)? else {
        return Ok(None);
    };
    let mut scram = Vec::new();
    for hash in ScramHash::ALL {
        if let Some((_, _, verifier)) = accounts::with_verifier(reader, address, hash)? {
            scram.push((hash, verifier));
        }
    }
    let digest = accounts::digests(reader, id)?;
    Ok(Some(Moving {
        display_name: account.display_name,
        enabled: account.enabled,
        roles: account.roles,
        created_at: account.created_at,
        password_changed_at: account.password_changed_at,
        verifiers: Verifiers { scram, digest },
    }))
}

impl Identity {
    /// Everything that is kept of a password that is known in clear. The rule for the length of
    /// passwords does not count: somebody has it already.
    ///
    /// # Errors
    /// Where the password cannot be one.
    pub async fn verifiers(
        &self,
        address: &Address,
        password: &str,
    ) -> Result<Verifiers, IdentityError> {
        let (address, password) = (address.clone(), Zeroizing::new(password.to_owned()));
        let iterations = self.inner.iterations;
        let derived = self
            .inner
            .hash(move || Derived::new(&address, &password, iterations))
            .await??;
        let digest = derived.digest.into_iter().map(|one| DigestVerifier {
            username: one.username,
            algorithm: one.algorithm,
            ha1: one.ha1,
        });
        Ok(Verifiers {
            scram: derived.scram,
            digest: digest.collect(),
        })
    }

    /// Mechanisms that would fail for somebody, and so must not be offered: before a client says
    /// who it is, it has chosen. Accounts that came from a server that knew only some hashes lack
    /// the others until their password is at hand.
    pub fn lacking(&self) -> Arc<Lacking> {
        self.inner.lacking()
    }
}

/// For an account that was never anything else than what it is now.
impl Default for Moving {
    fn default() -> Self {
        let now = unix_now();
        Self {
            display_name: String::new(),
            enabled: true,
            roles: Roles::from(crate::Role::User),
            created_at: now,
            password_changed_at: now,
            verifiers: Verifiers::default(),
        }
    }
}

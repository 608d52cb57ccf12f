//! Why a login or a change was refused.

use std::time::{Duration, SystemTime};

use omnid_store::StoreError;

use crate::{Address, AddressError};

/// Why somebody was not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthError {
    /// Wrong name or wrong password; which of them is not said.
    #[error("wrong name or password")]
    BadCredentials,
    /// Too many failures in a row: wait, then try again.
    #[error("too many attempts; try again in {} s", .retry_after.as_secs().max(1))]
    Throttled { retry_after: Duration },
    /// Far too many failures: shut out for a while.
    #[error("locked after too many failed attempts")]
    Locked { until: SystemTime },
    /// The password is right, but the account is switched off.
    #[error("the account is disabled")]
    Disabled,
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Why an account was not changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// There is such an account, alias or extension already.
    #[error("{0} exists already")]
    Exists(String),
    /// There is no such account.
    #[error("there is no account {0}")]
    NoAccount(Address),
    /// There is no such thing.
    #[error("there is no {0}")]
    NotFound(String),
    /// The password cannot be used.
    #[error("password: {0}")]
    Password(String),
    /// Not an address.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// A name or number that cannot be used.
    #[error("{0}")]
    Name(String),
    /// The database failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

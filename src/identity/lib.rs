//! Who may do what.
//!
//! `alice@example.org` is one account in every protocol. What each of them needs to check a
//! password is derived when the password is set: SCRAM verifiers for XMPP and for whoever hands
//! over the password itself (HTTP basic, SASL PLAIN), and HA1 for SIP digest. The password is not
//! kept, not logged, and wiped from memory when it has been used.
//!
//! A caller learns nothing about which accounts exist: an unknown name costs the same work, gets
//! the same errors, is throttled alike, and in SCRAM is offered a salt that stays the same.

mod account;
mod address;
mod audit;
mod config;
mod credentials;
mod data;
mod engine;
mod error;
mod identity;
mod login;
mod manage;
pub mod moving;

pub use account::{Account, Role, Roles};
pub use address::{Address, AddressError};
pub use audit::AuditEvent;
pub use config::{IdentityConfig, ThrottleConfig};
pub use credentials::{DigestAlgorithm, ScramHash, ScramVerifier};
pub use error::{AuthError, IdentityError};
pub use identity::{Identity, Source};
pub use manage::AppPassword;

//! DNSSEC (RFC 4033, 4034, 4035, 5155, 6840): what is signed, by which key, and what is not there.
//!
//! The rooms below are pure: octets and a time in, octets and a verdict out. Signer, server and
//! validator share them.

mod algorithm;
mod denial;
mod ds;
pub mod explain;
mod key;
pub mod keyring;
pub mod nsec3;
pub mod policy;
mod private;
mod rrset;
mod rrsig;
pub mod signer;
pub mod states;
mod types;

#[cfg(test)]
mod tests;
#[cfg(test)]
mod years;

pub use algorithm::{Algorithm, VerifyError, verify};
pub use denial::{Nsec, Nsec3, covers};
pub use ds::{DigestType, Ds, digest};
pub use key::{DnsKey, key_tag};
pub use nsec3::{HASH_LEN, Hash, Nsec3Hash};
pub use private::{PrivateKey, PrivateKeyError};
pub use rrset::{canonical_rrset, signed_labels};
pub use rrsig::{Rrsig, Validity};
pub use types::{TypeBitmap, write_types};

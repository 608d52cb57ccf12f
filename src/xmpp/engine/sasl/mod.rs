//! SASL (RFC 4422) as XMPP carries it (RFC 6120 6): who the client is, and nothing else.
//!
//! [`Authenticated`] can only be made here, by a proof that was right; whoever holds one needs no
//! further check, and no other name a client mentions on its stream can take its place.

mod hashed;
mod plain;
mod scram;

use crate::wire::BareJid;

pub use hashed::{Token, TokenMechanism, TokenMessage};
pub use plain::PlainMessage;
pub use scram::{ClientFirst, Exchange, offer};

/// An account that a client has proven to be its own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Authenticated(BareJid);

impl Authenticated {
    /// The account.
    pub fn jid(&self) -> &BareJid {
        &self.0
    }
}

/// What the TLS connection under a stream offers to bind an authentication to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Channel {
    /// `tls-exporter` (RFC 9266).
    pub exporter: Option<Vec<u8>>,
    /// `tls-server-end-point` (RFC 5929 4).
    pub server_end_point: Option<Vec<u8>>,
}

impl Channel {
    /// Names and data of the bindings there are, best first.
    pub fn bindings(&self) -> impl Iterator<Item = (&'static str, &[u8])> {
        let exporter = self.exporter.as_deref().map(|data| ("tls-exporter", data));
        let end_point = self.server_end_point.as_deref();
        exporter
            .into_iter()
            .chain(end_point.map(|data| ("tls-server-end-point", data)))
    }

    fn data(&self, name: &str) -> Option<&[u8]> {
        self.bindings()
            .find(|(known, _)| *known == name)
            .map(|(_, data)| data)
    }
}

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hash {
    /// RFC 5802.
    Sha1,
    /// RFC 7677.
    Sha256,
    /// As the two before, with SHA-512.
    Sha512,
}

/// A mechanism that this server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mechanism {
    /// Salted challenge and response; `bound` to the TLS channel (`-PLUS`) or not.
    Scram {
        /// Its hash.
        hash: Hash,
        /// Whether it is the `-PLUS` form.
        bound: bool,
    },
    /// The password itself (RFC 4616). Only ever offered over TLS.
    Plain,
}

impl Mechanism {
    /// All of them, strongest first: the order they are offered in.
    pub const ALL: [Mechanism; 7] = [
        Mechanism::Scram {
            hash: Hash::Sha512,
            bound: true,
        },
        Mechanism::Scram {
            hash: Hash::Sha256,
            bound: true,
        },
        Mechanism::Scram {
            hash: Hash::Sha1,
            bound: true,
        },
        Mechanism::Scram {
            hash: Hash::Sha512,
            bound: false,
        },
        Mechanism::Scram {
            hash: Hash::Sha256,
            bound: false,
        },
        Mechanism::Scram {
            hash: Hash::Sha1,
            bound: false,
        },
        Mechanism::Plain,
    ];

    /// The name in the IANA registry.
    pub fn name(self) -> &'static str {
        match self {
            Mechanism::Scram {
                hash: Hash::Sha1,
                bound: false,
            } => "SCRAM-SHA-1",
            Mechanism::Scram {
                hash: Hash::Sha1,
                bound: true,
            } => "SCRAM-SHA-1-PLUS",
            Mechanism::Scram {
                hash: Hash::Sha256,
                bound: false,
            } => "SCRAM-SHA-256",
            Mechanism::Scram {
                hash: Hash::Sha256,
                bound: true,
            } => "SCRAM-SHA-256-PLUS",
            Mechanism::Scram {
                hash: Hash::Sha512,
                bound: false,
            } => "SCRAM-SHA-512",
            Mechanism::Scram {
                hash: Hash::Sha512,
                bound: true,
            } => "SCRAM-SHA-512-PLUS",
            Mechanism::Plain => "PLAIN",
        }
    }

    /// Whether it can be offered on `channel`.
    pub fn fits(self, channel: &Channel) -> bool {
        match self {
            Mechanism::Scram { bound: true, .. } => channel.bindings().next().is_some(),
            _ => true,
        }
    }
}

/// What is stored of a password for one hash (RFC 5802 3).
#[derive(Clone, PartialEq, Eq)]
pub struct Verifier {
    /// The salt.
    pub salt: Vec<u8>,
    /// How often the password was hashed.
    pub iterations: u32,
    /// The hash of the client's key.
    pub stored_key: Vec<u8>,
    /// The key that proves the server to the client.
    pub server_key: Vec<u8>,
    /// Whether there is such an account. If not, the rest is made up so that nobody can tell.
    pub exists: bool,
}

/// The keys stay out of logs.
impl std::fmt::Debug for Verifier {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Verifier")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// Why an authentication failed (RFC 6120 6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The client gave up.
    Aborted,
    /// The account is switched off.
    AccountDisabled,
    /// TLS first.
    EncryptionRequired,
    /// Not base64.
    IncorrectEncoding,
    /// It wanted to act as somebody else.
    InvalidAuthzid,
    /// Not a mechanism that was offered.
    InvalidMechanism,
    /// Not what the mechanism's grammar allows.
    MalformedRequest,
    /// Wrong.
    NotAuthorized,
    /// Not now.
    TemporaryAuthFailure,
}

impl Failure {
    /// The name of the condition's element.
    pub fn as_str(self) -> &'static str {
        match self {
            Failure::Aborted => "aborted",
            Failure::AccountDisabled => "account-disabled",
            Failure::EncryptionRequired => "encryption-required",
            Failure::IncorrectEncoding => "incorrect-encoding",
            Failure::InvalidAuthzid => "invalid-authzid",
            Failure::InvalidMechanism => "invalid-mechanism",
            Failure::MalformedRequest => "malformed-request",
            Failure::NotAuthorized => "not-authorized",
            Failure::TemporaryAuthFailure => "temporary-auth-failure",
        }
    }
}

/// The account that `name` is on `host`, if the identity it wants to act as is none or the same
/// (RFC 6120 6.3.8: that would be a bare address).
fn account(name: &str, authzid: Option<&str>, host: &str) -> Result<BareJid, Failure> {
    let account = BareJid::from_parts(name, host).map_err(|_| Failure::NotAuthorized)?;
    match authzid.filter(|authzid| !authzid.is_empty()) {
        Some(authzid) if BareJid::new(authzid).ok().as_ref() != Some(&account) => {
            Err(Failure::InvalidAuthzid)
        }
        _ => Ok(account),
    }
}

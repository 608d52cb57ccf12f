//! How a zone is signed: which keys, for how long, and what its resolvers' caches may still hold.

use super::algorithm::Algorithm;

/// Seconds since 1970.
pub type Time = i64;
/// Seconds.
pub type Seconds = i64;

const HOUR: Seconds = 3600;
const DAY: Seconds = 24 * HOUR;

/// What a key is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// Signs everything, and is what the parent's DS means.
    Csk,
    /// Signs the keys, and is what the parent's DS means.
    Ksk,
    /// Signs the zone.
    Zsk,
}

impl Role {
    /// As in configuration and output.
    pub fn name(self) -> &'static str {
        match self {
            Role::Csk => "csk",
            Role::Ksk => "ksk",
            Role::Zsk => "zsk",
        }
    }

    /// Reads a name.
    pub fn from_name(name: &str) -> Option<Role> {
        [Role::Csk, Role::Ksk, Role::Zsk]
            .into_iter()
            .find(|role| role.name() == name)
    }

    /// Signs the keys; a secure entry point.
    pub fn signs_keys(self) -> bool {
        self != Role::Zsk
    }

    /// Signs what is in the zone.
    pub fn signs_zone(self) -> bool {
        self != Role::Ksk
    }

    /// The flags of its DNSKEY record.
    pub fn flags(self) -> u16 {
        if self.signs_keys() { 257 } else { 256 }
    }
}

/// A key that a policy wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeySpec {
    /// What it is for.
    pub role: Role,
    /// Its algorithm.
    pub algorithm: Algorithm,
    /// Its size, if it is one of RSA.
    pub bits: u16,
    /// When it is replaced; never without one.
    pub lifetime: Option<Seconds>,
}

/// Hashed denial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Nsec3Policy {
    /// Unsigned delegations have no record of their own.
    pub opt_out: bool,
}

/// A policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The keys.
    pub keys: Vec<KeySpec>,
    /// Denial by NSEC3 rather than NSEC; without salt and further rounds (RFC 9276).
    pub nsec3: Option<Nsec3Policy>,
    /// How long a signature is valid.
    pub validity: Seconds,
    /// How long before its end a signature is replaced.
    pub refresh: Seconds,
    /// By how much the ends of signatures differ, so that they are not all replaced at once.
    pub jitter: Seconds,
    /// TTL of the keys.
    pub dnskey_ttl: u32,
    /// Longest TTL in the zone.
    pub max_zone_ttl: Seconds,
    /// How long a change takes to all servers of the zone.
    pub zone_propagation: Seconds,
    /// TTL of the DS set in the parent zone.
    pub parent_ds_ttl: Seconds,
    /// How long a change takes to all servers of the parent zone.
    pub parent_propagation: Seconds,
    /// Added to each wait before a key is relied on.
    pub publish_safety: Seconds,
    /// Added to each wait before a key is forgotten.
    pub retire_safety: Seconds,
}

impl Default for Policy {
    /// One key for all, of algorithm 13, for good; NSEC; signatures of two weeks.
    fn default() -> Policy {
        Policy {
            keys: vec![KeySpec {
                role: Role::Csk,
                algorithm: Algorithm::ECDSAP256SHA256,
                bits: 0,
                lifetime: None,
            }],
            nsec3: None,
            validity: 14 * DAY,
            refresh: 5 * DAY,
            jitter: 12 * HOUR,
            dnskey_ttl: 3600,
            max_zone_ttl: DAY,
            zone_propagation: 300,
            parent_ds_ttl: DAY,
            parent_propagation: HOUR,
            publish_safety: HOUR,
            retire_safety: HOUR,
        }
    }
}

impl Policy {
    /// Seconds until caches know a key that is published.
    pub fn key_wait(&self) -> Seconds {
        i64::from(self.dnskey_ttl) + self.zone_propagation + self.publish_safety
    }

    /// Seconds until caches have forgotten a key that is published no more.
    pub fn key_gone_wait(&self) -> Seconds {
        i64::from(self.dnskey_ttl) + self.zone_propagation + self.retire_safety
    }

    /// Seconds until caches hold only signatures made now.
    pub fn signature_wait(&self) -> Seconds {
        self.max_zone_ttl + self.zone_propagation + self.publish_safety.max(self.retire_safety)
    }

    /// Seconds until caches hold only the DS set that the parent has now.
    pub fn ds_wait(&self) -> Seconds {
        self.parent_ds_ttl + self.parent_propagation + self.retire_safety
    }
}

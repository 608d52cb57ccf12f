//! `[dns.policy.NAME]`: how zones are signed.

use std::net::SocketAddr;
use std::time::Duration;

use omnid_config::{Problem, Problems, Spanned};

use super::algorithm::Algorithm;
use super::policy::{KeySpec, Nsec3Policy, Policy, Role, Seconds};

omnid_config::choice! {
    /// What a key is for.
    pub enum KeyRole {
        /// Signs everything; what the parent's DS record means.
        Csk = "csk",
        /// Signs the keys; what the parent's DS record means.
        Ksk = "ksk",
        /// Signs the zone.
        Zsk = "zsk",
    }
}

omnid_config::choice! {
    /// A signature algorithm.
    pub enum KeyAlgorithm {
        /// RSA with SHA-256 (8).
        RsaSha256 = "rsasha256",
        /// RSA with SHA-512 (10).
        RsaSha512 = "rsasha512",
        /// ECDSA over P-256 (13).
        EcdsaP256 = "ecdsap256sha256",
        /// ECDSA over P-384 (14).
        EcdsaP384 = "ecdsap384sha384",
        /// Ed25519 (15).
        Ed25519 = "ed25519",
    }
}

omnid_config::section! {
    /// A key that zones are signed with.
    pub struct KeyConfig {
        /// What it is for.
        pub role: Spanned<KeyRole>,
        /// Its algorithm.
        pub algorithm: KeyAlgorithm = KeyAlgorithm::EcdsaP256,
        /// Its size, if it is one of RSA: 2048, 3072 or 4096.
        #[range(2048..=4096)]
        pub bits: u16 = 2048,
        /// When it is replaced; never without one.
        #[range(Duration::from_secs(86_400)..=Duration::from_secs(3_155_760_000))]
        pub lifetime: Option<Duration> = None,
    }
}

omnid_config::section! {
    /// How zones are signed.
    #[check(PolicyConfig::check, needs(keys, signature_validity, signature_refresh, signature_jitter))]
    pub struct PolicyConfig {
        /// The keys: one csk for each algorithm, or a ksk and a zsk.
        ///
        /// Without any, one csk of algorithm ecdsap256sha256 that is never replaced.
        pub keys: Vec<KeyConfig> = vec![],
        /// Deny by hashed names (NSEC3, without salt or further rounds) rather than by NSEC.
        pub nsec3: bool = false,
        /// Leave unsigned delegations out of the NSEC3 chain.
        pub opt_out: bool = false,
        /// How long a signature is valid.
        #[range(Duration::from_secs(3600)..=Duration::from_secs(31_536_000))]
        pub signature_validity: Duration = Duration::from_secs(1_209_600),
        /// How long before its end a signature is replaced.
        #[range(Duration::from_secs(600)..=Duration::from_secs(31_536_000))]
        pub signature_refresh: Duration = Duration::from_secs(432_000),
        /// By how much the ends of signatures differ, so that they are not all replaced at once.
        pub signature_jitter: Duration = Duration::from_secs(43_200),
        /// TTL of the keys.
        #[range(Duration::ZERO..=Duration::from_secs(604_800))]
        pub dnskey_ttl: Duration = Duration::from_secs(3600),
        /// Longest TTL in the zone; a longer one that is found in it counts.
        #[range(Duration::ZERO..=Duration::from_secs(2_419_200))]
        pub max_zone_ttl: Duration = Duration::from_secs(86_400),
        /// How long a change takes to all servers of the zone.
        pub zone_propagation: Duration = Duration::from_secs(300),
        /// TTL of the DS records in the parent zone.
        pub parent_ds_ttl: Duration = Duration::from_secs(86_400),
        /// How long a change takes to all servers of the parent zone.
        pub parent_propagation: Duration = Duration::from_secs(3600),
        /// Added to each wait before a key is relied on.
        pub publish_safety: Duration = Duration::from_secs(3600),
        /// Added to each wait before a key is forgotten.
        pub retire_safety: Duration = Duration::from_secs(3600),
        /// Servers that are asked for the DS records in the parent zone; all must agree.
        ///
        /// Without any, the operator tells with `omnid zone keys ZONE --ds-seen`.
        pub parental_agents: Vec<SocketAddr> = vec![],
        /// How often they are asked while something is awaited.
        #[range(Duration::from_secs(1)..=Duration::from_secs(604_800))]
        pub parental_interval: Duration = Duration::from_secs(3600),
    }
}

fn seconds(duration: Duration) -> Seconds {
    Seconds::try_from(duration.as_secs()).unwrap_or(Seconds::MAX / 8)
}

impl PolicyConfig {
    fn check(&self, problems: &mut Problems) {
        let specs = self.specs();
        for spec in &specs {
            let of = |role| {
                specs
                    .iter()
                    .filter(|other| other.algorithm == spec.algorithm && other.role == role)
                    .count()
            };
            let sound = matches!(
                (of(Role::Csk), of(Role::Ksk), of(Role::Zsk)),
                (1, 0, 0) | (0, 1, 1)
            );
            if !sound {
                let message = format!(
                    "the keys of {} make no whole: one csk, or one ksk and one zsk",
                    spec.algorithm
                );
                let at = self.keys.first().and_then(|key| key.role.span);
                problems.push(Problem::error(message).at(at, "the keys of this policy"));
                return;
            }
        }
        if self
            .keys
            .iter()
            .any(|key| ![2048, 3072, 4096].contains(&key.bits))
        {
            problems.push(Problem::absence("an RSA key has 2048, 3072 or 4096 bits"));
        }
        if self.signature_refresh + self.signature_jitter >= self.signature_validity {
            problems.push(Problem::absence(
                "signature_refresh and signature_jitter together must be less than \
                 signature_validity",
            ));
        }
    }

    fn specs(&self) -> Vec<KeySpec> {
        let spec = |key: &KeyConfig| KeySpec {
            role: match key.role.value {
                KeyRole::Csk => Role::Csk,
                KeyRole::Ksk => Role::Ksk,
                KeyRole::Zsk => Role::Zsk,
            },
            algorithm: match key.algorithm {
                KeyAlgorithm::RsaSha256 => Algorithm::RSASHA256,
                KeyAlgorithm::RsaSha512 => Algorithm::RSASHA512,
                KeyAlgorithm::EcdsaP256 => Algorithm::ECDSAP256SHA256,
                KeyAlgorithm::EcdsaP384 => Algorithm::ECDSAP384SHA384,
                KeyAlgorithm::Ed25519 => Algorithm::ED25519,
            },
            bits: key.bits,
            lifetime: key.lifetime.map(seconds),
        };
        if self.keys.is_empty() {
            Policy::default().keys
        } else {
            self.keys.iter().map(spec).collect()
        }
    }

    /// The policy.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            keys: self.specs(),
            nsec3: self.nsec3.then_some(Nsec3Policy {
                opt_out: self.opt_out,
            }),
            validity: seconds(self.signature_validity),
            refresh: seconds(self.signature_refresh),
            jitter: seconds(self.signature_jitter),
            dnskey_ttl: seconds(self.dnskey_ttl) as u32,
            max_zone_ttl: seconds(self.max_zone_ttl),
            zone_propagation: seconds(self.zone_propagation),
            parent_ds_ttl: seconds(self.parent_ds_ttl),
            parent_propagation: seconds(self.parent_propagation),
            publish_safety: seconds(self.publish_safety),
            retire_safety: seconds(self.retire_safety),
        }
    }
}

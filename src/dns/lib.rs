//! DNS: the zones this server answers for.
//!
//! Rooms: [`wire`] reads and writes messages, names, record data and zone files; [`engine`] holds
//! the zones and decides what is answered; `io` drives it over UDP, TCP and TLS; `data` loads
//! zones; [`dnssec`] is what signs and validates, and `signing` puts it to work; [`resolver`](ResolverConfig) finds out about all other names; `config` and `service` join it to the daemon.

mod catalog;
mod check;
mod config;
mod control;
mod data;
pub mod dnssec;
pub mod engine;
mod io;
mod keeper;
mod publish;
mod resolver;
mod rules;
mod secondary;
mod service;
mod signing;
mod trust;
mod verbs;
pub mod wire;

pub use config::{
    AclConfig, Config, KeyConfig, PrimaryConfig, PrimaryTlsConfig, RateLimitConfig, TransferConfig,
    UpdateConfig, ViewConfig, ZoneConfig,
};
pub use dnssec::config::{KeyConfig as SigningKeyConfig, PolicyConfig};
pub use resolver::{ResolverConfig, fuzz_response};
pub use service::{Dns, Prepared};

/// Octets that nobody can guess.
fn random(octets: &mut [u8]) {
    // The kernel's generator does not fail once it is seeded, which it is before any of this runs.
    if aws_lc_rs::rand::fill(octets).is_err() {
        tracing::error!("no random numbers to be had");
    }
}

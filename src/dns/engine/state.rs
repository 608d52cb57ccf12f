//! What a server answers from: one snapshot, swapped whole.

use std::sync::Arc;

use super::access::Access;
use super::cookie::CookieSecret;
use super::limit::Limiter;
use super::tsig::Keys;
use super::zones::Zones;

/// Everything a query needs.
#[derive(Debug)]
pub struct State {
    /// Zones.
    pub zones: Zones,
    /// Keys that clients sign with.
    pub keys: Keys,
    /// Settings.
    pub settings: Settings,
}

/// How a server answers.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Largest UDP answer.
    pub udp_size: u16,
    /// What `version.bind` and `version.server` say (RFC 4892).
    pub version: Option<Box<str>>,
    /// What `hostname.bind` says.
    pub hostname: Option<Box<str>>,
    /// What `id.server` and the NSID option say (RFC 5001).
    pub server_id: Option<Box<str>>,
    /// Secret of the server's cookies.
    pub cookie_secret: Option<CookieSecret>,
    /// How long a TCP connection may idle, in tenths of a second (RFC 7828).
    pub keepalive: u16,
    /// Who may ask about names outside the zones.
    pub recursion: Access,
    /// How many responses of a kind go to one network; none: as many as are asked for.
    pub limiter: Option<Arc<Limiter>>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            udp_size: 1232,
            version: None,
            hostname: None,
            server_id: None,
            cookie_secret: None,
            keepalive: 300,
            recursion: Access::default(),
            limiter: None,
        }
    }
}

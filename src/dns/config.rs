//! The `[dns]` section.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{DomainName, IpNet, ListenAddr, Problem, Problems, Secret, Spanned};

use crate::resolver::ResolverConfig;

omnid_config::section! {
    /// Zones served.
    #[check(Config::check_zones, needs(zone))]
    #[check(Config::check_addresses, needs(listen, listen_tls))]
    #[check(Config::check_secret, needs(cookie_secret))]
    pub struct Config {
        /// Addresses for UDP and TCP.
        pub listen: Vec<Spanned<ListenAddr>> = vec![],
        /// Addresses for DNS over TLS (RFC 7858).
        pub listen_tls: Vec<Spanned<ListenAddr>> = vec![],
        /// Zones.
        pub zone: Vec<ZoneConfig> = vec![],
        /// Answers about names outside these zones; without it, there are none.
        pub resolver: Option<ResolverConfig> = None,
        /// UDP sockets for each address, between which the kernel spreads the queries.
        ///
        /// Without it, one for each processor. A reload to fewer may lose the queries that wait in
        /// those that go.
        #[range(1..=256)]
        pub sockets: Option<u16> = None,
        /// Largest answer sent over UDP, in octets; what is longer is asked for again over TCP.
        #[range(512..=4096)]
        pub udp_size: u16 = 1232,
        /// How long a TCP or TLS connection may lie idle.
        #[range(Duration::from_secs(1)..=Duration::from_secs(3600))]
        pub idle_timeout: Duration = Duration::from_secs(30),
        /// Answer to the question for version.bind; refused without it.
        pub version: Option<String> = None,
        /// Answer to the question for hostname.bind; refused without it.
        pub hostname: Option<String> = None,
        /// Answer to the question for id.server, and to the NSID option; refused without it.
        pub server_id: Option<String> = None,
        /// Send DNS cookies (RFC 7873) to clients that speak them.
        pub cookies: bool = true,
        /// Secret that cookies are made with: 32 hexadecimal digits.
        ///
        /// Servers that share an address must share it (RFC 9018). Without it, one is made up at
        /// each start.
        pub cookie_secret: Option<Spanned<Secret>> = None,
    }
}

omnid_config::section! {
    /// A zone that this server is a primary for.
    pub struct ZoneConfig {
        /// The zone's name.
        pub name: Spanned<DomainName>,
        /// Its zone file.
        ///
        /// Read at the start, and at a reload if it has changed. A file that it includes is looked
        /// for in the directory of the file that names it.
        pub file: Spanned<PathBuf>,
        /// Servers told of every change (RFC 1996).
        pub notify: Vec<SocketAddr> = vec![],
        /// Who may have the whole zone.
        pub transfer: TransferConfig = TransferConfig::default(),
    }
}

omnid_config::section! {
    /// Zone transfers (RFC 5936).
    pub struct TransferConfig {
        /// Addresses and networks that may transfer the zone.
        pub to: Vec<IpNet> = vec![],
    }
}

impl Config {
    fn check_zones(&self, problems: &mut Problems) {
        for (index, zone) in self.zone.iter().enumerate() {
            let same = |other: &&ZoneConfig| other.name == zone.name;
            if let Some(first) = self.zone.iter().take(index).find(same) {
                problems.push(
                    Problem::error(format!("zone {} is defined twice", zone.name.value))
                        .at(zone.name.span, "defined again here")
                        .also(first.name.span, "first defined here"),
                );
            }
        }
    }

    fn check_addresses(&self, problems: &mut Problems) {
        for address in &self.listen {
            if !matches!(address.value, ListenAddr::Ip(_)) {
                problems.push(
                    Problem::error("DNS is served over UDP, which needs an IP address")
                        .at(address.span, "not an IP address")
                        .help("write it like \"127.0.0.1:53\" or \"[::]:53\""),
                );
            }
        }
    }

    fn check_secret(&self, problems: &mut Problems) {
        let Some(secret) = &self.cookie_secret else {
            return;
        };
        if cookie_secret(secret.value.expose()).is_none() {
            problems.push(
                Problem::error("a cookie secret is 32 hexadecimal digits")
                    .at(secret.span, "not such a secret")
                    .help("`openssl rand -hex 16` makes one"),
            );
        }
    }
}

/// Sixteen octets out of 32 hexadecimal digits.
pub(crate) fn cookie_secret(text: &str) -> Option<[u8; 16]> {
    let text = text.trim();
    let mut secret = [0u8; 16];
    if text.len() != 32 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (index, octet) in secret.iter_mut().enumerate() {
        *octet = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn defaults_and_zones() {
        let text = "listen = ['127.0.0.1:53']\n[[zone]]\nname = 'example.org'\nfile = 'a'\n\
                    notify = ['192.0.2.1:53']\ntransfer = { to = ['192.0.2.1', '2001:db8::/32'] }";
        let config = omnid_config::load_str::<Config>(text).unwrap().value;
        assert_eq!(config.udp_size, 1232);
        assert!(config.cookies && config.version.is_none());
        let zone = config.zone.first().unwrap();
        assert_eq!(zone.transfer.to.len(), 2);
    }

    #[test]
    fn faults() {
        let cases = [
            (
                "[[zone]]\nname='a'\nfile='x'\n[[zone]]\nname='A.'\nfile='y'",
                "zone a is defined twice",
            ),
            (
                "listen = ['unix:/run/x']",
                "DNS is served over UDP, which needs an IP address",
            ),
            (
                "cookie_secret = 'abc'",
                "a cookie secret is 32 hexadecimal digits",
            ),
        ];
        for (text, message) in cases {
            let report = omnid_config::load_str::<Config>(text)
                .unwrap_err()
                .render(false);
            assert!(report.contains(message), "{report}");
        }
        assert_eq!(
            cookie_secret("000102030405060708090a0b0c0d0e0f").unwrap()[15],
            15
        );
    }
}

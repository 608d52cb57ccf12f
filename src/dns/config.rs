//! The `[dns]` section.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{ByteSize, DomainName, ListenAddr, Problem, Problems, Secret, Spanned};

use crate::dnssec::config::PolicyConfig;
use crate::resolver::ResolverConfig;

omnid_config::section! {
    /// Zones served.
    #[check(Config::check_zones, needs(zone))]
    #[check(Config::check_signing, needs(zone, policy))]
    #[check(Config::check_addresses, needs(listen, listen_tls))]
    #[check(Config::check_secret, needs(cookie_secret))]
    #[check(Config::check_https, needs(https))]
    pub struct Config {
        /// Addresses for UDP and TCP.
        pub listen: Vec<Spanned<ListenAddr>> = vec![],
        /// Addresses for DNS over TLS (RFC 7858).
        pub listen_tls: Vec<Spanned<ListenAddr>> = vec![],
        /// Path of DNS over HTTPS (RFC 8484), such as "/dns-query"; without it, there is none.
        ///
        /// It is served on the sites of [http] whose `mounts` include the path, over whatever they
        /// speak. Clients are the ones that the site sees, which counts for access lists.
        pub https: Option<Spanned<String>> = None,
        /// Zones.
        pub zone: Vec<ZoneConfig> = vec![],
        /// Transfers of zones into this server at one time.
        #[range(1..=1000)]
        pub transfers_in: u16 = 10,
        /// Largest zone taken from a primary, in octets that its records take in memory.
        #[range(ByteSize::kib(64)..=ByteSize::gib(16))]
        pub transfer_size: ByteSize = ByteSize::gib(1),
        /// Longest time a transfer from a primary may take.
        #[range(Duration::from_secs(1)..=Duration::from_secs(86_400))]
        pub transfer_time: Duration = Duration::from_secs(7200),
        /// Shortest time between two questions for a zone that a primary's SOA can ask for.
        #[range(Duration::from_secs(1)..=Duration::from_secs(86_400))]
        pub refresh_min: Duration = Duration::from_secs(60),
        /// Keys that messages are signed with (TSIG, RFC 8945).
        pub key: Vec<KeyConfig> = vec![],
        /// Access lists with names.
        pub acl: Vec<AclConfig> = vec![],
        /// Ways of signing, by name.
        pub policy: BTreeMap<String, PolicyConfig> = BTreeMap::new(),
        /// How many responses that are alike go to one network over UDP, so that this server is of
        /// no use to those who ask in another's name; without it, as many as are asked for.
        pub rate_limit: Option<RateLimitConfig> = None,
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
    /// A zone: from a file, from a file and what updates have made of it since, or from other
    /// servers.
    #[check(ZoneConfig::check_source, needs(file, primaries))]
    pub struct ZoneConfig {
        /// The zone's name.
        pub name: Spanned<DomainName>,
        /// Its zone file.
        ///
        /// Read at the start, and at a reload if it has changed. A file that it includes is looked
        /// for in the directory of the file that names it. A zone with `update` lives by its
        /// updates: edit its file between `omnid zone freeze` and `omnid zone thaw` only.
        pub file: Option<Spanned<PathBuf>>,
        /// Servers that have the zone: this one is a secondary then, and keeps its copy itself.
        pub primaries: Vec<PrimaryConfig> = vec![],
        /// Who may ask for its records: everybody without it.
        ///
        /// An access list, here and elsewhere: addresses and networks, `key NAME` for who signs
        /// with that key, `cert NAME` for who asks over TLS with a certificate for that name, `any`, `none`, `localhost` for this host's addresses, `localnets` for
        /// the networks it is in, the name of a [[dns.acl]]; with `!` in front who is kept out.
        /// The first entry that fits decides; whom none fits is kept out.
        pub query_from: Option<Vec<Spanned<String>>>,
        /// Who may say that a primary has changed, besides the primaries (an access list).
        pub notify_from: Vec<Spanned<String>> = vec![],
        /// Who may change the zone (RFC 2136).
        pub update: UpdateConfig = UpdateConfig::default(),
        /// Sign it: by the policy of this name, or `default`: one key of algorithm 13 that is never
        /// replaced, denial by NSEC, CDS and CDNSKEY for the parent.
        ///
        /// `insecure` ends the signing of a zone step by step; so does taking the key away.
        pub dnssec: Option<Spanned<String>> = None,
        /// Directory with the keys that BIND has signed the zone with: `K….key`, `.private` and
        /// `.state` files.
        ///
        /// They are read once, when the zone is first signed here, and taken over as they are.
        pub import_keys: Option<Spanned<PathBuf>> = None,
        /// Servers told of every change (RFC 1996).
        pub notify: Vec<SocketAddr> = vec![],
        /// Key that they are told with.
        pub notify_key: Option<Spanned<String>>,
        /// Who may have the whole zone.
        pub transfer: TransferConfig = TransferConfig::default(),
    }
}

omnid_config::section! {
    /// Zone transfers (RFC 5936).
    pub struct TransferConfig {
        /// Who may transfer the zone (an access list, as `query_from`).
        pub to: Vec<Spanned<String>> = vec![],
        /// Whether it is sent over TLS 1.3 only (RFC 9103).
        pub tls: bool = false,
    }
}

omnid_config::section! {
    /// Dynamic updates (RFC 2136).
    pub struct UpdateConfig {
        /// Who may change anything in the zone (an access list).
        pub from: Vec<Spanned<String>> = vec![],
        /// Who may change what, for whom `from` has no entry: `grant KEY SCOPE TYPE …` or `deny …`.
        ///
        /// KEY is a key's name, or a wildcard for many. SCOPE is one of `name NAME`, `subdomain
        /// NAME`, `wildcard NAME`, `zonesub` (all of the zone), `self` (the name that is the
        /// key's), `selfsub` (and all below it), `selfwild` (only what is below it). Without
        /// types all are meant but NS, SOA and those of DNSSEC; `ANY` means all. The first rule
        /// that fits decides.
        pub policy: Vec<Spanned<String>> = vec![],
    }
}

omnid_config::section! {
    /// Response rate limiting.
    ///
    /// Responses out of the zones over UDP are counted by the network that they go to, and by what
    /// they say: answers by name and type, those that a wildcard makes all as one; denials of names
    /// and referrals by zone; errors all as one. A client with a valid cookie (RFC 7873) is not
    /// limited, for its address is its own. What the resolver answers is not counted here.
    #[check(RateLimitConfig::check, needs(responses, referrals, nodata, nxdomains, errors, all))]
    pub struct RateLimitConfig {
        /// Responses of one kind in a second; without it, or with 0, any number.
        #[range(0..=1000)]
        pub responses: Option<u16> = None,
        /// Referrals to one zone in a second; as `responses` without it.
        #[range(0..=1000)]
        pub referrals: Option<u16> = None,
        /// Answers in a second that one name has no records of a type; as `responses` without it.
        #[range(0..=1000)]
        pub nodata: Option<u16> = None,
        /// Answers in a second that names are not in one zone; as `responses` without it.
        #[range(0..=1000)]
        pub nxdomains: Option<u16> = None,
        /// Errors in a second; as `responses` without it.
        #[range(0..=1000)]
        pub errors: Option<u16> = None,
        /// Responses of all kinds together in a second; what is beyond it is never sent cut short.
        #[range(0..=10_000)]
        pub all: Option<u16> = None,
        /// How long what is beyond the rate is held against a network.
        #[range(Duration::from_secs(1)..=Duration::from_secs(3600))]
        pub window: Duration = Duration::from_secs(15),
        /// Each so many-th response beyond the rate is sent cut short (TC), so that a client that
        /// is meant asks again over TCP; 1 is all of them, 0 none.
        #[range(0..=10)]
        pub slip: u8 = 2,
        /// Bits of an IPv4 address that make a network.
        #[range(1..=32)]
        pub ipv4_prefix: u8 = 24,
        /// Bits of an IPv6 address that make a network.
        #[range(1..=128)]
        pub ipv6_prefix: u8 = 56,
        /// Clients who are not limited (an access list, as `query_from`).
        pub exempt: Vec<Spanned<String>> = vec![],
        /// Log what would not be sent, and send it.
        pub log_only: bool = false,
        /// Kinds of responses and networks that are remembered, 24 octets each.
        #[range(1000..=10_000_000)]
        pub table_size: u32 = 100_000,
    }
}

omnid_config::section! {
    /// A server that a zone is transferred from.
    pub struct PrimaryConfig {
        /// Its address.
        pub address: SocketAddr,
        /// Key that requests to it are signed with.
        pub key: Option<Spanned<String>>,
        /// It is asked over TLS (RFC 9103): for the serial, and for the zone.
        pub tls: Option<PrimaryTlsConfig> = None,
    }
}

omnid_config::section! {
    /// A primary that is asked over TLS 1.3.
    pub struct PrimaryTlsConfig {
        /// The name that its certificate must be for; without it, that is its address.
        pub name: Option<DomainName> = None,
        /// PEM file of the authorities that may vouch for it.
        ///
        /// Without it, those that the system trusts.
        pub authorities: Option<Spanned<PathBuf>> = None,
        /// Whether its certificate is looked at. Without that, anybody in between may read along
        /// who takes the trouble to answer in its place; a `key` still says what is genuine.
        pub verify: bool = true,
        /// The name of the certificate of [tls] that is shown to it; none without it.
        pub certificate: Option<DomainName> = None,
    }
}

omnid_config::section! {
    /// A key shared with a peer.
    pub struct KeyConfig {
        /// Its name, the same on both sides.
        pub name: Spanned<String>,
        /// `hmac-sha1`, `hmac-sha224`, `hmac-sha256`, `hmac-sha384`, `hmac-sha512` or `hmac-md5`.
        pub algorithm: Spanned<String> = Spanned::from("hmac-sha256".to_owned()),
        /// The secret in base64, as `tsig-keygen` prints it.
        pub secret: Spanned<Secret>,
        /// Lets the algorithm be `hmac-md5`, which is for peers that know no other.
        pub legacy: bool = false,
    }
}

omnid_config::section! {
    /// An access list with a name.
    pub struct AclConfig {
        /// The name that other lists use.
        pub name: Spanned<String>,
        /// Its entries.
        #[key = "match"]
        pub entries: Vec<Spanned<String>>,
    }
}

impl RateLimitConfig {
    fn check(&self, problems: &mut Problems) {
        let rates = [
            self.responses,
            self.referrals,
            self.nodata,
            self.nxdomains,
            self.errors,
            self.all,
        ];
        if rates.iter().all(|rate| rate.is_none_or(|rate| rate == 0)) {
            problems.push(
                Problem::absence("dns.rate_limit limits nothing")
                    .help("set `responses`: 5 is strict, 20 leaves room for a busy resolver"),
            );
        }
    }
}

impl ZoneConfig {
    fn check_source(&self, problems: &mut Problems) {
        let span = self.name.span;
        let secondary = !self.primaries.is_empty();
        match &self.file {
            None if !secondary => problems.push(
                Problem::error(format!(
                    "zone {} has neither a file nor primaries",
                    self.name.value
                ))
                .at(span, "this zone")
                .help("name its `file`, or the servers it is transferred from in `primaries`"),
            ),
            Some(file) if secondary => problems.push(
                Problem::error(format!("zone {} has a file and primaries", self.name.value))
                    .at(file.span, "the file")
                    .help(
                        "the copy of a secondary is kept in the data directory; leave `file` out",
                    ),
            ),
            _ => {}
        }
        if secondary && self.is_dynamic() {
            problems.push(
                Problem::error(format!(
                    "zone {} is a secondary, which takes no updates",
                    self.name.value
                ))
                .at(span, "this zone"),
            );
        }
    }

    /// True of a zone that updates change.
    pub(crate) fn is_dynamic(&self) -> bool {
        !self.update.from.is_empty() || !self.update.policy.is_empty()
    }

    /// True of a zone that is transferred from other servers.
    pub(crate) fn is_secondary(&self) -> bool {
        !self.primaries.is_empty()
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

    fn check_signing(&self, problems: &mut Problems) {
        for dnssec in self.zone.iter().filter_map(|zone| zone.dnssec.as_ref()) {
            let name = dnssec.value.as_str();
            if !matches!(name, "default" | "insecure") && !self.policy.contains_key(name) {
                problems.push(
                    Problem::error(format!("there is no [dns.policy.{name}]"))
                        .at(dnssec.span, "no such policy")
                        .help("`dnssec = \"default\"` signs with the built-in policy"),
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

    fn check_https(&self, problems: &mut Problems) {
        let Some(path) = &self.https else { return };
        let plain = |octet: u8| octet.is_ascii_alphanumeric() || b"-._~/".contains(&octet);
        let text = path.value.as_str();
        let segments = text.strip_prefix('/').map(|rest| rest.split('/'));
        let is_path = segments.is_some_and(|mut segments| {
            segments.all(|segment| !matches!(segment, "" | "." | ".."))
        });
        if !is_path || !text.bytes().all(plain) {
            problems.push(
                Problem::error(format!("\"{text}\" is not a path for DNS over HTTPS"))
                    .at(path.span, "not such a path")
                    .help("write it like \"/dns-query\", which clients expect"),
            );
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
            ("[rate_limit]\nslip = 1", "dns.rate_limit limits nothing"),
            (
                "cookie_secret = 'abc'",
                "a cookie secret is 32 hexadecimal digits",
            ),
            (
                "https = '/dns-query{?dns}'",
                "is not a path for DNS over HTTPS",
            ),
            ("https = '/a/../b'", "is not a path for DNS over HTTPS"),
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

//! The `[dns.resolver]` section.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{ByteSize, DomainName, IpNet, Problem, Problems, Spanned};

use super::engine::dns64::Dns64;
use super::engine::network::{Carrier, Server};
use crate::wire::code::RrType;
use crate::wire::name::Name;
use crate::wire::record::OwnRecord;

omnid_config::section! {
    /// Answers about names outside the zones of this server.
    ///
    /// Where this section is, those whom `allow` names may ask about any name. Without `forward`
    /// the answers come from the zones' own servers, from the root down.
    #[check(ResolverConfig::check_forwarders, needs(forward, zone))]
    #[check(ResolverConfig::check_zones, needs(zone))]
    #[check(ResolverConfig::check_anchors, needs(trust_anchors))]
    #[check(ResolverConfig::check_dns64, needs(dns64))]
    #[check(ResolverConfig::check_times, needs(min_ttl, max_ttl))]
    pub struct ResolverConfig {
        /// Networks that may ask; others are answered from the zones alone.
        ///
        /// A resolver that is open to the world is used for attacks on others.
        pub allow: Vec<IpNet> = here(),
        /// Resolvers that are asked in place of the zones' own servers.
        ///
        /// Addresses such as "192.0.2.1", "192.0.2.1:5353", or for DNS over TLS
        /// "tls://192.0.2.1#dns.example.net" with the name in the server's certificate. The
        /// quickest is asked first, the others when it fails.
        pub forward: Vec<Spanned<String>> = vec![],
        /// Ask the zones' own servers where none of the forwarders answers.
        pub forward_first: bool = false,
        /// Names whose answers come from elsewhere.
        pub zone: Vec<ResolverZone> = vec![],
        /// A zone file with the servers of the root; without it, those of the Internet.
        pub root_hints: Option<Spanned<PathBuf>> = None,
        /// The port that zones' own servers are asked at; another than 53 is for test networks.
        #[range(1..=65535)]
        pub port: u16 = 53,
        /// Ask servers at IPv6 addresses.
        pub ipv6: bool = true,
        /// Validate answers with DNSSEC.
        pub validation: bool = true,
        /// Trust anchors: records such as ". DS 20326 8 2 E06D…" or "example. DNSKEY 257 3 13 …".
        ///
        /// Without one for the root, the keys of the Internet's root are trusted.
        pub trust_anchors: Vec<Spanned<String>> = vec![],
        /// Names that are not validated, nor anything below them: private ones for the most part,
        /// which the root of the Internet denies.
        pub validate_except: Vec<Spanned<DomainName>> = vec![],
        /// Follow the keys of trust anchors' zones as they change (RFC 5011).
        pub trust_anchor_rollover: bool = true,
        /// Answer here for private networks backwards and for special names (RFC 6303, RFC 6761).
        pub empty_zones: bool = true,
        /// A prefix that makes IPv6 addresses of IPv4 ones for hosts that have none (RFC 6147):
        /// "64:ff9b::/96".
        pub dns64: Option<Spanned<IpNet>> = None,
        /// Lists that replace answers (RPZ), those that go before others first.
        pub policy: Vec<ResolverPolicy> = vec![],
        /// Certificates of the authorities that vouch for forwarders over TLS, in PEM.
        ///
        /// Without it, those that the system trusts.
        pub tls_authorities: Option<Spanned<PathBuf>> = None,
        /// Tell servers only as much of a name as they need to know (RFC 9156).
        pub qname_minimisation: bool = true,
        /// Ask in letters of a case chosen by chance, which a forger would have to guess.
        ///
        /// Some servers do not repeat the case, and are then not understood.
        pub case_randomisation: bool = false,
        /// Memory for what was learned.
        #[range(ByteSize::mib(1)..=ByteSize::gib(1024))]
        pub cache_size: ByteSize = ByteSize::mib(64),
        /// Shortest time to live.
        #[range(Duration::from_secs(0)..=Duration::from_secs(3600))]
        pub min_ttl: Duration = Duration::from_secs(0),
        /// Longest time to live.
        #[range(Duration::from_secs(1)..=Duration::from_secs(604_800))]
        pub max_ttl: Duration = Duration::from_secs(86_400),
        /// Longest time that a name or type is remembered as missing (RFC 2308).
        #[range(Duration::from_secs(0)..=Duration::from_secs(86_400))]
        pub max_negative_ttl: Duration = Duration::from_secs(3600),
        /// Time that a failure is remembered (RFC 9520).
        #[range(Duration::from_secs(1)..=Duration::from_secs(300))]
        pub failure_ttl: Duration = Duration::from_secs(5),
        /// Fetch what is asked for often before it expires.
        pub prefetch: bool = true,
        /// How long past its time an answer may serve when the servers do not answer (RFC 8767).
        #[range(Duration::from_secs(0)..=Duration::from_secs(604_800))]
        pub serve_stale: Duration = Duration::from_secs(0),
        /// How long a client waits before it is given an answer past its time.
        #[range(Duration::from_millis(1)..=Duration::from_secs(10))]
        pub serve_stale_after: Duration = Duration::from_millis(1800),
        /// Messages sent for one question.
        #[range(10..=1000)]
        pub max_queries: u32 = 100,
        /// Aliases followed for one question.
        #[range(1..=64)]
        pub max_chain: u32 = 12,
        /// Queries under way to the servers of one zone.
        #[range(1..=100_000)]
        pub max_per_zone: u32 = 200,
        /// Questions of one client that are being found out; of IPv6, of its /64 network.
        #[range(1..=100_000)]
        pub max_per_client: u32 = 200,
        /// Questions a second of one client that are not in the cache; of IPv6, of its network.
        #[range(1..=1_000_000)]
        pub rate_per_client: u32 = 1000,
        /// Questions that are being found out, of all clients.
        #[range(1..=1_000_000)]
        pub max_questions: u32 = 10_000,
    }
}

omnid_config::section! {
    /// Where the answers about a name and all below it come from.
    ///
    /// Exactly one of `forward`, `stub` and `iterate` says where.
    pub struct ResolverZone {
        /// The name.
        pub name: Spanned<DomainName>,
        /// Resolvers that are asked.
        pub forward: Vec<Spanned<String>> = vec![],
        /// Ask the zone's own servers where none of these resolvers answers.
        pub forward_first: bool = false,
        /// Addresses of the zone's own servers, in place of those that the zone above names.
        pub stub: Vec<IpAddr> = vec![],
        /// The zone's own servers as the zones above name them, though a wider zone says otherwise.
        pub iterate: bool = false,
    }
}

omnid_config::section! {
    /// A response policy zone: rules by the name asked for, the address found, the servers of its
    /// zone, and the client.
    pub struct ResolverPolicy {
        /// The zone's name.
        pub name: Spanned<DomainName>,
        /// Its zone file; read at the start and at a reload.
        pub file: Spanned<PathBuf>,
        /// What its rules do.
        pub action: PolicyChoice = PolicyChoice::Given,
    }
}

omnid_config::choice! {
    /// What the rules of a list do.
    pub enum PolicyChoice {
        /// What each of them says.
        Given = "given",
        /// A line in the log, and nothing else.
        Log = "log",
        /// The name does not exist.
        NxDomain = "nxdomain",
        /// The name has no such data.
        NoData = "nodata",
        /// The answer is let be, whatever the lists behind this one say.
        PassThru = "passthru",
        /// There is no answer.
        Drop = "drop",
    }
}

fn here() -> Vec<IpNet> {
    let v4 = IpNet::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 0)), 8);
    let v6 = IpNet::new(IpAddr::V6(Ipv6Addr::LOCALHOST), 128);
    v4.into_iter().chain(v6).collect()
}

/// Reads a trust anchor.
pub(crate) fn anchor(text: &str) -> Option<(Name, RrType, Box<[u8]>)> {
    let (owner, rest) = text.trim().split_once(char::is_whitespace)?;
    let mut words = rest.split_whitespace();
    let mut kind = words.next()?;
    // A TTL and a class, as records out of a zone have them.
    while kind.eq_ignore_ascii_case("IN") || kind.bytes().all(|byte| byte.is_ascii_digit()) {
        kind = words.next()?;
    }
    let rr_type = RrType::from_text(kind.as_bytes())?;
    if !matches!(rr_type, RrType::DS | RrType::DNSKEY) {
        return None;
    }
    let data = words.collect::<Vec<_>>().join(" ");
    let record = OwnRecord::from_text(Name::from_text(owner).ok()?, rr_type, 0, &data).ok()?;
    Some((record.owner, rr_type, record.rdata.into()))
}

/// Reads the address of a forwarder.
pub(crate) fn server(text: &str) -> Option<Server> {
    let (tls, rest) = match text.strip_prefix("tls://") {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (address, name) = match rest.split_once('#') {
        Some((address, name)) if tls && !name.is_empty() => (address, Some(name)),
        Some(_) => return None,
        None => (rest, None),
    };
    let port = if tls { 853 } else { 53 };
    let bare = address
        .strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(address);
    let address = match bare.parse::<IpAddr>() {
        Ok(address) => SocketAddr::new(address, port),
        Err(_) => address.parse().ok()?,
    };
    let carrier = if tls {
        Carrier::Tls(name.map(Into::into))
    } else {
        Carrier::Udp
    };
    Some(Server {
        address,
        carrier,
        name: name.and_then(|name| Name::from_text(name).ok()),
    })
}

impl ResolverConfig {
    fn check_forwarders(&self, problems: &mut Problems) {
        let of_zones = self.zone.iter().flat_map(|zone| &zone.forward);
        for text in self.forward.iter().chain(of_zones) {
            if server(&text.value).is_none() {
                let message = format!("\"{}\" is not a forwarder's address", text.value);
                problems.push(
                    Problem::error(message)
                        .at(text.span, "not an address")
                        .help(
                            "write it like \"192.0.2.1\", \"[2001:db8::1]:5353\" or \
                             \"tls://192.0.2.1#dns.example.net\"",
                        ),
                );
            }
        }
    }

    fn check_zones(&self, problems: &mut Problems) {
        for (index, zone) in self.zone.iter().enumerate() {
            let ways = [
                !zone.forward.is_empty(),
                !zone.stub.is_empty(),
                zone.iterate,
            ];
            let name = &zone.name.value;
            if ways.iter().filter(|way| **way).count() != 1 {
                let message = format!("where answers about {name} come from is not clear");
                problems.push(
                    Problem::error(message)
                        .at(zone.name.span, "this name")
                        .help("give it exactly one of forward, stub and iterate = true"),
                );
            }
            let same = |other: &&ResolverZone| other.name == zone.name;
            if let Some(first) = self.zone.iter().take(index).find(same) {
                problems.push(
                    Problem::error(format!("{name} is there twice"))
                        .at(zone.name.span, "again here")
                        .also(first.name.span, "first here"),
                );
            }
        }
    }

    fn check_anchors(&self, problems: &mut Problems) {
        for text in &self.trust_anchors {
            if anchor(&text.value).is_none() {
                problems.push(
                    Problem::error("this is not a trust anchor")
                        .at(text.span, "no DS or DNSKEY record")
                        .help("write it like \". DS 20326 8 2 E06D44B80B8F1D39A95C0B0D7C65…\""),
                );
            }
        }
    }

    fn check_dns64(&self, problems: &mut Problems) {
        if let Some(prefix) = &self.dns64
            && Dns64::new(prefix.value).is_none()
        {
            problems.push(
                Problem::error("this is not a prefix for DNS64")
                    .at(prefix.span, "not such a prefix")
                    .help(
                        "one of IPv6 of 32, 40, 48, 56, 64 or 96 bits, with the ninth octet zero, \
                         such as \"64:ff9b::/96\"",
                    ),
            );
        }
    }

    fn check_times(&self, problems: &mut Problems) {
        if self.min_ttl > self.max_ttl {
            problems.push(Problem::error("min_ttl is longer than max_ttl"));
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn forwarders() {
        let shown = |text: &str| {
            server(text).map(|server| format!("{} {:?}", server.address, server.carrier))
        };
        let cases = [
            ("192.0.2.1", Some("192.0.2.1:53 Udp")),
            ("192.0.2.1:5353", Some("192.0.2.1:5353 Udp")),
            ("2001:db8::1", Some("[2001:db8::1]:53 Udp")),
            ("[2001:db8::1]", Some("[2001:db8::1]:53 Udp")),
            ("[2001:db8::1]:99", Some("[2001:db8::1]:99 Udp")),
            ("tls://192.0.2.1", Some("192.0.2.1:853 Tls(None)")),
            (
                "tls://192.0.2.1#a.example",
                Some("192.0.2.1:853 Tls(Some(\"a.example\"))"),
            ),
            ("192.0.2.1#a.example", None),
            ("tls://192.0.2.1#", None),
            ("dns.example", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(shown(text).as_deref(), expected, "{text}");
        }
    }

    #[test]
    fn closed_by_default_and_faults_are_found() {
        let config = omnid_config::load_str::<ResolverConfig>("").unwrap().value;
        let allows = |text: &str| {
            let address = text.parse().unwrap();
            config.allow.iter().any(|network| network.contains(address))
        };
        assert!(allows("127.0.0.1") && allows("127.3.2.1") && allows("::1"));
        assert!(!allows("192.0.2.1") && !allows("10.0.0.1") && !allows("2001:db8::1"));
        let cases = [
            ("forward = ['dns.example']", "is not a forwarder's address"),
            (
                "[[zone]]\nname = 'a'",
                "where answers about a come from is not clear",
            ),
            (
                "[[zone]]\nname = 'a'\niterate = true\nstub = ['192.0.2.1']",
                "is not clear",
            ),
            (
                "[[zone]]\nname = 'a'\niterate = true\n[[zone]]\nname = 'A'\niterate = true",
                "a is there twice",
            ),
            ("dns64 = '64:ff9b::/90'", "this is not a prefix for DNS64"),
            (
                "trust_anchors = ['. DS 1 8 2 xyz']",
                "this is not a trust anchor",
            ),
            (
                "trust_anchors = ['. A 192.0.2.1']",
                "this is not a trust anchor",
            ),
            (
                "min_ttl = '1h'\nmax_ttl = '1m'",
                "min_ttl is longer than max_ttl",
            ),
        ];
        for (text, message) in cases {
            let report = omnid_config::load_str::<ResolverConfig>(text)
                .unwrap_err()
                .render(false);
            assert!(report.contains(message), "{report}");
        }
    }
}

//! The `[sip]` section.

use std::{sync::Arc, time::Duration};

use omnid_config::{ByteSize, DomainName, ListenAddr, Problem, Problems, Spanned};
use omnid_ground::Prepare;
use omnid_identity::DigestAlgorithm;

use crate::{
    engine::{RegistrarPolicy, Settings, Timers},
    plan::{self, CalendarConfig, ClassConfig, GroupConfig, RouteConfig, UserConfig},
    trunk::{self, TrunkConfig},
    wire::Limits,
};

omnid_config::section! {
    /// Telephones and calls.
    #[check(Config::check_addresses, needs(listen, listen_tls))]
    #[check(Config::check_digest, needs(digest))]
    #[check(Config::check_advertised, needs(advertised))]
    pub struct Config {
        /// Addresses for UDP and TCP.
        pub listen: Vec<Spanned<ListenAddr>> = vec![Spanned::from(ListenAddr::any(5060))],
        /// Addresses for TLS.
        pub listen_tls: Vec<Spanned<ListenAddr>> = vec![],
        /// Domains whose users are registered here.
        ///
        /// Without it, every [[domain]]. The first one is also what this server's bare addresses
        /// stand for, so that a phone may be given an address as its domain.
        pub domains: Vec<Spanned<DomainName>> = vec![],
        /// Name or address that phones reach this server by, where they cannot by its own.
        ///
        /// Written into Via and Record-Route instead of the address that a message came in at: for
        /// a server behind a NAT that forwards its ports.
        pub advertised: Option<Spanned<String>> = None,
        /// Digest algorithms offered, the preferred one first.
        pub digest: Vec<Spanned<Digest>> = vec![Digest::Sha256.into(), Digest::Md5.into()],
        /// How long a phone may take to answer a challenge.
        #[range(Duration::from_secs(5)..=Duration::from_secs(3600))]
        pub nonce_life: Duration = Duration::from_secs(30),
        /// How long a phone may ring before the call is given up.
        #[range(Duration::from_secs(1)..=Duration::from_secs(3600))]
        pub ring_timeout: Duration = Duration::from_secs(180),
        /// How long a TCP or TLS connection may lie idle.
        ///
        /// Phones behind a NAT are reached over the connection that they registered on, so this is
        /// longer than a registration lasts.
        #[range(Duration::from_secs(10)..=Duration::from_secs(86400))]
        pub idle_timeout: Duration = Duration::from_secs(3 * 3600),
        /// What Server says in responses; nothing where it is empty.
        pub server: String = "omnid".to_owned(),
        /// What the registrar allows.
        pub registrar: RegistrarConfig = RegistrarConfig::default(),
        /// Bounds on what peers may send and have open.
        pub limits: LimitsConfig = LimitsConfig::default(),
        /// Where calls to numbers go.
        pub route: Vec<RouteConfig> = vec![],
        /// Accounts that are rung together.
        pub group: Vec<GroupConfig> = vec![],
        /// Ways to telephones elsewhere.
        pub trunk: Vec<TrunkConfig> = vec![],
        /// What is particular to accounts.
        pub user: Vec<UserConfig> = vec![],
        /// What accounts may call through trunks.
        pub class: Vec<ClassConfig> = vec![],
        /// The class of accounts without one of their own; without it they may call nothing there.
        pub default_class: Option<Spanned<String>> = None,
        /// Hours, for routes that are not always the same.
        pub calendar: Vec<CalendarConfig> = vec![],
        /// Numbers that everybody may call through the trunk that their route leads to.
        pub emergency: Vec<Spanned<String>> = vec!["112".to_owned().into(), "911".to_owned().into()],
        /// RFC 3261's basic times.
        pub timers: TimersConfig = TimersConfig::default(),
    }
}

omnid_config::section! {
    /// What the registrar allows.
    #[check(RegistrarConfig::check)]
    pub struct RegistrarConfig {
        /// Shortest registration; a shorter one is refused with 423.
        pub min_expires: Spanned<Duration> = Spanned::from(Duration::from_secs(60)),
        /// Longest registration; a longer one is cut to it.
        pub max_expires: Spanned<Duration> = Spanned::from(Duration::from_secs(7200)),
        /// Registration of a phone that does not say how long.
        pub default_expires: Spanned<Duration> = Spanned::from(Duration::from_secs(3600)),
        /// Contacts that a user may have registered at once.
        #[range(1..=100)]
        pub max_contacts: u16 = 10,
        /// Let a contact too many push out the oldest, instead of refusing it.
        pub remove_existing: bool = false,
    }
}

omnid_config::section! {
    /// Bounds on what peers may send and have open.
    pub struct LimitsConfig {
        /// Largest message over TCP or TLS; a longer one closes the connection.
        #[range(ByteSize::kib(4)..=ByteSize::mib(1))]
        pub message: ByteSize = ByteSize::kib(128),
        /// Header lines in a message.
        #[range(16..=256)]
        pub headers: u16 = 64,
        /// Via values in a message.
        #[range(1..=70)]
        pub vias: u16 = 40,
        /// Phones of one user that are called at once.
        #[range(1..=100)]
        pub forks: u16 = 10,
        /// Requests a second from one source (IPv6: a /64) without proof of who sent them.
        ///
        /// Four seconds' worth may come at once. What is beyond is not answered.
        #[range(1..=1_000_000)]
        pub unauthenticated_per_second: u32 = 50,
        /// Open transactions of one source.
        #[range(1..=1_000_000)]
        pub transactions_per_source: u32 = 4096,
        /// Open transactions in all; beyond them, requests are refused with 503.
        #[range(100..=10_000_000)]
        pub transactions: u32 = 200_000,
        /// Calls that are followed.
        #[range(10..=10_000_000)]
        pub calls: u32 = 100_000,
    }
}

omnid_config::section! {
    /// RFC 3261's basic times. All others follow from them.
    pub struct TimersConfig {
        /// Estimate of a round trip; 64 times as long a request is tried.
        #[range(Duration::from_millis(20)..=Duration::from_secs(4))]
        pub t1: Duration = Duration::from_millis(500),
        /// Longest pause between retransmissions of anything but INVITE.
        #[range(Duration::from_millis(20)..=Duration::from_secs(32))]
        pub t2: Duration = Duration::from_secs(4),
        /// How long a message can linger in the network.
        #[range(Duration::from_millis(20)..=Duration::from_secs(32))]
        pub t4: Duration = Duration::from_secs(5),
    }
}

omnid_config::choice! {
    /// A digest algorithm.
    pub enum Digest {
        /// RFC 8760.
        Sha256 = "SHA-256",
        /// What phones of the last twenty years speak.
        Md5 = "MD5",
    }
}

impl Config {
    fn check_addresses(&self, problems: &mut Problems) {
        for address in self.listen.iter().chain(&self.listen_tls) {
            if address.value.ip().is_none() {
                problems.push(
                    Problem::error("SIP needs an IP address to listen on")
                        .at(address.span, "not an IP address")
                        .help("write it like \"[::]:5060\" or \"192.0.2.10:5060\""),
                );
            }
        }
    }

    fn check_digest(&self, problems: &mut Problems) {
        if self.digest.is_empty() {
            problems.push(
                Problem::error("with no digest algorithm nobody can register")
                    .help("leave `digest` out, or name \"SHA-256\", \"MD5\" or both"),
            );
        }
        for (index, algorithm) in self.digest.iter().enumerate() {
            let same = |other: &&Spanned<Digest>| other.value == algorithm.value;
            if let Some(first) = self.digest.iter().take(index).find(same) {
                problems.push(
                    Problem::error(format!("{} is offered twice", algorithm.value.as_str()))
                        .at(algorithm.span, "again")
                        .also(first.span, "first here"),
                );
            }
        }
    }

    fn check_advertised(&self, problems: &mut Problems) {
        let Some(advertised) = &self.advertised else {
            return;
        };
        let text = advertised.value.as_str();
        let is_host = !text.contains(':')
            && text
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
            && !text.is_empty();
        let is_v6 = text
            .strip_prefix('[')
            .and_then(|text| text.strip_suffix(']'))
            .is_some_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        if !is_host && !is_v6 {
            problems.push(
                Problem::error("not a name or an address that phones can be told")
                    .at(advertised.span, "not a host")
                    .help("write it like \"sip.example.org\", \"192.0.2.10\" or \"[2001:db8::10]\", without a port"),
            );
        }
    }
}

impl RegistrarConfig {
    fn check(&self, problems: &mut Problems) {
        for (name, key) in [
            ("min_expires", &self.min_expires),
            ("default_expires", &self.default_expires),
        ] {
            if key.value > self.max_expires.value {
                problems.push(
                    Problem::error(format!("{name} is longer than max_expires"))
                        .at(key.span, "longer than what is allowed")
                        .also(self.max_expires.span, "what is allowed"),
                );
            }
        }
    }
}

/// What a configuration stands for; ports and shards are filled in where it runs.
pub(crate) fn settings(
    config: &Config,
    context: &Prepare<'_>,
    problems: &mut Problems,
) -> Settings {
    let named = config.domains.iter().map(|domain| &domain.value);
    let all = context.domains.iter().map(|domain| &domain.name.value);
    let lower = |domain: &DomainName| domain.as_str().to_ascii_lowercase();
    let domains: Vec<String> = if config.domains.is_empty() {
        all.map(lower).collect()
    } else {
        named.map(lower).collect()
    };
    let seconds =
        |time: &Spanned<Duration>| u32::try_from(time.value.as_secs()).unwrap_or(u32::MAX);
    let registrar = &config.registrar;
    let limits = &config.limits;
    let count = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Settings {
        hosts: vec![context.server.hostname.as_str().to_ascii_lowercase()],
        advertised: config.advertised.as_ref().map(|host| host.value.clone()),
        ports: Vec::new(),
        server: config.server.clone(),
        plan: Arc::new(plan::compile(
            config,
            domains.first().map_or("", String::as_str),
            problems,
        )),
        trunks: trunk::compile(&config.trunk, problems)
            .into_iter()
            .map(Arc::new)
            .collect(),
        timers: Timers {
            t1: config.timers.t1,
            t2: config.timers.t2,
            t4: config.timers.t4,
        },
        limits: Limits {
            headers: limits.headers.into(),
            vias: limits.vias.into(),
            stream_message: usize::try_from(limits.message.bytes()).unwrap_or(usize::MAX),
        },
        algorithms: config
            .digest
            .iter()
            .map(|digest| match digest.value {
                Digest::Sha256 => DigestAlgorithm::Sha256,
                Digest::Md5 => DigestAlgorithm::Md5,
            })
            .collect(),
        nonce_life: config.nonce_life,
        registrar: RegistrarPolicy {
            min_expires: seconds(&registrar.min_expires),
            max_expires: seconds(&registrar.max_expires),
            default_expires: seconds(&registrar.default_expires),
            max_contacts: registrar.max_contacts.into(),
            remove_existing: registrar.remove_existing,
        },
        ring_timeout: config.ring_timeout,
        forks: limits.forks.into(),
        transactions_per_source: count(limits.transactions_per_source),
        transactions: count(limits.transactions),
        calls: count(limits.calls),
        unauthenticated_per_second: limits.unauthenticated_per_second,
        domains,
    }
}

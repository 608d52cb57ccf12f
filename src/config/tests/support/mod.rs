//! A config like the daemon's in small: every kind of value, section and check.

// Each test uses a part of it.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{
    ByteSize, DomainName, IpNet, ListenAddr, Problem, Problems, Secret, Spanned, Url, check,
    choice, section,
};

section! {
    /// Everything in `omnid.toml`.
    #[check(check_domains, needs(domain))]
    #[check(check_hosts, needs(domain, xmpp))]
    #[check(check_listeners, needs(dns, http, sip, admin))]
    pub struct Root {
        /// This machine.
        pub server: Server = Server::default(),
        /// A domain that this server answers for.
        pub domain: Vec<Domain> = vec![],
        /// What is logged, and how.
        pub log: Log = Log::default(),
        /// Certificates.
        pub tls: Option<Tls> = None,
        /// DNS.
        pub dns: Option<Dns> = None,
        /// Web sites.
        pub http: Option<Http> = None,
        /// Telephony.
        pub sip: Option<Sip> = None,
        /// Chat.
        pub xmpp: Option<Xmpp> = None,
        /// Control.
        pub admin: Admin = Admin::default(),
    }
}

section! {
    /// This machine.
    pub struct Server {
        /// Its name to the world.
        pub hostname: DomainName = DomainName::localhost(),
        /// Its addresses, as published.
        pub addresses: Vec<IpAddr> = vec![],
        /// Where everything is kept.
        pub data_dir: PathBuf = "/var/lib/omnid".into(),
        /// How long a shutdown may take.
        #[range(Duration::ZERO..=Duration::from_secs(600))]
        pub shutdown: Duration = Duration::from_secs(30),
    }
}

section! {
    /// A domain.
    pub struct Domain {
        /// Its name.
        pub name: Spanned<DomainName>,
        /// Whether its services' records appear in its zone.
        pub publish: bool = false,
    }
}

choice! {
    /// How much is logged.
    pub enum Level {
        Error = "error",
        Warn = "warn",
        Info = "info",
        Debug = "debug",
    }
}

choice! {
    /// How a log is written.
    pub enum Format {
        /// Lines for people.
        Text = "text",
        /// An object a line.
        Json = "json",
    }
}

section! {
    /// The log.
    pub struct Log {
        /// How much is logged.
        pub level: Level = Level::Info,
        /// How it is written.
        pub format: Format = Format::Text,
        /// Levels of parts of the program.
        pub targets: BTreeMap<String, Level> = BTreeMap::new(),
        /// How much of it is kept, from none (0) to all (1).
        #[range(0.0..=1.0)]
        pub sample: f64 = 1.0,
    }
}

section! {
    /// Certificates and keys.
    #[check(check_tls, needs(self_signed, directory))]
    pub struct Tls {
        /// Certificates in files.
        pub certificates: Vec<Certificate> = vec![],
        /// Makes certificates of its own; for development.
        pub self_signed: Option<Spanned<bool>> = None,
        /// A directory of certificates.
        pub directory: Option<Spanned<PathBuf>> = None,
    }
}

fn check_tls(tls: &Tls, problems: &mut Problems) {
    let set = |span: &Spanned<bool>| span.value.then_some(span.span);
    check::exclusive(
        &[
            ("self_signed", tls.self_signed.as_ref().and_then(set)),
            (
                "directory",
                tls.directory.as_ref().map(|directory| directory.span),
            ),
        ],
        problems,
    );
    if let Some(directory) = &tls.directory {
        check::directory("directory of certificates", directory, problems);
    }
}

fn check_certificate(certificate: &Certificate, problems: &mut Problems) {
    check::file("certificate", &certificate.cert, problems);
}

section! {
    /// A certificate.
    #[check(check_certificate, needs(cert))]
    pub struct Certificate {
        /// The chain, in PEM.
        pub cert: Spanned<PathBuf>,
        /// Its key.
        pub key: Secret,
    }
}

section! {
    /// Names and addresses.
    #[check(check_dns)]
    pub struct Dns {
        /// UDP and TCP addresses.
        pub listen: Vec<Spanned<ListenAddr>> = vec![ListenAddr::any(53).into()],
        /// Names looked up for others.
        pub resolver: Option<Resolver> = None,
        /// A zone.
        pub zone: Vec<Zone> = vec![],
        /// A key for transfers.
        pub key: Vec<Key> = vec![],
        /// Who may ask.
        pub policy: BTreeMap<String, Policy> = BTreeMap::new(),
    }
}

section! {
    /// The resolver.
    pub struct Resolver {
        /// Who is asked instead of the root.
        pub forward: Vec<SocketAddr> = vec![],
        /// How long an answer is waited for.
        #[range(Duration::from_millis(100)..=Duration::from_secs(30))]
        pub timeout: Duration = Duration::from_secs(5),
        /// How much is remembered.
        #[range(ByteSize::mib(1)..)]
        pub cache: ByteSize = ByteSize::mib(64),
    }
}

section! {
    /// A zone.
    pub struct Zone {
        /// Its name.
        pub name: Spanned<DomainName>,
        /// Its master file.
        pub file: Spanned<PathBuf>,
        /// What its records' time to live is, in seconds, where they do not say.
        #[range(0..=2_147_483_647)]
        pub ttl: u32 = 3600,
        /// Who may copy it.
        pub transfer: Option<Transfer> = None,
    }
}

section! {
    /// Transfers of a zone.
    pub struct Transfer {
        /// Networks that may.
        pub to: Vec<IpNet> = vec![],
        /// The key that they must know.
        pub key: Option<Spanned<String>> = None,
    }
}

section! {
    /// A key.
    pub struct Key {
        /// Its name.
        pub name: Spanned<String>,
        /// What is shared.
        pub secret: Secret,
    }
}

section! {
    /// A policy.
    pub struct Policy {
        /// Networks that may ask.
        pub allow: Vec<IpNet> = vec![],
        /// How many answers a second, at most.
        #[range(1..)]
        pub rate: Option<u32> = None,
    }
}

section! {
    /// Web sites.
    pub struct Http {
        /// Addresses without TLS.
        pub listen: Vec<Spanned<ListenAddr>> = vec![],
        /// Addresses with TLS.
        pub listen_tls: Vec<Spanned<ListenAddr>> = vec![],
        /// Largest body that is accepted.
        pub max_body: ByteSize = ByteSize::mib(10),
        /// A site.
        pub site: Vec<Site> = vec![],
    }
}

section! {
    /// A site.
    #[check(check_site, needs(root))]
    pub struct Site {
        /// Names that it answers to.
        pub hosts: Vec<Spanned<DomainName>>,
        /// Where its files are.
        pub root: Option<Spanned<PathBuf>> = None,
        /// A part of it that is served otherwise.
        pub route: Vec<Route> = vec![],
    }
}

section! {
    /// A route.
    pub struct Route {
        /// The paths that it is for.
        pub path: String,
        /// Where requests go on to.
        pub proxy: Vec<Url> = vec![],
    }
}

section! {
    /// Telephony.
    #[check(check_sip, needs(group, route))]
    pub struct Sip {
        /// UDP and TCP addresses.
        pub listen: Vec<Spanned<ListenAddr>> = vec![ListenAddr::any(5060).into()],
        /// A group of phones.
        pub group: Vec<Group> = vec![],
        /// Where calls go.
        pub route: Vec<CallRoute> = vec![],
        /// A provider.
        pub trunk: Vec<Trunk> = vec![],
    }
}

section! {
    /// A group.
    pub struct Group {
        /// Its name.
        pub name: Spanned<String>,
        /// Its members.
        pub members: Vec<String>,
    }
}

section! {
    /// A route.
    pub struct CallRoute {
        /// The number called.
        pub number: String,
        /// The group that rings.
        pub group: Spanned<String>,
    }
}

section! {
    /// A trunk.
    pub struct Trunk {
        /// Its kind.
        #[key = "type"]
        pub kind: TrunkKind,
        /// Its host.
        pub host: DomainName,
        /// Its port.
        #[range(1..=65535)]
        pub port: u16 = 5060,
        /// Its password.
        pub password: Option<Secret> = None,
    }
}

choice! {
    /// How a trunk is told who we are.
    pub enum TrunkKind {
        Register = "register",
        Peer = "peer",
    }
}

section! {
    /// Chat.
    pub struct Xmpp {
        /// Domains that it serves.
        pub hosts: Vec<Spanned<String>>,
        /// Rooms.
        pub rooms: Option<Rooms> = None,
        /// Seconds between pings.
        pub ping: Option<Duration> = None,
    }
}

section! {
    /// Rooms.
    pub struct Rooms {
        /// Their domain.
        pub host: DomainName,
    }
}

section! {
    /// Control.
    pub struct Admin {
        /// The socket that commands come by.
        pub socket: ListenAddr = ListenAddr::Unix("/run/omnid/omnid.sock".into()),
        /// Addresses of the console.
        pub listen: Vec<Spanned<ListenAddr>> = vec![],
    }
}

fn check_domains(root: &Root, problems: &mut Problems) {
    let names = root
        .domain
        .iter()
        .map(|domain| (&*domain.name.value, domain.name.span));
    check::unique("domain", names, problems);
}

fn check_hosts(root: &Root, problems: &mut Problems) {
    for host in root.xmpp.iter().flat_map(|xmpp| &xmpp.hosts) {
        let domains = root.domain.iter().map(|domain| domain.name.as_str());
        check::reference("domain", host, domains, problems);
    }
}

fn check_listeners(root: &Root, problems: &mut Problems) {
    let mut listeners = Vec::new();
    if let Some(dns) = &root.dns {
        listeners.extend(
            dns.listen
                .iter()
                .map(|address| ("dns.listen", "tcp", address)),
        );
    }
    if let Some(http) = &root.http {
        listeners.extend(
            http.listen
                .iter()
                .map(|address| ("http.listen", "tcp", address)),
        );
        listeners.extend(
            http.listen_tls
                .iter()
                .map(|address| ("http.listen_tls", "tcp", address)),
        );
    }
    if let Some(sip) = &root.sip {
        listeners.extend(
            sip.listen
                .iter()
                .map(|address| ("sip.listen", "tcp", address)),
        );
    }
    listeners.extend(
        root.admin
            .listen
            .iter()
            .map(|address| ("admin.listen", "tcp", address)),
    );
    check::listeners(listeners, problems);
}

fn check_site(site: &Site, problems: &mut Problems) {
    if let Some(root) = &site.root {
        check::directory("document root", root, problems);
    }
}

fn check_sip(sip: &Sip, problems: &mut Problems) {
    for route in &sip.route {
        let groups = sip.group.iter().map(|group| group.name.as_str());
        check::reference("group", &route.group, groups, problems);
    }
}

fn check_dns(dns: &Dns, problems: &mut Problems) {
    check::unique(
        "zone",
        dns.zone.iter().map(|z| (&*z.name.value, z.name.span)),
        problems,
    );
    check::unique(
        "key",
        dns.key.iter().map(|key| (&*key.name.value, key.name.span)),
        problems,
    );
    for zone in &dns.zone {
        check::file("zone file", &zone.file, problems);
        if let Some(key) = zone
            .transfer
            .as_ref()
            .and_then(|transfer| transfer.key.as_ref())
        {
            let keys = dns.key.iter().map(|key| key.name.as_str());
            check::reference("key", key, keys, problems);
        }
        if zone
            .transfer
            .as_ref()
            .is_some_and(|transfer| transfer.to.is_empty())
        {
            let problem = Problem::warning("nobody may copy this zone");
            problems.push(problem.at(zone.transfer.as_ref().and_then(|t| t.place.span()), ""));
        }
    }
}

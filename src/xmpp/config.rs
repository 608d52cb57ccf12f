//! `[xmpp]`.

use std::{
    collections::{BTreeMap, HashSet},
    path::PathBuf,
    time::Duration,
};

use omnid_config::{ByteSize, DomainName, ListenAddr, Problem, Problems, Spanned};

use crate::{features, wire::BareJid};

omnid_config::section! {
    /// XMPP: messages, presence and rosters for accounts.
    #[check(check_disabled, needs(disable))]
    pub struct Config {
        /// Domains served. Empty means every [[domain]].
        pub hosts: Vec<Spanned<DomainName>> = vec![],
        /// Addresses for clients that begin in clear and go on in TLS (STARTTLS).
        ///
        /// Nothing but STARTTLS is accepted in clear: no password ever is.
        pub listen: Vec<Spanned<ListenAddr>> = every_address(5222),
        /// Addresses for clients that begin with TLS.
        pub listen_tls: Vec<Spanned<ListenAddr>> = every_address(5223),
        /// Features switched off, by name.
        pub disable: Vec<Spanned<String>> = vec![],
        /// How long a client may take to log in.
        #[range(Duration::from_secs(1)..=Duration::from_secs(600))]
        pub login_timeout: Duration = Duration::from_secs(30),
        /// Bytes of one stanza.
        #[range(ByteSize::kib(10)..=ByteSize::mib(16))]
        pub stanza_size: ByteSize = ByteSize::kib(256),
        /// Bytes that may wait for a client that does not read; past them its stream is closed.
        #[range(ByteSize::kib(64)..=ByteSize::mib(256))]
        pub output_size: ByteSize = ByteSize::mib(1),
        /// Messages kept for an account while it is away.
        #[range(0..=100_000)]
        pub offline_messages: u32 = 100,
        /// How long a session whose connection broke can be resumed.
        #[range(Duration::ZERO..=Duration::from_secs(24 * 3600))]
        pub resume_timeout: Duration = Duration::from_secs(600),
        /// How long a token counts that a client got to log in without its password (XEP-0484).
        /// Clients that log in get another in time; a new password makes all void.
        #[range(Duration::from_secs(60)..=Duration::from_secs(366 * 86_400))]
        pub token_lifetime: Duration = Duration::from_secs(21 * 86_400),
        /// Bytes that may wait, in all, for clients whose connection broke; past them the sessions
        /// that have been gone longest end, and their messages are kept as for an account away.
        #[range(ByteSize::mib(1)..=ByteSize::gib(64))]
        pub resume_memory: ByteSize = ByteSize::mib(256),
        /// Archives of messages.
        pub archive: ArchiveConfig = ArchiveConfig::default(),
        /// Rooms.
        pub rooms: RoomsConfig = RoomsConfig::default(),
        /// Files that accounts upload.
        pub upload: UploadConfig = UploadConfig::default(),
        /// Other servers.
        pub s2s: S2sConfig = S2sConfig::default(),
        /// Addresses for components, which have no TLS: keep them on this host.
        pub listen_components: Vec<Spanned<ListenAddr>> = vec![],
        /// Programs that serve domains of their own through this server (XEP-0114).
        pub component: Vec<ComponentConfig> = vec![],
        /// Silence after which a byte is sent, to find out whether a client is still there.
        #[range(Duration::from_secs(10)..=Duration::from_secs(24 * 3600))]
        pub keepalive: Duration = Duration::from_secs(180),
    }
}

omnid_config::section! {
    /// Archives of messages, from which clients catch up.
    pub struct ArchiveConfig {
        /// How long messages are kept in archives.
        #[range(Duration::from_secs(3600)..=Duration::from_secs(100 * 365 * 86_400))]
        pub keep: Duration = Duration::from_secs(90 * 86_400),
    }
}

omnid_config::section! {
    /// Rooms, where many talk with each other.
    pub struct RoomsConfig {
        /// Domains of rooms. Empty means one for each domain served: "rooms." and its name.
        pub hosts: Vec<Spanned<DomainName>> = vec![],
        /// Rooms that one account can have made: those that are kept, and those that are open now.
        #[range(0..=100_000)]
        pub per_account: u32 = 20,
        /// Occupants of one room. Its admins can always enter.
        #[range(1..=100_000)]
        pub occupants: u32 = 500,
        /// Messages that those who enter are shown, unless the room's owner says otherwise.
        #[range(0..=100)]
        pub history: u32 = 20,
    }
}

omnid_config::section! {
    /// Files that accounts upload for others to get, over HTTP (XEP-0363).
    #[check(check_url, needs(url))]
    pub struct UploadConfig {
        /// Where they are put and got, such as "https://example.org/upload": a site of [http] with
        /// that host, whose mounts include the path. Without it nothing can be uploaded.
        pub url: Option<Spanned<String>> = None,
        /// Bytes of one file. Sixteen more are allowed, which encryption adds.
        #[range(ByteSize::kib(1)..=ByteSize::gib(64))]
        pub file_size: ByteSize = ByteSize::mib(100),
        /// Bytes of all files of one account.
        #[range(ByteSize::kib(1)..=ByteSize::gib(16384))]
        pub account_size: ByteSize = ByteSize::gib(1),
        /// How long files are kept.
        #[range(Duration::from_secs(3600)..=Duration::from_secs(100 * 365 * 86_400))]
        pub keep: Duration = Duration::from_secs(30 * 86_400),
    }
}

omnid_config::section! {
    /// Other servers: which are spoken with, and what they must prove.
    pub struct S2sConfig {
        /// Addresses for servers that begin in clear and go on in TLS; 5269 is where they look.
        ///
        /// Without any, and without routes, no other server is spoken with.
        pub listen: Vec<Spanned<ListenAddr>> = vec![],
        /// Addresses for servers that begin with TLS (XEP-0368).
        pub listen_tls: Vec<Spanned<ListenAddr>> = vec![],
        /// Where servers are: a domain and its addresses in order, "host:port", or
        /// "tls://host:port" where TLS comes first. Other domains are looked for at port 5269 of
        /// their name.
        pub routes: BTreeMap<String, Vec<Spanned<String>>> = BTreeMap::new(),
        /// File of the authorities whose certificates of other servers are believed.
        pub authorities: PathBuf = PathBuf::from("/etc/ssl/certs/ca-certificates.crt"),
        /// Domains that may prove themselves by dialback, which shows only that they are where the
        /// DNS says; "*" for all. Others need a certificate.
        pub dialback: Vec<Spanned<String>> = vec![],
    }
}

omnid_config::section! {
    /// A component.
    pub struct ComponentConfig {
        /// Its domain.
        pub domain: Spanned<DomainName>,
        /// What it proves itself with.
        pub secret: String,
    }
}

impl S2sConfig {
    /// Whether other servers are spoken with.
    pub(crate) fn federates(&self) -> bool {
        !(self.listen.is_empty() && self.listen_tls.is_empty() && self.routes.is_empty())
    }
}

impl UploadConfig {
    /// The path at which the HTTP service passes requests on.
    pub(crate) fn path(&self) -> Option<&str> {
        path(&self.url.as_ref()?.value)
    }
}

/// The path of a URL of ours: absolute, without a slash at its end, a query or a fragment.
fn path(url: &str) -> Option<&str> {
    let rest = url
        .strip_prefix("https://")
        .or(url.strip_prefix("http://"))?;
    let at = rest.find('/')?;
    let (host, path) = rest.split_at_checked(at)?;
    let plain = |c: char| c.is_ascii_alphanumeric() || "/-._~".contains(c);
    let good = !host.is_empty()
        && path.len() > 1
        && !path.ends_with('/')
        && !path.contains("//")
        && path.chars().all(plain);
    good.then_some(path)
}

fn check_url(config: &UploadConfig, problems: &mut Problems) {
    if let Some(url) = &config.url
        && path(&url.value).is_none()
    {
        let problem = Problem::error(format!("{:?} is not where files can be put", url.value))
            .at(url.span, "not a URL with a path")
            .help("it looks like \"https://example.org/upload\", without a slash at the end");
        problems.push(problem);
    }
}

impl RoomsConfig {
    /// The domains of rooms of a server for `hosts`.
    pub(crate) fn hosts<'a>(&self, hosts: impl Iterator<Item = &'a str>) -> HashSet<Box<str>> {
        if self.hosts.is_empty() {
            return hosts.map(|host| format!("rooms.{host}").into()).collect();
        }
        let named = self.hosts.iter();
        let named = named.filter_map(|name| BareJid::from_domain(name.as_str()).ok());
        named.map(|host| host.as_str().into()).collect()
    }
}

fn every_address(port: u16) -> Vec<Spanned<ListenAddr>> {
    vec![ListenAddr::any(port).into()]
}

fn check_disabled(config: &Config, problems: &mut Problems) {
    let names: Vec<_> = features::ALL.iter().map(|feature| feature.name).collect();
    for name in &config.disable {
        if !names.contains(&name.value.as_str()) {
            let problem = Problem::error(format!("there is no feature {:?}", name.value))
                .at(name.span, "not a feature")
                .help(format!("the features are {}", names.join(", ")));
            problems.push(problem);
        }
    }
}

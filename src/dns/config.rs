//! The `[dns]` section.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use omnid_config::{ByteSize, DomainName, ListenAddr, Problem, Problems, Secret, Span, Spanned};

use crate::dnssec::config::PolicyConfig;
use crate::engine::zones::ZoneId;
use crate::resolver::ResolverConfig;
use crate::wire::name::Name;

omnid_config::section! {
    /// Zones served.
    #[check(Config::check_zones, needs(zone, view, template))]
    #[check(Config::check_signing, needs(zone, view, policy))]
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
        /// What zones that catalogs name are made by.
        ///
        /// A template is a zone whose `name` is the template's own. It has `primaries`.
        pub template: Vec<ZoneConfig> = vec![],
        /// Views: which zones there are for whom. The first that fits a question is the one.
        pub view: Vec<ViewConfig> = vec![],
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
    #[check(ZoneConfig::check_source, needs(file, primaries, in_view))]
    pub struct ZoneConfig {
        /// The zone's name.
        pub name: Spanned<DomainName>,
        /// Its zone file.
        ///
        /// Read at the start, and at a reload if it has changed. A file that it includes is looked
        /// for in the directory of the file that names it. A zone with `update` lives by its
        /// updates: edit its file between `omnid zone freeze` and `omnid zone thaw` only.
        pub file: Option<Spanned<PathBuf>>,
        /// The view whose zone of this name this is as well.
        ///
        /// Of a zone in a view only, and with nothing else but its name: all else is said there.
        pub in_view: Option<Spanned<String>>,
        /// Servers that have the zone: this one is a secondary then, and keeps its copy itself.
        pub primaries: Vec<PrimaryConfig> = vec![],
        /// Serve the zones that this one names, a catalog (RFC 9432), made by the template of this
        /// name.
        ///
        /// A member with a group is made by the template of the group's name, if there is one. Who
        /// may change the catalog decides which zones are served here.
        pub catalog: Option<Spanned<String>>,
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
    /// A view: zones for some clients only, or other ones for them.
    ///
    /// A question is for the first view that all of `clients`, `destinations` and `listen` fit. It
    /// has the zones of the view, and all that are in no view, unless the view has one of the same
    /// name. A question that no view fits has those that are in no view. Transfers, updates and
    /// notifies are for the zone of the view that they fit.
    ///
    /// Commands call a zone in a view `ZONE@VIEW`.
    pub struct ViewConfig {
        /// Its name: letters, digits, `-` and `_`.
        pub name: Spanned<String>,
        /// Whose questions are for it (an access list, as `query_from`): everybody's without it.
        pub clients: Option<Vec<Spanned<String>>>,
        /// To which addresses of this server they come (an access list): to all without it.
        pub destinations: Option<Vec<Spanned<String>>>,
        /// To which of the addresses in `listen` and `listen_tls` they come: to all without it.
        pub listen: Vec<Spanned<SocketAddr>> = vec![],
        /// Only questions that want a resolver's answer (RD) are for it.
        pub recursive_only: bool = false,
        /// Let those whom `dns.resolver.allow` names ask about other names here.
        ///
        /// All views share the resolver and its cache. It knows of the zones that are in no view.
        pub recursion: bool = true,
        /// Its zones.
        pub zone: Vec<ZoneConfig> = vec![],
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
        if let Some(view) = &self.in_view {
            if secondary || self.file.is_some() || self.is_dynamic() || self.dnssec.is_some() {
                problems.push(
                    Problem::error(format!(
                        "zone {} is that of view {}, and all about it is said there",
                        self.name.value, view.value
                    ))
                    .at(view.span, "this view's")
                    .help("leave everything but `name` and `in_view` out"),
                );
            }
            return;
        }
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

fn id_of(view: Option<&str>, zone: &ZoneConfig) -> Option<ZoneId> {
    // A name that is valid in the configuration is so here.
    let name = Name::from_text(zone.name.as_str()).ok()?;
    let view = view.map(Into::into);
    Some(ZoneId { name, view })
}

/// A name twice is a mistake.
fn check_names(zones: &[ZoneConfig], problems: &mut Problems) {
    let mut names: HashMap<&str, &ZoneConfig> = HashMap::new();
    for zone in zones {
        if let Some(first) = names.insert(zone.name.as_str(), zone) {
            problems.push(
                Problem::error(format!("zone {} is defined twice", zone.name.value))
                    .at(zone.name.span, "defined again here")
                    .also(first.name.span, "first defined here"),
            );
        }
    }
}

impl Config {
    /// All zones that have data of their own, those in no view first.
    pub(crate) fn zones(&self) -> impl Iterator<Item = (ZoneId, &ZoneConfig)> {
        let zones = self.sections();
        zones.filter_map(|(view, zone)| Some((id_of(view, zone)?, zone)))
    }

    /// The same, by the view that they are in.
    fn sections(&self) -> impl Iterator<Item = (Option<&str>, &ZoneConfig)> {
        let outside = self.zone.iter().map(|zone| (None, zone));
        let within = self.view.iter().flat_map(|view| {
            let zones = view.zone.iter().filter(|zone| zone.in_view.is_none());
            zones.map(|zone| (Some(view.name.as_str()), zone))
        });
        outside.chain(within)
    }

    /// One zone.
    pub(crate) fn zone(&self, id: &ZoneId) -> Option<&ZoneConfig> {
        let view = id.view.as_deref();
        let text = ZoneId::outside(id.name.clone()).to_string();
        let same = |zone: &ZoneConfig| zone.name.as_str() == text;
        let mut zones = self.sections();
        let found = zones.find(|(own, zone)| *own == view && same(zone));
        found.map(|(_, zone)| zone)
    }

    /// The zones that a name is in: in each view that with the longest name.
    pub(crate) fn zones_above(&self, name: &DomainName) -> Vec<ZoneId> {
        let above = self.sections();
        let above: Vec<_> = above
            .filter(|(_, zone)| name.is_within(&zone.name.value))
            .collect();
        let views = self.view.iter().map(|view| Some(view.name.as_str()));
        let nearest = |view: Option<&str>| {
            let seen = above.iter();
            let seen = seen.filter(|(own, _)| own.is_none() || *own == view);
            // Of two with one name, the view's own is the one that is seen.
            let zone = seen.max_by_key(|(own, zone)| (zone.name.as_str().len(), own.is_some()));
            let (own, zone) = zone.filter(|(own, _)| *own == view)?;
            id_of(*own, zone)
        };
        views.chain([None]).filter_map(nearest).collect()
    }

    fn check_zones(&self, problems: &mut Problems) {
        check_names(&self.zone, problems);
        check_names(&self.template, problems);
        crate::catalog::check(self, problems);
        for zone in &self.zone {
            if let Some(view) = &zone.in_view {
                problems.push(
                    Problem::error("a zone outside of views is in all of them already")
                        .at(view.span, "not in a view"),
                );
            }
        }
        for (index, view) in self.view.iter().enumerate() {
            check_names(&view.zone, problems);
            let name = &view.name;
            let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
            if name.value.is_empty() || !name.value.bytes().all(good) {
                problems.push(
                    Problem::error(format!("\"{}\" cannot be a view's name", name.value))
                        .at(name.span, "letters, digits, `-` and `_`"),
                );
            }
            let mut before = self.view.iter().take(index);
            if let Some(first) = before.find(|other| other.name == *name) {
                problems.push(
                    Problem::error(format!("view {} is defined twice", name.value))
                        .at(name.span, "defined again here")
                        .also(first.name.span, "first defined here"),
                );
            }
            for zone in &view.zone {
                self.check_shared(name, zone, problems);
            }
        }
    }

    fn check_shared(&self, own: &Spanned<String>, zone: &ZoneConfig, problems: &mut Problems) {
        let Some(shared) = &zone.in_view else {
            return;
        };
        let view = self
            .view
            .iter()
            .find(|view| view.name.value == shared.value);
        let has = |view: &ViewConfig| {
            let mut zones = view.zone.iter();
            zones.any(|other| other.name == zone.name && other.in_view.is_none())
        };
        if own.value == shared.value || !view.is_some_and(has) {
            let message = format!("view {} has no zone {}", shared.value, zone.name.value);
            problems.push(
                Problem::error(message)
                    .at(shared.span, "no such zone there")
                    .help("name a view that has the zone with a file or primaries"),
            );
        }
    }

    fn check_signing(&self, problems: &mut Problems) {
        let mut signed: HashMap<Name, Option<Span>> = HashMap::new();
        for (id, zone) in self.zones() {
            let Some(dnssec) = &zone.dnssec else {
                continue;
            };
            // Keys of their own for each would leave the parent with the DS record of one.
            if let Some(first) = signed.insert(id.name, dnssec.span) {
                problems.push(
                    Problem::error(format!("zone {} is signed twice", zone.name.value))
                        .at(dnssec.span, "signed again here")
                        .also(first, "signed here")
                        .help("sign it in one view only: its parent has one DS set for all"),
                );
            }
        }
        let signed = self.zones().filter_map(|(_, zone)| zone.dnssec.as_ref());
        for dnssec in signed {
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
                "[[zone]]\nname='a'\nfile='x'\n[[view]]\nname='v'\n[[view.zone]]\nname='a'\nin_view='w'",
                "view w has no zone a",
            ),
            (
                "[[zone]]\nname='a'\nin_view='v'",
                "a zone outside of views is in all of them already",
            ),
            ("[[view]]\nname='v@'", "cannot be a view's name"),
            (
                "[[zone]]\nname='a'\nfile='x'\ndnssec='default'\n[[view]]\nname='v'\n\
                 [[view.zone]]\nname='a'\nfile='x'\ndnssec='default'",
                "zone a is signed twice",
            ),
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

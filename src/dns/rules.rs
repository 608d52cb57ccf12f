//! From what the configuration says about keys and access to what the engine asks.

use std::collections::HashMap;
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use base64::Engine;
use omnid_config::{IpNet, ListenAddr, Problem, Problems, Spanned};
use rustls::RootCertStore;

use crate::config::{Config, RateLimitConfig, ViewConfig, ZoneConfig};
use crate::engine::access::{Access, Entry, Term};
use crate::engine::limit::Limits;
use crate::engine::policy::{Policy, read_rule};
use crate::engine::tsig::{Algorithm, Key, Keys};
use crate::engine::view::Selector;
use crate::engine::zones::{Rules, ZoneId};
use crate::trust;
use crate::wire::name::Name;

/// Keys, and the rules of each zone in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compiled {
    pub(crate) keys: Keys,
    pub(crate) zones: Vec<Arc<Rules>>,
    /// True if a list asks for certificates.
    pub(crate) certificates: bool,
    /// Who vouches for primaries, by the file that says so.
    pub(crate) authorities: HashMap<Option<PathBuf>, Arc<RootCertStore>>,
    /// Who is in which view.
    pub(crate) views: Vec<Selector>,
    /// How many responses there may be.
    pub(crate) limits: Option<Limits>,
}

impl Compiled {
    /// A key by the name that the configuration says it by.
    pub(crate) fn key(&self, name: &str) -> Option<Arc<Key>> {
        let name = Name::from_text(name.trim()).ok()?;
        self.keys.get(name.as_ref()).cloned()
    }

    /// The key that a zone's secondaries are told of changes with.
    pub(crate) fn notify_key(&self, zone: &ZoneConfig) -> Option<Arc<Key>> {
        self.key(&zone.notify_key.as_ref()?.value)
    }
}

/// Reads all keys and lists of a configuration.
pub(crate) fn compile(config: &Config, problems: &mut Problems) -> Compiled {
    let keys = keys(config, problems);
    let mut lists = Lists {
        keys: &keys,
        named: HashMap::new(),
        here: None,
        certificates: false,
    };
    for acl in &config.acl {
        let list = lists.access(&acl.entries, problems);
        // Only lists further up can be named: none can name itself.
        if lists.named.insert(acl.name.value.clone(), list).is_some() {
            let message = format!("access list {} is defined twice", acl.name.value);
            problems.push(Problem::error(message).at(acl.name.span, "defined again here"));
        }
    }
    let mut zones = Vec::new();
    for (_, zone) in config.zones() {
        zones.push(Arc::new(zone_rules(zone, &mut lists, problems)));
    }
    // What is wrong in a template is to be told before a catalog makes use of it.
    for template in &config.template {
        zone_rules(template, &mut lists, problems);
    }
    let mut views = Vec::new();
    for view in &config.view {
        views.push(selector(view, config, &mut lists, problems));
    }
    let section = config.rate_limit.as_ref();
    let limits = section.map(|section| limits(section, &mut lists, problems));
    let certificates = lists.certificates;
    Compiled {
        certificates,
        authorities: authorities(config, problems),
        keys,
        zones,
        views,
        limits,
    }
}

fn selector(
    view: &ViewConfig,
    config: &Config,
    lists: &mut Lists<'_>,
    problems: &mut Problems,
) -> Selector {
    let mut list = |entries: &Option<Vec<Spanned<String>>>| {
        let entries = entries.as_ref();
        entries.map(|entries| lists.access(entries, problems))
    };
    let (clients, destinations) = (list(&view.clients), list(&view.destinations));
    let listeners = config.listen.iter().chain(&config.listen_tls);
    for own in &view.listen {
        let is = |listener: &Spanned<ListenAddr>| listener.value == ListenAddr::Ip(own.value);
        if !listeners.clone().any(is) {
            problems.push(
                Problem::error(format!("nobody listens on {}", own.value))
                    .at(own.span, "no such listener")
                    .help("write an address as it is in dns.listen or dns.listen_tls"),
            );
        }
    }
    let shared = view.zone.iter().filter_map(|zone| {
        let view = zone.in_view.as_ref()?;
        Some(ZoneId {
            name: Name::from_text(zone.name.as_str()).ok()?,
            view: Some(view.value.as_str().into()),
        })
    });
    Selector {
        name: view.name.value.as_str().into(),
        clients,
        destinations,
        listeners: view.listen.iter().map(|own| own.value).collect(),
        recursive_only: view.recursive_only,
        recursion: view.recursion,
        shared: shared.collect(),
    }
}

fn limits(section: &RateLimitConfig, lists: &mut Lists<'_>, problems: &mut Problems) -> Limits {
    let rate = |own: Option<u16>| own.or(section.responses).unwrap_or(0);
    Limits {
        answers: rate(None),
        referrals: rate(section.referrals),
        no_data: rate(section.nodata),
        no_names: rate(section.nxdomains),
        errors: rate(section.errors),
        all: section.all.unwrap_or(0),
        window: u16::try_from(section.window.as_secs()).unwrap_or(u16::MAX),
        slip: section.slip,
        ipv4_prefix: section.ipv4_prefix,
        ipv6_prefix: section.ipv6_prefix,
        exempt: lists.access(&section.exempt, problems),
        log_only: section.log_only,
        table_size: section.table_size,
    }
}

fn zone_rules(zone: &ZoneConfig, lists: &mut Lists<'_>, problems: &mut Problems) -> Rules {
    let mut notify = lists.access(&zone.notify_from, problems);
    if zone.is_secondary() {
        // What the list says comes first: it may keep a primary out.
        let mut entries = notify.entries().to_vec();
        entries.extend(zone.primaries.iter().map(|primary| Entry {
            negated: false,
            term: Term::Networks([IpNet::from(primary.address.ip())].into()),
            text: "primaries".into(),
        }));
        notify = Access::new(entries);
    }
    if let Some(key) = &zone.notify_key {
        lists.key(key, &key.value, problems);
    }
    for primary in &zone.primaries {
        if let Some(key) = &primary.key {
            lists.key(key, &key.value, problems);
        }
    }
    let mut rules = Vec::new();
    // A name that is valid in the configuration is so here.
    if let Ok(apex) = Name::from_text(zone.name.as_str()) {
        for text in &zone.update.policy {
            match read_rule(&text.value, &apex) {
                Ok(rule) => rules.push(rule),
                Err(message) => problems.push(
                    Problem::error(message)
                        .at(text.span, "this rule")
                        .help("write it like \"grant KEY subdomain dyn.example.org A AAAA\""),
                ),
            }
        }
    }
    Rules {
        query: zone
            .query_from
            .as_ref()
            .map(|entries| lists.access(entries, problems)),
        transfer: lists.access(&zone.transfer.to, problems),
        transfer_by_tls: zone.transfer.tls,
        update: Policy {
            from: lists.access(&zone.update.from, problems),
            rules,
        },
        notify,
    }
}

/// Reads who vouches for the primaries that are reached over TLS.
fn authorities(
    config: &Config,
    problems: &mut Problems,
) -> HashMap<Option<PathBuf>, Arc<RootCertStore>> {
    let primaries = config.zones().flat_map(|(_, zone)| &zone.primaries);
    let mut found = HashMap::new();
    for tls in primaries.filter_map(|primary| primary.tls.as_ref()) {
        let file = tls.authorities.as_ref();
        let place = file.map(|file| file.value.clone());
        if !tls.verify || found.contains_key(&place) {
            continue;
        }
        let store = trust::authorities(place.as_deref(), file.and_then(|file| file.span), problems);
        found.insert(place, Arc::new(store));
    }
    found
}

fn keys(config: &Config, problems: &mut Problems) -> Keys {
    let mut keys: Vec<Arc<Key>> = Vec::new();
    for key in &config.key {
        let Ok(name) = Name::from_text(&key.name.value) else {
            let message = format!("\"{}\" is not a name", key.name.value);
            problems.push(Problem::error(message).at(key.name.span, "the key's name"));
            continue;
        };
        if keys.iter().any(|other| other.name == name) {
            let message = format!("key {} is defined twice", key.name.value);
            problems.push(Problem::error(message).at(key.name.span, "defined again here"));
        }
        let algorithm = Algorithm::from_text(&key.algorithm.value);
        let Some(algorithm) = algorithm else {
            let message = format!("`{}` is not an algorithm of TSIG", key.algorithm.value);
            problems.push(
                Problem::error(message)
                    .at(key.algorithm.span, "unknown")
                    .help("`hmac-sha256` is the one to take; `hmac-sha512` is as good"),
            );
            continue;
        };
        if algorithm == Algorithm::Md5 && !key.legacy {
            problems.push(
                Problem::error("HMAC-MD5 is only for peers that know nothing else")
                    .at(key.algorithm.span, "a broken hash")
                    .help("take `hmac-sha256`, or set `legacy = true` for this key"),
            );
        }
        let secret = key.secret.value.expose().trim();
        match base64::engine::general_purpose::STANDARD.decode(secret) {
            Ok(secret) if !secret.is_empty() => {
                keys.push(Arc::new(Key::new(name, algorithm, &secret)));
            }
            _ => problems.push(
                Problem::error("the secret of a key is base64")
                    .at(key.secret.span, "not such a secret")
                    .help("`openssl rand -base64 32` makes one"),
            ),
        }
    }
    Keys::new(keys)
}

struct Lists<'k> {
    keys: &'k Keys,
    named: HashMap<String, Access>,
    /// This host's addresses and networks, once asked for.
    here: Option<Here>,
    /// True once an entry has asked for a certificate.
    certificates: bool,
}

impl Lists<'_> {
    fn key(&self, at: &Spanned<String>, name: &str, problems: &mut Problems) -> Option<Name> {
        let name = Name::from_text(name.trim()).ok();
        let known = name.filter(|name| self.keys.get(name.as_ref()).is_some());
        if known.is_none() {
            let message = format!("no key has the name in \"{}\"", at.value);
            problems.push(
                Problem::error(message)
                    .at(at.span, "this key")
                    .help("define it in a [[dns.key]]"),
            );
        }
        known
    }

    fn access(&mut self, entries: &[Spanned<String>], problems: &mut Problems) -> Access {
        let mut list = Vec::new();
        for entry in entries {
            let text = entry.value.trim();
            let (negated, rest) = match text.strip_prefix('!') {
                Some(rest) => (true, rest.trim()),
                None => (false, text),
            };
            if let Some(term) = self.term(entry, rest, problems) {
                // `none` is the other way round of `any`.
                list.push(Entry {
                    negated: negated != (rest == "none"),
                    term,
                    text: text.into(),
                });
            }
        }
        Access::new(list)
    }

    fn term(&mut self, at: &Spanned<String>, text: &str, problems: &mut Problems) -> Option<Term> {
        if let Some(key) = text.strip_prefix("key ") {
            return self.key(at, key, problems).map(Term::Key);
        }
        if let Some(name) = text.strip_prefix("cert ") {
            self.certificates = true;
            let name = Name::from_text(name.trim());
            let named = name.inspect_err(|error| {
                let message = format!("\"{text}\" names no certificate: {error}");
                problems.push(
                    Problem::error(message)
                        .at(at.span, "this name")
                        .help("write it like \"cert ns2.example.org\""),
                );
            });
            return named.ok().map(Term::Certificate);
        }
        match text {
            "any" | "none" => return Some(Term::Any),
            "localhost" | "localnets" => {
                let here = self.here.get_or_insert_with(Here::look);
                let networks = if text == "localhost" {
                    &here.addresses
                } else {
                    &here.networks
                };
                return Some(Term::Networks(networks.as_slice().into()));
            }
            _ => {}
        }
        match text.parse::<IpNet>() {
            Ok(network) => return Some(Term::Networks([network].into())),
            Err(fault) if text.contains('/') => {
                let like = "a network is written like \"192.0.2.0/24\"".to_owned();
                problems.push(
                    Problem::error(format!("\"{text}\" is not a network"))
                        .at(at.span, fault.why)
                        .help(fault.help.unwrap_or(like)),
                );
                return None;
            }
            Err(_) => {}
        }
        if let Some(list) = self.named.get(text) {
            return Some(Term::List(list.clone()));
        }
        let message = format!("`{text}` is neither an address, a network, nor an access list");
        problems.push(Problem::error(message).at(at.span, "unknown").help(
            "write an address, a network, `key NAME`, `cert NAME`, `any`, `none`, `localhost`, \
                    `localnets`, or the name of a [[dns.acl]] further up",
        ));
        None
    }
}

/// The host's own addresses and the networks it is in.
#[derive(Debug, Default)]
struct Here {
    addresses: Vec<IpNet>,
    networks: Vec<IpNet>,
}

impl Here {
    /// As the kernel tells; where it does not, only the loopback counts.
    fn look() -> Here {
        let loopback = ["127.0.0.0/8", "::1/128"].map(str::parse::<IpNet>);
        let mut here = Here::default();
        here.addresses.extend(loopback.into_iter().flatten());
        here.networks.clone_from(&here.addresses);
        let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
        here.v4(&read("/proc/net/fib_trie"), &read("/proc/net/route"));
        here.v6(&read("/proc/net/if_inet6"));
        here
    }

    fn v4(&mut self, trie: &str, routes: &str) {
        let lines: Vec<&str> = trie.lines().map(str::trim).collect();
        for pair in lines.windows(2) {
            if let [address, "/32 host LOCAL"] = pair
                && let Some(address) = address.strip_prefix("|-- ")
                && let Ok(address) = address.parse::<IpAddr>()
            {
                self.addresses.push(IpNet::from(address));
            }
        }
        for line in routes.lines().skip(1) {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let number = |at: usize| {
                let field = fields.get(at)?;
                u32::from_str_radix(field, 16).ok().map(u32::from_be)
            };
            // What is reached without a gateway is a network of this host.
            if let (Some(network), Some(0), Some(mask @ 1..)) = (number(1), number(2), number(7)) {
                let text = format!(
                    "{}/{}",
                    std::net::Ipv4Addr::from(network),
                    mask.leading_ones()
                );
                self.networks.extend(text.parse::<IpNet>());
            }
        }
    }

    fn v6(&mut self, interfaces: &str) {
        for line in interfaces.lines() {
            let mut fields = line.split_whitespace();
            let (Some(address), Some(_), Some(length)) =
                (fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let (Ok(address), Ok(length)) = (
                u128::from_str_radix(address, 16),
                u32::from_str_radix(length, 16),
            ) else {
                continue;
            };
            let address6 = std::net::Ipv6Addr::from(address);
            self.addresses.push(IpNet::from(IpAddr::V6(address6)));
            let mask = u128::MAX
                .checked_shl(128u32.saturating_sub(length))
                .unwrap_or(0);
            let network = std::net::Ipv6Addr::from(address & mask);
            self.networks
                .extend(format!("{network}/{length}").parse::<IpNet>());
        }
    }
}

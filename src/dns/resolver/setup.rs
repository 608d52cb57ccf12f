//! From the section of the configuration to the settings of a resolver: files read, names checked,
//! nothing touched.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use omnid_config::{Problem, Problems, Span};
use rustls::RootCertStore;

use super::config::{PolicyChoice, ResolverConfig, anchor, server};
use super::engine::anchors::Anchors;
use super::engine::dns64::Dns64;
use super::engine::policy::{List, Override, Policy};
use super::engine::settings::{Budget, Route, Settings};
use super::engine::{Delegation, address_of};
use crate::trust;
use crate::wire::code::RrType;
use crate::wire::master::{Limits, NoFiles, Severity, parse_zone};
use crate::wire::name::{Name, NameRef};

/// A resolver to be.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) config: ResolverConfig,
    pub(crate) settings: Settings,
    /// Changes when the lists of the policy do.
    pub(crate) policy_digest: u64,
    pub(crate) authorities: Arc<RootCertStore>,
}

/// Reads and checks all that the section names.
pub(crate) fn prepare(config: &ResolverConfig, problems: &mut Problems) -> Option<Plan> {
    let before = problems.errors();
    let hints = match &config.root_hints {
        Some(file) => hints(&file.value, file.span, problems),
        None => Vec::new(),
    };
    let wants_tls = config
        .forward
        .iter()
        .chain(config.zone.iter().flat_map(|zone| &zone.forward))
        .find(|text| text.value.starts_with("tls://"));
    let authorities = match (&config.tls_authorities, wants_tls) {
        (Some(file), _) => trust::authorities(Some(&file.value), file.span, problems),
        (None, Some(forwarder)) => trust::authorities(None, forwarder.span, problems),
        (None, None) => RootCertStore::empty(),
    };
    let (policy, policy_digest) = lists(config, problems);
    (problems.errors() == before).then(|| Plan {
        config: config.clone(),
        settings: settings(config, hints, policy),
        policy_digest,
        authorities: Arc::new(authorities),
    })
}

fn hints(file: &Path, at: Option<Span>, problems: &mut Problems) -> Vec<(Name, Vec<IpAddr>)> {
    let shown = file.display();
    let text = match std::fs::read(file) {
        Ok(text) => text,
        Err(error) => {
            let message = format!("{shown} cannot be read: {error}");
            problems.push(Problem::error(message).at(at, "the root hints"));
            return Vec::new();
        }
    };
    let root = NameRef::ROOT;
    let named = shown.to_string();
    let parsed = parse_zone(root, &named, &text.into(), &mut NoFiles, Limits::default());
    let errors = parsed
        .faults
        .iter()
        .filter(|fault| fault.severity == Severity::Error);
    for fault in errors.take(5) {
        problems.push(Problem::error(fault.to_string()).at(at, "the root hints"));
    }
    let mut servers: Vec<(Name, Vec<IpAddr>)> = Vec::new();
    for record in parsed.records.iter() {
        if record.rr_type == RrType::NS
            && parsed.records.owner(record).is_root()
            && let Ok(server) = Name::from_wire(parsed.records.rdata(record))
        {
            servers.push((server, Vec::new()));
        }
    }
    for record in parsed.records.iter() {
        let owner = parsed.records.owner(record);
        let server = servers.iter_mut().find(|(name, _)| name.as_ref() == owner);
        let address = address_of(record.rr_type, parsed.records.rdata(record));
        if let (Some((_, addresses)), Some(address)) = (server, address) {
            addresses.push(address);
        }
    }
    if servers.iter().all(|(_, addresses)| addresses.is_empty()) {
        let message = format!("{shown} names no server of the root with an address");
        problems.push(Problem::error(message).at(at, "the root hints"));
    }
    servers
}

/// Reads the lists of the policy; and a number that changes when they do.
fn lists(config: &ResolverConfig, problems: &mut Problems) -> (Policy, u64) {
    let (mut lists, mut hasher) = (Vec::new(), DefaultHasher::new());
    for policy in &config.policy {
        let Ok(apex) = Name::from_text(policy.name.value.as_str()) else {
            continue;
        };
        let file = &policy.file.value;
        let shown = file.display().to_string();
        let text = match std::fs::read(file) {
            Ok(text) => text,
            Err(error) => {
                let message = format!("{shown} cannot be read: {error}");
                problems.push(Problem::error(message).at(policy.file.span, "this list"));
                continue;
            }
        };
        text.hash(&mut hasher);
        let limits = Limits::default();
        let parsed = parse_zone(apex.as_ref(), &shown, &text.into(), &mut NoFiles, limits);
        let errors = parsed
            .faults
            .iter()
            .filter(|fault| fault.severity == Severity::Error);
        for fault in errors.take(5) {
            problems.push(Problem::error(fault.to_string()).at(policy.file.span, "this list"));
        }
        let over = match policy.action {
            PolicyChoice::Given => Override::Given,
            PolicyChoice::Log => Override::Disabled,
            PolicyChoice::NxDomain => Override::NoName,
            PolicyChoice::NoData => Override::NoData,
            PolicyChoice::PassThru => Override::Pass,
            PolicyChoice::Drop => Override::Drop,
        };
        let records = &parsed.records;
        let rows = records.iter().map(|record| {
            (
                records.owner(record),
                record.rr_type,
                record.ttl,
                records.rdata(record),
            )
        });
        let (list, odd) = List::new(&apex, over, rows);
        if odd > 0 {
            let message = format!("{shown}: {odd} owners are no rules, and do nothing");
            problems.push(Problem::warning(message).at(policy.file.span, "this list"));
        }
        lists.push(list);
    }
    (Policy::new(lists), hasher.finish())
}

fn settings(config: &ResolverConfig, hints: Vec<(Name, Vec<IpAddr>)>, policy: Policy) -> Settings {
    let seconds = |time: std::time::Duration| time.as_secs().min(u64::from(u32::MAX)) as u32;
    let servers = |texts: &[omnid_config::Spanned<String>]| {
        let servers = texts.iter().filter_map(|text| server(&text.value));
        servers.collect::<Vec<_>>()
    };
    let mut routes: Vec<(Name, Route)> = Vec::new();
    for zone in &config.zone {
        let Ok(name) = Name::from_text(zone.name.value.as_str()) else {
            continue;
        };
        let route = if zone.iterate {
            Route::Iterate
        } else if zone.stub.is_empty() {
            let (servers, first) = (servers(&zone.forward), zone.forward_first);
            Route::Forward { servers, first }
        } else {
            let servers = vec![(name.clone(), zone.stub.clone())];
            Route::Stub(Delegation::new(name.clone(), servers, 0))
        };
        routes.push((name, route));
    }
    if !config.forward.is_empty() {
        let (servers, first) = (servers(&config.forward), config.forward_first);
        routes.push((Name::root(), Route::Forward { servers, first }));
    }
    // Those with the longest names first.
    routes.sort_by_key(|(name, _)| std::cmp::Reverse(name.as_ref().label_count()));
    Settings {
        routes,
        hints: Delegation::root(hints),
        port: config.port,
        minimise: config.qname_minimisation,
        mix_case: config.case_randomisation,
        ipv6: config.ipv6,
        validate: config.validation,
        anchors: Anchors::new(
            config
                .trust_anchors
                .iter()
                .filter_map(|text| anchor(&text.value))
                .collect(),
        ),
        exempt: config
            .validate_except
            .iter()
            .filter_map(|name| Name::from_text(name.value.as_str()).ok())
            .collect(),
        empty_zones: config.empty_zones,
        dns64: config
            .dns64
            .as_ref()
            .and_then(|prefix| Dns64::new(prefix.value)),
        policy: Arc::new(policy),
        min_ttl: seconds(config.min_ttl),
        max_ttl: seconds(config.max_ttl),
        max_negative_ttl: seconds(config.max_negative_ttl),
        failure_ttl: seconds(config.failure_ttl),
        prefetch: config.prefetch,
        stale: config.serve_stale,
        stale_after: config.serve_stale_after,
        budget: Budget {
            queries: config.max_queries,
            chain: config.max_chain,
            per_zone: config.max_per_zone,
            ..Budget::default()
        },
    }
}

//! From the config to the sites that are served, with every problem found.

use std::{collections::HashMap, net::Ipv6Addr, sync::Arc, time::Duration};

use omnid_config::{Problem, Problems, Span};
use tokio::sync::Semaphore;

use super::{
    Action, Filter, HeaderEdits, Route, RouteRules, Site, Snapshot,
    actions::{codings, compile_route, files},
    gateways::fastcgi,
    hsts, rules,
};
use crate::{
    compress::Compress,
    config::{
        AccessLogFormat, AccessLogTo, CompressConfig, HttpConfig, LimitsConfig, PlainChoice,
        RateConfig, RouteConfig, SiteConfig,
    },
    data::{Destination, Shelf},
    engine::{
        check::HeadLimits,
        guard::TimeLimits,
        rate::{RateLimits, RateTable},
        routes::{PathPattern, RouteTable},
        sites::{HostPattern, SiteTable},
    },
    files::{CacheLimits, Files},
    log::{AccessLog, Format},
    rewrite::Maps,
    wire::{host::Host, target::NormalPath},
};

/// Compiles the config. `domains` are those that accounts belong to. Where there are errors, the
/// result is good for nothing but finding more of them.
pub fn compile(
    config: &HttpConfig,
    domains: &[&str],
    shelf: &Shelf,
    problems: &mut Problems,
) -> Snapshot {
    let mut sites = SiteTable::default();
    let mut claims = Claims::default();
    let maps = Arc::new(Maps::compile(&config.map, problems));
    for site in &config.site {
        let patterns = claims.hosts(site, problems);
        claims.take_default(site, problems);
        let compiled = compile_site(config, site, &patterns, domains, shelf, &maps, problems);
        sites.add(Arc::new(compiled), patterns, site.is_default.value);
    }
    let tls_port = config
        .listen_tls
        .iter()
        .find_map(|address| address.ip())
        .map(|address| address.port());
    for site in &config.site {
        if site.plain == PlainChoice::Redirect && config.listen_tls.is_empty() {
            problems.push(
                Problem::error("plain requests cannot be sent to TLS: nothing listens there")
                    .at(site.place, "this site wants it")
                    .help("add listen_tls to [http]"),
            );
        }
    }
    Snapshot {
        sites,
        nowhere: Arc::new(nowhere(config, shelf)),
        head: head_limits(&config.limits),
        times: time_limits(&config.limits),
        streams: config.limits.streams,
        idle_frames: config.limits.idle_frames,
        cache: CacheLimits {
            entries: config.file_cache.entries,
            bytes: config.file_cache.memory.bytes(),
            file: config.file_cache.small.bytes(),
            valid: config.file_cache.valid,
        },
        tls_port,
    }
}

fn head_limits(limits: &LimitsConfig) -> HeadLimits {
    let size = |size: omnid_config::ByteSize| usize::try_from(size.bytes()).unwrap_or(usize::MAX);
    HeadLimits {
        head: size(limits.head),
        line: size(limits.line),
        target: size(limits.target),
        fields: usize::from(limits.fields),
    }
}

fn time_limits(limits: &LimitsConfig) -> TimeLimits {
    TimeLimits {
        first_byte: limits.first_byte,
        head: limits.head_time,
        head_max: limits.head_time_max,
        body: limits.body_time,
        rate: limits.rate.bytes(),
        idle: limits.idle,
        idle_h2: limits.idle_h2,
        write: limits.write,
        window: limits.window,
        ..TimeLimits::default()
    }
}

fn nowhere(config: &HttpConfig, shelf: &Shelf) -> Site {
    Site {
        name: Arc::from("-"),
        domain: None,
        routes: RouteTable::default(),
        root: None,
        error_pages: Default::default(),
        redirects_plain: false,
        hsts: None,
        mounts: Vec::new(),
        rate: None,
        compress: None,
        headers: HeaderEdits::default(),
        log: access_log(&config.access_log, &config.access_log_format, shelf),
        meter: shelf.meter("-"),
        max_body: 0,
        rules: None,
        guards_paths: false,
    }
}

/// Who has claimed what, so that a second claim is reported with both places.
#[derive(Default)]
struct Claims {
    hosts: HashMap<String, Option<Span>>,
    default: Option<Option<Span>>,
}

impl Claims {
    fn hosts(&mut self, site: &SiteConfig, problems: &mut Problems) -> Vec<HostPattern> {
        if site.hosts.is_empty() && !site.is_default.value {
            problems.push(
                Problem::absence("a site needs a host")
                    .at(site.place, "no hosts")
                    .help("hosts = [\"www.example.org\"], or default = true for all that no other site has"),
            );
        }
        let mut patterns = Vec::new();
        for host in &site.hosts {
            let text = host.trim_end_matches('.').to_ascii_lowercase();
            let Some(pattern) = host_pattern(&text) else {
                problems.push(
                    Problem::error(format!("\"{}\" is not a host", host.value))
                        .at(host.span, "")
                        .help("a name without a port, such as \"www.example.org\" or \"*.example.org\""),
                );
                continue;
            };
            if let Some(earlier) = self.hosts.insert(text, host.span) {
                problems.push(
                    Problem::error(format!("two sites have the host {}", host.value))
                        .at(host.span, "taken again here")
                        .also(earlier, "taken here"),
                );
                continue;
            }
            patterns.push(pattern);
        }
        patterns
    }

    fn take_default(&mut self, site: &SiteConfig, problems: &mut Problems) {
        if !site.is_default.value {
            return;
        }
        if let Some(earlier) = self.default {
            problems.push(
                Problem::error("two sites are the default")
                    .at(site.is_default.span, "the second")
                    .also(earlier, "the first"),
            );
        }
        self.default = Some(site.is_default.span);
    }
}

fn host_pattern(text: &str) -> Option<HostPattern> {
    if let Some(below) = text.strip_prefix("*.") {
        let host = Host::parse(below.as_bytes())
            .filter(|host| host.port.is_none() && host.name == below)?;
        return Some(HostPattern::Below(host.name.into_owned()));
    }
    // An IPv6 address may come with or without its brackets.
    let bracketed = text
        .parse::<Ipv6Addr>()
        .map(|address| format!("[{address}]"));
    let text = bracketed.as_deref().unwrap_or(text);
    let host =
        Host::parse(text.as_bytes()).filter(|host| host.port.is_none() && host.name == text)?;
    Some(HostPattern::Exact(host.name.into_owned()))
}

fn compile_site(
    config: &HttpConfig,
    site: &SiteConfig,
    patterns: &[HostPattern],
    domains: &[&str],
    shelf: &Shelf,
    maps: &Arc<Maps>,
    problems: &mut Problems,
) -> Site {
    let name = match patterns.first() {
        Some(HostPattern::Exact(name)) => name.clone(),
        Some(HostPattern::Below(name)) => format!("*.{name}"),
        None => "default".to_owned(),
    };
    let root = site.root.as_ref().and_then(|path| {
        files(
            path,
            &site.index,
            site.fallback.clone(),
            None,
            site,
            shelf,
            problems,
        )
        .map(|files| {
            // Its error pages come from there too.
            let programs = site.fastcgi.iter().flat_map(|config| &config.suffixes);
            Arc::new(Files {
                programs: programs.map(|suffix| suffix.value.clone()).collect(),
                ..files
            })
        })
    });
    let mut routes = RouteTable::default();
    let mut paths: HashMap<(String, bool), Option<Span>> = HashMap::new();
    for route in &site.route {
        let Some(pattern) = path_pattern(route, problems) else {
            continue;
        };
        let bare = route.path.trim_end_matches('/').to_owned();
        let conditional =
            route.pattern.is_some() || route.when.is_some() || !route.methods.is_empty();
        if !conditional && let Some(earlier) = paths.insert((bare, route.exact), route.path.span) {
            problems.push(
                Problem::error(format!(
                    "two routes of one site are for {}",
                    route.path.value
                ))
                .at(route.path.span, "this one would never be taken")
                .also(earlier, "this one is"),
            );
            continue;
        }
        routes.add(
            &pattern,
            compile_route(route, site, &name, root.as_ref(), shelf, maps, problems),
        );
    }
    if let Some(root) = &root {
        let whole = Route {
            path: "/".into(),
            auth: None,
            action: match &site.fastcgi {
                Some(config) => fastcgi(config, Some((&**root, true)), problems),
                None => Action::Files(root.clone()),
            },
            rate: None,
            headers: HeaderEdits::default(),
            max_body: site.max_body.bytes(),
            rules: RouteRules::default(),
        };
        routes.add(&PathPattern::Prefix("/".into()), whole);
    }
    let of_routes: Vec<&RouteRules> = routes.iter().map(|route| &route.rules).collect();
    let rules = rules::compile(site, &of_routes, maps, problems);
    let guards_paths = routes.iter().any(Route::is_guard)
        || rules.as_ref().is_some_and(|rules| {
            !rules.rewrite.is_empty() || rules.filters.iter().any(Filter::is_guard)
        });
    Site {
        domain: domain_of(patterns, domains),
        rules,
        guards_paths,
        routes,
        error_pages: error_pages(site, root.as_deref(), problems),
        root,
        redirects_plain: site.plain == PlainChoice::Redirect,
        hsts: site.hsts.and_then(hsts),
        mounts: mounts(site, problems),
        rate: site
            .rate
            .as_ref()
            .map(|config| rate(config, name.clone(), shelf, problems)),
        compress: site
            .compress
            .as_ref()
            .map(|config| compress(config, problems)),
        headers: HeaderEdits::compile(&site.headers, problems),
        log: access_log(
            site.access_log.as_ref().unwrap_or(&config.access_log),
            site.access_log_format
                .as_ref()
                .unwrap_or(&config.access_log_format),
            shelf,
        ),
        meter: shelf.meter(&name),
        max_body: site.max_body.bytes(),
        name: Arc::from(name),
    }
}

/// The longest domain that a host of the site is or is below of, or the first there is.
fn domain_of(patterns: &[HostPattern], domains: &[&str]) -> Option<String> {
    let covers = |domain: &&&str| {
        patterns.iter().any(|pattern| {
            let (HostPattern::Exact(host) | HostPattern::Below(host)) = pattern;
            host.strip_suffix(**domain)
                .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        })
    };
    domains
        .iter()
        .filter(covers)
        .max_by_key(|domain| domain.len())
        .or(domains.first())
        .map(|domain| (*domain).to_owned())
}

/// The table of a place: a site's name, or that with a route's path.
pub(super) fn rate(
    config: &RateConfig,
    place: String,
    shelf: &Shelf,
    problems: &mut Problems,
) -> Arc<RateTable> {
    if config.requests.is_none() && config.concurrent.is_none() && config.bandwidth.is_none() {
        problems.push(
            Problem::error("a rate without a limit")
                .at(config.place, "")
                .help("give it requests, concurrent or bandwidth"),
        );
    }
    if config.burst.is_some() && config.requests.is_none() {
        problems.push(
            Problem::error("a burst of no requests")
                .at(config.place, "")
                .help("requests = 10, burst = 20"),
        );
    }
    let limits = RateLimits {
        requests: config.requests.map(|requests| {
            let cost = (config.per / requests.max(1)).max(Duration::from_nanos(1));
            (cost, config.burst.unwrap_or(requests))
        }),
        concurrent: config.concurrent,
        bandwidth: config.bandwidth.map(omnid_config::ByteSize::bytes),
        clients: config.clients,
    };
    shelf.rate(place, limits)
}

fn compress(config: &CompressConfig, problems: &mut Problems) -> Compress {
    for kind in &config.types {
        let mut parts = kind.split('/');
        let whole = |part: Option<&str>| part.is_some_and(|part| !part.is_empty());
        if !whole(parts.next()) || parts.next().is_none() || parts.next().is_some() {
            problems.push(
                Problem::error(format!("\"{}\" is no media type", kind.value))
                    .at(kind.span, "")
                    .help("\"text/css\", or \"text/\" for all of them"),
            );
        }
    }
    Compress {
        codings: codings(&config.codings),
        types: config.types.iter().map(|kind| kind.value.clone()).collect(),
        min: config.min.bytes(),
        streams: Arc::new(Semaphore::new(config.streams)),
    }
}

fn mounts(site: &SiteConfig, problems: &mut Problems) -> Vec<String> {
    let mut mounts = Vec::new();
    for mount in &site.mounts {
        if is_plain_path(mount) {
            let path = mount.strip_suffix('/').filter(|path| !path.is_empty());
            mounts.push(path.unwrap_or(mount).to_owned());
        } else {
            problems.push(not_a_path(mount, mount.span));
        }
    }
    mounts
}

fn error_pages(
    site: &SiteConfig,
    root: Option<&Files>,
    problems: &mut Problems,
) -> std::collections::BTreeMap<u16, String> {
    let mut pages = std::collections::BTreeMap::new();
    for (status, page) in &site.error_pages {
        match status.parse::<u16>() {
            Ok(status @ 400..=599) => {
                pages.insert(status, page.value.clone());
            }
            _ => problems.push(
                Problem::error(format!("\"{status}\" is not the status of a failure"))
                    .at(page.span, "for this page")
                    .help("a number from 400 to 599"),
            ),
        }
        if root.is_none() && site.root.is_none() {
            problems.push(
                Problem::error("an error page is a file below the site's root, and there is none")
                    .at(page.span, ""),
            );
        }
    }
    pages
}

/// Whether requests can match it: absolute, and in the normal form that requests are brought to.
pub(super) fn is_plain_path(path: &str) -> bool {
    !path.contains('%')
        && NormalPath::parse(path).is_ok_and(|normal| normal.as_bytes() == path.as_bytes())
}

pub(super) fn not_a_path(path: &str, span: Option<Span>) -> Problem {
    Problem::error(format!("\"{path}\" is not a path that requests can have"))
        .at(span, "")
        .help("it begins with a slash and has no \"//\", \".\", \"..\" or escapes")
}

fn path_pattern(route: &RouteConfig, problems: &mut Problems) -> Option<PathPattern> {
    if !is_plain_path(&route.path) {
        problems.push(not_a_path(&route.path, route.path.span));
        return None;
    }
    let path = route.path.value.clone();
    Some(if route.exact {
        PathPattern::Exact(path)
    } else {
        PathPattern::Prefix(path)
    })
}

fn access_log(to: &AccessLogTo, format: &AccessLogFormat, shelf: &Shelf) -> Option<AccessLog> {
    let destination = match to {
        AccessLogTo::File(path) => Destination::File(path.clone()),
        AccessLogTo::Log => Destination::Log,
        AccessLogTo::Off => return None,
    };
    Some(AccessLog {
        file: shelf.logs.file(destination),
        format: match format {
            AccessLogFormat::Combined => Format::Combined,
            AccessLogFormat::VhostCombined => Format::VhostCombined,
            AccessLogFormat::Json => Format::Json,
            AccessLogFormat::Custom(_, custom) => Format::Custom(custom.clone()),
        },
    })
}

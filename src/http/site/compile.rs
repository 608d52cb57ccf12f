//! From the config to the sites that are served, with every problem found.

use std::{collections::HashMap, net::Ipv6Addr, path::Path, sync::Arc};

use http::{HeaderValue, StatusCode, Uri};
use omnid_config::{Problem, Problems, Span, Spanned};
use omnid_identity::Role;

use super::{Action, Auth, HeaderEdits, Route, Shelf, Site, Snapshot, hsts};
use crate::{
    config::{
        AccessLogConfig, AccessLogFormat, AuthConfig, HttpConfig, LimitsConfig, PlainChoice,
        ProxyHostChoice, RoleChoice, RouteConfig, SiteConfig, SymlinksChoice,
    },
    engine::{
        check::HeadLimits,
        guard::TimeLimits,
        routes::{PathPattern, RouteTable},
        sites::{HostPattern, SiteTable},
    },
    files::{CacheLimits, Files, Symlinks},
    log::{AccessLog, Destination, Format},
    proxy::{HostPolicy, Proxy, ProxyTimes},
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
    for site in &config.site {
        let patterns = claims.hosts(site, problems);
        claims.take_default(site, problems);
        let compiled = compile_site(config, site, &patterns, domains, shelf, problems);
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
        headers: HeaderEdits::default(),
        log: access_log(&config.access_log, shelf),
        meter: shelf.meter("-"),
        max_body: 0,
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
                Problem::error("a site needs a host")
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
            site,
            shelf,
            problems,
        )
        .map(Arc::new)
    });
    let mut routes = RouteTable::default();
    let mut paths: HashMap<(String, bool), Option<Span>> = HashMap::new();
    for route in &site.route {
        let Some(pattern) = path_pattern(route, problems) else {
            continue;
        };
        let bare = route.path.trim_end_matches('/').to_owned();
        if let Some(earlier) = paths.insert((bare, route.exact), route.path.span) {
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
            compile_route(route, site, root.as_ref(), shelf, problems),
        );
    }
    if let Some(root) = &root {
        let whole = Route {
            path: "/".into(),
            auth: None,
            action: Action::Files(root.clone()),
            headers: HeaderEdits::default(),
            max_body: site.max_body.bytes(),
        };
        routes.add(&PathPattern::Prefix("/".into()), whole);
    }
    Site {
        domain: domain_of(patterns, domains),
        routes,
        error_pages: error_pages(site, root.as_deref(), problems),
        root,
        redirects_plain: site.plain == PlainChoice::Redirect,
        hsts: site.hsts.and_then(hsts),
        mounts: mounts(site, problems),
        headers: HeaderEdits::compile(&site.headers, problems),
        log: access_log(
            site.access_log.as_ref().unwrap_or(&config.access_log),
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
fn is_plain_path(path: &str) -> bool {
    !path.contains('%')
        && NormalPath::parse(path).is_ok_and(|normal| normal.as_bytes() == path.as_bytes())
}

fn not_a_path(path: &str, span: Option<Span>) -> Problem {
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

fn compile_route(
    route: &RouteConfig,
    site: &SiteConfig,
    root: Option<&Arc<Files>>,
    shelf: &Shelf,
    problems: &mut Problems,
) -> Route {
    conflicts(route, problems);
    Route {
        path: route.path.value.clone(),
        auth: route.auth.as_ref().map(|auth| compile_auth(auth, problems)),
        action: action(route, site, root, shelf, problems),
        headers: HeaderEdits::compile(&route.headers, problems),
        max_body: route.max_body.unwrap_or(site.max_body).bytes(),
    }
}

/// A route does one thing, and has no settings for another.
fn conflicts(route: &RouteConfig, problems: &mut Problems) {
    let root = route.root.as_ref().map(|root| ("root", root.span));
    let proxy = route.proxy.first().map(|proxy| ("proxy", proxy.span));
    let redirect = route
        .redirect
        .as_ref()
        .map(|redirect| ("redirect", redirect.span));
    let respond = route
        .respond
        .as_ref()
        .map(|respond| ("respond", respond.span));
    let mut actions = [root, proxy, redirect, respond].into_iter().flatten();
    if let (Some((first, first_span)), Some((second, second_span))) =
        (actions.next(), actions.next())
    {
        problems.push(
            Problem::error(format!("a route cannot have both {first} and {second}"))
                .at(second_span, "and this?")
                .also(first_span, "this")
                .help("make it two routes"),
        );
    }
    if let Some(status) = &route.status
        && route.redirect.is_none()
        && route.respond.is_none()
    {
        problems.push(
            Problem::error("only a redirect or a fixed text has a status of its own")
                .at(status.span, ""),
        );
    }
    if route.root.is_none() && (route.index.is_some() || route.fallback.is_some()) {
        problems.push(
            Problem::error("index and fallback are for a route with a root of its own")
                .at(route.place, ""),
        );
    }
}

fn action(
    route: &RouteConfig,
    site: &SiteConfig,
    root: Option<&Arc<Files>>,
    shelf: &Shelf,
    problems: &mut Problems,
) -> Action {
    if let Some(path) = &route.root {
        let index = route.index.as_ref().unwrap_or(&site.index);
        let files = files(path, index, route.fallback.clone(), site, shelf, problems);
        return files.map_or(Action::Nothing, |files| Action::Files(Arc::new(files)));
    }
    if !route.proxy.is_empty() {
        return proxy(route, shelf, problems);
    }
    if let Some(to) = &route.redirect {
        return redirect(to, route.status.as_ref(), problems);
    }
    if let Some(text) = &route.respond {
        return respond(text, route, problems);
    }
    if site.root.is_none() && route.auth.is_none() {
        problems.push(
            Problem::error("this route does nothing")
                .at(route.place, "")
                .help("give it one of root, proxy, redirect, respond"),
        );
    }
    root.map_or(Action::Nothing, |root| Action::SiteFiles(root.clone()))
}

fn files(
    path: &Spanned<std::path::PathBuf>,
    index: &[String],
    fallback: Option<String>,
    site: &SiteConfig,
    shelf: &Shelf,
    problems: &mut Problems,
) -> Option<Files> {
    let symlinks = match site.symlinks {
        SymlinksChoice::Follow => Symlinks::Follow,
        SymlinksChoice::Inside => Symlinks::Inside,
        SymlinksChoice::Deny => Symlinks::Deny,
    };
    for name in index {
        if name.is_empty() || name.contains('/') {
            problems.push(
                Problem::error(format!("\"{name}\" is not the name of an index file"))
                    .at(path.span, "for this root"),
            );
        }
    }
    let directory: &Path = path;
    match shelf.root(directory, symlinks) {
        Ok(root) => Some(Files {
            root,
            index: index.to_vec(),
            fallback,
            hidden: site.hidden_files,
            charset: site.charset.clone(),
        }),
        Err(error) => {
            problems.push(
                Problem::error(format!(
                    "the root {} cannot be served: {error}",
                    directory.display()
                ))
                .at(path.span, ""),
            );
            None
        }
    }
}

fn proxy(route: &RouteConfig, shelf: &Shelf, problems: &mut Problems) -> Action {
    let times = ProxyTimes {
        connect: route.proxy_connect,
        first_byte: route.proxy_timeout,
        idle: route.proxy_timeout,
        websocket: route.websocket_timeout,
    };
    let host = match route.proxy_host {
        ProxyHostChoice::Client => HostPolicy::Client,
        ProxyHostChoice::Upstream => HostPolicy::Upstream,
    };
    let mut good = Vec::new();
    for upstream in &route.proxy {
        // Each by itself, so that each fault is found with its place.
        match Proxy::new(&[upstream.as_str()], host, times, |target| {
            shelf.pool(target)
        }) {
            Ok(_) => good.push(upstream.as_str()),
            Err(fault) => problems.push(
                Problem::error(format!(
                    "\"{}\" is not an upstream: {fault}",
                    upstream.value
                ))
                .at(upstream.span, "")
                .help("an upstream is written \"http://127.0.0.1:3000\" or \"unix:/run/app.sock\""),
            ),
        }
    }
    match Proxy::new(&good, host, times, |target| shelf.pool(target)) {
        Ok(proxy) if !good.is_empty() => Action::Proxy(proxy),
        _ => Action::Nothing,
    }
}

fn redirect(
    to: &Spanned<String>,
    status: Option<&Spanned<u16>>,
    problems: &mut Problems,
) -> Action {
    let code = status.map_or(302, |status| status.value);
    let status = match code {
        301 | 302 | 303 | 307 | 308 => StatusCode::from_u16(code).unwrap_or(StatusCode::FOUND),
        _ => {
            problems.push(
                Problem::error(format!("{code} is not the status of a redirect"))
                    .at(status.and_then(|status| status.span), "")
                    .help("301, 302, 303, 307 or 308"),
            );
            StatusCode::FOUND
        }
    };
    let fits = match to.parse::<Uri>() {
        Ok(_) if to.starts_with('/') => !to.starts_with("//"),
        Ok(uri) => uri.scheme().is_some() && uri.authority().is_some(),
        Err(_) => false,
    };
    if !fits || to.contains('#') {
        problems.push(
            Problem::error(format!("\"{}\" is no place to redirect to", to.value))
                .at(to.span, "")
                .help("a path such as \"/new/\", or a URL such as \"https://example.org/\""),
        );
    }
    Action::Redirect {
        to: to.value.clone(),
        status,
    }
}

fn respond(text: &Spanned<String>, route: &RouteConfig, problems: &mut Problems) -> Action {
    let code = route.status.as_ref().map_or(200, |status| status.value);
    let status = StatusCode::from_u16(code)
        .ok()
        .filter(|_| (200..=599).contains(&code));
    if status.is_none() {
        problems.push(
            Problem::error(format!("{code} is not the status of a response"))
                .at(route.status.as_ref().and_then(|status| status.span), "")
                .help("a number from 200 to 599"),
        );
    }
    if matches!(code, 204 | 304) && !text.is_empty() {
        problems.push(
            Problem::error(format!("a {code} response has no text"))
                .at(text.span, "")
                .help("respond = \"\""),
        );
    }
    let Ok(content_type) = HeaderValue::from_str(&route.content_type) else {
        problems.push(Problem::error("content_type holds a control character").at(route.place, ""));
        return Action::Nothing;
    };
    Action::Respond {
        status: status.unwrap_or(StatusCode::OK),
        content_type,
        body: text.value.clone().into(),
    }
}

fn compile_auth(auth: &AuthConfig, problems: &mut Problems) -> Auth {
    let realm: String = auth
        .basic
        .chars()
        .flat_map(|c| match c {
            '"' | '\\' => vec!['\\', c],
            c => vec![c],
        })
        .collect();
    let challenge = HeaderValue::from_str(&format!("Basic realm=\"{realm}\", charset=\"UTF-8\""));
    if challenge.is_err() {
        problems.push(Problem::error("a realm has no control characters").at(auth.basic.span, ""));
    }
    let accounts = auth
        .accounts
        .iter()
        .map(|account| account.to_lowercase())
        .collect();
    for account in &auth.accounts {
        if !account.contains('@') {
            problems.push(
                Problem::error(format!("\"{}\" is not an account", account.value))
                    .at(account.span, "")
                    .help("an account is written \"alice@example.org\""),
            );
        }
    }
    Auth {
        challenge: challenge.unwrap_or(HeaderValue::from_static("Basic realm=\"\"")),
        roles: auth
            .roles
            .iter()
            .map(|role| match role {
                RoleChoice::User => Role::User,
                RoleChoice::DomainAdmin => Role::DomainAdmin,
                RoleChoice::Admin => Role::Admin,
            })
            .collect(),
        accounts,
    }
}

fn access_log(config: &AccessLogConfig, shelf: &Shelf) -> Option<AccessLog> {
    if !config.enabled {
        return None;
    }
    let destination = config
        .file
        .clone()
        .map_or(Destination::Log, Destination::File);
    Some(AccessLog {
        file: shelf.logs.file(destination),
        format: match config.format {
            AccessLogFormat::Combined => Format::Combined,
            AccessLogFormat::VhostCombined => Format::VhostCombined,
            AccessLogFormat::Json => Format::Json,
        },
    })
}

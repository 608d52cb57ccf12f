//! A route's upstreams, from the config.

use http::{HeaderName, Uri};
use omnid_config::{Problem, Problems};

use super::Action;
use crate::{
    config::{BalanceChoice, BalanceConfig, ProxyHostChoice, ProxyProtocolChoice, RouteConfig},
    data::Shelf,
    engine::balance::Policy,
    proxy::{Balance, Check, HashBy, HostPolicy, Proxy, ProxyTimes},
    wire::proxy_protocol,
};

pub(super) fn proxy(route: &RouteConfig, shelf: &Shelf, problems: &mut Problems) -> Action {
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
    let balance = balance(route, problems);
    let compile = |names: &[&str]| {
        Proxy::new(names, host, times, balance.clone(), |target, protocol| {
            shelf.pool(target, protocol)
        })
    };
    let mut good = Vec::new();
    for upstream in &route.proxy {
        // Each by itself, so that each fault is found with its place.
        match compile(&[upstream.as_str()]) {
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
        if balance.proxy_protocol.is_some() && upstream.starts_with("h2c:") {
            problems.push(
                Problem::error("an HTTP/2 upstream cannot be told whose a connection is")
                    .at(upstream.span, "many clients share it")
                    .help("proxy_protocol = \"off\", or http:// instead of h2c://"),
            );
        }
    }
    match compile(&good) {
        Ok(proxy) if !good.is_empty() => Action::Proxy(Box::new(proxy)),
        _ => Action::Nothing,
    }
}

fn balance(route: &RouteConfig, problems: &mut Problems) -> Balance {
    let config = &route.balance;
    let (policy, by) = policy(config, problems);
    if config.weights.len() > route.proxy.len() {
        problems
            .push(Problem::error("there are more weights than upstreams").at(route.place, "here"));
    }
    for name in &config.drain {
        if !route
            .proxy
            .iter()
            .any(|upstream| upstream.value == name.value)
        {
            problems.push(
                Problem::error(format!("\"{}\" is none of the upstreams", name.value))
                    .at(name.span, "")
                    .help("write it as it is written in `proxy`"),
            );
        }
    }
    if let Some(cookie) = &config.sticky
        && !is_token(cookie)
    {
        problems.push(
            Problem::error(format!("\"{}\" is not the name of a cookie", cookie.value))
                .at(cookie.span, ""),
        );
    }
    let check = config.check.as_ref().map(|path| {
        if !path.starts_with('/') || path.parse::<Uri>().is_err() {
            problems.push(
                Problem::error(format!("\"{}\" is not a path", path.value))
                    .at(path.span, "")
                    .help("such as \"/health\""),
            );
        }
        Check {
            path: path.value.clone(),
            interval: config.check_interval,
            timeout: config.check_timeout,
        }
    });
    Balance {
        policy,
        by,
        weights: config.weights.clone(),
        drain: config.drain.iter().map(|name| name.value.clone()).collect(),
        sticky: config.sticky.as_ref().map(|cookie| cookie.value.clone()),
        fails: config.fails,
        fail_time: config.fail_time,
        check,
        proxy_protocol: match route.proxy_protocol {
            ProxyProtocolChoice::Off => None,
            ProxyProtocolChoice::V1 => Some(proxy_protocol::Version::V1),
            ProxyProtocolChoice::V2 => Some(proxy_protocol::Version::V2),
        },
    }
}

fn policy(config: &BalanceConfig, problems: &mut Problems) -> (Policy, HashBy) {
    let named = matches!(
        config.policy,
        BalanceChoice::HashHeader | BalanceChoice::HashCookie
    );
    let name = match (&config.by, named) {
        (Some(by), true) if is_token(by) => by.value.clone(),
        (Some(by), true) => {
            problems
                .push(Problem::error(format!("\"{}\" is not a name", by.value)).at(by.span, ""));
            String::new()
        }
        (Some(by), false) => {
            problems
                .push(Problem::error("`by` is for hash-header and hash-cookie").at(by.span, ""));
            String::new()
        }
        (None, true) => {
            problems.push(
                Problem::error("a field or cookie to go by is missing")
                    .at(config.place, "")
                    .help("by = \"X-User\""),
            );
            String::new()
        }
        (None, false) => String::new(),
    };
    match config.policy {
        BalanceChoice::RoundRobin => (Policy::RoundRobin, HashBy::Client),
        BalanceChoice::LeastConnections => (Policy::LeastConnections, HashBy::Client),
        BalanceChoice::Random => (Policy::Random, HashBy::Client),
        BalanceChoice::HashClient => (Policy::Hash, HashBy::Client),
        BalanceChoice::HashPath => (Policy::Hash, HashBy::Path),
        BalanceChoice::HashHeader => match HeaderName::from_bytes(name.as_bytes()) {
            Ok(name) => (Policy::Hash, HashBy::Header(name)),
            Err(_) => (Policy::Hash, HashBy::Client),
        },
        BalanceChoice::HashCookie => (Policy::Hash, HashBy::Cookie(name)),
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(text: &str) -> bool {
    HeaderName::from_bytes(text.as_bytes()).is_ok()
}

//! The upstreams of a route: which one a request goes to, and how they are.

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::{IpAddr, SocketAddr},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::{hmac, rand::SystemRandom};
use http::{HeaderMap, HeaderName, HeaderValue, header, request};

use super::{
    Pool, Protocol, Target,
    target::{self, Fault},
};
use crate::{
    engine::balance::{self, Candidate, Policy},
    wire::proxy_protocol,
};

/// What requests have in common that are to go to the same upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HashBy {
    /// The client's address; of IPv6 the network.
    Client,
    /// The path.
    Path,
    /// A field.
    Header(HeaderName),
    /// A cookie.
    Cookie(String),
}

/// A request that tells how an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Check {
    /// Asked for with GET; a 2xx or 3xx is good.
    pub path: String,
    /// How often.
    pub interval: Duration,
    /// How long it may take.
    pub timeout: Duration,
}

/// How requests are shared out among upstreams.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Balance {
    /// The way of it.
    pub policy: Policy,
    /// What [`Policy::Hash`] goes by.
    pub by: HashBy,
    /// The upstreams' shares, in their order; 1 where none is given.
    pub weights: Vec<u16>,
    /// Upstreams that get no new clients, as the config names them.
    pub drain: Vec<String>,
    /// The cookie that keeps a client with its upstream.
    pub sticky: Option<String>,
    /// Failures in a row after which an upstream is asked last.
    pub fails: u32,
    /// For how long.
    pub fail_time: Duration,
    /// How they are asked whether they are well.
    pub check: Option<Check>,
    /// What goes before each connection.
    pub proxy_protocol: Option<proxy_protocol::Version>,
}

impl Default for Balance {
    fn default() -> Self {
        Self {
            policy: Policy::RoundRobin,
            by: HashBy::Client,
            weights: Vec::new(),
            drain: Vec::new(),
            sticky: None,
            fails: 1,
            fail_time: Duration::from_secs(10),
            check: None,
            proxy_protocol: None,
        }
    }
}

/// One upstream of a route.
#[derive(Debug)]
pub(super) struct Upstream {
    pub(super) pool: Arc<Pool>,
    pub(super) authority: HeaderValue,
    /// `http://authority`, as it may stand in a Location.
    pub(super) origin: String,
    pub(super) base: String,
    weight: u16,
    drains: bool,
    /// What the sticky cookie says for it.
    tag: String,
}

/// All of them.
#[derive(Debug)]
pub(super) struct Upstreams {
    list: Vec<Upstream>,
    schedule: Vec<usize>,
    turn: AtomicUsize,
    pub(super) balance: Balance,
}

impl Upstreams {
    pub(super) fn new(
        names: &[&str],
        balance: Balance,
        pool: impl Fn(Target, Protocol) -> Arc<Pool>,
    ) -> Result<Self, Fault> {
        let upstream = |(index, text): (usize, &&str)| {
            let parsed = target::parse(text)?;
            Ok::<_, Fault>(Upstream {
                authority: HeaderValue::from_str(&parsed.authority)
                    .map_err(|_| "the host is not a host")?,
                origin: format!("http://{}", parsed.authority),
                pool: pool(parsed.target, parsed.protocol),
                base: parsed.base,
                weight: balance.weights.get(index).copied().unwrap_or(1),
                drains: balance.drain.iter().any(|name| name == text),
                tag: tag(text),
            })
        };
        let list: Vec<Upstream> = names
            .iter()
            .enumerate()
            .map(upstream)
            .collect::<Result<_, _>>()?;
        let weights: Vec<u16> = list.iter().map(|upstream| upstream.weight).collect();
        Ok(Self {
            schedule: balance::schedule(&weights),
            list,
            turn: AtomicUsize::new(0),
            balance,
        })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Upstream> {
        self.list.iter()
    }

    pub(super) fn get(&self, index: usize) -> Option<&Upstream> {
        self.list.get(index)
    }

    /// The upstream that a client says it was with, where its cookie is one of ours.
    pub(super) fn kept(&self, headers: &HeaderMap) -> Option<usize> {
        let name = self.balance.sticky.as_ref()?;
        let value = cookie(headers, name)?;
        self.list
            .iter()
            .position(|upstream| !upstream.tag.is_empty() && upstream.tag.as_bytes() == value)
    }

    /// The cookie that keeps a client with an upstream.
    pub(super) fn cookie(&self, index: usize, tls: bool) -> Option<HeaderValue> {
        let name = self.balance.sticky.as_ref()?;
        let tag = &self.list.get(index)?.tag;
        let secure = if tls { "; Secure" } else { "" };
        HeaderValue::from_str(&format!(
            "{name}={tag}; Path=/; HttpOnly; SameSite=Lax{secure}"
        ))
        .ok()
    }

    /// The upstreams in the order that they are to be asked for a request.
    pub(super) fn order(
        &self,
        head: &request::Parts,
        peer: SocketAddr,
        kept: Option<usize>,
    ) -> Vec<usize> {
        if self.list.len() == 1 {
            return vec![0];
        }
        let check = self.balance.check.as_ref();
        let check = check.map(|check| check.path.as_str());
        let candidates: Vec<Candidate> = self
            .list
            .iter()
            .map(|upstream| Candidate {
                weight: upstream.weight,
                active: upstream.pool.active(),
                drains: upstream.drains,
                avoided: upstream.pool.is_avoided(check),
            })
            .collect();
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let key = match self.balance.policy {
            Policy::Hash => key(&self.balance.by, head, peer),
            _ => 0,
        };
        balance::order(
            self.balance.policy,
            &candidates,
            &self.schedule,
            turn,
            key,
            kept,
        )
    }
}

/// What the sticky cookie says for an upstream: nothing that a client could make up or learn from.
fn tag(name: &str) -> String {
    static KEY: OnceLock<Option<hmac::Key>> = OnceLock::new();
    let key = KEY.get_or_init(|| hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()).ok());
    let Some(key) = key else {
        return String::new();
    };
    let signature = hmac::sign(key, name.as_bytes());
    let mut text = String::with_capacity(32);
    for byte in signature.as_ref().iter().take(16) {
        text.push_str(&format!("{byte:02x}"));
    }
    text
}

fn key(by: &HashBy, head: &request::Parts, peer: SocketAddr) -> u64 {
    let mut hasher = DefaultHasher::new();
    match by {
        HashBy::Client => match peer.ip().to_canonical() {
            IpAddr::V4(address) => address.octets().hash(&mut hasher),
            // Who has one address of a network has all of them.
            IpAddr::V6(address) => address.octets().get(..8).hash(&mut hasher),
        },
        HashBy::Path => head.uri.path().hash(&mut hasher),
        HashBy::Header(name) => head
            .headers
            .get(name)
            .map(HeaderValue::as_bytes)
            .hash(&mut hasher),
        HashBy::Cookie(name) => cookie(&head.headers, name).hash(&mut hasher),
    }
    hasher.finish()
}

/// The value of a cookie that a client sent.
fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get_all(header::COOKIE).iter().find_map(|value| {
        value
            .as_bytes()
            .split(|&byte| byte == b';')
            .find_map(|pair| {
                let pair = pair.trim_ascii();
                let rest = pair.strip_prefix(name.as_bytes())?;
                rest.strip_prefix(b"=")
            })
    })
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    #[test]
    fn cookies_that_clients_send() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, HeaderValue::from_static("ab=1; a=2;c=3"));
        headers.append(header::COOKIE, HeaderValue::from_static("d=4"));
        for (name, value) in [
            ("a", Some("2")),
            ("ab", Some("1")),
            ("c", Some("3")),
            ("d", Some("4")),
            ("b", None),
        ] {
            assert_eq!(cookie(&headers, name), value.map(str::as_bytes), "{name}");
        }
    }

    #[test]
    fn a_client_stays_where_its_cookie_says() -> Result<(), Fault> {
        let balance = Balance {
            sticky: Some("at".into()),
            ..Balance::default()
        };
        let names = ["http://a", "http://b", "http://c"];
        let upstreams = Upstreams::new(&names, balance, |target, protocol| {
            Arc::new(Pool::new(target, protocol))
        })?;
        let (mut head, ()) = Request::new(()).into_parts();
        let peer = SocketAddr::from(([192, 0, 2, 1], 1));
        for index in 0..3 {
            let value = upstreams.cookie(index, true).ok_or("a cookie")?;
            let text = value.to_str().unwrap_or_default();
            assert!(
                text.ends_with("; Path=/; HttpOnly; SameSite=Lax; Secure")
                    && !text.contains("http"),
                "{text}"
            );
            let sent = text.split(';').next().unwrap_or_default();
            head.headers.insert(
                header::COOKIE,
                HeaderValue::from_str(sent).map_err(|_| "a value")?,
            );
            let kept = upstreams.kept(&head.headers);
            assert_eq!(kept, Some(index));
            for _ in 0..4 {
                assert_eq!(upstreams.order(&head, peer, kept).first(), Some(&index));
            }
        }
        head.headers.insert(
            header::COOKIE,
            HeaderValue::from_static("at=0123456789abcdef0123456789abcdef"),
        );
        assert_eq!(upstreams.kept(&head.headers), None);
        Ok(())
    }
}

//! Trunks: ways to telephones elsewhere, as the engine needs to know them.

mod config;

use std::{
    net::{IpAddr, SocketAddr},
    time::Duration,
};

use omnid_config::{IpNet, Problem, Problems, Secret, Spanned};

pub use self::config::{TrunkConfig, TrunkTransport};
use crate::wire::{Host, Transport, Uri};

/// A trunk.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trunk {
    /// What routes name it by.
    pub name: String,
    /// Its servers, the one to be preferred first.
    pub servers: Vec<Server>,
    /// How it is spoken to.
    pub transport: Transport,
    /// The domain of its numbers.
    pub domain: Option<String>,
    /// The name and password to log in with.
    pub login: Option<(String, Secret)>,
    /// For how many seconds to register, where it is to.
    pub register: Option<u32>,
    /// The first wait after a failed registration.
    pub retry: Duration,
    /// How often servers are asked whether they are there.
    pub qualify: Option<Duration>,
    /// How long one may take to say anything.
    pub reply_within: Duration,
    /// Networks that calls come from, besides the servers.
    pub addresses: Vec<IpNet>,
    /// The number that is shown for callers.
    pub caller_id: Option<String>,
}

/// Where a trunk is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// A name, or an address without brackets.
    pub host: String,
    /// The port; by SRV or the usual one unless given.
    pub port: Option<u16>,
}

impl Trunk {
    /// The domain of its numbers, as URIs have it.
    #[must_use]
    pub fn host(&self) -> String {
        if let Some(domain) = &self.domain {
            return domain.clone();
        }
        let Some(server) = self.servers.first() else {
            return String::new();
        };
        let host = match server.host.parse::<IpAddr>() {
            Ok(address) => Host::Address(address).to_string(),
            Err(_) => server.host.clone(),
        };
        server
            .port
            .map_or(host.clone(), |port| format!("{host}:{port}"))
    }
}

impl Server {
    /// Reads `host`, `host:port`, `192.0.2.1:5060` or `[2001:db8::1]:5060`.
    fn parse(text: &str) -> Option<Self> {
        // What a URI's host may be, a server's may be too.
        let uri = format!("sip:{text}");
        let Ok(Uri::Sip(uri)) = Uri::parse(uri.as_bytes()) else {
            return None;
        };
        if uri.user.is_some() || !uri.params.is_empty() || !uri.headers.is_empty() {
            return None;
        }
        let host = match uri.host {
            Host::Name(name) => name.to_owned(),
            Host::Address(address) => address.to_string(),
        };
        Some(Self {
            host,
            port: uri.port,
        })
    }

    /// Where it is, if it says so itself.
    #[must_use]
    pub fn address(&self, transport: Transport) -> Option<SocketAddr> {
        let ip: IpAddr = self.host.parse().ok()?;
        let port = self.port.unwrap_or_else(|| transport.default_port());
        Some((ip, port).into())
    }
}

/// Checks the trunks, and makes of them what the engine needs.
pub(crate) fn compile(trunks: &[TrunkConfig], problems: &mut Problems) -> Vec<Trunk> {
    trunks
        .iter()
        .map(|trunk| Trunk {
            name: trunk.name.value.clone(),
            servers: servers(&trunk.servers, problems),
            transport: match trunk.transport {
                TrunkTransport::Udp => Transport::Udp,
                TrunkTransport::Tcp => Transport::Tcp,
            },
            domain: trunk
                .domain
                .as_ref()
                .and_then(|domain| host(domain, problems)),
            login: trunk
                .username
                .as_ref()
                .and_then(|name| word(name, problems))
                .zip(trunk.password.clone()),
            register: trunk
                .register
                .value
                .then(|| u32::try_from(trunk.expires.as_secs()).unwrap_or(3600)),
            retry: trunk.retry,
            qualify: Some(trunk.qualify)
                .filter(|every| !every.is_zero())
                .map(|every| every.max(Duration::from_secs(1))),
            reply_within: trunk.reply_within,
            addresses: trunk.addresses.iter().map(|net| net.value).collect(),
            caller_id: trunk.caller_id.as_ref().and_then(|id| word(id, problems)),
        })
        .collect()
}

fn servers(texts: &[Spanned<String>], problems: &mut Problems) -> Vec<Server> {
    let mut servers = Vec::new();
    for text in texts {
        match Server::parse(&text.value) {
            Some(server) => servers.push(server),
            None => problems.push(
                Problem::error(format!("\"{}\" is no server", text.value))
                    .at(text.span, "not a host")
                    .help("write it like \"sip.example.net\" or \"192.0.2.1:5060\""),
            ),
        }
    }
    servers
}

fn host(text: &Spanned<String>, problems: &mut Problems) -> Option<String> {
    let found = Server::parse(&text.value).filter(|server| server.port.is_none());
    if found.is_none() {
        problems.push(
            Problem::error(format!("\"{}\" is no domain", text.value))
                .at(text.span, "not a host")
                .help("write it like \"example.net\""),
        );
    }
    found.map(|_| text.value.clone())
}

/// A text that may stand as a URI's user part as it is.
fn word(text: &Spanned<String>, problems: &mut Problems) -> Option<String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.!~*'()&=+$,/".contains(&byte);
    if !text.value.is_empty() && text.value.bytes().all(fits) {
        return Some(text.value.clone());
    }
    problems.push(
        Problem::error(format!("\"{}\" is no user part of an address", text.value))
            .at(text.span, "not letters and digits")
            .help("write a name or a number, without a domain"),
    );
    None
}

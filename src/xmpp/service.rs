//! The service in the daemon: prepared, opened, made to run what was prepared, closed.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use omnid_config::{ListenAddr, Problem, Problems, Spanned};
use omnid_ground::{
    Change, Ground, ListenerClaim, ListenerSet, Prepare, Service, ServiceError, Transport, Wanted,
    config::DomainConfig, streams,
};
use omnid_hub::{
    Contact, ControlError, Record, RecordData, StreamContext, StreamHandler, Whereabouts,
};
use omnid_net::TlsSocket;
use omnid_supervisor::{ChildSpec, Handle};
use serde_json::{Value, json};
use tracing::warn;

use crate::{
    Config,
    config::S2sConfig,
    data,
    features::upload,
    io::{
        archive::Archive,
        login::{self, Peer},
        s2s::{self, Trust},
        server::Server,
        settings::Settings,
        sweep,
        upload::Files,
        web,
    },
    wire::{BareJid, Element, Jid, Stanza, ns, time},
};

/// How long streams may take to close.
const DRAIN: Duration = Duration::from_secs(10);

/// The XMPP service.
pub struct Xmpp {
    server: Arc<Server>,
    listeners: ListenerSet,
    /// What was applied last.
    applied: Mutex<Option<Prepared>>,
    /// The domains that we have published records about.
    published: Mutex<BTreeSet<String>>,
    /// What the hub holds by reference.
    alpn: Arc<dyn StreamHandler>,
    tree: Mutex<Option<Handle>>,
}

/// The section, checked.
#[derive(Debug, Clone, PartialEq)]
pub struct Prepared {
    config: Config,
    /// The domains served, in their normal form.
    hosts: Vec<BareJid>,
}

impl Prepared {
    /// Whose certificates of other servers are believed: those of the file as it is now.
    fn trust(&self) -> Arc<Trust> {
        let file = &self.config.s2s.authorities;
        let trust = if self.config.s2s.federates() {
            Trust::load(file)
        } else {
            Ok(Trust::nobody())
        };
        Arc::new(trust.unwrap_or_else(|error| {
            warn!(file = %file.display(), %error, "no certificate of another server is believed");
            Trust::nobody()
        }))
    }
}

impl Service for Xmpp {
    const NAME: &'static str = "xmpp";
    type Config = Config;
    type Prepared = Prepared;

    fn prepare(
        config: &Config,
        context: &Prepare<'_>,
        problems: &mut Problems,
    ) -> Option<Prepared> {
        let before = problems.errors();
        let named = config.hosts.iter();
        let all = context.domains.iter().map(|domain| &domain.name);
        let chosen: Vec<_> = if config.hosts.is_empty() {
            all.collect()
        } else {
            named.collect()
        };
        if chosen.is_empty() {
            problems.push(
                Problem::absence("no domain to serve messages for")
                    .at(config.place.span(), "this section")
                    .help("add a [[domain]], or name domains in xmpp.hosts"),
            );
        }
        let mut hosts: Vec<BareJid> = Vec::new();
        for name in chosen {
            match BareJid::from_domain(name.as_str()) {
                Ok(host) if hosts.contains(&host) => {
                    let problem = Problem::error(format!("{host} is named twice"));
                    problems.push(problem.at(name.span, "here again"));
                }
                Ok(host) => hosts.push(host),
                Err(error) => {
                    let problem = Problem::error(format!("{name} can't be part of an address"));
                    problems.push(problem.at(name.span, error.to_string()));
                }
            }
        }
        if !context.tls {
            problems.push(
                Problem::absence("clients need TLS, and there is no certificate")
                    .at(config.place.span(), "this section")
                    .help("give [tls] a certificate, or self_signed = true to try things out"),
            );
        }
        (problems.errors() == before).then(|| Prepared {
            config: config.clone(),
            hosts,
        })
    }

    fn listeners(config: &Config) -> Vec<ListenerClaim> {
        let mut claims = ListenerClaim::all(Transport::Stream, &config.listen);
        claims.extend(ListenerClaim::all(Transport::Stream, &config.listen_tls));
        claims.extend(ListenerClaim::all(Transport::Stream, &config.s2s.listen));
        claims.extend(ListenerClaim::all(
            Transport::Stream,
            &config.listen_components,
        ));
        claims.extend(ListenerClaim::all(
            Transport::Stream,
            &config.s2s.listen_tls,
        ));
        claims
    }

    async fn open(ground: Ground) -> Result<Arc<Xmpp>, ServiceError> {
        let failed = |error: omnid_store::StoreError| ServiceError {
            service: Xmpp::NAME,
            reason: format!("the tables can't be made: {error}"),
        };
        data::migrate(&ground.database).await.map_err(failed)?;
        let hub = ground.hub.clone();
        let trust = Arc::new(Trust::nobody());
        let settings = Settings::new(Config::default(), HashSet::new(), trust);
        let last = ground.database.read(data::archive::last).await;
        let archive = Archive::new(last.map_err(failed)?);
        let server = Arc::new_cyclic(|me| Server::new(ground, settings, archive, me.clone()));
        let presence: Arc<dyn Whereabouts> = Arc::new(Presence(server.clone()));
        hub.directory().offer(Xmpp::NAME, &presence);
        let listed = server.clone();
        hub.control().register("sessions", move |arguments| {
            let answer = sessions(&listed, &arguments);
            async move { answer }
        });
        let alpn: Arc<dyn StreamHandler> = Arc::new(OnTls(server.clone()));
        Ok(Arc::new(Xmpp {
            server,
            listeners: ListenerSet::default(),
            applied: Mutex::default(),
            published: Mutex::default(),
            alpn,
            tree: Mutex::default(),
        }))
    }

    fn plan(&self, prepared: &Prepared) -> Vec<Change> {
        let tree = self
            .tree
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let wanted = self.wanted(&prepared.config);
        let mut changes = self.listeners.plan(&wanted, tree.as_ref());
        let applied = self.applied.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(before) = applied.as_ref() else {
            return changes;
        };
        let live = |what: String, how| Change {
            what,
            how,
            connections: 0,
        };
        for host in &prepared.hosts {
            if !before.hosts.contains(host) {
                changes.push(live(format!("host {host}"), "added"));
            }
        }
        for host in &before.hosts {
            if !prepared.hosts.contains(host) {
                changes.push(live(format!("host {host}"), "removed"));
            }
        }
        let settings = |config: &Config| Config {
            hosts: Vec::new(),
            listen: Vec::new(),
            listen_tls: Vec::new(),
            listen_components: Vec::new(),
            s2s: S2sConfig {
                listen: Vec::new(),
                listen_tls: Vec::new(),
                ..config.s2s.clone()
            },
            ..config.clone()
        };
        if settings(&before.config) != settings(&prepared.config) {
            changes.push(live("settings".to_owned(), "changed live"));
        }
        changes
    }

    async fn apply(
        self: &Arc<Xmpp>,
        prepared: Prepared,
        tree: &Handle,
    ) -> Result<(), ServiceError> {
        *self.tree.lock().unwrap_or_else(PoisonError::into_inner) = Some(tree.clone());
        let hosts = prepared
            .hosts
            .iter()
            .map(|host| host.as_str().into())
            .collect();
        let trust = prepared.trust();
        let settings = Settings::new(prepared.config.clone(), hosts, trust);
        self.server.settings.store(Arc::new(settings));
        if tree.child("sessions").is_none() {
            let server = self.server.clone();
            let run = move |child| {
                let server = server.clone();
                async move {
                    let database = server.ground.database.clone();
                    server.archive.run(database, child).await
                }
            };
            let child = ChildSpec::worker("archive", run).shutdown(DRAIN);
            tree.add(child).await.map_err(|error| ServiceError {
                service: Xmpp::NAME,
                reason: error.to_string(),
            })?;
            let server = self.server.clone();
            let run = move |child| sweep::run(server.clone(), child);
            let child = ChildSpec::worker("sessions", run).shutdown(DRAIN);
            let failed = |error: &dyn std::fmt::Display| ServiceError {
                service: Xmpp::NAME,
                reason: error.to_string(),
            };
            tree.add(child).await.map_err(|error| failed(&error))?;
        }
        let wanted = self.wanted(&prepared.config);
        self.listeners
            .apply(&self.server.ground, tree, wanted)
            .await?;
        self.server
            .ground
            .hub
            .alpn()
            .offer("xmpp-client", &self.alpn);
        let mounts = self.server.ground.hub.mounts();
        mounts.withdraw(Xmpp::NAME);
        let off = prepared
            .config
            .disable
            .iter()
            .any(|name| name.value == upload::NAME);
        if let Some(path) = prepared.config.upload.path().filter(|_| !off) {
            let files = Files(Arc::downgrade(&self.server));
            mounts.offer(path, Xmpp::NAME, Arc::new(files));
        }
        for (path, mount) in web::mounts(&self.server) {
            mounts.offer(path, Xmpp::NAME, mount);
        }
        self.publish(&prepared);
        *self.applied.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared);
        Ok(())
    }

    fn rehearse(prepared: &Prepared, question: &Value) -> Result<Value, String> {
        let text = question
            .get("jid")
            .and_then(Value::as_str)
            .ok_or("give it a jid")?;
        Ok(match Jid::new(text) {
            Ok(jid) => json!({
                "jid": jid.as_str(),
                "local": jid.local(),
                "domain": jid.domain(),
                "resource": jid.resource(),
                "served": prepared.hosts.iter().any(|host| host.as_str() == jid.domain()),
            }),
            Err(error) => json!({ "jid": null, "error": error.to_string() }),
        })
    }

    async fn close(self: &Arc<Xmpp>) {
        let hub = &self.server.ground.hub;
        hub.alpn().withdraw("xmpp-client");
        hub.records().withdraw(Xmpp::NAME);
        hub.mounts().withdraw(Xmpp::NAME);
        // Sessions without a connection have nobody to say goodbye to; their accounts do.
        for session in self.server.each_session() {
            self.server.leave(session).await;
        }
        let server = &self.server;
        server.archive.flush(&server.ground.database).await;
    }
}

impl Xmpp {
    fn wanted(&self, config: &Config) -> Vec<Wanted> {
        let ground = &self.server.ground;
        let plain = config.listen.iter().map(|address| {
            let server = self.server.clone();
            streams(
                ground,
                Xmpp::NAME,
                "client",
                address,
                move |child, accepted| {
                    let span = accepted.span();
                    child.spawn("login", span, login::begin_plain(server.clone(), accepted));
                },
            )
        });
        let tls = config.listen_tls.iter().map(|address| {
            let server = self.server.clone();
            streams(
                ground,
                Xmpp::NAME,
                "client-tls",
                address,
                move |child, accepted| {
                    let span = accepted.span();
                    child.spawn("login", span, login::begin_tls(server.clone(), accepted));
                },
            )
        });
        let servers = config.s2s.listen.iter().map(|address| {
            let server = self.server.clone();
            streams(
                ground,
                Xmpp::NAME,
                "server",
                address,
                move |child, accepted| {
                    let span = accepted.span();
                    child.spawn("server", span, s2s::begin_plain(server.clone(), accepted));
                },
            )
        });
        let servers_tls = config.s2s.listen_tls.iter().map(|address| {
            let server = self.server.clone();
            streams(
                ground,
                Xmpp::NAME,
                "server-tls",
                address,
                move |child, accepted| {
                    let span = accepted.span();
                    child.spawn("server", span, s2s::begin_tls(server.clone(), accepted));
                },
            )
        });
        let components = config.listen_components.iter().map(|address| {
            let server = self.server.clone();
            streams(
                ground,
                Xmpp::NAME,
                "component",
                address,
                move |child, accepted| {
                    let span = accepted.span();
                    child.spawn(
                        "component",
                        span,
                        s2s::begin_component(server.clone(), accepted),
                    );
                },
            )
        });
        let servers = servers.chain(servers_tls);
        plain.chain(tls).chain(servers).chain(components).collect()
    }

    /// Says in the DNS where clients of the hosts find us (RFC 6120 3.2.1, XEP-0368).
    fn publish(&self, prepared: &Prepared) {
        let ground = &self.server.ground;
        let facts = ground.server.load();
        let port = |addresses: &[Spanned<ListenAddr>], kind: &str| {
            bound_port(
                ground,
                &format!("{} {kind}", Xmpp::NAME),
                addresses.first()?,
            )
        };
        let s2s = &prepared.config.s2s;
        let services = [
            ("xmpp-client", port(&prepared.config.listen, "client")),
            ("xmpp-server", port(&s2s.listen, "server")),
            ("xmpps-server", port(&s2s.listen_tls, "server-tls")),
            (
                "xmpps-client",
                port(&prepared.config.listen_tls, "client-tls"),
            ),
        ];
        let mut published = self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut records: BTreeMap<String, Vec<Record>> = published
            .iter()
            .map(|domain| (domain.clone(), Vec::new()))
            .collect();
        for host in &prepared.hosts {
            // A host that has no domain of its own is in the zone of the one it lies in.
            let within = |domain: &&DomainConfig| {
                let above = host.as_str().strip_suffix(domain.name.as_str());
                above.is_some_and(|above| above.is_empty() || above.ends_with('.'))
            };
            let domains = facts.domains.iter().filter(within);
            let Some(domain) = domains.max_by_key(|domain| domain.name.as_str().len()) else {
                continue;
            };
            if !domain.publish {
                continue;
            }
            let of_domain = records.entry(domain.name.as_str().to_owned()).or_default();
            for (service, port) in services {
                let Some(port) = port else { continue };
                of_domain.push(Record {
                    name: format!("_{service}._tcp.{host}"),
                    ttl: 3600,
                    data: RecordData::Srv {
                        priority: 0,
                        weight: 5,
                        port,
                        target: facts.server.hostname.as_str().to_owned(),
                    },
                });
            }
        }
        *published = records.keys().cloned().collect();
        for (domain, records) in records {
            ground.hub.records().publish(Xmpp::NAME, &domain, records);
        }
    }
}

/// The port that clients reach a listener at: the one it was given, if it was to choose.
fn bound_port(ground: &Ground, owner: &str, address: &ListenAddr) -> Option<u16> {
    let asked = match address {
        ListenAddr::Ip(address) => address.port(),
        ListenAddr::Unix(_) => return None,
    };
    if asked != 0 {
        return Some(asked);
    }
    let bound = ground
        .net
        .bound()
        .into_iter()
        .find(|bound| bound.service == owner)?;
    match bound.address {
        ListenAddr::Ip(address) => Some(address.port()),
        ListenAddr::Unix(_) => None,
    }
}

/// Streams from a TLS port that several protocols share.
struct OnTls(Arc<Server>);

impl StreamHandler for OnTls {
    fn take(&self, stream: TlsSocket, context: StreamContext) {
        let StreamContext {
            peer,
            listener,
            permit,
            ..
        } = context;
        let span = tracing::info_span!(
            "connection",
            listener = &*listener,
            peer = %peer,
            user = tracing::field::Empty,
        );
        let server = self.0.clone();
        if let Some(runner) = &**self.0.runner.load() {
            let peer = Peer {
                server,
                address: peer,
                listener,
                permit: Some(permit),
            };
            runner.spawn("login", span, login::begin_secured(stream, peer));
        }
    }
}

/// Where accounts can be reached by a message.
struct Presence(Arc<Server>);

impl Whereabouts for Presence {
    fn contacts(&self, address: &str) -> Vec<Contact> {
        let Ok(bare) = BareJid::new(address) else {
            return Vec::new();
        };
        let Some(cell) = self.0.accounts.get(bare.as_str()) else {
            return Vec::new();
        };
        let live = cell.live();
        let contacts = live.sessions().iter().filter_map(|session| {
            let (presence, _) = session.presence()?;
            let show = presence.to_element().ok()?;
            let show = show
                .get_child("show", ns::CLIENT)
                .map(Element::text_content);
            Some(Contact {
                service: Xmpp::NAME,
                address: session.jid.to_string(),
                state: show
                    .filter(|show| !show.is_empty())
                    .unwrap_or("available".to_owned()),
            })
        });
        contacts.collect()
    }
}

/// What a session says of itself (RFC 6121 4.7.2.1).
fn state(presence: Option<&Stanza>) -> String {
    let Some(presence) = presence else {
        return "unavailable".to_owned();
    };
    let tree = presence.to_element().ok();
    let show = tree
        .as_ref()
        .and_then(|tree| tree.get_child("show", ns::CLIENT));
    let show = show
        .map(Element::text_content)
        .filter(|show| !show.is_empty());
    show.unwrap_or_else(|| "available".to_owned())
}

/// The verb `sessions`: every bound session, or those of `account`.
fn sessions(server: &Server, arguments: &Value) -> Result<Value, ControlError> {
    let account = match arguments.get("account").and_then(Value::as_str) {
        Some(account) => {
            Some(BareJid::new(account).map_err(|error| ControlError::new(error.to_string()))?)
        }
        None => None,
    };
    let now = SystemTime::now();
    let mut list: Vec<Value> = Vec::new();
    for session in server.each_session() {
        let facts = &session.outbox.facts;
        if account
            .as_ref()
            .is_some_and(|account| account.as_str() != facts.jid.bare_str())
        {
            continue;
        }
        let live = session.cell.live();
        let presence = live
            .session(session.id)
            .and_then(|session| session.presence());
        let since = now.duration_since(facts.since).unwrap_or_default();
        list.push(json!({
            "jid": facts.jid.as_str(),
            "peer": facts.peer.to_string(),
            "listener": &*facts.listener,
            "mechanism": facts.mechanism,
            "since": time::format(facts.since),
            "seconds": since.as_secs(),
            "state": state(presence.map(|(presence, _)| presence)),
            "priority": presence.map(|(_, priority)| priority),
            "resumable": session.outbox.token().is_some(),
        }));
    }
    list.sort_by(|a, b| a["jid"].as_str().cmp(&b["jid"].as_str()));
    Ok(Value::Array(list))
}

#[cfg(test)]
mod tests;

//! Connections that other servers make to us: they say who they are, prove it, and send.

use std::{collections::HashSet, sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use omnid_net::{Accepted, TlsSocket, plain_accept, tls_accept};
use omnid_supervisor::ChildResult;
use omnid_telemetry::limited;
use omnid_tls::ClientCertificates;
use rustls::pki_types::CertificateDer;
use tokio::time::Instant;
use tracing::info;

use super::{
    link::{Got, Link, Over, open},
    outgoing,
};
use crate::{
    engine::dialback,
    io::server::{Server, token},
    wire::{
        Element, Stanza, StreamCondition, StreamError, ns,
        stream::{CLOSE, StreamHeader},
    },
};

/// How long a server may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long it may say nothing once it has.
const IDLE: Duration = Duration::from_secs(3600);
/// Pairs of domains that one stream can prove.
const PAIRS: usize = 100;

/// Runs a connection that begins in clear.
pub(crate) async fn begin_plain(server: Arc<Server>, accepted: Accepted) -> ChildResult {
    let net = server.ground.net.config();
    let Ok(socket) = plain_accept(accepted.socket, net.first_byte_timeout).await else {
        return Ok(());
    };
    let deadline = Instant::now() + PATIENCE;
    let mut link = Link::new(socket);
    match until_tls(&server, &mut link, deadline).await {
        Ok(()) => {}
        Err(over) => {
            link.end(&over).await;
            return Ok(());
        }
    }
    let Some(socket) = link.into_socket() else {
        info!("something was sent in clear behind STARTTLS");
        return Ok(());
    };
    let config = server
        .ground
        .certificates
        .server_config(&[], ClientCertificates::Unverified);
    let acceptor = tokio_rustls::TlsAcceptor::from(config);
    let handshake = tokio::time::timeout(net.handshake_timeout, acceptor.accept(socket)).await;
    let Ok(Ok(socket)) = handshake else {
        return Ok(());
    };
    let chain = socket.get_ref().1.peer_certificates().map(owned);
    secured(server, Link::new(socket), chain, deadline).await;
    drop(accepted.permit);
    Ok(())
}

/// Runs a connection that begins with TLS.
pub(crate) async fn begin_tls(server: Arc<Server>, accepted: Accepted) -> ChildResult {
    let certificates = &server.ground.certificates;
    let config = certificates.server_config(&["xmpp-server"], ClientCertificates::Unverified);
    let limit = server.ground.net.config().handshake_timeout;
    let Ok(socket) = tls_accept(accepted.socket, config, limit).await else {
        return Ok(());
    };
    let socket: TlsSocket = socket;
    let deadline = Instant::now() + PATIENCE;
    let chain = socket.get_ref().1.peer_certificates().map(owned);
    secured(server, Link::new(socket), chain, deadline).await;
    drop(accepted.permit);
    Ok(())
}

fn owned(chain: &[CertificateDer<'_>]) -> Vec<CertificateDer<'static>> {
    chain.iter().map(|one| one.clone().into_owned()).collect()
}

/// Who wants to speak with whom.
struct Greeting {
    remote: Option<String>,
    id: String,
}

/// Reads a header and answers it.
async fn greet(server: &Server, link: &mut Link, deadline: Instant) -> Result<Greeting, Over> {
    let header = match link.next(deadline).await? {
        Got::Header(header) => header,
        _ => return Err(StreamCondition::BadFormat.into()),
    };
    let StreamHeader { to, from, .. } = &header;
    let local = to.as_ref().map(|to| to.domain().to_owned());
    let served = local.clone().filter(|local| server.is_ours(local));
    let remote = from.as_ref().map(|from| from.domain().to_owned());
    let id = token();
    let said = open(
        local.as_deref().unwrap_or_default(),
        remote.as_deref().unwrap_or_default(),
        Some(&id),
    );
    link.send(said.as_bytes()).await?;
    if served.is_none() {
        return Err(StreamCondition::HostUnknown.into());
    }
    // Nobody is us but ourselves.
    if remote
        .as_deref()
        .is_some_and(|remote| server.is_ours(remote))
    {
        return Err(StreamCondition::InvalidFrom.into());
    }
    Ok(Greeting { remote, id })
}

async fn until_tls(server: &Server, link: &mut Link, deadline: Instant) -> Result<(), Over> {
    greet(server, link, deadline).await?;
    let required = Element::new("required", ns::TLS);
    features(
        link,
        vec![Element::new("starttls", ns::TLS).child(required)],
    )
    .await?;
    match link.next(deadline).await? {
        Got::Element(element) if element.is("starttls", ns::TLS) => {
            send(link, &Element::new("proceed", ns::TLS)).await
        }
        Got::End => Err(Over::Gone),
        _ => Err(StreamError::new(StreamCondition::PolicyViolation, "TLS comes first").into()),
    }
}

impl From<StreamError> for Over {
    fn from(error: StreamError) -> Over {
        Over::Error(error)
    }
}

async fn features(link: &mut Link, features: Vec<Element>) -> Result<(), Over> {
    let mut text = String::from("<stream:features>");
    for feature in features {
        feature.write(ns::SERVER, &mut text);
    }
    text.push_str("</stream:features>");
    link.send(text.as_bytes()).await
}

async fn send(link: &mut Link, element: &Element) -> Result<(), Over> {
    let mut text = String::new();
    element.write(ns::SERVER, &mut text);
    link.send(text.as_bytes()).await
}

async fn secured(
    server: Arc<Server>,
    mut link: Link,
    chain: Option<Vec<CertificateDer<'static>>>,
    deadline: Instant,
) {
    let mut peer = Peer {
        server,
        chain,
        proved: HashSet::new(),
        external: None,
    };
    let over = match peer.run(&mut link, deadline).await {
        Ok(()) => {
            let _closed = link.send(CLOSE.as_bytes()).await;
            Over::Gone
        }
        Err(over) => over,
    };
    if let Over::Error(error) = &over {
        peer.server.metrics.flawed.inc();
        limited!(
            Duration::from_secs(10),
            info,
            "a server's stream was ended",
            condition = error.condition.as_str(),
            text = error.text
        );
    }
    link.end(&over).await;
}

/// A server at the other end.
struct Peer {
    server: Arc<Server>,
    chain: Option<Vec<CertificateDer<'static>>>,
    /// Its domains and ours that were proved by dialback.
    proved: HashSet<(String, String)>,
    /// The domain that it proved to be by its certificate.
    external: Option<String>,
}

impl Peer {
    fn certified(&self, domain: &str) -> bool {
        let trust = &self.server.settings.load().trust;
        trust.proves(self.chain.as_deref(), domain)
    }

    async fn run(&mut self, link: &mut Link, mut deadline: Instant) -> Result<(), Over> {
        let mut greeting = greet(&self.server, link, deadline).await?;
        self.offer(link, &greeting).await?;
        loop {
            match link.next(deadline).await? {
                Got::Element(element) => match (element.ns(), element.name()) {
                    (ns::SASL, "auth") => {
                        if let Some(domain) = self.external(&element, &greeting) {
                            send(link, &Element::new("success", ns::SASL)).await?;
                            info!(domain = %domain, "another server proved itself by its certificate");
                            self.external = Some(domain);
                            link.restart();
                            link.trusted();
                            greeting = greet(&self.server, link, deadline).await?;
                            if greeting.remote.is_some() && greeting.remote != self.external {
                                return Err(StreamCondition::InvalidFrom.into());
                            }
                            features(link, Vec::new()).await?;
                        } else {
                            let failure = Element::new("failure", ns::SASL)
                                .child(Element::new("not-authorized", ns::SASL));
                            send(link, &failure).await?;
                            return Ok(());
                        }
                    }
                    (ns::DIALBACK, "result") => self.result(link, &element, &greeting).await?,
                    (ns::DIALBACK, "verify") => self.verify(link, &element).await?,
                    // Its last words.
                    (ns::STREAM, "error") => return Err(Over::Gone),
                    _ => return Err(StreamCondition::UnsupportedStanzaType.into()),
                },
                Got::Stanza(stanza) => self.take(stanza).await?,
                Got::End => return Ok(()),
                Got::Header(_) => return Err(StreamCondition::BadFormat.into()),
            }
            if self.external.is_some() || !self.proved.is_empty() {
                deadline = Instant::now() + IDLE;
            }
        }
    }

    async fn offer(&self, link: &mut Link, greeting: &Greeting) -> Result<(), Over> {
        let mut offered = Vec::new();
        if let Some(remote) = &greeting.remote
            && self.certified(remote)
        {
            let external = Element::new("mechanism", ns::SASL).text("EXTERNAL");
            offered.push(Element::new("mechanisms", ns::SASL).child(external));
        }
        let errors = Element::new("errors", ns::DIALBACK_FEATURE);
        offered.push(Element::new("dialback", ns::DIALBACK_FEATURE).child(errors));
        features(link, offered).await
    }

    /// SASL EXTERNAL (XEP-0178): who the certificate and the header say it is.
    fn external(&self, auth: &Element, greeting: &Greeting) -> Option<String> {
        if auth.get_attr("mechanism") != Some("EXTERNAL") || self.external.is_some() {
            return None;
        }
        let text = auth.text_content();
        let named = match text.trim_ascii() {
            "" | "=" => None,
            text => Some(String::from_utf8(BASE64.decode(text).ok()?).ok()?),
        };
        let remote = greeting.remote.clone()?;
        if named.is_some_and(|named| named != remote) || !self.certified(&remote) {
            return None;
        }
        Some(remote)
    }

    /// Dialback, as the one that is to be convinced (XEP-0220 2.1.2).
    async fn result(
        &mut self,
        link: &mut Link,
        result: &Element,
        greeting: &Greeting,
    ) -> Result<(), Over> {
        let (Some(from), Some(to)) = (result.get_attr("from"), result.get_attr("to")) else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        // A result that we did not ask for proves nothing.
        if result.get_attr("type").is_some() || !self.server.is_ours(to) {
            return Err(StreamCondition::HostUnknown.into());
        }
        if self.server.is_ours(from) || self.proved.len() >= PAIRS {
            return Err(StreamCondition::InvalidFrom.into());
        }
        let allowed = self.server.settings.load().dialback(from);
        let valid = if self.certified(from) {
            true
        } else if allowed {
            let key = result.text_content();
            let asked = outgoing::verify(&self.server, to, from, &greeting.id, key.trim()).await;
            asked.unwrap_or_else(|reason| {
                limited!(
                    Duration::from_secs(10),
                    info,
                    "a server could not be asked",
                    reason
                );
                false
            })
        } else {
            false
        };
        let answer = Element::new("result", ns::DIALBACK)
            .attr("from", to)
            .attr("to", from)
            .attr("type", if valid { "valid" } else { "invalid" });
        send(link, &answer).await?;
        if valid {
            info!(domain = from, "another server proved itself");
            self.proved.insert((from.to_owned(), to.to_owned()));
            link.trusted();
            return Ok(());
        }
        let text = "this domain is not yours";
        Err(StreamError::new(StreamCondition::NotAuthorized, text).into())
    }

    /// Dialback, as the one that is asked whether a key is ours (2.2.2).
    async fn verify(&self, link: &mut Link, verify: &Element) -> Result<(), Over> {
        let attribute = |name| verify.get_attr(name);
        let (Some(from), Some(to), Some(id)) =
            (attribute("from"), attribute("to"), attribute("id"))
        else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        if attribute("type").is_some() {
            return Err(StreamCondition::UnsupportedStanzaType.into());
        }
        let key = verify.text_content();
        let secret = self.server.remotes.secret();
        let valid = self.server.is_ours(to) && dialback::is_key(secret, from, to, id, key.trim());
        let answer = Element::new("verify", ns::DIALBACK)
            .attr("from", to)
            .attr("to", from)
            .attr("id", id)
            .attr("type", if valid { "valid" } else { "invalid" });
        send(link, &answer).await
    }

    /// A stanza, from a domain that was proved, to one of ours.
    async fn take(&self, stanza: Stanza) -> Result<(), Over> {
        let (Some(from), Some(to)) = (stanza.from(), stanza.to()) else {
            return Err(StreamCondition::ImproperAddressing.into());
        };
        let pair = (from.domain().to_owned(), to.domain().to_owned());
        if self.external.as_deref() != Some(from.domain()) && !self.proved.contains(&pair) {
            let condition = if self.external.is_none() && self.proved.is_empty() {
                StreamCondition::NotAuthorized
            } else {
                StreamCondition::InvalidFrom
            };
            return Err(condition.into());
        }
        if !self.server.is_ours(to.domain()) {
            return Err(StreamCondition::HostUnknown.into());
        }
        self.server.metrics.stanza(stanza.kind());
        let wishes = Box::pin(self.server.route(stanza)).await;
        Box::pin(self.server.apply(wishes)).await;
        Ok(())
    }
}

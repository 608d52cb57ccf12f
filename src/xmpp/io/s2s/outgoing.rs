//! Connections that we make to other servers.

use std::{sync::Arc, time::Duration};

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use omnid_supervisor::ChildResult;
use omnid_telemetry::limited;
use rustls::pki_types::ServerName;
use tokio::{
    net::TcpStream,
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_rustls::TlsConnector;
use tracing::info;

use super::{
    Pair,
    link::{Got, Link, Over, open},
    queue::{self, Queue, Waiting},
    trust,
};
use crate::{
    engine::{account::bounce, dialback},
    io::server::Server,
    wire::{Condition, Element, ns},
};

/// How long it may take until a stream can be used.
const PATIENCE: Duration = Duration::from_secs(30);
/// For each address.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a stream that nothing is sent on is kept.
const IDLE: Duration = Duration::from_secs(600);

/// Sends what is to be sent, as long as there is something.
pub(super) async fn run(
    server: Arc<Server>,
    pair: Pair,
    mut stanzas: mpsc::Receiver<Waiting>,
    queue: Queue,
) -> ChildResult {
    let deadline = Instant::now() + PATIENCE;
    let mut batch = Vec::new();
    match connect(&server, &pair, deadline).await {
        Ok(mut link) => {
            info!("connected");
            server.remotes.connected(&pair);
            serve(&mut link, &mut stanzas, &mut batch).await;
        }
        Err(reason) => {
            limited!(
                Duration::from_secs(10),
                info,
                "another server can't be reached",
                reason
            );
        }
    }
    server.remotes.closed(&pair, &queue);
    // Their senders hear that they did not get there, or that it isn't known whether they did.
    for stanza in queue::close(batch, &mut stanzas) {
        let back = bounce(&stanza, Condition::RemoteServerNotFound);
        Box::pin(server.apply(back)).await;
    }
    Ok(())
}

/// Writes until the stream ends. What could not be written stays in `batch`.
async fn serve(link: &mut Link, stanzas: &mut mpsc::Receiver<Waiting>, batch: &mut Vec<Waiting>) {
    loop {
        let idle = Instant::now() + IDLE;
        tokio::select! {
            biased;
            got = link.next(idle) => match got {
                // Nothing is expected here; what is sent anyway comes from nobody.
                Ok(Got::Element(_) | Got::Stanza(_)) => {}
                Ok(Got::Header(_) | Got::End) | Err(_) => {
                    let _closed = link.send(crate::wire::stream::CLOSE.as_bytes()).await;
                    return;
                }
            },
            first = stanzas.recv() => {
                let Some(first) = first else { return };
                let bytes = queue::gather(first, stanzas, batch);
                if link.send(&bytes).await.is_err() {
                    return;
                }
                batch.clear();
            }
        }
    }
}

/// Where a domain's server is.
struct Place {
    address: String,
    /// TLS from the first byte (XEP-0368).
    direct: bool,
}

fn places(server: &Server, domain: &str) -> Vec<Place> {
    let settings = server.settings.load();
    let configured = settings.config.s2s.routes.get(domain);
    let Some(configured) = configured else {
        return vec![Place {
            address: format!("{domain}:5269"),
            direct: false,
        }];
    };
    let place = |text: &str| match text.strip_prefix("tls://") {
        Some(address) => Place {
            address: address.to_owned(),
            direct: true,
        },
        None => Place {
            address: text.to_owned(),
            direct: false,
        },
    };
    configured.iter().map(|text| place(&text.value)).collect()
}

/// A stream that stanzas can be sent on.
async fn connect(server: &Server, pair: &Pair, deadline: Instant) -> Result<Link, &'static str> {
    let (local, remote) = pair;
    let (mut link, trusted) = secured(server, pair, deadline).await?;
    let (id, features) = greeted(&mut link, pair, deadline).await?;
    let mechanisms = features.get_child("mechanisms", ns::SASL);
    let external = mechanisms.is_some_and(|mechanisms| {
        mechanisms
            .children()
            .any(|mechanism| mechanism.text_content() == "EXTERNAL")
    });
    if external && trusted {
        let auth = Element::new("auth", ns::SASL)
            .attr("mechanism", "EXTERNAL")
            .text(BASE64.encode(local));
        send(&mut link, &auth).await?;
        if element(&mut link, deadline).await?.is("success", ns::SASL) {
            link.restart();
            greeted(&mut link, pair, deadline).await?;
            link.trusted();
            return Ok(link);
        }
    }
    if !trusted && !server.settings.load().dialback(remote) {
        return Err("its certificate does not convince");
    }
    let key = dialback::key(server.remotes.secret(), remote, local, &id);
    let result = Element::new("result", ns::DIALBACK)
        .attr("from", local.as_str())
        .attr("to", remote.as_str())
        .text(key);
    send(&mut link, &result).await?;
    let answer = element(&mut link, deadline).await?;
    let about = (answer.get_attr("from"), answer.get_attr("to"));
    let ours = about == (Some(remote.as_str()), Some(local.as_str()));
    if answer.is("result", ns::DIALBACK) && ours && answer.get_attr("type") == Some("valid") {
        link.trusted();
        return Ok(link);
    }
    Err("it does not believe us")
}

/// Asks the server of `remote` whether it made a key (XEP-0220 2.2.2).
pub(super) async fn verify(
    server: &Server,
    local: &str,
    remote: &str,
    id: &str,
    key: &str,
) -> Result<bool, &'static str> {
    let pair = (local.to_owned(), remote.to_owned());
    let deadline = Instant::now() + PATIENCE;
    let (mut link, _) = secured(server, &pair, deadline).await?;
    greeted(&mut link, &pair, deadline).await?;
    let ask = Element::new("verify", ns::DIALBACK)
        .attr("from", local)
        .attr("to", remote)
        .attr("id", id)
        .text(key);
    send(&mut link, &ask).await?;
    let answer = element(&mut link, deadline).await?;
    let about = (
        answer.get_attr("from"),
        answer.get_attr("to"),
        answer.get_attr("id"),
    );
    let valid = answer.is("verify", ns::DIALBACK)
        && about == (Some(remote), Some(local), Some(id))
        && answer.get_attr("type") == Some("valid");
    let _closed = link.send(crate::wire::stream::CLOSE.as_bytes()).await;
    Ok(valid)
}

/// A connection inside TLS, to the first address that has one; and whether its certificate proves
/// that it is the domain's.
async fn secured(
    server: &Server,
    pair: &Pair,
    deadline: Instant,
) -> Result<(Link, bool), &'static str> {
    let mut reason = "there is no address";
    for place in places(server, &pair.1) {
        match at(server, pair, &place, deadline).await {
            Ok(done) => return Ok(done),
            Err(why) => reason = why,
        }
    }
    Err(reason)
}

async fn at(
    server: &Server,
    pair: &Pair,
    place: &Place,
    deadline: Instant,
) -> Result<(Link, bool), &'static str> {
    let (local, remote) = pair;
    let connecting = timeout(CONNECT, TcpStream::connect(place.address.as_str())).await;
    let socket = connecting
        .ok()
        .and_then(Result::ok)
        .ok_or("nobody answers")?;
    let _quick = socket.set_nodelay(true);
    let socket = if place.direct {
        Box::new(socket)
    } else {
        let mut link = Link::new(socket);
        let (_, features) = greeted(&mut link, pair, deadline).await?;
        if features.get_child("starttls", ns::TLS).is_none() {
            return Err("it has no TLS");
        }
        send(&mut link, &Element::new("starttls", ns::TLS)).await?;
        if !element(&mut link, deadline).await?.is("proceed", ns::TLS) {
            return Err("it has no TLS now");
        }
        link.into_socket().ok_or("something was sent in clear")?
    };
    let own = server.ground.certificates.certificate(Some(local));
    let config = trust::client(own, place.direct).map_err(|_| "TLS can't be set up")?;
    let name = ServerName::try_from(remote.clone()).map_err(|_| "it has no name for TLS")?;
    let connecting = TlsConnector::from(config).connect(name, socket);
    let socket = timeout(CONNECT, connecting).await;
    let socket = socket.ok().and_then(Result::ok).ok_or("TLS failed")?;
    let chain = socket.get_ref().1.peer_certificates();
    let trusted = server.settings.load().trust.proves(chain, remote);
    if !trusted && !server.settings.load().dialback(remote) {
        return Err("its certificate does not convince");
    }
    Ok((Link::new(socket), trusted))
}

/// Opens a stream; the other's id of it, and its features.
async fn greeted(
    link: &mut Link,
    pair: &Pair,
    deadline: Instant,
) -> Result<(String, Element), &'static str> {
    let header = open(&pair.0, &pair.1, None);
    link.send(header.as_bytes())
        .await
        .map_err(|over| said(&over))?;
    let Got::Header(header) = link.next(deadline).await.map_err(|over| said(&over))? else {
        return Err("it opens no stream");
    };
    let features = element(link, deadline).await?;
    if !features.is("features", ns::STREAM) {
        return Err("it offers nothing");
    }
    Ok((header.id.unwrap_or_default(), features))
}

async fn element(link: &mut Link, deadline: Instant) -> Result<Element, &'static str> {
    match link.next(deadline).await.map_err(|over| said(&over))? {
        Got::Element(element) => Ok(element),
        _ => Err("it does not keep to the order"),
    }
}

async fn send(link: &mut Link, element: &Element) -> Result<(), &'static str> {
    let mut text = String::new();
    element.write(ns::SERVER, &mut text);
    link.send(text.as_bytes()).await.map_err(|over| said(&over))
}

fn said(over: &Over) -> &'static str {
    match over {
        Over::Gone => "it hung up",
        Over::Error(_) => "it does not speak as servers do",
    }
}

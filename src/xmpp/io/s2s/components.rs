//! Components (XEP-0114): programs that serve domains of their own through us.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::{constant_time, digest};
use omnid_net::{Accepted, plain_accept};
use omnid_supervisor::ChildResult;
use omnid_telemetry::limited;
use tokio::{sync::mpsc, time::Instant};
use tracing::info;

use super::{
    link::{Got, Link, Over},
    queue::{self, Queue, Refused, Waiting},
};
use crate::{
    engine::{account::bounce, wish::Wishes},
    io::server::{Server, token},
    wire::{Condition, Stanza, StreamCondition, StreamError, ns, stream::CLOSE},
};

/// How long a component may take to prove itself.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long it may say nothing: they have no keep-alives of their own.
const IDLE: Duration = Duration::from_secs(365 * 86_400);
/// Stanzas that may wait for one,
const WAITING: usize = 10_000;
/// and their bytes.
const BYTES: u32 = 16 * 1024 * 1024;

/// The components that are connected, by domain.
#[derive(Default)]
pub(crate) struct Components {
    connected: Mutex<HashMap<String, Queue>>,
}

impl Server {
    /// Gives a component what is for it. What comes of it.
    pub(crate) fn to_component(&self, domain: &str, stanza: &Stanza) -> Wishes {
        let connected = &self.components.connected;
        let connected = connected.lock().unwrap_or_else(PoisonError::into_inner);
        match connected.get(domain).map(|queue| queue.push(stanza)) {
            Some(Ok(())) => Wishes::new(),
            Some(Err(Refused::Full)) => bounce(stanza, Condition::ResourceConstraint),
            _ => bounce(stanza, Condition::RemoteServerTimeout),
        }
    }
}

/// Runs a component's connection.
pub(crate) async fn begin(server: Arc<Server>, accepted: Accepted) -> ChildResult {
    let limit = server.ground.net.config().first_byte_timeout;
    let Ok(socket) = plain_accept(accepted.socket, limit).await else {
        return Ok(());
    };
    let mut link = Link::component(socket);
    let over = match admit(&server, &mut link).await {
        Ok(domain) => {
            info!(domain = %domain, "a component is connected");
            let over = serve(&server, &mut link, &domain).await;
            info!(domain = %domain, "a component has gone");
            over
        }
        Err(over) => over,
    };
    if let Over::Error(error) = &over {
        limited!(
            Duration::from_secs(10),
            info,
            "a component's stream was ended",
            condition = error.condition.as_str(),
            text = error.text
        );
    }
    link.end(&over).await;
    drop(accepted.permit);
    Ok(())
}

/// Section 3: the domain that it proves to have been given.
async fn admit(server: &Server, link: &mut Link) -> Result<String, Over> {
    let deadline = Instant::now() + PATIENCE;
    let Got::Header(header) = link.next(deadline).await? else {
        return Err(StreamCondition::BadFormat.into());
    };
    let domain = header.to.as_ref().map(|to| to.domain().to_owned());
    let domain = domain.unwrap_or_default();
    let id = token();
    let mut said = String::from("<?xml version='1.0'?><stream:stream xmlns='");
    said.push_str(ns::COMPONENT);
    said.push_str("' xmlns:stream='http://etherx.jabber.org/streams' from='");
    crate::wire::element::write_value(&mut said, &domain);
    said.push_str(&format!("' id='{id}'>"));
    link.send(said.as_bytes()).await?;
    let secret = {
        let settings = server.settings.load();
        let known = settings.config.component.iter();
        let mut known = known.filter(|one| one.domain.value.as_str() == domain);
        known.next().map(|one| one.secret.clone())
    };
    let Some(secret) = secret else {
        return Err(StreamCondition::HostUnknown.into());
    };
    let claimed = match link.next(deadline).await? {
        Got::Element(element) if element.is("handshake", ns::CLIENT) => element.text_content(),
        _ => return Err(StreamCondition::NotAuthorized.into()),
    };
    let text = format!("{id}{secret}");
    let right = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes());
    let right: String = right
        .as_ref()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let claimed = claimed.trim().to_ascii_lowercase();
    if constant_time::verify_slices_are_equal(right.as_bytes(), claimed.as_bytes()).is_err() {
        return Err(StreamCondition::NotAuthorized.into());
    }
    link.send(b"<handshake/>").await?;
    link.trusted();
    Ok(domain)
}

async fn serve(server: &Server, link: &mut Link, domain: &str) -> Over {
    let (queue, mut stanzas) = Queue::new(WAITING, BYTES, None);
    {
        let connected = &server.components.connected;
        let mut connected = connected.lock().unwrap_or_else(PoisonError::into_inner);
        // The one that comes is there; the other may not know yet that its connection is gone.
        connected.insert(domain.to_owned(), queue.clone());
    }
    let mut batch = Vec::new();
    let over = exchange(server, link, domain, &mut stanzas, &mut batch).await;
    {
        let connected = &server.components.connected;
        let mut connected = connected.lock().unwrap_or_else(PoisonError::into_inner);
        if connected.get(domain).is_some_and(|known| known.is(&queue)) {
            connected.remove(domain);
        }
    }
    for stanza in queue::close(batch, &mut stanzas) {
        let back = bounce(&stanza, Condition::RemoteServerTimeout);
        Box::pin(server.apply(back)).await;
    }
    over
}

/// Passes on, both ways, until the stream ends. What could not be written stays in `batch`.
async fn exchange(
    server: &Server,
    link: &mut Link,
    domain: &str,
    stanzas: &mut mpsc::Receiver<Waiting>,
    batch: &mut Vec<Waiting>,
) -> Over {
    loop {
        let idle = Instant::now() + IDLE;
        tokio::select! {
            got = link.next(idle) => match got {
                Ok(Got::Stanza(stanza)) => {
                    if stanza.from().is_none_or(|from| from.domain() != domain) {
                        let text = "a component speaks for its own domain";
                        return Over::Error(StreamError::new(StreamCondition::InvalidFrom, text));
                    }
                    server.metrics.stanza(stanza.kind());
                    let wishes = Box::pin(server.route(stanza)).await;
                    Box::pin(server.apply(wishes)).await;
                }
                Ok(Got::Element(_)) => return StreamCondition::UnsupportedStanzaType.into(),
                Ok(Got::Header(_)) => return StreamCondition::BadFormat.into(),
                Ok(Got::End) => {
                    let _closed = link.send(CLOSE.as_bytes()).await;
                    return Over::Gone;
                }
                Err(over) => return over,
            },
            first = stanzas.recv() => {
                let Some(first) = first else { return Over::Gone };
                let bytes = queue::gather(first, stanzas, batch);
                if let Err(over) = link.send(&bytes).await {
                    return over;
                }
                batch.clear();
            }
        }
    }
}

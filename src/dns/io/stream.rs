//! TCP and TLS: queries one after the other on a connection, answered as they come, and out of
//! order where one takes longer (RFC 7766). One task holds a connection with all it has under way.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use omnid_net::{Accepted, TlsSocket, plain_accept, tls_accept};
use omnid_supervisor::{Child, ChildResult};
use omnid_tls::ClientCertificates;
use rustls::ProtocolVersion;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tracing::{Instrument, Level, debug, info};

use super::metrics::Tally;
use super::udp::log_query;
use super::{MAX_MESSAGE, MAX_SCRIPTED, ROOM, Shared, carry_out, script, unix_time};
use crate::engine::answer::{
    Answered, Client, Decision, Outcome, Session, Transport, answer, answer_with,
};
use crate::engine::transfer::Transfer;
use crate::resolver::{Later, Quick};
use crate::wire::name::Name;
use crate::wire::reader::Header;

/// ALPN of DNS over TLS (RFC 7858).
pub(crate) const DOT: &str = "dot";

/// Octets waiting to be written at which no more is read: a client that does not take its answers
/// gets no new ones.
const HIGH_WATER: usize = 256 * 1024;
/// First room for requests; most fit, and ten thousand idle connections cost little.
const FIRST_ROOM: usize = 512;
/// Transfers at one time on one connection.
const MAX_TRANSFERS: usize = 16;
/// Updates and notifications under way at one time on one connection.
const MAX_DEFERRED_HERE: usize = 16;
/// Queries at one time in the hands of scripts, for one connection.
const MAX_SCRIPTED_HERE: usize = 64;

/// A TCP connection.
pub(crate) fn tcp(shared: &Arc<Shared>, child: &Child, accepted: Accepted) {
    let (shared, span) = (shared.clone(), accepted.span());
    let own = child.clone();
    child.spawn("connection", span, async move {
        let Accepted {
            socket,
            peer,
            local,
            listener,
            permit,
            ..
        } = accepted;
        let _permit = permit;
        let deadline = shared.ground.net.config().first_byte_timeout;
        // What went wrong is logged where it was seen.
        let Ok(socket) = plain_accept(socket, deadline).await else {
            return Ok(());
        };
        let client = Client::new(peer.ip(), Transport::Tcp).at(local);
        serve(&shared, &own, socket, peer, &listener, client).await
    });
}

/// A TLS connection.
pub(crate) fn tls(shared: &Arc<Shared>, child: &Child, accepted: Accepted) {
    let (shared, span) = (shared.clone(), accepted.span());
    let own = child.clone();
    child.spawn("connection", span, async move {
        let Accepted {
            socket,
            peer,
            local,
            listener,
            permit,
            ..
        } = accepted;
        let _permit = permit;
        let deadline = shared.ground.net.config().handshake_timeout;
        // Who shows a certificate that convinces nobody is one without.
        let asked = if shared.certificates.load(Ordering::Relaxed) {
            ClientCertificates::Unverified
        } else {
            ClientCertificates::None
        };
        let config = shared.ground.certificates.server_config(&[DOT], asked);
        let Ok(socket) = tls_accept(socket, config, deadline).await else {
            return Ok(());
        };
        dot(shared, own, socket, (peer, local), listener).await
    });
}

/// A TLS connection that another service's port took in.
pub(crate) async fn dot(
    shared: Arc<Shared>,
    child: Child,
    socket: TlsSocket,
    (peer, local): (SocketAddr, SocketAddr),
    listener: Arc<str>,
) -> ChildResult {
    let session = Arc::new(session(&shared, &socket));
    let client = Client::new(peer.ip(), Transport::Tls)
        .at(local)
        .over(session);
    serve(&shared, &child, socket, peer, &listener, client).await
}

/// What a handshake has told of the client.
fn session(shared: &Shared, socket: &TlsSocket) -> Session {
    let tls = socket.get_ref().1;
    let agreed = tls.alpn_protocol() == Some(DOT.as_bytes());
    let carries_zones = agreed && tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
    let mut names = Vec::new();
    if let Some(chain) = tls.peer_certificates() {
        match shared.ground.certificates.client_names(chain) {
            Ok(told) => names.extend(told.iter().filter_map(|name| Name::from_text(name).ok())),
            Err(error) => info!(%error, "client's certificate does not count"),
        }
    }
    Session {
        carries_zones,
        names,
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Send + 'static>(
    shared: &Arc<Shared>,
    child: &Child,
    socket: S,
    peer: SocketAddr,
    listener: &str,
    client: Client,
) -> ChildResult {
    let mut connection = Connection {
        shared: shared.clone(),
        listener: listener.into(),
        peer,
        client,
        input: Vec::new(),
        output: Vec::new(),
        written: 0,
        transfers: VecDeque::new(),
        scripted: FuturesUnordered::new(),
        deferred: FuturesUnordered::new(),
        found_out: FuturesUnordered::new(),
        tally: Tally::default(),
    };
    match connection.run(child, socket).await {
        Ok(()) => {}
        // A peer that goes away, or goes quiet in the midst of something, is everyday life.
        Err(error) => debug!(%error, "connection ended"),
    }
    Ok(())
}

/// The response to a request that could not be answered in place.
type Late = BoxFuture<'static, Option<(Vec<u8>, Answered)>>;

/// What a script decided for a query.
type Scripted = BoxFuture<'static, (Vec<u8>, Option<Decision>)>;

/// A query with what the resolver found out.
type FoundOut = BoxFuture<'static, (Vec<u8>, Vec<u8>, Option<Answered>)>;

struct Connection {
    shared: Arc<Shared>,
    listener: Arc<str>,
    peer: SocketAddr,
    client: Client,
    /// Octets read and not yet taken as messages.
    input: Vec<u8>,
    /// Octets of answers, of which the first `written` have gone.
    output: Vec<u8>,
    written: usize,
    transfers: VecDeque<Box<Transfer>>,
    scripted: FuturesUnordered<Scripted>,
    /// Requests that wait for what they ask for.
    deferred: FuturesUnordered<Late>,
    found_out: FuturesUnordered<FoundOut>,
    tally: Tally,
}

impl Connection {
    async fn run(
        &mut self,
        child: &Child,
        socket: impl AsyncRead + AsyncWrite,
    ) -> std::io::Result<()> {
        let (reader, writer) = tokio::io::split(socket);
        let (mut reader, mut writer) = (pin!(reader), pin!(writer));
        let mut deadline = tokio::time::Instant::now() + self.idle();
        // Set anew only when it fires: a deadline that moves with each query costs nothing then.
        let mut alarm = pin!(tokio::time::sleep_until(deadline));
        let mut open = true;
        loop {
            let since = Instant::now();
            if self.go_on(&mut open) {
                deadline = tokio::time::Instant::now() + self.idle();
                let seconds = since.elapsed().as_secs_f64();
                self.shared
                    .metrics
                    .hand_in(self.client.transport, &mut self.tally, seconds);
            }
            if !open && self.is_idle() {
                break;
            }
            // Where there is room, no whole message waits in the buffer.
            let room = open && self.has_room();
            if self.input.capacity() == self.input.len() {
                self.input.reserve(FIRST_ROOM);
            }
            let waiting = self.output.get(self.written..).unwrap_or_default();
            tokio::select! {
                read = reader.read_buf(&mut self.input), if room => {
                    // Half-closed: what was asked is still answered. The time runs on while a
                    // message comes octet by octet.
                    open = read? > 0;
                }
                written = writer.write(waiting), if !waiting.is_empty() => {
                    self.wrote(written?)?;
                    deadline = tokio::time::Instant::now() + self.idle();
                    if self.output.is_empty() {
                        writer.flush().await?;
                    }
                }
                Some(late) = self.deferred.next(), if !self.deferred.is_empty() => {
                    match late {
                        Some((bytes, answered)) => {
                            self.tally.answered(answered.rr_type, answered.rcode);
                            push_message(&mut self.output, &bytes);
                        }
                        None => self.tally.dropped += 1,
                    }
                    self.shared.metrics.hand_in(self.client.transport, &mut self.tally, 0.0);
                }
                Some((message, decision)) = self.scripted.next(), if !self.scripted.is_empty() => {
                    self.answer_scripted(&message, decision.as_ref());
                }
                Some((message, bytes, answered)) = self.found_out.next(),
                    if !self.found_out.is_empty() =>
                {
                    self.push_found(&message, &bytes, answered);
                    deadline = tokio::time::Instant::now() + self.idle();
                }
                () = &mut alarm => {
                    if tokio::time::Instant::now() >= deadline {
                        break;
                    }
                    alarm.as_mut().reset(deadline);
                }
                () = child.draining(), if open => open = false,
            }
        }
        // TLS says goodbye; a peer that does not listen any more must not hold us up.
        let goodbye = tokio::time::timeout(Duration::from_secs(1), writer.shutdown());
        goodbye.await.unwrap_or(Ok(()))
    }

    fn idle(&self) -> Duration {
        Duration::from_millis(self.shared.idle_ms.load(Ordering::Relaxed))
    }

    fn is_idle(&self) -> bool {
        self.output.is_empty()
            && self.transfers.is_empty()
            && self.scripted.is_empty()
            && self.deferred.is_empty()
            && self.found_out.is_empty()
    }

    fn wrote(&mut self, count: usize) -> std::io::Result<()> {
        if count == 0 {
            return Err(std::io::ErrorKind::WriteZero.into());
        }
        self.written += count;
        if self.written >= self.output.len() {
            self.written = 0;
            self.output.clear();
            // A long answer's room is given back: the connection may idle now.
            self.output.shrink_to(4 * FIRST_ROOM);
        } else if self.written >= HIGH_WATER {
            // Of a client that always has more to take, what it has taken goes as well.
            self.output.drain(..self.written);
            self.written = 0;
        }
        Ok(())
    }

    /// True while the connection may have more under way.
    fn has_room(&self) -> bool {
        self.output.len() - self.written < HIGH_WATER
            && self.scripted.len() < MAX_SCRIPTED_HERE
            && self.deferred.len() < MAX_DEFERRED_HERE
            && self.found_out.len() < MAX_SCRIPTED_HERE
            && self.transfers.len() < MAX_TRANSFERS
    }

    /// Takes what has come and continues transfers, as far as there is room. True if a message was
    /// taken.
    fn go_on(&mut self, open: &mut bool) -> bool {
        let mut any = false;
        loop {
            any |= self.take_messages(open);
            // The end of a transfer leaves room, for which nothing else would wake us.
            if !self.continue_transfers() {
                return any;
            }
        }
    }

    /// Answers the messages that have come whole, while there is room: one read may bring thousands
    /// of them, and what each asks for must not pile up. True if there was one. What is no message
    /// ends the reading: who sends it is out of step, or no DNS client.
    fn take_messages(&mut self, open: &mut bool) -> bool {
        let input = std::mem::take(&mut self.input);
        let mut rest = &*input;
        let mut any = false;
        while self.has_room()
            && let Some((length, tail)) = rest.split_first_chunk::<2>()
        {
            let length = usize::from(u16::from_be_bytes(*length));
            let Some((message, tail)) = tail.split_at_checked(length) else {
                break;
            };
            rest = tail;
            any = true;
            if message.len() < Header::LEN {
                *open = false;
                rest = &[];
                break;
            }
            self.take(message);
        }
        let used = input.len() - rest.len();
        self.input = input;
        self.input.drain(..used);
        if self.input.is_empty() {
            self.input.shrink_to(FIRST_ROOM);
        }
        any
    }

    fn take(&mut self, message: &[u8]) {
        if script::is_hooked(&self.shared) && self.scripted.len() < MAX_SCRIPTED {
            let (shared, client) = (self.shared.clone(), self.client.clone());
            let (listener, message) = (self.listener.clone(), message.to_vec());
            let work = async move {
                let _permit = shared.scripted.acquire().await;
                let decision = script::decide(&shared, &client, &listener, &message).await;
                (message, decision)
            };
            self.scripted.push(Box::pin(work.in_current_span()));
        } else {
            self.answer(message, None);
        }
    }

    fn answer_scripted(&mut self, message: &[u8], decision: Option<&Decision>) {
        let since = Instant::now();
        self.answer(message, decision);
        let seconds = since.elapsed().as_secs_f64();
        self.shared
            .metrics
            .hand_in(self.client.transport, &mut self.tally, seconds);
    }

    fn answer(&mut self, message: &[u8], decision: Option<&Decision>) {
        let (state, now) = (self.shared.state.load(), unix_time());
        ROOM.with_borrow_mut(|room| {
            let (out, scratch) = (&mut *room.out, &mut room.scratch);
            let mut outcome = match decision {
                Some(decision) => {
                    answer_with(&state, &self.client, now, message, decision, out, scratch)
                }
                None => answer(&state, &self.client, now, message, out, scratch),
            };
            if let Outcome::Recurse = outcome {
                let (recursion, names) = (&self.shared.recursion, &mut scratch.names);
                let times = (Instant::now(), now);
                outcome = match recursion.quick(&state, &self.client, times, message, out, names) {
                    Quick::Reply(answered) => Outcome::Reply(answered),
                    Quick::Later(later) => return self.find_out(later),
                    Quick::Drop => Outcome::Drop,
                };
            }
            match outcome {
                Outcome::Reply(answered) => {
                    self.tally.answered(answered.rr_type, answered.rcode);
                    let bytes = out.get(..answered.len).unwrap_or_default();
                    push_message(&mut self.output, bytes);
                    if tracing::enabled!(target: "omnid_dns::query", Level::DEBUG) {
                        log_query(&self.listener, self.peer, message, &answered);
                    }
                }
                Outcome::Deferred(deferred) => {
                    let shared = self.shared.clone();
                    let work = async move { carry_out(&shared, deferred).await };
                    self.deferred.push(Box::pin(work.in_current_span()));
                }
                Outcome::Drop | Outcome::Recurse => self.tally.dropped += 1,
                Outcome::Transfer(transfer) => {
                    self.shared.metrics.transfers.inc();
                    let zone = transfer.zone();
                    let incremental = transfer.is_incremental();
                    info!(zone = %zone.apex(), serial = zone.serial(), incremental, "transfer begins");
                    self.transfers.push_back(transfer);
                }
            }
        });
    }

    /// Waits for the resolver; other queries are answered meanwhile.
    fn find_out(&self, later: Box<Later>) {
        let state = self.shared.state.load_full();
        let work = async move {
            let (message, mut out) = (later.message().to_vec(), Vec::new());
            let answered = later.run(&state.settings, &mut out).await;
            (message, out, answered)
        };
        self.found_out.push(Box::pin(work.in_current_span()));
    }

    fn push_found(&mut self, message: &[u8], bytes: &[u8], answered: Option<Answered>) {
        match answered {
            Some(answered) => {
                self.tally.answered(answered.rr_type, answered.rcode);
                push_message(&mut self.output, bytes);
                log_query(&self.listener, self.peer, message, &answered);
            }
            None => self.tally.dropped += 1,
        }
    }

    /// Writes the next message of a transfer once the last has gone: all of a zone never waits in
    /// memory, and other answers get in between. True if a transfer has come to its end.
    fn continue_transfers(&mut self) -> bool {
        if !self.output.is_empty() {
            return false;
        }
        let Some(mut transfer) = self.transfers.pop_front() else {
            return false;
        };
        let more = ROOM.with_borrow_mut(|room| {
            let length = transfer.next_message(&mut room.out, unix_time())?;
            push_message(&mut self.output, room.out.get(..length).unwrap_or_default());
            Some(())
        });
        if more.is_some() {
            self.transfers.push_front(transfer);
            return false;
        }
        let (zone, complete) = (transfer.zone(), transfer.is_complete());
        info!(zone = %zone.apex(), serial = zone.serial(), complete, "transfer ended");
        true
    }
}

fn push_message(output: &mut Vec<u8>, message: &[u8]) {
    let length = message.len().min(MAX_MESSAGE) as u16;
    output.extend_from_slice(&length.to_be_bytes());
    output.extend_from_slice(message);
}

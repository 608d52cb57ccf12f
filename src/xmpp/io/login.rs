//! Connections until they are somebody's: TLS, login, binding. Then a session's task takes over.

use std::{
    net::IpAddr,
    sync::Arc,
    time::{Duration, SystemTime},
};

use omnid_identity::{AuthError, ScramHash, Source};
use omnid_net::{Accepted, Permit, TlsSocket, plain_accept, tls_accept};
use omnid_supervisor::ChildResult;
use omnid_telemetry::limited;
use omnid_tls::ClientCertificates;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, DuplexStream},
    time::{Instant, timeout_at},
};
use tracing::{Span, debug, info};

use super::{
    channel::channel,
    outbox::{Facts, Outbox},
    server::{Resumable, Server, address, token},
    session::{self, Connection},
    tokens,
};
use crate::{
    engine::{
        account::Session,
        login::{Binding, Bound, Output, Resuming, StartTls, Step, Stream, Verdict, With},
        sasl::{Channel, Failure, Hash, Verifier},
    },
    features::mam,
    wire::{BareJid, Condition, Element, Framer, Jid, Limits, StreamCondition, StreamError, ns},
};

/// How long the last words to a client may take.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a client that resumes waits for what its other connection is doing.
const TURN: Duration = Duration::from_secs(30);
/// Bytes that a client may send until it is logged in, over all its frames.
const PREAMBLE: usize = 64 * 1024;

/// A client's connection and where it came from.
pub(crate) struct Peer {
    pub(crate) server: Arc<Server>,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) listener: Arc<str>,
    /// What counts the connection; none where somebody else does.
    pub(crate) permit: Option<Permit>,
}

impl Peer {
    pub(super) fn source(&self) -> Source {
        let ip: IpAddr = self.address.ip();
        Source {
            ip,
            service: "xmpp",
        }
    }
}

/// Runs a connection that begins in clear.
pub(crate) async fn begin_plain(server: Arc<Server>, accepted: Accepted) -> ChildResult {
    let deadline = Instant::now() + server.settings.load().config.login_timeout;
    let net = server.ground.net.config();
    let limit = net
        .first_byte_timeout
        .min(server.settings.load().config.login_timeout);
    // What goes wrong here has been closed and logged.
    let Ok(mut socket) = plain_accept(accepted.socket, limit).await else {
        return Ok(());
    };
    let peer = Peer {
        server,
        address: accepted.peer,
        listener: accepted.listener,
        permit: Some(accepted.permit),
    };
    let stream = Stream::plain(peer.server.policy(), token);
    let mut driver = Driver::new();
    let end = driver
        .drive(&mut socket, &peer, Step::Read(stream), deadline)
        .await;
    let Some(End::StartTls(tls)) = end else {
        close(socket).await;
        return Ok(());
    };
    let config = peer
        .server
        .ground
        .certificates
        .server_config(&[], ClientCertificates::None);
    let left = deadline
        .saturating_duration_since(Instant::now())
        .min(net.handshake_timeout);
    let Ok(socket) = tls_accept(socket, config, left).await else {
        return Ok(());
    };
    let channel = channel(&socket, &peer.server.ground.certificates);
    secured(socket, peer, tls.done(channel), deadline).await
}

/// Runs a connection that begins with TLS.
pub(crate) async fn begin_tls(server: Arc<Server>, accepted: Accepted) -> ChildResult {
    let certificates = &server.ground.certificates;
    let config = certificates.server_config(&["xmpp-client"], ClientCertificates::None);
    let limit = server.ground.net.config().handshake_timeout;
    let limit = limit.min(server.settings.load().config.login_timeout);
    let Ok(socket) = tls_accept(accepted.socket, config, limit).await else {
        return Ok(());
    };
    let peer = Peer {
        server,
        address: accepted.peer,
        listener: accepted.listener,
        permit: Some(accepted.permit),
    };
    begin_secured(socket, peer).await
}

/// Runs a connection whose TLS handshake is done.
pub(crate) async fn begin_secured(socket: TlsSocket, peer: Peer) -> ChildResult {
    let settings = peer.server.settings.load_full();
    let deadline = Instant::now() + settings.config.login_timeout;
    let channel = channel(&socket, &peer.server.ground.certificates);
    let stream = Stream::secured(peer.server.policy(), token, channel);
    secured(socket, peer, Step::Read(stream), deadline).await
}

/// Runs a stream that comes in pieces, over something that nobody else can listen to.
pub(crate) async fn begin_web(pipe: DuplexStream, peer: Peer) -> ChildResult {
    let settings = peer.server.settings.load_full();
    let deadline = Instant::now() + settings.config.login_timeout;
    // Programs in browsers are told nothing about the channel, so there is nothing to bind to.
    let stream = Stream::secured(peer.server.policy(), token, Channel::default());
    secured(pipe, peer, Step::Read(stream), deadline).await
}

async fn secured<S>(mut socket: S, peer: Peer, step: Step, deadline: Instant) -> ChildResult
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let mut driver = Driver::new();
    match driver.drive(&mut socket, &peer, step, deadline).await {
        Some(End::Ready(ready)) => {
            let Ready {
                bound,
                session,
                connection,
                unsaid,
            } = *ready;
            // A task of its own, which never held the state of a handshake: it is what stays for
            // hours, ten thousand times over.
            let jid = session.outbox.facts.jid.to_string();
            Span::current().record("user", &*jid);
            let span = Span::current();
            let Driver { framer, input, .. } = driver;
            let connection = Connection {
                server: peer.server.clone(),
                session,
                number: connection,
                header: bound.header,
                lang: bound.lang,
                _permit: peer.permit,
            };
            let run = session::run(socket, connection, framer, input, unsaid);
            if let Some(runner) = &**peer.server.runner.load() {
                runner.spawn("session", span, run);
            }
            Ok(())
        }
        _ => {
            close(socket).await;
            Ok(())
        }
    }
}

/// Lets the last words go out, within a bound.
async fn close(mut socket: impl AsyncWrite + AsyncRead + Unpin) {
    let last = async {
        socket.shutdown().await?;
        // What the client still sends is read, so that the kernel doesn't reset the connection
        // over it before our last words are there.
        let mut sink = [0; 1024];
        let mut total = 0;
        loop {
            let read = socket.read(&mut sink).await?;
            total += read;
            if read == 0 || total > PREAMBLE {
                return std::io::Result::Ok(());
            }
        }
    };
    if let Ok(Err(error)) = tokio::time::timeout(LAST_WORDS, last).await {
        debug!(%error, "the client did not wait for the end of the stream");
    }
}

/// What a login comes to.
enum End {
    StartTls(Box<StartTls>),
    Ready(Box<Ready>),
}

/// A client that is logged in and has a session.
struct Ready {
    bound: Bound,
    session: Resumable,
    /// The session's connection that this is.
    connection: u32,
    /// To be written first.
    unsaid: String,
}

/// Moves a login from step to step.
struct Driver {
    framer: Framer,
    /// Read and not yet framed.
    input: Vec<u8>,
    taken: usize,
}

impl Driver {
    fn new() -> Driver {
        Driver {
            framer: Framer::new(Limits::UNAUTHENTICATED),
            input: Vec::new(),
            taken: 0,
        }
    }

    /// Until the login is done, or something else must happen with the socket; `None` where the
    /// connection is to be closed.
    async fn drive<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        peer: &Peer,
        step: Step,
        deadline: Instant,
    ) -> Option<End> {
        let mut out = Output::default();
        let mut step = Some(step);
        loop {
            step = match step.take()? {
                Step::Read(stream) => self.read(socket, peer, stream, &mut out, deadline).await,
                Step::Restart(stream) => {
                    self.framer.restart();
                    Some(Step::Read(stream))
                }
                Step::StartTls(tls) => {
                    send(socket, &mut out, deadline).await?;
                    // RFC 6120 5.4.3.3: nothing that came in clear counts. A client that waits for
                    // our answer has sent nothing; one that did was spoken for by somebody else.
                    // (White space is what some clients end their lines with.)
                    let blank = self.input.iter().all(u8::is_ascii_whitespace);
                    if !blank || self.framer.is_partial() {
                        info!("something was sent in clear behind STARTTLS");
                        return None;
                    }
                    return Some(End::StartTls(Box::new(tls)));
                }
                Step::Verifier(wanted) => {
                    let found = verifier(peer, wanted.account(), wanted.hash()).await;
                    Some(wanted.answer(found, &mut out))
                }
                Step::Password(wanted) => {
                    let verdict = password(peer, wanted.account(), wanted.password()).await;
                    match verdict {
                        Ok(()) => peer.server.metrics.logins.inc(),
                        Err(_) => peer.server.metrics.failed_logins.inc(),
                    };
                    Some(wanted.answer(verdict, &mut out))
                }
                Step::Token(wanted) => {
                    let found = tokens::find(peer, &wanted).await;
                    Some(wanted.answer(found, &mut out))
                }
                Step::Grant(granting) => {
                    // What a proof came to is counted, whatever becomes of the rest.
                    self.count(peer, &mut out);
                    Some(tokens::grant(peer, granting, &mut out).await)
                }
                Step::Bind(binding) => match bind(peer, binding, &mut out).await {
                    Ok(ready) => return Some(End::Ready(ready)),
                    Err(step) => Some(*step),
                },
                Step::Resume(resuming) => match resume(peer, resuming, &mut out).await {
                    Ok(ready) => return Some(End::Ready(ready)),
                    Err(step) => Some(*step),
                },
                Step::Close => {
                    if out.text.contains("<stream:error>") {
                        peer.server.metrics.flawed.inc();
                    }
                    send(socket, &mut out, deadline).await?;
                    None
                }
            };
            self.count(peer, &mut out);
        }
    }

    /// Gives the stream its next frame.
    async fn read<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        socket: &mut S,
        peer: &Peer,
        stream: Stream,
        out: &mut Output,
        deadline: Instant,
    ) -> Option<Step> {
        loop {
            let mut input = self.input.as_slice();
            match self.framer.next(&mut input) {
                Ok(Some(frame)) => {
                    let rest = input.len();
                    let step = stream.frame(&frame, out);
                    let done = self.input.len() - rest;
                    self.input.drain(..done);
                    return Some(step);
                }
                Ok(None) => self.input.clear(),
                Err(flaw) => {
                    limited!(
                        Duration::from_secs(10), key = peer.address.ip(), info,
                        "a client sent something that is no XMPP", %flaw
                    );
                    stream.fail(&flaw.into(), out);
                    return Some(Step::Close);
                }
            }
            // The client has nothing more to say until it has heard us.
            send(socket, out, deadline).await?;
            let mut chunk = [0; 2048];
            let read = match timeout_at(deadline, socket.read(&mut chunk)).await {
                Ok(Ok(0) | Err(_)) => return None,
                Ok(Ok(read)) => read,
                Err(_) => {
                    let text = "no login within the time allowed";
                    let error = StreamError::new(StreamCondition::ConnectionTimeout, text);
                    stream.fail(&error, out);
                    let last = Instant::now() + LAST_WORDS;
                    send(socket, out, last).await?;
                    return None;
                }
            };
            self.taken += read;
            if self.taken > PREAMBLE {
                let text = "too much was sent before the login";
                stream.fail(
                    &StreamError::new(StreamCondition::PolicyViolation, text),
                    out,
                );
                return Some(Step::Close);
            }
            self.input
                .extend_from_slice(chunk.get(..read).unwrap_or_default());
        }
    }

    /// Tells identity how proofs went that the stream checked itself.
    fn count(&self, peer: &Peer, out: &mut Output) {
        let identity = &peer.server.ground.identity;
        match out.verdict.take() {
            Some(Verdict::Right(account)) => {
                peer.server.metrics.logins.inc();
                if let Some(address) = address(&account) {
                    identity.succeeded(&address, peer.source());
                }
            }
            Some(Verdict::Wrong(account)) => {
                peer.server.metrics.failed_logins.inc();
                identity.failed(account.as_str(), peer.source());
            }
            None => {}
        }
    }
}

/// Writes what there is to say.
async fn send<S: AsyncWrite + Unpin>(
    socket: &mut S,
    out: &mut Output,
    deadline: Instant,
) -> Option<()> {
    if out.text.is_empty() {
        return Some(());
    }
    let text = std::mem::take(&mut out.text);
    let write = async {
        socket.write_all(text.as_bytes()).await?;
        socket.flush().await
    };
    timeout_at(deadline.max(Instant::now() + Duration::from_secs(1)), write)
        .await
        .ok()?
        .ok()
}

async fn verifier(peer: &Peer, account: &BareJid, hash: Hash) -> Result<Verifier, Failure> {
    let address = address(account).ok_or(Failure::NotAuthorized)?;
    let hash = match hash {
        Hash::Sha1 => ScramHash::Sha1,
        Hash::Sha256 => ScramHash::Sha256,
        Hash::Sha512 => ScramHash::Sha512,
    };
    let found = peer
        .server
        .ground
        .identity
        .scram(&address, hash, peer.source())
        .await;
    let found = found.map_err(|error| refusal(&error))?;
    Ok(Verifier {
        salt: found.salt,
        iterations: found.iterations,
        stored_key: found.stored_key,
        server_key: found.server_key,
        exists: found.exists,
    })
}

async fn password(peer: &Peer, account: &BareJid, password: &str) -> Result<(), Failure> {
    let address = address(account).ok_or(Failure::NotAuthorized)?;
    let verified = peer
        .server
        .ground
        .identity
        .verify(&address, password, peer.source())
        .await;
    verified.map(|_| ()).map_err(|error| refusal(&error))
}

pub(super) fn refusal(error: &AuthError) -> Failure {
    match error {
        AuthError::Disabled => Failure::AccountDisabled,
        AuthError::Throttled { .. } | AuthError::Locked { .. } => Failure::TemporaryAuthFailure,
        AuthError::Store(error) => {
            limited!(Duration::from_secs(10), error, "a login was not checked", %error);
            Failure::TemporaryAuthFailure
        }
        _ => Failure::NotAuthorized,
    }
}

/// Makes a session for a client that binds a resource.
async fn bind(peer: &Peer, binding: Binding, out: &mut Output) -> Result<Box<Ready>, Box<Step>> {
    let server = &peer.server;
    let cell = match server.account(binding.account()).await {
        Ok(Some(cell)) => cell,
        // It was there a moment ago.
        Ok(None) => {
            return Err(Box::new(
                binding.refused(&Condition::NotAllowed.into(), out),
            ));
        }
        Err(error) => {
            limited!(Duration::from_secs(10), error, "an account was not read", %error);
            return Err(Box::new(
                binding.refused(&Condition::InternalServerError.into(), out),
            ));
        }
    };
    let (jid, mechanism) = (binding.jid().clone(), binding.mechanism());
    let outbox = Outbox::new(
        facts(peer, &jid, mechanism),
        server.settings.load().config.output_size.as_usize(),
    );
    let id = server.next_session();
    let session = Resumable {
        cell: cell.clone(),
        id,
        outbox: outbox.clone(),
    };
    let (mut made, mut with) = (Session::new(id, jid.clone(), outbox), With::default());
    made.carbons = binding.carbons();
    if binding.inactive() {
        session.outbox.inactive(true);
    }
    if let Some(resume) = binding.manage() {
        // Before anything can be sent to the client, as it counts from there on.
        let (enabled, token) = server.enabled(resume);
        if session.outbox.manage(token.clone(), "") {
            with.enabled = Some(enabled);
        }
        if let Some(token) = token {
            server.allow_resume(token, id);
        }
    }
    if binding.is_inline() && server.settings.load().archives {
        with.metadata = Some(metadata(server, binding.account()).await);
    }
    // Known to the server before the account, so that whoever displaces it finds it.
    server.enrol(session.clone());
    let bound = cell.live().bind(made);
    match bound {
        Ok(wishes) => server.apply(wishes).await,
        Err(error) => {
            server.leave(session).await;
            return Err(Box::new(binding.refused(&error, out)));
        }
    }
    match binding.bound(jid, with, out) {
        Some(bound) => {
            let unsaid = std::mem::take(&mut out.text);
            info!(user = %bound.jid, mechanism, "bound");
            Ok(Box::new(Ready {
                bound,
                session,
                connection: 0,
                unsaid,
            }))
        }
        None => {
            server.leave(session).await;
            Err(Box::new(Step::Close))
        }
    }
}

/// What is in an account's archive now (XEP-0386 4.2: so that its client knows what to ask for).
async fn metadata(server: &Server, account: &BareJid) -> Element {
    let owner = account.to_string();
    // What is known only to memory is not asked for before it is on disk either.
    server.archive.settled(server.archive.count()).await;
    let database = &server.ground.database;
    let found = database.read(move |reader| mam::metadata(reader, &owner));
    found.await.unwrap_or_else(|error| {
        limited!(Duration::from_secs(10), error, "an archive was not read", %error);
        Element::new("metadata", ns::MAM)
    })
}

fn facts(peer: &Peer, jid: &Jid, mechanism: &'static str) -> Facts {
    Facts {
        jid: jid.clone(),
        peer: peer.address,
        listener: peer.listener.clone(),
        mechanism,
        since: SystemTime::now(),
    }
}

/// Gives a client its earlier session back.
async fn resume(
    peer: &Peer,
    resuming: Resuming,
    out: &mut Output,
) -> Result<Box<Ready>, Box<Step>> {
    let found = peer
        .server
        .find_resumable(resuming.previous(), resuming.account());
    let Some(session) = found else {
        let handled = peer.server.expired(resuming.previous(), resuming.account());
        return Err(Box::new(resuming.failed(handled, out)));
    };
    // What the other connection, if it still is one, is handling is finished first; and what we
    // say was handled must be on disk.
    let Ok(turn) = tokio::time::timeout(TURN, session.outbox.turn()).await else {
        return Err(Box::new(resuming.failed(None, out)));
    };
    let archive = &peer.server.archive;
    if !archive.settled(session.outbox.last_archived()).await {
        return Err(Box::new(resuming.failed(None, out)));
    }
    let jid = session.outbox.facts.jid.clone();
    let handled = resuming.handled();
    // The session's number of the client's stanzas is known only when it is taken over, and what
    // the client missed must come right behind the answer.
    let mut resuming = Some(resuming);
    let mut bound = None;
    let connection = session.outbox.resume(&turn, handled, |handled| {
        let mut greeting = Output::default();
        bound = resuming
            .take()
            .and_then(|resuming| resuming.resumed(jid, handled, &mut greeting));
        greeting.text
    });
    drop(turn);
    match (connection, bound, resuming) {
        (Ok(connection), Some(bound), _) => {
            peer.server.metrics.resumed.inc();
            info!(user = %bound.jid, "resumed");
            let unsaid = std::mem::take(&mut out.text);
            Ok(Box::new(Ready {
                bound,
                session,
                connection,
                unsaid,
            }))
        }
        (Err(()), _, Some(resuming)) => Err(Box::new(resuming.failed(None, out))),
        _ => Err(Box::new(Step::Close)),
    }
}

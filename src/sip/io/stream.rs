//! Connections: framed, read and written by one task each.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use bytes::{Bytes, BytesMut};
use omnid_hub::StreamContext;
use omnid_net::{Accepted, TlsSocket, plain_accept, tls_accept};
use omnid_supervisor::{Child, ChildResult};
use omnid_tls::ClientCertificates;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    sync::mpsc,
    time::timeout,
};
use tracing::{debug, info_span};

use super::{
    connections::{Connect, Outgoing},
    core::{Core, flow},
    udp::drained,
};
use crate::{
    engine::{Flow, Settings},
    wire::{Defect, Frame, Framer, FramingError, Limits, Message, Transport},
};

/// How long a peer may take to read what it is sent, and to send the rest of a message.
const STALLED: Duration = Duration::from_secs(15);
/// How long a connection may take to be made.
const CONNECT: Duration = Duration::from_secs(5);
/// Octets written at once.
const WRITE: usize = 32 * 1024;
/// Octets read at once.
const READ: usize = 8 * 1024;

/// What a TLS client may ask for (RFC 7301; the name has never been registered but is in use).
const ALPN: &[&str] = &["sip/2"];

/// Serves a plain connection.
pub(crate) fn serve_plain(core: &Arc<Core>, child: &Child, accepted: Accepted) {
    let (core, own) = (core.clone(), child.clone());
    child.spawn("connection", accepted.span(), async move {
        let deadline = core.ground.net.config().first_byte_timeout;
        let flow = flow(Transport::Tcp, accepted.local, accepted.peer, accepted.id);
        // Errors are logged and answered where they are found.
        if let Ok(socket) = plain_accept(accepted.socket, deadline).await {
            serve(&core, &own, socket, flow).await;
        }
        drop(accepted.permit);
        Ok(())
    });
}

/// Serves a connection under TLS.
pub(crate) fn serve_tls(core: &Arc<Core>, child: &Child, accepted: Accepted) {
    let (core, own) = (core.clone(), child.clone());
    child.spawn("connection", accepted.span(), async move {
        let deadline = core.ground.net.config().handshake_timeout;
        let config = core
            .ground
            .certificates
            .server_config(ALPN, ClientCertificates::None);
        let flow = flow(Transport::Tls, accepted.local, accepted.peer, accepted.id);
        if let Ok(socket) = tls_accept(accepted.socket, config, deadline).await {
            serve(&core, &own, socket, flow).await;
        }
        drop(accepted.permit);
        Ok(())
    });
}

/// Serves a connection that came in at another service's port.
pub(crate) fn serve_handed(
    core: &Arc<Core>,
    child: &Child,
    socket: TlsSocket,
    context: StreamContext,
    id: u64,
) {
    let span = info_span!("connection", listener = &*context.listener, peer = %context.peer, id, user = tracing::field::Empty);
    let (core, own) = (core.clone(), child.clone());
    child.spawn("connection", span, async move {
        let flow = flow(Transport::Tls, context.local, context.peer, id);
        serve(&core, &own, socket, flow).await;
        drop(context.permit);
        Ok(())
    });
}

/// Makes the connections that are asked for, and serves them.
pub(crate) async fn run_outbound(
    core: Arc<Core>,
    child: Child,
    requests: &tokio::sync::Mutex<mpsc::Receiver<Connect>>,
) -> ChildResult {
    let mut requests = requests.lock().await;
    child.ready();
    loop {
        let next = tokio::select! {
            next = requests.recv() => next,
            () = child.draining() => return Ok(()),
        };
        let Some(Connect { flow, queue }) = next else {
            return Ok(());
        };
        let span = info_span!("connection", listener = "outbound", peer = %flow.remote, id = flow.connection);
        let (core, own) = (core.clone(), child.clone());
        child.spawn("connection", span, async move {
            let open = Open::new(&core, flow, queue);
            match connect(flow.remote).await {
                Ok(socket) => open.run(&own, socket).await,
                Err(error) => debug!(%error, "cannot connect"),
            }
            Ok(())
        });
    }
}

async fn connect(to: SocketAddr) -> std::io::Result<TcpStream> {
    let socket = timeout(CONNECT, TcpStream::connect(to)).await??;
    socket.set_nodelay(true)?;
    Ok(socket)
}

async fn serve(
    core: &Arc<Core>,
    child: &Child,
    socket: impl AsyncRead + AsyncWrite + Unpin,
    flow: Flow,
) {
    let known = (flow.transport, flow.local.port());
    if !core.settings().ports.contains(&known) {
        core.learn_ports();
    }
    let queue = core.connections.open(flow.connection);
    let open = Open::new(core, flow, queue);
    open.run(child, socket).await;
}

/// An open connection. Whoever waits for something it still had to send is told when it goes.
struct Open<'a> {
    core: &'a Arc<Core>,
    flow: Flow,
    queue: mpsc::Receiver<Outgoing>,
}

/// Whether a connection goes on.
enum Next {
    Go,
    Close,
}

impl<'a> Open<'a> {
    fn new(core: &'a Arc<Core>, flow: Flow, queue: mpsc::Receiver<Outgoing>) -> Self {
        core.metrics.connections.inc();
        Self { core, flow, queue }
    }

    async fn run(mut self, child: &Child, mut socket: impl AsyncRead + AsyncWrite + Unpin) {
        let mut framer = Framer::default();
        let mut out = BytesMut::new();
        loop {
            let settings = self.core.settings();
            framer.buffer().reserve(READ);
            // What has begun to arrive has to go on arriving; between messages a phone is silent
            // for as long as its registration lasts.
            let patience = if framer.is_idle() {
                self.core.idle()
            } else {
                STALLED
            };
            let next = tokio::select! {
                read = timeout(patience, socket.read_buf(framer.buffer())) => match read {
                    Ok(Ok(1..)) => self.frames(&mut framer, &settings, child, &mut out),
                    Ok(Ok(0)) => Next::Close,
                    Ok(Err(error)) => {
                        debug!(%error, "connection broke");
                        Next::Close
                    }
                    Err(_) => {
                        debug!("connection is silent");
                        Next::Close
                    }
                },
                outgoing = self.queue.recv() => match outgoing {
                    Some(outgoing) => {
                        out.extend_from_slice(&outgoing.bytes);
                        Next::Go
                    }
                    // Another task found that we do not keep up.
                    None => Next::Close,
                },
                () = drained(self.core, child) => Next::Close,
            };
            while out.len() < WRITE
                && let Ok(outgoing) = self.queue.try_recv()
            {
                out.extend_from_slice(&outgoing.bytes);
            }
            if !out.is_empty() {
                let written = timeout(STALLED, async {
                    socket.write_all(&out).await?;
                    socket.flush().await
                });
                match written.await {
                    Ok(Ok(())) => out.clear(),
                    Ok(Err(_)) | Err(_) => return,
                }
            }
            if matches!(next, Next::Close) {
                // A peer that does not take our goodbye has not got long for it.
                drop(timeout(Duration::from_secs(1), socket.shutdown()).await);
                return;
            }
        }
    }

    /// Serves every whole frame that has arrived.
    fn frames(
        &self,
        framer: &mut Framer,
        settings: &Settings,
        child: &Child,
        out: &mut BytesMut,
    ) -> Next {
        let draining = child.is_draining();
        loop {
            match framer.next(settings.limits.stream_message) {
                Ok(Some(Frame::Message(bytes))) => {
                    let receive = |core: &Arc<Core>, outbox: &mut super::outbox::Outbox| {
                        core.receive(bytes, self.flow, draining, outbox)
                    };
                    if !self.core.with_outbox(receive) {
                        return Next::Close;
                    }
                }
                Ok(Some(Frame::Ping)) => out.extend_from_slice(b"\r\n"),
                Ok(None) => return Next::Go,
                Err(error) => {
                    self.refuse(&error, settings);
                    return Next::Close;
                }
            }
        }
    }

    /// Answers the message that the stream could not be read beyond.
    fn refuse(&self, error: &FramingError, settings: &Settings) {
        self.core.metrics.malformed.inc();
        let peer = self.flow.remote;
        omnid_telemetry::limited!(
            Duration::from_secs(10),
            info,
            "connection closed",
            %peer,
            reason = %error
        );
        let defect = match error {
            FramingError::TooLarge(_) => Defect {
                status: 513,
                reason: "Message Too Large",
            },
            FramingError::BadLength(_) => Defect {
                status: 400,
                reason: "Bad Content-Length",
            },
        };
        let headers: Bytes = error.headers().clone();
        let limits = Limits {
            stream_message: usize::MAX,
            ..settings.limits
        };
        let request = match Message::parse(headers, &limits) {
            Ok(message) => message,
            Err(rejected) => match rejected.request {
                Some(request) => *request,
                None => return,
            },
        };
        if request.is_request() {
            self.core.with_outbox(|core, outbox| {
                core.refuse(&request, defect, self.flow, outbox);
            });
        }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.core.metrics.connections.dec();
        self.core.connections.close(&self.flow);
        self.queue.close();
        while let Ok(outgoing) = self.queue.try_recv() {
            if let Some((shard, key)) = outgoing.transaction {
                self.core.failed(shard, key);
            }
        }
    }
}

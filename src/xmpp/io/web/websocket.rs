//! Streams over WebSocket (RFC 7395).

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, header};
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use omnid_hub::{MountContext, MountRequest, MountResponse};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, ReadHalf, WriteHalf},
    sync::mpsc,
    time::timeout,
};
use tracing::debug;

use super::{PIPE, Progress, begin, not_allowed, plain};
use crate::{
    io::server::Server,
    wire::{
        web::{Inward, Outward},
        websocket::{self, Fault, Message, Reader},
    },
};

/// Bytes that are read at a time.
const BUFFER: usize = 4 * 1024;
/// How long the last words may take.
const LAST_WORDS: Duration = Duration::from_secs(5);
/// How long a client may take nothing of what it is sent.
const WRITE: Duration = Duration::from_secs(60);
/// Answers to pings that wait to be written; a client that sends more of them gets fewer.
const PONGS: usize = 8;
/// Bytes that are read for nobody at the end.
const DISCARDED: usize = 1024 * 1024;
/// The status of an end as it should be.
const NORMAL: u16 = 1000;

pub(super) fn answer(
    server: &Arc<Server>,
    mut request: MountRequest,
    context: &MountContext,
) -> MountResponse {
    if request.method() != Method::GET {
        return not_allowed("GET");
    }
    let says = |name: header::HeaderName, word: &str| {
        let fields = request.headers().get_all(name);
        let mut fields = fields.iter().filter_map(|field| field.to_str().ok());
        fields.any(|field| {
            let mut words = field.split(',');
            words.any(|seen| seen.trim().eq_ignore_ascii_case(word))
        })
    };
    let version = says(header::SEC_WEBSOCKET_VERSION, "13");
    if !says(header::UPGRADE, "websocket") || !version {
        let mut response = plain(StatusCode::UPGRADE_REQUIRED);
        let headers = response.headers_mut();
        for (name, value) in [
            (header::CONNECTION, "Upgrade"),
            (header::UPGRADE, "websocket"),
            (header::SEC_WEBSOCKET_VERSION, "13"),
        ] {
            headers.insert(name, HeaderValue::from_static(value));
        }
        return response;
    }
    let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
    let key = key.and_then(|key| key.to_str().ok().map(ToOwned::to_owned));
    // RFC 7395 3.1: whoever speaks something else would not understand us.
    let spoken = says(header::SEC_WEBSOCKET_PROTOCOL, "xmpp");
    let (Some(key), true) = (key, spoken) else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let Some(upgrade) = request.extensions_mut().remove::<OnUpgrade>() else {
        return plain(StatusCode::BAD_REQUEST);
    };
    let (inner, outer) = tokio::io::duplex(PIPE);
    let carried = {
        let server = server.clone();
        async move {
            match timeout(LAST_WORDS, upgrade).await {
                Ok(Ok(upgraded)) => carry(server, TokioIo::new(upgraded), outer).await,
                _ => debug!("the connection did not become a WebSocket"),
            }
            Ok(())
        }
    };
    if !begin(server, context, "websocket", inner, carried) {
        return plain(StatusCode::SERVICE_UNAVAILABLE);
    }
    let mut response = plain(StatusCode::SWITCHING_PROTOCOLS);
    let headers = response.headers_mut();
    for (name, value) in [
        (header::CONNECTION, "Upgrade"),
        (header::UPGRADE, "websocket"),
        (header::SEC_WEBSOCKET_PROTOCOL, "xmpp"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    if let Ok(accept) = HeaderValue::from_str(&websocket::accept(&key)) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

type Socket = TokioIo<Upgraded>;

/// What both directions know.
struct Shared {
    server: Arc<Server>,
    progress: Mutex<Progress>,
}

impl Shared {
    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Carries the stream until one side has enough.
async fn carry(server: Arc<Server>, socket: Socket, pipe: DuplexStream) {
    let shared = Shared {
        server,
        progress: Mutex::new(Progress::new()),
    };
    let (mut from_client, mut to_client) = tokio::io::split(socket);
    let (from_server, to_server) = tokio::io::split(pipe);
    let (pongs, ponged) = mpsc::channel(PONGS);
    let mut status = NORMAL;
    {
        let outward = outward(&shared, from_server, &mut to_client, ponged);
        let mut outward = std::pin::pin!(outward);
        let inward = inward(&shared, &mut from_client, to_server, &pongs);
        tokio::select! {
            outcome = &mut outward => drop(outcome),
            fault = inward => {
                if let Some(fault) = fault {
                    debug!(%fault, "a WebSocket was ended");
                    status = fault.status();
                }
                // The client has no more to say: the server may have.
                if timeout(LAST_WORDS, outward).await.is_err() {
                    debug!("the end of a stream was not taken");
                }
            }
        }
    }
    let last = async {
        let mut end = Vec::new();
        websocket::write_close(&mut end, status);
        to_client.write_all(&end).await?;
        to_client.flush().await?;
        // RFC 6455 7.1.1: the server hangs up first. What the client still sends is read, so that
        // the kernel doesn't reset the connection over it before our last words are there.
        to_client.shutdown().await?;
        let mut buffer = [0; BUFFER];
        let mut left = DISCARDED;
        while let Some(rest) = left.checked_sub(from_client.read(&mut buffer).await?) {
            if rest == left {
                break;
            }
            left = rest;
        }
        Ok::<(), std::io::Error>(())
    };
    if let Ok(Err(error)) = timeout(LAST_WORDS, last).await {
        debug!(%error, "a WebSocket broke");
    }
}

/// Until the client has no more to say; why, if it could not be understood.
async fn inward(
    shared: &Shared,
    socket: &mut ReadHalf<Socket>,
    mut pipe: WriteHalf<DuplexStream>,
    pongs: &mpsc::Sender<Vec<u8>>,
) -> Option<Fault> {
    let mut reader = Reader::default();
    let mut buffer = vec![0; BUFFER];
    let limits = shared.progress().limits(&shared.server);
    let mut pieces = Inward::new(limits);
    let fault = loop {
        let limits = shared.progress().limits(&shared.server);
        pieces.limit(limits);
        let message = match reader.next(limits.bytes) {
            Ok(Some(message)) => message,
            Ok(None) => {
                match socket.read(&mut buffer).await {
                    Ok(0) | Err(_) => break None,
                    Ok(read) => reader.push(buffer.get(..read).unwrap_or_default()),
                }
                continue;
            }
            Err(fault) => break Some(fault),
        };
        let text = match message {
            Message::Text(text) => text,
            Message::Ping(payload) => {
                // Where too many wait, one of them is enough (RFC 6455 5.5.3).
                drop(pongs.try_send(payload));
                continue;
            }
            Message::Pong => continue,
            Message::Close => break None,
        };
        let mut stream = String::new();
        let due = shared.progress().due;
        let sent = pieces.piece(&text, due, &mut stream);
        match sent {
            Ok(sent) => shared.progress().sent(sent),
            // What no stream survives, so that it is told in a stream's words.
            Err(_) => stream.push_str("<>"),
        }
        // Where nobody reads any more, the other direction has the last words.
        if pipe.write_all(stream.as_bytes()).await.is_err() || sent.is_err() {
            std::future::pending::<()>().await;
        }
    };
    drop(pipe.shutdown().await);
    fault
}

/// Until the server has no more to say, or the client takes no more.
async fn outward(
    shared: &Shared,
    mut pipe: ReadHalf<DuplexStream>,
    socket: &mut WriteHalf<Socket>,
    mut pongs: mpsc::Receiver<Vec<u8>>,
) -> std::io::Result<()> {
    let mut pieces = Outward::default();
    let mut buffer = vec![0; BUFFER];
    loop {
        let mut out = Vec::new();
        tokio::select! {
            Some(payload) = pongs.recv() => websocket::write_pong(&mut out, &payload),
            read = pipe.read(&mut buffer) => {
                let read = read?;
                if read == 0 {
                    return Ok(());
                }
                let mut input = buffer.get(..read).unwrap_or_default();
                // White space asks whether the client is there; here there is a better way to
                // (RFC 7395 3.8).
                if input.iter().all(u8::is_ascii_whitespace) {
                    websocket::write_ping(&mut out);
                }
                while let Some(said) = pieces.next(&mut input).map_err(std::io::Error::other)? {
                    let text = said.into_text();
                    shared.progress().said(&text);
                    websocket::write_text(&mut out, text.as_bytes());
                }
            }
        }
        let write = async {
            socket.write_all(&out).await?;
            socket.flush().await
        };
        // The session behind the pipe gives up by then too.
        timeout(WRITE, write).await??;
    }
}

//! The first bytes of a connection: a TLS handshake with a deadline, or the peer's first word.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::limited::LimitedByKey;
use crate::wire::Spoken;
use crate::{Socket, linger};

/// A stream inside TLS.
pub type TlsSocket = tokio_rustls::server::TlsStream<Socket>;

/// Why a connection did not come to its first message. It is closed already.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The peer took longer than it may.
    #[error("no {0} within the time allowed")]
    Timeout(&'static str),
    /// The peer went away.
    #[error("the peer closed before {0}")]
    Closed(&'static str),
    /// The peer spoke something else than TLS to a TLS port.
    #[error("client spoke {0} to a TLS port")]
    NotTls(Spoken),
    /// The peer spoke TLS to a plain-text port.
    #[error("client spoke TLS to a plain-text port")]
    NotPlain,
    /// The peer sent a PROXY header, and is not among the trusted load balancers.
    #[error("client sent a PROXY header, but is not in net.proxy_protocol.trusted")]
    NotTrusted,
    /// The two sides found no common ground in TLS.
    #[error("TLS handshake failed: {0}")]
    Tls(#[source] rustls::Error),
    /// The connection broke.
    #[error("connection failed: {0}")]
    Io(#[source] io::Error),
}

/// RFC 8446 6: fatal `unexpected_message`, in a record of TLS 1.2's version as all have it.
const ALERT: &[u8] = &[21, 3, 3, 0, 2, 2, 10];

/// Makes `socket` a TLS server, on accept or after STARTTLS.
///
/// # Errors
/// On every error the peer has had its alert where one is due, the connection is closed, and what
/// is worth a line of log has had it (rate-limited): the caller has nothing left to do.
pub async fn tls_accept(
    socket: Socket,
    config: Arc<rustls::ServerConfig>,
    deadline: Duration,
) -> Result<TlsSocket, HandshakeError> {
    let place = Place::of(&socket);
    let result = match timeout(deadline, handshake(socket, config)).await {
        Ok(result) => result,
        Err(_) => Err(HandshakeError::Timeout("TLS handshake")),
    };
    result.inspect_err(|error| report(&place, error))
}

async fn handshake(
    socket: Socket,
    config: Arc<rustls::ServerConfig>,
) -> Result<TlsSocket, HandshakeError> {
    match first_word(&socket).await? {
        Spoken::Tls => {}
        spoken => {
            linger::close(socket, ALERT);
            return Err(HandshakeError::NotTls(spoken));
        }
    }
    match TlsAcceptor::from(config)
        .accept(socket)
        .into_fallible()
        .await
    {
        Ok(stream) => Ok(stream),
        Err((error, socket)) => {
            let error = match error.kind() {
                io::ErrorKind::UnexpectedEof
                | io::ErrorKind::ConnectionReset
                | io::ErrorKind::BrokenPipe => HandshakeError::Closed("its TLS handshake was done"),
                _ => match error.downcast::<rustls::Error>() {
                    Ok(error) => HandshakeError::Tls(error),
                    Err(error) => HandshakeError::Io(error),
                },
            };
            // The alert is sent; see that it is also read.
            linger::close(socket, &[]);
            Err(error)
        }
    }
}

/// Waits for the first byte of a plain-text connection, and turns TLS away.
///
/// # Errors
/// As [`tls_accept`]: the connection is closed and the log written.
pub async fn plain_accept(socket: Socket, deadline: Duration) -> Result<Socket, HandshakeError> {
    let place = Place::of(&socket);
    let result = match timeout(deadline, first_word(&socket)).await {
        Err(_) => Err(HandshakeError::Timeout("first byte")),
        Ok(Err(error)) => Err(error),
        Ok(Ok(Spoken::Tls)) => {
            linger::close(socket, ALERT);
            Err(HandshakeError::NotPlain)
        }
        Ok(Ok(Spoken::Proxy)) => {
            linger::close(socket, &[]);
            Err(HandshakeError::NotTrusted)
        }
        Ok(Ok(_)) => return Ok(socket),
    };
    result.inspect_err(|error| report(&place, error))
}

/// Waits for the peer to say something and tells what it looks like, leaving it to be read.
///
/// # Errors
/// [`HandshakeError::Timeout`], or that the connection ended.
pub async fn listen_first(socket: &Socket, deadline: Duration) -> Result<Spoken, HandshakeError> {
    match timeout(deadline, first_word(socket)).await {
        Ok(spoken) => spoken,
        Err(_) => Err(HandshakeError::Timeout("first byte")),
    }
}

async fn first_word(socket: &Socket) -> Result<Spoken, HandshakeError> {
    let mut bytes = [0; 128];
    loop {
        socket.readable().await.map_err(HandshakeError::Io)?;
        match socket.try_peek(&mut bytes) {
            Ok(0) => return Err(HandshakeError::Closed("it said anything")),
            Ok(read) => return Ok(Spoken::of(bytes.get(..read).unwrap_or_default())),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                return Err(HandshakeError::Closed("it said anything"));
            }
            Err(error) => return Err(HandshakeError::Io(error)),
        }
    }
}

/// Both ends of a connection, for the log; asked before the socket is given away.
struct Place {
    local: Option<std::net::SocketAddr>,
    peer: Option<std::net::SocketAddr>,
}

impl Place {
    fn of(socket: &Socket) -> Self {
        Self {
            local: socket.local_addr().ok(),
            peer: socket.peer_addr().ok(),
        }
    }
}

/// One line for each port and kind of failure in ten seconds: a scanner causes these at will.
fn report(place: &Place, error: &HandshakeError) {
    static LINES: LimitedByKey<(u16, &'static str)> = LimitedByKey::new(Duration::from_secs(10));
    let port = place.local.map_or(0, |local| local.port());
    let kind = match error {
        HandshakeError::NotTls(Spoken::Proxy) | HandshakeError::NotTrusted => "PROXY",
        HandshakeError::NotTls(_) => "not TLS",
        HandshakeError::NotPlain => "not plain",
        HandshakeError::Tls(_) => "TLS",
        // A peer that goes away or stays silent is everyday life.
        HandshakeError::Timeout(_) | HandshakeError::Closed(_) | HandshakeError::Io(_) => {
            tracing::debug!(peer = ?place.peer, local = ?place.local, "{error}");
            return;
        }
    };
    if let Some(held) = LINES.pass((port, kind)) {
        let peer = place.peer.map(tracing::field::display);
        let local = place.local.map(tracing::field::display);
        if matches!(error, HandshakeError::Tls(_)) {
            tracing::info!(peer, local, held_back = held, "{error}");
        } else {
            tracing::warn!(peer, local, held_back = held, "{error}");
        }
    }
}

/// The protocol agreed by ALPN (RFC 7301), if any.
pub fn alpn(socket: &TlsSocket) -> Option<&str> {
    socket
        .get_ref()
        .1
        .alpn_protocol()
        .and_then(|id| std::str::from_utf8(id).ok())
}

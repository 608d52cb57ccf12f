//! The first bytes of a connection: a TLS handshake with a deadline, or the peer's first word.

use std::fmt;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use crate::limited::LimitedByKey;
use crate::wire::proxy;
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

/// What a peer's first bytes look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Spoken {
    /// A TLS handshake record.
    Tls,
    /// An HTTP request, or the preface of HTTP/2.
    Http,
    /// A SIP request or response.
    Sip,
    /// An XML stream.
    Xml,
    /// A PROXY header, which only counts from a trusted load balancer.
    Proxy,
    /// None of these.
    Other,
}

impl Spoken {
    /// Looks at the first bytes of a connection, of which there may be few.
    pub fn of(bytes: &[u8]) -> Self {
        // RFC 8446 5.1: a handshake record is 22, and every version so far has major version 3.
        match bytes {
            [22] | [22, 3, ..] => return Self::Tls,
            [b'<', ..] => return Self::Xml,
            _ if proxy::looks_like(bytes) => return Self::Proxy,
            _ => {}
        }
        let line = bytes
            .split(|&byte| byte == b'\r' || byte == b'\n')
            .next()
            .unwrap_or_default();
        let has = |word: &[u8]| line.windows(word.len()).any(|window| window == word);
        let method = line
            .iter()
            .take_while(|byte| byte.is_ascii_uppercase())
            .count();
        let after_method = line.get(method..).unwrap_or_default();
        if line.starts_with(b"SIP/2.0")
            || (method > 1
                && (after_method.starts_with(b" sip:")
                    || after_method.starts_with(b" sips:")
                    || has(b" SIP/2.0")))
        {
            Self::Sip
        } else if method > 1
            && (after_method.starts_with(b" /")
                || after_method.starts_with(b" http")
                || after_method.starts_with(b" *")
                || has(b" HTTP/"))
        {
            Self::Http
        } else {
            Self::Other
        }
    }
}

impl fmt::Display for Spoken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Tls => "TLS",
            Self::Http => "plain HTTP",
            Self::Sip => "plain SIP",
            Self::Xml => "plain XML",
            Self::Proxy => "a PROXY header that it is not trusted with",
            Self::Other => "something that is not TLS",
        })
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_words() {
        let table: &[(&[u8], Spoken)] = &[
            (&[22], Spoken::Tls),
            (&[22, 3, 1, 2, 0, 1], Spoken::Tls),
            (&[22, 5], Spoken::Other),
            (b"GET / HTTP/1.1\r\nHost: a\r\n", Spoken::Http),
            (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", Spoken::Http),
            (b"CONNECT a:1 HTTP/1.1\r\n", Spoken::Http),
            (b"OPTIONS * HTTP/1.1\r\n", Spoken::Http),
            (b"OPTIONS sip:a@b SIP/2.0\r\n", Spoken::Sip),
            (b"SIP/2.0 200 OK\r\n", Spoken::Sip),
            (b"<?xml version='1.0'?>", Spoken::Xml),
            (b"<stream:stream", Spoken::Xml),
            (b"SSH-2.0-OpenSSH\r\n", Spoken::Other),
            (b"G", Spoken::Other),
            (&[0, 28, 1, 2], Spoken::Other),
            (b"PROXY TCP4 1", Spoken::Proxy),
            (b"", Spoken::Other),
        ];
        for (bytes, spoken) in table {
            assert_eq!(Spoken::of(bytes), *spoken, "{}", bytes.escape_ascii());
        }
    }
}

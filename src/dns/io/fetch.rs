//! Asks a primary for the serial of a zone, and for the zone.

use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;

use super::stream::DOT;
use super::unix_time;
use crate::engine::change::soa;
use crate::engine::incoming::{Fault, Incoming, Received, question, read_serial, request};
use crate::engine::tsig::{Key, StreamVerifier, Untrusted};
use crate::engine::zone::Zone;
use crate::trust::Secured;
use crate::wire::code::RrType;
use crate::wire::name::Name;
use crate::wire::reader::{Header, flag};

/// Waits for an answer over UDP, one after the other.
const UDP_WAITS: [Duration; 3] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
];
const CONNECT: Duration = Duration::from_secs(10);
/// A primary that sends nothing for so long is gone.
const SILENCE: Duration = Duration::from_secs(60);

/// A server to ask.
#[derive(Debug, Clone)]
pub(crate) struct Primary {
    pub(crate) address: SocketAddr,
    pub(crate) key: Option<Arc<Key>>,
    /// It is asked over TLS.
    pub(crate) tls: Option<Secured>,
}

/// Bounds of a transfer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Octets.
    pub(crate) size: usize,
    /// From the first octet to the last.
    pub(crate) time: Duration,
}

/// Why a primary was of no use.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FetchError {
    #[error("{0}")]
    Io(#[from] std::io::Error),
    #[error("no answer")]
    Silent,
    #[error("it speaks TLS, but does not agree on DNS (ALPN `dot`)")]
    NotDns,
    #[error("{0}")]
    Fault(#[from] Fault),
    #[error("{0}")]
    Untrusted(#[from] Untrusted),
    #[error("the transfer took longer than {0:?}")]
    Slow(Duration),
}

/// The serial that a primary has.
pub(crate) async fn serial(primary: &Primary, zone: &Name) -> Result<u32, FetchError> {
    // Nobody on the way is to learn that there is a new version (RFC 9103 5).
    if primary.tls.is_some() {
        return serial_by_stream(primary, zone).await;
    }
    let any: SocketAddr = if primary.address.is_ipv4() {
        (Ipv4Addr::UNSPECIFIED, 0).into()
    } else {
        (Ipv6Addr::UNSPECIFIED, 0).into()
    };
    let mut buffer = vec![0; 4096];
    for wait in UDP_WAITS {
        // A new port and a new ID for each try: both are a forger's to guess.
        let socket = UdpSocket::bind(any).await?;
        socket.connect(primary.address).await?;
        let id = random_id();
        let mut message = question(id, zone.as_ref(), RrType::SOA);
        let verifier = sign(primary, &mut message);
        socket.send(&message).await?;
        let deadline = Instant::now() + wait;
        let mut refused = None;
        while let Ok(received) = timeout_at(deadline, socket.recv(&mut buffer)).await {
            let answer = buffer.get(..received?).unwrap_or_default();
            // What is not the answer, or not signed as it must be, may be a forger's: the true one
            // may still come.
            if Header::read(answer).map_or(true, |header| header.id != id) {
                continue;
            }
            if Header::read(answer).is_ok_and(|header| header.flags & flag::TC != 0) {
                return serial_by_stream(primary, zone).await;
            }
            match check(verifier.clone(), answer) {
                Ok(answer) => return Ok(read_serial(answer, id, zone.as_ref())?),
                Err(error) => refused = Some(error),
            }
        }
        if let Some(error) = refused {
            return Err(error.into());
        }
    }
    Err(FetchError::Silent)
}

async fn serial_by_stream(primary: &Primary, zone: &Name) -> Result<u32, FetchError> {
    let id = random_id();
    let mut message = question(id, zone.as_ref(), RrType::SOA);
    let verifier = sign(primary, &mut message);
    let mut stream = connect(primary, &message).await?;
    let answer = read_message(&mut *stream).await?;
    let answer = check(verifier, &answer)?;
    Ok(read_serial(answer, id, zone.as_ref())?)
}

/// An answer that may be believed. Its signature stays at its end, where readers of the answer
/// section do not come.
fn check(verifier: Option<(Arc<Key>, Vec<u8>)>, answer: &[u8]) -> Result<&[u8], Untrusted> {
    if let Some((key, mac)) = verifier {
        StreamVerifier::new(key, mac).take(answer, unix_time().into())?;
    }
    Ok(answer)
}

fn sign(primary: &Primary, message: &mut Vec<u8>) -> Option<(Arc<Key>, Vec<u8>)> {
    let key = primary.key.clone()?;
    let mac = key.sign_request(message, unix_time().into());
    Some((key, mac))
}

/// A connection to a primary.
trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

async fn secure(secured: &Secured, plain: TcpStream) -> Result<Box<dyn Stream>, FetchError> {
    let connector = TlsConnector::from(secured.config.clone());
    let stream = connector.connect(secured.name.clone(), plain).await?;
    // RFC 9103 7.1: else it is some other server that speaks TLS.
    if stream.get_ref().1.alpn_protocol() != Some(DOT.as_bytes()) {
        return Err(FetchError::NotDns);
    }
    Ok(Box::new(stream))
}

async fn connect(primary: &Primary, message: &[u8]) -> Result<Box<dyn Stream>, FetchError> {
    let connecting = async {
        let plain = TcpStream::connect(primary.address).await?;
        match &primary.tls {
            Some(secured) => secure(secured, plain).await,
            None => Ok::<Box<dyn Stream>, _>(Box::new(plain)),
        }
    };
    let stream = timeout(CONNECT, connecting).await;
    let mut stream = stream.map_err(|_| FetchError::Silent)??;
    let length = (message.len() as u16).to_be_bytes();
    let framed = [&length[..], message].concat();
    let sending = async {
        stream.write_all(&framed).await?;
        stream.flush().await
    };
    timeout(CONNECT, sending)
        .await
        .map_err(|_| FetchError::Silent)??;
    Ok(stream)
}

async fn read_message(stream: &mut dyn Stream) -> Result<Vec<u8>, FetchError> {
    let read = async {
        let length = stream.read_u16().await?;
        let mut message = vec![0; length.into()];
        stream.read_exact(&mut message).await?;
        Ok::<_, std::io::Error>(message)
    };
    let message = timeout(SILENCE, read).await;
    Ok(message.map_err(|_| FetchError::Silent)??)
}

/// All of a zone, or what is new since a version.
pub(crate) async fn transfer(
    primary: &Primary,
    zone: &Name,
    held: Option<&Zone>,
    bounds: Bounds,
) -> Result<Received, FetchError> {
    let work = transfer_now(primary, zone, held, bounds.size);
    let done = timeout(bounds.time, work).await;
    done.map_err(|_| FetchError::Slow(bounds.time))?
}

async fn transfer_now(
    primary: &Primary,
    zone: &Name,
    held: Option<&Zone>,
    max_size: usize,
) -> Result<Received, FetchError> {
    let id = random_id();
    let held_soa = held.and_then(soa);
    let mut message = request(id, zone.as_ref(), held_soa.as_ref());
    let signed = sign(primary, &mut message);
    let mut verifier = signed.map(|(key, mac)| StreamVerifier::new(key, mac));
    let mut stream = connect(primary, &message).await?;
    let mut incoming = Incoming::new(zone, id, held.map(Zone::serial), max_size);
    loop {
        let message = read_message(&mut *stream).await?;
        if let Some(verifier) = &mut verifier {
            // Before anything of it is looked at.
            verifier.take(&message, unix_time().into())?;
        }
        let Some(received) = incoming.take(&message)? else {
            continue;
        };
        // RFC 8945 5.3.1: the last message is signed.
        if verifier.is_some_and(|verifier| !verifier.is_settled()) {
            return Err(Untrusted::Missing.into());
        }
        return Ok(received);
    }
}

fn random_id() -> u16 {
    let mut octets = [0u8; 2];
    crate::random(&mut octets);
    u16::from_be_bytes(octets)
}

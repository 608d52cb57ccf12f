//! The network as the engine wants it, over sockets: for each datagram a socket of its own with a
//! port chosen by the kernel, so that a forger has to guess it as well (RFC 5452).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use arc_swap::ArcSwap;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tracing::debug;

use super::pool::Pool;
use crate::resolver::engine::network::{Carrier, Lost, Network, Outgoing};

/// Wrong answers to one query after which somebody may be guessing.
const MAX_FORGED: usize = 8;
/// Largest datagram that is taken.
const MAX_DATAGRAM: usize = 4096;

/// The network.
pub(crate) struct Sockets {
    tls: ArcSwap<ClientConfig>,
    connections: Pool,
}

impl Sockets {
    pub(crate) fn new() -> Sockets {
        Sockets {
            tls: ArcSwap::new(client(RootCertStore::empty())),
            connections: Pool::default(),
        }
    }

    /// Trusts these authorities from now on.
    pub(crate) fn trust(&self, authorities: &RootCertStore) {
        self.tls.store(client(authorities.clone()));
        self.connections.clear();
    }

    async fn datagram(&self, to: SocketAddr, query: &Outgoing) -> Result<Vec<u8>, Lost> {
        let here: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let unreachable = |error: std::io::Error| {
            debug!(%to, %error, "cannot be asked");
            Lost::Unreachable
        };
        let socket = UdpSocket::bind((here, 0)).await.map_err(unreachable)?;
        // Connected, it takes datagrams from nobody else, and hears of ports that are closed.
        socket.connect(to).await.map_err(unreachable)?;
        socket.send(&query.bytes).await.map_err(unreachable)?;
        let mut buffer = vec![0; MAX_DATAGRAM];
        for _ in 0..MAX_FORGED {
            let length = socket.recv(&mut buffer).await.map_err(unreachable)?;
            let message = buffer.get(..length).unwrap_or_default();
            if query.is_answered_by(message) {
                return Ok(message.to_vec());
            }
        }
        debug!(%to, "wrong answers to one query: a forger may be at work");
        Err(Lost::Forged)
    }

    async fn stream(
        &self,
        to: SocketAddr,
        carrier: &Carrier,
        query: &Outgoing,
    ) -> Result<Vec<u8>, Lost> {
        match carrier {
            Carrier::Tls(name) => {
                // A connection that has idled may be gone: then a new one is tried.
                if let Some(mut kept) = self.connections.take(to)
                    && let Ok(message) = exchange(&mut kept, query).await
                {
                    self.connections.give(to, kept);
                    return Ok(message);
                }
                let config = self.tls.load_full();
                let name = match name {
                    Some(name) => ServerName::try_from(name.to_string()),
                    None => Ok(ServerName::from(to.ip())),
                };
                let name = name.map_err(|_| Lost::Unreachable)?;
                let failed = |error: std::io::Error| {
                    debug!(%to, %error, "no connection over TLS");
                    Lost::Unreachable
                };
                let plain = TcpStream::connect(to).await.map_err(failed)?;
                plain.set_nodelay(true).map_err(failed)?;
                let connector = TlsConnector::from(config);
                let mut stream = connector.connect(name, plain).await.map_err(failed)?;
                let message = exchange(&mut stream, query).await?;
                self.connections.give(to, stream);
                Ok(message)
            }
            _ => {
                let connected = TcpStream::connect(to).await;
                let mut stream = connected.map_err(|_| Lost::Unreachable)?;
                exchange(&mut stream, query).await
            }
        }
    }
}

/// One question and answer on a connection.
async fn exchange(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    query: &Outgoing,
) -> Result<Vec<u8>, Lost> {
    let lost = |_: std::io::Error| Lost::Unreachable;
    let mut framed = (query.bytes.len() as u16).to_be_bytes().to_vec();
    framed.extend_from_slice(&query.bytes);
    stream.write_all(&framed).await.map_err(lost)?;
    stream.flush().await.map_err(lost)?;
    let mut length = [0; 2];
    stream.read_exact(&mut length).await.map_err(lost)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message).await.map_err(lost)?;
    if query.is_answered_by(&message) {
        Ok(message)
    } else {
        Err(Lost::Forged)
    }
}

fn client(authorities: RootCertStore) -> Arc<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider);
    // The versions are those the provider was built with, which cannot disagree with it.
    let builder = match builder.with_safe_default_protocol_versions() {
        Ok(builder) => builder,
        Err(error) => {
            tracing::error!(%error, "TLS to forwarders is not to be had");
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let config = ClientConfig::builder_with_provider(provider);
            return match config.with_protocol_versions(rustls::ALL_VERSIONS) {
                Ok(builder) => Arc::new(
                    builder
                        .with_root_certificates(RootCertStore::empty())
                        .with_no_client_auth(),
                ),
                Err(_) => return client(RootCertStore::empty()),
            };
        }
    };
    let mut config = builder
        .with_root_certificates(authorities)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    Arc::new(config)
}

impl Network for Sockets {
    fn exchange<'a>(
        &'a self,
        to: SocketAddr,
        carrier: &'a Carrier,
        query: &'a Outgoing,
        limit: Duration,
    ) -> BoxFuture<'a, Result<Vec<u8>, Lost>> {
        async move {
            let came = match carrier {
                Carrier::Udp => timeout(limit, self.datagram(to, query)).await,
                Carrier::Tcp | Carrier::Tls(_) => {
                    timeout(limit, self.stream(to, carrier, query)).await
                }
            };
            came.unwrap_or(Err(Lost::Timeout))
        }
        .boxed()
    }

    fn now(&self) -> Instant {
        Instant::now()
    }

    fn unix_time(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_secs())
    }

    fn random(&self, octets: &mut [u8]) {
        crate::random(octets);
    }
}

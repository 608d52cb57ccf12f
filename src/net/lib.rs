//! Sockets: bound, kept over restarts, counted, and given out.
//!
//! [`Net`] owns every listening socket of the process. A service asks it for a [`Listener`] or a
//! group of [`DatagramSocket`]s by address, and gets the same ones again when it restarts, so that
//! its port stays open and what is queued there is not lost. Bounds on connections, the PROXY
//! protocol and the wait at the descriptor limit are inside [`Listener::accept`]; the first bytes
//! of a connection are watched by [`tls_accept`] and [`plain_accept`].

mod bind;
mod config;
mod datagram;
mod handshake;
mod introduce;
mod limited;
mod limits;
mod linger;
mod listener;
mod net;
mod socket;
mod sys;
pub mod systemd;
pub mod wire;

pub use bind::BindError;
pub use config::{NetConfig, ProxyProtocolConfig};
pub use datagram::{DatagramSocket, ReceiveBatch, SendBatch};
pub use handshake::{HandshakeError, TlsSocket, alpn, listen_first, plain_accept, tls_accept};
pub use limits::{Permit, subnet_key};
pub use listener::{Accepted, Listener};
pub use net::{Bound, Net, Transport};
pub use omnid_config::{IpNet, ListenAddr};
pub use socket::Socket;
pub use wire::Spoken;

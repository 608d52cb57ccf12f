//! Reading the PROXY header that a trusted load balancer puts before a connection.

use std::io;

use tokio::io::AsyncReadExt;

use crate::Socket;
use crate::wire::proxy::{self, Header, Progress, ProxyError};

/// Why a load balancer's connection is not taken.
#[derive(Debug, thiserror::Error)]
pub(crate) enum IntroductionError {
    #[error("{0}")]
    Header(#[from] ProxyError),
    #[error("connection ended within its PROXY header: {0}")]
    Io(#[from] io::Error),
}

/// Reads the header, and not a byte beyond it: what follows may be for TLS or for sendfile, neither
/// of which looks into a buffer of ours.
pub(crate) async fn introduce(socket: &mut Socket) -> Result<Header, IntroductionError> {
    let mut bytes = Vec::new();
    loop {
        match proxy::parse(&bytes)? {
            Progress::Done(header, _) => return Ok(header),
            Progress::Needs(length) => {
                let have = bytes.len();
                bytes.resize(length, 0);
                let room = bytes.get_mut(have..).unwrap_or_default();
                socket.read_exact(room).await?;
            }
        }
    }
}

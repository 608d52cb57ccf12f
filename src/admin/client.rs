//! The command line's end of the control socket. Blocking: a command has nothing else to do.

use std::{
    io::{self, BufRead, BufReader, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
};

use omnid_hub::ControlError;
use serde_json::Value;

use crate::protocol::{LINE_MAX, Reply, Request};

/// Why a control command came to nothing.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens.
    #[error(
        "cannot reach the daemon at {}: {source}\n\
         is it running (`systemctl status omnid`), and is this the socket of its configuration ([admin] socket)?",
        path.display()
    )]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the daemon closed the conversation: {0}")]
    Broken(#[from] io::Error),
    /// What came is no reply.
    #[error("the daemon's reply makes no sense: {0}")]
    Nonsense(#[from] serde_json::Error),
    /// The daemon says no.
    #[error("{0}")]
    Refused(#[from] ControlError),
}

/// An open control conversation.
pub struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects to a daemon's control socket.
    ///
    /// # Errors
    /// [`ClientError::Unreachable`].
    pub fn connect(path: &Path) -> Result<Self, ClientError> {
        let stream = UnixStream::connect(path).map_err(|source| ClientError::Unreachable {
            path: path.to_owned(),
            source,
        })?;
        Ok(Self {
            reader: BufReader::new(stream),
        })
    }

    /// Carries out one verb and waits for its answer.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn call(&mut self, verb: &str, arguments: Value) -> Result<Value, ClientError> {
        self.send(verb, arguments)?;
        match self.receive()? {
            Some(Reply::Ok(value) | Reply::Item(value)) => Ok(value),
            Some(Reply::Error(error)) => Err(error.into()),
            None => Err(io::Error::from(io::ErrorKind::UnexpectedEof).into()),
        }
    }

    /// Carries out a verb that follows something, and hands each item to `each` until it returns
    /// false or the daemon ends.
    ///
    /// # Errors
    /// Any [`ClientError`].
    pub fn follow(
        &mut self,
        verb: &str,
        arguments: Value,
        mut each: impl FnMut(Value) -> bool,
    ) -> Result<(), ClientError> {
        self.send(verb, arguments)?;
        while let Some(reply) = self.receive()? {
            match reply {
                Reply::Item(value) => {
                    if !each(value) {
                        return Ok(());
                    }
                }
                Reply::Ok(_) => return Ok(()),
                Reply::Error(error) => return Err(error.into()),
            }
        }
        Ok(())
    }

    fn send(&mut self, verb: &str, arguments: Value) -> Result<(), ClientError> {
        let mut line = serde_json::to_vec(&Request {
            verb: verb.to_owned(),
            arguments,
        })?;
        line.push(b'\n');
        self.reader.get_mut().write_all(&line)?;
        Ok(())
    }

    fn receive(&mut self) -> Result<Option<Reply>, ClientError> {
        let mut line = Vec::new();
        if self
            .reader
            .by_ref()
            .take(LINE_MAX)
            .read_until(b'\n', &mut line)?
            == 0
        {
            return Ok(None);
        }
        Ok(Some(serde_json::from_slice(&line)?))
    }
}

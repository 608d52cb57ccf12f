//! A stream with another server, either way: framed, read and written within bounds.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    time::{Instant, timeout, timeout_at},
};

use crate::wire::{
    Element, Frame, Framer, Incoming, Limits, Scope, Stanza, StreamCondition, StreamError, ns,
    stanza, stream::StreamHeader,
};

/// How long a write may take.
const WRITE: Duration = Duration::from_secs(60);
/// Stanzas of servers: of what others let their clients send, and some more.
pub(super) const LIMITS: Limits = Limits {
    bytes: 512 * 1024,
    ..Limits::CLIENT
};

/// Bytes to and from another server.
pub(super) trait Wire: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Wire for T {}

/// Why a stream is over.
#[derive(Debug)]
pub(super) enum Over {
    /// The other side has gone, or is too slow.
    Gone,
    /// It is told this.
    Error(StreamError),
}

impl From<StreamCondition> for Over {
    fn from(condition: StreamCondition) -> Over {
        Over::Error(condition.into())
    }
}

/// What the other side sends.
pub(super) enum Got {
    Header(StreamHeader),
    Element(Element),
    Stanza(Stanza),
    /// The stream's end.
    End,
}

/// A stream.
pub(super) struct Link {
    socket: Box<dyn Wire>,
    framer: Framer,
    input: Vec<u8>,
    scope: Scope,
    lang: Option<String>,
}

impl Link {
    pub(super) fn new(socket: impl Wire + 'static) -> Link {
        Link {
            socket: Box::new(socket),
            framer: Framer::new(Limits::UNAUTHENTICATED),
            input: Vec::new(),
            scope: Scope::empty(),
            lang: None,
        }
    }

    /// Begins anew: a header comes next.
    pub(super) fn restart(&mut self) {
        self.framer.restart();
    }

    /// The other side has proved itself: it may send more at a time.
    pub(super) fn trusted(&mut self) {
        self.framer.limit(LIMITS);
    }

    /// Gives up the connection, if nothing was read that has not been looked at.
    pub(super) fn into_socket(self) -> Option<Box<dyn Wire>> {
        let blank = self.input.iter().all(u8::is_ascii_whitespace);
        (blank && !self.framer.is_partial()).then_some(self.socket)
    }

    /// Writes.
    pub(super) async fn send(&mut self, bytes: &[u8]) -> Result<(), Over> {
        let write = async {
            self.socket.write_all(bytes).await?;
            self.socket.flush().await
        };
        match timeout(WRITE, write).await {
            Ok(Ok(())) => Ok(()),
            _ => Err(Over::Gone),
        }
    }

    /// What comes next. Nothing that was read is lost if this is dropped.
    pub(super) async fn next(&mut self, deadline: Instant) -> Result<Got, Over> {
        loop {
            if let Some(got) = self.framed()? {
                return Ok(got);
            }
            let mut chunk = [0; 4096];
            match timeout_at(deadline, self.socket.read(&mut chunk)).await {
                Ok(Ok(0) | Err(_)) => return Err(Over::Gone),
                Err(_) => return Err(StreamCondition::ConnectionTimeout.into()),
                Ok(Ok(read)) => self
                    .input
                    .extend_from_slice(chunk.get(..read).unwrap_or_default()),
            }
        }
    }

    fn framed(&mut self) -> Result<Option<Got>, Over> {
        let mut rest = self.input.as_slice();
        let got = match self.framer.next(&mut rest) {
            Ok(Some(Frame::Header(bytes))) => {
                let header = StreamHeader::parse_server(bytes).map_err(Over::Error)?;
                self.scope = header.scope.clone();
                self.lang.clone_from(&header.lang);
                Some(Got::Header(header))
            }
            Ok(Some(Frame::Footer(_))) => Some(Got::End),
            Ok(Some(Frame::Stanza(bytes))) => Some(got(bytes, &self.scope, self.lang.as_deref())?),
            Ok(None) => None,
            Err(flaw) => return Err(Over::Error(flaw.into())),
        };
        let done = self.input.len() - rest.len();
        self.input.drain(..done);
        if self.input.is_empty() {
            // Idle streams hold no buffer.
            self.input = Vec::new();
        }
        Ok(got)
    }

    /// The last words.
    pub(super) async fn end(mut self, over: &Over) {
        if let Over::Error(error) = over
            && self.send(error.closing().as_bytes()).await.is_err()
        {
            return;
        }
        let _closed = timeout(Duration::from_secs(5), self.socket.shutdown()).await;
    }
}

fn got(bytes: &[u8], scope: &Scope, lang: Option<&str>) -> Result<Got, Over> {
    let incoming = stanza::read(bytes, scope).map_err(|flaw| Over::Error(flaw.into()))?;
    let element = match incoming {
        Incoming::Stanza(draft) => {
            let (Ok(Some(from)), Ok(Some(_))) = (draft.from(), draft.to()) else {
                return Err(StreamCondition::ImproperAddressing.into());
            };
            return draft
                .stamp(&from, lang)
                .map(Got::Stanza)
                .map_err(|_| StreamCondition::InvalidXml.into());
        }
        Incoming::Element(element) => element,
    };
    // A stanza that says its namespace itself.
    if element.ns() == ns::SERVER {
        let element = element.moved(ns::SERVER, ns::CLIENT);
        let stanza = Stanza::from_element(&element);
        let stanza = stanza.filter(|stanza| stanza.from().is_some() && stanza.to().is_some());
        return stanza
            .map(Got::Stanza)
            .ok_or(StreamCondition::ImproperAddressing.into());
    }
    Ok(Got::Element(element))
}

/// A stream's header to another server.
pub(super) fn open(from: &str, to: &str, id: Option<&str>) -> String {
    let attribute = |name, value: &str| {
        let mut text = format!(" {name}='");
        crate::wire::element::write_value(&mut text, value);
        text.push('\'');
        text
    };
    let id = id.map(|id| attribute("id", id)).unwrap_or_default();
    format!(
        "<?xml version='1.0'?><stream:stream xmlns='jabber:server' \
         xmlns:stream='http://etherx.jabber.org/streams' xmlns:db='jabber:server:dialback'\
         {id}{}{} version='1.0' xml:lang='en'>",
        attribute("from", from),
        attribute("to", to),
    )
}

//! A bound session's task: reads what its client sends, writes what its outbox holds.
//!
//! An idle session holds no buffer: reading goes through one that all sessions of a worker thread
//! share, and only an incomplete stanza is copied out of it.

use std::{
    cell::RefCell,
    future::poll_fn,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use omnid_net::Permit;
use omnid_supervisor::ChildResult;
use omnid_telemetry::limited;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tracing::debug;

use super::{
    inbound::{Client, Item, read},
    outbox::Taken,
    server::{Resumable, Server},
};
use crate::{
    engine::account::Outlet,
    wire::{Frame, Framer, stream::StreamHeader},
};

/// One TLS record, which is the most that a read gives.
const BUFFER: usize = 16 * 1024;
/// How long the last words to a client may take.
const LAST_WORDS: Duration = Duration::from_secs(5);

thread_local! {
    static READ: RefCell<Box<[u8]>> = RefCell::new(vec![0; BUFFER].into());
}

/// What a session's task is given.
pub(crate) struct Connection {
    pub(crate) server: Arc<Server>,
    pub(crate) session: Resumable,
    /// Which of the session's connections this is.
    pub(crate) number: u32,
    pub(crate) header: StreamHeader,
    pub(crate) lang: Option<String>,
    /// Counts the connection until it ends.
    pub(crate) _permit: Option<Permit>,
}

/// Runs until the stream or the connection ends. `input` was read with the login; `unsaid` is to be
/// written first.
pub(crate) async fn run<S>(
    socket: S,
    connection: Connection,
    mut framer: Framer,
    input: Vec<u8>,
    unsaid: String,
) -> ChildResult
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    framer.limit(connection.server.settings.load().limits());
    let client = Client {
        cell: connection.session.cell.clone(),
        id: connection.session.id,
        jid: connection.session.outbox.facts.jid.clone(),
        outbox: connection.session.outbox.clone(),
    };
    // However this ends, by a panic too, the session is put to sleep or taken out.
    let parting = Parting {
        server: connection.server.clone(),
        session: connection.session.clone(),
        number: connection.number,
    };
    let unsaid_is_empty = unsaid.is_empty();
    let mut pipe = Pipe {
        socket,
        framer,
        writing: unsaid.into_bytes(),
        written: 0,
        last: false,
        greeted: unsaid_is_empty,
        connection,
    };
    let mut items = Vec::new();
    pipe.frames(&input, &mut items);
    drop(input);
    let outcome = loop {
        let mut over = false;
        for item in items.drain(..) {
            let Some(_turn) = client.outbox.turn_of(pipe.connection.number).await else {
                over = true;
                break;
            };
            match item {
                Item::Stanza(stanza) => {
                    if let Err(stanza) = pipe.connection.server.quick(&client, stanza) {
                        let kind = stanza.kind();
                        let span = tracing::debug_span!(
                            "stanza",
                            kind = kind.name(),
                            id = stanza.id().as_deref(),
                        );
                        let handle = pipe.connection.server.handle(&client, stanza);
                        tracing::Instrument::instrument(Box::pin(handle), span).await;
                    }
                    client.outbox.handled();
                }
                Item::Refused(answer) => {
                    if let Some(answer) =
                        answer.as_ref().and_then(crate::wire::Stanza::from_element)
                    {
                        client.outbox.send(&answer);
                    }
                    client.outbox.handled();
                }
                Item::Element(element) => {
                    Box::pin(pipe.connection.server.element(&client, &element)).await;
                }
                Item::Fail(error) => {
                    pipe.connection.server.metrics.flawed.inc();
                    limited!(
                        Duration::from_secs(10),
                        key = client.jid.bare_str(),
                        info,
                        "a stream was ended",
                        condition = error.condition.as_str(),
                        text = error.text
                    );
                    client.outbox.close(error);
                    over = true;
                }
                Item::Goodbye => {
                    client.outbox.goodbye();
                    over = true;
                }
            }
            if over {
                break;
            }
        }
        items.clear();
        if over {
            break pipe.finish().await;
        }
        // Idle sessions hold no list.
        items = Vec::new();
        match poll_fn(|cx| pipe.turn(cx, &mut items)).await {
            Ok(Turn::Read) => {}
            Ok(Turn::Over) => break pipe.finish().await,
            Err(error) => break Err(error),
        }
    };
    if let Err(error) = outcome {
        debug!(%error, "the connection broke");
    }
    parting.part().await;
    Ok(())
}

/// What a wait ended with.
enum Turn {
    /// Something was read.
    Read,
    /// The stream is over.
    Over,
}

/// The connection, with what is on its way in and out.
struct Pipe<S> {
    socket: S,
    framer: Framer,
    writing: Vec<u8>,
    written: usize,
    /// What is being written is the last.
    last: bool,
    /// What the login left to say has been written.
    greeted: bool,
    connection: Connection,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Pipe<S> {
    /// Writes what there is and waits for something to read.
    fn turn(&mut self, cx: &mut Context<'_>, items: &mut Vec<Item>) -> Poll<io::Result<Turn>> {
        let Connection {
            session, number, ..
        } = &self.connection;
        if !session.outbox.watch(*number, cx) {
            return Poll::Ready(Ok(Turn::Over));
        }
        if let Poll::Ready(over) = self.write(cx)? {
            return Poll::Ready(Ok(over));
        }
        self.read(cx, items)
    }

    /// Writes until the outbox is empty or the kernel takes no more (both are pending).
    fn write(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Turn>> {
        loop {
            if self.written == self.writing.len() {
                match self.connection.session.outbox.take(self.connection.number) {
                    Taken::Bytes(bytes) => self.writing = bytes,
                    Taken::Last(bytes) => {
                        self.writing = bytes;
                        self.last = true;
                    }
                    Taken::Nothing => return Poll::Pending,
                    Taken::Lost => return Poll::Ready(Ok(Turn::Over)),
                }
                self.written = 0;
            }
            while let Some(rest) = self.writing.get(self.written..).filter(|r| !r.is_empty()) {
                let done = ready!(Pin::new(&mut self.socket).poll_write(cx, rest))?;
                if done == 0 {
                    return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
                }
                self.written += done;
            }
            ready!(Pin::new(&mut self.socket).poll_flush(cx))?;
            let outbox = &self.connection.session.outbox;
            // What was said before the session had an outbox doesn't count.
            let counted = if self.greeted { self.writing.len() } else { 0 };
            self.greeted = true;
            outbox.wrote(self.connection.number, counted);
            self.writing = Vec::new();
            self.written = 0;
            if self.last {
                return Poll::Ready(Ok(Turn::Over));
            }
        }
    }

    fn read(&mut self, cx: &mut Context<'_>, items: &mut Vec<Item>) -> Poll<io::Result<Turn>> {
        READ.with_borrow_mut(|buffer| {
            let mut read_buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut read_buffer))?;
            let bytes = read_buffer.filled();
            if bytes.is_empty() {
                return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into()));
            }
            self.connection.session.outbox.heard();
            self.frames(bytes, items);
            Poll::Ready(Ok(Turn::Read))
        })
    }

    /// Cuts and reads what came in.
    fn frames(&mut self, bytes: &[u8], items: &mut Vec<Item>) {
        let Connection {
            header,
            lang,
            session,
            ..
        } = &self.connection;
        let mut input = bytes;
        loop {
            match self.framer.next(&mut input) {
                Ok(Some(Frame::Stanza(bytes))) => {
                    let jid = &session.outbox.facts.jid;
                    items.push(read(bytes, &header.scope, jid, lang.as_deref()));
                }
                Ok(Some(Frame::Footer(bytes))) => items.push(match header.closes(bytes) {
                    Ok(()) => Item::Goodbye,
                    Err(flaw) => Item::Fail(flaw.into()),
                }),
                Ok(Some(Frame::Header(_)) | None) => return,
                Err(flaw) => return items.push(Item::Fail(flaw.into())),
            }
        }
    }

    /// Writes what is left, the last words among it, and waits for the client to hang up too,
    /// within a bound: what it still sends is read, so that the kernel doesn't reset the
    /// connection over it before our last words are there.
    async fn finish(&mut self) -> io::Result<()> {
        let last = async {
            loop {
                if let Turn::Over = poll_fn(|cx| self.write(cx)).await? {
                    break;
                }
            }
            poll_fn(|cx| Pin::new(&mut self.socket).poll_shutdown(cx)).await?;
            let mut left = BUFFER * 64;
            while let Some(rest) = left.checked_sub(poll_fn(|cx| self.discard(cx)).await?) {
                if rest == left {
                    break;
                }
                left = rest;
            }
            Ok(())
        };
        tokio::time::timeout(LAST_WORDS, last)
            .await
            .unwrap_or(Ok(()))
    }

    /// Reads for nobody; how much.
    fn discard(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        READ.with_borrow_mut(|buffer| {
            let mut buffer = ReadBuf::new(buffer);
            ready!(Pin::new(&mut self.socket).poll_read(cx, &mut buffer))?;
            Poll::Ready(Ok(buffer.filled().len()))
        })
    }
}

/// Sees to it that a session whose task ends is looked after.
struct Parting {
    server: Arc<Server>,
    session: Resumable,
    number: u32,
}

impl Parting {
    async fn part(self) {
        if !self.session.outbox.sleep(self.number) {
            Box::pin(self.server.leave(self.session.clone())).await;
        }
    }
}

impl Drop for Parting {
    fn drop(&mut self) {
        // After `part` there is nothing left to do, and both find that out.
        if !self.session.outbox.sleep(self.number) {
            let (server, session) = (self.server.clone(), self.session.clone());
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { server.leave(session).await });
            }
        }
    }
}

//! The one thread that writes.
//!
//! A commit costs an fsync, which takes as long for one row as for a thousand. So whatever waits
//! when a commit begins goes into it: each closure in a savepoint of its own, then one COMMIT,
//! then every answer. One writer alone pays one fsync a write; a thousand share one.

use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::SqliteSession;
use super::session::refused;
use crate::database::caught;
use crate::{StoreError, Transaction};

/// Writes that may wait for the thread before callers are held back.
const QUEUE: usize = 4096;
/// Writes that share one commit.
const GROUP: usize = 1024;
/// How long a group may take to gather, so that the first of it does not wait for ever.
const GATHER: Duration = Duration::from_millis(50);
/// How long a group may run without being spoken of.
const SLOW: Duration = Duration::from_secs(1);
/// How long a caller waits for a place in the queue.
const PATIENCE: Duration = Duration::from_secs(10);

/// A write on its way: the closure, its result until the commit, and who asked.
pub(super) trait Job: Send {
    fn run(&mut self, tx: &mut Transaction<'_>) -> Result<(), StoreError>;
    fn answer(self: Box<Self>, outcome: Result<(), StoreError>);
}

struct Write<T, F> {
    write: F,
    result: Option<T>,
    reply: oneshot::Sender<Result<T, StoreError>>,
}

impl<T, F> Job for Write<T, F>
where
    T: Send,
    F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send,
{
    fn run(&mut self, tx: &mut Transaction<'_>) -> Result<(), StoreError> {
        let value = (self.write)(tx)?;
        self.result = Some(tx.whole(value)?);
        Ok(())
    }

    fn answer(self: Box<Self>, outcome: Result<(), StoreError>) {
        let Self { result, reply, .. } = *self;
        // Who asked may have been cancelled since; the write stands all the same.
        reply
            .send(outcome.and_then(|()| result.ok_or(StoreError::Closed)))
            .ok();
    }
}

enum Message {
    Job(Box<dyn Job>),
    /// Finish what is queued before this, close the file, answer.
    Close(oneshot::Sender<()>),
}

pub(crate) struct Writer {
    queue: mpsc::Sender<Message>,
}

impl Writer {
    pub(super) fn start(connection: Connection) -> Result<Self, StoreError> {
        let (queue, messages) = mpsc::channel(QUEUE);
        std::thread::Builder::new()
            .name("store-writer".into())
            .spawn(move || run(connection, messages))
            .map_err(StoreError::io("cannot start the writer thread"))?;
        Ok(Self { queue })
    }

    pub(crate) async fn write<T, F>(&self, write: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: FnMut(&mut Transaction<'_>) -> Result<T, StoreError> + Send + 'static,
    {
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Write {
            write,
            result: None,
            reply,
        });
        let place = tokio::time::timeout(PATIENCE, self.queue.reserve())
            .await
            .map_err(|_| StoreError::Busy("too many writes are waiting"))?
            .map_err(|_| StoreError::Closed)?;
        place.send(Message::Job(job));
        answer.await.map_err(|_| StoreError::Closed)?
    }

    pub(crate) async fn close(&self) {
        let (reply, answer) = oneshot::channel();
        if self.queue.send(Message::Close(reply)).await.is_ok() {
            // An error means that the thread is gone, which is what was wanted.
            answer.await.ok();
        }
    }
}

/// The thread: until every handle is dropped or one asks to close.
fn run(connection: Connection, mut messages: mpsc::Receiver<Message>) {
    let mut closing = None;
    while closing.is_none() {
        let Some(first) = messages.blocking_recv() else {
            break;
        };
        let mut group = Group::begin();
        let mut next = Some(first);
        while let Some(message) = next {
            match message {
                Message::Job(job) => group.add(&connection, job),
                Message::Close(reply) => {
                    closing = Some(reply);
                    messages.close();
                }
            }
            next = if group.is_full() {
                None
            } else {
                messages.try_recv().ok()
            };
        }
        group.commit(&connection);
    }
    if let Err((_, error)) = connection.close() {
        tracing::warn!(%error, "sqlite did not close cleanly");
    }
    if let Some(reply) = closing {
        reply.send(()).ok();
    }
}

/// Writes that will share a commit.
struct Group {
    began: Instant,
    open: bool,
    /// Done inside the open transaction, not yet committed.
    done: Vec<Box<dyn Job>>,
}

impl Group {
    fn begin() -> Self {
        Self {
            began: Instant::now(),
            open: false,
            done: Vec::new(),
        }
    }

    fn is_full(&self) -> bool {
        self.done.len() >= GROUP || self.began.elapsed() >= GATHER
    }

    /// Runs one closure in its savepoint. If it fails, its savepoint alone is rolled back.
    fn add(&mut self, connection: &Connection, mut job: Box<dyn Job>) {
        if !self.open {
            if let Err(error) = statement(connection, "BEGIN IMMEDIATE") {
                return job.answer(Err(error));
            }
            self.open = true;
        }
        if let Err(error) = statement(connection, "SAVEPOINT job") {
            return job.answer(Err(error));
        }
        let mut session = SqliteSession(connection);
        let outcome = caught(|| job.run(&mut Transaction::new(&mut session)));
        if connection.is_autocommit() {
            // Disk full and I/O errors make SQLite roll the whole transaction back.
            return self.lost(connection, job, outcome);
        }
        let ended = match outcome {
            Ok(()) => statement(connection, "RELEASE job"),
            Err(error) => {
                let back = statement(connection, "ROLLBACK TO job")
                    .and_then(|()| statement(connection, "RELEASE job"));
                job.answer(Err(error));
                return if let Err(error) = back {
                    self.abandon(connection, &error);
                };
            }
        };
        match ended {
            Ok(()) => self.done.push(job),
            Err(error) => {
                self.abandon(connection, &error);
                job.answer(Err(error));
            }
        }
    }

    /// The transaction went away under `job`: it fails, and what the others of the group did is
    /// done again, each alone, since nothing of it was committed.
    fn lost(
        &mut self,
        connection: &Connection,
        job: Box<dyn Job>,
        outcome: Result<(), StoreError>,
    ) {
        self.open = false;
        job.answer(Err(outcome.err().unwrap_or(StoreError::Commit(
            "a closure ended the transaction it was given".into(),
        ))));
        for job in std::mem::take(&mut self.done) {
            alone(connection, job);
        }
    }

    fn abandon(&mut self, connection: &Connection, error: &StoreError) {
        tracing::error!(%error, writes = self.done.len(), "a group of writes is rolled back");
        self.open = false;
        rollback(connection);
        for job in self.done.drain(..) {
            job.answer(Err(StoreError::Commit(error.to_string())));
        }
    }

    fn commit(mut self, connection: &Connection) {
        let ran = self.began.elapsed();
        if ran > SLOW {
            tracing::warn!(
                ?ran,
                writes = self.done.len(),
                "a slow write held the others up"
            );
        }
        if !self.open {
            return;
        }
        match statement(connection, "COMMIT") {
            Ok(()) => {
                for job in self.done {
                    job.answer(Ok(()));
                }
            }
            Err(error) => self.abandon(connection, &error),
        }
    }
}

fn alone(connection: &Connection, mut job: Box<dyn Job>) {
    let mut session = SqliteSession(connection);
    let outcome = statement(connection, "BEGIN IMMEDIATE")
        .and_then(|()| caught(|| job.run(&mut Transaction::new(&mut session))))
        .and_then(|()| statement(connection, "COMMIT"));
    if outcome.is_err() {
        rollback(connection);
    }
    job.answer(outcome);
}

fn rollback(connection: &Connection) {
    if !connection.is_autocommit()
        && let Err(error) = statement(connection, "ROLLBACK")
    {
        tracing::error!(%error, "sqlite rollback failed");
    }
}

fn statement(connection: &Connection, sql: &str) -> Result<(), StoreError> {
    let mut statement = connection.prepare_cached(sql)?;
    statement.raw_execute().map_err(refused)?;
    Ok(())
}

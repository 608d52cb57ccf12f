//! Writing lines without waiting for who takes them.
//!
//! A terminal, a pipe, a disk or the journal can stall for seconds, and a worker that logs must not stall
//! with it: it hands its line to a queue, and a thread of its own writes, many lines with one system
//! call. The queue is bounded by its bytes; past it lines are lost and counted, which a server survives
//! better than either waiting or growing.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

/// Bytes that may wait to be written.
const QUEUE_MAX: usize = 8 * 1024 * 1024;

/// Bytes written at once.
const BATCH: usize = 64 * 1024;

/// How long the journal may take for one entry.
const JOURNAL_PATIENCE: Duration = Duration::from_secs(1);

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    /// Standard error.
    Stderr,
    /// Standard output.
    Stdout,
    /// A file, appended to; made if it is not there, readable by owner and group.
    File(PathBuf),
    /// A datagram socket, one datagram a line.
    Socket(PathBuf),
}

/// Writes lines in the background: the log itself, and what else is written line by line at a rate, such
/// as an access log. Clones are the same writer; when the last is gone, what waits is still written.
#[derive(Debug, Clone)]
pub struct LineWriter {
    queue: Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug, Default)]
struct Counts {
    waiting: AtomicUsize,
    lost: AtomicU64,
}

enum Message {
    Line(Box<[u8]>),
    Flush(Sender<()>),
}

impl LineWriter {
    /// Opens `destination` and starts the thread that writes to it.
    pub fn open(destination: &Destination) -> io::Result<Self> {
        let sink: Box<dyn Sink> = match destination {
            Destination::Stderr => Box::new(Stream(io::stderr())),
            Destination::Stdout => Box::new(Stream(io::stdout())),
            Destination::File(path) => {
                let mut options = OpenOptions::new();
                let file: File = options.append(true).create(true).mode(0o640).open(path)?;
                Box::new(Stream(file))
            }
            Destination::Socket(path) => {
                let socket = UnixDatagram::unbound()?;
                socket.connect(path)?;
                socket.set_write_timeout(Some(JOURNAL_PATIENCE))?;
                Box::new(Datagrams {
                    socket,
                    path: path.clone(),
                })
            }
        };
        Self::start(sink)
    }

    fn start(sink: Box<dyn Sink>) -> io::Result<Self> {
        let (queue, messages) = channel();
        let counts = Arc::<Counts>::default();
        let thread = Thread {
            messages,
            sink,
            counts: counts.clone(),
        };
        std::thread::Builder::new()
            .name("lines".to_owned())
            .spawn(move || thread.run())?;
        Ok(Self { queue, counts })
    }

    /// Hands over a line (with its end) to be written. False when it is lost because too much waits.
    pub fn write(&self, line: impl Into<Box<[u8]>>) -> bool {
        let line = line.into();
        let length = line.len();
        let waiting = self.counts.waiting.fetch_add(length, Ordering::Relaxed);
        let taken = waiting.saturating_add(length) <= QUEUE_MAX
            && self.queue.send(Message::Line(line)).is_ok();
        if !taken {
            self.counts.waiting.fetch_sub(length, Ordering::Relaxed);
            self.counts.lost.fetch_add(1, Ordering::Relaxed);
        }
        taken
    }

    /// Lines lost since this was asked last, which begin to count anew.
    pub fn take_lost(&self) -> u64 {
        if self.counts.lost.load(Ordering::Relaxed) == 0 {
            return 0;
        }
        self.counts.lost.swap(0, Ordering::Relaxed)
    }

    /// Waits until all handed over before is written, for at most `patience`. Blocks: for the end of the
    /// process, not for workers. False when it was not.
    pub fn flush(&self, patience: Duration) -> bool {
        let (done, waiting) = channel();
        self.queue.send(Message::Flush(done)).is_ok() && waiting.recv_timeout(patience).is_ok()
    }
}

struct Thread {
    messages: Receiver<Message>,
    sink: Box<dyn Sink>,
    counts: Arc<Counts>,
}

impl Thread {
    fn run(mut self) {
        let mut batch = Vec::new();
        while let Ok(message) = self.messages.recv() {
            let mut next = Some(message);
            let mut done = Vec::new();
            let mut bytes = 0;
            while let Some(message) = next.take() {
                match message {
                    Message::Line(line) => {
                        bytes += line.len();
                        batch.push(line);
                    }
                    Message::Flush(flushed) => done.push(flushed),
                }
                if bytes < BATCH {
                    next = self.messages.try_recv().ok();
                }
            }
            let lost = self.sink.put(&batch);
            batch.clear();
            self.counts.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.counts.lost.fetch_add(lost, Ordering::Relaxed);
            for flushed in done {
                // Who waited may have run out of patience.
                let _ = flushed.send(());
            }
        }
    }
}

/// What takes lines.
trait Sink: Send {
    /// Takes them, and says how many it could not.
    fn put(&mut self, lines: &[Box<[u8]>]) -> u64;
}

struct Stream<W>(W);

impl<W: Write + Send> Sink for Stream<W> {
    fn put(&mut self, lines: &[Box<[u8]>]) -> u64 {
        if self
            .0
            .write_all(&lines.concat())
            .and_then(|()| self.0.flush())
            .is_ok()
        {
            return 0;
        }
        u64::try_from(lines.len()).unwrap_or(u64::MAX)
    }
}

struct Datagrams {
    socket: UnixDatagram,
    path: PathBuf,
}

impl Sink for Datagrams {
    fn put(&mut self, lines: &[Box<[u8]>]) -> u64 {
        let mut lost = 0;
        for line in lines {
            // The receiver may have been restarted, which makes a new socket at the path.
            let sent = self.socket.send(line).or_else(|_| {
                self.socket.connect(&self.path)?;
                self.socket.send(line)
            });
            lost += u64::from(sent.is_err());
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Mutex, PoisonError};

    use super::*;

    /// Takes nothing until it is unlocked.
    struct Stalled(Arc<Mutex<Vec<u8>>>);

    impl Sink for Stalled {
        fn put(&mut self, lines: &[Box<[u8]>]) -> u64 {
            let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            taken.extend(lines.concat());
            0
        }
    }

    #[test]
    fn a_stalled_reader_costs_lines_and_never_time_or_memory() -> io::Result<()> {
        let taken = Arc::new(Mutex::new(Vec::new()));
        let stall = taken.lock().unwrap_or_else(PoisonError::into_inner);
        let writer = LineWriter::start(Box::new(Stalled(taken.clone())))?;
        let line = [b'x'; 1024];
        let kept = (0..10 * 1024).filter(|_| writer.write(line)).count();
        assert!(
            (8 * 1024..=8 * 1024 + 64).contains(&kept),
            "{kept} of 10240 lines kept"
        );
        assert_eq!(
            writer.take_lost(),
            10 * 1024 - u64::try_from(kept).unwrap_or(0)
        );
        assert_eq!(writer.take_lost(), 0);
        assert!(!writer.flush(Duration::from_millis(10)));
        drop(stall);
        assert!(writer.flush(Duration::from_secs(10)));
        assert_eq!(
            taken.lock().unwrap_or_else(PoisonError::into_inner).len(),
            kept * 1024
        );
        assert!(writer.write(line));
        Ok(())
    }

    #[test]
    fn lines_are_appended_to_a_file() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("access.log");
        for line in ["one\n", "two\n"] {
            let writer = LineWriter::open(&Destination::File(path.clone()))?;
            assert!(writer.write(line.as_bytes()));
            assert!(writer.flush(Duration::from_secs(10)));
        }
        assert_eq!(std::fs::read_to_string(&path)?, "one\ntwo\n");
        Ok(())
    }

    #[test]
    fn a_receiver_that_comes_back_is_found_again() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("socket");
        let first = UnixDatagram::bind(&path)?;
        let writer = LineWriter::open(&Destination::Socket(path.clone()))?;
        let mut buffer = [0; 16];
        writer.write(*b"one");
        assert_eq!(first.recv(&mut buffer)?, 3);
        drop(first);
        std::fs::remove_file(&path)?;
        writer.write(*b"lost");
        assert!(writer.flush(Duration::from_secs(10)));
        assert_eq!(writer.take_lost(), 1);
        let second = UnixDatagram::bind(&path)?;
        writer.write(*b"three");
        assert_eq!(second.recv(&mut buffer)?, 5);
        Ok(())
    }
}

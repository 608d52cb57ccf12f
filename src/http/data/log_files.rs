//! Log files, written by a task of their own: a request only copies its line into a buffer.

use std::{
    collections::BTreeMap,
    fs::{File, OpenOptions},
    io::{self, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::sync::Notify;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Destination {
    /// A file of their own.
    File(PathBuf),
    /// The daemon's log, target `http::access`.
    Log,
}

/// What may wait to be written. Beyond it lines are lost and counted: a full disk must not become
/// full memory.
const WAITING_MAX: usize = 4 * 1024 * 1024;

/// Lines are gathered for this long before they are written.
const GATHER: Duration = Duration::from_millis(100);

/// One destination. It is kept while any site's settings name it.
#[derive(Debug)]
pub struct LogFile {
    destination: Destination,
    waiting: Mutex<Vec<u8>>,
    file: Mutex<Option<File>>,
    news: Arc<Notify>,
    lost: AtomicU64,
    failing: AtomicBool,
}

/// All destinations.
#[derive(Debug, Default)]
pub struct LogFiles {
    files: Mutex<BTreeMap<Destination, Weak<LogFile>>>,
    news: Arc<Notify>,
}

impl LogFile {
    /// Adds one line, its line end included. Never waits for a disk.
    pub fn append(&self, line: &[u8]) {
        let mut waiting = lock(&self.waiting);
        if waiting.len() + line.len() > WAITING_MAX {
            self.lost.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let first = waiting.is_empty();
        waiting.extend_from_slice(line);
        drop(waiting);
        if first {
            self.news.notify_one();
        }
    }

    /// Lines lost so far.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Writes what waits.
    fn write_out(&self) {
        let mut lines = std::mem::take(&mut *lock(&self.waiting));
        if lines.is_empty() {
            return;
        }
        let Destination::File(path) = &self.destination else {
            for line in lines
                .split(|&byte| byte == b'\n')
                .filter(|line| !line.is_empty())
            {
                tracing::info!(target: "omnid_http::access", "{}", String::from_utf8_lossy(line));
            }
            self.give_back(lines);
            return;
        };
        match write(&mut lock(&self.file), path, &lines) {
            Ok(()) => {
                if self.failing.swap(false, Ordering::Relaxed) {
                    tracing::info!(path = %path.display(), lost = self.lost(), "access log is written again");
                }
            }
            Err(error) => {
                let count = lines.iter().filter(|&&byte| byte == b'\n').count() as u64;
                self.lost.fetch_add(count, Ordering::Relaxed);
                if !self.failing.swap(true, Ordering::Relaxed) {
                    tracing::error!(path = %path.display(), "access log cannot be written: {error}");
                }
            }
        }
        lines.clear();
        self.give_back(lines);
    }

    /// The buffer's memory is used again, unless a burst made it large.
    fn give_back(&self, mut buffer: Vec<u8>) {
        buffer.clear();
        let mut waiting = lock(&self.waiting);
        if waiting.is_empty() && buffer.capacity() <= WAITING_MAX / 16 {
            *waiting = buffer;
        }
    }

    /// Opens the file anew at the next line, which is what log rotation asks for.
    fn reopen(&self) {
        *lock(&self.file) = None;
    }
}

fn write(file: &mut Option<File>, path: &Path, lines: &[u8]) -> io::Result<()> {
    let open = match file {
        Some(open) => open,
        None => file.insert(
            // Logs hold addresses and names: for the group that reads logs, not for everybody.
            OpenOptions::new()
                .append(true)
                .create(true)
                .mode(0o640)
                .open(path)?,
        ),
    };
    let written = open.write_all(lines);
    if written.is_err() {
        *file = None;
    }
    written
}

impl LogFiles {
    /// The file for a destination: the same for every site that names it.
    pub fn file(&self, destination: Destination) -> Arc<LogFile> {
        let mut files = lock(&self.files);
        if let Some(file) = files.get(&destination).and_then(Weak::upgrade) {
            return file;
        }
        let file = Arc::new(LogFile {
            destination: destination.clone(),
            waiting: Mutex::default(),
            file: Mutex::default(),
            news: self.news.clone(),
            lost: AtomicU64::new(0),
            failing: AtomicBool::new(false),
        });
        files.insert(destination, Arc::downgrade(&file));
        file
    }

    /// Opens every file anew.
    pub fn reopen(&self) {
        for file in self.all() {
            file.reopen();
        }
    }

    /// Writes whatever waits, on the blocking pool, until `stop`; what waits then is still written.
    pub async fn run(self: Arc<Self>, stop: impl Future<Output = ()>) {
        let mut stop = std::pin::pin!(stop);
        let mut going = true;
        while going {
            tokio::select! {
                () = self.news.notified() => {
                    tokio::select! {
                        () = tokio::time::sleep(GATHER) => {}
                        () = &mut stop => going = false,
                    }
                }
                () = &mut stop => going = false,
            }
            self.write_out().await;
        }
    }

    /// Writes everything that waits now.
    pub async fn write_out(self: &Arc<Self>) {
        let files = self.all();
        let writing = tokio::task::spawn_blocking(move || {
            for file in files {
                file.write_out();
            }
        });
        if let Err(error) = writing.await {
            tracing::error!(%error, "writing access logs failed");
        }
    }

    fn all(&self) -> Vec<Arc<LogFile>> {
        let mut files = lock(&self.files);
        files.retain(|_, file| file.strong_count() > 0);
        files.values().filter_map(Weak::upgrade).collect()
    }
}

impl Drop for LogFile {
    /// A destination that no site names any more: its last lines.
    fn drop(&mut self) {
        self.write_out();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[tokio::test]
    async fn lines_reach_the_file_and_rotation_starts_another() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("access.log");
        let files = Arc::new(LogFiles::default());
        let file = files.file(Destination::File(path.clone()));
        assert!(Arc::ptr_eq(
            &file,
            &files.file(Destination::File(path.clone()))
        ));
        file.append(b"one\n");
        files.write_out().await;
        fs::rename(&path, directory.path().join("access.log.1"))?;
        file.append(b"two\n");
        files.write_out().await;
        assert_eq!(
            fs::read_to_string(directory.path().join("access.log.1"))?,
            "one\ntwo\n"
        );
        files.reopen();
        file.append(b"three\n");
        files.write_out().await;
        assert_eq!(fs::read_to_string(&path)?, "three\n");
        file.append(b"four\n");
        drop(file);
        assert_eq!(fs::read_to_string(&path)?, "three\nfour\n");
        Ok(())
    }

    #[tokio::test]
    async fn what_cannot_be_written_is_lost_and_counted() {
        let files = Arc::new(LogFiles::default());
        let file = files.file(Destination::File("/nonexistent/access.log".into()));
        file.append(b"one\ntwo\n");
        files.write_out().await;
        assert_eq!(file.lost(), 2);
        let line = [b'x'; 1024];
        for _ in 0..2 * WAITING_MAX / line.len() {
            file.append(&line);
        }
        assert!(file.lost() > 1000);
        assert!(lock(&file.waiting).len() <= WAITING_MAX);
    }

    #[tokio::test]
    async fn the_task_writes_soon_and_at_its_end() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("access.log");
        let files = Arc::new(LogFiles::default());
        let file = files.file(Destination::File(path.clone()));
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let task = tokio::spawn(files.clone().run(async {
            drop(stopped.await);
        }));
        file.append(b"one\n");
        while !fs::read_to_string(&path).is_ok_and(|text| text == "one\n") {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        file.append(b"two\n");
        drop(stop);
        task.await.map_err(io::Error::other)?;
        assert_eq!(fs::read_to_string(&path)?, "one\ntwo\n");
        Ok(())
    }
}

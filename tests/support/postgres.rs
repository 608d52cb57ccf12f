//! A PostgreSQL server for the tests of one process, by `tests/support/postgres.sh`.
//!
//! Crates' tests include this file with `#[path]`. A server that cannot be started fails the test.

#![allow(dead_code, unreachable_pub, reason = "not every test uses every part")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

type Fallible<T> = Result<T, Box<dyn Error + Send + Sync>>;

pub struct Server {
    directory: PathBuf,
    /// Over its Unix socket, as the superuser.
    pub url: String,
    /// Over TCP on loopback, with a password.
    pub tcp_url: String,
}

static NEXT: AtomicU32 = AtomicU32::new(0);

impl Server {
    /// The one that this process's tests share.
    pub fn shared() -> Fallible<&'static Server> {
        static SHARED: OnceLock<Result<Server, String>> = OnceLock::new();
        let shared = SHARED.get_or_init(|| Server::start().map_err(|error| error.to_string()));
        shared.as_ref().map_err(|error| error.clone().into())
    }

    /// One of its own, for a test that stops it. It goes when this process ends, at the latest.
    pub fn start() -> Fallible<Server> {
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let process = std::process::id();
        let directory = std::env::temp_dir().join(format!("omnid-pg-{process}-{number}"));
        let printed = script("start", &directory, &[&process.to_string()])?;
        let mut lines = printed.lines();
        let (Some(url), Some(tcp_url)) = (lines.next(), lines.next()) else {
            return Err(format!("postgres.sh printed {printed:?}").into());
        };
        Ok(Server {
            directory,
            url: url.into(),
            tcp_url: tcp_url.into(),
        })
    }

    /// A new, empty database; gives its URL.
    pub fn database(&self) -> Fallible<String> {
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let made = Command::new("psql")
            .args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", &self.url, "-c"])
            .arg(format!("CREATE DATABASE {name}"))
            .stdin(Stdio::null())
            .output()?;
        if !made.status.success() {
            return Err(format!("psql: {}", String::from_utf8_lossy(&made.stderr)).into());
        }
        Ok(self.url.replacen("/postgres?", &format!("/{name}?"), 1))
    }

    /// Stops it: "fast", "smart" or "immediate".
    pub fn stop(&self, mode: &str) -> Fallible<()> {
        script("stop", &self.directory, &[mode]).map(drop)
    }

    pub fn restart(&self) -> Fallible<()> {
        script("restart", &self.directory, &[]).map(drop)
    }
}

fn script(verb: &str, directory: &Path, more: &[&str]) -> Fallible<String> {
    let mut path = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    while !path.join("tests/support/postgres.sh").exists() {
        if !path.pop() {
            return Err("tests/support/postgres.sh is not there".into());
        }
    }
    // Its errors go to ours. What it leaves running must not hold our pipe open, so the answer
    // comes by a file.
    let answer = std::env::temp_dir().join(format!(
        "omnid-pg-answer-{}-{}",
        std::process::id(),
        NEXT.fetch_add(1, Ordering::Relaxed)
    ));
    let status = Command::new(path.join("tests/support/postgres.sh"))
        .arg(verb)
        .arg(directory)
        .args(more)
        .stdin(Stdio::null())
        .stdout(std::fs::File::create(&answer)?)
        .status()?;
    let printed = std::fs::read_to_string(&answer)?;
    std::fs::remove_file(&answer)?;
    if status.success() {
        Ok(printed)
    } else {
        Err(format!("postgres.sh {verb}: {status}").into())
    }
}

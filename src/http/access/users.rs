//! Files of users and of groups, read again when they change.

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;

use super::hashes;

/// The largest file that is read.
const LONGEST: u64 = 16 * 1024 * 1024;
/// How long a file is believed without a look whether it changed.
const VALID: Duration = Duration::from_secs(1);
/// Logins that need not be checked again for a while: browsers send the password each time.
const REMEMBERED: usize = 1024;
const REMEMBER: Duration = Duration::from_secs(300);

type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// A file of lines `name:rest`. What it says is looked up without waiting for anybody; whether it
/// has changed is found out beforehand, off the workers.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    last: ArcSwap<LastLook>,
    /// Held by the one who looks.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Debug)]
struct LastLook {
    stamp: Stamp,
    looked: Instant,
    lines: Arc<HashMap<String, String>>,
}

impl Lines {
    fn open(path: &Path) -> io::Result<Self> {
        let lines = read(path)?;
        Ok(Self {
            path: path.to_owned(),
            last: ArcSwap::from_pointee(LastLook {
                stamp: stamp(path),
                looked: Instant::now(),
                lines: Arc::new(lines),
            }),
            looking: tokio::sync::Mutex::default(),
        })
    }

    /// Sees to it that what is known is not old.
    async fn refresh(&self) {
        if self.last.load().is_valid() {
            return;
        }
        let _alone = self.looking.lock().await;
        let last = self.last.load_full();
        if last.is_valid() {
            return;
        }
        let path = self.path.clone();
        match tokio::task::spawn_blocking(move || last.again(&path)).await {
            Ok(look) => self.last.store(Arc::new(look)),
            Err(error) => tracing::warn!(file = %self.path.display(), %error, "not looked at"),
        }
    }
}

impl LastLook {
    fn is_valid(&self) -> bool {
        self.looked.elapsed() <= VALID
    }

    /// Another look. A file that cannot be read any more says what it said last.
    fn again(&self, path: &Path) -> Self {
        let (looked, stamp) = (Instant::now(), stamp(path));
        let read = (stamp != self.stamp).then(|| read(path));
        if let Some(Err(error)) = &read {
            tracing::warn!(file = %path.display(), %error, "a file of users cannot be read; what it said before holds");
        }
        match read {
            Some(Ok(lines)) => Self {
                stamp,
                looked,
                lines: Arc::new(lines),
            },
            _ => Self {
                stamp: self.stamp,
                looked,
                lines: self.lines.clone(),
            },
        }
    }
}

fn stamp(path: &Path) -> Stamp {
    let meta = fs::metadata(path).ok()?;
    Some((
        meta.dev(),
        meta.ino(),
        meta.mtime(),
        meta.mtime_nsec(),
        meta.len(),
    ))
}

fn read(path: &Path) -> io::Result<HashMap<String, String>> {
    let mut text = Vec::new();
    fs::File::open(path)?.take(LONGEST).read_to_end(&mut text)?;
    let text = String::from_utf8_lossy(&text);
    let mut lines = HashMap::new();
    for line in text.lines() {
        let line = line.trim();
        if line.starts_with('#') {
            continue;
        }
        if let Some((name, rest)) = line.split_once(':') {
            lines
                .entry(name.trim().to_owned())
                .or_insert_with(|| rest.trim().to_owned());
        }
    }
    Ok(lines)
}

/// Users with their passwords: an htpasswd file.
#[derive(Debug)]
pub struct UserFile {
    lines: Lines,
    secret: [u8; 32],
    remembered: Mutex<HashMap<[u8; 32], Instant>>,
}

impl UserFile {
    /// Opens a file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        let mut secret = [0; 32];
        aws_lc_rs::rand::fill(&mut secret).map_err(|_| io::Error::other("no random numbers"))?;
        Ok(Self {
            lines: Lines::open(path)?,
            secret,
            remembered: Mutex::default(),
        })
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.lines.path
    }

    /// Has the file read again where it has changed: to be waited for before anything is asked.
    pub async fn refresh(&self) {
        self.lines.refresh().await;
    }

    /// Whether this login was found good a moment ago.
    #[must_use]
    pub fn remembers(&self, user: &str, password: &str) -> bool {
        let mark = self.mark(user, password);
        let remembered = self
            .remembered
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        remembered
            .get(&mark)
            .is_some_and(|since| since.elapsed() < REMEMBER)
    }

    /// Whether the password is the user's. An unknown name costs what a known one does.
    #[must_use]
    pub fn check(&self, user: &str, password: &str) -> bool {
        let last = self.lines.last.load_full();
        let lines = &last.lines;
        let known = lines.get(user);
        // The work of some other user's hash, for nothing.
        let hash = known.or_else(|| lines.values().next());
        let fits = hash.is_some_and(|hash| hashes::fits(password, hash)) & known.is_some();
        if fits {
            let mark = self.mark(user, password);
            let mut remembered = self
                .remembered
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if remembered.len() >= REMEMBERED {
                remembered.retain(|_, since| since.elapsed() < REMEMBER);
            }
            if remembered.len() >= REMEMBERED {
                remembered.clear();
            }
            remembered.insert(mark, Instant::now());
        }
        fits
    }

    /// Stands for a login without keeping it; another file or another line is another login.
    fn mark(&self, user: &str, password: &str) -> [u8; 32] {
        let stamp = self.lines.last.load().stamp;
        let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &self.secret);
        let text = format!("{stamp:?}\0{user}\0{password}");
        let tag = aws_lc_rs::hmac::sign(&key, text.as_bytes());
        let mut mark = [0; 32];
        mark.copy_from_slice(tag.as_ref());
        mark
    }
}

/// Groups with their members.
#[derive(Debug)]
pub struct GroupFile {
    lines: Lines,
}

impl GroupFile {
    /// Opens a file.
    ///
    /// # Errors
    /// Where it cannot be read.
    pub fn open(path: &Path) -> io::Result<Self> {
        Ok(Self {
            lines: Lines::open(path)?,
        })
    }

    /// Has the file read again where it has changed: to be waited for before anything is asked.
    pub async fn refresh(&self) {
        self.lines.refresh().await;
    }

    /// Whether a user is a member of a group.
    #[must_use]
    pub fn has(&self, group: &str, user: &str) -> bool {
        let last = self.lines.last.load();
        let members = last.lines.get(group);
        let members: HashSet<&str> = members
            .into_iter()
            .flat_map(|members| members.split_whitespace())
            .collect();
        members.contains(user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_file_that_takes_its_time_holds_up_no_worker() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("groups");
        fs::write(&path, "staff: alice\n")?;
        let groups = GroupFile::open(&path)?;
        // It is not there for whoever opens it until somebody writes.
        fs::remove_file(&path)?;
        let mode = rustix::fs::Mode::RWXU;
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0)?;
        tokio::time::sleep(VALID + Duration::from_millis(50)).await;
        let waited = tokio::time::timeout(Duration::from_millis(50), groups.refresh()).await;
        assert!(waited.is_err());
        assert!(groups.has("staff", "alice"));
        drop(fs::File::options().write(true).open(&path)?);

        fs::remove_file(&path)?;
        fs::write(&path, "staff: bob\n")?;
        groups.refresh().await;
        assert!(groups.has("staff", "bob") && !groups.has("staff", "alice"));
        Ok(())
    }
}

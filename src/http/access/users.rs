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

use super::hashes;

/// The largest file that is read.
const LONGEST: u64 = 16 * 1024 * 1024;
/// How long a file is believed without a look whether it changed.
const VALID: Duration = Duration::from_secs(1);
/// Logins that need not be checked again for a while: browsers send the password each time.
const REMEMBERED: usize = 1024;
const REMEMBER: Duration = Duration::from_secs(300);

type Stamp = Option<(u64, u64, i64, i64, u64)>;

/// A file of lines `name:rest`.
#[derive(Debug)]
struct Lines {
    path: PathBuf,
    read: Mutex<LastLook>,
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
            read: Mutex::new(LastLook {
                stamp: stamp(path),
                looked: Instant::now(),
                lines: Arc::new(lines),
            }),
        })
    }

    /// What the file says now. One that cannot be read any more says what it said last.
    fn now(&self) -> (Stamp, Arc<HashMap<String, String>>) {
        let mut read_before = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if read_before.looked.elapsed() > VALID {
            read_before.looked = Instant::now();
            let stamp = stamp(&self.path);
            if stamp != read_before.stamp {
                match read(&self.path) {
                    Ok(lines) => {
                        read_before.lines = Arc::new(lines);
                        read_before.stamp = stamp;
                    }
                    Err(error) => {
                        tracing::warn!(file = %self.path.display(), %error, "a file of users cannot be read; what it said before holds");
                    }
                }
            }
        }
        (read_before.stamp, read_before.lines.clone())
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
        let (_, lines) = self.lines.now();
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
        let (stamp, _) = self.lines.now();
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

    /// Whether a user is a member of a group.
    #[must_use]
    pub fn has(&self, group: &str, user: &str) -> bool {
        let (_, lines) = self.lines.now();
        let members = lines.get(group);
        let members: HashSet<&str> = members
            .into_iter()
            .flat_map(|members| members.split_whitespace())
            .collect();
        members.contains(user)
    }
}

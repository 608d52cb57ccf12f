//! A document root, and opening what is below it.

use std::{
    ffi::OsStr,
    fs::File,
    io,
    os::{
        fd::{AsFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use rustix::{
    fs::{Mode, OFlags, ResolveFlags},
    io::Errno,
};

/// Whether symbolic links below a root are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Symlinks {
    /// Wherever they lead.
    Follow,
    /// As long as they stay below the root.
    Inside,
    /// Not at all.
    Deny,
}

/// How long the root's own descriptor is trusted. A deployment may swap the directory, or a link
/// in the path to it, at any time.
const ROOT_TRUSTED: Duration = Duration::from_secs(1);

/// A document root, held open.
#[derive(Debug)]
pub struct Root {
    id: u64,
    path: PathBuf,
    symlinks: Symlinks,
    directory: ArcSwap<Held>,
    opened: Instant,
    /// Milliseconds since `opened` when the descriptor was last compared with the path.
    compared: AtomicU64,
}

#[derive(Debug)]
struct Held {
    descriptor: OwnedFd,
    device: u64,
    inode: u64,
}

/// Whether the kernel knows openat2 (5.6, and a seccomp filter that lets it through).
static OPENAT2_MISSING: AtomicBool = AtomicBool::new(false);

impl Root {
    /// Opens a root.
    ///
    /// # Errors
    /// Where it is not a directory that can be opened.
    pub fn open(path: &Path, symlinks: Symlinks) -> io::Result<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Ok(Self {
            id: NEXT.fetch_add(1, Ordering::Relaxed),
            path: path.to_owned(),
            symlinks,
            directory: ArcSwap::from_pointee(Held::open(path)?),
            opened: Instant::now(),
            compared: AtomicU64::new(0),
        })
    }

    /// A number that no other root of this process has.
    pub(super) fn id(&self) -> u64 {
        self.id
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is done about symbolic links.
    #[must_use]
    pub fn symlinks(&self) -> Symlinks {
        self.symlinks
    }

    /// Opens a file or directory for reading. `path` is in normal form and relative: no leading
    /// slash, and empty for the root itself.
    pub(super) fn open_below(&self, path: &[u8]) -> io::Result<File> {
        // A zero byte cannot come through the normaliser; the conversion refuses it anyway.
        let path = Path::new(OsStr::from_bytes(if path.is_empty() { b"." } else { path }));
        let directory = self.directory();
        // Without O_NONBLOCK a FIFO would hold the worker until somebody writes to it.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let resolve = match self.symlinks {
            Symlinks::Follow => {
                let opened = rustix::fs::openat(&directory.descriptor, path, flags, Mode::empty())?;
                return Ok(File::from(opened));
            }
            Symlinks::Inside => ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS,
            Symlinks::Deny => ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS,
        };
        if OPENAT2_MISSING.load(Ordering::Relaxed) {
            return walk(directory.descriptor.as_fd(), path, flags);
        }
        // The kernel gives up with EAGAIN where a rename races with `..`; a few tries settle it.
        for _ in 0..8 {
            let opened =
                rustix::fs::openat2(&directory.descriptor, path, flags, Mode::empty(), resolve);
            match opened {
                Ok(opened) => return Ok(File::from(opened)),
                Err(Errno::AGAIN | Errno::INTR) => {}
                Err(Errno::NOSYS) => {
                    OPENAT2_MISSING.store(true, Ordering::Relaxed);
                    return walk(directory.descriptor.as_fd(), path, flags);
                }
                Err(error) => return Err(error.into()),
            }
        }
        Err(Errno::AGAIN.into())
    }

    /// The root's descriptor, opened again where its path has come to lead elsewhere.
    fn directory(&self) -> arc_swap::Guard<Arc<Held>> {
        let now = u64::try_from(self.opened.elapsed().as_millis()).unwrap_or(u64::MAX);
        let compared = self.compared.load(Ordering::Relaxed);
        let trusted = u64::try_from(ROOT_TRUSTED.as_millis()).unwrap_or(u64::MAX);
        if now.saturating_sub(compared) >= trusted
            && self
                .compared
                .compare_exchange(compared, now, Ordering::Relaxed, Ordering::Relaxed)
                .is_ok()
        {
            let held = self.directory.load();
            let same = rustix::fs::stat(&self.path)
                .is_ok_and(|stat| stat.st_dev == held.device && stat.st_ino == held.inode);
            // A root that is gone for the moment of a swap is kept until there is another.
            if !same && let Ok(other) = Held::open(&self.path) {
                self.directory.store(Arc::new(other));
            }
        }
        self.directory.load()
    }
}

impl Held {
    fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::DIRECTORY | OFlags::CLOEXEC | OFlags::PATH;
        let descriptor = rustix::fs::open(path, flags, Mode::empty())?;
        let stat = rustix::fs::fstat(&descriptor)?;
        Ok(Self {
            descriptor,
            device: stat.st_dev,
            inode: stat.st_ino,
        })
    }
}

/// Without openat2: one component at a time, and no symbolic link at all, which is stricter than
/// asked for and never laxer.
fn walk(root: rustix::fd::BorrowedFd<'_>, path: &Path, flags: OFlags) -> io::Result<File> {
    let mut components = path.iter().peekable();
    let mut held: Option<OwnedFd> = None;
    while let Some(component) = components.next() {
        let from = held.as_ref().map_or(root, AsFd::as_fd);
        let last = components.peek().is_none();
        let flags = if last {
            flags | OFlags::NOFOLLOW
        } else {
            OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC
        };
        let opened = rustix::fs::openat(from, component, flags, Mode::empty())?;
        held = Some(opened);
    }
    held.map(File::from).ok_or_else(|| Errno::NOENT.into())
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Read, os::unix::fs::symlink};

    use super::*;

    fn tree() -> io::Result<tempfile::TempDir> {
        let directory = tempfile::tempdir()?;
        let root = directory.path().join("root");
        fs::create_dir_all(root.join("sub"))?;
        fs::write(root.join("sub/a.txt"), "a")?;
        fs::write(directory.path().join("secret"), "secret")?;
        symlink("sub/a.txt", root.join("inside"))?;
        symlink("../secret", root.join("outside"))?;
        symlink("/etc/passwd", root.join("absolute"))?;
        symlink("..", root.join("sub/up"))?;
        Ok(directory)
    }

    fn read(root: &Root, path: &str) -> io::Result<String> {
        let mut text = String::new();
        root.open_below(path.as_bytes())?
            .read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn symbolic_links_as_told() -> io::Result<()> {
        let directory = tree()?;
        let path = directory.path().join("root");
        for (symlinks, inside, through, outside, absolute) in [
            (Symlinks::Follow, true, true, true, true),
            (Symlinks::Inside, true, true, false, false),
            (Symlinks::Deny, false, false, false, false),
        ] {
            let root = Root::open(&path, symlinks)?;
            assert_eq!(read(&root, "sub/a.txt")?, "a");
            assert_eq!(read(&root, "inside").is_ok(), inside, "{symlinks:?}");
            assert_eq!(
                read(&root, "sub/up/sub/a.txt").is_ok(),
                through,
                "{symlinks:?}"
            );
            assert_eq!(read(&root, "outside").is_ok(), outside, "{symlinks:?}");
            assert_eq!(read(&root, "absolute").is_ok(), absolute, "{symlinks:?}");
        }
        Ok(())
    }

    #[test]
    fn without_openat2_no_link_is_followed() -> io::Result<()> {
        let directory = tree()?;
        let root = Root::open(&directory.path().join("root"), Symlinks::Inside)?;
        let held = root.directory();
        let open = |path: &str| {
            walk(
                held.descriptor.as_fd(),
                Path::new(path),
                OFlags::RDONLY | OFlags::CLOEXEC,
            )
        };
        assert!(open("sub/a.txt").is_ok());
        for path in [
            "inside",
            "outside",
            "absolute",
            "sub/up/sub/a.txt",
            "sub/none",
        ] {
            assert!(open(path).is_err(), "{path}");
        }
        Ok(())
    }

    #[test]
    fn a_root_that_is_swapped_is_noticed() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        for release in ["one", "two"] {
            fs::create_dir(directory.path().join(release))?;
            fs::write(directory.path().join(release).join("v"), release)?;
        }
        let current = directory.path().join("current");
        symlink("one", &current)?;
        let root = Root::open(&current, Symlinks::Inside)?;
        assert_eq!(read(&root, "v")?, "one");
        symlink("two", directory.path().join("next"))?;
        fs::rename(directory.path().join("next"), &current)?;
        let deadline = Instant::now() + 10 * ROOT_TRUSTED;
        while read(&root, "v")? != "two" {
            assert!(Instant::now() < deadline);
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

//! Zone files on disk, and how to tell whether they have changed.

use std::fs::{File, Metadata};
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::wire::master::Files;

/// Largest zone file.
const MAX_FILE: u64 = u32::MAX as u64;

/// What a file looked like when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Stamp {
    path: PathBuf,
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    fn of(path: &Path, metadata: &Metadata) -> Stamp {
        Stamp {
            path: path.to_owned(),
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }

    /// True if the file still looks like this.
    pub(crate) fn is_current(&self) -> bool {
        std::fs::metadata(&self.path).is_ok_and(|now| Stamp::of(&self.path, &now) == *self)
    }
}

/// Files read so far.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) stamps: Vec<Stamp>,
}

impl Disk {
    /// Reads a file whole.
    pub(crate) fn read_path(&mut self, path: &Path) -> io::Result<Arc<[u8]>> {
        let mut file = File::open(path)?;
        // Taken before the text: a change while it is read shows as a change later.
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a file"));
        }
        self.stamps.push(Stamp::of(path, &metadata));
        if metadata.len() > MAX_FILE {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                "larger than 4 GiB",
            ));
        }
        let mut text = Vec::with_capacity(metadata.len() as usize);
        file.by_ref().take(MAX_FILE).read_to_end(&mut text)?;
        Ok(text.into())
    }
}

impl Files for Disk {
    /// A relative name is looked for beside the file that includes it.
    fn read(&mut self, name: &str, from: &str) -> Result<(Arc<str>, Arc<[u8]>), String> {
        let directory = Path::new(from).parent().unwrap_or(Path::new(""));
        let path = directory.join(name);
        let text = self
            .read_path(&path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Ok((path.to_string_lossy().into(), text))
    }
}

//! One file as it is served: its content or descriptor, and the fields that never change with it.

use std::{
    fs::File,
    io,
    os::unix::fs::MetadataExt,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::HeaderValue;

use super::types;
use crate::{engine::precondition::Validators, wire::validator::EntityTag};

/// What a path leads to.
#[derive(Debug)]
pub enum Kind {
    /// A regular file.
    File(Content),
    /// A directory.
    Directory,
    /// A socket, a FIFO, a device: never served.
    Other,
}

/// The bytes of a file.
#[derive(Debug, Clone)]
pub enum Content {
    /// All of them.
    Bytes(Bytes),
    /// Where to read them.
    Descriptor(Arc<File>),
}

/// Everything that tells one state of a file from another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Identity {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    /// An overwrite within one tick of the clock, of the same length, still changes this.
    changed: (i64, i64),
}

/// A file or directory, as it was when it was opened.
#[derive(Debug)]
pub struct Entry {
    /// What it is.
    pub kind: Kind,
    /// Its length in bytes.
    pub size: u64,
    /// Last-Modified, in whole seconds.
    pub modified: SystemTime,
    /// The ETag field.
    pub etag: HeaderValue,
    /// The Last-Modified field.
    pub last_modified: HeaderValue,
    /// The Content-Type field.
    pub content_type: Option<HeaderValue>,
    identity: Identity,
    checked: AtomicU64,
}

impl Entry {
    /// Takes a look at an open file, and reads it if it is no larger than `keep`.
    pub(super) fn load(file: File, path: &[u8], keep: u64, now: u64) -> io::Result<Self> {
        let metadata = file.metadata()?;
        let identity = Identity::of(&metadata);
        let mut size = metadata.len();
        let kind = if metadata.is_file() {
            if size <= keep {
                let bytes = read(&file, size)?;
                // A file that is being written may have another length by now.
                size = bytes.len() as u64;
                Kind::File(Content::Bytes(bytes))
            } else {
                Kind::File(Content::Descriptor(Arc::new(file)))
            }
        } else if metadata.is_dir() {
            Kind::Directory
        } else {
            Kind::Other
        };
        let (seconds, nanoseconds) = identity.modified;
        let modified = UNIX_EPOCH + Duration::from_secs(u64::try_from(seconds).unwrap_or(0));
        let date = httpdate::fmt_http_date(modified);
        let etag = format!(
            "\"{:x}-{size:x}-{seconds:x}.{nanoseconds:x}\"",
            identity.inode
        );
        let field = |text: &str| HeaderValue::from_str(text).map_err(io::Error::other);
        Ok(Self {
            kind,
            size,
            modified,
            etag: field(&etag)?,
            last_modified: field(&date)?,
            content_type: types::of(path),
            identity,
            checked: AtomicU64::new(now),
        })
    }

    /// Whether `file` is this one, unchanged.
    pub(super) fn is(&self, file: &File) -> bool {
        file.metadata()
            .is_ok_and(|metadata| Identity::of(&metadata) == self.identity)
    }

    /// When it was last compared with the file system, on the cache's clock.
    pub(super) fn checked(&self) -> &AtomicU64 {
        &self.checked
    }

    pub(super) fn touch(&self, now: u64) {
        self.checked.store(now, Ordering::Relaxed);
    }

    /// Bytes that it holds in memory.
    pub(super) fn weight(&self) -> u64 {
        match &self.kind {
            Kind::File(Content::Bytes(bytes)) => bytes.len() as u64,
            _ => 0,
        }
    }

    /// Its validators.
    #[must_use]
    pub fn validators(&self) -> Validators<'_> {
        let tag = EntityTag::parse(self.etag.as_bytes()).map_or(
            EntityTag {
                weak: false,
                opaque: b"",
            },
            |(tag, _)| tag,
        );
        Validators {
            tag,
            modified: self.modified,
        }
    }
}

impl Identity {
    fn of(metadata: &std::fs::Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        }
    }
}

/// Reads a small file from its start. One read is enough for nearly all of them.
fn read(file: &File, size: u64) -> io::Result<Bytes> {
    let size = usize::try_from(size).map_err(io::Error::other)?;
    let mut bytes = Vec::with_capacity(size);
    while bytes.len() < size {
        let offset = bytes.len() as u64;
        let room = rustix::buffer::spare_capacity(&mut bytes);
        match rustix::io::pread(file, room, offset) {
            Ok(0) => break,
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
    bytes.truncate(size);
    Ok(Bytes::from(bytes))
}

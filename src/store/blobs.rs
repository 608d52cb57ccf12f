//! Large bytes, in files named by the SHA-256 of what is in them.
//!
//! The same bytes put twice are one file, so a file goes only when nothing refers to it any more.
//! That is counted in the database, in the same transaction as the row that refers to it:
//! [`BlobId::link`] and [`BlobId::unlink`]. A file that is linked nowhere is swept an hour later.

use std::fmt;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use aws_lc_rs::digest::{Context, SHA256};
use bytes::Bytes;
use tokio::sync::{RwLock, Semaphore};

use crate::files::{self, create_private, make_private_dir, rename, sync_dir};
use crate::migration::{hex, unix_now};
use crate::{Database, Reader, StoreError, Transaction, params};

/// How long a file may lie unlinked: between its bytes and the row that refers to it.
const GRACE: Duration = Duration::from_secs(60 * 60);
/// What an upload that was cut off left behind goes after a day.
const ABANDONED: Duration = Duration::from_secs(24 * 60 * 60);
/// File operations under way at once.
const AT_ONCE: usize = 16;

/// The name of some bytes: the SHA-256 of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BlobId([u8; 32]);

impl BlobId {
    /// Counts one more reference, in the transaction that makes it.
    pub fn link(&self, tx: &mut Transaction<'_>) -> Result<(), StoreError> {
        tx.execute(
            "INSERT INTO store_blobs (id, links, unlinked_at) VALUES ($1, 1, 0)
             ON CONFLICT (id) DO UPDATE SET links = store_blobs.links + 1",
            params![self.to_string()],
        )?;
        Ok(())
    }

    /// Counts one reference less, in the transaction that removes it.
    pub fn unlink(&self, tx: &mut Transaction<'_>) -> Result<(), StoreError> {
        tx.execute(
            "UPDATE store_blobs SET links = links - 1, unlinked_at = $2 WHERE id = $1",
            params![self.to_string(), unix_now()],
        )?;
        Ok(())
    }
}

impl fmt::Display for BlobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

/// Not the name of a blob.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a blob is named by 64 hexadecimal digits")]
pub struct BlobIdError;

impl FromStr for BlobId {
    type Err = BlobIdError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (pairs, []) = text.as_bytes().as_chunks::<2>() else {
            return Err(BlobIdError);
        };
        let mut id = [0; 32];
        if pairs.len() != id.len() {
            return Err(BlobIdError);
        }
        for (byte, [high, low]) in id.iter_mut().zip(pairs) {
            // Lower case only, so that one blob has one name.
            let digit = |c: &u8| match c {
                b'0'..=b'9' => Ok(c - b'0'),
                b'a'..=b'f' => Ok(c - b'a' + 10),
                _ => Err(BlobIdError),
            };
            *byte = digit(high)? << 4 | digit(low)?;
        }
        Ok(Self(id))
    }
}

/// The blob store; clones share it.
#[derive(Clone)]
pub struct Blobs {
    inner: Arc<Inner>,
}

struct Inner {
    root: PathBuf,
    at_once: Arc<Semaphore>,
    next: AtomicU64,
    /// Held for a moment by whoever gives a file its name, or takes it away.
    naming: Mutex<()>,
    /// Read by a backup, so that no file is swept under it.
    pub(crate) sweeping: RwLock<()>,
}

impl Blobs {
    pub(crate) fn open(data_dir: &Path) -> Result<Self, StoreError> {
        let root = data_dir.join("blobs");
        make_private_dir(&root.join("new"))?;
        Ok(Self {
            inner: Arc::new(Inner {
                root,
                at_once: Arc::new(Semaphore::new(AT_ONCE)),
                next: AtomicU64::new(0),
                naming: Mutex::new(()),
                sweeping: RwLock::new(()),
            }),
        })
    }

    /// Keeps `bytes`. They are on the disk when this returns.
    pub async fn put(&self, bytes: impl Into<Bytes>) -> Result<BlobId, StoreError> {
        let mut writer = self.create().await?;
        writer.write(bytes).await?;
        Ok(writer.finish().await?.0)
    }

    /// Begins a blob whose bytes come in parts.
    pub async fn create(&self) -> Result<BlobWriter, StoreError> {
        let blobs = self.clone();
        let upload = self.blocking(move || Upload::begin(&blobs.inner)).await?;
        Ok(BlobWriter {
            blobs: self.clone(),
            upload: Some(upload),
        })
    }

    /// The file of a blob, open for reading; `None` if there is no such blob.
    pub async fn open_blob(&self, id: &BlobId) -> Result<Option<File>, StoreError> {
        let path = self.path(id);
        self.blocking(move || match File::open(&path) {
            Ok(file) => Ok(Some(file)),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(StoreError::io(format!("cannot open {}", path.display()))(
                error,
            )),
        })
        .await
    }

    /// Where a blob's file is. It is written once, and never again.
    pub fn path(&self, id: &BlobId) -> PathBuf {
        path_below(&self.inner.root, id)
    }

    /// Removes the files that nothing has referred to for an hour. Says how many.
    pub(crate) async fn sweep(&self, database: &Database) -> Result<u64, StoreError> {
        let _alone = self.inner.sweeping.write().await;
        let before = unix_now() - i64::try_from(GRACE.as_secs()).unwrap_or(i64::MAX);
        database
            .write(move |tx| {
                tx.execute(
                    "DELETE FROM store_blobs WHERE links <= 0 AND unlinked_at < $1",
                    params![before],
                )
            })
            .await?;
        let blobs = self.clone();
        let old = self.blocking(move || blobs.older_than(GRACE)).await?;
        let mut removed = 0;
        for group in old.chunks(500) {
            let group = group.to_vec();
            let unlinked = database
                .read(move |reader| {
                    let mut unlinked = Vec::new();
                    for id in &group {
                        if !known(reader, id)? {
                            unlinked.push(*id);
                        }
                    }
                    Ok(unlinked)
                })
                .await?;
            let blobs = self.clone();
            removed += self.blocking(move || blobs.remove_old(&unlinked)).await?;
        }
        Ok(removed)
    }

    fn older_than(&self, age: Duration) -> Result<Vec<BlobId>, StoreError> {
        let mut old = Vec::new();
        each_file(&self.inner.root, |path, id| {
            match id {
                Some(id) if is_older(path, age) => old.push(id),
                None if is_older(path, ABANDONED) => remove(path)?,
                _ => {}
            }
            Ok(())
        })?;
        Ok(old)
    }

    fn remove_old(&self, ids: &[BlobId]) -> Result<u64, StoreError> {
        let mut removed = 0;
        for id in ids {
            let path = self.path(id);
            let _naming = self
                .inner
                .naming
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            // The same bytes may have been put again since; then the file is young.
            if is_older(&path, GRACE) {
                remove(&path)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Holds sweeping off until the guard is dropped.
    pub(crate) async fn hold(&self) -> tokio::sync::RwLockReadGuard<'_, ()> {
        self.inner.sweeping.read().await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.inner.at_once).acquire_owned().await;
        let permit = permit.map_err(|_| StoreError::Closed)?;
        let work = move || {
            let _permit = permit;
            work()
        };
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|_| StoreError::Closed)?
    }
}

/// A blob that is being written. Dropped before [`finish`](Self::finish), nothing of it is kept.
pub struct BlobWriter {
    blobs: Blobs,
    upload: Option<Upload>,
}

impl BlobWriter {
    /// Adds bytes.
    pub async fn write(&mut self, bytes: impl Into<Bytes>) -> Result<(), StoreError> {
        let bytes = bytes.into();
        // Taken for the time of the write: if that fails or is cancelled, so is the blob.
        let mut upload = self.upload.take().ok_or(StoreError::Closed)?;
        let upload = self
            .blobs
            .blocking(move || upload.add(&bytes).map(|()| upload))
            .await?;
        self.upload = Some(upload);
        Ok(())
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.upload.as_ref().map_or(0, |upload| upload.size)
    }

    /// Makes the bytes durable, and says their name and size.
    pub async fn finish(mut self) -> Result<(BlobId, u64), StoreError> {
        let upload = self.upload.take().ok_or(StoreError::Closed)?;
        let blobs = self.blobs.clone();
        self.blobs
            .blocking(move || upload.finish(&blobs.inner))
            .await
    }
}

struct Upload {
    file: File,
    path: PathBuf,
    context: Context,
    size: u64,
    named: bool,
}

impl Upload {
    fn begin(inner: &Inner) -> Result<Self, StoreError> {
        let number = inner.next.fetch_add(1, Ordering::Relaxed);
        let since = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        let name = format!("{}-{}-{number}", std::process::id(), since.as_nanos());
        let path = inner.root.join("new").join(name);
        let file = create_private(&path)?;
        Ok(Self {
            file,
            path,
            context: Context::new(&SHA256),
            size: 0,
            named: false,
        })
    }

    fn add(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.context.update(bytes);
        self.size += bytes.len() as u64;
        self.file.write_all(bytes).map_err(StoreError::io(format!(
            "cannot write {}",
            self.path.display()
        )))
    }

    fn finish(mut self, inner: &Inner) -> Result<(BlobId, u64), StoreError> {
        self.file.sync_all().map_err(StoreError::io(format!(
            "cannot sync {}",
            self.path.display()
        )))?;
        let mut id = BlobId([0; 32]);
        id.0.copy_from_slice(self.context.clone().finish().as_ref());
        let path = path_below(&inner.root, &id);
        if let Some(directory) = path.parent()
            && !directory.exists()
        {
            make_private_dir(directory)?;
            sync_dir(&inner.root)?;
        }
        // Renamed even over a file with the same bytes: that makes it young, and so keeps the
        // sweeper from it until the caller has linked it.
        let _naming = inner.naming.lock().unwrap_or_else(PoisonError::into_inner);
        rename(&self.path, &path)?;
        self.named = true;
        Ok((id, self.size))
    }
}

impl Drop for Upload {
    fn drop(&mut self) {
        if !self.named {
            // What cannot be removed now is swept later.
            std::fs::remove_file(&self.path).ok();
        }
    }
}

/// Every blob that something refers to.
pub(crate) fn linked(reader: &mut Reader<'_>) -> Result<Vec<BlobId>, StoreError> {
    let mut ids = Vec::new();
    reader.query_each(
        "SELECT id FROM store_blobs WHERE links > 0 ORDER BY id",
        &[],
        |row| {
            ids.push(row.get::<String>(0)?.parse().map_err(StoreError::other)?);
            Ok(true)
        },
    )?;
    Ok(ids)
}

fn known(reader: &mut Reader<'_>, id: &BlobId) -> Result<bool, StoreError> {
    let row = reader.query_one(
        "SELECT 1 FROM store_blobs WHERE id = $1",
        params![id.to_string()],
    )?;
    Ok(row.is_some())
}

/// `ab/abcdef…`: a directory with a million names is slow on many file systems.
pub(crate) fn path_below(root: &Path, id: &BlobId) -> PathBuf {
    let name = id.to_string();
    root.join(name.get(..2).unwrap_or_default()).join(&name)
}

/// Whether the file has the bytes that its name says.
pub(crate) fn is_sound(path: &Path, id: &BlobId) -> Result<bool, StoreError> {
    Ok(files::sum(path)?.sha256 == id.to_string())
}

fn each_file(
    root: &Path,
    mut each: impl FnMut(&Path, Option<BlobId>) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let failed = |path: &Path| StoreError::io(format!("cannot list {}", path.display()));
    for directory in std::fs::read_dir(root).map_err(failed(root))? {
        let directory = directory.map_err(failed(root))?.path();
        if !directory.is_dir() {
            continue;
        }
        for file in std::fs::read_dir(&directory).map_err(failed(&directory))? {
            let file = file.map_err(failed(&directory))?;
            let id = file.file_name().to_str().and_then(|name| name.parse().ok());
            each(&file.path(), id)?;
        }
    }
    Ok(())
}

/// False for a file that is not there, or whose time lies in the future.
fn is_older(path: &Path, age: Duration) -> bool {
    std::fs::metadata(path)
        .and_then(|metadata| metadata.modified())
        .is_ok_and(|modified| modified.elapsed().is_ok_and(|elapsed| elapsed > age))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(format!(
            "cannot remove {}",
            path.display()
        ))(error)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let text = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert_eq!(
            text.parse::<BlobId>().map(|id| id.to_string()).as_deref(),
            Ok(text)
        );
        for wrong in [
            "",
            "e3",
            &text.to_uppercase(),
            &text[..63],
            &format!("{text}00"),
            "../../x",
        ] {
            assert_eq!(wrong.parse::<BlobId>(), Err(BlobIdError), "{wrong}");
        }
    }
}

//! Files that are there whole, or not at all, whenever the power goes.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::Path;

use aws_lc_rs::digest::{Context, SHA256};

use crate::StoreError;
use crate::migration::hex;

/// Makes a directory, and those above it, that only its owner can look into: what lies here holds
/// password verifiers and people's messages.
pub(crate) fn make_private_dir(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(StoreError::io(format!("cannot make {}", path.display())))
}

/// Makes a file that was not there.
pub(crate) fn create_private(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io(format!("cannot make {}", path.display())))
}

/// Opens a file for writing, and makes it if it is not there.
pub(crate) fn open_private(path: &Path) -> Result<File, StoreError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(path)
        .map_err(StoreError::io(format!("cannot open {}", path.display())))
}

/// Makes names that were added to or removed from a directory durable.
pub(crate) fn sync_dir(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|dir| dir.sync_all())
        .map_err(StoreError::io(format!("cannot sync {}", path.display())))
}

/// Moves a synced file to its name, for good.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    std::fs::rename(from, to).map_err(StoreError::io(format!(
        "cannot rename {} to {}",
        from.display(),
        to.display()
    )))?;
    to.parent().map_or(Ok(()), sync_dir)
}

/// A file's size and SHA-256.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Sum {
    pub(crate) size: u64,
    pub(crate) sha256: String,
}

/// Reads a file through.
pub(crate) fn sum(path: &Path) -> Result<Sum, StoreError> {
    File::open(path)
        .and_then(|file| copy(file, &mut io::sink()))
        .map_err(StoreError::io(format!("cannot read {}", path.display())))
}

/// Copies a file to a new one, durably but for the name.
pub(crate) fn copy_file(from: &Path, to: &Path) -> Result<Sum, StoreError> {
    let source =
        File::open(from).map_err(StoreError::io(format!("cannot read {}", from.display())))?;
    let mut target = create_private(to)?;
    let sum = copy(source, &mut target).and_then(|sum| target.sync_all().map(|()| sum));
    sum.map_err(StoreError::io(format!(
        "cannot copy {} to {}",
        from.display(),
        to.display()
    )))
}

fn copy(mut from: impl Read, to: &mut impl Write) -> io::Result<Sum> {
    let mut context = Context::new(&SHA256);
    let mut size = 0;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        let part = buffer.get(..read).unwrap_or_default();
        context.update(part);
        to.write_all(part)?;
        size += read as u64;
    }
    Ok(Sum {
        size,
        sha256: hex(context.finish().as_ref()),
    })
}

//! The data directory: made for nobody's eyes but the daemon's, and kept the daemon's own.

use std::{
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, lchown},
    path::Path,
};

/// Creates it.
///
/// # Errors
/// Where it cannot be created.
pub fn create(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

/// Gives what root made in it to whom it belongs: root restores an archive or makes an account
/// while the daemon is stopped, and the daemon, which is not root, must be able to go on with it.
///
/// # Errors
/// Where an owner cannot be changed.
pub fn hand_over(path: &Path) -> io::Result<()> {
    let owner = fs::metadata(path)?;
    if !rustix::process::geteuid().is_root() || owner.uid() == 0 {
        return Ok(());
    }
    let mut folders = vec![path.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let metadata = entry.metadata()?;
            if metadata.uid() == 0 {
                lchown(entry.path(), Some(owner.uid()), Some(owner.gid()))?;
            }
            if metadata.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    Ok(())
}

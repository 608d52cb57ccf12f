//! Files that are on the disk, whole, before anybody is told that they are.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

/// What may go wrong on its own, in the order in which it happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Write,
    Sync,
    Truncate,
    Rename,
    SyncDirectory,
}

/// Puts a file in the place of another, in one step: whoever opens the name finds the old or the
/// new one, whole. After an error it is the old one. Gives the new one, open for writing. A crash
/// may still undo it, until [`sync_directory`].
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<File> {
    let directory = path.parent().unwrap_or(Path::new("."));
    std::fs::create_dir_all(directory)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let beside = directory.join(name);
    let mut file = File::create(&beside)?;
    // The mode is the operator's choice where the file is the operator's.
    if let Ok(metadata) = std::fs::metadata(path) {
        file.set_permissions(metadata.permissions())?;
    }
    check(Step::Write)?;
    file.write_all(bytes)?;
    check(Step::Sync)?;
    file.sync_all()?;
    check(Step::Rename)?;
    std::fs::rename(&beside, path)?;
    Ok(file)
}

/// Makes the names of a file's directory last.
pub(super) fn sync_directory(path: &Path) -> io::Result<()> {
    check(Step::SyncDirectory)?;
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()
}

/// Where tests let a step fail.
#[cfg(not(test))]
pub(super) fn check(_: Step) -> io::Result<()> {
    Ok(())
}

#[cfg(test)]
pub(super) use faults::check;

/// Failures on demand.
#[cfg(test)]
pub(crate) mod faults {
    use std::cell::RefCell;
    use std::io;

    pub(crate) use super::Step;

    thread_local! {
        static FAILING: RefCell<Vec<Step>> = const { RefCell::new(Vec::new()) };
    }

    pub(crate) fn check(step: Step) -> io::Result<()> {
        if FAILING.with_borrow(|failing| failing.contains(&step)) {
            return Err(io::Error::other(format!("{step:?} fails")));
        }
        Ok(())
    }

    /// Does something while these steps fail on this thread.
    pub(crate) fn failing<R>(steps: &[Step], work: impl FnOnce() -> R) -> R {
        FAILING.set(steps.to_vec());
        let done = work();
        FAILING.set(Vec::new());
        done
    }
}

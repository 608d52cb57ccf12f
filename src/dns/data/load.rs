//! A zone from its file. A file that looks as it did gives the zone that was made of it before.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock, Mutex, PoisonError, Weak};

use super::files::{Disk, Stamp};
use crate::engine::zone::{Zone, build};
use crate::wire::master::{Fault, Limits, Severity, parse_zone};
use crate::wire::name::Name;

/// A zone and where it came from.
#[derive(Debug)]
pub(crate) struct Loaded {
    pub(crate) zone: Arc<Zone>,
    pub(crate) file: PathBuf,
    /// What is odd in it, though it can be served.
    pub(crate) warnings: Vec<Fault>,
    stamps: Vec<Stamp>,
}

impl Loaded {
    /// A zone that comes from other servers.
    pub(crate) fn unknown(apex: &Name) -> Loaded {
        Loaded {
            zone: Arc::new(Zone::unknown(apex.as_ref())),
            file: PathBuf::new(),
            warnings: Vec::new(),
            stamps: Vec::new(),
        }
    }
}

type Key = (Name, PathBuf);

/// Zones in use. What nobody serves any more is forgotten with its last user.
static KNOWN: LazyLock<Mutex<HashMap<Key, Weak<Loaded>>>> = LazyLock::new(Mutex::default);

/// Loads a zone; all faults if it cannot be served.
pub(crate) fn load(apex: &Name, file: &Path) -> Result<Arc<Loaded>, Vec<Fault>> {
    let key = (apex.clone(), file.to_owned());
    let known = KNOWN
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(&key)
        .cloned();
    if let Some(loaded) = known.and_then(|known| known.upgrade())
        && loaded.stamps.iter().all(Stamp::is_current)
    {
        return Ok(loaded);
    }
    let loaded = Arc::new(read(apex, file)?);
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    known.retain(|_, known| known.strong_count() > 0);
    known.insert(key, Arc::downgrade(&loaded));
    Ok(loaded)
}

fn read(apex: &Name, file: &Path) -> Result<Loaded, Vec<Fault>> {
    let mut disk = Disk::default();
    let text = disk.read_path(file).map_err(|error| {
        let message = format!("cannot read {}: {error}", file.display());
        vec![Fault {
            severity: Severity::Error,
            message,
            at: Vec::new(),
        }]
    })?;
    let name = file.to_string_lossy();
    let parsed = parse_zone(apex.as_ref(), &name, &text, &mut disk, Limits::default());
    let mut faults = parsed.faults;
    let broken = |faults: &[Fault]| faults.iter().any(|fault| fault.severity == Severity::Error);
    if broken(&faults) {
        if parsed.more_faults > 0 {
            let message = format!("and {} more errors", parsed.more_faults);
            faults.push(Fault {
                severity: Severity::Error,
                message,
                at: Vec::new(),
            });
        }
        return Err(faults);
    }
    let built = build(apex.as_ref(), &parsed.records, &parsed.sources);
    faults.extend(built.faults);
    match built.zone {
        Some(zone) => Ok(Loaded {
            zone: Arc::new(zone),
            file: file.to_owned(),
            warnings: faults,
            stamps: disk.stamps,
        }),
        None => Err(faults),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn only_what_changed_is_read_again() {
        let directory = tempfile::tempdir().unwrap();
        let (file, inner) = (
            directory.path().join("zone"),
            directory.path().join("inner"),
        );
        let head = "$TTL 1\n@ SOA ns hm 1 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n$INCLUDE inner\n";
        std::fs::write(&file, head).unwrap();
        std::fs::write(&inner, "a A 192.0.2.2\n").unwrap();
        let apex = Name::from_text("example.org").unwrap();

        let first = load(&apex, &file).unwrap();
        assert_eq!(first.zone.record_count(), 4);
        assert!(Arc::ptr_eq(&first, &load(&apex, &file).unwrap()));
        let other = Name::from_text("example.net").unwrap();
        assert!(!Arc::ptr_eq(&first, &load(&other, &file).unwrap()));

        std::fs::write(&inner, "a A 192.0.2.2\nb A 192.0.2.3\n").unwrap();
        let second = load(&apex, &file).unwrap();
        assert_eq!(second.zone.record_count(), 5);

        std::fs::write(&inner, "a A 192.0.2.2\nb A 192.0.2\n").unwrap();
        let faults = load(&apex, &file).unwrap_err();
        let shown = faults[0].to_string();
        let expected = format!(
            "{}:2:5: `192.0.2` is not an IPv4 address\n  included from {}:5:1",
            inner.display(),
            file.display()
        );
        assert_eq!(shown, expected);
        std::fs::remove_file(&inner).unwrap();
        assert!(
            load(&apex, &file).unwrap_err()[0]
                .to_string()
                .contains("No such file")
        );
    }
}

//! A zone that lives by its changes: a file with what it was, and a journal of what has happened
//! since. The file is the operator's for a zone that takes updates, and ours for a secondary.
//!
//! The journal knows the digest of the file it goes with. A file of another content was edited by
//! somebody while updates had the zone: one of the two would be lost, so that neither is taken.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::durable;
use super::journal::{self, Contents, Entry, Journal, zone_digest};
use crate::control::zone_text;
use crate::engine::change::{Change, Mismatch, apply_all};
use crate::engine::zone::Zone;
use crate::engine::zones::ZoneId;

/// A journal longer than this, and than twice the zone, is cut down to the zone's length.
const MIN_JOURNAL: u64 = if cfg!(test) { 1 << 12 } else { 1 << 20 };

/// Why a zone and its journal do not make a version.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HeldError {
    /// The disk.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The file is not the one that the journal goes with.
    #[error("the file was edited while updates had the zone: its journal {} holds {changes} change(s) that the file lacks", journal.display())]
    Edited {
        /// The journal.
        journal: PathBuf,
        /// How many changes would be lost.
        changes: usize,
    },
    /// The journal's changes do not apply.
    #[error("the journal {} does not go with the zone: {reason}", journal.display())]
    Broken {
        /// The journal.
        journal: PathBuf,
        /// What is wrong.
        reason: Mismatch,
    },
}

/// Where the journal of a zone is.
pub(crate) fn journal_path(data_dir: &Path, id: &ZoneId) -> PathBuf {
    data_dir
        .join("dns")
        .join(format!("{}.journal", file_name(id)))
}

/// Where a secondary keeps its copy of a zone.
pub(crate) fn copy_path(data_dir: &Path, id: &ZoneId) -> PathBuf {
    data_dir.join("dns").join(format!("{}.zone", file_name(id)))
}

/// A name that every file system takes.
fn file_name(id: &ZoneId) -> String {
    let text = id.name.to_string().to_ascii_lowercase();
    let mut name = String::new();
    for byte in text.trim_end_matches('.').bytes() {
        match byte {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' => name.push(char::from(byte)),
            other => name.push_str(&format!("%{other:02x}")),
        }
    }
    if name.is_empty() {
        name.push_str("%2e");
    }
    // No name holds this sign unescaped.
    if let Some(view) = &id.view {
        name.push('@');
        name.push_str(view);
    }
    name
}

/// A zone with its journal.
#[derive(Debug)]
pub(crate) struct Held {
    /// Where the zone is written to.
    pub(crate) file: PathBuf,
    /// The version it is at.
    pub(crate) zone: Arc<Zone>,
    /// The file is the operator's to edit.
    pub(crate) frozen: bool,
    /// Changes up to this version, for those who ask what they were.
    pub(crate) changes: Vec<Change>,
    /// Changes that the file lacks.
    pub(crate) unsaved: usize,
    journal: Journal,
    /// The content that the file has.
    base: [u8; 32],
    /// The directory may not have it on the disk yet that the name leads to that file.
    unnamed: bool,
}

/// What file and journal together say.
struct Version {
    zone: Arc<Zone>,
    frozen: bool,
    changes: Vec<Change>,
    unsaved: usize,
}

fn version(file: &Arc<Zone>, journal: &Path, contents: &Contents) -> Result<Version, HeldError> {
    let digest = zone_digest(file);
    let frozen = contents.entries.last() == Some(&Entry::Frozen);
    let base = |entry: &Entry| matches!(entry, Entry::Base(base) if *base == digest);
    let change = |entry: &Entry| match entry {
        Entry::Change(change) => Some(change.clone()),
        _ => None,
    };
    let last_base = contents
        .entries
        .iter()
        .rposition(|entry| matches!(entry, Entry::Base(_)));
    // A frozen file had all changes when it was given away: what it says counts, even if it is what
    // it was before them.
    let at = contents.entries.iter().rposition(base);
    let Some(at) = at.filter(|at| !frozen || Some(*at) == last_base) else {
        let after = last_base.map_or(0, |at| at + 1);
        let lost = contents
            .entries
            .iter()
            .skip(after)
            .filter_map(change)
            .count();
        // Edited while it was frozen, or before any change: nothing is lost by taking it.
        return if lost == 0 || frozen {
            Ok(Version {
                zone: file.clone(),
                frozen,
                changes: Vec::new(),
                unsaved: 0,
            })
        } else {
            Err(HeldError::Edited {
                journal: journal.to_owned(),
                changes: lost,
            })
        };
    };
    let since: Vec<Change> = contents
        .entries
        .iter()
        .skip(at)
        .filter_map(change)
        .collect();
    let zone = if since.is_empty() {
        file.clone()
    } else {
        let zone = apply_all(file, &since).map_err(|reason| HeldError::Broken {
            journal: journal.to_owned(),
            reason,
        })?;
        Arc::new(zone)
    };
    let mut changes: Vec<Change> = contents.entries.iter().filter_map(change).collect();
    // Only what leads here without a gap is history.
    let mut serial = zone.serial();
    let gap = changes.iter().rposition(|change| {
        let follows = change.to == serial;
        serial = change.from;
        !follows
    });
    changes.drain(..gap.map_or(0, |at| at + 1));
    Ok(Version {
        zone,
        frozen,
        changes,
        unsaved: since.len(),
    })
}

/// The version of a zone without opening its journal for writing, and how many changes its file
/// lacks.
pub(crate) fn peek(file: &Arc<Zone>, journal: &Path) -> Result<(Arc<Zone>, usize), HeldError> {
    let contents = journal::read(journal)?;
    let version = version(file, journal, &contents)?;
    Ok((version.zone, version.unsaved))
}

impl Held {
    /// Opens a zone whose file was read.
    pub(crate) fn open(zone: &Arc<Zone>, file: &Path, path: &Path) -> Result<Held, HeldError> {
        let contents = journal::read(path)?;
        if contents.torn > 0 {
            tracing::info!(journal = %path.display(), octets = contents.torn,
                "what a crash left unfinished at the end of the journal is dropped");
        }
        let journal = Journal::open(path, &contents)?;
        let based = contents.entries.iter().rev().find_map(|entry| match entry {
            Entry::Base(digest) => Some(*digest),
            _ => None,
        });
        let version = version(zone, path, &contents)?;
        let mut held = Held {
            file: file.to_owned(),
            zone: version.zone,
            frozen: version.frozen,
            changes: version.changes,
            unsaved: version.unsaved,
            journal,
            base: zone_digest(zone),
            unnamed: false,
        };
        if based.is_some_and(|based| based != held.base) && held.unsaved == 0 {
            let mut entries = vec![Entry::Base(held.base)];
            // The operator has not given the file back.
            entries.extend(held.frozen.then_some(Entry::Frozen));
            held.journal.append(&entries)?;
        }
        Ok(held)
    }

    /// The zone has changed. The change is on the disk when this returns.
    pub(crate) fn commit(&mut self, changes: &[Change], zone: Arc<Zone>) -> io::Result<()> {
        // A crash must not bring back a file that these are no changes of.
        self.settle()?;
        let mut entries = Vec::new();
        if self.journal.len() == 0 {
            entries.push(Entry::Base(self.base));
        }
        entries.extend(changes.iter().cloned().map(Entry::Change));
        self.journal.append(&entries)?;
        self.changes.extend(changes.iter().cloned());
        self.unsaved += changes.len();
        self.zone = zone;
        Ok(())
    }

    /// The zone is another altogether; `change` is what leads to it, if anybody may ask. It is in
    /// the file when this returns; after an error the zone is the one that it was.
    pub(crate) fn replace(&mut self, zone: Arc<Zone>, change: Option<Change>) -> io::Result<()> {
        self.write_file(&zone)?;
        self.zone = zone;
        match change {
            Some(change) => self.changes.push(change),
            None => self.changes.clear(),
        }
        // Here the journal does not grow with them, which would cut them down.
        self.trim();
        if let Err(error) = self.settle().and_then(|()| self.cut_down()) {
            tracing::warn!(file = %self.file.display(), %error, "the journal stays as long as it is");
        }
        Ok(())
    }

    /// Writes the zone to its file, so that the journal holds nothing that it lacks.
    pub(crate) fn sync(&mut self) -> io::Result<()> {
        if self.unsaved > 0 {
            self.write_file(&self.zone.clone())?;
        }
        self.settle()?;
        self.cut_down()
    }

    fn write_file(&mut self, zone: &Zone) -> io::Result<()> {
        let base = zone_digest(zone);
        // First the journal, which then knows the file before and the file after.
        let mut entries = Vec::new();
        if self.journal.len() == 0 {
            entries.push(Entry::Base(self.base));
        }
        entries.push(Entry::Base(base));
        self.journal.append(&entries)?;
        durable::replace(&self.file, zone_text(zone).as_bytes())?;
        self.base = base;
        self.unsaved = 0;
        self.unnamed = true;
        Ok(())
    }

    fn settle(&mut self) -> io::Result<()> {
        if self.unnamed {
            durable::sync_directory(&self.file)?;
            self.unnamed = false;
        }
        Ok(())
    }

    /// True once the journal has become longer than is of use.
    pub(crate) fn is_long(&self) -> bool {
        self.journal.len() > MIN_JOURNAL.max(2 * self.zone.size() as u64)
    }

    /// Forgets changes that are in the file and more than the zone itself.
    fn cut_down(&mut self) -> io::Result<()> {
        if !self.is_long() || self.unsaved > 0 {
            return Ok(());
        }
        self.trim();
        let mut entries: Vec<Entry> = self.changes.iter().cloned().map(Entry::Change).collect();
        entries.push(Entry::Base(self.base));
        entries.extend(self.frozen.then_some(Entry::Frozen));
        self.journal.rewrite(&entries)
    }

    /// Forgets the oldest changes, until those left are no more than the zone itself.
    fn trim(&mut self) {
        let mut room = self.zone.size();
        let mut kept = self.changes.len();
        for change in self.changes.iter().rev() {
            let Some(left) = room.checked_sub(change.size()) else {
                break;
            };
            (room, kept) = (left, kept - 1);
        }
        self.changes.drain(..kept);
    }

    /// Gives the file to the operator to edit.
    pub(crate) fn freeze(&mut self) -> io::Result<()> {
        self.sync()?;
        let mut entries = Vec::new();
        if self.journal.len() == 0 {
            entries.push(Entry::Base(self.base));
        }
        entries.push(Entry::Frozen);
        self.journal.append(&entries)?;
        self.frozen = true;
        Ok(())
    }

    /// Reads the file again: where nothing would be lost, what it says now counts. Read before, by
    /// whoever does not hold the zone, it may be older than an update that was written to it since.
    pub(crate) fn adopt(&mut self) -> Result<(), String> {
        if self.frozen || self.unsaved > 0 {
            return Ok(());
        }
        let read = super::load(&self.zone.apex().to_owned(), &self.file);
        let file = read.map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            faults.join("; ")
        })?;
        if zone_digest(&file.zone) != self.base {
            let thawed = self.thaw(file.zone.clone());
            thawed.map_err(|error| error.to_string())?;
        }
        Ok(())
    }

    /// Takes the file back as the operator has left it; gives the change that was made of it.
    pub(crate) fn thaw(&mut self, file: Arc<Zone>) -> io::Result<Option<Change>> {
        let change = Change::between(&self.zone, &file);
        self.base = zone_digest(&file);
        let mut entries: Vec<Entry> = Vec::new();
        // A serial that has not grown makes no history.
        let grown = change
            .clone()
            .filter(|change| crate::engine::change::is_later(change.to, change.from));
        match grown {
            Some(change) => {
                entries.push(Entry::Change(change.clone()));
                self.changes.push(change);
            }
            None if change.is_some() => self.changes.clear(),
            None => {}
        }
        entries.push(Entry::Base(self.base));
        self.journal.append(&entries)?;
        self.zone = file;
        self.frozen = false;
        self.unsaved = 0;
        Ok(change)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use proptest::prelude::*;

    use super::*;
    use crate::data::faults::{Step, failing};
    use crate::engine::zone::tests::load;
    use crate::wire::name::Name;

    fn zone(serial: u32, rows: &str) -> Arc<Zone> {
        let text = format!("$TTL 9\n@ SOA ns hm {serial} 2 3 4 5\n@ NS ns\nns A 192.0.2.1\n{rows}");
        Arc::new(load("example.org", &text).zone.unwrap())
    }

    fn change(old: &Zone, new: &Zone) -> Change {
        Change::between(old, new).unwrap()
    }

    fn same(left: &Zone, right: &Zone) -> bool {
        zone_digest(left) == zone_digest(right)
    }

    #[test]
    fn a_zone_and_its_journal() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("zone");
        let path = directory.path().join("dns/zone.journal");
        let versions: Vec<Arc<Zone>> = (1..=4)
            .map(|n| zone(n, &format!("a{n} A 192.0.2.{n}")))
            .collect();
        let [one, two, three, four] = versions.as_slice() else {
            panic!()
        };

        let mut held = Held::open(one, &file, &path).unwrap();
        held.commit(&[change(one, two)], two.clone()).unwrap();
        held.commit(&[change(two, three)], three.clone()).unwrap();
        drop(held);
        let held = Held::open(one, &file, &path).unwrap();
        assert!(same(&held.zone, three));
        assert_eq!((held.changes.len(), held.unsaved), (2, 2));
        drop(held);

        // The file edited by somebody: refused, whatever it says.
        assert!(matches!(
            Held::open(four, &file, &path),
            Err(HeldError::Edited { changes: 2, .. })
        ));

        let mut held = Held::open(one, &file, &path).unwrap();
        held.freeze().unwrap();
        let written = std::fs::read_to_string(&file).unwrap();
        let read = load("example.org", &written).zone.unwrap();
        assert!(
            same(&read, three),
            "the file holds what updates made of the zone"
        );
        drop(held);
        // A start in between takes the file as it was left, and leaves it to the operator: again,
        // and edited once more, and back to what it was before all changes.
        for left in [four, four, two, one, one] {
            let held = Held::open(left, &file, &path).unwrap();
            assert!(held.frozen && same(&held.zone, left));
        }

        let directory = tempfile::tempdir().unwrap();
        let (file, path) = (
            directory.path().join("zone"),
            directory.path().join("journal"),
        );
        let mut held = Held::open(one, &file, &path).unwrap();
        held.commit(&[change(one, two)], two.clone()).unwrap();
        held.freeze().unwrap();
        assert!(held.thaw(three.clone()).unwrap().is_some());
        assert!(!held.frozen);
        held.commit(&[change(three, four)], four.clone()).unwrap();
        drop(held);
        let held = Held::open(three, &file, &path).unwrap();
        assert!(same(&held.zone, four));
        assert_eq!(held.changes.len(), 3, "history goes back behind the thaw");
    }

    /// An update comes between the check of a configuration and its turn, and is written to the
    /// file: it stays. An edit of the file counts.
    #[test]
    fn a_file_is_taken_as_it_is_now() {
        let directory = tempfile::tempdir().unwrap();
        let (file, path) = (
            directory.path().join("zone"),
            directory.path().join("journal"),
        );
        std::fs::write(&file, zone_text(&zone(1, ""))).unwrap();
        let apex = Name::from_text("example.org").unwrap();
        let checked = super::super::load(&apex, &file).unwrap();
        let mut held = Held::open(&checked.zone, &file, &path).unwrap();
        let (two, three) = (zone(2, "a A 192.0.2.2"), zone(3, "b A 192.0.2.2"));
        held.commit(&[change(&checked.zone, &two)], two.clone())
            .unwrap();
        held.adopt().unwrap();
        assert!(same(&held.zone, &two));
        held.sync().unwrap();
        held.adopt().unwrap();
        assert!(same(&held.zone, &two));
        std::fs::write(&file, zone_text(&three)).unwrap();
        held.adopt().unwrap();
        assert!(same(&held.zone, &three));
        std::fs::write(&file, "broken").unwrap();
        assert!(held.adopt().is_err());
        assert!(same(&held.zone, &three));
    }

    /// A primary that gives whole zones only: what differs is not kept for ever.
    #[test]
    fn whole_zones_one_after_the_other() {
        let directory = tempfile::tempdir().unwrap();
        let (file, path) = (
            directory.path().join("zone"),
            directory.path().join("journal"),
        );
        let version = |serial: u32| zone(serial, &format!("a TXT {}{serial}", "x".repeat(200)));
        let mut held = Held::open(&version(1), &file, &path).unwrap();
        for serial in 2..100 {
            let after = version(serial);
            let change = Change::between(&held.zone, &after);
            held.replace(after, change).unwrap();
            let kept: usize = held.changes.iter().map(Change::size).sum();
            assert!(kept <= held.zone.size(), "{serial}: {kept}");
        }
    }

    #[test]
    fn names_of_files() {
        let name = |text: &str| file_name(&ZoneId::from_text(text).unwrap());
        assert_eq!(name("Example.ORG"), "example.org");
        assert_eq!(name("."), "%2e");
        assert_eq!(name("a/b.x"), "a%2fb.x");
    }

    /// What an operator or a client does, and the steps that fail in it.
    fn deed() -> impl Strategy<Value = (u8, Vec<Step>)> {
        let step = prop::sample::select(vec![
            Step::Write,
            Step::Sync,
            Step::Truncate,
            Step::Rename,
            Step::SyncDirectory,
        ]);
        (0u8..10, prop::collection::vec(step, 0..3))
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        /// A disk on which anything may fail at any time, and a crash behind each deed: a start
        /// finds the version held, or one whose keeping failed.
        #[test]
        fn a_start_finds_the_version_held(deeds in prop::collection::vec(deed(), 1..12)) {
            let directory = tempfile::tempdir().unwrap();
            let (file, path) = (directory.path().join("zone"), directory.path().join("journal"));
            let after = directory.path().join("after");
            std::fs::create_dir(&after).unwrap();
            let apex = Name::from_text("example.org").unwrap();
            let first = zone(1, "");
            std::fs::write(&file, zone_text(&first)).unwrap();
            let mut held = Held::open(&first, &file, &path).unwrap();
            // Large, so that the journal is soon cut to its length.
            let filler = format!("{} ", "x".repeat(250)).repeat(20);
            let mut tried = Vec::new();
            for (serial, (deed, steps)) in (2..).zip(deeds) {
                let text: String = filler.split(' ').enumerate()
                    .map(|(row, text)| format!("n{row} TXT {text}{serial}\n")).collect();
                let next = zone(serial, if deed < 6 { &text } else { "a TXT x" });
                let before = held.zone.clone();
                let done = failing(&steps, || match deed {
                    0..=6 => {
                        let change = change(&held.zone, &next);
                        let done = held.commit(&[change], next.clone());
                        // Whatever comes of it: the change is kept already.
                        if held.is_long() && done.is_ok() && held.sync().is_ok() {
                            assert_eq!(held.unsaved, 0);
                        }
                        done
                    }
                    7 => held.sync(),
                    8 => held.replace(next.clone(), None),
                    _ if held.frozen => Ok(()),
                    _ => held.freeze().map(|()| held.frozen = true),
                });
                // A frozen zone takes no changes; it goes on when it is given back.
                if held.frozen {
                    held.thaw(held.zone.clone()).unwrap();
                }
                if done.is_err() {
                    prop_assert!(same(&held.zone, &before));
                }
                for name in ["zone", "journal"] {
                    if directory.path().join(name).exists() {
                        std::fs::copy(directory.path().join(name), after.join(name)).unwrap();
                    }
                }
                let read = super::super::load(&apex, &after.join("zone")).unwrap();
                let found = Held::open(&read.zone, &after.join("zone"), &after.join("journal"));
                let found = found.unwrap();
                // What could neither be kept nor cut off may be found, until something is kept.
                match done {
                    Err(_) => tried.push(next),
                    Ok(()) if deed < 7 || deed == 8 => tried.clear(),
                    Ok(()) => {}
                }
                let tried = tried.iter().any(|tried| same(tried, &found.zone));
                prop_assert!(same(&found.zone, &held.zone) || tried, "{deed} {steps:?}");
            }
        }
    }
}

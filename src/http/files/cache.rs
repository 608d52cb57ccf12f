//! The open-file cache: descriptors, metadata, ready header fields, and the bytes of small files.

use std::{
    collections::{HashMap, VecDeque},
    io,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{Entry, Kind, Root};

/// Bounds of the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// Files that are remembered.
    pub entries: usize,
    /// Bytes of small files that are held in memory.
    pub bytes: u64,
    /// The largest file whose bytes are held.
    pub file: u64,
    /// How long a file is served without a look whether it changed.
    pub valid: Duration,
}

impl Default for CacheLimits {
    fn default() -> Self {
        Self {
            entries: 4096,
            bytes: 64 * 1024 * 1024,
            file: 128 * 1024,
            valid: Duration::from_secs(1),
        }
    }
}

const SHARDS: usize = 16;

/// Files by root and path. Looking one up takes a short lock on a sixteenth of the cache.
#[derive(Debug)]
pub struct FileCache {
    limits: CacheLimits,
    started: Instant,
    shards: [Mutex<Shard>; SHARDS],
}

#[derive(Debug, Default)]
struct Shard {
    slots: HashMap<Arc<[u8]>, Slot>,
    /// The clock's hand goes round here: a file that was used since it last passed stays.
    order: VecDeque<Arc<[u8]>>,
    bytes: u64,
}

#[derive(Debug)]
struct Slot {
    entry: Arc<Entry>,
    used: AtomicBool,
}

impl FileCache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        Self {
            limits,
            started: Instant::now(),
            shards: Default::default(),
        }
    }

    /// The file or directory at `path` (normal form, relative, empty for the root itself).
    ///
    /// # Errors
    /// As the file system says.
    pub fn find(&self, root: &Root, path: &[u8]) -> io::Result<Arc<Entry>> {
        let now = u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX);
        let mut key = [0; KEY_INLINE];
        let Some(key) = make_key(root, path, &mut key) else {
            // Nobody has names this long in earnest.
            return self.load(root, path, now);
        };
        let shard = self.shard(key);
        if let Some(entry) = shard.as_ref().and_then(|shard| lock(shard).find(key)) {
            let age = now.saturating_sub(entry.checked().load(Ordering::Relaxed));
            let valid = u64::try_from(self.limits.valid.as_millis()).unwrap_or(u64::MAX);
            if age < valid {
                return Ok(entry);
            }
            return self.check_again(root, path, key, entry, now);
        }
        let entry = self.load(root, path, now)?;
        self.keep(key, &entry);
        Ok(entry)
    }

    fn load(&self, root: &Root, path: &[u8], now: u64) -> io::Result<Arc<Entry>> {
        let file = root.open_below(path)?;
        Ok(Arc::new(Entry::load(file, path, self.limits.file, now)?))
    }

    fn check_again(
        &self,
        root: &Root,
        path: &[u8],
        key: &[u8],
        entry: Arc<Entry>,
        now: u64,
    ) -> io::Result<Arc<Entry>> {
        let reopened = root.open_below(path);
        match reopened {
            Ok(file) if entry.is(&file) => {
                entry.touch(now);
                Ok(entry)
            }
            Ok(file) => {
                let entry = Arc::new(Entry::load(file, path, self.limits.file, now)?);
                self.keep(key, &entry);
                Ok(entry)
            }
            Err(error) => {
                if let Some(shard) = self.shard(key) {
                    lock(shard).remove(key);
                }
                Err(error)
            }
        }
    }

    fn keep(&self, key: &[u8], entry: &Arc<Entry>) {
        let bytes_max = self.limits.bytes / SHARDS as u64;
        if matches!(entry.kind, Kind::Other) || entry.weight() > bytes_max {
            return;
        }
        if let Some(shard) = self.shard(key) {
            lock(shard).insert(key, entry.clone(), self.limits.entries / SHARDS, bytes_max);
        }
    }

    fn shard(&self, key: &[u8]) -> Option<&Mutex<Shard>> {
        // FNV-1a. Who picks names so that they share a shard gains a slower cache and no more.
        let hash = key.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, &byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let index = usize::try_from(hash >> 32).unwrap_or(0) % SHARDS;
        self.shards.get(index)
    }

    /// Files remembered and bytes held, for the status page.
    #[must_use]
    pub fn usage(&self) -> (usize, u64) {
        self.shards.iter().fold((0, 0), |(entries, bytes), shard| {
            let shard = lock(shard);
            (entries + shard.slots.len(), bytes + shard.bytes)
        })
    }
}

fn lock(shard: &Mutex<Shard>) -> std::sync::MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

const KEY_INLINE: usize = 1024;

fn make_key<'a>(root: &Root, path: &[u8], room: &'a mut [u8; KEY_INLINE]) -> Option<&'a [u8]> {
    let id = root.id().to_ne_bytes();
    let end = id.len() + path.len();
    let key = room.get_mut(..end)?;
    let (head, tail) = key.split_at_mut(id.len());
    head.copy_from_slice(&id);
    tail.copy_from_slice(path);
    Some(key)
}

impl Shard {
    fn find(&self, key: &[u8]) -> Option<Arc<Entry>> {
        let slot = self.slots.get(key)?;
        slot.used.store(true, Ordering::Relaxed);
        Some(slot.entry.clone())
    }

    fn insert(&mut self, key: &[u8], entry: Arc<Entry>, entries_max: usize, bytes_max: u64) {
        self.bytes += entry.weight();
        if let Some(slot) = self.slots.get_mut(key) {
            self.bytes -= slot.entry.weight();
            slot.entry = entry;
        } else {
            let key: Arc<[u8]> = key.into();
            self.order.push_back(key.clone());
            let used = AtomicBool::new(false);
            self.slots.insert(key, Slot { entry, used });
        }
        while self.slots.len() > entries_max.max(1) || self.bytes > bytes_max {
            if !self.evict() {
                break;
            }
        }
    }

    /// Takes one file out: the first under the hand that was not used since it last came by.
    fn evict(&mut self) -> bool {
        while let Some(key) = self.order.pop_front() {
            match self.slots.get(&key) {
                Some(slot) if slot.used.swap(false, Ordering::Relaxed) => self.order.push_back(key),
                Some(_) => {
                    if let Some(slot) = self.slots.remove(&key) {
                        self.bytes -= slot.entry.weight();
                    }
                    return true;
                }
                // It was removed by name.
                None => {}
            }
        }
        false
    }

    fn remove(&mut self, key: &[u8]) {
        if let Some(slot) = self.slots.remove(key) {
            self.bytes -= slot.entry.weight();
            // Its place in the order goes too, or a name that comes and goes would pile up there.
            self.order.retain(|other| **other != *key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::files::{Content, Symlinks};

    fn content(entry: &Entry) -> Option<String> {
        match &entry.kind {
            Kind::File(Content::Bytes(bytes)) => Some(String::from_utf8_lossy(bytes).into_owned()),
            _ => None,
        }
    }

    #[test]
    fn a_file_is_found_again_and_a_changed_one_is_noticed() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let path = directory.path().join("a");
        fs::write(&path, "one")?;
        let root = Root::open(directory.path(), Symlinks::Inside)?;
        let cache = FileCache::new(CacheLimits::default());
        let first = cache.find(&root, b"a")?;
        assert!(Arc::ptr_eq(&first, &cache.find(&root, b"a")?));

        let eager = FileCache::new(CacheLimits {
            valid: Duration::ZERO,
            ..CacheLimits::default()
        });
        let first = eager.find(&root, b"a")?;
        assert!(Arc::ptr_eq(&first, &eager.find(&root, b"a")?));
        fs::write(&path, "two")?;
        let second = eager.find(&root, b"a")?;
        assert_eq!(content(&second).as_deref(), Some("two"));
        assert_ne!(first.etag, second.etag);
        fs::remove_file(&path)?;
        assert!(eager.find(&root, b"a").is_err());
        assert_eq!(eager.usage(), (0, 0));
        Ok(())
    }

    #[test]
    fn the_bounds_hold_and_used_files_stay() -> io::Result<()> {
        let directory = tempfile::tempdir()?;
        let root = Root::open(directory.path(), Symlinks::Inside)?;
        let cache = FileCache::new(CacheLimits {
            entries: 4 * SHARDS,
            bytes: 100 * SHARDS as u64,
            file: 50,
            valid: Duration::from_secs(100),
        });
        let name = |index: usize| format!("f{index}");
        for index in 0..500 {
            fs::write(directory.path().join(name(index)), [b'x'; 30])?;
        }
        let hot = cache.find(&root, b"f0")?;
        for index in 1..500 {
            cache.find(&root, name(index).as_bytes())?;
            assert!(Arc::ptr_eq(&hot, &cache.find(&root, b"f0")?), "{index}");
            let (entries, bytes) = cache.usage();
            assert!(entries <= 4 * SHARDS && bytes <= 100 * SHARDS as u64);
        }
        fs::write(directory.path().join("large"), [b'x'; 51])?;
        let large = cache.find(&root, b"large")?;
        assert!(matches!(large.kind, Kind::File(Content::Descriptor(_))));
        Ok(())
    }
}

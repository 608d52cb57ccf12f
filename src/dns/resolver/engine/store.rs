//! A bounded table that many threads read: sharded, limited in bytes, with a clock hand that takes
//! first what nobody has used since it last came by.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use crate::wire::name::NameRef;

/// What can be kept: it knows its own key and size.
pub(crate) trait Kept: Send + Sync {
    /// True if this is what is looked for.
    fn is(&self, name: NameRef<'_>, kind: u32) -> bool;
    /// Octets it takes, roughly.
    fn size(&self) -> usize;
}

/// Octets that the table itself needs for an entry.
const OVERHEAD: usize = 64;
const SHARDS: usize = 64;

/// Hashes are made with a key nobody knows, and are not hashed again.
#[derive(Default)]
struct Same(u64);

impl Hasher for Same {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {}

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

/// Found by one look into the table: what a reader needs lies where the hash leads.
struct Slot<V> {
    value: Arc<V>,
    size: usize,
    /// Its place on the clock.
    at: usize,
    used: AtomicBool,
}

struct Shard<V> {
    index: HashMap<u64, Slot<V>, BuildHasherDefault<Same>>,
    /// The hashes of all that is kept, for the hand to go round.
    clock: Vec<u64>,
    hand: usize,
    size: usize,
}

/// The table.
pub(crate) struct Store<V> {
    shards: Box<[RwLock<Shard<V>>]>,
    hasher: RandomState,
    /// Octets that a shard may hold.
    limit: usize,
}

impl<V: Kept> Store<V> {
    /// A table of at most so many octets.
    pub(crate) fn new(limit: usize) -> Store<V> {
        let shard = || {
            RwLock::new(Shard {
                index: HashMap::default(),
                clock: Vec::new(),
                hand: 0,
                size: 0,
            })
        };
        Store {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            limit: limit / SHARDS,
        }
    }

    fn hash(&self, name: NameRef<'_>, kind: u32) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        let mut lower = [0u8; 256];
        let wire = name.wire();
        if let Some(lower) = lower.get_mut(..wire.len()) {
            lower.copy_from_slice(wire);
            lower.make_ascii_lowercase();
            hasher.write(lower);
        }
        hasher.write_u32(kind);
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> Option<&RwLock<Shard<V>>> {
        self.shards.get((hash >> 58) as usize % SHARDS)
    }

    /// What is kept under a key.
    pub(crate) fn get(&self, name: NameRef<'_>, kind: u32) -> Option<Arc<V>> {
        let hash = self.hash(name, kind);
        let shard = self
            .shard(hash)?
            .read()
            .unwrap_or_else(PoisonError::into_inner);
        let slot = shard.index.get(&hash)?;
        if !slot.value.is(name, kind) {
            return None;
        }
        // Written only where it changes: a line of memory that is only read stays in every cache.
        if !slot.used.load(Ordering::Relaxed) {
            slot.used.store(true, Ordering::Relaxed);
        }
        Some(slot.value.clone())
    }

    /// Keeps a value in place of what had its key.
    pub(crate) fn put(&self, name: NameRef<'_>, kind: u32, value: Arc<V>) {
        let hash = self.hash(name, kind);
        let Some(shard) = self.shard(hash) else {
            return;
        };
        let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
        let size = value.size() + OVERHEAD;
        if size > self.limit {
            return;
        }
        shard.remove(hash);
        while shard.size + size > self.limit && shard.evict() {}
        shard.size += size;
        let slot = Slot {
            value,
            size,
            at: shard.clock.len(),
            used: AtomicBool::new(false),
        };
        shard.clock.push(hash);
        shard.index.insert(hash, slot);
    }

    /// Drops what is not to be kept; gives how many that were.
    pub(crate) fn retain(&self, mut keep: impl FnMut(&V) -> bool) -> usize {
        let mut dropped = 0;
        for shard in &self.shards {
            let mut shard = shard.write().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<u64> = shard
                .index
                .iter()
                .filter(|(_, slot)| !keep(&slot.value))
                .map(|(hash, _)| *hash)
                .collect();
            dropped += gone.len();
            gone.into_iter().for_each(|hash| shard.remove(hash));
        }
        dropped
    }

    /// Everything that a test passes, at most `limit` of it.
    pub(crate) fn select(&self, limit: usize, mut test: impl FnMut(&V) -> bool) -> Vec<Arc<V>> {
        let mut found = Vec::new();
        for shard in &self.shards {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            let matching = shard.index.values().filter(|slot| test(&slot.value));
            found.extend(matching.map(|slot| slot.value.clone()));
            if found.len() >= limit {
                break;
            }
        }
        found.truncate(limit);
        found
    }

    /// Entries, and octets they take.
    pub(crate) fn usage(&self) -> (usize, usize) {
        self.shards.iter().fold((0, 0), |(entries, octets), shard| {
            let shard = shard.read().unwrap_or_else(PoisonError::into_inner);
            (entries + shard.index.len(), octets + shard.size)
        })
    }
}

impl<V> Shard<V> {
    fn remove(&mut self, hash: u64) {
        let Some(slot) = self.index.remove(&hash) else {
            return;
        };
        self.size -= slot.size;
        if slot.at < self.clock.len() {
            self.clock.swap_remove(slot.at);
        }
        // The last has taken its place.
        let moved = self.clock.get(slot.at);
        if let Some(moved) = moved.and_then(|moved| self.index.get_mut(moved)) {
            moved.at = slot.at;
        }
    }

    /// Takes out one entry that has not been used since the hand last came by. False if the shard
    /// is empty.
    fn evict(&mut self) -> bool {
        // Twice round: the first turn takes the marks away.
        for _ in 0..2 * self.clock.len() {
            self.hand = (self.hand + 1) % self.clock.len().max(1);
            let Some(hash) = self.clock.get(self.hand).copied() else {
                continue;
            };
            let used = self.index.get(&hash).map(|slot| &slot.used);
            if used.is_none_or(|used| !used.swap(false, Ordering::Relaxed)) {
                self.remove(hash);
                return true;
            }
        }
        false
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;
    use crate::wire::name::Name;

    struct Item(Name, usize);

    impl Kept for Item {
        fn is(&self, name: NameRef<'_>, _: u32) -> bool {
            self.0.as_ref() == name
        }

        fn size(&self) -> usize {
            self.1
        }
    }

    fn name(number: usize) -> Name {
        Name::from_text(&format!("n{number}.Example")).unwrap()
    }

    #[test]
    fn bounded_and_what_is_used_stays() {
        let limit = 64 * 20 * (100 + OVERHEAD);
        let store = Store::new(limit);
        let favourite = name(0);
        store.put(
            favourite.as_ref(),
            1,
            Arc::new(Item(favourite.clone(), 100)),
        );
        for number in 1..20_000 {
            let name = name(number);
            store.put(name.as_ref(), 1, Arc::new(Item(name.clone(), 100)));
            let upper = Name::from_text("N0.EXAMPLE").unwrap();
            assert!(store.get(upper.as_ref(), 1).is_some(), "{number}");
        }
        let (entries, octets) = store.usage();
        assert!(octets <= limit && entries > 900, "{entries} {octets}");
        assert!(store.get(favourite.as_ref(), 2).is_none());
        assert_eq!(store.retain(|item| item.0 == favourite), entries - 1);
        assert_eq!(store.usage().0, 1);
        assert_eq!(store.retain(|_| false), 1);
        assert_eq!(store.usage(), (0, 0));
        // What is larger than a shard is not kept, and drives nothing out.
        store.put(
            favourite.as_ref(),
            1,
            Arc::new(Item(favourite.clone(), limit)),
        );
        assert_eq!(store.usage(), (0, 0));
    }
}

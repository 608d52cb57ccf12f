//! HA1s, kept for a few seconds: a phone's registration asks for the same one again and again.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use omnid_identity::DigestAlgorithm;

const SHARDS: usize = 16;
const REMEMBERED: usize = 4096;
/// How long a changed password may still be the old one.
const LIFE: Duration = Duration::from_secs(5);

type Key = (String, String, DigestAlgorithm);

/// A small cache. Names that are nobody's are kept alike, so that they are answered as fast.
pub(super) struct Secrets {
    shards: [Mutex<HashMap<Key, (Option<Box<[u8]>>, Instant)>>; SHARDS],
    hasher: RandomState,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            hasher: RandomState::new(),
        }
    }
}

impl Secrets {
    /// A HA1 (or that there is none), if it is known.
    #[must_use]
    pub(super) fn get(
        &self,
        username: &str,
        realm: &str,
        algorithm: DigestAlgorithm,
        now: Instant,
    ) -> Option<Option<Box<[u8]>>> {
        let key = (username.to_owned(), realm.to_owned(), algorithm);
        let shard = self.shard(&key);
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let (ha1, until) = shard.get(&key)?;
        (*until > now).then(|| ha1.clone())
    }

    /// Keeps one.
    pub(super) fn put(
        &self,
        username: &str,
        realm: &str,
        algorithm: DigestAlgorithm,
        ha1: Option<Box<[u8]>>,
        now: Instant,
    ) {
        let key = (username.to_owned(), realm.to_owned(), algorithm);
        let shard = self.shard(&key);
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        if shard.len() >= REMEMBERED {
            shard.retain(|_, (_, until)| *until > now);
            if shard.len() >= REMEMBERED {
                shard.clear();
            }
        }
        shard.insert(key, (ha1, now + LIFE));
    }

    fn shard(&self, key: &Key) -> &Mutex<HashMap<Key, (Option<Box<[u8]>>, Instant)>> {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

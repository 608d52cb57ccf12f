//! HA1s that were asked for lately: a phone's registration asks for the same one again and again.
//!
//! Whoever has guessed wrong is not answered from here for a while, nor is anybody who uses the name
//! that was guessed at: they have to go past those who count failures.

use std::{
    collections::HashMap,
    hash::{BuildHasher, Hash, RandomState},
    net::IpAddr,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use omnid_identity::DigestAlgorithm;
use omnid_net::subnet_key;

const SHARDS: usize = 16;
/// Per shard.
const REMEMBERED: usize = 4096;
/// Changes of passwords are heard of at once; should one be missed, it is for so long.
const LIFE: Duration = Duration::from_secs(600);
const DISTRUST: Duration = Duration::from_secs(600);
/// Names and sources that are distrusted; with more of them, all are.
const DISTRUSTED: usize = 10_000;

type Key = (String, String, DigestAlgorithm);
type Shard = Mutex<HashMap<Key, (Option<Box<[u8]>>, Instant)>>;

/// A small cache. Names that are nobody's are kept alike, so that they are answered as fast.
pub(crate) struct Secrets {
    shards: [Shard; SHARDS],
    names: Mutex<HashMap<String, Instant>>,
    sources: Mutex<HashMap<IpAddr, Instant>>,
    hasher: RandomState,
}

impl Default for Secrets {
    fn default() -> Self {
        Self {
            shards: std::array::from_fn(|_| Mutex::default()),
            names: Mutex::default(),
            sources: Mutex::default(),
            hasher: RandomState::new(),
        }
    }
}

impl Secrets {
    /// A HA1 (or that there is none), if it is known and the one who asks is trusted.
    #[must_use]
    pub(crate) fn get(
        &self,
        username: &str,
        realm: &str,
        algorithm: DigestAlgorithm,
        source: IpAddr,
        now: Instant,
    ) -> Option<Option<Box<[u8]>>> {
        if is_distrusted(&self.sources, &subnet_key(source), now)
            || is_distrusted(&self.names, username, now)
        {
            return None;
        }
        let key = (username.to_owned(), realm.to_owned(), algorithm);
        let shard = self.shard(&key);
        let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        let (ha1, until) = shard.get(&key)?;
        (*until > now).then(|| ha1.clone())
    }

    /// Keeps one.
    pub(crate) fn put(
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

    /// Somebody there guessed at that name's password.
    pub(crate) fn distrust(&self, username: &str, source: IpAddr, now: Instant) {
        distrust(&self.names, username.to_owned(), now);
        distrust(&self.sources, subnet_key(source), now);
    }

    /// Forgets all HA1s.
    pub(crate) fn forget(&self) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).clear();
        }
    }

    fn shard(&self, key: &Key) -> &Shard {
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

fn is_distrusted<K, Q>(distrusted: &Mutex<HashMap<K, Instant>>, who: &Q, now: Instant) -> bool
where
    K: Hash + Eq + std::borrow::Borrow<Q>,
    Q: Hash + Eq + ?Sized,
{
    let distrusted = distrusted.lock().unwrap_or_else(PoisonError::into_inner);
    distrusted.len() >= DISTRUSTED || distrusted.get(who).is_some_and(|until| *until > now)
}

fn distrust<K: Hash + Eq>(distrusted: &Mutex<HashMap<K, Instant>>, who: K, now: Instant) {
    let mut distrusted = distrusted.lock().unwrap_or_else(PoisonError::into_inner);
    if distrusted.len() >= DISTRUSTED {
        distrusted.retain(|_, until| *until > now);
    }
    if distrusted.len() < DISTRUSTED {
        distrusted.insert(who, now + DISTRUST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_guesses_is_not_answered_from_memory() {
        let secrets = Secrets::default();
        let now = Instant::now();
        let here = IpAddr::from([192, 0, 2, 1]);
        let there = IpAddr::from([192, 0, 2, 2]);
        let get = |name, source, now| secrets.get(name, "realm", DigestAlgorithm::Md5, source, now);
        for name in ["alice", "bob"] {
            secrets.put(
                name,
                "realm",
                DigestAlgorithm::Md5,
                Some(b"ha1"[..].into()),
                now,
            );
            assert!(get(name, here, now).is_some());
        }
        secrets.distrust("alice", here, now);
        assert!(get("alice", there, now).is_none(), "the name is guessed at");
        assert!(get("bob", here, now).is_none(), "by somebody there");
        assert!(get("bob", there, now).is_some());
        secrets.forget();
        assert!(get("bob", there, now).is_none());
    }
}

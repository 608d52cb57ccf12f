//! The accounts that are in use, by bare address.

use std::{
    collections::HashMap,
    hash::{BuildHasher, RandomState},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use crate::{engine::account::Account, wire::BareJid};

/// Shards: more than there are cores, so that two rarely meet.
const SHARDS: usize = 64;

/// One account, and the turn to change what it keeps.
pub(crate) struct Cell {
    live: Mutex<Account>,
    /// Held from looking at the roster until a change of it is written and made.
    pub(crate) changing: tokio::sync::Mutex<()>,
    /// Kept messages are being handed over.
    pub(crate) handing_over: AtomicBool,
    /// Somebody asked for it since the last sweep.
    used: AtomicBool,
}

impl Cell {
    pub(crate) fn live(&self) -> MutexGuard<'_, Account> {
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A sharded table.
pub(crate) struct Accounts {
    hasher: RandomState,
    shards: Vec<Mutex<HashMap<BareJid, Arc<Cell>>>>,
}

impl Accounts {
    pub(crate) fn new() -> Accounts {
        let shards = (0..SHARDS).map(|_| Mutex::default()).collect();
        Accounts {
            hasher: RandomState::new(),
            shards,
        }
    }

    fn shard(&self, bare: &str) -> Option<MutexGuard<'_, HashMap<BareJid, Arc<Cell>>>> {
        let hash = self.hasher.hash_one(bare);
        let shard = self
            .shards
            .get(usize::try_from(hash % SHARDS as u64).unwrap_or_default())?;
        Some(shard.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// The account, if it is in use.
    pub(crate) fn get(&self, bare: &str) -> Option<Arc<Cell>> {
        let cell = self.shard(bare)?.get(bare).cloned()?;
        cell.used.store(true, Ordering::Relaxed);
        Some(cell)
    }

    /// Puts in an account that was loaded, unless somebody else has meanwhile.
    pub(crate) fn insert(&self, account: Account) -> Arc<Cell> {
        let jid = account.jid().clone();
        let make = || {
            Arc::new(Cell {
                live: Mutex::new(account),
                changing: tokio::sync::Mutex::default(),
                handing_over: AtomicBool::new(false),
                used: AtomicBool::new(true),
            })
        };
        match self.shard(jid.as_str()) {
            Some(mut shard) => shard.entry(jid).or_insert_with(make).clone(),
            None => make(),
        }
    }

    /// Lets go of accounts that have no sessions and that nobody has asked for since the last time.
    pub(crate) fn sweep(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            shard.retain(|_, cell| {
                // Nobody else holds it, and nobody can get it while the shard is locked.
                Arc::strong_count(cell) > 1
                    || cell.used.swap(false, Ordering::Relaxed)
                    || !cell.live().sessions().is_empty()
            });
            if shard.capacity() > 64 && shard.len() < shard.capacity() / 4 {
                shard.shrink_to_fit();
            }
        }
    }
}

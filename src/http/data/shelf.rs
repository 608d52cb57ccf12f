//! What outlives a reload: upstream connections, open roots, log files. Sites take from here what
//! they need; what no site needs any more goes with the last one that did.

use std::{
    collections::{BTreeMap, HashMap},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
};

use super::LogFiles;
use crate::{
    engine::rate::{RateLimits, RateTable},
    files::{Root, Symlinks},
    metrics::SiteMeter,
    proxy::{Pool, Protocol, Target},
};

/// Things kept by name.
#[derive(Debug, Default)]
pub struct Shelf {
    pools: Mutex<HashMap<(Target, Protocol), Weak<Pool>>>,
    roots: Mutex<HashMap<(PathBuf, Symlinks), Weak<Root>>>,
    meters: Mutex<BTreeMap<String, Arc<SiteMeter>>>,
    rates: Mutex<BTreeMap<String, Weak<RateTable>>>,
    /// Log files.
    pub logs: Arc<LogFiles>,
}

impl Shelf {
    /// The pool of connections to an upstream.
    pub fn pool(&self, target: Target, protocol: Protocol) -> Arc<Pool> {
        let mut pools = lock(&self.pools);
        pools.retain(|_, pool| pool.strong_count() > 0);
        let key = (target, protocol);
        if let Some(pool) = pools.get(&key).and_then(Weak::upgrade) {
            return pool;
        }
        let pool = Arc::new(Pool::new(key.0.clone(), protocol));
        pools.insert(key, Arc::downgrade(&pool));
        pool
    }

    /// A document root.
    ///
    /// # Errors
    /// Where it cannot be opened.
    pub fn root(&self, path: &Path, symlinks: Symlinks) -> io::Result<Arc<Root>> {
        let mut roots = lock(&self.roots);
        roots.retain(|_, root| root.strong_count() > 0);
        let key = (path.to_owned(), symlinks);
        if let Some(root) = roots.get(&key).and_then(Weak::upgrade) {
            return Ok(root);
        }
        let root = Arc::new(Root::open(path, symlinks)?);
        roots.insert(key, Arc::downgrade(&root));
        Ok(root)
    }

    /// A site's counters.
    pub fn meter(&self, site: &str) -> Arc<SiteMeter> {
        let mut meters = lock(&self.meters);
        if let Some(meter) = meters.get(site) {
            return meter.clone();
        }
        let meter = Arc::new(SiteMeter::new(site));
        meters.insert(site.to_owned(), meter.clone());
        meter
    }

    /// What clients have asked of a place, as long as its limits stay the same.
    pub fn rate(&self, place: String, limits: RateLimits) -> Arc<RateTable> {
        let mut rates = lock(&self.rates);
        rates.retain(|_, table| table.strong_count() > 0);
        if let Some(table) = rates.get(&place).and_then(Weak::upgrade)
            && table.limits() == limits
        {
            return table;
        }
        let table = Arc::new(RateTable::new(limits));
        rates.insert(place, Arc::downgrade(&table));
        table
    }

    /// Upstreams and their idle connections, for the status page.
    #[must_use]
    pub fn upstreams(&self) -> Vec<Arc<Pool>> {
        lock(&self.pools)
            .values()
            .filter_map(Weak::upgrade)
            .collect()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

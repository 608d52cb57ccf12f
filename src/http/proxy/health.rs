//! Asking upstreams how they are.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use http::{HeaderValue, Request, header};
use tokio::task::JoinSet;

use super::{Check, Pool, body::UploadBody};

/// How often it is looked whether a check is due.
const STEP: Duration = Duration::from_millis(100);
/// The same where there are none.
const IDLE_STEP: Duration = Duration::from_secs(1);

/// A check of one upstream.
#[derive(Debug, Clone)]
pub struct Checkup {
    pub(super) pool: Arc<Pool>,
    pub(super) authority: HeaderValue,
    pub(super) check: Check,
}

/// Makes the checks that `wanted` gives, each in its interval, until it is dropped.
pub async fn run(wanted: impl Fn() -> Vec<Checkup>) {
    let mut due: HashMap<usize, Instant> = HashMap::new();
    let mut running = JoinSet::new();
    loop {
        let wanted = wanted();
        // A pool is known by its place in memory while it is there.
        let known: HashSet<usize> = wanted.iter().map(Checkup::number).collect();
        due.retain(|number, _| known.contains(number));
        let now = Instant::now();
        for checkup in wanted {
            let next = due.entry(checkup.number()).or_insert(now);
            if *next <= now {
                *next = now + checkup.check.interval;
                running.spawn(checkup.make());
            }
        }
        while running.try_join_next().is_some() {}
        let step = if due.is_empty() { IDLE_STEP } else { STEP };
        tokio::time::sleep(step).await;
    }
}

impl Checkup {
    fn number(&self) -> usize {
        Arc::as_ptr(&self.pool).addr()
    }

    async fn make(self) {
        let asked = tokio::time::timeout(self.check.timeout, self.ask()).await;
        match asked {
            Ok(Ok(())) => self.pool.checked(true, ""),
            Ok(Err(reason)) => self.pool.checked(false, &reason),
            Err(_) => self.pool.checked(false, "no answer in time"),
        }
    }

    async fn ask(&self) -> Result<(), String> {
        let mut link = self
            .pool
            .open(self.check.timeout, &[])
            .await
            .map_err(|error| error.to_string())?;
        let request = Request::get(self.check.path.as_str())
            .header(header::HOST, self.authority.clone())
            .header(header::CONNECTION, "close")
            .header(header::USER_AGENT, "omnid")
            .body(UploadBody::empty())
            .map_err(|error| error.to_string())?;
        let patience = tokio::time::sleep(self.check.timeout);
        match link.send(request, patience).await {
            Some(Ok(response)) if response.status().as_u16() / 100 < 4 => Ok(()),
            Some(Ok(response)) => Err(format!("it answers {}", response.status().as_u16())),
            Some(Err(error)) => Err(error.error.to_string()),
            None => Err("no answer in time".to_owned()),
        }
    }
}

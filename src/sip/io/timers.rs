//! One task for all timers of all transactions.

use std::{sync::Arc, time::Duration};

use omnid_supervisor::{Child, ChildResult};
use tokio::time::{MissedTickBehavior, sleep_until};

use super::core::Core;

/// How often a part of what lasts long is looked through.
const SWEEP: Duration = Duration::from_millis(500);

/// Wakes engines in time.
pub(crate) async fn run_timers(core: Arc<Core>, child: Child) -> ChildResult {
    let mut sweeps = tokio::time::interval(SWEEP);
    sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut part = 0_usize;
    child.ready();
    loop {
        let next = core.expire();
        let due = async {
            match next {
                Some(next) => sleep_until(next.into()).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {}
            () = core.sooner.notified() => {}
            _ = sweeps.tick() => {
                part = part.wrapping_add(1);
                core.sweep(part);
            }
            // The last to go: until then somebody may wait for an answer.
            () = child.draining() => return Ok(()),
        }
    }
}

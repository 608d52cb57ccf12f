//! The systemd watchdog: a child of the tree, so that a tree that no longer turns is noticed.

use omnid_net::systemd::Notify;
use omnid_supervisor::{Child, ChildSpec};

/// Pings at half the interval that systemd asks for; only waits where it asks for none.
pub(super) fn child(notify: &Notify) -> ChildSpec {
    let notify = notify.clone();
    ChildSpec::worker("watchdog", move |child: Child| {
        let notify = notify.clone();
        async move {
            child.ready();
            let Some(interval) = notify.watchdog_interval() else {
                child.draining().await;
                return Ok(());
            };
            let mut ticks = tokio::time::interval(interval / 2);
            loop {
                tokio::select! {
                    _ = ticks.tick() => notify.watchdog(),
                    () = child.draining() => return Ok(()),
                }
            }
        }
    })
}

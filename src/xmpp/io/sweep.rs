//! What looks after all sessions: one task instead of a timer in each.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use omnid_supervisor::{Child, ChildResult};

use super::{outbox::Fate, server::Server};
use crate::{
    engine::account::Outlet,
    wire::{StreamCondition, StreamError},
};

/// How often.
const EVERY: Duration = Duration::from_secs(5);
/// Sweeps between two looks at accounts that nobody uses.
const ACCOUNTS_EVERY: u32 = 12;

/// Runs the sessions' tasks and sweeps, until the service drains: then every stream is closed with
/// the reason.
pub(crate) async fn run(server: Arc<Server>, child: Child) -> ChildResult {
    server.runner.store(Arc::new(Some(child.clone())));
    child.ready();
    let mut round: u32 = 0;
    loop {
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            () = child.draining() => break,
        }
        sweep(&server, &child).await;
        round = round.wrapping_add(1);
        if round.is_multiple_of(ACCOUNTS_EVERY) {
            server.accounts.sweep();
        }
    }
    for session in server.each_session() {
        session
            .outbox
            .close(StreamError::from(StreamCondition::SystemShutdown));
    }
    Ok(())
}

async fn sweep(server: &Arc<Server>, child: &Child) {
    let (now, patience) = (Instant::now(), server.settings.load().patience());
    let sessions = server.each_session();
    child.load(sessions.len() as u64);
    for session in sessions {
        if session.outbox.tend(now, &patience) == Fate::Over {
            // A task that still runs finds that the session is gone.
            server.leave(session).await;
        }
    }
}

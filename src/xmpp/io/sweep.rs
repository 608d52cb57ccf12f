//! What looks after all sessions: one task instead of a timer in each.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use omnid_supervisor::{Child, ChildResult};
use omnid_telemetry::limited;

use super::{
    outbox::Fate,
    server::{Resumable, Server},
    upload,
};
use crate::{
    data,
    engine::account::Outlet,
    features::last::stored,
    wire::{StreamCondition, StreamError, time},
};

/// How often.
const EVERY: Duration = Duration::from_secs(5);
/// Sweeps between two looks at accounts that nobody uses.
const ACCOUNTS_EVERY: u32 = 12;
/// Sessions of one account that may wait to be resumed.
const ASLEEP: usize = 10;
/// Archived messages that are deleted in one go.
const EXPIRED_AT_ONCE: u32 = 5000;

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
            server.rooms.sweep();
            expire(&server).await;
        }
    }
    for session in server.each_session() {
        session
            .outbox
            .close(StreamError::from(StreamCondition::SystemShutdown));
    }
    Ok(())
}

/// Deletes what has been in archives long enough; a bounded number, so that others can write too.
async fn expire(server: &Server) {
    let keep = server.settings.load().config.archive.keep;
    let Some(before) = SystemTime::now().checked_sub(keep) else {
        return;
    };
    let before = time::micros(before);
    let gone = server
        .ground
        .database
        .write(move |tx| data::archive::expire(tx, before, EXPIRED_AT_ONCE))
        .await;
    let now = stored(SystemTime::now());
    let tokens = server
        .ground
        .database
        .write(move |tx| data::tokens::expire(tx, now));
    let tokens = tokens.await;
    let before = now.saturating_sub(server.settings.load().config.upload.keep.as_secs());
    let unused = now.saturating_sub(upload::WAIT.as_secs());
    let files = server
        .ground
        .database
        .write(move |tx| data::upload::expire(tx, before, unused, EXPIRED_AT_ONCE))
        .await;
    if let Err(error) = gone.map(|_| ()).and(files).and(tokens) {
        limited!(Duration::from_secs(60), error, "old messages, files and tokens were not deleted", %error);
    }
}

async fn sweep(server: &Arc<Server>, child: &Child) {
    let settings = server.settings.load_full();
    let (now, patience) = (Instant::now(), settings.patience());
    let sessions = server.each_session();
    child.load(sessions.len() as u64);
    let mut asleep = Vec::new();
    for session in sessions {
        match session.outbox.tend(now, &patience) {
            Fate::Over => {
                // A task that still runs finds that the session is gone.
                server.leave(session).await;
            }
            Fate::Asleep(since) => asleep.push((since, session)),
            Fate::Awake => {}
        }
    }
    let budget = settings.config.resume_memory.as_usize();
    for session in surplus(asleep, budget) {
        server.leave(session).await;
    }
}

/// The sessions without a connection that are too many for their account, or hold more than all
/// together may: those that have been gone longest.
fn surplus(mut asleep: Vec<(Instant, Resumable)>, budget: usize) -> Vec<Resumable> {
    asleep.sort_by_key(|(since, _)| std::cmp::Reverse(*since));
    let (mut bytes, mut of_account) = (0_usize, HashMap::<String, usize>::new());
    let mut gone = Vec::new();
    for (_, session) in asleep {
        bytes = bytes.saturating_add(session.outbox.unacknowledged());
        let account = session.outbox.facts.jid.bare_str().to_owned();
        let count = of_account.entry(account).or_default();
        *count += 1;
        if bytes > budget || *count > ASLEEP {
            gone.push(session);
        }
    }
    gone
}

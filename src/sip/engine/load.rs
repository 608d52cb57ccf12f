//! How many calls each account is in, over all engines.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::CallEvent;

/// Accounts that are in calls.
#[derive(Debug, Default)]
pub(super) struct Load {
    calls: Mutex<HashMap<String, usize>>,
}

impl Load {
    /// How many calls an account is in: those that it has placed, and those that it has taken.
    pub(super) fn of(&self, account: &str) -> usize {
        self.calls().get(account).copied().unwrap_or(0)
    }

    /// Something became known of a call.
    pub(super) fn note(&self, event: &CallEvent) {
        match event {
            CallEvent::Started { from, .. } => self.more(from),
            CallEvent::Answered { by, .. } => by.iter().for_each(|by| self.more(by)),
            CallEvent::Ended { from, by, .. } => {
                self.less(from);
                by.iter().for_each(|by| self.less(by));
            }
        }
    }

    fn more(&self, account: &str) {
        *self.calls().entry(account.to_owned()).or_default() += 1;
    }

    fn less(&self, account: &str) {
        let mut calls = self.calls();
        if let Some(count) = calls.get_mut(account) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                calls.remove(account);
            }
        }
    }

    fn calls(&self) -> MutexGuard<'_, HashMap<String, usize>> {
        self.calls.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

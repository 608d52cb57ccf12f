//! What is known of trunks, over all engines: where their servers are, which of them answer, and
//! whether we are registered there.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::{Mutex, MutexGuard, PoisonError},
};

use super::{Flow, Settings};

/// All of them, by name.
#[derive(Debug, Default)]
pub struct Trunks {
    states: Mutex<HashMap<String, TrunkState>>,
}

/// What is known of one.
#[derive(Debug, Clone, Default)]
pub struct TrunkState {
    /// How its servers are reached, the one to be preferred first, and whether each has answered
    /// when it was last asked.
    pub servers: Vec<(Flow, bool)>,
    /// What became of the last registration.
    pub registration: Registration,
}

/// What became of a registration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Registration {
    /// None is wanted, or none was tried yet.
    #[default]
    None,
    /// It holds until then, in Unix seconds.
    Until(u64),
    /// It was refused with this status; 408 where nobody answered.
    Failed(u16),
}

impl Trunks {
    /// Where a trunk's servers are, as far as that is known.
    pub fn set_servers(&self, name: &str, flows: Vec<Flow>) {
        let mut states = self.states();
        let state = states.entry(name.to_owned()).or_default();
        let before = std::mem::take(&mut state.servers);
        let up = |flow: &Flow| {
            let known = before.iter().find(|(known, _)| known.remote == flow.remote);
            known.is_none_or(|(_, up)| *up)
        };
        state.servers = flows.into_iter().map(|flow| (flow, up(&flow))).collect();
    }

    /// Forgets trunks that are no more.
    pub fn retain(&self, names: &[&str]) {
        self.states()
            .retain(|name, _| names.contains(&name.as_str()));
    }

    /// What is known of a trunk.
    #[must_use]
    pub fn state(&self, name: &str) -> TrunkState {
        self.states().get(name).cloned().unwrap_or_default()
    }

    /// Its servers, those that answer first.
    pub(super) fn servers(&self, name: &str) -> Vec<Flow> {
        let state = self.state(name);
        let (up, down): (Vec<_>, Vec<_>) = state.servers.into_iter().partition(|(_, up)| *up);
        up.into_iter().chain(down).map(|(flow, _)| flow).collect()
    }

    /// Notes whether a server has answered; true where that is news.
    pub(super) fn set_up(&self, name: &str, remote: SocketAddr, up: bool) -> bool {
        let mut states = self.states();
        let servers = states.get_mut(name).map(|state| &mut state.servers);
        let server =
            servers.and_then(|servers| servers.iter_mut().find(|(flow, _)| flow.remote == remote));
        match server {
            Some((_, known)) if *known != up => {
                *known = up;
                true
            }
            _ => false,
        }
    }

    pub(super) fn set_registration(&self, name: &str, registration: Registration) {
        if let Some(state) = self.states().get_mut(name) {
            state.registration = registration;
        }
    }

    /// The trunks whose calls come from an address.
    pub(super) fn from<'a>(
        &'a self,
        source: IpAddr,
        settings: &'a Settings,
    ) -> impl Iterator<Item = usize> + 'a {
        settings
            .trunks
            .iter()
            .enumerate()
            .filter_map(move |(index, trunk)| {
                let named = trunk.addresses.iter().any(|net| net.contains(source));
                let states = self.states();
                let servers = states.get(&trunk.name).map(|state| &state.servers);
                let is_server = |(flow, _): &(Flow, bool)| flow.remote.ip() == source;
                (named || servers.is_some_and(|servers| servers.iter().any(is_server)))
                    .then_some(index)
            })
    }

    fn states(&self) -> MutexGuard<'_, HashMap<String, TrunkState>> {
        self.states.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

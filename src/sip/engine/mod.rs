//! Decisions: what becomes of a message, under a clock that is given. No sockets, no tasks.
//!
//! [`Engine`] holds the transactions, forks and calls of some of the calls (by Call-ID, so that all
//! messages of one call meet); [`Shared`] is what all engines have in common. An engine is told of
//! one thing at a time, in a [`Turn`], and leaves there what is to be done about it.

mod admit;
mod agent;
mod arena;
mod authenticate;
mod calls;
mod client_digest;
mod core;
mod dialect;
mod dialog;
mod digest;
mod flow;
mod forward;
mod limits;
mod load;
mod location;
mod nonce;
mod passing;
mod place;
mod proxy;
mod registrar;
mod reply;
mod route;
mod secrets;
mod settings;
mod table;
pub mod transaction;
mod trunks;
mod unwritten;
mod wheel;

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use bytes::Bytes;
use omnid_identity::{Address, DigestAlgorithm};

pub use self::{
    arena::Key,
    calls::{Call, CallEvent},
    core::Engine,
    flow::{Destination, Flow},
    location::{Binding, Location},
    settings::{RegistrarPolicy, Settings},
    transaction::Timers,
    trunks::{Registration, TrunkState, Trunks},
};
use self::{
    dialect::Dialects, limits::Limiter, load::Load, nonce::Nonces, route::Routes, secrets::Secrets,
};

/// Accounts by the domain and number of their extensions.
pub type Extensions = HashMap<(String, String), Address>;

/// What all engines have in common.
pub struct Shared {
    /// Where users are.
    pub location: Location,
    nonces: Nonces,
    routes: Routes,
    limiter: Limiter,
    secrets: Secrets,
    dialects: Dialects,
    load: Load,
    /// Where trunks are.
    pub trunks: Trunks,
    extensions: ArcSwap<Extensions>,
}

impl Shared {
    /// `key` must not be guessed, and should outlive a restart, or calls do not; `serial` must not
    /// have been used with it before.
    #[must_use]
    pub fn new(key: &[u8], serial: u64) -> Self {
        Self {
            location: Location::default(),
            nonces: Nonces::new(&[key, b"nonce"].concat(), serial),
            routes: Routes::new(&[key, b"route"].concat()),
            limiter: Limiter::default(),
            secrets: Secrets::default(),
            dialects: Dialects::default(),
            load: Load::default(),
            trunks: Trunks::default(),
            extensions: ArcSwap::default(),
        }
    }

    /// Which account each extension rings, by domain and number.
    pub fn set_extensions(&self, extensions: Extensions) {
        self.extensions.store(Arc::new(extensions));
    }

    /// Which account each extension rings.
    #[must_use]
    pub fn extensions(&self) -> Arc<Extensions> {
        self.extensions.load_full()
    }

    /// How many calls an account is in.
    #[must_use]
    pub fn calls_of(&self, account: &Address) -> usize {
        self.load.of(account.as_str())
    }

    /// Forgets what is known of passwords: one was changed.
    pub fn forget_secrets(&self) {
        self.secrets.forget();
    }
}

/// One thing that happened: when, and what is to be done about it.
pub struct Turn<'a> {
    /// What all engines have in common.
    pub shared: &'a Shared,
    /// The settings in force.
    pub settings: &'a Settings,
    /// The time, for timers …
    pub now: Instant,
    /// … and in Unix seconds, for what is written down.
    pub unix: u64,
    /// Whether a script wants to see requests.
    pub scripted: bool,
    /// Whether where it happened is being closed, and no new calls are let in there.
    pub draining: bool,
    /// Which connections are still there.
    pub alive: &'a dyn Fn(&Flow) -> bool,
    /// What is to be done.
    pub actions: Vec<Action>,
}

impl Turn<'_> {
    /// Takes note of what became known of a call.
    fn note(&mut self, event: Option<CallEvent>) {
        if let Some(event) = event {
            self.shared.load.note(&event);
            self.actions.push(Action::Call(event));
        }
    }
}

/// What is to be done.
#[derive(Debug)]
pub enum Action {
    /// Send this. If it cannot be sent, tell the engine of the transaction.
    Send {
        /// Where to.
        to: Destination,
        /// The message.
        bytes: Bytes,
        /// Whose it is.
        transaction: Option<Key>,
    },
    /// Find something out, and tell the engine with this ticket.
    Ask(Key, Question),
    /// Something became known of a call.
    Call(CallEvent),
    /// A login succeeded, or failed for whoever goes by that name.
    Login {
        /// The name.
        name: String,
        /// Where from.
        source: IpAddr,
        /// Whether it succeeded.
        succeeded: bool,
    },
}

/// What an engine has to be told before it can decide.
#[derive(Debug, Clone)]
pub enum Question {
    /// Somebody's HA1.
    Secret {
        /// The user's name, as it was given.
        username: String,
        /// The realm.
        realm: String,
        /// The hash.
        algorithm: DigestAlgorithm,
        /// Who asks.
        source: IpAddr,
    },
    /// Whom an address reaches: an account, by its name, an alias or an extension.
    Account(Address),
    /// When all changes of registrations up to this place are written down.
    Written(u64),
    /// What a script makes of a request.
    Script {
        /// The method.
        method: String,
        /// From's URI.
        from: String,
        /// To's URI.
        to: String,
        /// The request's URI.
        uri: String,
        /// Where it came from.
        source: IpAddr,
        /// Whose it is.
        user: Option<String>,
    },
}

/// The answer to a [`Question`].
#[derive(Debug, Clone)]
pub enum Fact {
    /// A HA1 in hexadecimal, or that there is none.
    Secret(Option<Box<[u8]>>),
    /// Nobody from there, or of that name, may log in for so long.
    Refused(Duration),
    /// The account, if there is one.
    Account(Option<Address>),
    /// They are.
    Written,
    /// What the script decided.
    Script(Decision),
    /// It could not be found out.
    Unknown,
}

/// What a script decided about a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing.
    Continue,
    /// To refuse it.
    Refuse(u16, String),
    /// To send it to another URI.
    Redirect(String),
}

#[cfg(test)]
mod tests;

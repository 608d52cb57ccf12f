//! What the server does beside routing: one folder a feature.
//!
//! A [`Feature`] declares what it is: its specification, what it adds to disco and to the stream's
//! features, the requests it answers. It can be switched off by its name, and lists of what is
//! supported are made from the declarations. Its handlers decide and return a [`Reply`]; one place
//! carries replies out.

pub mod bind2;
pub mod blocking;
pub mod bosh;
pub mod carbons;
pub mod csi;
pub mod disco;
pub mod fast;
pub mod last;
pub mod mam;
pub mod pep;
pub mod ping;
pub mod private;
pub mod rooms;
pub mod roster;
pub mod sasl2;
pub mod session;
pub mod sm;
pub mod time;
pub mod upload;
pub mod vcard;
pub mod version;
pub mod websocket;

use std::{
    collections::{BTreeMap, HashSet},
    time::{Duration, SystemTime},
};

use omnid_store::{Reader, StoreError, Transaction};

use crate::{
    Config,
    engine::{
        account::{Account, SessionId},
        wish::{Plan, Wishes},
    },
    wire::{Condition, Element, Jid, Stanza, StanzaError},
};

/// Something that the server can do.
pub struct Feature {
    /// Its name in `xmpp.disable`.
    pub name: &'static str,
    /// What specifies it.
    pub spec: Spec,
    /// What else it does the server's part of.
    pub more: &'static [Spec],
    /// What the server's disco says of it.
    pub server: &'static [&'static str],
    /// What an account's disco says of it.
    pub account: &'static [&'static str],
    /// What an account's disco says that it is: category and type.
    pub identities: &'static [(&'static str, &'static str)],
    /// Features of the stream for clients that are logged in.
    pub stream: fn() -> Vec<Element>,
    /// The requests it answers.
    pub handlers: &'static [Handler],
}

/// A specification and how much of it is done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spec {
    /// An RFC.
    Rfc(u16),
    /// An XMPP extension: its number and the version that this follows.
    Xep(u16, &'static str),
}

/// What is part of streams and of routing, and can't be switched off.
pub const CORE: &[Spec] = &[
    Spec::Rfc(6120),
    Spec::Rfc(6121),
    Spec::Rfc(7590),
    Spec::Xep(4, "2.13.1"),
    Spec::Xep(82, "1.1.1"),
    Spec::Xep(114, "1.6"),
    Spec::Xep(178, "1.2"),
    Spec::Xep(160, "1.0.1"),
    Spec::Xep(203, "2.0"),
    Spec::Xep(185, "1.0"),
    Spec::Xep(220, "1.1.1"),
    Spec::Xep(297, "1.0"),
    Spec::Xep(334, "0.4.0"),
    Spec::Xep(368, "1.1.0"),
    Spec::Xep(440, "0.4.2"),
    Spec::Xep(474, "0.5.0"),
];

/// Everything that is spoken here, by number.
pub fn specs() -> Vec<Spec> {
    let all = ALL.iter();
    let all = all.flat_map(|feature| std::iter::once(&feature.spec).chain(feature.more));
    let mut all: Vec<Spec> = all.chain(CORE).copied().collect();
    all.sort_by_key(|spec| match *spec {
        Spec::Rfc(number) => (0, number),
        Spec::Xep(number, _) => (1, number),
    });
    all.dedup();
    all
}

/// Answers requests with payloads in one namespace.
pub struct Handler {
    /// The payload's namespace.
    pub ns: &'static str,
    /// Who can be asked.
    pub to: To,
    /// Answers.
    pub answer: fn(&mut Asked<'_>) -> Reply,
}

/// Who can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum To {
    /// The server.
    Server,
    /// An account, by its own clients only.
    Own,
    /// An account, by anybody.
    Anybody,
}

/// A request and what may be looked at to answer it.
pub struct Asked<'a> {
    /// The request.
    pub iq: &'a Stanza,
    /// Its payload.
    pub query: &'a Element,
    /// Whether it is to change something.
    pub set: bool,
    /// Who asks.
    pub from: &'a Jid,
    /// The account that is asked; none if it is the server.
    pub account: Option<&'a mut Account>,
    /// The session that asks, if the account is its own.
    pub session: Option<SessionId>,
    /// All that is switched on.
    pub features: &'a Features,
    /// The configuration.
    pub config: &'a Config,
    /// The one who asks has an account here.
    pub local: bool,
    /// Other domains of this server's, which have features of their own.
    pub neighbours: &'a HashSet<Box<str>>,
    /// The time.
    pub now: SystemTime,
    /// How long the server has been running.
    pub uptime: Duration,
}

impl Asked<'_> {
    /// Whether the one who asks may see the account's presence, and so may know about it.
    pub fn may_see(&self) -> bool {
        self.account.as_ref().is_some_and(|account| {
            self.from.bare_str() == account.jid().as_str()
                || account.roster.subscription(self.from.bare_str()).from
        })
    }
}

/// A read, and what to reply once it is done.
pub type Read = Box<dyn FnMut(&mut Reader<'_>) -> Result<Reply, StoreError> + Send>;
/// A write, and what to reply once it is on disk.
pub type Write = Box<dyn FnMut(&mut Transaction<'_>) -> Result<Reply, StoreError> + Send>;
/// A change of the asked account's roster.
pub type Change = Box<dyn FnOnce(&Account) -> Result<Plan, StanzaError> + Send>;

/// What is to be done with the asked account.
pub type Deed = Box<dyn FnOnce(&mut Account) -> Reply + Send>;

/// The answer to a request.
pub enum Reply {
    /// A result with or without payload.
    Result(Option<Element>),
    /// An error.
    Error(StanzaError),
    /// What comes of a look into the database.
    Read(Read),
    /// What comes of a write.
    Write(Write),
    /// An empty result once the change is made.
    Change(Change),
    /// What comes of a look at the account, or a change of what is remembered of it.
    Account(Deed),
    /// A result with or without payload, and what else the request brings about.
    Done(Option<Element>, Wishes),
    /// Messages to the one who asks, and then the result.
    Page(Vec<Element>, Element),
}

impl From<Element> for Reply {
    fn from(payload: Element) -> Reply {
        Reply::Result(Some(payload))
    }
}

impl From<Condition> for Reply {
    fn from(condition: Condition) -> Reply {
        Reply::Error(condition.into())
    }
}

impl From<StanzaError> for Reply {
    fn from(error: StanzaError) -> Reply {
        Reply::Error(error)
    }
}

/// Every feature there is.
pub const ALL: &[&Feature] = &[
    &pep::avatar::FEATURE,
    &bind2::FEATURE,
    &blocking::FEATURE,
    &pep::bookmarks::FEATURE,
    &bosh::FEATURE,
    &carbons::FEATURE,
    &csi::FEATURE,
    &disco::FEATURE,
    &fast::FEATURE,
    &last::FEATURE,
    &mam::FEATURE,
    &pep::FEATURE,
    &ping::FEATURE,
    &private::FEATURE,
    &rooms::FEATURE,
    &roster::FEATURE,
    &sasl2::FEATURE,
    &session::FEATURE,
    &sm::FEATURE,
    &time::FEATURE,
    &upload::FEATURE,
    &vcard::FEATURE,
    &version::FEATURE,
    &websocket::FEATURE,
];

/// The features that are switched on.
pub struct Features {
    on: Vec<&'static Feature>,
    handlers: BTreeMap<&'static str, Vec<&'static Handler>>,
}

impl Features {
    /// All but those named.
    pub fn without(off: &[String]) -> Features {
        let on = ALL
            .iter()
            .copied()
            .filter(|f| !off.iter().any(|name| name == f.name));
        let on: Vec<_> = on.collect();
        let mut handlers: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for handler in on.iter().flat_map(|feature| feature.handlers) {
            handlers.entry(handler.ns).or_default().push(handler);
        }
        Features { on, handlers }
    }

    /// Those that are on.
    pub fn on(&self) -> &[&'static Feature] {
        &self.on
    }

    /// Whether the feature of that name is on.
    pub fn has(&self, name: &str) -> bool {
        self.on.iter().any(|feature| feature.name == name)
    }

    /// Who answers a request in namespace `ns`.
    pub fn find(&self, ns: &str, fits: impl Fn(To) -> bool) -> Option<&'static Handler> {
        self.handlers
            .get(ns)?
            .iter()
            .copied()
            .find(|handler| fits(handler.to))
    }

    /// What clients that are logged in are offered.
    pub fn stream(&self) -> Vec<Element> {
        self.on
            .iter()
            .flat_map(|feature| (feature.stream)())
            .collect()
    }
}

/// For features that add nothing to the stream.
pub fn nothing() -> Vec<Element> {
    Vec::new()
}

#[cfg(test)]
mod tests;

//! The call plan: where a call goes, decided without a clock or a network of its own.
//!
//! `config` is what the operator writes, `compile` checks it and makes a [`Plan`] of it, and `walk`
//! finds a call's [`Way`] through it: the stages in which phones and trunks are rung, and what comes
//! after them. Serving and `omnid explain call` walk the same way.

mod calendar;
mod compile;
mod config;
mod explain;
mod pattern;
#[cfg(test)]
mod tests;
mod walk;

use std::{collections::HashMap, time::Duration};

use omnid_identity::Address;

pub use self::{
    calendar::Calendar,
    config::{
        CalendarConfig, ClassConfig, ForwardConfig, GroupConfig, RouteConfig, Strategy, UserConfig,
    },
    pattern::Pattern,
};
pub(crate) use self::{
    calendar::read_moment,
    compile::compile,
    explain::explain,
    walk::{Call, Caller, Cause, Diversion, End, Leg, Office, Stage, Then, Way},
};

/// Where calls go.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    routes: Vec<Route>,
    groups: Vec<Group>,
    users: HashMap<Address, User>,
    classes: Vec<Class>,
    /// The class of users without one of their own.
    class: Option<usize>,
    calendars: Vec<Calendar>,
    emergency: Vec<Pattern>,
    trunks: Vec<String>,
}

#[derive(Debug, Clone)]
struct Route {
    pattern: Pattern,
    users: bool,
    trunks: Vec<usize>,
    /// The calendar, and whether it is to be open.
    when: Option<(usize, bool)>,
    to: Vec<Place>,
    strip: usize,
    prefix: String,
    ring: Option<Duration>,
}

#[derive(Debug, Clone)]
struct Group {
    name: String,
    members: Vec<Member>,
    strategy: Strategy,
    ring: Duration,
    skip_busy: bool,
    otherwise: Option<Place>,
}

#[derive(Debug, Clone)]
enum Member {
    Account(Address),
    Extension(String),
}

#[derive(Debug, Clone, Default)]
struct User {
    class: Option<usize>,
    do_not_disturb: bool,
    call_waiting: bool,
    always: Option<Place>,
    busy: Option<Place>,
    no_answer: Option<Place>,
    offline: Option<Place>,
    after: Duration,
}

#[derive(Debug, Clone)]
struct Class {
    name: String,
    allow: Vec<Pattern>,
    deny: Vec<Pattern>,
}

/// Where a route or a forwarding leads.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Place {
    Account(Address),
    /// A number that is dialled.
    Number(String),
    /// The number itself, as the route has changed it.
    Itself,
    Group(usize),
    Trunk(usize),
    Reject(u16),
}

impl Class {
    fn allows(&self, number: &str) -> bool {
        let among = |patterns: &[Pattern]| patterns.iter().any(|pattern| pattern.matches(number));
        among(&self.allow) && !among(&self.deny)
    }
}

impl Plan {
    /// Whether calls of some account are forwarded, refused or restricted.
    fn user(&self, address: &Address) -> Option<&User> {
        self.users.get(address)
    }

    fn is_emergency(&self, number: &str) -> bool {
        self.emergency.iter().any(|pattern| pattern.matches(number))
    }
}

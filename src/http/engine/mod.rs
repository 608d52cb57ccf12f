//! Decisions: whether a request is fit to be served, which site and route it is for, whether
//! its preconditions hold, which ranges it gets, how long a peer may take. Messages and instants
//! in, verdicts out; nothing here waits, reads or writes.

pub mod balance;
pub mod check;
pub mod flood;
pub mod guard;
pub mod precondition;
pub mod ranges;
pub mod rate;
pub mod routes;
pub mod sites;

//! Zones, and what is answered out of them. Sans-IO: bytes and times in, bytes and actions out.

pub mod access;
pub mod answer;
pub mod catalog;
pub mod change;
mod chaos;
pub mod cookie;
pub mod deferred;
mod denial;
mod fuzz;
pub mod history;
pub mod incoming;
pub mod limit;
mod lookup;
pub mod notify;
pub mod policy;
pub(crate) mod reply;
pub mod schedule;
mod signed;
pub mod state;
pub mod transfer;
mod trie;
pub mod tsig;
pub mod update;
pub mod view;
pub mod zone;
pub mod zones;

pub use fuzz::{fuzz_answer, fuzz_changes};

#[cfg(test)]
mod tests;

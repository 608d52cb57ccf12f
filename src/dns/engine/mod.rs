//! Zones, and what is answered out of them. Sans-IO: bytes and times in, bytes and actions out.

pub mod access;
pub mod answer;
pub mod change;
mod chaos;
pub mod cookie;
mod denial;
mod fuzz;
pub mod history;
mod lookup;
pub mod notify;
pub(crate) mod reply;
pub mod state;
pub mod transfer;
mod trie;
pub mod zone;
pub mod zones;

pub use fuzz::fuzz_answer;

#[cfg(test)]
mod tests;

//! Decisions: messages and the time in, wishes out. Nothing here waits, reads or writes.

pub mod account;
pub mod archive;
pub mod bosh;
pub mod caps;
pub mod carbons;
pub mod csi;
pub mod delivery;
pub mod dialback;
pub mod login;
pub mod pubsub;
pub mod room;
pub mod roster;
pub mod sasl;
pub mod sm;
pub mod subscription;
pub mod wish;

//! Decisions: messages and the time in, wishes out. Nothing here waits, reads or writes.

pub mod login;
pub mod sasl;
pub mod subscription;

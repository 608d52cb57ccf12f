//! Bytes ↔ typed messages, names and records; text ↔ zones. No I/O, no clock, no policy.

pub mod code;
mod fuzz;
pub mod master;
pub mod message;
pub mod name;
pub mod query;
pub mod rdata;
pub mod reader;
pub mod record;
pub mod writer;

pub use fuzz::{fuzz_message, fuzz_zone};

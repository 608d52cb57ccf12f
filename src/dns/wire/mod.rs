//! Bytes ↔ typed messages, names and records; text ↔ zones. No I/O, no clock, no policy.

pub mod code;
pub mod master;
pub mod name;
pub mod query;
pub mod rdata;
pub mod reader;
pub mod writer;

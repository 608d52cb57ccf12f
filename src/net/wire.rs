//! Bytes to values and back, without I/O.

pub mod fuzz;
pub mod proxy;
mod spoken;

pub use spoken::Spoken;

//! SIP: the registrar, proxy and transport of telephony (RFC 3261 and its updates).
//!
//! `wire/` turns a datagram's bytes into a view with an index over them and back, byte for byte;
//! `engine/` decides: transactions, registrations, forking, dialogs, all under a clock it is given;
//! `io/` owns the sockets and the timers and carries out what the engine decided.

pub mod engine;
pub mod wire;

#[cfg(test)]
mod tests;

//! Sockets on loopback, from outside the crate.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod datagrams;
mod exhaustion;
mod garbage;
mod handshakes;
mod listeners;
mod manager;
mod proxied;
mod support;

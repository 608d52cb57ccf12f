//! The edge: sockets, tasks and timers around the engine, and the one place where wishes come true.

pub(crate) mod accounts;
pub(crate) mod archive;
mod caps;
mod channel;
pub(crate) mod inbound;
pub(crate) mod login;
pub(crate) mod metrics;
mod outbox;
pub(crate) mod rooms;
mod route;
pub(crate) mod s2s;
pub(crate) mod server;
mod session;
pub(crate) mod settings;
pub(crate) mod sweep;
mod tokens;
pub(crate) mod upload;
pub(crate) mod web;

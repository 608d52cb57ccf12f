//! The edge: sockets, timers and tasks that drive the engine and carry out what it decides.

mod answer;
mod connections;
mod core;
mod metrics;
mod outbox;
mod stream;
mod timers;
mod trunks;
mod udp;
mod written;

pub(crate) use self::{
    connections::{Connect, Connections},
    core::{Core, unix_now},
    stream::{run_outbound, serve_handed, serve_plain, serve_tls},
    timers::run_timers,
    trunks::run_trunks,
    udp::run_udp,
};

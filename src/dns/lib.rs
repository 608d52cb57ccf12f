//! DNS: the zones this server answers for.
//!
//! Rooms: [`wire`] reads and writes messages, names, record data and zone files; [`engine`] holds
//! the zones and decides what is answered; `io` drives it over UDP, TCP and TLS; `data` loads
//! zones; `config` and `service` join it to the daemon.

pub mod engine;
pub mod wire;

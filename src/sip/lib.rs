//! SIP: the registrar, proxy and transport of telephony (RFC 3261 and its updates).
//!
//! Rooms: [`wire`] turns a datagram's bytes into a view with an index over them and back, byte for
//! byte; [`engine`] decides: transactions, registrations, forking, dialogs, all under a clock it is
//! given; `io` owns the sockets and the timers and carries out what the engine decided; `data` keeps
//! what outlives a restart; `plan` says where calls go; `config` and `service` join it to the daemon.

mod config;
mod control;
mod data;
pub mod engine;
mod io;
mod plan;
mod records;
mod service;
mod trunk;
pub mod wire;

pub use config::{Config, Digest, LimitsConfig, RegistrarConfig, TimersConfig};
pub use plan::{
    CalendarConfig, ClassConfig, ForwardConfig, GroupConfig, RouteConfig, Strategy, UserConfig,
};
pub use service::{Prepared, Sip};
pub use trunk::{TrunkConfig, TrunkTransport};

#[cfg(test)]
mod tests;

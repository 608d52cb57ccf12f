//! HTTP: sites by host, static files, reverse proxy, and the handlers that other services mount.
//!
//! A request comes in through [`io`]: the socket's bytes pass the head scanner of [`wire`] on
//! their way to the HTTP library, [`engine`] checks the head and finds site and route, and
//! [`files`], [`proxy`] or another service's mount answers. Sites are compiled by [`site`] from
//! [`config`] and swapped whole; [`log`] writes the access log beside the requests' path.

pub mod access;
mod answer;
mod body;
pub mod compress;
pub mod config;
pub mod data;
pub mod engine;
pub mod expression;
pub mod files;
pub mod gateway;
pub mod io;
pub mod log;
mod metrics;
pub mod proxy;
mod redirects;
mod rehearse;
pub mod rewrite;
mod service;
pub mod site;
pub mod walk;
pub mod wire;

pub use config::HttpConfig as Config;
pub use metrics::SiteMeter;
pub use service::Http;

//! HTTP: sites by host, static files, reverse proxy, and the handlers other services mount.

pub mod engine;
pub mod wire;

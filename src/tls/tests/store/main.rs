//! The certificate store from outside: real files, real handshakes.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod authority;
mod clients;
mod files;
mod handshakes;
mod openssl;
mod support;
mod watching;

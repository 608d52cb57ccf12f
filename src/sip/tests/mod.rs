//! Tests that need more than one part of the crate.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod torture;
mod wire;

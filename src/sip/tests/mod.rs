//! Tests that need more than one part of the crate.

#![allow(clippy::unwrap_used, clippy::expect_used)]

pub(crate) mod torture;
mod wire;

//! The engine under a clock of the tests' own, with phones that are text.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod calls;
mod loss;
mod plans;
mod refusals;
mod registrations;
mod trunks;
mod world;

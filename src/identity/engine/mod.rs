//! Decisions: pure state, with the time handed in.

pub(crate) mod remembered;
pub(crate) mod throttle;

//! Rewriting: rules that change where a request goes, or answer it.
//!
//! The rules of a list are tried in order. A rule whose pattern matches and whose condition holds
//! changes path and query, and says what comes next. What rules mean is what Apache's mod_rewrite
//! means by them, so that rules can be moved; [`rules`] compiles them, [`apply`] applies them,
//! [`map`] has the tables they look into.

mod apply;
mod config;
mod map;
mod rules;

pub use apply::{Outcome, Place, Verdict};
pub use config::{MapConfig, QueryChoice, RewriteConfig, ThenChoice};
pub use map::Maps;
pub use rules::Rules;

pub(crate) use rules::{condition, said};

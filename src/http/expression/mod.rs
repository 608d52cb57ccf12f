//! Conditions and templates: the small language of `when`, of rewriting and of access.
//!
//! A condition is Apache's expression syntax (`%{HTTP_HOST} =~ /^www\./ && !-f %{REQUEST_FILENAME}`),
//! so that what people know and what is imported means the same. It reads the request and looks
//! whether files are there; it reads no file, runs nothing and sees no environment of the server's.
//! Nothing that a request brings is ever taken for a part of an expression.

mod eval;
mod facts;
mod parse;
mod pattern;
mod template;
mod variable;

pub use eval::Groups;
pub use facts::{Facts, Request};
pub use parse::Expression;
pub use pattern::{Captured, GaveUp, Pattern};
pub use template::{Lookup, NoMaps, Template};
pub use variable::Variable;

pub(crate) use eval::within;
pub(crate) use parse::network;
pub(crate) use template::BUILT_IN;

/// Why a text is not an expression, a template or a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Fault(pub String);

impl Fault {
    fn new(why: impl Into<String>) -> Self {
        Self(why.into())
    }
}

/// The longest text that any step may make of a request, in bytes.
pub const LONGEST: usize = 16 * 1024;

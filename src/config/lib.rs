//! The config file: sections defined once, read with every fault found at once.
//!
//! A crate defines its section with [`section!`] and its choices with [`choice!`]; [`load`] reads
//! the file (and the files of `omnid.d` beside it) into the root section, or reports everything
//! that is wrong, each with its place in the text.

mod choice;
mod item;
mod load;
mod merge;
mod node;
mod problem;
mod reader;
mod section;
mod shape;
mod source;
mod span;
mod suggest;
pub mod value;

pub use item::{Item, SectionItem};
pub use load::{Limits, Loaded, Report, load, load_str};
pub use node::{DEPTH, Entry, Kind, Node, Table};
pub use problem::{Label, Problem, Problems, Severity};
pub use reader::{Reader, Section};
pub use shape::{ChoiceInfo, Field, Measure, Range, SectionInfo, Shape, Text};
pub use source::{Source, Sources};
pub use span::{Place, Span, Spanned};
pub use suggest::did_you_mean;
pub use value::{ByteSize, DomainName, IpNet, ListenAddr, Secret, Url, Value};

// What the macros' code calls.
#[doc(hidden)]
pub use {
    choice::read_choice,
    reader::{TableReader, read_section},
};

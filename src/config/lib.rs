//! The config file: sections defined once, read with every fault found at once.
//!
//! A crate defines its section with [`section!`] and its choices with [`choice!`]; [`load`] reads
//! the file (and the files of `omnid.d` beside it) into the root section, or reports everything
//! that is wrong, each with its place in the text.

pub mod check;
mod choice;
mod describe;
mod explain;
#[doc(hidden)]
pub mod golden;
mod help;
mod item;
mod load;
mod man;
mod merge;
mod node;
mod outline;
mod print;
mod problem;
mod reader;
mod reference;
mod schema;
mod section;
mod shape;
mod source;
mod span;
mod suggest;
mod syntax;
pub mod value;

pub use explain::explain;
pub use item::{Item, SectionItem};
pub use load::{
    Draft, Limits, Loaded, Report, draft, load, load_str, load_within, parse_str_any, peek,
};
pub use man::man;
pub use node::{DEPTH, Entry, Kind, Node, Table};
pub use outline::{Outline, outline};
pub use print::print;
pub use problem::{Label, Problem, Problems, Severity};
pub use reader::{Reader, Section};
pub use reference::reference;
pub use schema::schema;
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

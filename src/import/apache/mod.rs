//! Apache httpd: [`parse`] reads its files into a tree, with what they include, define and ask
//! about modules; [`convert`] makes sites of the tree; [`rewrite`] and [`access`] translate the two
//! languages within it; [`write`] prints the sites.

mod access;
mod convert;
mod directives;
mod folders;
mod headers;
mod modules;
mod parse;
mod programs;
mod rewrite;
mod scope;
mod site;
mod write;

pub use parse::Source;

use std::path::{Path, PathBuf};

use crate::report::Import;

/// How to import.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// The directory that all paths of the configuration are below: a copy of another machine.
    pub root: Option<PathBuf>,
    /// Names that are defined, as with `-D`.
    pub defines: Vec<String>,
}

/// Why nothing can be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is no configuration there.
    #[error("{0}: there is no apache2.conf or httpd.conf")]
    Nothing(PathBuf),
    /// A file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: std::io::Error,
    },
    /// More than any installation has.
    #[error("{0}: too many files, or files that include each other")]
    TooMuch(PathBuf),
}

/// Imports the configuration in a directory such as /etc/apache2, or that begins with a file.
///
/// # Errors
/// Where it cannot be read at all.
pub fn import(path: &Path, options: &Options) -> Result<Import, ImportError> {
    let mut source = Source::open(path, options)?;
    let tree = source.tree()?;
    Ok(convert::convert(source, tree))
}

//! Static files: found below a root, kept open, answered with validators, conditions and ranges.

mod body;
mod cache;
mod entry;
mod listing;
mod multipart;
mod negotiate;
mod root;
mod serve;
mod types;

#[cfg(test)]
mod tests;

pub use body::{FileBody, Piece};
pub use cache::{CacheLimits, FileCache};
pub use entry::{Content, Entry, Kind};
pub use listing::{Form, Listing};
pub use root::{Root, Symlinks};
pub use serve::{FileAnswer, FileRequest, Files};

//! Record data: text ↔ wire for every type, known and unknown (RFC 3597).

mod base;
mod bitmap;
mod check;
mod form;
mod gateway;
mod location;
mod parse;
mod prefix;
mod print;
mod service;
mod text;
mod time;

#[cfg(test)]
mod tests;

#[cfg(test)]
pub(crate) use base::write_hex;
pub(crate) use base::{read_base32hex, read_base64, write_base64};
pub(crate) use check::canonical_into;
pub use check::{BadRdata, check, decompress};
pub(crate) use form::{additional_name_at, compressible};
pub(crate) use parse::read_number;
pub use parse::{Fields, RdataError, Token, parse};
pub use print::Rdata;
pub(crate) use text::{read_seconds, write_quoted};
pub(crate) use time::write as write_time;

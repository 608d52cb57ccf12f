//! Zone files in the master file format (RFC 1035 5), with all that BIND accepts beyond it:
//! `$TTL`, `$INCLUDE` with an origin, `$GENERATE`, TTLs with units, RFC 3597 types.

mod generate;
mod lexer;
mod parser;
mod records;
mod writer;

#[cfg(test)]
mod tests;

pub use lexer::tokens_of;
pub use parser::{Files, Limits, NoFiles, Parsed, parse_zone};
pub use records::{Fault, Place, Position, Record, Records, Severity, Sources};
pub use writer::{ZoneText, write_record};

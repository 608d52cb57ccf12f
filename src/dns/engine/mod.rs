//! Zones, and what is answered out of them. Sans-IO: bytes and times in, bytes and actions out.

mod trie;
pub mod zone;

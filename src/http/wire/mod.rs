//! Bytes to typed values and back: what a request head really said, targets, hosts, ranges,
//! validators, credentials. No I/O, no clock, no policy.

pub mod cgi;
pub mod coding;
pub mod credentials;
pub mod fastcgi;
pub mod forwarded;
pub mod frames;
pub mod fuzz;
pub mod head;
pub mod host;
pub mod html;
pub mod language;
pub mod natural;
pub mod percent;
pub mod proxy_protocol;
pub mod range;
pub mod target;
pub mod validator;

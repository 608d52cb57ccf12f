//! Programs that answer requests: FastCGI applications such as php-fpm, and CGI programs.
//!
//! Both are told the same about a request and answer in the same way; they differ in what carries
//! it. A program is looked for below the root that files are served from, by the same lookups:
//! what is not there, is hidden or lies behind a link that may not be followed is not run either.

mod environment;
mod errors;
mod process;
mod response;
mod scripts;
mod session;
mod upload;

pub use environment::{Caller, Failed, Script};
pub use response::GatewayBody;
pub use scripts::{CgiLimits, Found, Runner, Scripts, Where};
pub use session::Workers;

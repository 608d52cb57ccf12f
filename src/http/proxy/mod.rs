//! Reverse proxy: requests carried to upstreams over pooled connections, streamed both ways.
//!
//! An upstream connection is driven by the task of the request it carries, not by one of its own:
//! nothing has to be woken on another worker, and a client that goes away takes its upstream
//! connection with it. An HTTP/2 connection is shared by many requests, and has its own task.

mod body;
mod forward;
mod headers;
mod health;
mod link;
mod pool;
mod rewrite;
mod target;
mod tunnel;
mod upstreams;

pub use body::UpstreamBody;
pub use forward::{Forward, HostPolicy, Interim, Proxy, ProxyTimes};
pub use headers::Client;
pub use health::{Checkup, run as run_checks};
pub(crate) use link::{Stream, connect};
pub use pool::Pool;
pub(crate) use target::parse as parse_upstream;
pub use target::{Protocol, Target};
pub use upstreams::{Balance, Check, HashBy};

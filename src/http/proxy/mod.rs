//! Reverse proxy: requests carried to upstreams over pooled connections, streamed both ways.
//!
//! An upstream connection is driven by the task of the request it carries, not by one of its own:
//! nothing has to be woken on another worker, and a client that goes away takes its upstream
//! connection with it.

mod body;
mod forward;
mod headers;
mod link;
mod pool;
mod target;
mod tunnel;

pub use body::UpstreamBody;
pub use forward::{Forward, HostPolicy, Proxy, ProxyTimes};
pub use headers::Client;
pub use pool::Pool;
pub use target::Target;

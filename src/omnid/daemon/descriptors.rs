//! How many descriptors the daemon may have open.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Raises what the process may open to what it is allowed to. The soft limit of 1024 that a shell
/// hands on is there for programs that use select(2); with it a thousand connections would be all.
pub(super) fn raise() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if limit.current != limit.maximum
        && let Err(error) = setrlimit(Resource::Nofile, raised)
    {
        tracing::warn!(
            limit = limit.current,
            "no more descriptors to be had: {error}"
        );
    }
}

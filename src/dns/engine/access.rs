//! Who may do something, by address.

use std::net::IpAddr;
use std::sync::Arc;

use omnid_config::IpNet;

/// Networks; none lets nobody in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Access(Arc<[IpNet]>);

impl Access {
    /// Of some networks.
    pub fn new(networks: impl IntoIterator<Item = IpNet>) -> Access {
        Access(networks.into_iter().collect())
    }

    /// True if an address is in one of them.
    pub fn allows(&self, address: IpAddr) -> bool {
        self.0.iter().any(|network| network.contains(address))
    }
}

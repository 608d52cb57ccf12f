//! The servers of the root, to begin with.

use std::net::IpAddr;

use super::delegation::Delegation;
use crate::wire::name::Name;

/// Letter, IPv4 and IPv6 address (https://www.internic.net/domain/named.root, 2026).
const ROOT: [(&str, &str, &str); 13] = [
    ("a", "198.41.0.4", "2001:503:ba3e::2:30"),
    ("b", "170.247.170.2", "2801:1b8:10::b"),
    ("c", "192.33.4.12", "2001:500:2::c"),
    ("d", "199.7.91.13", "2001:500:2d::d"),
    ("e", "192.203.230.10", "2001:500:a8::e"),
    ("f", "192.5.5.241", "2001:500:2f::f"),
    ("g", "192.112.36.4", "2001:500:12::d0d"),
    ("h", "198.97.190.53", "2001:500:1::53"),
    ("i", "192.36.148.17", "2001:7fe::53"),
    ("j", "192.58.128.30", "2001:503:c27::2:30"),
    ("k", "193.0.14.129", "2001:7fd::1"),
    ("l", "199.7.83.42", "2001:500:9f::42"),
    ("m", "202.12.27.33", "2001:dc3::35"),
];

impl Delegation {
    /// The root with the given servers; without any, with those of the Internet.
    pub(crate) fn root(given: Vec<(Name, Vec<IpAddr>)>) -> Delegation {
        let built_in = || {
            ROOT.iter().filter_map(|(letter, v4, v6)| {
                let name = Name::from_text(&format!("{letter}.root-servers.net.")).ok()?;
                let addresses = [v4, v6].into_iter().filter_map(|text| text.parse().ok());
                Some((name, addresses.collect()))
            })
        };
        let servers = if given.is_empty() {
            built_in().collect()
        } else {
            given
        };
        Delegation::new(Name::root(), servers, 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thirteen_letters_with_both_addresses() {
        let root = Delegation::root(Vec::new());
        assert_eq!(root.servers.len(), 13);
        assert!(
            root.servers
                .iter()
                .all(|(_, addresses)| addresses.len() == 2)
        );
        assert!(root.zone.as_ref().is_root());
    }
}

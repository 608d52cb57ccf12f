//! Which site a host name is for.

use std::collections::HashMap;

/// A host pattern of a site.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// This name and no other.
    Exact(String),
    /// Every name below this one: `*.example.org` without its `*.`.
    Below(String),
}

/// Sites by host: an exact name before the longest wildcard before the default.
#[derive(Debug)]
pub struct SiteTable<S> {
    sites: Vec<S>,
    exact: HashMap<String, usize>,
    below: HashMap<String, usize>,
    default: Option<usize>,
}

impl<S> Default for SiteTable<S> {
    fn default() -> Self {
        Self {
            sites: Vec::new(),
            exact: HashMap::new(),
            below: HashMap::new(),
            default: None,
        }
    }
}

impl<S> SiteTable<S> {
    /// Adds a site. The first to claim a pattern keeps it; the first site is the default until
    /// another claims to be.
    pub fn add(&mut self, site: S, patterns: impl IntoIterator<Item = HostPattern>, default: bool) {
        let index = self.sites.len();
        if index == 0 || default {
            self.default = Some(index);
        }
        self.sites.push(site);
        for pattern in patterns {
            match pattern {
                HostPattern::Exact(name) => self.exact.entry(name).or_insert(index),
                HostPattern::Below(name) => self.below.entry(name).or_insert(index),
            };
        }
    }

    /// The site for `host` (in lower case), or the default one.
    #[must_use]
    pub fn find(&self, host: Option<&str>) -> Option<&S> {
        let index = host.and_then(|host| self.named(host)).or(self.default)?;
        self.sites.get(index)
    }

    fn named(&self, host: &str) -> Option<usize> {
        if let Some(&index) = self.exact.get(host) {
            return Some(index);
        }
        if self.below.is_empty() {
            return None;
        }
        let mut rest = host;
        while let Some((_, parent)) = rest.split_once('.') {
            if let Some(&index) = self.below.get(parent) {
                return Some(index);
            }
            rest = parent;
        }
        None
    }

    /// All sites, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &S> {
        self.sites.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exact_then_longest_wildcard_then_default() {
        let mut table = SiteTable::default();
        let exact = |name: &str| HostPattern::Exact(name.to_owned());
        let below = |name: &str| HostPattern::Below(name.to_owned());
        table.add(
            "first",
            [exact("example.org"), exact("www.example.org")],
            false,
        );
        table.add("wild", [below("example.org")], false);
        table.add("deep", [below("apps.example.org")], false);
        for (host, site) in [
            (Some("example.org"), "first"),
            (Some("www.example.org"), "first"),
            (Some("x.example.org"), "wild"),
            (Some("x.y.example.org"), "wild"),
            (Some("apps.example.org"), "wild"),
            (Some("x.apps.example.org"), "deep"),
            (Some("x.www.example.org"), "wild"),
            (Some("example.net"), "first"),
            (Some("xexample.org"), "first"),
            (None, "first"),
        ] {
            assert_eq!(table.find(host), Some(&site), "{host:?}");
        }
        table.add("fallback", [], true);
        assert_eq!(table.find(Some("example.net")), Some(&"fallback"));
    }

    #[test]
    fn no_site_no_answer() {
        assert_eq!(SiteTable::<u8>::default().find(Some("a")), None);
    }
}

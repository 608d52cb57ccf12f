//! Which route of a site a path is for: the longest prefix that ends at a segment boundary.

use std::collections::HashMap;

/// Where a route applies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PathPattern {
    /// The path and everything below it. `/app` and `/app/` both cover `/app/x` and neither
    /// covers `/apple`; `/app/` does not cover `/app` itself.
    Prefix(String),
    /// This path alone.
    Exact(String),
}

/// Routes by path, compiled for look-up in one hash probe per segment.
#[derive(Debug)]
pub struct RouteTable<R> {
    routes: Vec<R>,
    exact: HashMap<Box<[u8]>, Vec<usize>>,
    /// Keyed by the prefix without its trailing slash.
    prefixes: HashMap<Box<[u8]>, Vec<Prefix>>,
    longest_prefix: usize,
}

#[derive(Debug, Clone, Copy)]
struct Prefix {
    route: usize,
    /// The pattern ended in a slash: the bare prefix is not covered.
    below_only: bool,
}

/// What a path led to.
#[derive(Debug, PartialEq, Eq)]
pub enum Found<'a, R> {
    /// This route, which covers so many bytes of the path.
    Route {
        /// The route.
        route: &'a R,
        /// Its number, for [`RouteTable::get`].
        index: usize,
        /// The length of the prefix, without a trailing slash.
        matched: usize,
    },
    /// No route, but one begins right below: the path lacks its trailing slash.
    Slash,
    /// No route.
    Nothing,
}

impl<R> Default for RouteTable<R> {
    fn default() -> Self {
        Self {
            routes: Vec::new(),
            exact: HashMap::new(),
            prefixes: HashMap::new(),
            longest_prefix: 0,
        }
    }
}

impl<R> RouteTable<R> {
    /// Adds a route. Where two have the same pattern, the first that applies is taken.
    pub fn add(&mut self, pattern: &PathPattern, route: R) {
        let index = self.routes.len();
        self.routes.push(route);
        match pattern {
            PathPattern::Exact(path) => {
                self.exact
                    .entry(path.as_bytes().into())
                    .or_default()
                    .push(index);
            }
            PathPattern::Prefix(path) => {
                let bare = path.strip_suffix('/').unwrap_or(path);
                self.longest_prefix = self.longest_prefix.max(bare.len());
                self.prefixes
                    .entry(bare.as_bytes().into())
                    .or_default()
                    .push(Prefix {
                        route: index,
                        below_only: path.len() > 1 && path.ends_with('/'),
                    });
            }
        }
    }

    /// The route for `path` (in normal form) among those that `applies` accepts.
    pub fn find(&self, path: &[u8], applies: impl Fn(&R) -> bool) -> Found<'_, R> {
        let exact = self.exact.get(path).into_iter().flatten();
        for &index in exact {
            if let Some(route) = self.routes.get(index).filter(|route| applies(route)) {
                return Found::Route {
                    route,
                    index,
                    matched: path.len(),
                };
            }
        }
        let mut slash = false;
        // Only as much of the path is looked at as the longest prefix has, so that a long path
        // of many segments costs no more than the table is worth.
        let mut end = path.len();
        loop {
            if end <= self.longest_prefix {
                let (prefix, rest) = path.split_at_checked(end).unwrap_or((path, &[]));
                for candidate in self.prefixes.get(prefix).into_iter().flatten() {
                    let Some(route) = self.routes.get(candidate.route) else {
                        continue;
                    };
                    if candidate.below_only && rest.is_empty() {
                        slash |= applies(route);
                    } else if applies(route) {
                        return if slash && end < path.len() {
                            Found::Slash
                        } else {
                            Found::Route {
                                route,
                                index: candidate.route,
                                matched: end,
                            }
                        };
                    }
                }
            }
            let Some(shorter) = path
                .get(..end.min(self.longest_prefix + 1))
                .and_then(|path| path.iter().rposition(|&byte| byte == b'/'))
                .filter(|&shorter| shorter < end)
            else {
                break;
            };
            end = shorter;
        }
        if slash { Found::Slash } else { Found::Nothing }
    }

    /// The route of that number.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&R> {
        self.routes.get(index)
    }

    /// All routes, in the order they were added.
    pub fn iter(&self) -> impl Iterator<Item = &R> {
        self.routes.iter()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn table(prefixes: &[&str], exact: &[&str]) -> RouteTable<String> {
        let mut table = RouteTable::default();
        for path in prefixes {
            table.add(&PathPattern::Prefix((*path).to_owned()), (*path).to_owned());
        }
        for path in exact {
            table.add(&PathPattern::Exact((*path).to_owned()), format!("={path}"));
        }
        table
    }

    fn found(table: &RouteTable<String>, path: &str) -> String {
        match table.find(path.as_bytes(), |_| true) {
            Found::Route { route, .. } => route.clone(),
            Found::Slash => "slash".to_owned(),
            Found::Nothing => "nothing".to_owned(),
        }
    }

    #[test]
    fn the_longest_prefix_at_a_segment_boundary() {
        let table = table(&["/", "/app/", "/api", "/api/v2/x"], &["/api", "/login"]);
        for (path, expected) in [
            ("/", "/"),
            ("/x/y", "/"),
            ("/app/", "/app/"),
            ("/app/x/y", "/app/"),
            ("/apple", "/"),
            ("/app", "slash"),
            ("/api", "=/api"),
            ("/api/", "/api"),
            ("/api/v2", "/api"),
            ("/api/v2/x", "/api/v2/x"),
            ("/api/v2/x/y", "/api/v2/x"),
            ("/api/v2/xy", "/api"),
            ("/login", "=/login"),
            ("/login/", "/"),
        ] {
            assert_eq!(found(&table, path), expected, "{path}");
        }
    }

    #[test]
    fn nothing_without_a_root() {
        let table = table(&["/app/"], &[]);
        assert_eq!(found(&table, "/"), "nothing");
        assert_eq!(found(&table, "/app"), "slash");
        assert_eq!(found(&RouteTable::default(), "/"), "nothing");
    }

    #[test]
    fn a_route_that_does_not_apply_is_passed_over() {
        let mut table = RouteTable::default();
        let prefix = PathPattern::Prefix("/a".to_owned());
        table.add(&prefix, 1);
        table.add(&prefix, 2);
        table.add(&PathPattern::Prefix("/".to_owned()), 3);
        let found = |least: i32| match table.find(b"/a/b", |&route| route >= least) {
            Found::Route { route, matched, .. } => Some((*route, matched)),
            _ => None,
        };
        assert_eq!(found(1), Some((1, 2)));
        assert_eq!(found(2), Some((2, 2)));
        assert_eq!(found(3), Some((3, 0)));
        assert_eq!(found(4), None);
    }

    proptest! {
        #[test]
        fn as_a_plain_search_would(
            prefixes in proptest::collection::vec("(/[ab]{0,2}){1,3}", 0..6),
            path in "(/[ab]{0,2}){1,4}",
        ) {
            let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).filter(|prefix| !prefix.contains("//")).collect();
            let table = table(&prefixes, &[]);
            let covers = |prefix: &&&str| {
                let bare = prefix.strip_suffix('/').unwrap_or(prefix);
                path.strip_prefix(bare).is_some_and(|rest| {
                    rest.starts_with('/') || (rest.is_empty() && !prefix.ends_with('/'))
                })
            };
            let expected = prefixes.iter().filter(covers).map(|prefix| prefix.trim_end_matches('/').len()).max();
            let matched = match table.find(path.as_bytes(), |_| true) {
                Found::Route { matched, .. } => Some(matched),
                Found::Slash => {
                    let below = format!("{path}/");
                    prop_assert!(prefixes.contains(&below.as_str()));
                    expected
                }
                Found::Nothing => None,
            };
            prop_assert_eq!(matched, expected);
        }
    }
}

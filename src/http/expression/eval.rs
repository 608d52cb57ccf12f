//! What a condition comes to for a request.

use std::{
    fs,
    net::IpAddr,
    os::unix::fs::{MetadataExt, PermissionsExt},
};

use omnid_config::IpNet;

use super::{
    Expression, Facts, Lookup, Template,
    parse::{FileTest, Node, Order},
};

/// What a pattern captured: the whole, then each group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups(pub Vec<String>);

impl Groups {
    /// A group; empty where there is none.
    #[must_use]
    pub fn get(&self, group: usize) -> &str {
        self.0.get(group).map_or("", String::as_str)
    }
}

/// Everything a condition is evaluated in.
pub(super) struct Context<'a, 'f> {
    facts: &'a Facts<'f>,
    rule: &'a Groups,
    maps: &'a dyn Lookup,
}

impl Expression {
    /// Whether it holds. `rule` is what the pattern before it captured; `captured` what the last
    /// pattern of a condition did, and is replaced where one matches here.
    pub fn holds(
        &self,
        facts: &Facts<'_>,
        rule: &Groups,
        captured: &mut Groups,
        maps: &dyn Lookup,
    ) -> bool {
        let context = Context { facts, rule, maps };
        context.holds(&self.node, captured)
    }
}

impl Context<'_, '_> {
    fn holds(&self, node: &Node, captured: &mut Groups) -> bool {
        match node {
            Node::Constant(truth) => *truth,
            Node::Not(node) => !self.holds(node, captured),
            Node::All(nodes) => nodes.iter().all(|node| self.holds(node, captured)),
            Node::Any(nodes) => nodes.iter().any(|node| self.holds(node, captured)),
            Node::Text(left, order, right) => {
                let (left, right) = (self.fill(left, captured), self.fill(right, captured));
                order.accepts(left.cmp(&right))
            }
            Node::Number(left, order, right) => {
                let (left, right) = (self.fill(left, captured), self.fill(right, captured));
                order.accepts(number(&left).cmp(&number(&right)))
            }
            Node::Matches(word, pattern, wanted) => {
                let word = self.fill(word, captured);
                match self.facts.meet(pattern, &word) {
                    Some(groups) => {
                        if *wanted && !pattern.negated {
                            *captured = Groups(groups);
                        }
                        *wanted
                    }
                    None => !*wanted,
                }
            }
            Node::OneOf(word, words) => {
                let word = self.fill(word, captured);
                words.iter().any(|other| self.fill(other, captured) == word)
            }
            Node::File(test, word) => test.holds(&self.fill(word, captured)),
            Node::Empty(word) => self.fill(word, captured).is_empty(),
            Node::Truth(word) => {
                let word = self.fill(word, captured).to_ascii_lowercase();
                !matches!(word.as_str(), "" | "0" | "off" | "false" | "no")
            }
            Node::Network(word, networks) => {
                let address = match word {
                    Some(word) => self.fill(word, captured).parse::<IpAddr>().ok(),
                    None => Some(self.facts.request.peer.ip()),
                };
                address.is_some_and(|address| within(address, networks))
            }
        }
    }

    fn fill(&self, template: &Template, captured: &Groups) -> String {
        template.fill(self.facts, self.rule, captured, self.maps, &str::to_owned)
    }
}

/// Whether an address lies in one of the networks.
#[must_use]
pub(crate) fn within(address: IpAddr, networks: &[IpNet]) -> bool {
    let address = address.to_canonical();
    networks.iter().any(|network| network.contains(address))
}

impl Order {
    fn accepts(self, order: std::cmp::Ordering) -> bool {
        match self {
            Self::Equal => order.is_eq(),
            Self::NotEqual => order.is_ne(),
            Self::Less => order.is_lt(),
            Self::AtMost => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::AtLeast => order.is_ge(),
        }
    }
}

/// As atoi() reads it: digits as far as there are any.
fn number(text: &str) -> i64 {
    let text = text.trim_start();
    let (sign, digits) = match text.strip_prefix('-') {
        Some(rest) => (-1, rest),
        None => (1, text),
    };
    let end = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    let number = digits.get(..end).unwrap_or_default().parse::<i64>();
    number.map_or(0, |number| number.saturating_mul(sign))
}

impl FileTest {
    fn holds(self, path: &str) -> bool {
        // Relative to nothing, and no name that the system would read in two.
        if !path.starts_with('/') || path.contains('\0') {
            return false;
        }
        if self == Self::Link {
            return fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_symlink());
        }
        let Ok(meta) = fs::metadata(path) else {
            return false;
        };
        match self {
            Self::File => meta.is_file(),
            Self::Directory => meta.is_dir(),
            Self::Exists => true,
            Self::NotEmpty => meta.is_file() && meta.size() > 0,
            Self::Executable => meta.is_file() && meta.permissions().mode() & 0o111 != 0,
            Self::Link => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use http::{HeaderMap, HeaderValue, Method, Version};
    use proptest::prelude::*;

    use super::super::{NoMaps, Request};
    use super::*;

    fn with_facts<T>(test: impl FnOnce(&mut Facts<'_>) -> T) -> T {
        let mut headers = HeaderMap::new();
        headers.insert("host", HeaderValue::from_static("www.example.org"));
        headers.insert("user-agent", HeaderValue::from_static("Mozilla/5.0 (X)"));
        let request = Request {
            method: &Method::GET,
            headers: &headers,
            version: Version::HTTP_11,
            target: "/a%20b?x=1",
            host: "www.example.org",
            peer: SocketAddr::from(([192, 0, 2, 7], 4711)),
            local: SocketAddr::from(([127, 0, 0, 1], 80)),
            tls: false,
            root: None,
        };
        let mut facts = Facts::new(request, b"/a b", Some("x=1"));
        facts.env.insert("NAME".to_owned(), "value".to_owned());
        test(&mut facts)
    }

    #[test]
    fn conditions() {
        let directory = std::env::temp_dir();
        let directory = directory.display();
        for (text, expected) in [
            ("true", true),
            ("!true || false", false),
            ("%{HTTP_HOST} == 'www.example.org'", true),
            ("%{HTTP_HOST} = www.example.org", true),
            ("%{HTTP_HOST} != 'x' && %{REQUEST_METHOD} == GET", true),
            ("%{HTTP_HOST} =~ /^WWW\\./i", true),
            ("%{HTTP_HOST} !~ m#^www#", false),
            (
                "not (%{HTTP_HOST} =~ /^www/) or %{QUERY_STRING} == 'x=1'",
                true,
            ),
            ("%{REQUEST_URI} == '/a b'", true),
            ("%{THE_REQUEST} == 'GET /a\\%20b?x=1 HTTP/1.1'", true),
            ("%{ENV:NAME} in { 'other', 'value' }", true),
            ("reqenv('NAME') == 'value'", true),
            ("%{ENV:NONE}", false),
            ("-z %{ENV:NONE}", true),
            ("-n %{HTTP:User-Agent}", true),
            ("-T '0' || -T 'no'", false),
            ("-T 'on'", true),
            ("10 -gt 9", true),
            ("'10' < '9'", true),
            ("10 lt 9", false),
            ("-R '192.0.2.0/24'", true),
            ("-R '192.0.3.0/255.255.255.0'", false),
            ("%{REMOTE_ADDR} -ipmatch '192.0'", true),
            ("%{HTTP_HOST} -strmatch '*.example.org'", true),
            ("tolower(%{HTTP_USER_AGENT}) =~ /mozilla/", true),
            ("%{HTTPS} == 'off' && %{REQUEST_SCHEME} == 'http'", true),
            ("-f '/no/such/file'", false),
            (
                &format!("-d '{directory}' && -e '{directory}' && !-f '{directory}'"),
                true,
            ),
            (&format!("-d {directory}"), true),
            ("-f %{REQUEST_FILENAME}", false),
        ] {
            let found = with_facts(|facts| {
                let expression = Expression::parse(text);
                expression.map(|expression| {
                    expression.holds(facts, &Groups::default(), &mut Groups::default(), &NoMaps)
                })
            });
            assert_eq!(found, Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_a_pattern_captured_is_there_behind_it() {
        with_facts(|facts| {
            let expression =
                Expression::parse("%{HTTP_HOST} =~ /^(\\w+)\\./ && '%1' == 'www' && '$1' == 'r'");
            let mut captured = Groups::default();
            let rule = Groups(vec!["r0".to_owned(), "r".to_owned()]);
            let holds =
                expression.map(|expression| expression.holds(facts, &rule, &mut captured, &NoMaps));
            assert_eq!(holds, Ok(true));
            assert_eq!(captured.get(1), "www");
            let template =
                Template::parse("https://%1.org$1%{QUERY_STRING}${toupper:%1}${none:x|d}\\$1");
            let filled = template
                .map(|template| template.fill(facts, &rule, &captured, &NoMaps, &str::to_owned));
            assert_eq!(filled.as_deref(), Ok("https://www.orgrx=1WWWd$1"));
        });
    }

    #[test]
    fn what_is_no_condition() {
        for text in [
            "",
            "(",
            "true false",
            "%{NO_SUCH}",
            "%{HTTP_HOST} =~ /(/",
            "%{HTTP_HOST} =~ x",
            "%{HTTP_HOST} ==",
            "-q '/x'",
            "file('/etc/passwd') == ''",
            "%{HTTP_HOST} in { 'a'",
            "'a",
            "-R 'x'",
            "osenv('HOME') == 'x'",
        ] {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
        let deep = "!".repeat(10_000) + "true";
        assert!(Expression::parse(&deep).is_err());
        let deep = "(".repeat(10_000);
        assert!(Expression::parse(&deep).is_err());
    }

    #[test]
    fn nothing_of_a_request_is_expanded_again() {
        with_facts(|facts| {
            facts.query = "%{ENV:NAME}$0${tolower:X}".into();
            let template = Template::parse("%{QUERY_STRING}");
            let filled = template.map(|template| {
                template.fill(
                    facts,
                    &Groups::default(),
                    &Groups::default(),
                    &NoMaps,
                    &str::to_owned,
                )
            });
            assert_eq!(filled.as_deref(), Ok("%{ENV:NAME}$0${tolower:X}"));
        });
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in ".{0,48}") {
            if let Ok(expression) = Expression::parse(&text) {
                with_facts(|facts| {
                    expression.holds(facts, &Groups::default(), &mut Groups::default(), &NoMaps)
                });
            }
            if let Ok(template) = Template::parse(&text) {
                with_facts(|facts| template.fill(facts, &Groups::default(), &Groups::default(), &NoMaps, &str::to_owned));
            }
        }
    }
}

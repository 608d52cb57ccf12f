//! The language of `access`: `local or (ip 192.0.2.0/24 and not user mallory) or group staff`.

use std::net::{IpAddr, SocketAddr};

use http::Method;
use omnid_config::IpNet;

use crate::expression::{Expression, Facts, Fault, Groups, Lookup, network, within};

/// How deep parentheses may stand in each other.
const DEPTH: usize = 32;

/// Who may come in.
#[derive(Debug, Clone, PartialEq)]
pub struct Access {
    node: Node,
}

#[derive(Debug, Clone, PartialEq)]
enum Node {
    Constant(bool),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Ip(Vec<IpNet>),
    Local,
    Host(Vec<String>),
    Method(Vec<Method>),
    Env(Vec<String>),
    When(Box<Expression>),
    /// From here on somebody must have logged in.
    AnyUser,
    User(Vec<String>),
    Group(Vec<String>),
}

/// What it comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// Come in.
    Granted,
    /// Stay out, whoever it is.
    Denied,
    /// It depends on who it is, and that is not known.
    WhoIsIt,
}

/// Who asks.
pub struct Client<'a> {
    /// From where.
    pub peer: SocketAddr,
    /// Where it connected.
    pub local: IpAddr,
    /// Its method.
    pub method: &'a Method,
    /// Who it is, if that is known.
    pub user: Option<&'a str>,
    /// Whether that user is in a group.
    pub in_group: &'a dyn Fn(&str, &str) -> bool,
}

impl Access {
    /// Reads a rule.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut parser = Parser {
            words: words(text)?,
            at: 0,
        };
        let node = parser.any(0)?;
        match parser.peek() {
            None => Ok(Self { node }),
            Some(word) => Err(Fault(format!(
                "it is not clear what \"{word}\" is to do there"
            ))),
        }
    }

    /// Whether it may depend on who somebody is.
    #[must_use]
    pub fn asks_who(&self) -> bool {
        self.node.asks_who()
    }

    /// Whether it names groups.
    #[must_use]
    pub fn asks_groups(&self) -> bool {
        self.node.any_node(&|node| matches!(node, Node::Group(_)))
    }

    /// Whether somebody may come in.
    #[must_use]
    pub fn admits(&self, client: &Client<'_>, facts: &Facts<'_>, maps: &dyn Lookup) -> Answer {
        self.node.admits(client, facts, maps)
    }
}

impl Answer {
    fn of(granted: bool) -> Self {
        if granted { Self::Granted } else { Self::Denied }
    }

    fn not(self) -> Self {
        match self {
            Self::Granted => Self::Denied,
            Self::Denied => Self::Granted,
            Self::WhoIsIt => Self::WhoIsIt,
        }
    }
}

impl Node {
    fn any_node(&self, holds: &dyn Fn(&Self) -> bool) -> bool {
        holds(self)
            || match self {
                Self::Not(node) => node.any_node(holds),
                Self::All(nodes) | Self::Any(nodes) => {
                    nodes.iter().any(|node| node.any_node(holds))
                }
                _ => false,
            }
    }

    fn asks_who(&self) -> bool {
        self.any_node(&|node| matches!(node, Self::AnyUser | Self::User(_) | Self::Group(_)))
    }

    fn admits(&self, client: &Client<'_>, facts: &Facts<'_>, maps: &dyn Lookup) -> Answer {
        let whose = |is: &dyn Fn(&str) -> bool| match client.user {
            Some(user) => Answer::of(is(user)),
            None => Answer::WhoIsIt,
        };
        match self {
            Self::Constant(granted) => Answer::of(*granted),
            Self::Not(node) => node.admits(client, facts, maps).not(),
            // One that denies is enough to deny, and one that grants to grant, before anybody is
            // asked for a password.
            Self::All(nodes) => {
                let mut answer = Answer::Granted;
                for node in nodes {
                    match node.admits(client, facts, maps) {
                        Answer::Denied => return Answer::Denied,
                        Answer::WhoIsIt => answer = Answer::WhoIsIt,
                        Answer::Granted => {}
                    }
                }
                answer
            }
            Self::Any(nodes) => {
                let mut answer = Answer::Denied;
                for node in nodes {
                    match node.admits(client, facts, maps) {
                        Answer::Granted => return Answer::Granted,
                        Answer::WhoIsIt => answer = Answer::WhoIsIt,
                        Answer::Denied => {}
                    }
                }
                answer
            }
            Self::Ip(networks) => Answer::of(within(client.peer.ip(), networks)),
            Self::Local => {
                let peer = client.peer.ip().to_canonical();
                Answer::of(peer.is_loopback() || peer == client.local.to_canonical())
            }
            // Names are not looked up: an address has the name that its owner gives it.
            Self::Host(names) => {
                let peer = client.peer.ip().to_canonical();
                let local = peer.is_loopback() && names.iter().any(|name| name == "localhost");
                Answer::of(local || names.iter().any(|name| name.parse() == Ok(peer)))
            }
            Self::Method(methods) => {
                // What answers GET answers HEAD.
                let head = *client.method == Method::HEAD && methods.contains(&Method::GET);
                Answer::of(head || methods.contains(client.method))
            }
            Self::Env(names) => Answer::of(names.iter().any(|name| facts.env.contains_key(name))),
            Self::When(expression) => Answer::of(expression.holds(
                facts,
                &Groups::default(),
                &mut Groups::default(),
                maps,
            )),
            Self::AnyUser => whose(&|_| true),
            Self::User(names) => whose(&|user| names.iter().any(|name| name == user)),
            Self::Group(groups) => {
                whose(&|user| groups.iter().any(|group| (client.in_group)(user, group)))
            }
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Word {
    Plain(String),
    Quoted(String),
    Open,
    Close,
}

impl std::fmt::Display for Word {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Plain(text) => f.write_str(text),
            Self::Quoted(text) => write!(f, "'{text}'"),
            Self::Open => f.write_str("("),
            Self::Close => f.write_str(")"),
        }
    }
}

fn words(text: &str) -> Result<Vec<Word>, Fault> {
    let mut words = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let after = rest.get(c.len_utf8()..).unwrap_or_default();
        match c {
            c if c.is_whitespace() => rest = after,
            '(' => {
                words.push(Word::Open);
                rest = after;
            }
            ')' => {
                words.push(Word::Close);
                rest = after;
            }
            '"' | '\'' => {
                let end = after
                    .find(c)
                    .ok_or_else(|| Fault("a quotation mark is not closed".to_owned()))?;
                let (quoted, behind) = after.split_at(end);
                words.push(Word::Quoted(quoted.to_owned()));
                rest = behind.get(1..).unwrap_or_default();
            }
            _ => {
                let end = rest
                    .find(|c: char| c.is_whitespace() || "()".contains(c))
                    .unwrap_or(rest.len());
                let (word, behind) = rest.split_at(end);
                words.push(Word::Plain(word.to_owned()));
                rest = behind;
            }
        }
    }
    Ok(words)
}

struct Parser {
    words: Vec<Word>,
    at: usize,
}

impl Parser {
    fn peek(&self) -> Option<&Word> {
        self.words.get(self.at)
    }

    fn take(&mut self, word: &str) -> bool {
        let found = matches!(self.peek(), Some(Word::Plain(text)) if text == word);
        self.at += usize::from(found);
        found
    }

    fn any(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut nodes = vec![self.all(depth)?];
        while self.take("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(match nodes.len() {
            1 => nodes.swap_remove(0),
            _ => Node::Any(nodes),
        })
    }

    fn all(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut nodes = vec![self.one(depth)?];
        while self.take("and") {
            nodes.push(self.one(depth)?);
        }
        Ok(match nodes.len() {
            1 => nodes.swap_remove(0),
            _ => Node::All(nodes),
        })
    }

    fn one(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > DEPTH {
            return Err(Fault("parentheses too deep".to_owned()));
        }
        if self.take("not") {
            return Ok(Node::Not(Box::new(self.one(depth + 1)?)));
        }
        if self.peek() == Some(&Word::Open) {
            self.at += 1;
            let inner = self.any(depth + 1)?;
            if self.peek() != Some(&Word::Close) {
                return Err(Fault("a parenthesis is not closed".to_owned()));
            }
            self.at += 1;
            return Ok(inner);
        }
        let Some(Word::Plain(kind)) = self.peek().cloned() else {
            return Err(Fault(match self.peek() {
                Some(word) => format!("{word} is no condition"),
                None => "it ends too early".to_owned(),
            }));
        };
        self.at += 1;
        match kind.as_str() {
            "everybody" => return Ok(Node::Constant(true)),
            "nobody" => return Ok(Node::Constant(false)),
            "local" => return Ok(Node::Local),
            "any-user" => return Ok(Node::AnyUser),
            "when" => {
                let Some(Word::Quoted(text)) = self.peek().cloned() else {
                    return Err(Fault(
                        "\"when\" is followed by a condition in quotation marks".to_owned(),
                    ));
                };
                self.at += 1;
                return Ok(Node::When(Box::new(Expression::parse(&text)?)));
            }
            "ip" | "host" | "method" | "env" | "user" | "group" => {}
            _ => return Err(unknown(&kind)),
        }
        let mut arguments = Vec::new();
        loop {
            match self.peek() {
                Some(Word::Plain(text)) if text != "and" && text != "or" => {
                    arguments.push(text.clone());
                }
                Some(Word::Quoted(text)) => arguments.push(text.clone()),
                _ => break,
            }
            self.at += 1;
        }
        if arguments.is_empty() {
            return Err(Fault(format!(
                "\"{kind}\" says nothing without a word behind it"
            )));
        }
        Ok(match kind.as_str() {
            "ip" => Node::Ip(
                arguments
                    .iter()
                    .map(|text| network(text))
                    .collect::<Result<_, _>>()?,
            ),
            "host" => Node::Host(
                arguments
                    .iter()
                    .map(|text| text.to_ascii_lowercase())
                    .collect(),
            ),
            "method" => Node::Method(
                arguments
                    .iter()
                    .map(|text| {
                        text.parse()
                            .map_err(|_| Fault(format!("\"{text}\" is no method")))
                    })
                    .collect::<Result<_, _>>()?,
            ),
            "env" => Node::Env(arguments),
            "user" => Node::User(arguments),
            _ => Node::Group(arguments),
        })
    }
}

fn unknown(kind: &str) -> Fault {
    const KINDS: [&str; 11] = [
        "everybody",
        "nobody",
        "local",
        "any-user",
        "when",
        "ip",
        "host",
        "method",
        "env",
        "user",
        "group",
    ];
    let hint = match omnid_config::did_you_mean(kind, KINDS) {
        Some(similar) => format!("did you mean \"{similar}\"?"),
        None => format!("there are {}", KINDS.join(", ")),
    };
    Fault(format!("\"{kind}\" is no condition: {hint}"))
}

#[cfg(test)]
mod tests {
    use http::{HeaderMap, Version};
    use proptest::prelude::*;

    use super::*;
    use crate::expression::{NoMaps, Request};

    fn answer(text: &str, peer: [u8; 4], user: Option<&str>) -> Result<Answer, Fault> {
        let access = Access::parse(text)?;
        let headers = HeaderMap::new();
        let peer = SocketAddr::from((peer, 4711));
        let local = SocketAddr::from(([192, 0, 2, 1], 80));
        let request = Request {
            method: &Method::GET,
            headers: &headers,
            version: Version::HTTP_11,
            target: "/",
            host: "example.org",
            peer,
            local,
            tls: false,
            root: None,
        };
        let client = Client {
            peer,
            local: local.ip(),
            method: &Method::GET,
            user,
            in_group: &|user, group| user == "alice" && group == "staff",
        };
        Ok(access.admits(&client, &Facts::new(request, b"/", None), &NoMaps))
    }

    #[test]
    fn who_may_come_in() {
        use Answer::{Denied, Granted, WhoIsIt};
        let far = [198, 51, 100, 7];
        for (text, peer, user, expected) in [
            ("everybody", far, None, Granted),
            ("nobody", far, Some("alice"), Denied),
            ("local", far, None, Denied),
            ("local", [127, 0, 0, 9], None, Granted),
            ("local", [192, 0, 2, 1], None, Granted),
            ("ip 198.51.100.0/24 203.0.113.1", far, None, Granted),
            ("ip 198.51", far, None, Granted),
            ("not ip 198.51", far, None, Denied),
            ("any-user", far, None, WhoIsIt),
            ("any-user", far, Some("bob"), Granted),
            ("user alice bob", far, Some("bob"), Granted),
            ("user alice", far, Some("bob"), Denied),
            ("group staff", far, Some("alice"), Granted),
            ("group staff", far, Some("bob"), Denied),
            ("ip 198.51 or any-user", far, None, Granted),
            ("ip 10 or any-user", far, None, WhoIsIt),
            ("ip 10 and any-user", far, None, Denied),
            ("ip 198.51 and any-user", far, None, WhoIsIt),
            ("any-user and not user mallory", far, None, WhoIsIt),
            (
                "any-user and not user mallory",
                far,
                Some("mallory"),
                Denied,
            ),
            ("any-user and not user mallory", far, Some("alice"), Granted),
            ("not (ip 198.51 or user x)", far, None, Denied),
            (
                "(ip 10 or ip 198) and (method POST or method GET)",
                far,
                None,
                Granted,
            ),
            ("method POST", far, None, Denied),
            ("when \"%{REMOTE_ADDR} =~ /^198/\"", far, None, Granted),
            ("env X", far, None, Denied),
        ] {
            assert_eq!(answer(text, peer, user), Ok(expected), "{text} {user:?}");
        }
    }

    #[test]
    fn what_is_no_rule() {
        for text in [
            "",
            "or",
            "ip",
            "ip x",
            "usr alice",
            "everybody nobody",
            "(local",
            "local)",
            "when x",
            "when \"-q\"",
            "not",
            "user 'a",
        ] {
            assert!(Access::parse(text).is_err(), "{text}");
        }
        assert!(Access::parse(&"(".repeat(10_000)).is_err());
        assert!(Access::parse(&"not ".repeat(10_000)).is_err());
    }

    proptest! {
        #[test]
        fn no_text_breaks_it(text in "(not|and|or|ip|user|\\(|\\)|[a-z]{1,3}|10|'| ){0,24}") {
            drop(Access::parse(&text));
        }
    }
}

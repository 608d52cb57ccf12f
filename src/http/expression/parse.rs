//! From text to conditions, in the syntax of Apache's expressions.

use omnid_config::IpNet;

use super::{Fault, Pattern, Template};

/// How deep parentheses and negations may stand in each other.
const DEPTH: usize = 32;

/// A condition.
#[derive(Debug, Clone, PartialEq)]
pub struct Expression {
    pub(super) node: Node,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Node {
    Constant(bool),
    Not(Box<Node>),
    All(Vec<Node>),
    Any(Vec<Node>),
    Text(Template, Order, Template),
    Number(Template, Order, Template),
    Matches(Template, Pattern, bool),
    OneOf(Template, Vec<Template>),
    File(FileTest, Template),
    Empty(Template),
    Truth(Template),
    Network(Option<Template>, Vec<IpNet>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Equal,
    NotEqual,
    Less,
    AtMost,
    Greater,
    AtLeast,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FileTest {
    File,
    Directory,
    Exists,
    NotEmpty,
    Link,
    Executable,
}

impl Expression {
    /// Reads a condition.
    ///
    /// # Errors
    /// Where it is none.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        let mut parser = Parser { text, at: 0 };
        let node = parser.any(0)?;
        parser.space();
        match parser.rest() {
            "" => Ok(Self { node }),
            rest => Err(Fault::new(format!(
                "it is not clear what \"{}\" is to do there",
                short(rest)
            ))),
        }
    }

    /// The tables that it looks into.
    #[must_use]
    pub fn maps(&self) -> Vec<&str> {
        let mut maps = Vec::new();
        self.node
            .templates(&mut |template| maps.extend(template.maps()));
        maps
    }
}

impl Node {
    fn templates<'a>(&'a self, visit: &mut dyn FnMut(&'a Template)) {
        match self {
            Self::Constant(_) | Self::Network(None, _) => {}
            Self::Not(node) => node.templates(visit),
            Self::All(nodes) | Self::Any(nodes) => {
                for node in nodes {
                    node.templates(visit);
                }
            }
            Self::Text(left, _, right) | Self::Number(left, _, right) => {
                visit(left);
                visit(right);
            }
            Self::OneOf(word, words) => {
                visit(word);
                words.iter().for_each(visit);
            }
            Self::Matches(word, ..)
            | Self::File(_, word)
            | Self::Empty(word)
            | Self::Truth(word)
            | Self::Network(Some(word), _) => visit(word),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start().len();
    }

    fn take(&mut self, token: &str) -> bool {
        self.space();
        let found = self.rest().starts_with(token);
        if found {
            self.at += token.len();
        }
        found
    }

    /// A token that ends at a space or parenthesis.
    fn take_word(&mut self, token: &str) -> bool {
        self.space();
        let ends = self.rest().strip_prefix(token).is_some_and(|rest| {
            rest.chars()
                .next()
                .is_none_or(|c| c.is_whitespace() || "()'\"{".contains(c))
        });
        if ends {
            self.at += token.len();
        }
        ends
    }

    fn any(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut nodes = vec![self.all(depth)?];
        while self.take("||") || self.take_word("or") {
            nodes.push(self.all(depth)?);
        }
        Ok(single(nodes, Node::Any))
    }

    fn all(&mut self, depth: usize) -> Result<Node, Fault> {
        let mut nodes = vec![self.not(depth)?];
        while self.take("&&") || self.take_word("and") {
            nodes.push(self.not(depth)?);
        }
        Ok(single(nodes, Node::All))
    }

    fn not(&mut self, depth: usize) -> Result<Node, Fault> {
        if depth > DEPTH {
            return Err(Fault::new("parentheses too deep"));
        }
        if self.take("!") || self.take_word("not") {
            return Ok(Node::Not(Box::new(self.not(depth + 1)?)));
        }
        if self.take("(") {
            let inner = self.any(depth + 1)?;
            if !self.take(")") {
                return Err(Fault::new("a parenthesis is not closed"));
            }
            return Ok(inner);
        }
        for (word, truth) in [("true", true), ("false", false)] {
            if self.take_word(word) {
                return Ok(Node::Constant(truth));
            }
        }
        self.comparison()
    }

    fn comparison(&mut self) -> Result<Node, Fault> {
        self.space();
        if self.rest().starts_with('-') && !self.rest().starts_with("-1") {
            return self.unary();
        }
        let left = self.word()?;
        self.space();
        for (sign, order) in [
            ("==", Order::Equal),
            ("!=", Order::NotEqual),
            ("<=", Order::AtMost),
            (">=", Order::AtLeast),
        ] {
            if self.take(sign) {
                return Ok(Node::Text(left, order, self.word()?));
            }
        }
        if self.take("=~") {
            return Ok(Node::Matches(left, self.pattern()?, true));
        }
        if self.take("!~") {
            return Ok(Node::Matches(left, self.pattern()?, false));
        }
        for (sign, order) in [
            ("<", Order::Less),
            (">", Order::Greater),
            ("=", Order::Equal),
        ] {
            if self.take(sign) {
                return Ok(Node::Text(left, order, self.word()?));
            }
        }
        for (sign, order) in [
            ("eq", Order::Equal),
            ("ne", Order::NotEqual),
            ("lt", Order::Less),
            ("le", Order::AtMost),
            ("gt", Order::Greater),
            ("ge", Order::AtLeast),
        ] {
            if self.take_word(sign) || self.take_word(&format!("-{sign}")) {
                return Ok(Node::Number(left, order, self.word()?));
            }
        }
        if self.take_word("in") {
            return self.one_of(left);
        }
        if self.take_word("-ipmatch") {
            let range = self.word()?;
            return Ok(Node::Network(Some(left), networks(&range)?));
        }
        for (sign, ignore_case) in [
            ("-strmatch", false),
            ("-strcmatch", true),
            ("-fnmatch", false),
        ] {
            if self.take_word(sign) {
                let glob = self.word()?;
                let glob = glob
                    .fixed()
                    .ok_or_else(|| Fault::new(format!("{sign} needs a fixed pattern")))?;
                let pattern = Pattern::new(&from_glob(glob), ignore_case)?;
                return Ok(Node::Matches(left, pattern, true));
            }
        }
        // A word alone is true where it is not empty, as "-n" says.
        match self.rest().chars().next() {
            None | Some(')' | '&' | '|') => Ok(Node::Not(Box::new(Node::Empty(left)))),
            Some(_) => Err(Fault::new(format!(
                "\"{}\" is no comparison",
                short(self.rest())
            ))),
        }
    }

    fn unary(&mut self) -> Result<Node, Fault> {
        for (sign, test) in [
            ("-f", FileTest::File),
            ("-d", FileTest::Directory),
            ("-e", FileTest::Exists),
            ("-s", FileTest::NotEmpty),
            ("-l", FileTest::Link),
            ("-L", FileTest::Link),
            ("-h", FileTest::Link),
            ("-x", FileTest::Executable),
        ] {
            if self.take_word(sign) {
                return Ok(Node::File(test, self.word()?));
            }
        }
        if self.take_word("-z") {
            return Ok(Node::Empty(self.word()?));
        }
        if self.take_word("-n") {
            return Ok(Node::Not(Box::new(Node::Empty(self.word()?))));
        }
        if self.take_word("-T") {
            return Ok(Node::Truth(self.word()?));
        }
        if self.take_word("-R") {
            let range = self.word()?;
            return Ok(Node::Network(None, networks(&range)?));
        }
        Err(Fault::new(format!(
            "there is no test \"{}\"",
            short(self.rest())
        )))
    }

    fn one_of(&mut self, left: Template) -> Result<Node, Fault> {
        if !self.take("{") {
            return Err(Fault::new("\"in\" is followed by a list in braces"));
        }
        let mut words = Vec::new();
        loop {
            words.push(self.word()?);
            if self.take(",") {
                continue;
            }
            if self.take("}") {
                return Ok(Node::OneOf(left, words));
            }
            return Err(Fault::new("a list is not closed"));
        }
    }

    fn pattern(&mut self) -> Result<Pattern, Fault> {
        self.space();
        let rest = self.rest();
        let (delimiter, body) = if let Some(body) = rest.strip_prefix('/') {
            ('/', body)
        } else if let Some(body) = rest.strip_prefix('m')
            && let Some(delimiter) = body.chars().next().filter(char::is_ascii_punctuation)
        {
            (delimiter, body.get(1..).unwrap_or_default())
        } else if let Some(quote @ ('"' | '\'')) = rest.chars().next() {
            (quote, rest.get(1..).unwrap_or_default())
        } else {
            return Err(Fault::new("a pattern is written /…/ or m#…#"));
        };
        let mut escaped = false;
        let end = body.char_indices().find(|&(_, c)| {
            let ends = c == delimiter && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        let Some((end, _)) = end else {
            return Err(Fault::new("a pattern is not closed"));
        };
        let source = body.get(..end).unwrap_or_default();
        let source = source.replace(&format!("\\{delimiter}"), &unescaped(delimiter));
        self.at = self.text.len() - body.len() + end + delimiter.len_utf8();
        let mut ignore_case = false;
        while let Some(flag) = self.rest().chars().next().filter(char::is_ascii_alphabetic) {
            match flag {
                'i' => ignore_case = true,
                'm' | 's' | 'n' | 'g' => {}
                flag => return Err(Fault::new(format!("a pattern has no flag \"{flag}\""))),
            }
            self.at += 1;
        }
        Pattern::new(&source, ignore_case)
    }

    /// A word: a quoted text, or all up to the next space, with variables in either.
    fn word(&mut self) -> Result<Template, Fault> {
        self.space();
        let rest = self.rest();
        if let Some(quote @ ('"' | '\'')) = rest.chars().next() {
            let body = rest.get(1..).unwrap_or_default();
            let mut escaped = false;
            let end = body.char_indices().find(|&(_, c)| {
                let ends = c == quote && !escaped;
                escaped = c == '\\' && !escaped;
                ends
            });
            let Some((end, _)) = end else {
                return Err(Fault::new("a quotation mark is not closed"));
            };
            self.at += end + 2;
            return Template::parse(body.get(..end).unwrap_or_default());
        }
        for function in super::template::BUILT_IN {
            if let Some(after) = rest.strip_prefix(function)
                && after.starts_with('(')
            {
                self.at += function.len() + 1;
                let inner = self.word()?;
                if !self.take(")") {
                    return Err(Fault::new("a parenthesis is not closed"));
                }
                return Ok(Template::in_map(function, inner));
            }
        }
        for (function, prefix) in [
            ("req", "HTTP"),
            ("http", "HTTP"),
            ("reqenv", "ENV"),
            ("env", "ENV"),
        ] {
            if let Some(after) = rest.strip_prefix(function)
                && after.starts_with('(')
            {
                self.at += function.len() + 1;
                let inner = self.word()?;
                let name = inner
                    .fixed()
                    .ok_or_else(|| Fault::new(format!("{function}() needs a fixed name")))?;
                let name = format!("%{{{prefix}:{name}}}");
                if !self.take(")") {
                    return Err(Fault::new("a parenthesis is not closed"));
                }
                return Template::parse(&name);
            }
        }
        let mut braces = 0_usize;
        let end = rest
            .char_indices()
            .find(|&(at, c)| {
                match c {
                    '{' if at > 0 => braces += 1,
                    '}' if braces > 0 => {
                        braces -= 1;
                        return false;
                    }
                    _ => {}
                }
                braces == 0
                    && (c.is_whitespace() || "(),}&|=<>~'\"".contains(c) || (c == '!' && at > 0))
            })
            .map_or(rest.len(), |(at, _)| at);
        let word = rest.get(..end).unwrap_or_default();
        if word.is_empty() {
            return Err(Fault::new(if rest.is_empty() {
                "it ends too early".to_owned()
            } else {
                format!("\"{}\" is no value", short(rest))
            }));
        }
        self.at += end;
        Template::parse(word)
    }
}

fn single(mut nodes: Vec<Node>, many: impl FnOnce(Vec<Node>) -> Node) -> Node {
    if nodes.len() == 1
        && let Some(node) = nodes.pop()
    {
        return node;
    }
    many(nodes)
}

/// A delimiter that was escaped stands for itself, unless it means something in a pattern.
fn unescaped(delimiter: char) -> String {
    if r".*+?()[]{}|^$".contains(delimiter) {
        format!("\\{delimiter}")
    } else {
        delimiter.to_string()
    }
}

fn short(text: &str) -> String {
    text.chars().take(20).collect()
}

fn networks(word: &Template) -> Result<Vec<IpNet>, Fault> {
    let text = word
        .fixed()
        .ok_or_else(|| Fault::new("an address range must be fixed"))?;
    text.split_whitespace().map(network).collect()
}

/// An address, a network with its prefix length or its mask, or the first bytes of an address.
pub(crate) fn network(text: &str) -> Result<IpNet, Fault> {
    let fault = || Fault::new(format!("\"{text}\" is no address or network"));
    if let Some((address, mask)) = text.split_once('/')
        && let (Ok(address), Ok(mask)) = (
            address.parse::<std::net::Ipv4Addr>(),
            mask.parse::<std::net::Ipv4Addr>(),
        )
    {
        let bits = u32::from(mask);
        if bits.leading_ones() + bits.trailing_zeros() < 32 {
            return Err(fault());
        }
        let network = std::net::Ipv4Addr::from(u32::from(address) & bits);
        return format!("{network}/{}", bits.leading_ones())
            .parse()
            .map_err(|_| fault());
    }
    // "10", "10.1." and "192.168.2": whole bytes from the left.
    let parts: Vec<&str> = text.trim_end_matches('.').split('.').collect();
    let bytes = parts.iter().all(|part| part.parse::<u8>().is_ok());
    if bytes && parts.len() < 4 && !text.contains(':') {
        let mut whole = parts.clone();
        whole.resize(4, "0");
        return format!("{}/{}", whole.join("."), parts.len() * 8)
            .parse()
            .map_err(|_| fault());
    }
    if let Some((address, length)) = text.split_once('/')
        && let (Ok(address), Ok(length)) =
            (address.parse::<std::net::Ipv4Addr>(), length.parse::<u32>())
        && length <= 32
    {
        // Bits beyond the prefix are masked, as others do.
        let mask = u32::MAX.checked_shl(32 - length).unwrap_or(0);
        let network = std::net::Ipv4Addr::from(u32::from(address) & mask);
        return format!("{network}/{length}").parse().map_err(|_| fault());
    }
    text.parse().map_err(|_| fault())
}

/// A file name pattern as a regular expression.
fn from_glob(glob: &str) -> String {
    let mut pattern = String::from("^");
    for c in glob.chars() {
        match c {
            '*' => pattern.push_str("[^/]*"),
            '?' => pattern.push_str("[^/]"),
            '[' | ']' => pattern.push(c),
            c if c.is_ascii_punctuation() => {
                pattern.push('\\');
                pattern.push(c);
            }
            c => pattern.push(c),
        }
    }
    pattern.push('$');
    pattern
}

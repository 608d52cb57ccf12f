//! Texts with variables in them: `https://%{HTTP_HOST}/$1?from=${map:%1|none}`.

use super::{Facts, Fault, LONGEST, Variable, eval::Groups};

/// A text that is filled in for each request.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Text(String),
    Variable(Variable),
    /// `$1`: a group of the rule's own pattern.
    Rule(usize),
    /// `%1`: a group of the last condition that matched.
    Condition(usize),
    /// `${map:key|default}`
    Map {
        map: String,
        key: Template,
        default: Template,
    },
}

/// Tables that templates look keys up in.
pub trait Lookup {
    /// The value of a key; `None` where there is none.
    fn look_up(&self, map: &str, key: &str) -> Option<String>;
    /// Whether there is such a table.
    fn knows(&self, map: &str) -> bool;
}

/// No tables but those that are built in.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoMaps;

impl Lookup for NoMaps {
    fn look_up(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn knows(&self, _: &str) -> bool {
        false
    }
}

/// How deep tables may stand in the keys of tables.
const DEPTH: usize = 4;

impl Template {
    /// Reads a template.
    ///
    /// # Errors
    /// Where a variable is not known or a brace is not closed.
    pub fn parse(text: &str) -> Result<Self, Fault> {
        Self::parse_within(text, DEPTH)
    }

    /// A text in which nothing stands for anything.
    #[must_use]
    pub fn literal(text: &str) -> Self {
        Self {
            parts: vec![Part::Text(text.to_owned())],
        }
    }

    /// A text put through a table.
    pub(super) fn in_map(map: &str, key: Self) -> Self {
        Self {
            parts: vec![Part::Map {
                map: map.to_owned(),
                key,
                default: Self::default(),
            }],
        }
    }

    fn parse_within(text: &str, depth: usize) -> Result<Self, Fault> {
        let mut parts = Vec::new();
        let mut literal = String::new();
        let mut rest = text;
        while let Some(c) = rest.chars().next() {
            let after = rest.get(c.len_utf8()..).unwrap_or_default();
            let next = after.chars().next();
            let part = match (c, next) {
                ('\\', Some(next)) => {
                    literal.push(next);
                    rest = after.get(next.len_utf8()..).unwrap_or_default();
                    continue;
                }
                ('$' | '%', Some(digit)) if digit.is_ascii_digit() => {
                    rest = after.get(1..).unwrap_or_default();
                    let group = usize::try_from(digit.to_digit(10).unwrap_or(0)).unwrap_or(0);
                    if c == '$' {
                        Part::Rule(group)
                    } else {
                        Part::Condition(group)
                    }
                }
                ('%' | '$', Some('{')) => {
                    let (inner, behind) = braced(after)?;
                    rest = behind;
                    if c == '%' {
                        Part::Variable(Variable::parse(inner)?)
                    } else {
                        map(inner, depth)?
                    }
                }
                _ => {
                    literal.push(c);
                    rest = after;
                    continue;
                }
            };
            if !literal.is_empty() {
                parts.push(Part::Text(std::mem::take(&mut literal)));
            }
            parts.push(part);
        }
        if !literal.is_empty() {
            parts.push(Part::Text(literal));
        }
        Ok(Self { parts })
    }

    /// The tables it looks into.
    pub fn maps(&self) -> Vec<&str> {
        let mut maps = Vec::new();
        for part in &self.parts {
            if let Part::Map { map, key, default } = part {
                maps.push(map.as_str());
                maps.extend(key.maps());
                maps.extend(default.maps());
            }
        }
        maps
    }

    /// What it begins with, as far as that does not depend on the request.
    #[must_use]
    pub fn fixed_start(&self) -> &str {
        match self.parts.first() {
            Some(Part::Text(text)) => text,
            _ => "",
        }
    }

    /// The text, where it is the same for every request.
    #[must_use]
    pub fn fixed(&self) -> Option<&str> {
        match self.parts.as_slice() {
            [] => Some(""),
            [Part::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// Fills it in. `rule` and `condition` are what patterns captured; what comes of them passes
    /// `escape` first.
    pub fn fill(
        &self,
        facts: &Facts<'_>,
        rule: &Groups,
        condition: &Groups,
        maps: &dyn Lookup,
        escape: &dyn Fn(&str) -> String,
    ) -> String {
        let mut filled = String::new();
        for part in &self.parts {
            let room = LONGEST.saturating_sub(filled.len());
            let piece = match part {
                Part::Text(text) => text.clone(),
                Part::Variable(variable) => facts.value(variable).into_owned(),
                Part::Rule(group) => escape(rule.get(*group)),
                Part::Condition(group) => escape(condition.get(*group)),
                Part::Map { map, key, default } => {
                    let key = key.fill(facts, rule, condition, maps, escape);
                    match built_in(map, &key).or_else(|| maps.look_up(map, &key)) {
                        Some(value) => value,
                        None => default.fill(facts, rule, condition, maps, escape),
                    }
                }
            };
            let mut end = piece.len().min(room);
            while !piece.is_char_boundary(end) {
                end -= 1;
            }
            filled.push_str(piece.get(..end).unwrap_or_default());
        }
        filled
    }
}

/// What stands in braces, which may hold braces, and what follows.
fn braced(text: &str) -> Result<(&str, &str), Fault> {
    let mut depth = 0_usize;
    for (at, c) in text.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth = depth.saturating_sub(1);
                if depth == 0 {
                    let inner = text.get(1..at).unwrap_or_default();
                    return Ok((inner, text.get(at + 1..).unwrap_or_default()));
                }
            }
            _ => {}
        }
    }
    Err(Fault::new("a brace is not closed"))
}

fn map(inner: &str, depth: usize) -> Result<Part, Fault> {
    let depth = depth
        .checked_sub(1)
        .ok_or_else(|| Fault::new("tables within tables too deep"))?;
    let (map, rest) = inner
        .split_once(':')
        .ok_or_else(|| Fault::new(format!("\"${{{inner}}}\" names no table and key")))?;
    // The bar of this table, not of one in its key.
    let mut braces = 0_usize;
    let bar = rest.char_indices().find_map(|(at, c)| {
        match c {
            '{' => braces += 1,
            '}' => braces = braces.saturating_sub(1),
            '|' if braces == 0 => return Some(at),
            _ => {}
        }
        None
    });
    let (key, default) = match bar {
        Some(bar) => (
            rest.get(..bar).unwrap_or_default(),
            rest.get(bar + 1..).unwrap_or_default(),
        ),
        None => (rest, ""),
    };
    Ok(Part::Map {
        map: map.to_owned(),
        key: Template::parse_within(key, depth)?,
        default: Template::parse_within(default, depth)?,
    })
}

/// The tables that are always there.
pub(crate) const BUILT_IN: [&str; 4] = ["tolower", "toupper", "escape", "unescape"];

fn built_in(map: &str, key: &str) -> Option<String> {
    Some(match map {
        "tolower" => key.to_lowercase(),
        "toupper" => key.to_uppercase(),
        "escape" => {
            let mut escaped = String::new();
            crate::wire::percent::encode_path(key.as_bytes(), &mut escaped);
            escaped
        }
        "unescape" => unescape(key),
        _ => return None,
    })
}

pub(crate) fn unescape(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        let mut ahead = rest.clone();
        let decoded = (byte == b'%')
            .then(|| ahead.next().zip(ahead.next()))
            .flatten()
            .and_then(|(high, low)| crate::wire::percent::decode_pair(high, low));
        match decoded {
            Some(decoded) => {
                bytes.push(decoded);
                rest = ahead;
            }
            None => bytes.push(byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

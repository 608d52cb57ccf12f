//! Lua's literals, as Prosody writes its files: `return { … };` and rows of `item({ … });`. Nothing
//! is run: what is not a literal is an error.

/// Tables within tables.
const DEPTH: usize = 100;

/// A value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Lua {
    Nil,
    Bool(bool),
    Number(f64),
    Text(String),
    Table(Table),
}

/// A table: what has a key, in the order of the file, and what has only a place.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Table {
    pub(super) keyed: Vec<(Lua, Lua)>,
    pub(super) row: Vec<Lua>,
}

impl Table {
    /// What is under a name.
    pub(super) fn get(&self, name: &str) -> Option<&Lua> {
        let mut keyed = self.keyed.iter();
        keyed
            .find(|(key, _)| matches!(key, Lua::Text(key) if key == name))
            .map(|(_, value)| value)
    }

    /// What is under `false`, where Prosody keeps what is about the whole.
    pub(super) fn about(&self) -> Option<&Table> {
        let mut keyed = self.keyed.iter();
        let (_, about) = keyed.find(|(key, _)| *key == Lua::Bool(false))?;
        about.table()
    }

    /// What is under names.
    pub(super) fn named(&self) -> impl Iterator<Item = (&str, &Lua)> {
        self.keyed.iter().filter_map(|(key, value)| match key {
            Lua::Text(key) => Some((key.as_str(), value)),
            _ => None,
        })
    }

    pub(super) fn text(&self, name: &str) -> Option<&str> {
        match self.get(name)? {
            Lua::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self, name: &str) -> Option<f64> {
        self.get(name)?.number()
    }

    pub(super) fn flag(&self, name: &str) -> Option<bool> {
        match self.get(name)? {
            Lua::Bool(flag) => Some(*flag),
            Lua::Text(text) => match text.as_str() {
                "true" | "1" => Some(true),
                "false" | "0" => Some(false),
                _ => None,
            },
            _ => None,
        }
    }

    pub(super) fn inner(&self, name: &str) -> Option<&Table> {
        self.get(name)?.table()
    }
}

impl Lua {
    pub(super) fn table(&self) -> Option<&Table> {
        match self {
            Lua::Table(table) => Some(table),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Lua::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Lua::Number(number) => Some(*number),
            Lua::Text(text) => text.trim().parse().ok(),
            _ => None,
        }
    }
}

/// What is wrong with a file, and in which line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) line: usize,
    pub(super) what: &'static str,
}

/// A file that returns one value.
pub(super) fn file(text: &[u8]) -> Result<Lua, Wrong> {
    let mut reader = Reader::new(text);
    reader.word("return")?;
    let value = reader.value(0)?;
    reader.skip(b';');
    reader.end()?;
    Ok(value)
}

/// A file of items, each with its line. What was cut off at the end, by a crash, is left out and
/// told.
pub(super) fn items(text: &[u8]) -> (Vec<(usize, Table)>, Option<Wrong>) {
    let mut reader = Reader::new(text);
    let mut items = Vec::new();
    loop {
        if reader.end().is_ok() {
            return (items, None);
        }
        let line = reader.line();
        match reader.item() {
            Ok(table) => items.push((line, table)),
            Err(wrong) => return (items, Some(wrong)),
        }
    }
}

pub(super) struct Reader<'a> {
    text: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) fn new(text: &'a [u8]) -> Self {
        Self { text, at: 0 }
    }

    pub(super) fn line(&mut self) -> usize {
        self.blank();
        let read = self.text.get(..self.at).unwrap_or_default();
        read.iter().filter(|byte| **byte == b'\n').count() + 1
    }

    fn wrong<T>(&mut self, what: &'static str) -> Result<T, Wrong> {
        let read = self.text.get(..self.at).unwrap_or_default();
        let line = read.iter().filter(|byte| **byte == b'\n').count() + 1;
        Err(Wrong { line, what })
    }

    fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    fn rest(&self) -> &'a [u8] {
        self.text.get(self.at..).unwrap_or_default()
    }

    /// White space, NULs that a crash left in a file, and comments.
    fn blank(&mut self) {
        loop {
            match self.peek() {
                Some(b' ' | b'\t' | b'\r' | b'\n' | 0) => self.at += 1,
                Some(b'-') if self.rest().starts_with(b"--") => {
                    self.at += 2;
                    let from = self.at;
                    if self.peek() == Some(b'[') && self.long().is_ok() {
                        continue;
                    }
                    self.at = from;
                    let end = self.rest().iter().position(|byte| *byte == b'\n');
                    self.at += end.unwrap_or(self.rest().len());
                }
                _ => return,
            }
        }
    }

    pub(super) fn end(&mut self) -> Result<(), Wrong> {
        self.blank();
        match self.peek() {
            None => Ok(()),
            Some(_) => self.wrong("something after the end"),
        }
    }

    pub(super) fn skip(&mut self, byte: u8) -> bool {
        self.blank();
        let is_there = self.peek() == Some(byte);
        if is_there {
            self.at += 1;
        }
        is_there
    }

    fn expect(&mut self, byte: u8, what: &'static str) -> Result<(), Wrong> {
        if self.skip(byte) {
            Ok(())
        } else {
            self.wrong(what)
        }
    }

    pub(super) fn name(&mut self) -> Option<&'a str> {
        self.blank();
        let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        if self.peek().is_some_and(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let length = self.rest().iter().take_while(|byte| is_name(byte)).count();
        let name = std::str::from_utf8(self.rest().get(..length)?).ok()?;
        self.at += length;
        (!name.is_empty()).then_some(name)
    }

    /// What comes next, behind blanks.
    pub(super) fn next_byte(&mut self) -> Option<u8> {
        self.blank();
        self.peek()
    }

    /// Behind the end of the line.
    pub(super) fn skip_line(&mut self) {
        let end = self.rest().iter().position(|byte| *byte == b'\n');
        self.at += end.map_or(self.rest().len(), |end| end + 1);
    }

    /// Whether a value that was read is all of it: nothing is done with it.
    pub(super) fn at_statement_end(&mut self) -> bool {
        match self.next_byte() {
            None | Some(b';') => true,
            Some(byte) => {
                let at = self.at;
                let word = self.name();
                self.at = at;
                byte.is_ascii_alphabetic() && !matches!(word, Some("and" | "or"))
            }
        }
    }

    fn word(&mut self, word: &'static str) -> Result<(), Wrong> {
        if self.name() == Some(word) {
            Ok(())
        } else {
            self.wrong("not a file of Prosody's")
        }
    }

    fn item(&mut self) -> Result<Table, Wrong> {
        self.word("item")?;
        self.expect(b'(', "an item without (")?;
        let Lua::Table(table) = self.value(0)? else {
            return self.wrong("an item that is no table");
        };
        self.expect(b')', "an item without )")?;
        self.skip(b';');
        Ok(table)
    }

    pub(super) fn value(&mut self, depth: usize) -> Result<Lua, Wrong> {
        self.blank();
        match self.peek() {
            Some(b'{') => self.table(depth).map(Lua::Table),
            Some(b'"' | b'\'') => self.quoted().map(Lua::Text),
            Some(b'[') => self.long().map(Lua::Text),
            Some(byte) if byte.is_ascii_digit() || byte == b'-' || byte == b'.' => self.number(),
            _ => match self.name() {
                Some("true") => Ok(Lua::Bool(true)),
                Some("false") => Ok(Lua::Bool(false)),
                Some("nil") => Ok(Lua::Nil),
                _ => self.wrong("not a literal"),
            },
        }
    }

    fn table(&mut self, depth: usize) -> Result<Table, Wrong> {
        if depth >= DEPTH {
            return self.wrong("tables are nested too deeply");
        }
        self.at += 1;
        let mut table = Table::default();
        loop {
            self.blank();
            let rest = self.rest();
            if self.skip(b'}') {
                return Ok(table);
            }
            let long = rest.starts_with(b"[[") || rest.starts_with(b"[=");
            if self.peek() == Some(b'[') && !long {
                self.at += 1;
                let key = self.value(depth + 1)?;
                self.expect(b']', "a key without ]")?;
                self.expect(b'=', "a key without =")?;
                table.keyed.push((key, self.value(depth + 1)?));
            } else {
                let before = self.at;
                match self.name() {
                    Some(name) if self.skip(b'=') => {
                        let key = Lua::Text(name.to_owned());
                        table.keyed.push((key, self.value(depth + 1)?));
                    }
                    _ => {
                        self.at = before;
                        table.row.push(self.value(depth + 1)?);
                    }
                }
            }
            if !self.skip(b';') && !self.skip(b',') {
                self.expect(b'}', "a table without }")?;
                return Ok(table);
            }
        }
    }

    fn number(&mut self) -> Result<Lua, Wrong> {
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || b".+-".contains(byte);
        let length = self.rest().iter().take_while(|byte| is_part(byte)).count();
        let text = self.rest().get(..length).unwrap_or_default();
        let text = std::str::from_utf8(text).unwrap_or_default();
        let number = match text.strip_prefix("0x").or(text.strip_prefix("0X")) {
            Some(digits) => u64::from_str_radix(digits, 16).ok().map(|n| n as f64),
            None => text.parse::<f64>().ok(),
        };
        match number.filter(|number| number.is_finite()) {
            Some(number) => {
                self.at += length;
                Ok(Lua::Number(number))
            }
            None => self.wrong("not a number"),
        }
    }

    fn quoted(&mut self) -> Result<String, Wrong> {
        let quote = self.peek();
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let Some(byte) = self.peek() else {
                return self.wrong("a text without an end");
            };
            self.at += 1;
            if Some(byte) == quote {
                return self.unicode(text);
            }
            if byte != b'\\' {
                text.push(byte);
                continue;
            }
            let Some(escaped) = self.peek() else {
                return self.wrong("a text without an end");
            };
            self.at += 1;
            match escaped {
                b'n' => text.push(b'\n'),
                b'r' => text.push(b'\r'),
                b't' => text.push(b'\t'),
                b'a' => text.push(7),
                b'b' => text.push(8),
                b'f' => text.push(12),
                b'v' => text.push(11),
                b'x' => {
                    let digits = self.rest().get(..2).unwrap_or_default();
                    let digits = std::str::from_utf8(digits).unwrap_or_default();
                    let Ok(byte) = u8::from_str_radix(digits, 16) else {
                        return self.wrong("\\x without two digits");
                    };
                    self.at += 2;
                    text.push(byte);
                }
                b'z' => self.blank(),
                b'0'..=b'9' => {
                    let mut number = u32::from(escaped - b'0');
                    for _ in 0..2 {
                        match self.peek() {
                            Some(digit @ b'0'..=b'9') => {
                                number = number * 10 + u32::from(digit - b'0');
                                self.at += 1;
                            }
                            _ => break,
                        }
                    }
                    let Ok(byte) = u8::try_from(number) else {
                        return self.wrong("\\ with a number beyond 255");
                    };
                    text.push(byte);
                }
                other => text.push(other),
            }
        }
    }

    fn unicode(&mut self, text: Vec<u8>) -> Result<String, Wrong> {
        match String::from_utf8(text) {
            Ok(text) => Ok(text),
            Err(_) => self.wrong("a text that is not in UTF-8"),
        }
    }

    /// `[[ … ]]`, `[=[ … ]=]`.
    fn long(&mut self) -> Result<String, Wrong> {
        let level = self.rest().get(1..).unwrap_or_default();
        let level = level.iter().take_while(|byte| **byte == b'=').count();
        if self.rest().get(1 + level) != Some(&b'[') {
            return self.wrong("not a literal");
        }
        self.at += level + 2;
        let close: Vec<u8> = [b"]".as_slice(), &vec![b'='; level], b"]"].concat();
        let rest = self.rest();
        let Some(end) = rest.windows(close.len()).position(|window| window == close) else {
            return self.wrong("a text without an end");
        };
        let text = rest.get(..end).unwrap_or_default();
        self.at += end + close.len();
        // A line end right behind the opening is no part of it.
        let text = text
            .strip_prefix(b"\r\n")
            .or(text.strip_prefix(b"\n"))
            .unwrap_or(text);
        self.unicode(text.to_vec())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals() {
        let text = b"-- a comment\nreturn {\n\t[false] = { version = 4; };\n\
            [\"a@b\"] = 'x\\195\\169\\n\\'\\x41'; -- more\n 1, 2.5e1; -3, [[\nlong]], [=[a]]b]=], nil, true, 0x10 };\n";
        let read = file(text).unwrap();
        let table = read.table().unwrap();
        assert_eq!(table.about().unwrap().number("version"), Some(4.0));
        assert_eq!(table.text("a@b"), Some("xé\n'A"));
        let row: Vec<_> = table.row.iter().map(Lua::number).collect();
        assert_eq!(
            row,
            [
                Some(1.0),
                Some(25.0),
                Some(-3.0),
                None,
                None,
                None,
                None,
                Some(16.0)
            ]
        );
        assert_eq!(table.row[3], Lua::Text("long".into()));
        assert_eq!(table.row[4], Lua::Text("a]]b".into()));
        for (wrong, line) in [
            ("return os.execute('x')", 1),
            ("return {\n f() }", 2),
            ("return \"\\300\"", 1),
            ("return '\\255'", 1),
            ("return {", 1),
            ("return 'x", 1),
            ("return 1 .. 2", 1),
            ("x", 1),
        ] {
            assert_eq!(file(wrong.as_bytes()).unwrap_err().line, line, "{wrong}");
        }
    }

    #[test]
    fn items_until_the_end_that_was_cut_off() {
        let (read, wrong) = items(b"item({ 1 });\n\0\0item({ 2 });\nitem({ 3");
        assert_eq!(read.len(), 2);
        assert_eq!((read[1].0, wrong.unwrap().line), (2, 3));
        assert!(items(b"item({});").1.is_none());
    }

    proptest! {
        #[test]
        fn never_panics(text in "[\\[\\]{}=;,\"'\\\\a0-9 .x-]{0,60}") {
            let _read = file(format!("return {text}").as_bytes());
            let _read = items(format!("item({text}").as_bytes());
        }
    }
}

//! A document of XEP-0227 cut into what is directly in its hosts, so that one user is in memory at a
//! time and not the whole server. Each piece is read, checked and given its namespaces by the
//! parser of stanzas; here only tags are found.

use std::path::{Path, PathBuf};

use omnid_xmpp::wire::{Element, Scope};

use super::{MoveError, read};

/// Files within files.
const FILES: usize = 4;
const XINCLUDE: &str = "http://www.w3.org/2001/XInclude";

/// A piece.
pub(super) struct Piece {
    /// The file it is in,
    pub(super) file: PathBuf,
    /// and the line.
    pub(super) line: usize,
    /// The host's address.
    pub(super) host: String,
    /// It.
    pub(super) element: Element,
}

/// The pieces of a document.
pub(super) struct Pieces {
    files: Vec<File>,
}

struct File {
    path: PathBuf,
    text: String,
    at: usize,
    /// How many lines there were before `counted`.
    lines: usize,
    counted: usize,
    /// Start tags of what the next piece is in, with those of the files around.
    open: Vec<String>,
    /// How many of them are other files'.
    outside: usize,
}

enum Markup {
    Start { from: usize, empty: bool },
    End,
}

impl Pieces {
    pub(super) fn open(path: &Path) -> Result<Pieces, MoveError> {
        Ok(Pieces {
            files: vec![File::open(path, Vec::new())?],
        })
    }

    fn piece(&mut self) -> Result<Option<Piece>, MoveError> {
        while let Some(file) = self.files.last_mut() {
            let Some(markup) = file.markup()? else {
                if file.open.len() > file.outside {
                    return Err(file.wrong(file.at, "the document ends before its elements"));
                }
                self.files.pop();
                continue;
            };
            let Markup::Start { from, empty } = markup else {
                if file.open.len() <= file.outside {
                    return Err(file.wrong(file.at, "an end tag too many"));
                }
                file.open.pop();
                continue;
            };
            let tag = file.text.get(from..file.at).unwrap_or_default().to_owned();
            let is_include = local(&tag) == "include";
            // The root of a file that is included stands for the include.
            if file.open.len() < 2 && !is_include {
                if !empty {
                    file.open.push(tag);
                }
                continue;
            }
            if !empty {
                file.skip_content()?;
            }
            let element = file.element(from, &file.text_without_comments(from))?;
            let host = file.host(from)?;
            if element.is("include", XINCLUDE) {
                let included = file.included(from, &element)?;
                let open = file.open.clone();
                if self.files.len() >= FILES {
                    let file = self.files.last_mut();
                    let error = file.map(|file| file.wrong(from, "too many files in each other"));
                    return error.map_or(Ok(None), Err);
                }
                self.files.push(File::open(&included, open)?);
                continue;
            }
            return Ok(Some(Piece {
                file: file.path.clone(),
                line: file.line(from),
                host,
                element,
            }));
        }
        Ok(None)
    }
}

impl Iterator for Pieces {
    type Item = Result<Piece, MoveError>;

    fn next(&mut self) -> Option<Self::Item> {
        let piece = self.piece();
        if piece.is_err() {
            self.files.clear();
        }
        piece.transpose()
    }
}

impl File {
    fn open(path: &Path, open: Vec<String>) -> Result<File, MoveError> {
        let text = String::from_utf8(read(path)?).map_err(|_| MoveError::Form {
            path: path.to_owned(),
            line: 1,
            reason: "is not in UTF-8".to_owned(),
        })?;
        let outside = open.len();
        Ok(File {
            path: path.to_owned(),
            text,
            at: 0,
            lines: 1,
            counted: 0,
            open,
            outside,
        })
    }

    fn wrong(&mut self, at: usize, reason: &str) -> MoveError {
        MoveError::Form {
            path: self.path.clone(),
            line: self.line(at),
            reason: reason.to_owned(),
        }
    }

    /// The line that a place is in; places come one behind the other.
    fn line(&mut self, at: usize) -> usize {
        let passed = self.text.as_bytes().get(self.counted..at);
        if let Some(passed) = passed {
            self.lines += passed.iter().filter(|byte| **byte == b'\n').count();
            self.counted = at;
        }
        self.lines
    }

    fn find(&mut self, what: &str, flaw: &str) -> Result<usize, MoveError> {
        let from = self.at;
        let rest = self.text.get(from..).unwrap_or_default();
        match rest.find(what) {
            Some(found) => Ok(from + found + what.len()),
            None => Err(self.wrong(from, flaw)),
        }
    }

    /// The next tag; behind it afterwards.
    fn markup(&mut self) -> Result<Option<Markup>, MoveError> {
        loop {
            let rest = self.text.get(self.at..).unwrap_or_default();
            let Some(open) = rest.find('<') else {
                self.at = self.text.len();
                return Ok(None);
            };
            let from = self.at + open;
            let tag = self.text.get(from..).unwrap_or_default();
            self.at = from;
            if tag.starts_with("<!--") {
                self.at = self.find("-->", "a comment without an end")?;
            } else if tag.starts_with("<![CDATA[") {
                self.at = self.find("]]>", "a CDATA section without an end")?;
            } else if tag.starts_with("<?") {
                self.at = self.find("?>", "a processing instruction without an end")?;
            } else if tag.starts_with("<!") {
                return Err(self.wrong(from, "document types are not read"));
            } else if tag.starts_with("</") {
                self.at = self.find(">", "a tag without an end")?;
                return Ok(Some(Markup::End));
            } else {
                let end = tag_end(tag).map(|end| from + end);
                let Some(end) = end else {
                    return Err(self.wrong(from, "a tag without an end"));
                };
                self.at = end;
                let empty = self
                    .text
                    .get(..end)
                    .is_some_and(|text| text.ends_with("/>"));
                return Ok(Some(Markup::Start { from, empty }));
            }
        }
    }

    /// Behind the end of the element whose start tag was the last markup.
    fn skip_content(&mut self) -> Result<(), MoveError> {
        let mut depth = 1_usize;
        while depth > 0 {
            match self.markup()? {
                Some(Markup::Start { empty: false, .. }) => depth += 1,
                Some(Markup::Start { .. }) => {}
                Some(Markup::End) => depth -= 1,
                None => return Err(self.wrong(self.at, "the document ends before its elements")),
            }
        }
        Ok(())
    }

    /// What lies from there to here, without what the parser of stanzas does not know.
    fn text_without_comments(&self, from: usize) -> String {
        let mut text = String::new();
        let mut rest = self.text.get(from..self.at).unwrap_or_default();
        while let Some(at) = rest.find('<') {
            let (before, tag) = rest.split_at_checked(at).unwrap_or((rest, ""));
            text.push_str(before);
            let (ends, keep) = if tag.starts_with("<!--") {
                ("-->", false)
            } else if tag.starts_with("<?") {
                ("?>", false)
            } else if tag.starts_with("<![CDATA[") {
                ("]]>", true)
            } else {
                ("<", true)
            };
            let end = match tag.get(1..).and_then(|tag| tag.find(ends)) {
                Some(end) if ends == "<" => end + 1,
                Some(end) => end + 1 + ends.len(),
                None => tag.len(),
            };
            let (markup, after) = tag.split_at_checked(end).unwrap_or((tag, ""));
            if keep {
                text.push_str(markup);
            }
            rest = after;
        }
        text.push_str(rest);
        text
    }

    /// An element within what is open.
    fn element(&mut self, from: usize, text: &str) -> Result<Element, MoveError> {
        let mut whole: String = self.open.concat();
        whole.push_str(text);
        for tag in self.open.iter().rev() {
            whole.push_str("</");
            whole.push_str(name(tag));
            whole.push('>');
        }
        let depth = self.open.len();
        let parsed = Element::parse(whole.as_bytes(), &Scope::empty());
        let mut element = parsed.map_err(|flaw| self.wrong(from, &flaw.to_string()))?;
        for _ in 0..depth {
            let inner = element.children().next().cloned();
            element = inner.ok_or_else(|| self.wrong(from, "nothing is there"))?;
        }
        Ok(element)
    }

    /// The address of the host that is open.
    fn host(&mut self, from: usize) -> Result<String, MoveError> {
        let Some(tag) = self.open.get(1).cloned() else {
            return Ok(String::new());
        };
        let outer = self.open.first().cloned().unwrap_or_default();
        let whole = format!("{outer}{tag}</{}></{}>", name(&tag), name(&outer));
        let parsed = Element::parse(whole.as_bytes(), &Scope::empty());
        let element = parsed.map_err(|flaw| self.wrong(from, &flaw.to_string()))?;
        let host = element
            .children()
            .next()
            .and_then(|host| host.get_attr("jid"));
        match host {
            Some(host) => Ok(host.to_owned()),
            None => Err(self.wrong(from, "a host without its jid")),
        }
    }

    /// XEP-0227 3: only files beside or below this one.
    fn included(&mut self, from: usize, include: &Element) -> Result<PathBuf, MoveError> {
        let href = include.get_attr("href").unwrap_or_default();
        let plain = !href.is_empty()
            && !href.contains(':')
            && Path::new(href)
                .components()
                .all(|part| matches!(part, std::path::Component::Normal(_)));
        if !plain {
            return Err(self.wrong(from, "only files below the document can be included"));
        }
        Ok(self.path.parent().unwrap_or(Path::new("")).join(href))
    }
}

/// Behind the `>` of a start tag.
fn tag_end(tag: &str) -> Option<usize> {
    let mut quote = None;
    for (at, byte) in tag.bytes().enumerate() {
        match (quote, byte) {
            (None, b'>') => return Some(at + 1),
            (None, b'"' | b'\'') => quote = Some(byte),
            (Some(open), byte) if open == byte => quote = None,
            _ => {}
        }
    }
    None
}

/// The name in a start tag, with its prefix.
fn name(tag: &str) -> &str {
    let rest = tag.trim_start_matches('<');
    let end = rest.find(|c: char| c.is_ascii_whitespace() || c == '>' || c == '/');
    rest.get(..end.unwrap_or(rest.len())).unwrap_or_default()
}

fn local(tag: &str) -> &str {
    let name = name(tag);
    name.rsplit_once(':').map_or(name, |(_, local)| local)
}

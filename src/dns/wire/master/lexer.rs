//! Words of a zone file, one logical line at a time: parentheses join lines, `;` begins a comment,
//! quotes hold blanks.

use crate::wire::rdata::Token;

/// A logical line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Line {
    /// It begins with a blank: the owner is the one before.
    pub(crate) indented: bool,
}

/// What makes a line unreadable, and where.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LexError {
    /// Offset in the file.
    pub at: usize,
    /// What is wrong.
    pub message: &'static str,
}

#[derive(Debug)]
pub(crate) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
}

const OPEN_QUOTE: &str = "quote is not closed on its line";
const OPEN_PARENTHESIS: &str = "parenthesis is not closed";
const CLOSE_PARENTHESIS: &str = "parenthesis was not opened";
const LONE_BACKSLASH: &str = "backslash at the end of a line";

impl<'a> Lexer<'a> {
    pub(crate) fn new(text: &'a [u8]) -> Lexer<'a> {
        // A byte order mark is no part of a name.
        let at = if text.starts_with(b"\xef\xbb\xbf") {
            3
        } else {
            0
        };
        Lexer { text, at }
    }

    /// Reads the next line that holds a word. After an error the lexer stands behind the line that
    /// held it, and can go on.
    pub(crate) fn line(&mut self, tokens: &mut Vec<Token<'a>>) -> Result<Option<Line>, LexError> {
        loop {
            tokens.clear();
            if self.at >= self.text.len() {
                return Ok(None);
            }
            let indented = matches!(self.text.get(self.at), Some(b' ' | b'\t'));
            match self.words(tokens) {
                Ok(()) if tokens.is_empty() => {}
                Ok(()) => return Ok(Some(Line { indented })),
                Err(error) => {
                    self.skip_line();
                    return Err(error);
                }
            }
        }
    }

    fn skip_line(&mut self) {
        let rest = self.text.get(self.at..).unwrap_or(&[]);
        let end = rest
            .iter()
            .position(|byte| *byte == b'\n')
            .map_or(rest.len(), |end| end + 1);
        self.at += end;
    }

    fn words(&mut self, tokens: &mut Vec<Token<'a>>) -> Result<(), LexError> {
        let mut opened = None;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | 0x0b | 0x0c => self.at += 1,
                b'\n' => {
                    self.at += 1;
                    if opened.is_none() {
                        return Ok(());
                    }
                }
                b';' => {
                    let rest = self.text.get(self.at..).unwrap_or(&[]);
                    let end = rest.iter().position(|byte| *byte == b'\n');
                    self.at += end.unwrap_or(rest.len());
                }
                b'(' => {
                    // BIND lets parentheses nest; what counts is the depth.
                    let (first, depth) = opened.unwrap_or((self.at, 0usize));
                    opened = Some((first, depth + 1));
                    self.at += 1;
                }
                b')' => {
                    opened = match opened {
                        None => {
                            return Err(LexError {
                                at: self.at,
                                message: CLOSE_PARENTHESIS,
                            });
                        }
                        Some((_, 1)) => None,
                        Some((first, depth)) => Some((first, depth - 1)),
                    };
                    self.at += 1;
                }
                b'"' => tokens.push(self.quoted()?),
                _ => tokens.push(self.word()?),
            }
        }
        match opened {
            Some((at, _)) => Err(LexError {
                at,
                message: OPEN_PARENTHESIS,
            }),
            None => Ok(()),
        }
    }

    fn word(&mut self) -> Result<Token<'a>, LexError> {
        let start = self.at;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b' ' | b'\t' | b'\r' | b'\n' | b';' | b'(' | b')' | 0x0b | 0x0c => break,
                b'\\' => self.escape()?,
                // RFC 9460 A: `key="value"` is one word; any other quote begins the next.
                b'"' if self.text.get(self.at.wrapping_sub(1)) == Some(&b'=') => {
                    self.quoted()?;
                }
                b'"' => break,
                _ => self.at += 1,
            }
        }
        Ok(Token {
            text: self.text.get(start..self.at).unwrap_or(&[]),
            quoted: false,
            at: start,
        })
    }

    fn quoted(&mut self) -> Result<Token<'a>, LexError> {
        let start = self.at;
        self.at += 1;
        while let Some(&byte) = self.text.get(self.at) {
            match byte {
                b'"' => {
                    let text = self.text.get(start + 1..self.at).unwrap_or(&[]);
                    self.at += 1;
                    return Ok(Token {
                        text,
                        quoted: true,
                        at: start,
                    });
                }
                b'\n' => break,
                b'\\' => self.escape()?,
                _ => self.at += 1,
            }
        }
        Err(LexError {
            at: start,
            message: OPEN_QUOTE,
        })
    }

    fn escape(&mut self) -> Result<(), LexError> {
        match self.text.get(self.at + 1) {
            None | Some(b'\n' | b'\r') => Err(LexError {
                at: self.at,
                message: LONE_BACKSLASH,
            }),
            Some(_) => {
                self.at += 2;
                Ok(())
            }
        }
    }
}

/// The words of a text that is one logical line.
pub fn tokens_of(text: &[u8]) -> Result<Vec<Token<'_>>, LexError> {
    let mut tokens = Vec::new();
    Lexer::new(text).line(&mut tokens)?;
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let tokens = tokens_of(text.as_bytes()).unwrap();
        let shown = |token: &Token<'_>| String::from_utf8_lossy(token.text).into_owned();
        tokens.iter().map(shown).collect()
    }

    #[test]
    fn one_line() {
        assert_eq!(
            words("a  IN\tA 192.0.2.1 ; comment \"x"),
            ["a", "IN", "A", "192.0.2.1"]
        );
        assert_eq!(
            words("a ( b ; x\n c\n ( d ) e ) f\ng"),
            ["a", "b", "c", "d", "e", "f"]
        );
        assert_eq!(
            words("a \"b c;(\" \"\" d\"e f\"g"),
            ["a", "b c;(", "", "d", "e f", "g"]
        );
        assert_eq!(
            words(r#"a\;b c\"d "e\"f""#),
            [r"a\;b", r#"c\"d"#, r#"e\"f"#]
        );
        assert_eq!(words(r#"alpn="h2,h3" b"#), [r#"alpn="h2,h3""#, "b"]);
        assert_eq!(words("a b\r\n"), ["a", "b"]);
        assert_eq!(words("\n \n;x\n(\n)\na"), ["a"]);
        assert_eq!(words("a(b)c"), ["a", "b", "c"]);
    }

    #[test]
    fn errors_and_going_on() {
        let cases = [
            ("a \"b\nc", 2, OPEN_QUOTE),
            ("a ) b\nc", 2, CLOSE_PARENTHESIS),
            ("a b\\\nc", 3, LONE_BACKSLASH),
        ];
        for (text, at, message) in cases {
            let mut lexer = Lexer::new(text.as_bytes());
            let mut tokens = Vec::new();
            assert_eq!(
                lexer.line(&mut tokens),
                Err(LexError { at, message }),
                "{text}"
            );
            assert_eq!(
                lexer.line(&mut tokens),
                Ok(Some(Line { indented: false })),
                "{text}"
            );
            assert_eq!(tokens[0].text, b"c");
            assert_eq!(lexer.line(&mut tokens), Ok(None));
        }
        let open = tokens_of(b"a ( b\nc");
        assert_eq!(
            open,
            Err(LexError {
                at: 2,
                message: OPEN_PARENTHESIS
            })
        );
    }
}

//! The lines of a zone file: directives and records.

use std::sync::Arc;

use super::generate::{Range, substitute};
use super::lexer::{Lexer, Line, tokens_of};
use super::records::{Fault, Place, Records, Severity, Sources};
use crate::wire::code::{Class, RrType};
use crate::wire::name::{NameBuf, NameRef};
use crate::wire::rdata::{Fields, RdataError, Token, parse, read_seconds};
use crate::wire::record::MAX_TTL;

/// Where `$INCLUDE` finds its files. Zone files name files; this room opens none.
pub trait Files {
    /// Reads a file named in another; gives the name it goes by, and its text.
    fn read(&mut self, name: &str, from: &str) -> Result<(Arc<str>, Arc<[u8]>), String>;
}

/// Refuses every `$INCLUDE`.
#[derive(Debug)]
pub struct NoFiles;

impl Files for NoFiles {
    fn read(&mut self, _: &str, _: &str) -> Result<(Arc<str>, Arc<[u8]>), String> {
        Err("files cannot be included here".to_owned())
    }
}

/// Bounds on a zone file.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Records.
    pub records: usize,
    /// Files within files.
    pub include_depth: usize,
    /// Faults reported; the rest is counted.
    pub faults: usize,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            records: 100_000_000,
            include_depth: 16,
            faults: 50,
        }
    }
}

/// A zone file, read.
#[derive(Debug, Default)]
pub struct Parsed {
    /// Its records.
    pub records: Records,
    /// Its files.
    pub sources: Sources,
    /// What is wrong with it, in the order found.
    pub faults: Vec<Fault>,
    /// Faults past the limit.
    pub more_faults: usize,
}

impl Parsed {
    /// True if a fault makes the zone unfit to be served.
    pub fn is_broken(&self) -> bool {
        self.more_faults > 0
            || self
                .faults
                .iter()
                .any(|fault| fault.severity == Severity::Error)
    }
}

/// Reads a zone file whole: it goes on after an error, at the next line.
pub fn parse_zone(
    origin: NameRef<'_>,
    name: &str,
    text: &Arc<[u8]>,
    files: &mut dyn Files,
    limits: Limits,
) -> Parsed {
    let mut parser = Parser {
        apex: origin.to_buf(),
        origin: origin.to_buf(),
        owner: None,
        owner_inside: false,
        default_ttl: None,
        last_ttl: None,
        warned_ttl: false,
        rdata: Vec::new(),
        parsed: Parsed::default(),
        files,
        limits,
        stopped: false,
    };
    if u32::try_from(text.len()).is_err() {
        let message = "file is larger than 4 GiB".to_owned();
        parser.parsed.faults.push(Fault {
            severity: Severity::Error,
            message,
            at: Vec::new(),
        });
        return parser.parsed;
    }
    let file = parser.parsed.sources.add(name.into(), text.clone(), None);
    parser.file(file, text);
    parser.parsed
}

struct Parser<'f> {
    apex: NameBuf,
    origin: NameBuf,
    owner: Option<NameBuf>,
    /// The owner lies in the zone.
    owner_inside: bool,
    default_ttl: Option<u32>,
    last_ttl: Option<u32>,
    warned_ttl: bool,
    rdata: Vec<u8>,
    parsed: Parsed,
    files: &'f mut dyn Files,
    limits: Limits,
    /// A limit was met: nothing more is read.
    stopped: bool,
}

/// A fault under way to its place: an offset in the file, and what is wrong.
type Wrong = (usize, String);

impl Parser<'_> {
    fn file(&mut self, file: u32, text: &[u8]) {
        let mut lexer = Lexer::new(text);
        let mut tokens = Vec::with_capacity(16);
        while !self.stopped {
            let result = match lexer.line(&mut tokens) {
                Ok(None) => break,
                Ok(Some(line)) => self.line(file, line, &tokens, text.len()),
                Err(error) => Err((error.at, error.message.to_owned())),
            };
            if let Err((at, message)) = result {
                self.fault(Severity::Error, file, at, message);
            }
        }
    }

    fn fault(&mut self, severity: Severity, file: u32, at: usize, message: String) {
        if self.parsed.faults.len() >= self.limits.faults {
            // Warnings past the limit are dropped: only errors must not go uncounted.
            self.parsed.more_faults += usize::from(severity == Severity::Error);
            return;
        }
        let place = Place {
            file,
            at: at as u32,
        };
        self.parsed
            .faults
            .push(self.parsed.sources.fault(severity, place, message));
    }

    fn line(
        &mut self,
        file: u32,
        line: Line,
        tokens: &[Token<'_>],
        end: usize,
    ) -> Result<(), Wrong> {
        let Some(first) = tokens.first() else {
            return Ok(());
        };
        if !line.indented && !first.quoted && first.text.first() == Some(&b'$') {
            return self.directive(file, tokens, end);
        }
        let fields = if line.indented {
            if self.owner.is_none() {
                return Err((
                    first.at,
                    "no owner: the first record must name one".to_owned(),
                ));
            }
            tokens
        } else {
            self.set_owner(file, *first)?;
            tokens.get(1..).unwrap_or(&[])
        };
        let head = self.head(fields, first.at)?;
        let rest = fields.get(head.used..).unwrap_or(&[]);
        self.record(file, first.at, &head, rest, end)
    }

    fn set_owner(&mut self, file: u32, token: Token<'_>) -> Result<(), Wrong> {
        let name = if token.text == b"@" && !token.quoted {
            self.origin
        } else {
            match NameBuf::from_text(token.text, Some(self.origin.as_ref())) {
                Ok(name) => name,
                Err(error) => {
                    // Records that follow without an owner would go to the one before.
                    self.owner = None;
                    return Err((token.at, error.to_string()));
                }
            }
        };
        self.owner_inside = name.as_ref().is_within(self.apex.as_ref());
        if !self.owner_inside {
            let message = format!("ignoring out-of-zone data ({name:?})");
            self.fault(Severity::Warning, file, token.at, message);
        }
        self.owner = Some(name);
        Ok(())
    }

    /// TTL and class, in either order and both optional, and the type.
    fn head(&mut self, fields: &[Token<'_>], line_at: usize) -> Result<Head, Wrong> {
        let mut head = Head {
            ttl: None,
            rr_type: RrType(0),
            used: 0,
            type_at: line_at,
        };
        let mut class = None;
        while let Some(token) = fields.get(head.used) {
            head.used += 1;
            // "IN" and "1h" are no types, and no type begins with a digit.
            let digit = token.text.first().is_some_and(u8::is_ascii_digit);
            if digit && head.ttl.is_none() {
                let seconds = read_seconds(token.text);
                let bad = || (token.at, format!("`{}` is not a TTL", shown(token)));
                head.ttl = Some(seconds.ok_or_else(bad)?);
            } else if let Some(found) = Class::from_text(token.text).filter(|_| class.is_none()) {
                if found != Class::IN {
                    return Err((
                        token.at,
                        format!("class {found} is not the zone's class IN"),
                    ));
                }
                class = Some(found);
            } else if let Some(rr_type) = RrType::from_text(token.text) {
                if rr_type.is_meta() {
                    return Err((
                        token.at,
                        format!("{rr_type} records cannot stand in a zone"),
                    ));
                }
                head.rr_type = rr_type;
                head.type_at = token.at;
                return Ok(head);
            } else {
                return Err((token.at, format!("`{}` is not a record type", shown(token))));
            }
        }
        let at = fields
            .last()
            .map_or(line_at, |token| token.at + token.text.len());
        Err((
            at,
            "unexpected end of line, expected a record type".to_owned(),
        ))
    }

    fn record(
        &mut self,
        file: u32,
        line_at: usize,
        head: &Head,
        tokens: &[Token<'_>],
        end: usize,
    ) -> Result<(), Wrong> {
        self.rdata.clear();
        let mut rdata = std::mem::take(&mut self.rdata);
        let origin = self.origin;
        let parsed = parse(
            head.rr_type,
            &mut Fields::new(tokens, Some(origin.as_ref())),
            &mut rdata,
        );
        let result = match parsed {
            Ok(()) => self
                .ttl(file, head, &rdata)
                .and_then(|ttl| self.push(file, line_at, head.rr_type, ttl, &rdata)),
            Err(error) => Err(place_of(&error, tokens, head.type_at, end)),
        };
        self.rdata = rdata;
        result
    }

    fn push(
        &mut self,
        file: u32,
        at: usize,
        rr_type: RrType,
        ttl: u32,
        rdata: &[u8],
    ) -> Result<(), Wrong> {
        let Some(owner) = self.owner.filter(|_| self.owner_inside) else {
            return Ok(());
        };
        let place = Place {
            file,
            at: at as u32,
        };
        let held = self.parsed.records.len();
        if held >= self.limits.records
            || self
                .parsed
                .records
                .push(owner.as_ref(), rr_type, ttl, rdata, place)
                .is_err()
        {
            self.stopped = true;
            return Err((at, format!("more than {held} records")));
        }
        Ok(())
    }

    /// The TTL said, else that of `$TTL` (RFC 2308 4), else the one before (RFC 1035 5.1), else,
    /// for the SOA that begins a zone, its MINIMUM.
    fn ttl(&mut self, file: u32, head: &Head, rdata: &[u8]) -> Result<u32, Wrong> {
        let ttl = match (head.ttl, self.default_ttl, self.last_ttl) {
            (Some(ttl), _, _) => {
                let ttl = self.bounded(file, head.type_at, ttl);
                self.last_ttl = Some(ttl);
                ttl
            }
            (None, Some(ttl), _) => ttl,
            (None, None, Some(ttl)) => {
                if !std::mem::replace(&mut self.warned_ttl, true) {
                    let message = "no $TTL: using the TTL of the record before".to_owned();
                    self.fault(Severity::Warning, file, head.type_at, message);
                }
                ttl
            }
            (None, None, None) if head.rr_type == RrType::SOA => {
                let message = "no TTL specified; using the SOA's MINIMUM instead".to_owned();
                self.fault(Severity::Warning, file, head.type_at, message);
                let minimum = rdata
                    .last_chunk()
                    .map_or(0, |octets| u32::from_be_bytes(*octets));
                let ttl = self.bounded(file, head.type_at, minimum);
                self.default_ttl = Some(ttl);
                ttl
            }
            (None, None, None) => {
                return Err((
                    head.type_at,
                    "no TTL specified and no $TTL before".to_owned(),
                ));
            }
        };
        Ok(ttl)
    }

    fn bounded(&mut self, file: u32, at: usize, ttl: u32) -> u32 {
        if ttl <= MAX_TTL {
            return ttl;
        }
        let message = format!("TTL {ttl} is above {MAX_TTL}, taken for 0 (RFC 2181 8)");
        self.fault(Severity::Warning, file, at, message);
        0
    }

    fn directive(&mut self, file: u32, tokens: &[Token<'_>], end: usize) -> Result<(), Wrong> {
        let Some((first, arguments)) = tokens.split_first() else {
            return Ok(());
        };
        let is = |name: &str| first.text.eq_ignore_ascii_case(name.as_bytes());
        if is("$ORIGIN") {
            let [origin] = expect(arguments, first, "a name")?;
            self.origin = self.name(&origin)?;
        } else if is("$TTL") {
            let [ttl] = expect(arguments, first, "a time")?;
            let seconds = read_seconds(ttl.text);
            let seconds = seconds.ok_or_else(|| (ttl.at, bad(&ttl, "a time (3600, 1h30m)")))?;
            self.default_ttl = Some(self.bounded(file, ttl.at, seconds));
        } else if is("$INCLUDE") {
            self.include(file, first, arguments)?;
        } else if is("$GENERATE") {
            self.generate(file, first, arguments, end)?;
        } else {
            return Err((first.at, format!("unknown directive `{}`", shown(first))));
        }
        Ok(())
    }

    fn name(&self, token: &Token<'_>) -> Result<NameBuf, Wrong> {
        if token.text == b"@" && !token.quoted {
            return Ok(self.origin);
        }
        let name = NameBuf::from_text(token.text, Some(self.origin.as_ref()));
        name.map_err(|error| (token.at, error.to_string()))
    }

    /// `$INCLUDE file [origin]`: origin and owner are afterwards what they were (RFC 1035 5.1).
    fn include(
        &mut self,
        file: u32,
        directive: &Token<'_>,
        arguments: &[Token<'_>],
    ) -> Result<(), Wrong> {
        let (path, origin) = match arguments {
            [path] => (path, self.origin),
            [path, origin] => (path, self.name(origin)?),
            [] => return Err((directive.at, "$INCLUDE without a file".to_owned())),
            [_, _, extra, ..] => return Err((extra.at, "extra text after $INCLUDE".to_owned())),
        };
        if self.parsed.sources.depth(file) >= self.limits.include_depth {
            let depth = self.limits.include_depth;
            return Err((
                directive.at,
                format!("files are included more than {depth} deep"),
            ));
        }
        let name = std::str::from_utf8(path.text).map_err(|_| (path.at, "bad file name".into()))?;
        let (name, text) = self
            .files
            .read(name, &self.parsed.sources.name(file))
            .map_err(|error| (path.at, error))?;
        if u32::try_from(text.len()).is_err() {
            return Err((path.at, "file is larger than 4 GiB".to_owned()));
        }
        let place = Place {
            file,
            at: directive.at as u32,
        };
        let included = self.parsed.sources.add(name, text.clone(), Some(place));
        let (outer_origin, owner, inside) = (self.origin, self.owner, self.owner_inside);
        self.origin = origin;
        self.file(included, &text);
        (self.origin, self.owner, self.owner_inside) = (outer_origin, owner, inside);
        Ok(())
    }

    /// `$GENERATE range owner [ttl] [class] type data…`
    fn generate(
        &mut self,
        file: u32,
        directive: &Token<'_>,
        arguments: &[Token<'_>],
        end: usize,
    ) -> Result<(), Wrong> {
        let [range_token, left, fields @ ..] = arguments else {
            return Err((
                directive.at,
                "$GENERATE needs range, owner, type and data".to_owned(),
            ));
        };
        let range = Range::read(range_token.text)
            .ok_or_else(|| (range_token.at, bad(range_token, "a range (1-10, 0-254/2)")))?;
        if range.len() > GENERATE_LIMIT {
            let message = format!("a range of more than {GENERATE_LIMIT} numbers");
            return Err((range_token.at, message));
        }
        let head = self.head(fields, directive.at)?;
        let templates = fields.get(head.used..).unwrap_or(&[]);
        let outer = (self.owner, self.owner_inside);
        let (mut owner, mut texts) = (Vec::new(), vec![Vec::new(); templates.len()]);
        for number in range.iter() {
            if self.stopped {
                break;
            }
            let at = |message: &str| (left.at, message.to_owned());
            owner.clear();
            substitute(left.text, number, &mut owner).map_err(at)?;
            self.set_owner(
                file,
                Token {
                    text: &owner,
                    ..*left
                },
            )?;
            for (template, text) in templates.iter().zip(&mut texts) {
                text.clear();
                substitute(template.text, number, text)
                    .map_err(|message| (template.at, message.to_owned()))?;
            }
            let words = texts.iter().zip(templates);
            let mut words: Vec<Token<'_>> = words
                .map(|(text, template)| Token { text, ..*template })
                .collect();
            // BIND takes all the data as one text: in quotes it may still be several words.
            if let [
                Token {
                    text,
                    quoted: true,
                    at,
                },
            ] = *words
            {
                words = tokens_of(text).map_err(|error| (at, error.message.to_owned()))?;
                words.iter_mut().for_each(|word| word.at = at);
            }
            self.record(file, directive.at, &head, &words, end)?;
        }
        (self.owner, self.owner_inside) = outer;
        Ok(())
    }
}

/// Numbers of one `$GENERATE`: all of a /8.
const GENERATE_LIMIT: u64 = 1 << 24;

struct Head {
    ttl: Option<u32>,
    rr_type: RrType,
    /// Words read.
    used: usize,
    type_at: usize,
}

fn shown(token: &Token<'_>) -> String {
    String::from_utf8_lossy(token.text).into_owned()
}

fn bad(token: &Token<'_>, what: &str) -> String {
    format!("`{}` is not {what}", shown(token))
}

fn expect<'t, const N: usize>(
    arguments: &[Token<'t>],
    directive: &Token<'_>,
    what: &str,
) -> Result<[Token<'t>; N], Wrong> {
    if let Some(extra) = arguments.get(N) {
        return Err((
            extra.at,
            format!("extra text `{}` after {}", shown(extra), shown(directive)),
        ));
    }
    arguments
        .try_into()
        .map_err(|_| (directive.at, format!("{} without {what}", shown(directive))))
}

fn place_of(error: &RdataError, tokens: &[Token<'_>], type_at: usize, end: usize) -> Wrong {
    let after = || {
        tokens
            .last()
            .map_or(type_at, |token| (token.at + token.text.len()).min(end))
    };
    let at = tokens.get(error.token).map_or_else(after, |token| token.at);
    (at, error.message.clone())
}

//! What the bytes of an HTTP/1 request head really said.
//!
//! The parser that serves the connection is lenient where a front server must not be, and it
//! drops the evidence: a second equal Content-Length, a Content-Length beside Transfer-Encoding, a
//! line that ends in a bare LF, a fragment in the target. This scanner follows the same byte
//! stream from message to message, looks at nothing but framing, and reports the raw facts of
//! each head; the front check compares them with the rules before a handler sees the request.
//!
//! Where it loses the thread it says so for every later head: a request whose boundary two
//! readers could see differently is refused, never guessed (RFC 9112 section 11.2).

/// The raw facts of one request head.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HeadFacts {
    /// All bytes of the head, line ends included.
    pub size: usize,
    /// The longest header line, without its line end.
    pub longest_line: usize,
    /// The request target.
    pub target: usize,
    /// Content-Length fields.
    pub content_lengths: u8,
    /// Transfer-Encoding fields.
    pub transfer_encodings: u8,
    /// A line ended in LF alone.
    pub bare_line_feed: bool,
    /// The target had a fragment.
    pub fragment: bool,
    /// The message boundary before this head is not certain.
    pub uncertain: bool,
}

/// How much of a line is kept when it arrives in pieces, which is more than any limit allows. Of
/// longer ones only the length matters.
const LINE_KEPT: usize = 64 * 1024;

/// A run of bytes longer than any chunk-size line needs.
const CHUNK_LINE_MAX: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Between messages; CR and LF before a request line are skipped (RFC 9112 section 2.2).
    Between,
    RequestLine,
    Field,
    Body {
        left: u64,
    },
    ChunkSize {
        size: u64,
        length: usize,
        digits: u8,
        extension: bool,
    },
    ChunkData {
        left: u64,
    },
    /// The CRLF behind a chunk's data: how many of its bytes have come.
    ChunkEnd {
        seen: u8,
    },
    Trailer,
    /// The boundary is no longer certain.
    Lost,
    /// The connection no longer speaks HTTP/1.
    Off,
}

/// Follows the bytes of a connection from request to request.
#[derive(Debug)]
pub struct HeadScanner {
    state: State,
    facts: HeadFacts,
    /// The unfinished line, when it arrives in pieces.
    line: Vec<u8>,
    line_length: usize,
    content_length: Option<u64>,
}

impl Default for HeadScanner {
    fn default() -> Self {
        Self {
            state: State::Between,
            facts: HeadFacts::default(),
            line: Vec::new(),
            line_length: 0,
            content_length: None,
        }
    }
}

impl HeadScanner {
    /// A scanner at the start of a connection.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether a head has begun and not ended.
    #[must_use]
    pub fn in_head(&self) -> bool {
        matches!(self.state, State::RequestLine | State::Field)
    }

    /// Bytes of the head that has begun.
    #[must_use]
    pub fn head_size(&self) -> usize {
        self.facts.size
    }

    /// Whether everything read so far belongs to complete requests.
    #[must_use]
    pub fn between_messages(&self) -> bool {
        self.state == State::Between
    }

    /// The connection is no longer HTTP/1 (it was upgraded): stop looking.
    pub fn stop(&mut self) {
        self.state = State::Off;
        self.line = Vec::new();
    }

    /// Reads on; `found` gets the facts of every head that ends in `bytes`.
    pub fn scan(&mut self, mut bytes: &[u8], mut found: impl FnMut(HeadFacts)) {
        while !bytes.is_empty() {
            bytes = match self.state {
                State::Off => return,
                State::Lost => {
                    // Whatever follows might be a head to somebody else.
                    return self.lost(bytes, found);
                }
                State::Between => self.between(bytes),
                State::RequestLine | State::Field | State::Trailer => self.lines(bytes, &mut found),
                State::Body { left } => self.skip(bytes, left, |left| State::Body { left }),
                State::ChunkData { left } => {
                    self.skip(bytes, left, |left| State::ChunkData { left })
                }
                State::ChunkSize { .. } => self.chunk_size(bytes),
                State::ChunkEnd { seen } => self.chunk_end(bytes, seen),
            };
        }
    }

    fn lost(&mut self, bytes: &[u8], mut found: impl FnMut(HeadFacts)) {
        // One report per line that could be the end of a head keeps later requests refusable
        // without keeping state; the connection is closed at the first of them.
        for _ in memchr::memchr_iter(b'\n', bytes).take(1) {
            found(HeadFacts {
                uncertain: true,
                ..HeadFacts::default()
            });
        }
    }

    fn between<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        let start = bytes
            .iter()
            .position(|byte| !matches!(byte, b'\r' | b'\n'))
            .unwrap_or(bytes.len());
        let (_, rest) = bytes.split_at(start);
        if !rest.is_empty() {
            self.state = State::RequestLine;
            self.facts = HeadFacts::default();
            self.content_length = None;
            self.line.clear();
            self.line_length = 0;
        }
        rest
    }

    fn skip<'a>(&mut self, bytes: &'a [u8], left: u64, state: impl Fn(u64) -> State) -> &'a [u8] {
        let here = usize::try_from(left).map_or(bytes.len(), |left| left.min(bytes.len()));
        let left = left.saturating_sub(here as u64);
        let (_, rest) = bytes.split_at(here);
        self.state = if left > 0 {
            state(left)
        } else if matches!(self.state, State::ChunkData { .. }) {
            State::ChunkEnd { seen: 0 }
        } else {
            State::Between
        };
        rest
    }

    /// Takes lines off `bytes` until the head or the trailer section ends.
    fn lines<'a>(&mut self, mut bytes: &'a [u8], found: &mut impl FnMut(HeadFacts)) -> &'a [u8] {
        while let Some(end) = memchr::memchr(b'\n', bytes) {
            let (line, rest) = bytes.split_at(end);
            bytes = rest.get(1..).unwrap_or_default();
            self.facts.size += line.len() + 1;
            let ended = if self.line_length == 0 {
                self.line_ended(line, line.len(), found)
            } else {
                self.keep(line);
                let whole = std::mem::take(&mut self.line);
                let length = std::mem::take(&mut self.line_length);
                let ended = self.line_ended(&whole, length, found);
                self.line = whole;
                self.line.clear();
                ended
            };
            if ended {
                return bytes;
            }
        }
        self.facts.size += bytes.len();
        self.keep(bytes);
        &[]
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.line_length += bytes.len();
        let room = LINE_KEPT.saturating_sub(self.line.len());
        self.line
            .extend_from_slice(bytes.get(..room.min(bytes.len())).unwrap_or_default());
    }

    /// One line without its LF; `length` counts what was not kept too. True when the section ends.
    fn line_ended(
        &mut self,
        line: &[u8],
        length: usize,
        found: &mut impl FnMut(HeadFacts),
    ) -> bool {
        let (line, length) = match line.strip_suffix(b"\r") {
            Some(line) => (line, length - 1),
            // A line longer than what was kept: its CR was not seen. It is refused for its length.
            None if length > line.len() => (line, length),
            None => {
                self.facts.bare_line_feed = true;
                (line, length)
            }
        };
        match self.state {
            State::RequestLine => {
                self.request_line(line, length);
                self.state = State::Field;
                false
            }
            State::Field if length > 0 => {
                self.facts.longest_line = self.facts.longest_line.max(length);
                self.field(line);
                false
            }
            State::Field => {
                found(self.facts);
                self.state = self.body();
                true
            }
            // The end of a chunked body's trailer section.
            _ => {
                if self.facts.bare_line_feed {
                    self.state = State::Lost;
                    return true;
                }
                if length == 0 {
                    self.state = State::Between;
                }
                length == 0
            }
        }
    }

    fn request_line(&mut self, line: &[u8], length: usize) {
        let Some(start) = memchr::memchr(b' ', line) else {
            self.facts.target = length;
            return;
        };
        let target = line.get(start + 1..).unwrap_or_default();
        let end = memchr::memchr(b' ', target);
        self.facts.target = end.unwrap_or_else(|| length.saturating_sub(start + 1));
        let target = target
            .get(..end.unwrap_or(target.len()))
            .unwrap_or_default();
        self.facts.fragment = memchr::memchr(b'#', target).is_some();
    }

    fn field(&mut self, line: &[u8]) {
        // Only two names matter, and most lines end here.
        if !matches!(line.first(), Some(b'c' | b'C' | b't' | b'T')) {
            return;
        }
        let Some(colon) = memchr::memchr(b':', line) else {
            return;
        };
        let (name, value) = line.split_at(colon);
        if name.eq_ignore_ascii_case(b"content-length") {
            self.facts.content_lengths = self.facts.content_lengths.saturating_add(1);
            if self.content_length.is_none() {
                self.content_length = decimal(value.get(1..).unwrap_or_default());
            }
        } else if name.eq_ignore_ascii_case(b"transfer-encoding") {
            self.facts.transfer_encodings = self.facts.transfer_encodings.saturating_add(1);
        }
    }

    /// RFC 9112 section 6.3: what follows this head. Heads that say two things are refused by the
    /// front check, so it does not matter which of them is followed here.
    fn body(&self) -> State {
        if self.facts.transfer_encodings > 0 {
            return CHUNK_START;
        }
        match (self.facts.content_lengths, self.content_length) {
            (0, _) | (_, Some(0)) => State::Between,
            (_, Some(left)) => State::Body { left },
            (_, None) => State::Lost,
        }
    }

    /// chunk-size [ chunk-ext ] CRLF. Anything else loses the thread: the server refuses it too.
    fn chunk_size<'a>(&mut self, bytes: &'a [u8]) -> &'a [u8] {
        for (index, &byte) in bytes.iter().enumerate() {
            let State::ChunkSize {
                size,
                length,
                digits,
                extension,
            } = &mut self.state
            else {
                break;
            };
            *length += 1;
            match byte {
                b'\n' => {
                    // Only the CR that came just before makes this a line end.
                    let ended = *digits > 0 && self.line.last() == Some(&b'\r');
                    let size = *size;
                    self.line.clear();
                    self.line_length = 0;
                    self.facts.bare_line_feed = false;
                    self.state = match (ended, size) {
                        (false, _) => State::Lost,
                        (true, 0) => State::Trailer,
                        (true, left) => State::ChunkData { left },
                    };
                    return bytes.get(index + 1..).unwrap_or_default();
                }
                _ if self.line.last() == Some(&b'\r') || *length > CHUNK_LINE_MAX => {
                    self.state = State::Lost;
                    return bytes.get(index..).unwrap_or_default();
                }
                b'\r' => self.line.push(b'\r'),
                _ if *extension => {}
                b';' | b' ' | b'\t' if *digits > 0 => *extension = true,
                _ => {
                    let digit = char::from(byte).to_digit(16);
                    match (digit, size.checked_mul(16)) {
                        (Some(digit), Some(shifted)) if *digits < 16 => {
                            *size = shifted + u64::from(digit);
                            *digits += 1;
                        }
                        _ => {
                            self.state = State::Lost;
                            return bytes.get(index..).unwrap_or_default();
                        }
                    }
                }
            }
        }
        &[]
    }

    fn chunk_end<'a>(&mut self, bytes: &'a [u8], seen: u8) -> &'a [u8] {
        let Some((&byte, rest)) = bytes.split_first() else {
            return bytes;
        };
        self.state = match (seen, byte) {
            (0, b'\r') => State::ChunkEnd { seen: 1 },
            (1, b'\n') => CHUNK_START,
            _ => State::Lost,
        };
        if self.state == CHUNK_START {
            self.line.clear();
        }
        if self.state == State::Lost {
            bytes
        } else {
            rest
        }
    }
}

const CHUNK_START: State = State::ChunkSize {
    size: 0,
    length: 0,
    digits: 0,
    extension: false,
};

/// A Content-Length value: digits only, surrounding blanks allowed.
fn decimal(value: &[u8]) -> Option<u64> {
    let value = value.trim_ascii();
    if value.is_empty() || value.len() > 19 {
        return None;
    }
    value.iter().try_fold(0_u64, |sum, &byte| {
        let digit = char::from(byte).to_digit(10)?;
        sum.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn scan(pieces: &[&[u8]]) -> (Vec<HeadFacts>, HeadScanner) {
        let mut scanner = HeadScanner::new();
        let mut heads = Vec::new();
        for piece in pieces {
            scanner.scan(piece, |facts| heads.push(facts));
        }
        (heads, scanner)
    }

    fn one(text: &str) -> HeadFacts {
        let (heads, _) = scan(&[text.as_bytes()]);
        assert_eq!(heads.len(), 1, "{text:?}");
        heads.first().copied().unwrap_or_default()
    }

    #[test]
    fn a_plain_head_has_nothing_to_report() {
        let text = "GET /a?b HTTP/1.1\r\nHost: example.org\r\nAccept: */*\r\n\r\n";
        assert_eq!(
            one(text),
            HeadFacts {
                size: text.len(),
                longest_line: "Host: example.org".len(),
                target: 4,
                ..HeadFacts::default()
            }
        );
    }

    #[test]
    fn evidence_the_parser_drops_is_kept() {
        assert!(one("GET / HTTP/1.1\nHost: a\r\n\r\n").bare_line_feed);
        assert!(one("GET / HTTP/1.1\r\nHost: a\n\r\n").bare_line_feed);
        assert!(one("GET / HTTP/1.1\r\nHost: a\r\n\n").bare_line_feed);
        assert!(one("GET /#a HTTP/1.1\r\n\r\n").fragment);
        assert!(!one("GET / HTTP/1.1\r\nReferer: /#a\r\n\r\n").fragment);
        let both = one(
            "POST / HTTP/1.1\r\nContent-Length: 5\r\ncontent-length:5\r\nTransfer-encoding: chunked\r\n\r\n",
        );
        assert_eq!((both.content_lengths, both.transfer_encodings), (2, 1));
    }

    #[test]
    fn bodies_are_stepped_over() {
        let text = "POST /a HTTP/1.1\r\nContent-Length: 11\r\n\r\nGET /x\r\n\r\n!\
            POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n\
            5;name=\"v\"\r\nhello\r\n00a\r\n0123456789\r\n0\r\nTrailer: x\r\n\r\n\
            \r\nGET /c HTTP/1.1\r\n\r\n";
        let (heads, scanner) = scan(&[text.as_bytes()]);
        assert_eq!(heads.len(), 3);
        assert!(scanner.between_messages());
        assert!(
            heads
                .iter()
                .all(|facts| !facts.uncertain && facts.target == 2)
        );
    }

    #[test]
    fn what_is_not_certain_stays_uncertain() {
        for broken in [
            "Content-Length: +5\r\n\r\nhello",
            "Content-Length: 5x\r\n\r\nhello",
            "Content-Length: 99999999999999999999\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0x5\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n5\r\nhello\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n;\r\nhello\r\n0\r\n\r\n",
            "Transfer-Encoding: chunked\r\n\r\n11112222333344445\r\n",
            "Transfer-Encoding: chunked\r\n\r\n0\r\nA: b\n\r\n",
        ] {
            let text =
                format!("POST / HTTP/1.1\r\n{broken}GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n");
            let (heads, _) = scan(&[text.as_bytes()]);
            assert!(
                heads.len() < 2 || heads.iter().skip(1).all(|facts| facts.uncertain),
                "{broken:?}: {heads:?}"
            );
        }
    }

    #[test]
    fn a_head_that_arrives_in_single_bytes_reads_the_same() {
        let text = "\r\nPOST /a%20b#c HTTP/1.1\r\nContent-Length: 3\r\nX: y\n\r\nabcGET / HTTP/1.1\r\n\r\n";
        let whole = scan(&[text.as_bytes()]).0;
        let bytes: Vec<&[u8]> = text.as_bytes().chunks(1).collect();
        assert_eq!(scan(&bytes).0, whole);
        assert_eq!(whole.len(), 2);
    }

    #[test]
    fn a_long_target_in_pieces_has_its_length() {
        let text = format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(20_000));
        let (first, second) = text.as_bytes().split_at(15_000);
        let (heads, _) = scan(&[first, second]);
        assert_eq!(heads.first().map(|facts| facts.target), Some(20_001));
    }

    #[test]
    fn an_endless_line_is_counted_and_not_kept() {
        let mut scanner = HeadScanner::new();
        scanner.scan(b"GET / HTTP/1.1\r\nX: ", |_| {});
        for _ in 0..1000 {
            scanner.scan(&[b'a'; 1024], |_| {});
        }
        assert!(scanner.line.capacity() <= 2 * LINE_KEPT);
        let mut longest = 0;
        scanner.scan(b"\r\n\r\n", |facts| longest = facts.longest_line);
        assert!(longest > 1_000_000);
    }

    proptest! {
        #[test]
        fn pieces_do_not_matter(
            text in "(GET|POST) /[a-z#]{0,4} HTTP/1.1\r?\n((Content-Length: [0-9]{1,2}|Transfer-Encoding: chunked|X: y)\r?\n){0,3}\r?\n[0-9a-f\r\n;]{0,40}",
            cuts in proptest::collection::vec(0_usize..200, 0..6),
        ) {
            let bytes = text.as_bytes();
            let whole = scan(&[bytes]).0;
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(bytes.len())).collect();
            cuts.push(0);
            cuts.push(bytes.len());
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
            let pieced = scan(&pieces).0;
            // Once lost, how often it is said depends on the pieces; that it is said does not.
            let certain = |heads: &[HeadFacts]| heads.iter().filter(|facts| !facts.uncertain).copied().collect::<Vec<_>>();
            prop_assert_eq!(certain(&pieced), certain(&whole));
        }

        #[test]
        fn no_bytes_break_it(pieces in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..64), 0..8)) {
            let pieces: Vec<&[u8]> = pieces.iter().map(Vec::as_slice).collect();
            scan(&pieces);
        }
    }
}

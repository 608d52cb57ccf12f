//! multipart/byteranges (RFC 9110 section 14.6).

use std::{collections::VecDeque, fmt::Write as _, ops::Range};

use bytes::Bytes;
use http::HeaderValue;

use super::{Content, Piece};

/// The pieces of a multipart answer, and their total length.
pub(super) fn pieces(
    content: &Content,
    content_type: Option<&HeaderValue>,
    size: u64,
    ranges: Vec<Range<u64>>,
    boundary: &str,
) -> (VecDeque<Piece>, u64) {
    let mut pieces = VecDeque::with_capacity(2 * ranges.len() + 1);
    let mut total = 0_u64;
    let mut first = true;
    for range in ranges {
        let mut head = String::with_capacity(160);
        // Writing to a String cannot fail.
        let _ = write!(head, "{}--{boundary}\r\n", if first { "" } else { "\r\n" });
        if let Some(kind) = content_type.and_then(|kind| kind.to_str().ok()) {
            let _ = write!(head, "Content-Type: {kind}\r\n");
        }
        let last = range.end.saturating_sub(1);
        let _ = write!(
            head,
            "Content-Range: bytes {}-{last}/{size}\r\n\r\n",
            range.start
        );
        first = false;
        total += head.len() as u64 + (range.end - range.start);
        pieces.push_back(Piece::Bytes(Bytes::from(head)));
        pieces.push_back(piece(content, range));
    }
    let tail = format!("\r\n--{boundary}--\r\n");
    total += tail.len() as u64;
    pieces.push_back(Piece::Bytes(Bytes::from(tail)));
    (pieces, total)
}

/// One stretch of a file's content.
pub(super) fn piece(content: &Content, range: Range<u64>) -> Piece {
    match content {
        Content::Descriptor(file) => Piece::File(file.clone(), range),
        Content::Bytes(bytes) => {
            let at = |offset| {
                usize::try_from(offset).map_or(bytes.len(), |at: usize| at.min(bytes.len()))
            };
            Piece::Bytes(bytes.slice(at(range.start)..at(range.end)))
        }
    }
}

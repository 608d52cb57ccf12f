//! Bodies made of pieces: bytes in memory and stretches of open files.

use std::{
    collections::VecDeque,
    fs::File,
    future::Future,
    io::{self, IoSliceMut},
    ops::Range,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use bytes::{Bytes, BytesMut};
use rustix::io::{Errno, ReadWriteFlags};
use tokio::task::JoinHandle;

/// One stretch of a body.
#[derive(Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// These bytes of this file.
    File(Arc<File>, Range<u64>),
}

impl Piece {
    fn len(&self) -> u64 {
        match self {
            Self::Bytes(bytes) => bytes.len() as u64,
            Self::File(_, range) => range.end.saturating_sub(range.start),
        }
    }
}

/// What is read of a file at once: large enough to make the system call cheap, small enough that
/// many slow clients do not add up.
const CHUNK: usize = 64 * 1024;

/// Pieces, one after the other.
///
/// What the page cache holds is read in place. What it does not hold is read on the blocking
/// pool, so that no disk ever holds up a worker.
#[derive(Debug)]
pub struct FileBody {
    pieces: VecDeque<Piece>,
    left: u64,
    /// The chunk handed out last. Once it is sent, its memory is used again.
    last: Option<Bytes>,
    reading: Option<JoinHandle<io::Result<BytesMut>>>,
}

impl FileBody {
    /// A body of these pieces.
    #[must_use]
    pub fn new(pieces: VecDeque<Piece>) -> Self {
        Self {
            left: pieces.iter().map(Piece::len).sum(),
            pieces,
            last: None,
            reading: None,
        }
    }

    /// Bytes not yet handed out.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.left
    }

    /// The next bytes; `None` at the end.
    pub fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        loop {
            if let Some(reading) = &mut self.reading {
                let read = ready!(Pin::new(reading).poll(cx));
                self.reading = None;
                return Poll::Ready(Some(match read {
                    Ok(Ok(bytes)) => self.hand_out(bytes),
                    Ok(Err(error)) => Err(error),
                    Err(error) => Err(io::Error::other(error)),
                }));
            }
            let (file, range) = match self.pieces.front_mut() {
                None => return Poll::Ready(None),
                Some(Piece::Bytes(bytes)) => {
                    let bytes = std::mem::take(bytes);
                    self.pieces.pop_front();
                    if bytes.is_empty() {
                        continue;
                    }
                    self.left = self.left.saturating_sub(bytes.len() as u64);
                    return Poll::Ready(Some(Ok(bytes)));
                }
                Some(Piece::File(file, range)) => (file, range),
            };
            let wanted = range.end.saturating_sub(range.start);
            if wanted == 0 {
                self.pieces.pop_front();
                continue;
            }
            let wanted = usize::try_from(wanted).map_or(CHUNK, |wanted| wanted.min(CHUNK));
            let offset = range.start;
            let mut buffer = buffer(self.last.take(), wanted);
            match read_cached(file, &mut buffer, offset) {
                Ok(read) => {
                    buffer.truncate(read);
                    return Poll::Ready(Some(self.hand_out(buffer)));
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    let file = file.clone();
                    self.reading = Some(tokio::task::spawn_blocking(move || {
                        let read =
                            std::os::unix::fs::FileExt::read_at(&*file, &mut buffer, offset)?;
                        buffer.truncate(read);
                        Ok(buffer)
                    }));
                }
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }

    fn hand_out(&mut self, buffer: BytesMut) -> io::Result<Bytes> {
        let read = buffer.len() as u64;
        if read == 0 {
            // Cut short under our hands. The length is promised: only an error is honest.
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if let Some(Piece::File(_, range)) = self.pieces.front_mut() {
            range.start = range.start.saturating_add(read);
            if range.start >= range.end {
                self.pieces.pop_front();
            }
        }
        self.left = self.left.saturating_sub(read);
        let bytes = buffer.freeze();
        if self.left > 0 {
            self.last = Some(bytes.clone());
        }
        Ok(bytes)
    }
}

/// Memory for a chunk: that of the last one, if nobody has it any more.
fn buffer(last: Option<Bytes>, wanted: usize) -> BytesMut {
    if let Some(Ok(mut buffer)) = last.map(Bytes::try_into_mut)
        && buffer.len() >= wanted
    {
        buffer.truncate(wanted);
        return buffer;
    }
    BytesMut::zeroed(wanted)
}

/// Reads what can be read without waiting for a disk.
fn read_cached(file: &File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    loop {
        let slices = &mut [IoSliceMut::new(buffer)];
        match rustix::io::preadv2(file, slices, offset, ReadWriteFlags::NOWAIT) {
            Ok(read) => return Ok(read),
            Err(Errno::INTR) => {}
            // Not in the page cache; or a file system or kernel that cannot tell.
            Err(Errno::AGAIN | Errno::OPNOTSUPP | Errno::NOSYS | Errno::INVAL) => {
                return Err(io::ErrorKind::WouldBlock.into());
            }
            Err(error) => return Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{future::poll_fn, io::Write};

    use super::*;

    async fn collect(mut body: FileBody) -> io::Result<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(bytes) = poll_fn(|cx| body.poll_next(cx)).await {
            all.extend_from_slice(&bytes?);
            assert_eq!(body.pieces.is_empty(), body.left() == 0);
        }
        Ok(all)
    }

    #[tokio::test]
    async fn pieces_come_in_order_and_whole() -> io::Result<()> {
        let content: Vec<u8> = (0..300_000_u32).map(|index| (index % 251) as u8).collect();
        let mut file = tempfile::tempfile()?;
        file.write_all(&content)?;
        let file = Arc::new(file);
        let body = FileBody::new(VecDeque::from([
            Piece::Bytes(Bytes::from_static(b"<")),
            Piece::File(file.clone(), 0..300_000),
            Piece::Bytes(Bytes::new()),
            Piece::File(file.clone(), 7..7),
            Piece::File(file, 65_530..65_550),
            Piece::Bytes(Bytes::from_static(b">")),
        ]));
        assert_eq!(body.left(), 300_022);
        let mut expected = b"<".to_vec();
        expected.extend_from_slice(&content);
        expected.extend_from_slice(&content[65_530..65_550]);
        expected.push(b'>');
        assert!(collect(body).await? == expected);
        Ok(())
    }

    #[tokio::test]
    async fn a_file_cut_short_is_an_error_and_not_a_short_body() -> io::Result<()> {
        let mut file = tempfile::tempfile()?;
        file.write_all(b"short")?;
        let body = FileBody::new(VecDeque::from([Piece::File(Arc::new(file), 0..10)]));
        let error = collect(body).await.err().map(|error| error.kind());
        assert_eq!(error, Some(io::ErrorKind::UnexpectedEof));
        Ok(())
    }
}

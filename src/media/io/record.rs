//! Recordings: samples leave the shard by a bounded channel, and a thread of their own writes them.

use std::{
    fs::File,
    io::{BufWriter, Seek, Write},
};

use tokio::{sync::mpsc, task::JoinHandle};

use crate::audio::{
    FRAME, Frame,
    wav::{Recording, WavError},
};

/// Samples that go to the writer at once: half a second of one channel. So much is lost at most when
/// the machine falls over.
const PIECE: usize = 4000;
/// Pieces that may wait for a slow disk: half a minute.
const WAITING: usize = 64;

/// What is recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Channels {
    /// What side A says.
    A,
    /// What both sides say, each in a channel of its own.
    Both,
}

/// The end of a recording that samples go into. It ends when this is dropped.
#[derive(Debug)]
pub struct Recorder {
    pub(super) channels: Channels,
    pieces: mpsc::Sender<Vec<i16>>,
    piece: Vec<i16>,
}

impl Recorder {
    /// A recording into `file`, which the runtime's blocking threads write. The handle tells how it
    /// ended, and when the file is whole. To be called within the runtime.
    pub fn new<F: Write + Seek + Send + 'static>(
        file: F,
        channels: Channels,
    ) -> (Self, JoinHandle<Result<(), WavError>>) {
        let (pieces, receiver) = mpsc::channel(WAITING);
        let count = match channels {
            Channels::A => 1,
            Channels::Both => 2,
        };
        let written = tokio::task::spawn_blocking(move || write(file, count, receiver));
        let recorder = Self {
            channels,
            pieces,
            piece: Vec::with_capacity(PIECE),
        };
        (recorder, written)
    }

    /// A recording into a new file.
    pub fn create(file: File, channels: Channels) -> (Self, JoinHandle<Result<(), WavError>>) {
        Self::new(BufWriter::new(file), channels)
    }

    pub(super) fn frame(&mut self, a: &Frame, b: Option<&Frame>) {
        match self.channels {
            Channels::A => self.piece.extend_from_slice(a),
            Channels::Both => {
                let silence = [0; FRAME];
                let b = b.unwrap_or(&silence);
                self.piece
                    .extend(a.iter().zip(b).flat_map(|(a, b)| [*a, *b]));
            }
        }
        if self.piece.len() >= PIECE {
            self.send();
        }
    }

    fn send(&mut self) {
        let piece = std::mem::replace(&mut self.piece, Vec::with_capacity(PIECE));
        // A disk that has been asleep for half a minute has a hole in the recording; calls go on.
        if self.pieces.try_send(piece).is_err() {
            tracing::warn!(
                "a recording is not written fast enough, or not at all: a piece is lost"
            );
        }
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        if !self.piece.is_empty() {
            self.send();
        }
    }
}

fn write(
    file: impl Write + Seek,
    channels: u16,
    mut pieces: mpsc::Receiver<Vec<i16>>,
) -> Result<(), WavError> {
    let mut recording = Recording::new(file, channels)?;
    while let Some(piece) = pieces.blocking_recv() {
        recording.write(&piece)?;
        // Whoever dies from here on leaves a whole file up to here.
        recording.flush()?;
    }
    recording.finish()
}

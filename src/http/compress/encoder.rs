//! One stream of compressed bytes, in any of the codings.

use std::io::{self, Write};

use bytes::Bytes;

use crate::wire::coding::Coding;

/// Two windows of a brotli encoder and its tables take about a megabyte at this size.
const BROTLI_WINDOW: u32 = 18;
/// About where zstd's speed is on a server's side: better than gzip's best, faster than its
/// default.
const BROTLI_QUALITY: u32 = 4;
const ZSTD_LEVEL: i32 = 3;
/// RFC 8878 section 3.1.1.1.2 allows much more than a browser must keep (8 MiB), and a stream of
/// ours needs much less.
const ZSTD_WINDOW: u32 = 18;

/// Something that compresses.
pub(super) enum Encoder {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

/// What it is to do.
pub(super) enum Step {
    /// Take these bytes.
    Input(Bytes),
    /// Hand out what was taken: nothing more will come for a while.
    Flush,
    /// Hand out the rest: nothing more will come.
    Finish,
}

impl Encoder {
    pub(super) fn new(coding: Coding) -> io::Result<Self> {
        Ok(match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(5);
                Self::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Coding::Brotli => Self::Brotli(Box::new(brotli::CompressorWriter::new(
                Vec::new(),
                4096,
                BROTLI_QUALITY,
                BROTLI_WINDOW,
            ))),
            Coding::Zstd => {
                let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), ZSTD_LEVEL)?;
                encoder.window_log(ZSTD_WINDOW)?;
                Self::Zstd(encoder)
            }
        })
    }

    /// Does it. What comes out, and the encoder for the next step; none after the last.
    pub(super) fn step(mut self, step: &Step) -> io::Result<(Option<Self>, Vec<u8>)> {
        match step {
            Step::Input(bytes) => self.writer().write_all(bytes)?,
            Step::Flush => self.writer().flush()?,
            Step::Finish => {
                let rest = match self {
                    Self::Gzip(encoder) => encoder.finish()?,
                    Self::Brotli(encoder) => encoder.into_inner(),
                    Self::Zstd(encoder) => encoder.finish()?,
                };
                return Ok((None, rest));
            }
        }
        let out = std::mem::take(match &mut self {
            Self::Gzip(encoder) => encoder.get_mut(),
            Self::Brotli(encoder) => encoder.get_mut(),
            Self::Zstd(encoder) => encoder.get_mut(),
        });
        Ok((Some(self), out))
    }

    fn writer(&mut self) -> &mut dyn Write {
        match self {
            Self::Gzip(encoder) => encoder,
            Self::Brotli(encoder) => &mut **encoder,
            Self::Zstd(encoder) => encoder,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn plain(coding: Coding, bytes: &[u8]) -> io::Result<Vec<u8>> {
        let mut plain = Vec::new();
        match coding {
            Coding::Gzip => {
                flate2::read::GzDecoder::new(bytes).read_to_end(&mut plain)?;
            }
            Coding::Brotli => {
                brotli::Decompressor::new(bytes, 4096).read_to_end(&mut plain)?;
            }
            Coding::Zstd => {
                zstd::stream::read::Decoder::new(bytes)?.read_to_end(&mut plain)?;
            }
        }
        Ok(plain)
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out(
            pieces in proptest::collection::vec(proptest::collection::vec(0_u8..4, 0..3000), 0..8),
            flush in any::<bool>(),
        ) {
            for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
                let mut encoder = Encoder::new(coding)?;
                let mut coded = Vec::new();
                for piece in &pieces {
                    let mut steps = vec![Step::Input(piece.clone().into())];
                    if flush {
                        steps.push(Step::Flush);
                    }
                    for step in steps {
                        let (next, out) = encoder.step(&step)?;
                        coded.extend(out);
                        encoder = next.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?;
                    }
                }
                let (_, out) = encoder.step(&Step::Finish)?;
                coded.extend(out);
                prop_assert_eq!(plain(coding, &coded)?, pieces.concat());
            }
        }
    }

    #[test]
    fn after_a_flush_everything_is_there() -> io::Result<()> {
        for coding in [Coding::Gzip, Coding::Brotli, Coding::Zstd] {
            let (encoder, mut coded) =
                Encoder::new(coding)?.step(&Step::Input(Bytes::from_static(b"tick")))?;
            let encoder = encoder.ok_or(io::ErrorKind::UnexpectedEof)?;
            coded.extend(encoder.step(&Step::Flush)?.1);
            let mut plain = [0; 4];
            match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&*coded).read_exact(&mut plain)?,
                Coding::Brotli => brotli::Decompressor::new(&*coded, 1).read_exact(&mut plain)?,
                Coding::Zstd => {
                    zstd::stream::read::Decoder::new(&*coded)?.read_exact(&mut plain)?;
                }
            }
            assert_eq!(&plain, b"tick", "{coding:?}");
        }
        Ok(())
    }
}

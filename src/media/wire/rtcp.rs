//! RTCP: sender and receiver reports, source names and goodbyes (RFC 3550 section 6).

use super::{u16_at, u32_at};

const SENDER_REPORT: u8 = 200;
const RECEIVER_REPORT: u8 = 201;
const SOURCE_DESCRIPTION: u8 = 202;
const GOODBYE: u8 = 203;

/// Report blocks that one report may carry: the count has five bits.
const MAX_BLOCKS: usize = 31;

/// What somebody says about the packets that it received from one source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ReportBlock {
    pub ssrc: u32,
    /// Packets lost since the last report, in 256ths.
    pub fraction_lost: u8,
    /// Packets lost since the beginning, 24 bits with a sign: doubled packets make it negative.
    pub lost: i32,
    /// Cycles of the sequence number above the highest number received.
    pub highest_sequence: u32,
    /// Variation of the transit time, in timestamp units.
    pub jitter: u32,
    /// The middle 32 bits of the last sender report's time.
    pub last_report: u32,
    /// Since then, in 65,536ths of a second.
    pub delay: u32,
}

const BLOCK: usize = 24;

impl ReportBlock {
    fn parse(bytes: &[u8]) -> Option<Self> {
        let lost = u32_at(bytes, 4)?;
        // 24 bits with a sign, moved up and down again so that the sign spreads.
        let cumulative = ((lost << 8) as i32) >> 8;
        Some(Self {
            ssrc: u32_at(bytes, 0)?,
            fraction_lost: (lost >> 24) as u8,
            lost: cumulative,
            highest_sequence: u32_at(bytes, 8)?,
            jitter: u32_at(bytes, 12)?,
            last_report: u32_at(bytes, 16)?,
            delay: u32_at(bytes, 20)?,
        })
    }

    fn write(&self, out: &mut Vec<u8>) {
        let lost = self.lost.clamp(-0x80_0000, 0x7f_ffff) as u32 & 0xff_ffff;
        for word in [
            self.ssrc,
            u32::from(self.fraction_lost) << 24 | lost,
            self.highest_sequence,
            self.jitter,
            self.last_report,
            self.delay,
        ] {
            out.extend(word.to_be_bytes());
        }
    }
}

/// What a sender says about what it sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SenderInfo {
    /// Wall clock as NTP counts it: seconds since 1900 and their fraction.
    pub ntp: u64,
    pub timestamp: u32,
    pub packets: u32,
    pub octets: u32,
}

/// One packet of a compound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rtcp<'a> {
    SenderReport(u32, SenderInfo, Blocks<'a>),
    ReceiverReport(u32, Blocks<'a>),
    /// The sources that leave.
    Goodbye(&'a [u8]),
    /// Any other, by its type.
    Other(u8),
}

/// The report blocks of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Blocks<'a>(&'a [u8]);

impl Iterator for Blocks<'_> {
    type Item = ReportBlock;

    fn next(&mut self) -> Option<ReportBlock> {
        let (block, rest) = self.0.split_at_checked(BLOCK)?;
        self.0 = rest;
        ReportBlock::parse(block)
    }
}

/// The packets of a datagram, each within its stated length. Ends at the first that does not fit.
#[derive(Clone, Debug)]
pub struct Compound<'a>(&'a [u8]);

impl<'a> Compound<'a> {
    /// A datagram whose packets fill it exactly (RFC 3550 appendix A.2, but for the rule that a
    /// report comes first: reduced-size RTCP, RFC 5506, has none).
    #[must_use]
    pub fn parse(datagram: &'a [u8]) -> Option<Self> {
        let mut rest = datagram;
        if rest.is_empty() {
            return None;
        }
        while !rest.is_empty() {
            (_, rest) = cut(rest)?;
        }
        Some(Self(datagram))
    }
}

fn cut(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let words = usize::from(u16_at(bytes, 2)?);
    if bytes.first()? >> 6 != 2 {
        return None;
    }
    bytes.split_at_checked(4 * (words + 1))
}

impl<'a> Iterator for Compound<'a> {
    type Item = Rtcp<'a>;

    fn next(&mut self) -> Option<Rtcp<'a>> {
        let (packet, rest) = cut(self.0)?;
        self.0 = rest;
        let (first, kind) = (*packet.first()?, *packet.get(1)?);
        let count = usize::from(first & 0x1f);
        let blocks = |from: usize| {
            let bytes = packet.get(from..from + count * BLOCK)?;
            Some(Blocks(bytes))
        };
        let read = || match kind {
            SENDER_REPORT => {
                let ntp = u64::from(u32_at(packet, 8)?) << 32 | u64::from(u32_at(packet, 12)?);
                let info = SenderInfo {
                    ntp,
                    timestamp: u32_at(packet, 16)?,
                    packets: u32_at(packet, 20)?,
                    octets: u32_at(packet, 24)?,
                };
                Some(Rtcp::SenderReport(u32_at(packet, 4)?, info, blocks(28)?))
            }
            RECEIVER_REPORT => Some(Rtcp::ReceiverReport(u32_at(packet, 4)?, blocks(8)?)),
            GOODBYE => Some(Rtcp::Goodbye(packet.get(4..4 + 4 * count)?)),
            _ => None,
        };
        Some(read().unwrap_or(Rtcp::Other(kind)))
    }
}

/// Writes a report with a canonical name behind it, as every compound must have
/// (RFC 3550 section 6.1). Without `sender` it is a receiver report.
pub fn write_report(
    ssrc: u32,
    sender: Option<&SenderInfo>,
    blocks: &[ReportBlock],
    name: &str,
    out: &mut Vec<u8>,
) {
    let blocks = blocks.get(..MAX_BLOCKS).unwrap_or(blocks);
    let words = 1 + 6 * blocks.len() + if sender.is_some() { 5 } else { 0 };
    let kind = if sender.is_some() {
        SENDER_REPORT
    } else {
        RECEIVER_REPORT
    };
    out.extend([0x80 | blocks.len() as u8, kind]);
    out.extend((words as u16).to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    if let Some(sender) = sender {
        out.extend(sender.ntp.to_be_bytes());
        out.extend(sender.timestamp.to_be_bytes());
        out.extend(sender.packets.to_be_bytes());
        out.extend(sender.octets.to_be_bytes());
    }
    for block in blocks {
        block.write(out);
    }
    let mut end = name.len().min(255);
    while !name.is_char_boundary(end) {
        end -= 1;
    }
    let name = name.get(..end).unwrap_or_default().as_bytes();
    // SSRC, item type, length, text, and at least one zero to the next word.
    let items = 4 + 2 + name.len() + 1;
    let words = items.div_ceil(4);
    out.extend([0x81, SOURCE_DESCRIPTION]);
    out.extend((words as u16).to_be_bytes());
    out.extend(ssrc.to_be_bytes());
    out.extend([1, name.len() as u8]);
    out.extend(name);
    out.resize(out.len() + 1 + (words * 4 - items), 0);
}

/// Appends a goodbye (RFC 3550 section 6.6).
pub fn write_goodbye(ssrc: u32, out: &mut Vec<u8>) {
    out.extend([0x81, GOODBYE, 0, 1]);
    out.extend(ssrc.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn block() -> impl Strategy<Value = ReportBlock> {
        (any::<[u32; 5]>(), any::<u8>(), -0x80_0000i32..0x80_0000).prop_map(
            |(words, fraction_lost, lost)| ReportBlock {
                ssrc: words[0],
                fraction_lost,
                lost,
                highest_sequence: words[1],
                jitter: words[2],
                last_report: words[3],
                delay: words[4],
            },
        )
    }

    proptest! {
        #[test]
        fn written_reports_read_the_same(
            ssrc: u32, ntp: u64, counts: [u32; 3], name in "[a-zé]{0,40}",
            blocks in prop::collection::vec(block(), 0..31), sends: bool,
        ) {
            let info = SenderInfo { ntp, timestamp: counts[0], packets: counts[1], octets: counts[2] };
            let mut out = Vec::new();
            write_report(ssrc, sends.then_some(&info), &blocks, &name, &mut out);
            write_goodbye(ssrc, &mut out);
            prop_assert_eq!(out.len() % 4, 0);
            let parts: Vec<_> = Compound::parse(&out).unwrap().collect();
            let read = match parts[0] {
                Rtcp::SenderReport(from, read, blocks) => {
                    prop_assert!(sends && from == ssrc && read == info);
                    blocks
                }
                Rtcp::ReceiverReport(from, blocks) => {
                    prop_assert!(!sends && from == ssrc);
                    blocks
                }
                _ => panic!("{parts:?}"),
            };
            prop_assert_eq!(read.collect::<Vec<_>>(), blocks);
            prop_assert_eq!(parts[1], Rtcp::Other(SOURCE_DESCRIPTION));
            prop_assert_eq!(parts[2], Rtcp::Goodbye(&ssrc.to_be_bytes()));
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for bytes in [
            &[][..],
            &[0x80, 200, 0],
            &[0x80, 200, 0, 1, 0, 0, 0],
            &[0x80, 201, 0, 0, 0x80],
            &[0x40, 201, 0, 0],
        ] {
            assert!(Compound::parse(bytes).is_none(), "{bytes:?}");
        }
        // A report that claims blocks it has not is no report, but the compound goes on.
        let bytes = [0x9f, 201, 0, 1, 0, 0, 0, 1, 0x80, 203, 0, 0];
        let parts: Vec<_> = Compound::parse(&bytes).unwrap().collect();
        assert_eq!(parts, [Rtcp::Other(201), Rtcp::Goodbye(&[])]);
    }
}

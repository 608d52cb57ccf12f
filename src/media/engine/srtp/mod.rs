//! SRTP and SRTCP (RFC 3711), with AES in counter mode and SHA-1, or with AES-GCM (RFC 7714).
//!
//! A [`Protector`] makes packets secret, an [`Opener`] makes them plain again; each has the keys of
//! one direction. Packets change in place, in a buffer with room for what is added.

mod derive;
mod replay;
pub mod sdes;
mod suite;

use replay::Sources;
use suite::Keys;
pub use suite::Suite;

use crate::wire::{rtp, u32_at};

/// Bytes that a packet grows by at most: a tag of 16 and RTCP's index.
pub const GROWTH: usize = 20;

/// The flag of RTCP's index that says that the packet is encrypted.
const ENCRYPTED: u32 = 1 << 31;
/// Header and source, which stay readable in RTCP.
const RTCP_HEAD: usize = 8;

/// A master key with its salt, as SDES or DTLS gave it. Debug output does not show it.
#[derive(Clone, PartialEq, Eq)]
pub struct MasterKey {
    suite: Suite,
    bytes: Vec<u8>,
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MasterKey")
            .field("suite", &self.suite)
            .finish_non_exhaustive()
    }
}

impl MasterKey {
    /// Key and salt, one behind the other; `None` where their length is not the suite's.
    #[must_use]
    pub fn new(suite: Suite, bytes: &[u8]) -> Option<Self> {
        (bytes.len() == suite.key_length() + suite.salt_length()).then(|| Self {
            suite,
            bytes: bytes.to_vec(),
        })
    }

    /// A new one; `None` where the machine has no randomness to give.
    #[must_use]
    pub fn generate(suite: Suite) -> Option<Self> {
        let mut bytes = vec![0; suite.key_length() + suite.salt_length()];
        aws_lc_rs::rand::fill(&mut bytes).ok()?;
        Some(Self { suite, bytes })
    }

    #[must_use]
    pub fn suite(&self) -> Suite {
        self.suite
    }

    fn split(&self) -> (&[u8], &[u8]) {
        self.bytes
            .split_at_checked(self.suite.key_length())
            .unwrap_or_default()
    }
}

/// Both directions' keys for one end of a call.
#[derive(Debug)]
pub struct Secure {
    pub(crate) opener: Opener,
    pub(crate) protector: Protector,
    keys: [MasterKey; 2],
}

impl Secure {
    /// `theirs` opens what this end sends, `ours` protects what it is sent.
    #[must_use]
    pub fn new(theirs: &MasterKey, ours: &MasterKey) -> Option<Self> {
        Some(Self {
            opener: Opener::new(theirs)?,
            protector: Protector::new(ours)?,
            keys: [theirs.clone(), ours.clone()],
        })
    }

    pub(crate) fn has_keys_of(&self, other: &Self) -> bool {
        self.keys == other.keys
    }
}

/// Makes packets secret.
#[derive(Debug)]
pub struct Protector {
    rtp: Keys,
    rtcp: Keys,
    sources: Sources,
    rtcp_index: u32,
}

impl Protector {
    #[must_use]
    pub fn new(key: &MasterKey) -> Option<Self> {
        let (rtp, rtcp) = derive::keys(key)?;
        Some(Self {
            rtp,
            rtcp,
            sources: Sources::default(),
            rtcp_index: 0,
        })
    }

    /// Protects the RTP packet in the first `length` bytes, and gives its new length; `None` where
    /// it is no packet or does not fit.
    #[must_use]
    pub fn rtp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let (header, head) = rtp::head(buffer.get(..length)?)?;
        let source = self.sources.of(header.ssrc);
        let index = source.sending(header.sequence);
        self.rtp.seal_rtp(buffer, length, head, header.ssrc, index)
    }

    /// Protects the RTCP packet in the first `length` bytes.
    #[must_use]
    pub fn rtcp(&mut self, buffer: &mut [u8], length: usize) -> Option<usize> {
        let ssrc = u32_at(buffer.get(..length)?, 4)?;
        // 2^31 packets are more than any call has; after them there must be another key.
        let index = self.rtcp_index.checked_add(1)?;
        if index & ENCRYPTED != 0 {
            return None;
        }
        self.rtcp_index = index;
        self.rtcp.seal_rtcp(buffer, length, ssrc, index | ENCRYPTED)
    }
}

/// Makes packets plain, and refuses those that are not genuine or were there before.
#[derive(Debug)]
pub struct Opener {
    rtp: Keys,
    rtcp: Keys,
    sources: Sources,
    rtcp_sources: Sources,
}

impl Opener {
    #[must_use]
    pub fn new(key: &MasterKey) -> Option<Self> {
        let (rtp, rtcp) = derive::keys(key)?;
        Some(Self {
            rtp,
            rtcp,
            sources: Sources::default(),
            rtcp_sources: Sources::default(),
        })
    }

    /// Opens the RTP packet in the buffer, and gives its new length.
    #[must_use]
    pub fn rtp(&mut self, packet: &mut [u8]) -> Option<usize> {
        let (header, head) = rtp::head(packet)?;
        let source = self.sources.peek(header.ssrc);
        let index = source.receiving(header.sequence);
        if !source.is_new(index) {
            return None;
        }
        let length = self.rtp.open_rtp(packet, head, header.ssrc, index)?;
        // Only a genuine packet is remembered: others must not push the window on, or make sources.
        self.sources.of(header.ssrc).seen(index);
        Some(length)
    }

    /// Opens the RTCP packet in the buffer, and gives its new length.
    #[must_use]
    pub fn rtcp(&mut self, packet: &mut [u8]) -> Option<usize> {
        let ssrc = u32_at(packet, 4)?;
        let word_at = self.rtcp.rtcp_index_at(packet.len())?;
        let word = u32_at(packet, word_at)?;
        // All that we agree to is encrypted: what says it is not was made by somebody else.
        if word & ENCRYPTED == 0 {
            return None;
        }
        let index = u64::from(word & !ENCRYPTED);
        if !self.rtcp_sources.peek(ssrc).is_new(index) {
            return None;
        }
        let length = self.rtcp.open_rtcp(packet, ssrc, word)?;
        self.rtcp_sources.of(ssrc).seen(index);
        Some(length)
    }
}

#[cfg(test)]
mod tests;

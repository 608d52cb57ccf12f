//! What each suite does with a packet.

use aws_lc_rs::{
    aead::{AES_128_GCM, AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey},
    cipher::{AES_128, AES_256, EncryptingKey, EncryptionContext, UnboundCipherKey},
    constant_time, hmac,
    iv::FixedLength,
};

use super::RTCP_HEAD;

/// A crypto suite of SDES (RFC 4568 section 6.2, RFC 7714 section 14.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Suite {
    AesCm128HmacSha1_80,
    AesCm128HmacSha1_32,
    AeadAes128Gcm,
    AeadAes256Gcm,
}

impl Suite {
    /// The strongest first.
    pub const ALL: [Self; 4] = [
        Self::AeadAes256Gcm,
        Self::AeadAes128Gcm,
        Self::AesCm128HmacSha1_80,
        Self::AesCm128HmacSha1_32,
    ];

    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::AesCm128HmacSha1_80 => "AES_CM_128_HMAC_SHA1_80",
            Self::AesCm128HmacSha1_32 => "AES_CM_128_HMAC_SHA1_32",
            Self::AeadAes128Gcm => "AEAD_AES_128_GCM",
            Self::AeadAes256Gcm => "AEAD_AES_256_GCM",
        }
    }

    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|suite| suite.name() == name)
    }

    #[must_use]
    pub fn key_length(self) -> usize {
        match self {
            Self::AeadAes256Gcm => 32,
            _ => 16,
        }
    }

    #[must_use]
    pub fn salt_length(self) -> usize {
        if self.is_aead() { 12 } else { 14 }
    }

    fn is_aead(self) -> bool {
        matches!(self, Self::AeadAes128Gcm | Self::AeadAes256Gcm)
    }

    /// RTCP always has the long tag (RFC 4568 section 6.2.2).
    fn tag_length(self, rtcp: bool) -> usize {
        match self {
            Self::AesCm128HmacSha1_32 if !rtcp => 4,
            Self::AesCm128HmacSha1_80 | Self::AesCm128HmacSha1_32 => 10,
            _ => 16,
        }
    }
}

/// AES in counter mode.
pub(super) struct CounterMode(EncryptingKey);

pub(super) fn counter_mode(key: &[u8]) -> Option<CounterMode> {
    let algorithm = if key.len() == 32 { &AES_256 } else { &AES_128 };
    let key = UnboundCipherKey::new(algorithm, key).ok()?;
    Some(CounterMode(EncryptingKey::ctr(key).ok()?))
}

impl CounterMode {
    /// Encrypts or decrypts: the same.
    pub(super) fn apply(&self, counter: [u8; 16], bytes: &mut [u8]) -> Option<()> {
        let context = EncryptionContext::Iv128(FixedLength::from(counter));
        self.0.less_safe_encrypt(bytes, context).ok().map(drop)
    }
}

enum Cipher {
    CounterMode(Box<(CounterMode, hmac::Key)>),
    Gcm(Box<LessSafeKey>),
}

/// Session keys of one direction, for RTP or for RTCP.
pub(super) struct Keys {
    cipher: Cipher,
    salt: [u8; 14],
    tag: usize,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    pub(super) fn new(
        suite: Suite,
        rtcp: bool,
        encryption: &[u8],
        authentication: &[u8],
        salt: &[u8],
    ) -> Option<Self> {
        let cipher = if suite.is_aead() {
            let algorithm = match suite {
                Suite::AeadAes256Gcm => &AES_256_GCM,
                _ => &AES_128_GCM,
            };
            Cipher::Gcm(Box::new(LessSafeKey::new(
                UnboundKey::new(algorithm, encryption).ok()?,
            )))
        } else {
            let algorithm = hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY;
            Cipher::CounterMode(Box::new((
                counter_mode(encryption)?,
                hmac::Key::new(algorithm, authentication),
            )))
        };
        let mut padded = [0; 14];
        padded.get_mut(..salt.len())?.copy_from_slice(salt);
        Some(Self {
            cipher,
            salt: padded,
            tag: suite.tag_length(rtcp),
        })
    }

    /// The counter's beginning (RFC 3711 section 4.1.1).
    fn counter(&self, ssrc: u32, index: u64) -> [u8; 16] {
        let mut counter = [0; 16];
        let ssrc = u128::from(ssrc) << 64;
        let index = u128::from(index & 0xffff_ffff_ffff) << 16;
        let (head, _) = counter.split_at_mut(14);
        head.copy_from_slice(&self.salt);
        let value = u128::from_be_bytes(counter) ^ ssrc ^ index;
        value.to_be_bytes()
    }

    /// The nonce (RFC 7714 sections 8.1 and 9.1): two zeros, the source, the index; for RTCP the
    /// index has 31 bits, behind two zeros more.
    fn nonce(&self, ssrc: u32, index: u64) -> Nonce {
        let mut nonce = [0; 12];
        let (_, rest) = nonce.split_at_mut(2);
        let (source, place) = rest.split_at_mut(4);
        source.copy_from_slice(&ssrc.to_be_bytes());
        let [_, _, index @ ..] = index.to_be_bytes();
        place.copy_from_slice(&index);
        for (byte, salt) in nonce.iter_mut().zip(self.salt) {
            *byte ^= salt;
        }
        Nonce::assume_unique_for_key(nonce)
    }

    /// `index` is 32 bits of rollovers and 16 of sequence number.
    pub(super) fn seal_rtp(
        &self,
        buffer: &mut [u8],
        length: usize,
        head: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let whole = length.checked_add(self.tag)?;
        let (packet, tag) = buffer.get_mut(..whole)?.split_at_mut_checked(length)?;
        match &self.cipher {
            Cipher::CounterMode(keys) => {
                let (cipher, key) = &**keys;
                cipher.apply(self.counter(ssrc, index), packet.get_mut(head..)?)?;
                let full = authenticate(key, packet, (index >> 16) as u32);
                tag.copy_from_slice(full.as_ref().get(..self.tag)?);
            }
            Cipher::Gcm(key) => {
                let (aad, payload) = packet.split_at_mut_checked(head)?;
                let nonce = self.nonce(ssrc, index);
                let made = key.seal_in_place_separate_tag(nonce, Aad::from(&*aad), payload);
                tag.copy_from_slice(made.ok()?.as_ref());
            }
        }
        Some(whole)
    }

    pub(super) fn open_rtp(
        &self,
        packet: &mut [u8],
        head: usize,
        ssrc: u32,
        index: u64,
    ) -> Option<usize> {
        let length = packet.len().checked_sub(self.tag)?;
        if length < head {
            return None;
        }
        match &self.cipher {
            Cipher::CounterMode(keys) => {
                let (cipher, key) = &**keys;
                let (packet, tag) = packet.split_at_mut_checked(length)?;
                let full = authenticate(key, packet, (index >> 16) as u32);
                constant_time::verify_slices_are_equal(full.as_ref().get(..self.tag)?, tag).ok()?;
                cipher.apply(self.counter(ssrc, index), packet.get_mut(head..)?)?;
            }
            Cipher::Gcm(key) => {
                let (aad, sealed) = packet.split_at_mut_checked(head)?;
                key.open_in_place(self.nonce(ssrc, index), Aad::from(&*aad), sealed)
                    .ok()?;
            }
        }
        Some(length)
    }

    /// Where RTCP's index stands: last, but for counter mode's tag (RFC 3711 section 3.4, RFC 7714
    /// section 9.2).
    pub(super) fn rtcp_index_at(&self, length: usize) -> Option<usize> {
        let behind = match self.cipher {
            Cipher::CounterMode(_) => 4 + self.tag,
            Cipher::Gcm(_) => 4,
        };
        length.checked_sub(behind)
    }

    /// `word` is the index with its flag.
    pub(super) fn seal_rtcp(
        &self,
        buffer: &mut [u8],
        length: usize,
        ssrc: u32,
        word: u32,
    ) -> Option<usize> {
        let whole = length.checked_add(self.tag)?.checked_add(4)?;
        let buffer = buffer.get_mut(..whole)?;
        let index = u64::from(word & !super::ENCRYPTED);
        match &self.cipher {
            Cipher::CounterMode(keys) => {
                let (cipher, key) = &**keys;
                let (packet, tag) = buffer.split_at_mut_checked(length + 4)?;
                let (body, place) = packet.split_at_mut_checked(length)?;
                cipher.apply(self.counter(ssrc, index), body.get_mut(RTCP_HEAD..)?)?;
                place.copy_from_slice(&word.to_be_bytes());
                let full = hmac::sign(key, packet);
                tag.copy_from_slice(full.as_ref().get(..self.tag)?);
            }
            Cipher::Gcm(key) => {
                let (packet, rest) = buffer.split_at_mut_checked(length)?;
                let (tag, place) = rest.split_at_mut_checked(self.tag)?;
                let (head, body) = packet.split_at_mut_checked(RTCP_HEAD)?;
                let aad = rtcp_aad(head, word)?;
                let nonce = self.nonce(ssrc, index);
                let made = key.seal_in_place_separate_tag(nonce, Aad::from(aad), body);
                tag.copy_from_slice(made.ok()?.as_ref());
                place.copy_from_slice(&word.to_be_bytes());
            }
        }
        Some(whole)
    }

    pub(super) fn open_rtcp(&self, packet: &mut [u8], ssrc: u32, word: u32) -> Option<usize> {
        let length = packet.len().checked_sub(self.tag)?.checked_sub(4)?;
        if length < RTCP_HEAD {
            return None;
        }
        let index = u64::from(word & !super::ENCRYPTED);
        match &self.cipher {
            Cipher::CounterMode(keys) => {
                let (cipher, key) = &**keys;
                let (packet, tag) = packet.split_at_mut_checked(length + 4)?;
                let full = hmac::sign(key, packet);
                constant_time::verify_slices_are_equal(full.as_ref().get(..self.tag)?, tag).ok()?;
                let body = packet.get_mut(RTCP_HEAD..length)?;
                cipher.apply(self.counter(ssrc, index), body)?;
            }
            Cipher::Gcm(key) => {
                let (head, rest) = packet.split_at_mut_checked(RTCP_HEAD)?;
                let sealed = rest.len().checked_sub(4)?;
                let aad = rtcp_aad(head, word)?;
                let nonce = self.nonce(ssrc, index);
                key.open_in_place(nonce, Aad::from(aad), rest.get_mut(..sealed)?)
                    .ok()?;
            }
        }
        Some(length)
    }
}

/// The tag of an RTP packet, which covers the rollovers too.
fn authenticate(key: &hmac::Key, packet: &[u8], rollovers: u32) -> hmac::Tag {
    let mut context = hmac::Context::with_key(key);
    context.update(packet);
    context.update(&rollovers.to_be_bytes());
    context.sign()
}

fn rtcp_aad(head: &[u8], word: u32) -> Option<[u8; 12]> {
    let mut aad = [0; 12];
    let (first, last) = aad.split_at_mut(RTCP_HEAD);
    first.copy_from_slice(head.get(..RTCP_HEAD)?);
    last.copy_from_slice(&word.to_be_bytes());
    Some(aad)
}

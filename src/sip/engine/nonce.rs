//! Challenges that need no memory until they are answered, and answers that work once.
//!
//! A nonce says when it was made and is signed together with whom it was made for, so that nothing
//! is kept for a challenge that is never answered. Once one was answered rightly, the highest count
//! (`nc`) seen with it is kept until it has run out.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use aws_lc_rs::hmac;
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};

/// Octets: time, serial, signature.
const LENGTH: usize = 4 + 8 + 12;
const SHARDS: usize = 16;
/// Nonces remembered per shard; beyond them the ones that were used first are forgotten, which lets
/// their last answer be replayed for the seconds they have left.
const REMEMBERED: usize = 65_536;

/// What becomes of an answer's nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// One of ours, for that source, not yet too old.
    Good(Nonce),
    /// Ours, but too old.
    Stale,
    /// Not ours, or not for that source.
    Forged,
}

/// A nonce of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Nonce {
    made: u32,
    serial: u64,
}

/// What becomes of an answer's count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Count {
    /// Higher than any before.
    Fresh,
    /// The same request again.
    Repeated,
    /// Used before, by another request.
    Replayed,
}

/// The maker of challenges.
pub(super) struct Nonces {
    key: hmac::Key,
    serial: AtomicU64,
    used: [Mutex<Used>; SHARDS],
}

#[derive(Default)]
struct Used {
    counts: HashMap<Nonce, Last>,
    /// When those that are too old were last looked for, in Unix seconds.
    swept: u32,
}

struct Last {
    count: u32,
    /// What the request with that count was.
    fingerprint: u64,
}

impl Nonces {
    /// With a key that must not be guessed, and a serial number that must not have been used.
    #[must_use]
    pub(super) fn new(key: &[u8], serial: u64) -> Self {
        Self {
            key: hmac::Key::new(hmac::HMAC_SHA256, key),
            serial: AtomicU64::new(serial),
            used: std::array::from_fn(|_| Mutex::default()),
        }
    }

    /// A new challenge for a source.
    #[must_use]
    pub(super) fn make(&self, source: IpAddr, unix: u64) -> String {
        let made = unix as u32;
        let serial = self.serial.fetch_add(1, Ordering::Relaxed);
        let nonce = Nonce { made, serial };
        let mut octets = [0; LENGTH];
        let signature = self.sign(nonce, source);
        let parts = [&made.to_be_bytes()[..], &serial.to_be_bytes(), &signature];
        for (octet, byte) in octets.iter_mut().zip(parts.into_iter().flatten()) {
            *octet = *byte;
        }
        BASE64_STANDARD_NO_PAD.encode(octets)
    }

    /// Looks at the nonce of an answer.
    #[must_use]
    pub(super) fn check(&self, text: &[u8], source: IpAddr, unix: u64, life: Duration) -> Verdict {
        let mut octets = [0; LENGTH];
        let length = BASE64_STANDARD_NO_PAD.decode_slice(text, &mut octets);
        if length != Ok(LENGTH) {
            return Verdict::Forged;
        }
        let Some((made, rest)) = octets.split_first_chunk() else {
            return Verdict::Forged;
        };
        let Some((serial, signature)) = rest.split_first_chunk() else {
            return Verdict::Forged;
        };
        let nonce = Nonce {
            made: u32::from_be_bytes(*made),
            serial: u64::from_be_bytes(*serial),
        };
        let expected = self.sign(nonce, source);
        if aws_lc_rs::constant_time::verify_slices_are_equal(signature, &expected).is_err() {
            return Verdict::Forged;
        }
        // Made in the future: the clock was set back, and the nonce would live too long.
        let age = (unix as u32).wrapping_sub(nonce.made);
        if u64::from(age) > life.as_secs() {
            return Verdict::Stale;
        }
        Verdict::Good(nonce)
    }

    /// Takes note that a right answer used a nonce; `fingerprint` tells the request from others.
    pub(super) fn count(
        &self,
        nonce: Nonce,
        count: u32,
        fingerprint: u64,
        unix: u64,
        life: Duration,
    ) -> Count {
        let shard = &self.used[nonce.serial as usize % SHARDS];
        let mut used = shard.lock().unwrap_or_else(PoisonError::into_inner);
        used.sweep(unix as u32, life);
        match used.counts.get_mut(&nonce) {
            Some(last) if last.count == count && last.fingerprint == fingerprint => Count::Repeated,
            Some(last) if last.count >= count => Count::Replayed,
            Some(last) => {
                *last = Last { count, fingerprint };
                Count::Fresh
            }
            None => {
                used.counts.insert(nonce, Last { count, fingerprint });
                Count::Fresh
            }
        }
    }

    fn sign(&self, nonce: Nonce, source: IpAddr) -> [u8; 12] {
        let mut context = hmac::Context::with_key(&self.key);
        context.update(&nonce.made.to_be_bytes());
        context.update(&nonce.serial.to_be_bytes());
        match source.to_canonical() {
            IpAddr::V4(v4) => context.update(&v4.octets()),
            IpAddr::V6(v6) => context.update(&v6.octets()),
        }
        let tag = context.sign();
        tag.as_ref().first_chunk().copied().unwrap_or_default()
    }
}

impl Used {
    fn sweep(&mut self, now: u32, life: Duration) {
        let old = |nonce: &Nonce| u64::from(now.wrapping_sub(nonce.made)) > life.as_secs();
        if now.wrapping_sub(self.swept) > 10 {
            self.swept = now;
            self.counts.retain(|nonce, _| !old(nonce));
        }
        if self.counts.len() >= REMEMBERED {
            let mut made: Vec<u32> = self.counts.keys().map(|nonce| nonce.made).collect();
            let middle = made.len() / 2;
            let (_, median, _) = made.select_nth_unstable(middle);
            let median = *median;
            self.counts.retain(|nonce, _| nonce.made > median);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIFE: Duration = Duration::from_secs(30);
    const HERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 1));
    const THERE: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 2));

    #[test]
    fn a_nonce_is_for_one_source_and_a_while() {
        let nonces = Nonces::new(b"key", 1);
        let nonce = nonces.make(HERE, 1000);
        assert_ne!(nonce, nonces.make(HERE, 1000));
        let check = |source, unix| nonces.check(nonce.as_bytes(), source, unix, LIFE);
        assert!(matches!(check(HERE, 1030), Verdict::Good(_)));
        assert_eq!(check(HERE, 1031), Verdict::Stale);
        assert_eq!(check(HERE, 999), Verdict::Stale);
        assert_eq!(check(THERE, 1000), Verdict::Forged);
        let others = Nonces::new(b"other", 1);
        assert_eq!(
            others.check(nonce.as_bytes(), HERE, 1000, LIFE),
            Verdict::Forged
        );
        assert_eq!(nonces.check(b"", HERE, 1000, LIFE), Verdict::Forged);
        assert_eq!(
            nonces.check(&[b'A'; 500], HERE, 1000, LIFE),
            Verdict::Forged
        );
    }

    #[test]
    fn a_count_is_used_once() {
        let nonces = Nonces::new(b"key", 1);
        let nonce = match nonces.check(nonces.make(HERE, 5).as_bytes(), HERE, 5, LIFE) {
            Verdict::Good(nonce) => nonce,
            other => panic!("{other:?}"),
        };
        let count = |count, fingerprint| nonces.count(nonce, count, fingerprint, 5, LIFE);
        assert_eq!(count(1, 77), Count::Fresh);
        assert_eq!(count(1, 77), Count::Repeated);
        assert_eq!(count(1, 78), Count::Replayed);
        assert_eq!(count(3, 79), Count::Fresh);
        assert_eq!(count(2, 80), Count::Replayed);
    }

    #[test]
    fn memory_is_bounded() {
        let nonces = Nonces::new(b"key", 0);
        for serial in 0..1_300_000_u64 {
            let nonce = Nonce {
                made: (serial / 100_000) as u32,
                serial,
            };
            nonces.count(nonce, 1, serial, serial / 100_000, LIFE);
        }
        let kept: usize = nonces
            .used
            .iter()
            .map(|used| used.lock().map_or(0, |used| used.counts.len()))
            .sum();
        assert!(kept <= REMEMBERED * SHARDS, "{kept}");
    }
}

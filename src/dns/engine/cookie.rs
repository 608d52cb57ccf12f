//! Server cookies that every server with the same secret makes alike (RFC 9018).

use std::fmt;
use std::net::IpAddr;

/// Octets of a client's cookie.
pub(crate) const CLIENT: usize = 8;
/// Octets of both cookies.
pub(crate) const BOTH: usize = 24;

/// The secret cookies are made with.
#[derive(Clone)]
pub struct CookieSecret([u8; 16]);

impl fmt::Debug for CookieSecret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CookieSecret")
    }
}

impl CookieSecret {
    /// Of sixteen octets that nobody can guess.
    pub fn new(secret: [u8; 16]) -> CookieSecret {
        CookieSecret(secret)
    }

    /// The client's cookie with a fresh one of the server's behind it.
    pub(crate) fn both(&self, client: [u8; CLIENT], address: IpAddr, now: u32) -> [u8; BOTH] {
        let [c0, c1, c2, c3, c4, c5, c6, c7] = client;
        let [t0, t1, t2, t3] = now.to_be_bytes();
        // RFC 9018 4.4: client cookie, version 1, three octets reserved, time, client address.
        let head = [c0, c1, c2, c3, c4, c5, c6, c7, 1, 0, 0, 0, t0, t1, t2, t3];
        let mut input = [0u8; 32];
        let length = match address.to_canonical() {
            IpAddr::V4(v4) => fill(&mut input, &head, &v4.octets()),
            IpAddr::V6(v6) => fill(&mut input, &head, &v6.octets()),
        };
        let hash = siphash_2_4(&self.0, input.get(..length).unwrap_or(&[])).to_le_bytes();
        let mut both = [0u8; BOTH];
        fill(&mut both, &head, &hash);
        both
    }
}

/// RFC 9018 4.3: how old a cookie may be, and how far ahead of the clock.
const MAX_AGE: u32 = 3600;
const MAX_AHEAD: u32 = 300;

impl CookieSecret {
    /// True of a client's cookie with one behind it that this server, or one with the same secret,
    /// has given to the same address of late.
    pub(crate) fn is_good(&self, cookie: &[u8], address: IpAddr, now: u32) -> bool {
        let (Some(client), Some(time)) = (
            cookie.first_chunk(),
            cookie.get(12..16).and_then(<[u8]>::first_chunk),
        ) else {
            return false;
        };
        let time = u32::from_be_bytes(*time);
        let age = now.wrapping_sub(time);
        let timely = age <= MAX_AGE || age.wrapping_neg() <= MAX_AHEAD;
        // All octets are looked at, however many are right.
        let own = self.both(*client, address, time);
        let differ = |all: u8, (ours, theirs): (&u8, &u8)| all | (ours ^ theirs);
        timely && cookie.len() == BOTH && own.iter().zip(cookie).fold(0, differ) == 0
    }
}

fn fill(target: &mut [u8], head: &[u8], tail: &[u8]) -> usize {
    for (slot, octet) in target.iter_mut().zip(head.iter().chain(tail)) {
        *slot = *octet;
    }
    head.len() + tail.len()
}

/// SipHash-2-4 (Aumasson and Bernstein, 2012).
pub(super) fn siphash_2_4(key: &[u8; 16], input: &[u8]) -> u64 {
    let word = |octets: &[u8]| {
        let mut padded = [0u8; 8];
        fill(&mut padded, octets, &[]);
        u64::from_le_bytes(padded)
    };
    let (low, high) = key.split_at(8);
    let (k0, k1) = (word(low), word(high));
    let mut state = [
        k0 ^ 0x736f_6d65_7073_6575,
        k1 ^ 0x646f_7261_6e64_6f6d,
        k0 ^ 0x6c79_6765_6e65_7261,
        k1 ^ 0x7465_6462_7974_6573,
    ];
    let chunks = input.chunks_exact(8);
    let last = word(chunks.remainder()) | (input.len() as u64 & 0xff) << 56;
    for block in chunks.map(word).chain([last]) {
        state[3] ^= block;
        round(&mut state);
        round(&mut state);
        state[0] ^= block;
    }
    state[2] ^= 0xff;
    (0..4).for_each(|_| round(&mut state));
    state.iter().fold(0, |hash, word| hash ^ word)
}

fn round(state: &mut [u64; 4]) {
    let [mut a, mut b, mut c, mut d] = *state;
    a = a.wrapping_add(b);
    b = b.rotate_left(13) ^ a;
    a = a.rotate_left(32);
    c = c.wrapping_add(d);
    d = d.rotate_left(16) ^ c;
    a = a.wrapping_add(d);
    d = d.rotate_left(21) ^ a;
    c = c.wrapping_add(b);
    b = b.rotate_left(17) ^ c;
    c = c.rotate_left(32);
    *state = [a, b, c, d];
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn siphash_of_its_paper() {
        let key: [u8; 16] = std::array::from_fn(|index| index as u8);
        let input: Vec<u8> = (0..15).collect();
        assert_eq!(siphash_2_4(&key, &input), 0xa129_ca61_49be_45e5);
    }

    fn hex(text: &str) -> Vec<u8> {
        let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
        let pair =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(pair).collect()
    }

    /// RFC 9018 A.1, A.2 and A.4.
    #[test]
    fn cookies_of_the_rfc() {
        let cases = [
            (
                "e5e973e5a6b2a43f48e7dc849e37bfcf",
                "2464c4abcf10c957",
                "198.51.100.100",
                1_559_731_985,
                "2464c4abcf10c957010000005cf79f111f8130c3eee29480",
            ),
            (
                "e5e973e5a6b2a43f48e7dc849e37bfcf",
                "fc93fc62807ddb86",
                "203.0.113.203",
                1_559_734_700,
                "fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e",
            ),
            (
                "445536bcd2513298075a5d379663c962",
                "22681ab97d52c298",
                "2001:db8:220:1:59de:d0f4:8769:82b8",
                1_559_741_961,
                "22681ab97d52c298010000005cf7c609a6bb79d16625507a",
            ),
        ];
        for (secret, client, address, now, expected) in cases {
            let secret = CookieSecret::new(hex(secret).try_into().unwrap());
            let client = hex(client).try_into().unwrap();
            let both = secret.both(client, address.parse().unwrap(), now);
            assert_eq!(both.to_vec(), hex(expected), "{address}");

            let address = address.parse().unwrap();
            assert!(secret.is_good(&both, address, now));
            assert!(secret.is_good(&both, address, now + 3600));
            assert!(secret.is_good(&both, address, now - 300));
            assert!(!secret.is_good(&both, address, now + 3601));
            assert!(!secret.is_good(&both, address, now - 301));
            assert!(!secret.is_good(&both, "192.0.2.1".parse().unwrap(), now));
            assert!(!secret.is_good(&both[..8], address, now));
            let mut forged = both;
            forged[23] ^= 1;
            assert!(!secret.is_good(&forged, address, now));
        }
    }
}

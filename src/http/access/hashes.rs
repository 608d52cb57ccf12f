//! How htpasswd files keep passwords.

use argon2::{Argon2, PasswordVerifier as _, password_hash::phc::PasswordHash};
use aws_lc_rs::digest;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use md5::{Digest as _, Md5};
use sha_crypt::ShaCrypt;
use subtle::ConstantTimeEq;

use super::crypt;

/// The alphabet of crypt's hashes.
const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// bcrypt reads no more of a password, and no client has reason to send as much.
const LONGEST: usize = 1024;

/// Whether a password is the one that a hash was made of. Takes as long as the hash is meant to.
#[must_use]
pub fn fits(password: &str, hash: &str) -> bool {
    if password.len() > LONGEST {
        return false;
    }
    if let Some(encoded) = hash.strip_prefix("{SHA}") {
        let digest = digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, password.as_bytes());
        return same(&STANDARD.encode(digest.as_ref()), encoded);
    }
    for magic in ["$apr1$", "$1$"] {
        if let Some(rest) = hash.strip_prefix(magic) {
            let (salt, encoded) = rest.split_once('$').unwrap_or((rest, ""));
            return same(&md5_crypt(password.as_bytes(), salt, magic), encoded);
        }
    }
    if hash.starts_with("$2") {
        return bcrypt::verify(password, hash).unwrap_or(false);
    }
    if hash.starts_with("$5$") || hash.starts_with("$6$") {
        use sha_crypt::PasswordVerifier as _;
        return ShaCrypt::default()
            .verify_password(password.as_bytes(), hash)
            .is_ok();
    }
    if hash.starts_with("$argon2") {
        let Ok(parsed) = PasswordHash::new(hash) else {
            return false;
        };
        return Argon2::default()
            .verify_password(password.as_bytes(), &parsed)
            .is_ok();
    }
    match crypt::crypt(password.as_bytes(), hash) {
        Some(made) => same(&made, hash),
        None => false,
    }
}

fn same(one: &str, other: &str) -> bool {
    one.as_bytes().ct_eq(other.as_bytes()).into()
}

/// MD5-crypt, with Apache's mark or the system's. A thousand rounds, as it was thought enough.
fn md5_crypt(password: &[u8], salt: &str, magic: &str) -> String {
    let salt: Vec<u8> = salt.bytes().take(8).collect();
    let inner = Md5::new()
        .chain_update(password)
        .chain_update(&salt)
        .chain_update(password)
        .finalize();
    let mut outer = Md5::new();
    outer.update(password);
    outer.update(magic);
    outer.update(&salt);
    let mut left = password.len();
    while left > 0 {
        let take = left.min(16);
        outer.update(inner.get(..take).unwrap_or_default());
        left -= take;
    }
    let first = password.get(..1).unwrap_or_default();
    let mut length = password.len();
    while length > 0 {
        if length & 1 == 1 {
            outer.update([0]);
        } else {
            outer.update(first);
        }
        length >>= 1;
    }
    let mut digest = outer.finalize();
    for round in 0..1000 {
        let mut next = Md5::new();
        if round & 1 == 1 {
            next.update(password);
        } else {
            next.update(digest);
        }
        if round % 3 != 0 {
            next.update(&salt);
        }
        if round % 7 != 0 {
            next.update(password);
        }
        if round & 1 == 1 {
            next.update(digest);
        } else {
            next.update(password);
        }
        digest = next.finalize();
    }
    let byte = |at: usize| u32::from(digest.get(at).copied().unwrap_or(0));
    let mut encoded = String::with_capacity(22);
    for (a, b, c) in [(0, 6, 12), (1, 7, 13), (2, 8, 14), (3, 9, 15), (4, 10, 5)] {
        push64(byte(a) << 16 | byte(b) << 8 | byte(c), 4, &mut encoded);
    }
    push64(byte(11), 2, &mut encoded);
    encoded
}

fn push64(mut bits: u32, count: usize, into: &mut String) {
    for _ in 0..count {
        let at = usize::try_from(bits & 63).unwrap_or(0);
        into.push(ALPHABET.get(at).map_or('.', |&byte| char::from(byte)));
        bits >>= 6;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_kind_of_hash() {
        for hash in [
            // htpasswd -nbm, -nbs, -nbd, -nbB; openssl passwd -1, -5, -6.
            "$apr1$zg96zWhC$vbx1JjVAvcd4vrINSMPXf.",
            "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=",
            "bdDQdeF02N666",
            "$2y$05$MgzxH809rZytJ8IdjgjFpeF1C2vMby.IOKEnxDF9xARtONojj.Cpi",
            "$1$lHPP.B2r$nWlqB0O7.1bByzDGniTtX/",
            "$5$m5I/C4Wls9NFcs2B$37wYi6j38h/5O4.9/3I9telsoRT0cY4jN5jCnxdW/J1",
            "$6$HnDSwHSVfQNzq67A$bOYI2YE1b0vlFwgyA9EU/n3jMce1d81t.OY8TrJea4NPnsa/mXX0UQcGyVPmKehCIvYKJqOaZWH2ibm93FCL30",
        ] {
            assert!(fits("secret", hash), "{hash}");
            assert!(!fits("Secret", hash), "{hash}");
            assert!(!fits("", hash), "{hash}");
        }
        // The reference implementation's own test.
        let argon2 =
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        assert!(fits("password", argon2));
        assert!(!fits("secret", argon2));
        for hash in [
            "",
            "$",
            "$2y$",
            "$6$",
            "$argon2id$",
            "$apr1$",
            "{SHA}",
            "x",
            "secret",
        ] {
            assert!(!fits("secret", hash), "{hash}");
        }
        assert!(!fits(&"x".repeat(100_000), "{SHA}x"));
    }

    proptest! {
        #[test]
        fn no_hash_breaks_it(password in ".{0,12}", hash in "[$./a-z0-9{}*=,]{0,24}") {
            std::hint::black_box(fits(&password, &hash));
        }
    }
}

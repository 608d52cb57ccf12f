//! The keys by which servers prove where they are (XEP-0220, made as XEP-0185 says).

use aws_lc_rs::{digest, hmac};

/// The key for a stream with the id `stream`, by which `sender` proves itself to `receiver`.
pub fn key(secret: &[u8], receiver: &str, sender: &str, stream: &str) -> String {
    let hashed = hex(digest::digest(&digest::SHA256, secret).as_ref());
    let key = hmac::Key::new(hmac::HMAC_SHA256, hashed.as_bytes());
    let text = format!("{receiver} {sender} {stream}");
    hex(hmac::sign(&key, text.as_bytes()).as_ref())
}

/// Whether that is the key, in a time that doesn't tell how nearly it is.
pub fn is_key(secret: &[u8], receiver: &str, sender: &str, stream: &str, claimed: &str) -> bool {
    let right = key(secret, receiver, sender, stream);
    aws_lc_rs::constant_time::verify_slices_are_equal(right.as_bytes(), claimed.as_bytes()).is_ok()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// XEP-0185 3, example 1.
    #[test]
    fn xep_0185_3() {
        let made = key(
            b"s3cr3tf0rd14lb4ck",
            "xmpp.example.com",
            "example.org",
            "D60000229F",
        );
        assert_eq!(
            made,
            "37c69b1cf07a3f67c04a5ef5902fa5114f2c76fe4a2686482ba5b89323075643"
        );
        assert!(is_key(b"s", "a", "b", "1", &key(b"s", "a", "b", "1")));
        for (receiver, sender, stream) in [("b", "a", "1"), ("a", "b", "2"), ("a", "a", "1")] {
            assert!(!is_key(
                b"s",
                receiver,
                sender,
                stream,
                &key(b"s", "a", "b", "1")
            ));
        }
    }
}

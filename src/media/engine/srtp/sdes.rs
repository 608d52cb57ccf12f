//! Keys in session descriptions (RFC 4568): `a=crypto`. To be used only where the signalling is
//! secret itself.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::{MasterKey, Suite};
use crate::wire::sdp::{Attribute, Media};

/// One key that is offered, or the one that is answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Crypto {
    /// Its number, which the answer repeats.
    pub tag: u32,
    pub key: MasterKey,
}

impl Crypto {
    /// Reads the value of `a=crypto`. What asks for things that we do not do (key identifiers,
    /// several keys, unencrypted parts) is left out as if it were not there, as section 6.3.7 wants.
    #[must_use]
    pub fn parse(value: &str) -> Option<Self> {
        let mut words = value.split_ascii_whitespace();
        let (tag, suite, key) = (words.next()?, words.next()?, words.next()?);
        let suite = Suite::from_name(suite)?;
        // WSH is a hint about the window of replays; no other parameter may be ignored.
        if !words.all(|parameter| parameter.starts_with("WSH=") || parameter.starts_with('-')) {
            return None;
        }
        let mut parts = key.strip_prefix("inline:")?.split('|');
        let bytes = STANDARD.decode(parts.next()?).ok()?;
        // A lifetime has no colon, a key identifier has one.
        if key.contains(';') || parts.any(|part| part.contains(':')) {
            return None;
        }
        Some(Self {
            tag: tag.parse().ok()?,
            key: MasterKey::new(suite, &bytes)?,
        })
    }

    #[must_use]
    pub fn to_attribute(&self) -> Attribute {
        let suite = self.key.suite().name();
        let key = STANDARD.encode(&self.key.bytes);
        Attribute::new("crypto", format!("{} {suite} inline:{key}", self.tag))
    }

    /// A new key to answer this one with: of the same suite, under the same number.
    #[must_use]
    pub fn answer(&self) -> Option<Self> {
        Some(Self {
            tag: self.tag,
            key: MasterKey::generate(self.key.suite())?,
        })
    }
}

/// The keys that a stream offers and we can use, in its order.
pub fn offered(media: &Media) -> impl Iterator<Item = Crypto> {
    let lines = media
        .attributes
        .iter()
        .filter(|attribute| attribute.name == "crypto");
    lines.filter_map(|attribute| Crypto::parse(attribute.value.as_deref()?))
}

/// New keys to offer, one for each suite, in the order of `suites`.
pub fn offer(suites: &[Suite]) -> impl Iterator<Item = Crypto> {
    let numbered = (1..).zip(suites);
    numbered.filter_map(|(tag, suite)| {
        let key = MasterKey::generate(*suite)?;
        Some(Crypto { tag, key })
    })
}

/// Puts keys into a stream's description in the place of those that were there; without any, the
/// stream becomes plain RTP.
pub fn describe(media: &mut Media, keys: &[Crypto]) {
    media.remove("crypto");
    let plain = media
        .protocol
        .replace("UDP/TLS/", "")
        .replace("SAVP", "AVP");
    media.protocol = if keys.is_empty() {
        plain
    } else {
        plain.replace("AVP", "SAVP")
    };
    media
        .attributes
        .extend(keys.iter().map(Crypto::to_attribute));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::sdp::Sdp;

    #[test]
    fn a_stream_becomes_secret_and_plain_again() {
        let text = "v=0\r\no=x 1 1 IN IP4 192.0.2.1\r\ns=-\r\nm=audio 4000 RTP/AVPF 0\r\n";
        let sdp: Sdp = text.parse().unwrap();
        let mut media = sdp.media[0].clone();
        let keys: Vec<_> = offer(&Suite::ALL).collect();
        describe(&mut media, &keys);
        assert!(media.is_secure());
        assert_eq!(media.protocol, "RTP/SAVPF");
        assert_eq!(offered(&media).collect::<Vec<_>>(), keys);
        describe(&mut media, &keys[..1]);
        assert_eq!(offered(&media).count(), 1);
        describe(&mut media, &[]);
        assert_eq!(media, sdp.media[0]);
    }

    #[test]
    fn the_rfcs_example_is_read() {
        let value = "1 AES_CM_128_HMAC_SHA1_80 \
            inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20|1:4 FEC_ORDER=FEC_SRTP";
        assert_eq!(Crypto::parse(value), None, "a key identifier, and FEC");
        let value = "1 AES_CM_128_HMAC_SHA1_80 \
            inline:WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz|2^20 WSH=128";
        let crypto = Crypto::parse(value).unwrap();
        assert_eq!(crypto.tag, 1);
        assert_eq!(crypto.key.bytes, b"YS___semctl () {\t220;}\n}\nunles");
        let printed = crypto.to_attribute().value.unwrap();
        assert_eq!(Crypto::parse(&printed), Some(crypto));
    }

    #[test]
    fn what_cannot_be_used_is_left_out() {
        let good = "WVNfX19zZW1jdGwgKCkgewkyMjA7fQp9CnVubGVz";
        for value in [
            "",
            "1",
            "1 F8_128_HMAC_SHA1_80 inline:x",
            &format!("x AES_CM_128_HMAC_SHA1_80 inline:{good}"),
            &format!("1 AES_CM_128_HMAC_SHA1_80 uri:{good}"),
            &format!("1 AES_CM_128_HMAC_SHA1_80 inline:{good};inline:{good}"),
            &format!("1 AES_CM_128_HMAC_SHA1_80 inline:{good} UNENCRYPTED_SRTP"),
            &format!("1 AEAD_AES_128_GCM inline:{good}"),
            "1 AES_CM_128_HMAC_SHA1_80 inline:%%%",
        ] {
            assert_eq!(Crypto::parse(value), None, "{value}");
        }
    }

    #[test]
    fn each_suite_is_offered_with_a_key_of_its_own() {
        let offered: Vec<_> = offer(&Suite::ALL).collect();
        assert_eq!(offered.len(), 4);
        for (crypto, suite) in offered.iter().zip(Suite::ALL) {
            let answer = crypto.answer().unwrap();
            assert_eq!((crypto.key.suite(), answer.tag), (suite, crypto.tag));
            assert_ne!(crypto.key, answer.key);
            assert!(!format!("{crypto:?}").contains("bytes"));
        }
    }
}

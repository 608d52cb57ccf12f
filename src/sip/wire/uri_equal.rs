//! When two URIs are the same (RFC 3261 19.1.4, RFC 3966 4).

use super::uri::{SipUri, Uri, equal_unescaped, pairs, unescaped};

impl PartialEq for Uri<'_> {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Sip(a), Self::Sip(b)) => a == b,
            (
                Self::Tel {
                    number: a,
                    params: a_params,
                },
                Self::Tel {
                    number: b,
                    params: b_params,
                },
            ) => dialled(a).eq(dialled(b)) && same_set(a_params, b_params, b';'),
            (Self::Other(a), Self::Other(b)) => a == b,
            _ => false,
        }
    }
}

impl PartialEq for SipUri<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.secure == other.secure
            && same_bytes(self.user, other.user)
            && same_bytes(self.password, other.password)
            && self.host == other.host
            && self.port == other.port
            && same_params(self, other)
            && same_params(other, self)
            && same_set(self.headers, other.headers, b'&')
    }
}

/// User and password are compared with regard to case, whichever way they are escaped.
fn same_bytes(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    match (a, b) {
        (Some(a), Some(b)) => unescaped(a).eq(unescaped(b)),
        (a, b) => a.is_none() && b.is_none(),
    }
}

/// Every parameter of `a` that `b` has too must agree; and one of those that change where a request
/// goes must be in both, even if it says what is the default.
fn same_params(a: &SipUri<'_>, b: &SipUri<'_>) -> bool {
    a.params().all(|(name, value)| {
        let mut found = b
            .params()
            .filter(|(other, _)| equal_unescaped(name, other))
            .peekable();
        match found.peek() {
            Some((_, other)) => {
                equal_unescaped(value.unwrap_or_default(), other.unwrap_or_default())
            }
            None => !["user", "ttl", "method", "maddr", "transport"]
                .iter()
                .any(|special| equal_unescaped(name, special.as_bytes())),
        }
    })
}

/// The same items in whatever order.
fn same_set(a: &[u8], b: &[u8], separator: u8) -> bool {
    let within = |a, b| {
        pairs(a, separator).all(|(name, value)| {
            pairs(b, separator).any(|(other, other_value)| {
                equal_unescaped(name, other)
                    && equal_unescaped(value.unwrap_or_default(), other_value.unwrap_or_default())
            })
        })
    };
    within(a, b) && within(b, a)
}

/// A telephone number without its visual separators.
fn dialled(number: &[u8]) -> impl Iterator<Item = u8> + use<'_> {
    number
        .iter()
        .filter(|byte| !matches!(byte, b'-' | b'.' | b'(' | b')'))
        .map(u8::to_ascii_lowercase)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(a: &str, b: &str) -> bool {
        let a = Uri::parse(a.as_bytes());
        let b = Uri::parse(b.as_bytes());
        assert!(a.is_ok() && b.is_ok(), "{a:?} {b:?}");
        let forth = a == b;
        assert_eq!(forth, b == a, "equality goes both ways");
        forth
    }

    #[test]
    fn the_equal_pairs_of_rfc_3261_are_equal() {
        for (a, b) in [
            (
                "sip:%61lice@atlanta.com;transport=TCP",
                "sip:alice@AtLanTa.CoM;Transport=tcp",
            ),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;newparam=5"),
            ("sip:carol@chicago.com", "sip:carol@chicago.com;security=on"),
            (
                "sip:biloxi.com;transport=tcp;method=REGISTER?to=sip:bob%40biloxi.com",
                "sip:biloxi.com;method=REGISTER;transport=tcp?to=sip:bob%40biloxi.com",
            ),
            (
                "sip:alice@atlanta.com?subject=project%20x&priority=urgent",
                "sip:alice@atlanta.com?priority=urgent&subject=project%20x",
            ),
            ("tel:+1-201-555-0123", "tel:+12015550123"),
        ] {
            assert!(equal(a, b), "{a} {b}");
        }
    }

    #[test]
    fn the_unequal_pairs_of_rfc_3261_are_not() {
        for (a, b) in [
            (
                "SIP:ALICE@AtLanTa.CoM;Transport=udp",
                "sip:alice@AtLanTa.CoM;Transport=UDP",
            ),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com:5060"),
            ("sip:bob@biloxi.com", "sip:bob@biloxi.com;transport=udp"),
            (
                "sip:bob@biloxi.com",
                "sip:bob@biloxi.com:6000;transport=tcp",
            ),
            (
                "sip:carol@chicago.com",
                "sip:carol@chicago.com?Subject=next%20meeting",
            ),
            ("sip:bob@phone21.boxesbybob.com", "sip:bob@192.0.2.4"),
            (
                "sip:carol@chicago.com;security=on",
                "sip:carol@chicago.com;security=off",
            ),
            ("sip:a@b", "sips:a@b"),
            ("tel:+12015550123", "tel:+12015550124"),
        ] {
            assert!(!equal(a, b), "{a} {b}");
        }
    }
}

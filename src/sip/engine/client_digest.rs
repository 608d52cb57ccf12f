//! What we answer a challenge with, as a client of somebody else (RFC 7616, RFC 8760).

use omnid_identity::DigestAlgorithm;

use crate::wire::{Challenge, HeaderName, Message};

/// The header that answers a response's challenge; none where it has none that we can answer.
pub(super) fn answer(
    response: &Message,
    method: &str,
    uri: &str,
    (username, password): (&str, &str),
    cnonce: u64,
) -> Option<(HeaderName, String)> {
    let (asks, answers) = match response.status()? {
        401 => (HeaderName::WwwAuthenticate, HeaderName::Authorization),
        407 => (
            HeaderName::ProxyAuthenticate,
            HeaderName::ProxyAuthorization,
        ),
        _ => return None,
    };
    let known = |challenge: Challenge| {
        let name = match challenge.algorithm.as_slice() {
            b"" => b"MD5",
            name => name,
        };
        let algorithm = [DigestAlgorithm::Sha256, DigestAlgorithm::Md5]
            .into_iter()
            .find(|known| known.name().as_bytes().eq_ignore_ascii_case(name))?;
        (challenge.auth || challenge.plain).then_some((challenge, algorithm))
    };
    let challenges = response.lines(asks);
    let challenges = challenges.filter_map(|value| Challenge::parse(value).ok().flatten());
    // The better algorithm, wherever it stands.
    let (challenge, algorithm) = challenges
        .filter_map(known)
        .max_by_key(|(_, algorithm)| *algorithm == DigestAlgorithm::Sha256)?;
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    let (realm, nonce) = (text(&challenge.realm), text(&challenge.nonce));
    let ha1 = algorithm.ha1(username, &realm, password);
    let ha2 = algorithm.hash(format!("{method}:{uri}").as_bytes());
    let mut value = format!(
        "Digest username=\"{username}\", realm=\"{}\", nonce=\"{}\", uri=\"{uri}\"",
        escaped(&realm),
        escaped(&nonce)
    );
    let response = if challenge.auth {
        let cnonce = format!("{cnonce:016x}");
        value += &format!(", qop=auth, nc=00000001, cnonce=\"{cnonce}\"");
        algorithm.hash(format!("{ha1}:{nonce}:00000001:{cnonce}:auth:{ha2}").as_bytes())
    } else {
        algorithm.hash(format!("{ha1}:{nonce}:{ha2}").as_bytes())
    };
    value += &format!(", response=\"{response}\"");
    if !challenge.algorithm.is_empty() {
        value += &format!(", algorithm={}", algorithm.name());
    }
    if let Some(opaque) = &challenge.opaque {
        value += &format!(", opaque=\"{}\"", escaped(&text(opaque)));
    }
    Some((answers, value))
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

//! Digest authentication (RFC 3261 22, RFC 7616, RFC 8760).

use std::hash::{BuildHasher, RandomState};

use omnid_identity::DigestAlgorithm;

use super::{
    Flow, Settings,
    nonce::{Count, Nonce, Nonces, Verdict},
};
use crate::wire::{Credentials, HeaderName, Message, Uri};

/// An answer whose nonce is good, and that only needs the user's HA1 to be judged.
#[derive(Debug, Clone)]
pub(super) struct Claim {
    /// Who it says it is: the local part of an address.
    pub username: String,
    /// The realm, one of our domains.
    pub realm: String,
    /// What to hash with.
    pub algorithm: DigestAlgorithm,
    nonce: Nonce,
    count: u32,
    credentials: Credentials,
}

/// What a request says of who sent it.
#[derive(Debug, Clone)]
pub(super) enum Answer {
    /// Nothing, or nothing to the challenge it would get.
    None,
    /// Something too old: worth another try by the client, without asking its user.
    Stale(DigestAlgorithm),
    /// Something that can be judged.
    Claim(Box<Claim>),
    /// Something that cannot be read.
    Malformed,
}

/// How a claim was judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Judgement {
    /// It is who it says.
    Right,
    /// It is, but has used that count before.
    Replayed,
    /// It is not, or there is nobody of that name.
    Wrong,
}

/// Reads the answer that a request gives in `name` to a challenge in `realm`.
#[must_use]
pub(super) fn answer(
    request: &Message,
    name: HeaderName,
    realm: &str,
    flow: &Flow,
    nonces: &Nonces,
    settings: &Settings,
    unix: u64,
) -> Answer {
    let mut outcome = Answer::None;
    for line in request.lines(name) {
        let credentials = match Credentials::parse(line) {
            Ok(Some(credentials)) => credentials,
            Ok(None) => continue,
            Err(_) => return Answer::Malformed,
        };
        if !credentials.realm.eq_ignore_ascii_case(realm.as_bytes()) {
            continue;
        }
        let Some(algorithm) = algorithm(&credentials, settings) else {
            continue;
        };
        // Without a count there is no telling a replay from the original.
        if credentials.qop != b"auth" || credentials.nc.len() != 8 || credentials.cnonce.is_empty()
        {
            continue;
        }
        let Some(count) = std::str::from_utf8(&credentials.nc)
            .ok()
            .and_then(|nc| u32::from_str_radix(nc, 16).ok())
        else {
            continue;
        };
        match nonces.check(
            &credentials.nonce,
            flow.remote.ip(),
            unix,
            settings.nonce_life,
        ) {
            Verdict::Good(nonce) => {
                return Answer::Claim(Box::new(Claim {
                    username: String::from_utf8_lossy(&credentials.username).into_owned(),
                    realm: realm.to_owned(),
                    algorithm,
                    nonce,
                    count,
                    credentials,
                }));
            }
            Verdict::Stale => outcome = Answer::Stale(algorithm),
            Verdict::Forged => {}
        }
    }
    outcome
}

fn algorithm(credentials: &Credentials, settings: &Settings) -> Option<DigestAlgorithm> {
    let name = match credentials.algorithm.as_slice() {
        b"" => b"MD5",
        name => name,
    };
    settings
        .algorithms
        .iter()
        .copied()
        .find(|known| known.name().as_bytes().eq_ignore_ascii_case(name))
}

impl Claim {
    /// Judges the claim by the user's HA1, in hexadecimal. For a user who is none it takes as long.
    #[must_use]
    pub(super) fn judge(
        &self,
        request: &Message,
        arrival: &Flow,
        ha1: Option<&[u8]>,
        nonces: &Nonces,
        settings: &Settings,
        unix: u64,
    ) -> Judgement {
        let known = ha1.is_some();
        let ha1 = ha1.unwrap_or(b"00000000000000000000000000000000");
        let given = &self.credentials;
        let a2 = [request.method_text(), b":", &given.uri].concat();
        let ha2 = self.algorithm.hash(&a2);
        let parts: [&[u8]; 6] = [
            ha1,
            &given.nonce,
            &given.nc,
            &given.cnonce,
            &given.qop,
            ha2.as_bytes(),
        ];
        let expected = self.algorithm.hash(&parts.join(&b':'));
        let same = aws_lc_rs::constant_time::verify_slices_are_equal(
            expected.as_bytes(),
            &given.response.to_ascii_lowercase(),
        )
        .is_ok();
        if !(same & known) || !answers_for(request, &given.uri, arrival, settings) {
            return Judgement::Wrong;
        }
        let fingerprint = fingerprint(request);
        match nonces.count(
            self.nonce,
            self.count,
            fingerprint,
            unix,
            settings.nonce_life,
        ) {
            Count::Fresh | Count::Repeated => Judgement::Right,
            Count::Replayed => Judgement::Replayed,
        }
    }
}

/// RFC 3261 22.4 item 5, RFC 7616 3.4.6: the answer must be for this request. Elements on the way
/// may have rewritten the request's URI, and clients name the server instead of whom they call, so
/// either will do; an answer is good for one count and one source anyway. But one that was made for
/// another server is none.
fn answers_for(request: &Message, uri: &[u8], arrival: &Flow, settings: &Settings) -> bool {
    if uri == request.uri_text() {
        return true;
    }
    match (Uri::parse(uri), request.uri()) {
        (Ok(Uri::Sip(answered)), Ok(Uri::Sip(asked))) => {
            answered.user == asked.user || settings.is_us(&answered, arrival)
        }
        (Ok(answered), Ok(asked)) => answered == asked,
        // Clients that cannot write an IPv6 address exist; the nonce tells that they mean us.
        (Err(_), _) => true,
        (Ok(_), Err(_)) => false,
    }
}

/// Tells a request from any other that could carry the same answer: a retransmission is the same.
fn fingerprint(request: &Message) -> u64 {
    use std::sync::OnceLock;
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    HASHER.get_or_init(RandomState::new).hash_one((
        request.call_id(),
        request.value(HeaderName::CSeq),
        request.via().ok().and_then(|via| via.branch()),
        request.body(),
        request.value(HeaderName::Contact),
        request.uri_text(),
    ))
}

/// The values of the headers that challenge: one per algorithm, the preferred one first
/// (RFC 8760 2.4).
pub(crate) fn challenges<'a>(
    realm: &'a str,
    nonce: &'a str,
    algorithms: &'a [DigestAlgorithm],
    stale: bool,
) -> impl Iterator<Item = String> + use<'a> {
    algorithms.iter().map(move |algorithm| {
        let stale = if stale { ", stale=true" } else { "" };
        format!(
            "Digest realm=\"{realm}\", nonce=\"{nonce}\", algorithm={}, qop=\"auth\"{stale}",
            algorithm.name(),
        )
    })
}

//! Who sent a request.

use omnid_identity::{Address, DigestAlgorithm};

use super::{
    Action, Engine, Flow, Question, Turn,
    admit::{Facts, Plan},
    digest::{self, Answer, Claim, Judgement},
    reply::Reply,
};
use crate::wire::{HeaderName, Message};

impl Engine {
    /// Makes sure of who sent a request, or says what has to happen first.
    pub(super) fn authenticate(
        &self,
        request: &Message,
        arrival: &Flow,
        name: HeaderName,
        realm: &str,
        facts: &mut Facts,
        turn: &mut Turn<'_>,
    ) -> Result<(), Plan> {
        if facts.account.is_some() {
            return Ok(());
        }
        let shared = turn.shared;
        let answer = digest::answer(
            request,
            name,
            realm,
            arrival,
            &shared.nonces,
            turn.settings,
            turn.unix,
        );
        let claim = match answer {
            Answer::Claim(claim) => claim,
            Answer::None => return Err(challenge(name, realm, false, request, arrival, turn)),
            Answer::Stale(algorithm) => {
                let source = arrival.remote.ip();
                shared
                    .dialects
                    .answered(request, source, algorithm, turn.now);
                return Err(challenge(name, realm, true, request, arrival, turn));
            }
            Answer::Malformed => return Err(Reply::unasked(400).into()),
        };
        shared
            .dialects
            .answered(request, arrival.remote.ip(), claim.algorithm, turn.now);
        if let Some(wait) = facts.refused {
            let seconds = wait.as_secs().max(1).to_string();
            return Err(Reply::unasked(403)
                .with(HeaderName::RetryAfter, seconds.as_bytes())
                .into());
        }
        let secret = facts.secret.take().or_else(|| {
            shared.secrets.get(
                &claim.username,
                realm,
                claim.algorithm,
                arrival.remote.ip(),
                turn.now,
            )
        });
        let Some(secret) = secret else {
            return Err(Plan::Ask(Box::new(Question::Secret {
                username: claim.username.clone(),
                realm: realm.to_owned(),
                algorithm: claim.algorithm,
                source: arrival.remote.ip(),
            })));
        };
        match claim.judge(
            request,
            arrival,
            secret.as_deref(),
            &shared.nonces,
            turn.settings,
            turn.unix,
        ) {
            Judgement::Right => {
                let Some(account) = account_of(&claim) else {
                    return Err(challenge(name, realm, false, request, arrival, turn));
                };
                shared.limiter.refund(arrival.remote.ip());
                facts.account = Some(account);
                Ok(())
            }
            // The password is right, so its user need not be asked again.
            Judgement::Replayed => Err(challenge(name, realm, true, request, arrival, turn)),
            Judgement::Wrong => {
                shared
                    .secrets
                    .distrust(&claim.username, arrival.remote.ip(), turn.now);
                turn.actions.push(Action::Login {
                    name: account_of(&claim).map_or(claim.username, |account| account.to_string()),
                    source: arrival.remote.ip(),
                    succeeded: false,
                });
                Err(challenge(name, realm, false, request, arrival, turn))
            }
        }
    }
}

fn challenge(
    name: HeaderName,
    realm: &str,
    stale: bool,
    request: &Message,
    arrival: &Flow,
    turn: &Turn<'_>,
) -> Plan {
    let (status, header) = match name {
        HeaderName::Authorization => (401, HeaderName::WwwAuthenticate),
        _ => (407, HeaderName::ProxyAuthenticate),
    };
    let mut reply = Reply::unasked(status);
    let shared = turn.shared;
    let offered = turn.settings.algorithms.as_slice();
    let md5 = [DigestAlgorithm::Md5];
    let choice = offered.len() > 1 && offered.contains(&DigestAlgorithm::Md5);
    let source = arrival.remote.ip();
    let offered = if choice && shared.dialects.only_md5(request, source, turn.now) {
        &md5[..]
    } else {
        offered
    };
    let nonce = shared.nonces.make(source, turn.unix);
    for value in digest::challenges(realm, &nonce, offered, stale) {
        reply.header(header, value.as_bytes());
    }
    reply.into()
}

/// The account of a name that logs in: its local part, or the whole address.
fn account_of(claim: &Claim) -> Option<Address> {
    Address::parse_in(&claim.username, &claim.realm).ok()
}

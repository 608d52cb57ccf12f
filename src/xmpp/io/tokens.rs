//! Tokens for logins (XEP-0484): looked up, noted as used, given.

use std::time::{Duration, SystemTime};

use aws_lc_rs::digest;
use omnid_identity::ScramHash;
use omnid_store::StoreError;
use omnid_telemetry::limited;
use zeroize::Zeroizing;

use super::{
    login::{Peer, refusal},
    server::{address, token},
};
use crate::{
    data::tokens::{self, Holder},
    engine::{
        login::{Granting, Output, Step, TokenWanted},
        sasl::{Failure, Token, TokenMechanism},
    },
    features::last::stored,
    wire::{BareJid, time},
};

/// What the account's password is known by: it changes with the password. None for an account that
/// can't log in.
async fn mark(peer: &Peer, account: &BareJid) -> Result<Option<String>, Failure> {
    let address = address(account).ok_or(Failure::NotAuthorized)?;
    let identity = &peer.server.ground.identity;
    let verifier = identity.scram(&address, ScramHash::Sha256, peer.source());
    let verifier = verifier.await.map_err(|error| refusal(&error))?;
    let mut context = digest::Context::new(&digest::SHA256);
    context.update(&verifier.salt);
    context.update(&verifier.stored_key);
    let hash = context.finish();
    let hash = hash.as_ref().iter().map(|byte| format!("{byte:02x}"));
    Ok(verifier.exists.then(|| hash.collect()))
}

fn unavailable(error: &StoreError) -> Failure {
    limited!(Duration::from_secs(10), error, "tokens were not read or written", %error);
    Failure::TemporaryAuthFailure
}

/// The tokens that a client may come with.
pub(super) async fn find(peer: &Peer, wanted: &TokenWanted) -> Result<Vec<Token>, Failure> {
    let Some(mark) = mark(peer, wanted.account()).await? else {
        return Ok(Vec::new());
    };
    let holder = Holder {
        account: wanted.account().to_string(),
        agent: wanted.agent().to_owned(),
        mechanism: wanted.mechanism().name(),
        mark,
    };
    let now = stored(SystemTime::now());
    let database = &peer.server.ground.database;
    let found = database.read(move |reader| tokens::find(reader, &holder, now));
    let found = found.await.map_err(|error| unavailable(&error))?;
    let lasts = peer.server.settings.load().config.token_lifetime.as_secs();
    let found = found.into_iter().map(|kept| Token {
        id: kept.id,
        secret: Zeroizing::new(kept.secret),
        // Half its time is left to get the next one.
        due: now.saturating_sub(kept.given_at) >= lasts / 2,
    });
    Ok(found.collect())
}

/// Notes that a token was used, and gives the one that is wanted. It is on disk before the client
/// hears of it.
pub(super) async fn grant(peer: &Peer, granting: Granting, out: &mut Output) -> Step {
    match granted(peer, &granting).await {
        Ok(token) => {
            let token = token.as_ref();
            granting.done(
                token.map(|(token, expiry)| (token.as_str(), expiry.clone())),
                out,
            )
        }
        Err(_) => granting.failed(out),
    }
}

async fn granted(
    peer: &Peer,
    granting: &Granting,
) -> Result<Option<(Zeroizing<String>, String)>, Failure> {
    let account = granting.account().to_string();
    let agent = granting.agent().to_owned();
    let mark = match granting.wanted() {
        Some(mechanism) => mark(peer, granting.account())
            .await?
            .map(|mark| (mechanism, mark)),
        None => None,
    };
    let now = SystemTime::now();
    let expires = now + peer.server.settings.load().config.token_lifetime;
    // 256 bits.
    let secret = Zeroizing::new(token() + &token());
    let new = mark.map(|(mechanism, mark): (TokenMechanism, String)| {
        let holder = Holder {
            account: account.clone(),
            agent: agent.clone(),
            mechanism: mechanism.name(),
            mark,
        };
        (holder, secret.clone())
    });
    let given = new.is_some();
    let used = granting.used().map(|used| used.id);
    let invalidates = granting.invalidates();
    let written = peer.server.ground.database.write(move |tx| {
        if let Some(id) = used {
            tokens::used(tx, &account, &agent, id, invalidates)?;
        }
        if let Some((holder, secret)) = &new {
            let (now, expires) = (stored(now), stored(expires));
            tokens::give(tx, holder, secret, now, expires, used)?;
        }
        Ok(())
    });
    written.await.map_err(|error| unavailable(&error))?;
    Ok(given.then(|| (secret, time::format(expires))))
}

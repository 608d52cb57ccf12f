//! Tokens that clients log in with (XEP-0484).

use omnid_store::{Reader, StoreError, Transaction, params};

/// Tokens that count at a time for one installation of a client: the one it uses, and the one that
/// is to follow.
const PER_CLIENT: u32 = 4;
/// Tokens of one account, of all its clients.
const PER_ACCOUNT: u32 = 100;

fn seconds(at: u64) -> i64 {
    i64::try_from(at).unwrap_or(i64::MAX)
}

/// Whose a token is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// The account.
    pub account: String,
    /// The installation of the client.
    pub agent: String,
    /// The mechanism it counts for.
    pub mechanism: &'static str,
    /// What the account's password was known by when it was given: with another password it is
    /// void.
    pub mark: String,
}

/// A token as it is kept.
#[derive(Debug, Clone)]
pub struct Kept {
    /// Its number.
    pub id: i64,
    /// What the client has to know.
    pub secret: String,
    /// When it was given, in seconds since 1970.
    pub given_at: u64,
}

/// The tokens of a client that count now.
///
/// # Errors
/// When the database fails.
pub fn find(reader: &mut Reader<'_>, of: &Holder, now: u64) -> Result<Vec<Kept>, StoreError> {
    let rows = reader.query(
        "SELECT id, secret, given_at FROM xmpp_token
         WHERE account = $1 AND agent = $2 AND mechanism = $3 AND mark = $4 AND expires_at > $5
         ORDER BY id DESC LIMIT $6",
        params![
            of.account.as_str(),
            of.agent.as_str(),
            of.mechanism,
            of.mark.as_str(),
            seconds(now),
            PER_CLIENT
        ],
    )?;
    let rows = rows.iter().map(|row| {
        Ok(Kept {
            id: row.get(0)?,
            secret: row.get(1)?,
            given_at: row.get(2)?,
        })
    });
    rows.collect()
}

/// A token was used: those before it have had their time, and it too if it `invalidates` itself.
///
/// # Errors
/// When the database fails.
pub fn used(
    tx: &mut Transaction<'_>,
    account: &str,
    agent: &str,
    id: i64,
    invalidates: bool,
) -> Result<(), StoreError> {
    let below = if invalidates {
        id.saturating_add(1)
    } else {
        id
    };
    tx.execute(
        "DELETE FROM xmpp_token WHERE account = $1 AND agent = $2 AND id < $3",
        params![account, agent, below],
    )?;
    Ok(())
}

/// Gives a token, in place of those that the client never used; `used` stays.
///
/// # Errors
/// When the database fails.
pub fn give(
    tx: &mut Transaction<'_>,
    to: &Holder,
    secret: &str,
    now: u64,
    expires: u64,
    used: Option<i64>,
) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM xmpp_token WHERE account = $1 AND agent = $2 AND id <> $3",
        params![to.account.as_str(), to.agent.as_str(), used.unwrap_or(-1)],
    )?;
    tx.execute(
        "INSERT INTO xmpp_token
             (account, agent, mechanism, mark, secret, given_at, expires_at)
         VALUES ($1, $2, $3, $4, $5, $6, $7)",
        params![
            to.account.as_str(),
            to.agent.as_str(),
            to.mechanism,
            to.mark.as_str(),
            secret,
            seconds(now),
            seconds(expires)
        ],
    )?;
    tx.execute(
        "DELETE FROM xmpp_token WHERE account = $1 AND id NOT IN
             (SELECT id FROM xmpp_token WHERE account = $2 ORDER BY id DESC LIMIT $3)",
        params![to.account.as_str(), to.account.as_str(), PER_ACCOUNT],
    )?;
    Ok(())
}

/// Forgets tokens whose time is over.
///
/// # Errors
/// When the database fails.
pub fn expire(tx: &mut Transaction<'_>, now: u64) -> Result<(), StoreError> {
    tx.execute(
        "DELETE FROM xmpp_token WHERE expires_at <= $1",
        params![seconds(now)],
    )?;
    Ok(())
}

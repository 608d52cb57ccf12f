//! Questions of the engine, answered by those who know.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use omnid_identity::{Address, AuthError, Source};
use omnid_script::Hook;
use omnid_store::StoreError;
use omnid_telemetry::limited;
use serde_json::{Value, json};

use super::core::Core;
use crate::engine::{Decision, Fact, Key, Question};

impl Core {
    /// Finds out what an engine wants to know; it is told when that is found.
    pub(super) fn ask(self: &Arc<Self>, shard: usize, ticket: Key, question: Question) {
        let core = self.clone();
        tokio::spawn(async move {
            let fact = core.find_out(question).await;
            core.with_outbox(|core, outbox| {
                let told = |engine: &mut crate::engine::Engine,
                            turn: &mut crate::engine::Turn<'_>| {
                    engine.told(ticket, fact, turn);
                };
                core.act(shard, false, told, outbox);
            });
        });
    }

    async fn find_out(&self, question: Question) -> Fact {
        match question {
            Question::Secret {
                username,
                realm,
                algorithm,
                source,
            } => {
                let source = Source {
                    ip: source,
                    service: "sip",
                };
                let identity = &self.ground.identity;
                match identity
                    .digest_ha1(&username, &realm, algorithm, source)
                    .await
                {
                    Ok(ha1) => Fact::Secret(ha1.map(Into::into)),
                    Err(AuthError::Throttled { retry_after }) => Fact::Refused(retry_after),
                    Err(AuthError::Locked { until }) => {
                        let left = until.duration_since(SystemTime::now());
                        Fact::Refused(left.unwrap_or(Duration::ZERO))
                    }
                    Err(AuthError::Store(error)) => unknown(&error),
                    Err(_) => Fact::Secret(None),
                }
            }
            Question::Written(place) => {
                if self.written.wait(place).await {
                    Fact::Written
                } else {
                    Fact::Unknown
                }
            }
            Question::Account(address) => match self.reached(&address).await {
                Ok(account) => Fact::Account(account),
                Err(error) => unknown(&error),
            },
            Question::Script {
                method,
                from,
                to,
                uri,
                source,
                user,
            } => {
                let arguments = json!({
                    "method": method, "from": from, "to": to, "uri": uri,
                    "source": source.to_string(), "user": user,
                });
                match self.ground.scripts.call(Hook::SipRequest, arguments).await {
                    Ok(decision) => Fact::Script(decide(decision.as_ref())),
                    // The script's own settings say whether an error denies; then it is this one.
                    Err(error) => {
                        limited!(Duration::from_secs(10), warn, "sip.request failed", %error);
                        Fact::Script(Decision::Refuse(500, String::new()))
                    }
                }
            }
        }
    }

    /// The account that an address reaches: by its name, an alias or an extension.
    async fn reached(&self, address: &Address) -> Result<Option<Address>, StoreError> {
        let identity = &self.ground.identity;
        if let Some(account) = identity.resolve(address).await? {
            return Ok(Some(account));
        }
        identity.extension(address.domain(), address.user()).await
    }
}

fn unknown(error: &StoreError) -> Fact {
    limited!(Duration::from_secs(10), error, "accounts cannot be read", %error);
    Fact::Unknown
}

/// `{status, reason}` or `{redirect}`; anything else is no decision.
fn decide(decision: Option<&Value>) -> Decision {
    let Some(decision) = decision else {
        return Decision::Continue;
    };
    let text = |name| decision.get(name).and_then(Value::as_str);
    if let Some(uri) = text("redirect") {
        return Decision::Redirect(uri.to_owned());
    }
    match decision.get("status").and_then(Value::as_u64) {
        Some(status @ 300..=699) => {
            let status = u16::try_from(status).unwrap_or(403);
            Decision::Refuse(status, text("reason").unwrap_or_default().to_owned())
        }
        Some(status) => {
            limited!(
                Duration::from_secs(10),
                warn,
                "sip.request refused with a status that refuses nothing",
                status
            );
            Decision::Refuse(403, String::new())
        }
        None => Decision::Continue,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_read() {
        let check = |value: Value, expect: Decision| assert_eq!(decide(Some(&value)), expect);
        assert_eq!(decide(None), Decision::Continue);
        check(json!({}), Decision::Continue);
        check(
            json!({"status": 603, "reason": "no"}),
            Decision::Refuse(603, "no".to_owned()),
        );
        check(json!({"status": 200}), Decision::Refuse(403, String::new()));
        check(
            json!({"redirect": "sip:bob@example.org"}),
            Decision::Redirect("sip:bob@example.org".to_owned()),
        );
    }
}

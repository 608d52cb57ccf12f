//! The hook `dns.query`: a script may answer in the zones' place. Nothing of this runs unless a
//! script asked for it.

use omnid_script::Hook;
use omnid_telemetry::limited;
use serde_json::{Value, json};

use super::Shared;
use crate::engine::answer::{Client, Decision};
use crate::wire::code::{Class, Opcode, Rcode, RrType};
use crate::wire::name::Name;
use crate::wire::query::Query;
use crate::wire::record::OwnRecord;

/// True if scripts want to see queries.
pub(super) fn is_hooked(shared: &Shared) -> bool {
    shared.ground.scripts.hooked(Hook::DnsQuery)
}

/// What scripts decide about a query; nothing: it goes on to the zones.
pub(super) async fn decide(
    shared: &Shared,
    client: &Client,
    listener: &str,
    message: &[u8],
) -> Option<Decision> {
    let arguments = {
        let query = Query::read(message).ok()?;
        let question = query
            .question
            .filter(|_| query.header.opcode() == Opcode::QUERY)?;
        if question.class != Class::IN {
            return None;
        }
        json!({
            "name": question.name.to_string(),
            "type": question.rr_type.to_string(),
            "class": question.class.to_string(),
            "client": client.address.to_string(),
            "listener": listener,
        })
    };
    let name = arguments
        .get("name")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let rr_type = arguments
        .get("type")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .to_owned();
    let every = std::time::Duration::from_secs(10);
    match shared.ground.scripts.call(Hook::DnsQuery, arguments).await {
        Ok(None) => None,
        Ok(Some(decision)) => match read_decision(&decision, &name, &rr_type) {
            Ok(decision) => Some(decision),
            Err(reason) => {
                limited!(
                    every,
                    warn,
                    "script's decision on dns.query is no answer",
                    reason,
                    name
                );
                Some(Decision {
                    rcode: Rcode::SERVFAIL,
                    answers: Vec::new(),
                })
            }
        },
        // It is logged already, and means that nothing may go on without the script's word.
        Err(_) => Some(Decision {
            rcode: Rcode::REFUSED,
            answers: Vec::new(),
        }),
    }
}

/// `{ rcode = "REFUSED" }`, `{ answer = { { name?, type?, ttl?, data }, … } }`, or both.
fn read_decision(decision: &Value, name: &str, rr_type: &str) -> Result<Decision, String> {
    let rcode = match decision.get("rcode") {
        None | Some(Value::Null) => Rcode::NOERROR,
        Some(rcode) => {
            let text = rcode
                .as_str()
                .ok_or("rcode is a text, such as \"REFUSED\"")?;
            Rcode::from_text(text).ok_or_else(|| format!("`{text}` is not a response code"))?
        }
    };
    let mut answers = Vec::new();
    let listed = decision
        .get("answer")
        .and_then(Value::as_array)
        .map(Vec::as_slice);
    for answer in listed.unwrap_or_default() {
        let text = |member: &str| answer.get(member).and_then(Value::as_str);
        let owner = Name::from_text(text("name").unwrap_or(name)).map_err(|e| e.to_string())?;
        let rr_type = text("type").unwrap_or(rr_type);
        let rr_type = RrType::from_text(rr_type.as_bytes())
            .ok_or_else(|| format!("`{rr_type}` is not a record type"))?;
        let ttl = answer.get("ttl").and_then(Value::as_u64).unwrap_or(0);
        let ttl = u32::try_from(ttl).map_err(|_| "ttl is too large".to_owned())?;
        let data = text("data").ok_or("an answer needs data, as a zone file would have it")?;
        answers.push(OwnRecord::from_text(owner, rr_type, ttl, data)?);
    }
    Ok(Decision { rcode, answers })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::expect_used)]
    use super::*;

    #[test]
    fn decisions() {
        let read = |value: Value| read_decision(&value, "a.example.", "A");
        assert_eq!(
            read(json!({"rcode": "refused"})).unwrap().rcode,
            Rcode::REFUSED
        );
        let answer = json!({"answer": [{"data": "192.0.2.1", "ttl": 5},
            {"name": "b.example", "type": "TXT", "data": "\"x y\""}]});
        let shown: Vec<String> = read(answer)
            .unwrap()
            .answers
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(
            shown,
            ["a.example. 5 IN A 192.0.2.1", "b.example. 0 IN TXT \"x y\""]
        );
        for bad in [
            json!({"rcode": 5}),
            json!({"rcode": "X"}),
            json!({"answer": [{}]}),
            json!({"answer": [{"data": "x"}]}),
            json!({"answer": [{"data": "1", "type": "?"}]}),
        ] {
            assert!(read(bad.clone()).is_err(), "{bad}");
        }
    }
}

//! What the operator and other services may ask: registrations, calls, and who is where.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use omnid_hub::{Contact, ControlError, Whereabouts};
use omnid_identity::Address;
use serde_json::{Value, json};

use crate::{
    engine::Settings,
    io::{Core, unix_now},
};

/// Answers the service's verbs for as long as it runs.
pub(crate) fn register(core: &Arc<Core>) {
    let control = core.ground.hub.control();
    let ask = |core: &Arc<Core>, answer: fn(&Core) -> Value| {
        let core = Arc::downgrade(core);
        move |_: Value| {
            let core = Weak::upgrade(&core);
            async move {
                let core = core.ok_or_else(|| ControlError::new("SIP has been switched off"))?;
                Ok(answer(&core))
            }
        }
    };
    control.register("registrations", ask(core, registrations));
    control.register("calls", ask(core, calls));
    let whereabouts: Arc<dyn Whereabouts> = Arc::new(Registered(Arc::downgrade(core)));
    core.ground.hub.directory().offer("sip", &whereabouts);
}

fn registrations(core: &Core) -> Value {
    let now = unix_now();
    let all = core.shared.location.all(now);
    let rows = all.iter().map(|(user, binding)| {
        json!({
            "address": user.as_str(),
            "contact": &*binding.uri,
            "transport": binding.flow.transport.uri_name(),
            "source": binding.flow.remote.to_string(),
            "expires": binding.expires.saturating_sub(now),
            "since": binding.since,
            "user_agent": &*binding.user_agent,
        })
    });
    rows.collect()
}

fn calls(core: &Core) -> Value {
    let now = Instant::now();
    let mut calls = Vec::new();
    core.each(|engine| {
        for call in engine.calls().iter() {
            let since = call.answered.unwrap_or(call.started);
            calls.push(json!({
                "call": call.id,
                "from": call.from,
                "to": call.to,
                "state": if call.answered.is_some() { "talking" } else { "ringing" },
                "seconds": now.saturating_duration_since(since).as_secs(),
            }));
        }
    });
    Value::Array(calls)
}

/// What SIP knows of where users are.
struct Registered(Weak<Core>);

impl Whereabouts for Registered {
    fn contacts(&self, address: &str) -> Vec<Contact> {
        let Some(core) = self.0.upgrade() else {
            return Vec::new();
        };
        let Ok(user) = address.parse::<Address>() else {
            return Vec::new();
        };
        let bindings = core.shared.location.lookup(&user, unix_now());
        if bindings.is_empty() {
            return Vec::new();
        }
        let mut state = "available";
        core.each(|engine| {
            let own = |call: &&crate::engine::Call| {
                call.from == user.as_str() || call.to == user.as_str()
            };
            if engine.calls().iter().any(|call| own(&call)) {
                state = "in a call";
            }
        });
        let contacts = bindings.iter().map(|binding| Contact {
            service: "sip",
            address: binding.uri.to_string(),
            state: state.to_owned(),
        });
        contacts.collect()
    }
}

/// A question of `omnid test`: where a call from one to another goes.
///
/// # Errors
/// Where the question names no address.
pub(crate) fn rehearse(settings: &Settings, question: &Value) -> Result<Value, String> {
    let named = |name: &str| question.get(name).and_then(Value::as_str);
    let address = |text: &str| {
        let text = text.strip_prefix("sip:").unwrap_or(text);
        text.parse::<Address>().map_err(|error| error.to_string())
    };
    let to = address(named("to").ok_or("it names nobody to call")?)?;
    let ours = |address: &Address| settings.domains.iter().any(|own| own == address.domain());
    let refused = |status: u16, reason: &str| Ok(json!({"status": status, "reason": reason}));
    if let Some(from) = named("from") {
        let from = address(from)?;
        if !ours(&from) {
            return refused(407, "only users of ours may call, and they log in");
        }
    }
    if !ours(&to) {
        return refused(403, "Relaying Denied");
    }
    Ok(json!({
        "route": [format!("the registered phones of {to}")],
        "forks": settings.forks,
        "ring_timeout": settings.ring_timeout.as_secs(),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rehearsed_call_takes_the_way_of_a_real_one() {
        let settings = Settings {
            domains: vec!["example.org".to_owned()],
            ..Settings::default()
        };
        let ask = |to: &str, from: Option<&str>| {
            rehearse(&settings, &json!({"to": to, "from": from})).map(|answer| {
                answer["status"].as_u64().map_or_else(
                    || answer["route"][0].as_str().unwrap_or_default().to_owned(),
                    |status| status.to_string(),
                )
            })
        };
        let bob = "the registered phones of bob@example.org";
        assert_eq!(ask("bob@example.org", None).as_deref(), Ok(bob));
        assert_eq!(
            ask("sip:Bob@Example.org", Some("alice@example.org")).as_deref(),
            Ok(bob)
        );
        assert_eq!(ask("bob@example.com", None).as_deref(), Ok("403"));
        assert_eq!(
            ask("bob@example.org", Some("x@example.com")).as_deref(),
            Ok("407")
        );
        assert!(ask("bob", None).is_err());
    }
}

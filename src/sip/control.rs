//! What the operator and other services may ask: registrations, calls, and who is where.

use std::{
    sync::{Arc, Weak},
    time::Instant,
};

use omnid_hub::{Contact, ControlError, Whereabouts};
use omnid_identity::Address;
use serde_json::{Value, json};

use crate::{
    engine::{Registration, Settings},
    io::{Core, unix_now},
    plan::{self, Call, Caller, Office},
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
    control.register("trunks", ask(core, trunks));
    let weak = Arc::downgrade(core);
    control.register("sip.office", move |_: Value| {
        let core = Weak::upgrade(&weak);
        async move {
            let core = core.ok_or_else(|| ControlError::new("SIP has been switched off"))?;
            office(&core).await
        }
    });
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
                "by": call.by,
                "state": if call.answered.is_some() { "talking" } else { "ringing" },
                "seconds": now.saturating_duration_since(since).as_secs(),
            }));
        }
    });
    Value::Array(calls)
}

fn trunks(core: &Core) -> Value {
    let now = unix_now();
    let settings = core.settings();
    let rows = settings.trunks.iter().flat_map(|trunk| {
        let state = core.shared.trunks.state(&trunk.name);
        let registration = match state.registration {
            Registration::None if trunk.register.is_none() => "not wanted".to_owned(),
            Registration::None => "not yet".to_owned(),
            Registration::Until(at) => format!("{} s left", at.saturating_sub(now)),
            Registration::Failed(status) => format!("refused with {status}"),
        };
        let row = |server: Value, state: &str| {
            json!({
                "trunk": trunk.name,
                "server": server,
                "state": state,
                "registration": registration,
            })
        };
        if state.servers.is_empty() {
            return vec![row(Value::Null, "not found")];
        }
        let servers = state.servers.iter().map(|(flow, up)| {
            let state = if *up { "up" } else { "down" };
            row(json!(flow.remote.to_string()), state)
        });
        servers.collect::<Vec<_>>()
    });
    rows.collect()
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
                let user = user.as_str();
                call.from == user || call.by.as_deref().unwrap_or(&call.to) == user
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

/// What a plan has to know of the accounts, for `omnid explain call`.
async fn office(core: &Core) -> Result<Value, ControlError> {
    let accounts = core.ground.identity.list(None).await;
    let accounts = accounts.map_err(|error| ControlError::new(error.to_string()))?;
    let accounts = accounts.iter().map(|account| account.address.as_str());
    let accounts: Vec<&str> = accounts.collect();
    let busy = accounts.iter().filter(|account| {
        let account = account.parse::<Address>();
        account.is_ok_and(|account| core.shared.calls_of(&account) > 0)
    });
    let registered = core.shared.location.all(unix_now());
    let registered = registered.iter().map(|(user, _)| user.as_str());
    let registered: Vec<&str> = registered.collect();
    let extensions = core.shared.extensions();
    let extensions = extensions.iter().map(|((domain, number), account)| {
        json!({"domain": domain, "number": number, "account": account.as_str()})
    });
    Ok(json!({
        "accounts": accounts,
        "busy": busy.collect::<Vec<_>>(),
        "registered": registered,
        "extensions": extensions.collect::<Vec<_>>(),
    }))
}

/// A question of `omnid test` or `omnid explain call`: where a call from one to another goes.
///
/// # Errors
/// Where the question names no address.
pub(crate) fn rehearse(settings: &Settings, question: &Value) -> Result<Value, String> {
    let named = |name: &str| question.get(name).and_then(Value::as_str);
    let domain = settings.domains.first().map_or("", String::as_str);
    let address = |text: &str| {
        let text = text.strip_prefix("sip:").unwrap_or(text);
        Address::parse_in(text, domain).map_err(|error| error.to_string())
    };
    let to = address(named("to").ok_or("it names nobody to call")?)?;
    let ours = |address: &Address| settings.domains.iter().any(|own| own == address.domain());
    let refused = |status: u16, reason: &str| Ok(json!({"status": status, "reason": reason}));
    let supposed = Supposed::new(question.get("office"));
    let caller = match named("from") {
        Some(from) => {
            let from = address(from)?;
            if !ours(&from) {
                return refused(407, "only users of ours may call, and they log in");
            }
            let by_extension = supposed.extension(from.domain(), from.user());
            by_extension.unwrap_or(from)
        }
        // Anybody of ours.
        None => Address::new("somebody", domain).map_err(|error| error.to_string())?,
    };
    if !ours(&to) {
        return refused(403, "Relaying Denied");
    }
    let unix = match named("at") {
        Some(at) => plan::read_moment(at, &jiff::tz::TimeZone::system())?,
        None => unix_now(),
    };
    let call = Call {
        caller: Caller::User(caller),
        number: to.user(),
        domain: to.domain(),
        account: supposed.is_account(&to).then_some(&to),
        unix,
        seed: unix,
        diverted: 0,
    };
    let way = settings.plan.place(&call, &supposed);
    let mut answer = plan::explain(&settings.plan, &way, &supposed);
    if answer.get("route").is_some() {
        answer["forks"] = json!(settings.forks);
        answer["ring_timeout"] = json!(settings.ring_timeout.as_secs());
    }
    Ok(answer)
}

/// The accounts as a running daemon has told of them; without one, everybody who has a name is there
/// and has a phone.
struct Supposed<'a>(Option<&'a Value>);

impl<'a> Supposed<'a> {
    const fn new(office: Option<&'a Value>) -> Self {
        Self(office)
    }

    /// Whether an address is in a list; nothing without one.
    fn is_among(&self, list: &str, account: &Address) -> Option<bool> {
        let all = self.0?.get(list)?.as_array()?;
        Some(all.iter().any(|one| one.as_str() == Some(account.as_str())))
    }

    fn is_account(&self, account: &Address) -> bool {
        let named = || !account.user().bytes().all(|byte| byte.is_ascii_digit());
        self.is_among("accounts", account).unwrap_or_else(named)
    }
}

impl Office for Supposed<'_> {
    fn is_reachable(&self, account: &Address) -> bool {
        self.is_among("registered", account)
            .unwrap_or_else(|| self.is_account(account))
    }

    fn is_busy(&self, account: &Address) -> bool {
        self.is_among("busy", account).unwrap_or(false)
    }

    fn extension(&self, domain: &str, number: &str) -> Option<Address> {
        let all = self.0?.get("extensions")?.as_array()?;
        let is = |one: &Value, name: &str, text: &str| {
            one.get(name).and_then(Value::as_str) == Some(text)
        };
        let found = all
            .iter()
            .find(|one| is(one, "domain", domain) && is(one, "number", number))?;
        found.get("account")?.as_str()?.parse().ok()
    }
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
        assert_eq!(ask("bob", None).as_deref(), Ok(bob));
        assert_eq!(ask("200", None).as_deref(), Ok("404"));
        assert!(ask("a b", None).is_err());
    }
}

//! What the operator does with zones while they are served.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use omnid_hub::ControlError;
use serde_json::{Value, json};

use crate::data;
use crate::engine::schedule::Timers;
use crate::engine::zones::ZoneId;
use crate::io::News;
use crate::secondary::Nudge;
use crate::service::Dns;

/// Answers the verbs that do something with one zone.
pub(crate) fn register(dns: &Arc<Dns>) {
    let control = dns.shared().ground.hub.control();
    for name in [
        "zone.status",
        "zone.freeze",
        "zone.thaw",
        "zone.sync",
        "zone.notify",
        "zone.refresh",
        "zone.retransfer",
    ] {
        let weak = Arc::downgrade(dns);
        control.register(name, move |arguments: Value| {
            let weak = weak.clone();
            async move {
                let dns = weak
                    .upgrade()
                    .ok_or_else(|| ControlError::new("the DNS service is not running"))?;
                let zone = zone_of(&dns, &arguments)?;
                let done = match name {
                    "zone.freeze" => freeze(&dns, &zone).await,
                    "zone.thaw" => thaw(&dns, &zone).await,
                    "zone.sync" => sync(&dns, &zone).await,
                    "zone.notify" => notify(&dns, &zone).await,
                    "zone.refresh" => refresh(&dns, &zone, Nudge::Refresh(zone.clone())),
                    "zone.retransfer" => refresh(&dns, &zone, Nudge::Retransfer(zone.clone())),
                    _ => status(&dns, &zone).await,
                };
                done.map_err(ControlError::new)
            }
        });
    }
}

pub(crate) fn zone_of(dns: &Dns, arguments: &Value) -> Result<ZoneId, ControlError> {
    let name = arguments
        .get("zone")
        .and_then(Value::as_str)
        .unwrap_or_default();
    let id = ZoneId::from_text(name)
        .map_err(|error| ControlError::new(format!("\"{name}\" is not a zone's name: {error}")))?;
    let state = dns.shared().state.load_full();
    if state.served(&id).is_none() {
        return Err(ControlError::new(format!(
            "{id} is not a zone of this server; `zone list` shows them"
        )));
    }
    Ok(id)
}

type Done = Result<Value, String>;

async fn freeze(dns: &Dns, zone: &ZoneId) -> Done {
    dns.with_held(zone, |held| {
        if held.frozen {
            return Err("the zone is frozen already".to_owned());
        }
        held.freeze().map_err(|error| error.to_string())?;
        Ok(None)
    })
    .await?;
    Ok(json!({ "zone": zone.to_string(), "frozen": true }))
}

async fn thaw(dns: &Dns, zone: &ZoneId) -> Done {
    let apex = zone.name.clone();
    dns.with_held(zone, move |held| {
        if !held.frozen {
            return Err("the zone is not frozen".to_owned());
        }
        let loaded = data::load(&apex, &held.file).map_err(|faults| {
            let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
            faults.join("\n")
        })?;
        let grown = loaded.zone.serial() != held.zone.serial();
        let change = crate::engine::change::Change::between(&held.zone, &loaded.zone);
        if change.is_some() && !grown {
            return Err(
                "the file was changed, but its serial was not: secondaries would never see it"
                    .to_owned(),
            );
        }
        held.thaw(loaded.zone.clone())
            .map_err(|error| error.to_string())
    })
    .await?;
    status(dns, zone).await
}

async fn sync(dns: &Dns, zone: &ZoneId) -> Done {
    dns.with_held(zone, |held| {
        held.sync().map_err(|error| error.to_string())?;
        Ok(None)
    })
    .await?;
    status(dns, zone).await
}

async fn notify(dns: &Dns, zone: &ZoneId) -> Done {
    let applied = dns.applied.lock().await;
    let config = applied.config.as_ref();
    let own = config.and_then(|config| config.zone(zone));
    let secondaries = own.map(|own| own.notify.clone()).unwrap_or_default();
    if secondaries.is_empty() {
        return Err("the zone has no secondaries to tell (`notify`)".to_owned());
    }
    let told: Vec<String> = secondaries.iter().map(ToString::to_string).collect();
    let key = own.and_then(|own| applied.rules.notify_key(own));
    let news = News {
        zone: zone.name.clone(),
        secondaries,
        key,
    };
    let sent = dns.news.try_send(news);
    sent.map_err(|_| "too many changes wait to be told already".to_owned())?;
    Ok(json!({ "zone": zone.to_string(), "notified": told }))
}

fn refresh(dns: &Dns, zone: &ZoneId, nudge: Nudge) -> Done {
    let state = dns.shared().state.load_full();
    let served = state.served(zone);
    let secondary = served.is_some_and(|served| served.secondary);
    if !secondary {
        return Err(format!(
            "{zone} is not a zone that comes from other servers"
        ));
    }
    dns.nudge(nudge);
    Ok(json!({ "zone": zone.to_string(), "asked": true }))
}

async fn status(dns: &Dns, zone: &ZoneId) -> Done {
    let state = dns.shared().state.load_full();
    let served = state.served(zone).ok_or("the zone is gone")?;
    let held = dns.applied.lock().await.held.get(zone).cloned();
    let kind = match (&held, served.secondary) {
        (_, true) => "secondary",
        (Some(_), false) => "dynamic",
        (None, false) => "primary",
    };
    let mut status = json!({
        "zone": zone.to_string(),
        "kind": kind,
        "serial": served.zone.serial(),
        "records": served.zone.record_count(),
        "served": !served.expired,
    });
    let Some(members) = status.as_object_mut() else {
        return Ok(status);
    };
    if let Some(held) = held {
        let held = held.lock().unwrap_or_else(PoisonError::into_inner);
        members.insert("file".into(), json!(held.file.display().to_string()));
        members.insert("frozen".into(), json!(held.frozen));
        members.insert("changes_not_in_file".into(), json!(held.unsaved));
        if served.secondary {
            let age = dns.age(zone);
            let checked = (age < Duration::MAX).then_some(age.as_secs());
            members.insert("confirmed_seconds_ago".into(), json!(checked));
            let timers = Timers::of(&held.zone, Duration::ZERO);
            let left = timers.map(|timers| timers.expire.saturating_sub(age).as_secs());
            members.insert("expires_in_seconds".into(), json!(left));
        }
    }
    Ok(status)
}

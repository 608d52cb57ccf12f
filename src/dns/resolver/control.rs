//! What the operator asks of the resolver: what it knows, what it is to forget, how it fares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use omnid_hub::{Control, ControlError};
use serde_json::{Value, json};

use super::engine::anchors::Exemption;
use super::engine::record::{Entry, Fact, RrSet};
use super::io::Running;
use crate::service::Dns;
use crate::wire::code::Class;
use crate::wire::name::Name;
use crate::wire::record::OwnRecord;

/// Entries shown at most.
const MAX_SHOWN: usize = 1000;

/// Answers the verbs `dns.flush`, `dns.cache`, `dns.nta` and `dns.stats`.
pub(crate) fn register(dns: &Arc<Dns>, control: &Control) {
    let weak = Arc::downgrade(dns);
    let running = move || {
        let dns = weak.upgrade();
        let running = dns.and_then(|dns| dns.shared().recursion.running());
        running.ok_or_else(|| {
            ControlError::new("no resolver is running; is [dns.resolver] in the configuration?")
        })
    };
    let own = running.clone();
    control.register("dns.flush", move |arguments: Value| {
        let running = own();
        async move {
            let (running, name) = (running?, name(&arguments)?);
            let tree = arguments.get("tree").and_then(Value::as_bool);
            let dropped = running.flush(name.as_ref(), tree.unwrap_or(false));
            Ok(json!({ "dropped": dropped }))
        }
    });
    let own = running.clone();
    control.register("dns.cache", move |arguments: Value| {
        let running = own();
        async move {
            let (running, name) = (running?, name(&arguments)?);
            let name = name.ok_or_else(|| ControlError::new("the name is missing"))?;
            Ok(cached(&running, &name))
        }
    });
    let weak = Arc::downgrade(dns);
    control.register("dns.nta", move |arguments: Value| {
        let weak = weak.clone();
        async move {
            let dns = weak.upgrade();
            let dns = dns.ok_or_else(|| ControlError::new("the DNS service is not running"))?;
            exempt(&dns, &arguments).await
        }
    });
    control.register("dns.stats", move |_| {
        let running = running();
        async move { Ok(json!({ "resolver": stats(&*running?) })) }
    });
}

/// The longest that a name may be exempt from validation (RFC 7646 3).
const MAX_EXEMPT: u64 = 7 * 86_400;

/// `{ action: "add" | "remove" | "list", name, seconds }`.
async fn exempt(dns: &Dns, arguments: &Value) -> Result<Value, ControlError> {
    let shared = dns.shared();
    let (recursion, database) = (&shared.recursion, &shared.ground.database);
    let now = u64::from(crate::io::unix_time());
    let failed = |error: omnid_store::StoreError| ControlError::new(error.to_string());
    let name = || name(arguments)?.ok_or_else(|| ControlError::new("the name is missing"));
    match arguments.get("action").and_then(Value::as_str) {
        Some("add") => {
            let seconds = arguments
                .get("seconds")
                .and_then(Value::as_u64)
                .unwrap_or(3600);
            if !(1..=MAX_EXEMPT).contains(&seconds) {
                return Err(ControlError::new(
                    "a negative trust anchor holds for a week at most",
                ));
            }
            let (name, until) = (name()?, Some(now + seconds));
            let exemption = Exemption {
                name: name.clone(),
                until,
            };
            recursion
                .exempt(database, &name, Some(exemption))
                .await
                .map_err(failed)?;
            Ok(json!({ "name": name.to_string(), "until_at": until }))
        }
        Some("remove") => {
            let name = name()?;
            match recursion
                .exempt(database, &name, None)
                .await
                .map_err(failed)?
            {
                true => Ok(json!({ "name": name.to_string() })),
                false => Err(ControlError::new(format!(
                    "{name} is no negative trust anchor"
                ))),
            }
        }
        _ => {
            let rows = recursion.exemptions().into_iter();
            let counting = rows.filter(|row| row.until.is_none_or(|until| until > now));
            let row =
                |row: Exemption| json!({ "name": row.name.to_string(), "until_at": row.until });
            Ok(Value::Array(counting.map(row).collect()))
        }
    }
}

fn name(arguments: &Value) -> Result<Option<Name>, ControlError> {
    let Some(text) = arguments.get("name").and_then(Value::as_str) else {
        return Ok(None);
    };
    let name = Name::from_text(text);
    name.map(Some)
        .map_err(|error| ControlError::new(format!("\"{text}\" is not a name: {error}")))
}

fn cached(running: &Running, name: &Name) -> Value {
    let records = &running.resolver.memory.records;
    let now = Instant::now();
    let mut entries = records.select(MAX_SHOWN, |entry| entry.name == *name);
    entries.sort_by_key(|entry| entry.rr_type);
    let rows = entries.iter().map(|entry| {
        json!({
            "name": entry.name.to_string(),
            "type": entry.rr_type.to_string(),
            "left": entry.left(now).unwrap_or(0),
            "security": entry.security().word(),
            "reason": entry.reason(),
            "records": shown(entry),
        })
    });
    rows.collect()
}

fn shown(entry: &Entry) -> Vec<String> {
    let rows = |set: &RrSet| -> Vec<String> {
        let row = |data: &[u8]| {
            let record = OwnRecord {
                owner: set.owner.clone(),
                rr_type: set.rr_type,
                class: Class::IN,
                ttl: set.ttl,
                rdata: data.to_vec(),
            };
            record.to_string()
        };
        set.data.iter().map(|data| row(data)).collect()
    };
    let (name, rr_type) = (&entry.name, entry.rr_type);
    match &entry.fact {
        Fact::Set(set) => rows(set),
        Fact::Renamed { dname, cname } => [rows(dname), rows(cname)].concat(),
        Fact::NoData => vec![format!("; {name} {rr_type}: no such records")],
        Fact::NoName => vec![format!("; {name}: no such name")],
        Fact::Failed => vec![format!("; {name} {rr_type}: could not be found out")],
    }
}

/// The figures.
pub(crate) fn stats(running: &Running) -> Value {
    let memory = &running.resolver.memory;
    let counts = &memory.counts;
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    let (records, record_octets) = memory.records.usage();
    let (answers, answer_octets) = memory.answers.usage();
    json!({
        "hits": count(&counts.hits),
        "misses": count(&counts.misses),
        "sent": count(&counts.sent),
        "lost": count(&counts.lost),
        "failed": count(&counts.failed),
        "bogus": count(&counts.bogus),
        "stale": count(&counts.stale),
        "prefetched": count(&counts.prefetched),
        "limited": count(&counts.limited),
        "rewritten": count(&counts.rewritten),
        "denied": count(&counts.denied),
        "records": records,
        "answers": answers,
        "octets": record_octets + answer_octets,
        "servers": memory.servers.count(),
    })
}

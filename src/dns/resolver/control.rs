//! What the operator asks of the resolver: what it knows, what it is to forget, how it fares.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use omnid_hub::{Control, ControlError};
use serde_json::{Value, json};

use super::engine::record::{Entry, Fact, RrSet};
use super::io::Running;
use crate::service::Dns;
use crate::wire::code::Class;
use crate::wire::name::Name;
use crate::wire::record::OwnRecord;

/// Entries shown at most.
const MAX_SHOWN: usize = 1000;

/// Answers the verbs `dns.flush`, `dns.cache` and `dns.stats`.
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
    control.register("dns.stats", move |_| {
        let running = running();
        async move { Ok(json!({ "resolver": stats(&*running?) })) }
    });
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
        "records": records,
        "answers": answers,
        "octets": record_octets + answer_octets,
        "servers": memory.servers.count(),
    })
}

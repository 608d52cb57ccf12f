//! What the operator asks: zones listed and shown, and questions answered without a socket.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;

use omnid_hub::ControlError;
use serde_json::{Value, json};

use crate::engine::answer::{Client, Outcome, Scratch, Transport, answer};
use crate::engine::state::State;
use crate::engine::zone::Zone;
use crate::service::Dns;
use crate::verbs::zone_of;
use crate::wire::code::{Class, RrType};
use crate::wire::master::write_record;
use crate::wire::message::Message;
use crate::wire::name::Name;
use crate::wire::record::OwnRecord;

/// Answers the verbs about zones.
pub(crate) fn register(dns: &Arc<Dns>) {
    let control = dns.shared().ground.hub.control();
    let weak = Arc::downgrade(dns);
    control.register("zone.list", move |_| {
        let weak = weak.clone();
        async move {
            let dns = weak.upgrade().ok_or_else(gone)?;
            Ok(list(&dns).await)
        }
    });
    let weak = Arc::downgrade(dns);
    control.register("zone.keys", move |arguments: Value| {
        let weak = weak.clone();
        async move { weak.upgrade().ok_or_else(gone)?.zone_keys(&arguments).await }
    });
    let weak = Arc::downgrade(dns);
    control.register("zone.roll", move |arguments: Value| {
        let weak = weak.clone();
        async move { weak.upgrade().ok_or_else(gone)?.zone_roll(&arguments).await }
    });
    let weak = Arc::downgrade(dns);
    control.register("zone.sign", move |arguments: Value| {
        let weak = weak.clone();
        async move { weak.upgrade().ok_or_else(gone)?.zone_sign(&arguments).await }
    });
    let weak = Arc::downgrade(dns);
    control.register("zone.show", move |arguments: Value| {
        let weak = weak.clone();
        async move {
            let dns = weak.upgrade().ok_or_else(gone)?;
            show(&dns, &arguments)
        }
    });
}

fn gone() -> ControlError {
    ControlError::new("the DNS service is not running")
}

async fn list(dns: &Dns) -> Value {
    let state = dns.shared().state.load_full();
    let mut rows = Vec::new();
    for (id, loaded) in dns.files().await {
        let running = state.served(&id);
        let dynamic = running.is_some_and(|served| !served.rules.update.is_closed());
        let secondary = running.is_some_and(|served| served.secondary);
        let kind = match (secondary, dynamic) {
            (true, _) => "secondary",
            (false, true) => "dynamic",
            (false, false) => "primary",
        };
        let zone = running.map_or(&loaded.zone, |served| &served.zone);
        rows.push(json!({
            "zone": id.to_string(),
            "kind": kind,
            "serial": zone.serial(),
            "records": zone.record_count(),
            "bytes": zone.size(),
            "file": loaded.file.display().to_string(),
        }));
    }
    Value::Array(rows)
}

fn show(dns: &Dns, arguments: &Value) -> Result<Value, ControlError> {
    let id = zone_of(dns, arguments)?;
    let state = dns.shared().state.load_full();
    let served = state
        .served(&id)
        .ok_or_else(|| ControlError::new("the zone is gone"))?;
    Ok(json!({ "zone": id.to_string(), "text": zone_text(&served.zone) }))
}

/// A zone as a zone file: the SOA first, as readers of zone files want it.
pub(crate) fn zone_text(zone: &Zone) -> String {
    let mut text = String::new();
    let mut write = |id, soa: bool| {
        for set in zone
            .sets(id)
            .filter(|set| soa == (id == 0 && set.rr_type == RrType::SOA))
        {
            for (rdata, _) in set.records() {
                // Writing to a String does not fail.
                let _ = write_record(
                    &mut text,
                    zone.name(id),
                    set.ttl_of(rdata),
                    set.rr_type,
                    rdata,
                );
            }
        }
    };
    write(0, true);
    zone.node_ids().for_each(|id| write(id, false));
    text
}

/// Answers `{ query, type }` as the server would a client on this host, over TCP.
pub(crate) fn rehearse(state: &State, question: &Value) -> Result<Value, String> {
    let text = |member: &str| question.get(member).and_then(Value::as_str);
    let query = text("query").ok_or("a DNS question needs a name")?;
    let name = Name::from_text(query).map_err(|error| format!("\"{query}\": {error}"))?;
    let kind = text("type").unwrap_or("A");
    let rr_type = RrType::from_text(kind.as_bytes())
        .ok_or_else(|| format!("\"{kind}\" is not a record type"))?;
    let mut message = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    message.extend_from_slice(name.as_ref().wire());
    message.extend_from_slice(&rr_type.0.to_be_bytes());
    message.extend_from_slice(&Class::IN.0.to_be_bytes());

    let client = Client::new(IpAddr::V4(Ipv4Addr::LOCALHOST), Transport::Tcp);
    let (mut out, mut scratch) = (vec![0; 65_535], Scratch::default());
    match answer(state, &client, 0, &message, &mut out, &mut scratch) {
        Outcome::Reply(answered) => {
            let bytes = out.get(..answered.len).unwrap_or_default();
            let message = Message::read(bytes).map_err(|error| error.to_string())?;
            let rows = |records: &[OwnRecord]| -> Vec<String> {
                records.iter().map(ToString::to_string).collect()
            };
            Ok(json!({
                "rcode": answered.rcode.to_string(),
                "answer": rows(&message.answers),
                "authority": rows(&message.authorities),
                "additional": rows(&message.additionals),
            }))
        }
        Outcome::Transfer(transfer) => Ok(json!({
            "rcode": "NOERROR",
            "answer": zone_text(transfer.zone()).lines().collect::<Vec<_>>(),
        })),
        Outcome::Deferred(_) => Err("a question is asked, not a change".to_owned()),
        Outcome::Recurse => Err("only the running resolver could answer this".to_owned()),
        Outcome::Drop => Err("the server would not answer this".to_owned()),
    }
}

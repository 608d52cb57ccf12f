//! The daemon's own control verbs; services register theirs themselves.

use std::{path::PathBuf, sync::Arc};

use omnid_hub::ControlError;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Daemon;
use crate::commands::accounts;

pub(super) fn register(daemon: &Arc<Daemon>) {
    let control = daemon.ground.hub.control();
    macro_rules! verb {
        ($name:literal, |$daemon:ident, $arguments:ident| $body:expr) => {{
            let daemon = daemon.clone();
            control.register($name, move |$arguments: Value| {
                let $daemon = daemon.clone();
                async move { $body }
            });
        }};
    }
    verb!("status", |daemon, _arguments| {
        Ok(json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "tree": daemon.tree.status(),
            "listeners": daemon.ground.net.bound().iter().map(|bound| {
                // Listeners are owned by service and kind: `http https`.
                let (service, kind) = bound.service.split_once(' ').unwrap_or((&bound.service, ""));
                json!({
                    "service": service,
                    "kind": kind,
                    "transport": bound.transport.to_string(),
                    "address": bound.address.to_string(),
                    "connections": bound.connections,
                })
            }).collect::<Vec<_>>(),
            "connections": daemon.ground.net.connections(),
            "mounts": daemon.ground.hub.mounts().list().iter().map(|(prefix, service)| {
                json!({"path": &**prefix, "service": service})
            }).collect::<Vec<_>>(),
            "events_lost": daemon.ground.hub.events().lost(),
        }))
    });
    verb!("reload", |daemon, arguments| {
        let dry_run = arguments
            .get("dry_run")
            .and_then(Value::as_bool)
            .unwrap_or(false);
        let plan = daemon
            .reload(dry_run)
            .await
            .map_err(|error| ControlError::new(error.0))?;
        Ok(serde_json::to_value(plan)?)
    });
    verb!("log.level", |daemon, arguments| {
        #[derive(Deserialize)]
        struct Arguments {
            level: String,
        }
        let Arguments { level } = serde_json::from_value(arguments)?;
        let previous = daemon
            .telemetry
            .set_level(&level)
            .map_err(|error| ControlError::new(error.to_string()))?;
        Ok(json!({"previous": previous, "level": level}))
    });
    verb!("metrics", |_daemon, _arguments| Ok(
        omnid_telemetry::metrics::render().into()
    ));
    verb!("cert.list", |daemon, _arguments| {
        certificates(&daemon.ground.certificates)
    });
    verb!("domain.list", |daemon, _arguments| {
        let facts = daemon.ground.server.load();
        let domain = |domain: &omnid_ground::config::DomainConfig| {
            let records = daemon
                .ground
                .hub
                .records()
                .about(domain.name.as_str())
                .len();
            json!({"name": domain.name.as_str(), "publish": domain.publish, "records": records})
        };
        Ok(facts.domains.iter().map(domain).collect())
    });
    verb!("domain.records", |daemon, arguments| {
        let domain = arguments
            .get("domain")
            .and_then(Value::as_str)
            .unwrap_or_default();
        Ok(serde_json::to_value(
            daemon.ground.hub.records().about(domain),
        )?)
    });
    verb!("backup", |daemon, arguments| {
        #[derive(Deserialize)]
        struct Arguments {
            directory: PathBuf,
        }
        let Arguments { directory } = serde_json::from_value(arguments)?;
        let report = daemon.ground.database.backup(&directory).await;
        let report = report.map_err(|error| ControlError::new(error.to_string()))?;
        Ok(serde_json::to_value(report)?)
    });
    verb!("verify", |daemon, _arguments| {
        let report = daemon.ground.database.verify().await;
        let report = report.map_err(|error| ControlError::new(error.to_string()))?;
        Ok(serde_json::to_value(report)?)
    });
    for verb in accounts::VERBS {
        let identity = daemon.ground.identity.clone();
        control.register(verb, move |arguments| {
            let identity = identity.clone();
            async move { accounts::carry_out(&identity, verb, arguments).await }
        });
    }
    // Panics on demand are for tests of the tree; a daemon in service has no such verb.
    if std::env::var_os("OMNID_TEST_HOOKS").is_some() {
        verb!("test.panic", |daemon, arguments| {
            let child = arguments
                .get("child")
                .and_then(Value::as_str)
                .unwrap_or_default();
            Ok(json!({"injected": daemon.tree.inject_panic(child)}))
        });
    }
}

/// Every certificate, each with the next step where it is renewed automatically; and those that
/// are asked for and have not come yet.
fn certificates(store: &omnid_tls::CertStore) -> Result<Value, ControlError> {
    let mut rows: Vec<Value> = store
        .list()
        .iter()
        .map(serde_json::to_value)
        .collect::<Result<_, _>>()?;
    for automatic in store.automatic() {
        let fingerprint = automatic.fingerprint.as_deref();
        let row = rows.iter_mut().find(|row| {
            fingerprint.is_some() && row.get("fingerprint").and_then(Value::as_str) == fingerprint
        });
        let next = json!({
            "next": automatic.next,
            "failures": automatic.failures,
            "error": automatic.error,
        });
        match (row.and_then(Value::as_object_mut), next) {
            (Some(row), Value::Object(next)) => row.extend(next),
            (_, Value::Object(mut next)) => {
                next.insert("names".into(), automatic.names.into());
                rows.push(next.into());
            }
            _ => {}
        }
    }
    Ok(rows.into())
}

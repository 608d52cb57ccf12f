#![allow(clippy::unwrap_used)]
use std::path::Path;

use omnid_ground::config::ServerConfig;

use super::*;

/// Prepares a section for these domains; the problems' texts where there were errors.
fn prepare(section: &str, domains: &[&str], tls: bool) -> Result<Prepared, Vec<String>> {
    let config = omnid_config::load_str::<Config>(section).unwrap().value;
    let domain = |name: &&str| {
        omnid_config::load_str::<DomainConfig>(&format!("name = {name:?}"))
            .unwrap()
            .value
    };
    let domains: Vec<_> = domains.iter().map(domain).collect();
    let server = ServerConfig::default();
    let context = Prepare {
        server: &server,
        domains: &domains,
        directory: Path::new("."),
        tls,
    };
    let mut problems = Problems::default();
    let prepared = Xmpp::prepare(&config, &context, &mut problems);
    prepared.ok_or_else(|| {
        problems
            .iter()
            .map(|problem| problem.message.clone())
            .collect()
    })
}

#[test]
fn hosts() {
    let hosts = |section: &str, domains: &[&str]| {
        prepare(section, domains, true)
            .map(|p| p.hosts.iter().map(ToString::to_string).collect::<Vec<_>>())
    };
    assert_eq!(
        hosts("", &["a.example", "b.example"]).unwrap(),
        ["a.example", "b.example"]
    );
    assert_eq!(
        hosts("hosts = ['Chat.Example']", &["a.example"]).unwrap(),
        ["chat.example"]
    );
    assert!(hosts("", &[]).unwrap_err()[0].contains("no domain"));
    assert!(hosts("hosts = ['a.b', 'A.B']", &[]).unwrap_err()[0].contains("twice"));
    let without_tls = prepare("", &["a.example"], false).unwrap_err();
    assert!(without_tls[0].contains("certificate"), "{without_tls:?}");
}

#[test]
fn unknown_features_are_found_out() {
    let error = omnid_config::load_str::<Config>("disable = ['ping', 'pong']");
    assert!(error.is_err());
    assert!(omnid_config::load_str::<Config>("disable = ['ping']").is_ok());
}

#[test]
fn listeners_are_claimed() {
    let config = omnid_config::load_str::<Config>("listen = ['127.0.0.1:1', '127.0.0.1:2']");
    let config = config.unwrap().value;
    // And the default for TLS.
    assert_eq!(Xmpp::listeners(&config).len(), 3);
}

#[test]
fn rehearsals() {
    let prepared = prepare("", &["a.example"], true).unwrap();
    let ask = |jid: &str| Xmpp::rehearse(&prepared, &json!({ "jid": jid })).unwrap();
    let known = ask("Alice@A.example/X y");
    assert_eq!(known["jid"], "alice@a.example/X y");
    assert_eq!(
        (&known["served"], &known["resource"]),
        (&json!(true), &json!("X y"))
    );
    assert_eq!(ask("alice@b.example")["served"], false);
    assert_eq!(ask("@")["jid"], Value::Null);
    assert!(Xmpp::rehearse(&prepared, &json!({})).is_err());
}

//! `omnid test`: the `[[test]]` tables of a configuration, answered by what each service prepared
//! from it. No port is opened, so a configuration is reviewed and tested like code.

use std::process::ExitCode;

use serde_json::{Value, json};

use super::{Context, Outcome, out, print};
use crate::{
    check::check,
    daemon::services::{Prepared, Services},
    root::TestConfig,
};

pub(super) fn run(context: &Context) -> Outcome {
    let services = Services::new();
    let checked = match check(&context.config, &services) {
        Ok(checked) => checked,
        Err(rejected) => {
            eprint!("{rejected}");
            return Ok(ExitCode::FAILURE);
        }
    };
    let (mut passed, mut failed, mut report) = (0, 0, Vec::new());
    for test in &checked.root.test {
        let name = title(test);
        let outcome = hold(test, &services, &checked.services);
        match &outcome {
            Ok(()) => passed += 1,
            Err(_) => failed += 1,
        }
        if context.json {
            report.push(json!({"name": name, "failure": outcome.err()}));
        } else {
            match outcome {
                Ok(()) => out(format_args!("ok      {name}"))?,
                Err(reason) => out(format_args!("FAILED  {name}: {reason}"))?,
            }
        }
    }
    if context.json {
        out(json!({"passed": passed, "failed": failed, "tests": report}))?;
    } else {
        out(format_args!("{passed} passed, {failed} failed"))?;
    }
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// The service asked and the question put to it.
fn question(test: &TestConfig) -> Option<(&'static str, Value)> {
    if let Some(name) = &test.dns {
        return Some(("dns", json!({"query": name.value, "type": test.kind})));
    }
    if let Some(url) = &test.http {
        return Some(("http", json!({"url": url.value, "method": test.method})));
    }
    if let Some(to) = &test.sip {
        return Some(("sip", json!({"to": to.value, "from": test.from})));
    }
    test.xmpp
        .as_ref()
        .map(|jid| ("xmpp", json!({"jid": jid.value})))
}

fn title(test: &TestConfig) -> String {
    test.name.clone().unwrap_or_else(|| match question(test) {
        Some((service, question)) => format!("{service} {question}"),
        None => "a test without a question".to_owned(),
    })
}

fn hold(test: &TestConfig, services: &Services, prepared: &Prepared) -> Result<(), String> {
    let (service, question) =
        question(test).ok_or("it asks nothing: give it one of dns, http, sip, xmpp")?;
    let answer = services.rehearse(service, prepared, &question)?;
    if let Some(rcode) = &test.rcode {
        let found = print::text(answer.get("rcode"));
        if !found.eq_ignore_ascii_case(rcode) {
            return Err(format!("rcode is {found}, not {rcode}"));
        }
    }
    if let Some(status) = test.status {
        let found = answer.get("status").or_else(|| answer.get("refused"));
        if found.and_then(Value::as_u64) != Some(u64::from(status)) {
            return Err(format!("status is {}, not {status}", print::text(found)));
        }
    }
    let mut text = String::new();
    flatten(&answer, &mut text);
    let missing = test
        .answer
        .iter()
        .find(|expected| !text.contains(expected.as_str()));
    missing.map_or(Ok(()), |expected| {
        Err(format!("no \"{expected}\" in:\n{}", text.trim_end()))
    })
}

/// An answer as lines: list items each on one, object members as `name: value`.
fn flatten(value: &Value, text: &mut String) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| flatten(item, text)),
        Value::Object(members) => {
            for (name, member) in members {
                match member {
                    Value::Array(_) | Value::Object(_) => flatten(member, text),
                    plain => text.push_str(&format!("{name}: {}\n", print::text(Some(plain)))),
                }
            }
        }
        plain => {
            text.push_str(&print::text(Some(plain)));
            text.push('\n');
        }
    }
}

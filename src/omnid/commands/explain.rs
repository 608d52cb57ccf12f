//! `omnid explain URL` and `omnid explain call FROM TO`: what the configuration makes of a request or
//! a call, and why. No port is opened; both go the way that they would go when they are served.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{Context, Outcome, control, out, print};
use crate::{
    check::check,
    cli::{Explain, ExplainWhat},
    daemon::services::Services,
};

pub(super) fn run(context: &Context, question: &Explain) -> Outcome {
    let services = Services::new();
    let checked = match check(&context.config, &services) {
        Ok(checked) => checked,
        Err(rejected) => {
            eprint!("{rejected}");
            return Ok(ExitCode::FAILURE);
        }
    };
    if let Some(ExplainWhat::Call { from, to, at }) = &question.what {
        // Who has a phone only the running daemon knows; what the plan says is in the file.
        let office = control::call(context, "sip.office", Value::Null).ok();
        let asked = json!({"from": from, "to": to, "at": at, "office": office});
        let answer = services.rehearse("sip", &checked.services, &asked)?;
        return tell(context, &answer);
    }
    let mut headers = Map::new();
    for field in &question.headers {
        let (name, value) = field
            .split_once(':')
            .ok_or_else(|| format!("\"{field}\" is no field: it is written \"Name: value\""))?;
        headers.insert(name.trim().to_owned(), json!(value.trim()));
    }
    let asked = json!({
        "url": question.url,
        "method": question.method,
        "headers": headers,
        "client": question.client,
        "user": question.user,
    });
    let answer = services.rehearse("http", &checked.services, &asked)?;
    tell(context, &answer)
}

fn tell(context: &Context, answer: &Value) -> Outcome {
    if context.json {
        out(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (title, member) in [("site", "site"), ("status", "status"), ("reason", "reason")] {
        line(title, answer.get(member))?;
    }
    for step in answer
        .get("steps")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
    {
        line("step", Some(step))?;
    }
    for (title, member) in [("route", "route"), ("action", "action"), ("file", "file")] {
        line(title, answer.get(member))?;
    }
    let fields = answer.get("headers").and_then(Value::as_object);
    for (name, value) in fields.into_iter().flatten() {
        let field = format!("{name}: {}", print::text(Some(value)));
        line("field", Some(&json!(field)))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn line(title: &str, value: Option<&Value>) -> Result<(), super::CommandError> {
    if let Some(value) = value {
        out(format_args!("{title:<7} {}", print::text(Some(value))))?;
    }
    Ok(())
}

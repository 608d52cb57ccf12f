//! `omnid explain URL`: what the configuration makes of a request, and why. No port is opened; the
//! request goes the way that it would go when it is served.

use std::process::ExitCode;

use serde_json::{Map, Value, json};

use super::{Context, Outcome, out, print};
use crate::{check::check, cli::Explain, daemon::services::Services};

pub(super) fn run(context: &Context, question: &Explain) -> Outcome {
    let services = Services::new();
    let checked = match check(&context.config, &services) {
        Ok(checked) => checked,
        Err(rejected) => {
            eprint!("{rejected}");
            return Ok(ExitCode::FAILURE);
        }
    };
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
    if context.json {
        out(&answer)?;
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

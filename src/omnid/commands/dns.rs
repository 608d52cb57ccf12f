//! Commands about the resolver.

use std::{
    io::{self, Write},
    process::ExitCode,
};

use serde_json::{Value, json};

use super::{Context, Outcome, control::call, out, print};
use crate::cli::{Dns, Nta};

pub fn run(context: &Context, command: Dns) -> Outcome {
    match command {
        Dns::Flush { name, tree } => {
            let answer = call(context, "dns.flush", json!({"name": name, "tree": tree}))?;
            if context.json {
                out(&answer)?;
            } else {
                let dropped = print::text(answer.get("dropped"));
                out(format_args!("{dropped} entries dropped"))?;
            }
        }
        Dns::Cache { name } => {
            let answer = call(context, "dns.cache", json!({"name": name}))?;
            if context.json {
                out(&answer)?;
            } else {
                for entry in answer.as_array().map(Vec::as_slice).unwrap_or_default() {
                    let text = |member: &str| print::text(entry.get(member));
                    out(format_args!(
                        "; {}, {} s left",
                        text("security"),
                        text("left")
                    ))?;
                    let lines = entry.get("records").and_then(Value::as_array);
                    for line in lines.map(Vec::as_slice).unwrap_or_default() {
                        out(print::text(Some(line)))?;
                    }
                }
            }
        }
        Dns::Nta(command) => {
            let arguments = match &command {
                Nta::Add { name, seconds } => {
                    json!({"action": "add", "name": name, "seconds": seconds})
                }
                Nta::List => json!({"action": "list"}),
                Nta::Remove { name } => json!({"action": "remove", "name": name}),
            };
            let answer = call(context, "dns.nta", arguments)?;
            if context.json {
                out(&answer)?;
            } else if let Nta::List = command {
                let rows = answer.as_array().map(Vec::as_slice).unwrap_or_default();
                let columns = [("NAME", "name"), ("UNTIL", "until_at")];
                write!(io::stdout().lock(), "{}", print::table(rows, &columns))?;
            }
        }
        Dns::Stats => {
            let answer = call(context, "dns.stats", Value::Null)?;
            if context.json {
                out(&answer)?;
            } else {
                let mut out = io::stdout().lock();
                for (part, figures) in answer.as_object().into_iter().flatten() {
                    for (name, figure) in figures.as_object().into_iter().flatten() {
                        writeln!(out, "{part}.{name} {}", print::text(Some(figure)))?;
                    }
                }
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

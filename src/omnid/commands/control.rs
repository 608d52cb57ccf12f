//! Commands that ask the running daemon.

use std::{
    io::{self, Write},
    path::PathBuf,
    process::ExitCode,
    time::SystemTime,
};

use omnid_admin::{Client, ClientError};
use serde_json::{Value, json};

use super::{CommandError, Context, Outcome, out, print};
use crate::{
    cli::{Cert, Domain, Log, Zone},
    root::{Root, directory},
};

/// The socket named on the command line, or else by the configuration.
pub fn socket(context: &Context) -> PathBuf {
    if let Some(socket) = &context.socket {
        return socket.clone();
    }
    match omnid_config::load::<Root>(&context.config) {
        Ok(loaded) => loaded.value.admin.socket,
        // A configuration that is being edited may be broken, and the daemon runs all the same.
        Err(_) => omnid_config::peek(&context.config, &["admin", "socket"]).map_or_else(
            || omnid_admin::Config::default().socket,
            |socket| directory(&context.config).join(socket),
        ),
    }
}

/// Connects to the daemon.
pub fn connect(context: &Context) -> Result<Client, ClientError> {
    Client::connect(&socket(context))
}

/// Carries out one verb.
pub fn call(context: &Context, verb: &str, arguments: Value) -> Result<Value, CommandError> {
    Ok(connect(context)?.call(verb, arguments)?)
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

pub fn reload(context: &Context, dry_run: bool) -> Outcome {
    let plan = call(context, "reload", json!({"dry_run": dry_run}))?;
    if context.json {
        out(&plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    let services = plan.get("services").map(rows).unwrap_or_default();
    let sections = plan.get("sections").map(rows).unwrap_or_default();
    if services.is_empty() && sections.is_empty() {
        out("nothing to change")?;
    } else {
        for section in sections {
            out(format_args!("[{}] differs", print::text(Some(section))))?;
        }
        for change in services {
            let part = |member| print::text(change.get(member));
            let touched = match change.get("connections").and_then(Value::as_u64) {
                None | Some(0) => String::new(),
                Some(count) => format!(" ({count} connections)"),
            };
            out(format_args!(
                "{}: {} {}{touched}",
                part("service"),
                part("what"),
                part("how")
            ))?;
        }
    }
    for setting in plan.get("needs_restart").map(rows).unwrap_or_default() {
        out(format_args!(
            "{} changes only with a restart",
            print::text(Some(setting))
        ))?;
    }
    if !dry_run {
        out("reloaded")?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn status(context: &Context) -> Outcome {
    let status = call(context, "status", Value::Null)?;
    if context.json {
        out(&status)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    if let Some(tree) = status.get("tree") {
        tree_lines(tree, 0, &mut text);
    }
    write!(io::stdout().lock(), "{text}")?;
    Ok(ExitCode::SUCCESS)
}

/// The supervisor tree, a line a child: what it is, how it is, since when, and what went wrong.
pub fn tree_lines(node: &Value, depth: usize, text: &mut String) {
    let name = format!("{}{}", "  ".repeat(depth), print::text(node.get("name")));
    let state = print::text(node.get("state"));
    let since = node
        .get("since")
        .and_then(Value::as_u64)
        .unwrap_or_default();
    let uptime = now().saturating_sub(since);
    let mut line = format!("{name:<36} {state:<12} {:>8}", print::duration(uptime));
    for (member, unit) in [("load", "open"), ("restarts", "restarts")] {
        if let Some(count) = node
            .get(member)
            .and_then(Value::as_u64)
            .filter(|count| *count > 0)
        {
            line.push_str(&format!("  {count} {unit}"));
        }
    }
    if let Some(error) = node.get("last_error").and_then(Value::as_str) {
        line.push_str(&format!("  last error: {error}"));
    }
    text.push_str(line.trim_end());
    text.push('\n');
    for child in node.get("children").map(rows).unwrap_or_default() {
        tree_lines(child, depth + 1, text);
    }
}

/// Seconds since 1970.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map(|since| since.as_secs()).unwrap_or_default()
}

/// A verb without arguments whose answer is a list of flat objects.
pub fn table(context: &Context, verb: &str) -> Outcome {
    let columns: &[print::Column] = match verb {
        "sessions" => &[
            ("JID", "jid"),
            ("PEER", "peer"),
            ("STATE", "state"),
            ("PRIORITY", "priority"),
            ("SECONDS", "seconds"),
        ],
        "calls" => &[
            ("CALL", "call"),
            ("FROM", "from"),
            ("TO", "to"),
            ("BY", "by"),
            ("STATE", "state"),
            ("SECONDS", "seconds"),
        ],
        "trunks" => &[
            ("TRUNK", "trunk"),
            ("SERVER", "server"),
            ("STATE", "state"),
            ("REGISTRATION", "registration"),
        ],
        "registrations" => &[
            ("ADDRESS", "address"),
            ("CONTACT", "contact"),
            ("SOURCE", "source"),
            ("EXPIRES", "expires"),
        ],
        "zone.list" => &[
            ("ZONE", "zone"),
            ("KIND", "kind"),
            ("SERIAL", "serial"),
            ("RECORDS", "records"),
            ("FILE", "file"),
        ],
        "cert.list" => &[
            ("NAMES", "names"),
            ("ISSUER", "issuer"),
            ("FROM", "not_before"),
            ("UNTIL", "not_after"),
            ("NEXT", "next"),
            ("SOURCE", "source"),
            ("LAST ERROR", "error"),
        ],
        _ => &[
            ("NAME", "name"),
            ("PUBLISHED", "publish"),
            ("RECORDS", "records"),
        ],
    };
    let answer = call(context, verb, Value::Null)?;
    if context.json {
        out(&answer)?;
    } else {
        write!(
            io::stdout().lock(),
            "{}",
            print::table(rows(&answer), columns)
        )?;
    }
    Ok(ExitCode::SUCCESS)
}

pub fn zone(context: &Context, command: Zone) -> Outcome {
    let (verb, zone) = match command {
        Zone::List => return table(context, "zone.list"),
        Zone::Show { zone } => {
            let answer = call(context, "zone.show", json!({"zone": zone}))?;
            if context.json {
                out(&answer)?;
            } else {
                write!(io::stdout().lock(), "{}", print::text(answer.get("text")))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        Zone::Keys { zone, ds_seen } => {
            let answer = call(
                context,
                "zone.keys",
                json!({"zone": zone, "ds_seen": ds_seen}),
            )?;
            return keys(context, &answer);
        }
        Zone::Roll { zone, role, key } => {
            let arguments = json!({"zone": zone, "role": role, "key": key});
            return keys(context, &call(context, "zone.roll", arguments)?);
        }
        Zone::Sign { zone } => {
            let answer = call(context, "zone.sign", json!({"zone": zone}))?;
            if context.json {
                out(&answer)?;
            } else {
                let serial = print::text(answer.get("serial"));
                out(format_args!("{zone} is signed anew, serial {serial}"))?;
            }
            return Ok(ExitCode::SUCCESS);
        }
        Zone::Status { zone } => ("zone.status", zone),
        Zone::Freeze { zone } => ("zone.freeze", zone),
        Zone::Thaw { zone } => ("zone.thaw", zone),
        Zone::Sync { zone } => ("zone.sync", zone),
        Zone::Notify { zone } => ("zone.notify", zone),
        Zone::Refresh { zone } => ("zone.refresh", zone),
        Zone::Retransfer { zone } => ("zone.retransfer", zone),
    };
    let answer = call(context, verb, json!({"zone": zone}))?;
    if context.json {
        out(&answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    for (name, value) in answer.as_object().into_iter().flatten() {
        out(format_args!("{name}: {}", print::text(Some(value))))?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The keys of a zone, in sentences.
fn keys(context: &Context, answer: &Value) -> Outcome {
    if context.json {
        out(answer)?;
        return Ok(ExitCode::SUCCESS);
    }
    let text = |value: &Value, member: &str| print::text(value.get(member));
    let lines = |value: &Value, member: &str| -> Vec<String> {
        let list = value.get(member).and_then(Value::as_array);
        list.map(Vec::as_slice)
            .unwrap_or_default()
            .iter()
            .map(|line| print::text(Some(line)))
            .collect()
    };
    out(format_args!(
        "{} {}",
        text(answer, "zone"),
        text(answer, "summary")
    ))?;
    for line in lines(answer, "todo") {
        out(format_args!("To do: {line}"))?;
    }
    if answer.get("next").is_some_and(|next| !next.is_null()) {
        out(format_args!("Next step: {}", text(answer, "next")))?;
    }
    for key in rows(&json!(answer.get("keys"))) {
        out(format_args!(
            "\nKey {} ({}, {}), made {}, {}",
            text(key, "tag"),
            text(key, "role"),
            text(key, "algorithm"),
            text(key, "created"),
            text(key, "use")
        ))?;
        for line in lines(key, "says") {
            out(format_args!("  {line}"))?;
        }
        if key.get("ds_record").is_some_and(|ds| !ds.is_null()) {
            out(format_args!("  {}", text(key, "ds_record")))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

pub fn cert(context: &Context, command: &Cert) -> Outcome {
    match command {
        Cert::List => table(context, "cert.list"),
    }
}

pub fn domain(context: &Context, command: Domain) -> Outcome {
    match command {
        Domain::List => table(context, "domain.list"),
        Domain::Records { domain } => {
            let answer = call(context, "domain.records", json!({"domain": domain}))?;
            if context.json {
                out(&answer)?;
            } else {
                for record in rows(&answer) {
                    out(record_line(record))?;
                }
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// A published record as a zone file has it.
fn record_line(record: &Value) -> String {
    let data = record.get("data").unwrap_or(&Value::Null);
    let part = |member: &str| print::text(data.get(member));
    let kind = part("type");
    let (kind, data) = match kind.as_str() {
        "ADDRESS" if part("address").contains(':') => ("AAAA".to_owned(), part("address")),
        "ADDRESS" => ("A".to_owned(), part("address")),
        "SRV" => {
            let data = ["priority", "weight", "port", "target"].map(part).join(" ");
            (kind, format!("{data}."))
        }
        "NAPTR" => {
            let [order, preference, flags, services, regexp, replacement] = [
                "order",
                "preference",
                "flags",
                "services",
                "regexp",
                "replacement",
            ]
            .map(part);
            let regexp = if regexp == "-" { String::new() } else { regexp };
            let data = format!(
                "{order} {preference} \"{flags}\" \"{services}\" \"{regexp}\" {replacement}."
            );
            (kind, data)
        }
        "TXT" => {
            let strings = data.get("strings").map(rows).unwrap_or_default();
            let quoted: Vec<_> = strings
                .iter()
                .map(|text| format!("\"{}\"", print::text(Some(text))))
                .collect();
            (kind, quoted.join(" "))
        }
        _ => (part("kind"), part("text")),
    };
    format!(
        "{}. {} IN {kind} {data}",
        print::text(record.get("name")),
        print::text(record.get("ttl"))
    )
}

pub fn log(context: &Context, log: &Log) -> Outcome {
    if let Some(level) = &log.level {
        let answer = call(context, "log.level", json!({"level": level}))?;
        if context.json {
            out(&answer)?;
        } else {
            out(format_args!(
                "was {}, is {level}",
                print::text(answer.get("previous"))
            ))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !log.follow {
        return Err("say -f to follow the log, or --level to change it; \
                    what was logged earlier is in the journal: journalctl -u omnid"
            .into());
    }
    let mut failure = None;
    connect(context)?.follow("log.follow", Value::Null, |item| {
        let printed = match item.get("lost") {
            Some(lost) => out(format_args!(
                "… {lost} lines lost: this terminal is too slow"
            )),
            None => out(print::text(Some(&item)).trim_end()),
        };
        failure = printed.err();
        failure.is_none()
    })?;
    failure.map_or(Ok(ExitCode::SUCCESS), |error| Err(error.into()))
}

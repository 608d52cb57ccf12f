//! `omnid backup`, `restore` and `verify`.

use std::{io::IsTerminal, path::Path, process::ExitCode, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use super::{CommandError, Context, Outcome, control, out, print, runtime};
use crate::{data_directory, root::Root};

pub(super) fn backup(context: &Context, directory: &Path) -> Outcome {
    let directory = std::path::absolute(directory)?;
    let answer = waiting("copying", || {
        control::call(context, "backup", json!({"directory": directory}))
    })?;
    report(context, &answer, &format!("wrote {}", directory.display()))
}

pub(super) fn restore(context: &Context, directory: &Path, force: bool) -> Outcome {
    let root = omnid_config::load::<Root>(&context.config)
        .map_err(|report| report.render(std::io::stderr().is_terminal()))?
        .value;
    if omnid_admin::Client::connect(&root.admin.socket).is_ok() {
        return Err("the daemon runs; stop it before its store is replaced".into());
    }
    let answer = waiting("restoring", || {
        let data = &root.server.data_dir;
        runtime()?.block_on(async {
            match omnid_store::Database::restore(directory, &root.store, data, force).await {
                Ok(report) => {
                    data_directory::hand_over(data)?;
                    Ok(serde_json::to_value(report)?)
                }
                Err(error @ omnid_store::StoreError::NotEmpty(_)) => {
                    Err(format!("{error}; --force says that it may").into())
                }
                Err(error) => Err(error.into()),
            }
        })
    })?;
    report(
        context,
        &answer,
        &format!("restored {}", directory.display()),
    )
}

pub(super) fn verify(context: &Context, directory: Option<&Path>) -> Outcome {
    let answer = waiting("verifying", || match directory {
        None => control::call(context, "verify", Value::Null),
        Some(directory) => runtime()?.block_on(async {
            let found = omnid_store::Database::verify_archive(directory).await?;
            Ok(serde_json::to_value(found)?)
        }),
    })?;
    let problems = answer.get("problems").and_then(Value::as_array);
    let problems: Vec<_> = problems
        .into_iter()
        .flatten()
        .map(|problem| print::text(Some(problem)))
        .collect();
    if problems.is_empty() {
        return report(context, &answer, "sound");
    }
    if context.json {
        out(&answer)?;
    }
    Err(format!("not sound:\n{}", problems.join("\n")).into())
}

fn report(context: &Context, answer: &Value, done: &str) -> Outcome {
    if context.json {
        out(answer)?;
    } else {
        for (member, value) in answer.as_object().into_iter().flatten() {
            out(format_args!("{member}: {}", print::text(Some(value))))?;
        }
        out(done)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs long work under a spinner, where somebody watches.
fn waiting(
    what: &'static str,
    work: impl FnOnce() -> Result<Value, CommandError>,
) -> Result<Value, CommandError> {
    let bar = if std::io::stderr().is_terminal() {
        ProgressBar::new_spinner().with_message(what)
    } else {
        ProgressBar::hidden()
    };
    if let Ok(style) = ProgressStyle::with_template("{spinner} {msg} {elapsed}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(120));
    let outcome = work();
    bar.finish_and_clear();
    outcome
}

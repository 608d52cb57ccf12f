//! `omnid import`: another server's configuration as ours, on standard output, and what became of
//! every line that did not simply come over, on standard error.

use std::{fs, process::ExitCode};

use omnid_import::{Kind, Options};
use serde_json::json;

use super::{Context, Outcome, out};
use crate::cli::Import;

pub(super) fn run(context: &Context, command: Import) -> Outcome {
    let Import::Apache {
        path,
        output,
        root,
        defines,
        all,
    } = command;
    let imported = omnid_import::import(&path, &Options { root, defines })?;
    let findings = || {
        imported
            .findings
            .iter()
            .filter(|finding| all || finding.kind != Kind::Needless)
    };
    if context.json {
        let findings: Vec<_> = findings()
            .map(|finding| {
                let kind = match finding.kind {
                    Kind::Lost => "lost",
                    Kind::Changed => "changed",
                    Kind::Needless => "needless",
                };
                json!({
                    "file": finding.file,
                    "line": finding.line,
                    "kind": kind,
                    "text": finding.text,
                    "advice": finding.advice,
                })
            })
            .collect();
        out(json!({
            "toml": imported.toml,
            "directives": imported.directives,
            "findings": findings,
        }))?;
    } else {
        match output {
            Some(path) => fs::write(&path, &imported.toml)
                .map_err(|error| format!("{}: {error}", path.display()))?,
            None => out(imported.toml.trim_end())?,
        }
        for finding in findings() {
            eprintln!("{finding}");
        }
        let count = |kind| {
            let of_kind = imported.findings.iter();
            of_kind.filter(|finding| finding.kind == kind).count()
        };
        eprintln!(
            "{} directives read, {} not converted, {} to look at, {} not needed",
            imported.directives,
            count(Kind::Lost),
            count(Kind::Changed),
            count(Kind::Needless),
        );
    }
    Ok(if imported.is_whole() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

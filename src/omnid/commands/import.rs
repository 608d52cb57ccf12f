//! `omnid import`: another server's configuration as ours, on standard output, and what became
//! of every line that did not simply come over, on standard error. See [`moves`] for users.

use std::{fs, path::Path, process::ExitCode};

use omnid_import::{
    Kind, Options,
    xmpp::{self, From},
};
use serde_json::json;

use super::{Context, Outcome, moves, out};
use crate::cli::{Import, Users};

pub(super) fn run(context: &Context, command: Import) -> Outcome {
    match command {
        Import::Apache {
            path,
            output,
            root,
            defines,
            all,
        } => {
            let imported = omnid_import::import(&path, &Options { root, defines })?;
            configuration(context, &imported, output.as_deref(), all)
        }
        Import::Prosody {
            path,
            output,
            all,
            dry_run,
        } => {
            if path.is_file() {
                let imported = xmpp::prosody_config(&path)?;
                return configuration(context, &imported, output.as_deref(), all);
            }
            moves::import(context, From::Prosody, &path, dry_run, all)
        }
        Import::Ejabberd(Users { path, dry_run }) => {
            moves::import(context, From::Ejabberd, &path, dry_run, true)
        }
        Import::Xep0227(Users { path, dry_run }) => {
            moves::import(context, From::Pie, &path, dry_run, true)
        }
    }
}

/// Says what a configuration became.
fn configuration(
    context: &Context,
    imported: &omnid_import::Import,
    output: Option<&Path>,
    all: bool,
) -> Outcome {
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
            Some(path) => fs::write(path, &imported.toml)
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

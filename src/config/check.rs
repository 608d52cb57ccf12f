//! Checks that sections share: references, duplicates, conflicts, files.

use std::collections::HashMap;
use std::fmt::Display;
use std::fs::File;
use std::hash::Hash;
use std::path::PathBuf;

use crate::load::describe;
use crate::problem::{Problem, Problems};
use crate::span::{Span, Spanned};
use crate::suggest::did_you_mean;

/// Whether a name refers to one of those that there are. `what` is the kind of thing: "group".
pub fn reference<'a>(
    what: &str,
    name: &Spanned<String>,
    known: impl IntoIterator<Item = &'a str>,
    problems: &mut Problems,
) -> bool {
    let known: Vec<&str> = known.into_iter().collect();
    if known.contains(&name.as_str()) {
        return true;
    }
    let problem = Problem::error(format!("there is no {what} \"{}\"", name.value))
        .at(name.span, format!("no such {what}"));
    let help = match did_you_mean(name, known.iter().copied()) {
        Some(similar) => Some(format!("did you mean \"{similar}\"?")),
        None if known.is_empty() => Some(format!("no {what} is defined")),
        None if known.len() <= 20 => {
            let known: Vec<String> = known.iter().map(|name| format!("\"{name}\"")).collect();
            Some(format!("defined: {}", known.join(", ")))
        }
        None => None,
    };
    problems.push(problem.maybe_help(help));
    false
}

/// Whether no two are the same; each that is, is reported with the first. `what` is the kind of
/// thing: "zone".
pub fn unique<T: Display + Eq + Hash>(
    what: &str,
    items: impl IntoIterator<Item = (T, Option<Span>)>,
    problems: &mut Problems,
) -> bool {
    let mut first: HashMap<T, Option<Span>> = HashMap::new();
    let mut all = true;
    for (item, span) in items {
        match first.get(&item) {
            Some(earlier) => {
                let problem = Problem::error(format!("{what} \"{item}\" is defined twice"))
                    .at(span, "again here")
                    .also(*earlier, "first here");
                problems.push(problem);
                all = false;
            }
            None => {
                first.insert(item, span);
            }
        }
    }
    all
}

/// Whether no two listeners want the same address. Each comes with what it is for ("dns.listen")
/// and its transport ("udp"); port 0 takes whichever port is free, as often as it is asked.
pub fn listeners<'a>(
    items: impl IntoIterator<Item = (&'a str, &'a str, &'a Spanned<crate::ListenAddr>)>,
    problems: &mut Problems,
) -> bool {
    let mut taken = HashMap::new();
    let mut all = true;
    for (purpose, transport, address) in items {
        if address.ip().is_some_and(|address| address.port() == 0) {
            continue;
        }
        match taken.get(&(transport, &address.value)) {
            Some((other, span)) => {
                let problem = Problem::error(format!("{} is listened on twice", address.value))
                    .at(
                        address.span,
                        format!("{purpose} takes it here ({transport})"),
                    )
                    .also(*span, format!("and {other} here"));
                problems.push(problem);
                all = false;
            }
            None => {
                taken.insert((transport, &address.value), (purpose, address.span));
            }
        }
    }
    all
}

/// Whether at most one of several keys is set. Each comes with its name and, if it is set, where.
pub fn exclusive(keys: &[(&str, Option<Option<Span>>)], problems: &mut Problems) -> bool {
    let mut set = keys.iter().filter_map(|(key, span)| Some((*key, (*span)?)));
    let Some((first, first_span)) = set.next() else {
        return true;
    };
    let mut all = true;
    for (key, span) in set {
        let problem = Problem::error(format!("`{first}` and `{key}` cannot both be set"))
            .at(span, "this one")
            .also(first_span, "and this one")
            .help("keep one of them");
        problems.push(problem);
        all = false;
    }
    all
}

/// Whether a file is there and can be read. `what` is the kind of thing: "certificate".
pub fn file(what: &str, path: &Spanned<PathBuf>, problems: &mut Problems) -> bool {
    let why = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => "it is a directory".to_string(),
        // Opening a pipe would wait for its writer; that it is there must be enough.
        Ok(metadata) if !metadata.is_file() => return true,
        Ok(_) => match File::open(&path.value) {
            Ok(_) => return true,
            Err(error) => describe(&error),
        },
        Err(error) => describe(&error),
    };
    let message = format!("cannot read the {what} {}", path.display());
    problems.push(Problem::error(message).at(path.span, why));
    false
}

/// Whether a directory is there. `what` is the kind of thing: "document root".
pub fn directory(what: &str, path: &Spanned<PathBuf>, problems: &mut Problems) -> bool {
    let why = match path.metadata() {
        Ok(metadata) if metadata.is_dir() => return true,
        Ok(_) => "it is not a directory".to_string(),
        Err(error) => describe(&error),
    };
    let message = format!("cannot use the {what} {}", path.display());
    problems.push(Problem::error(message).at(path.span, why));
    false
}

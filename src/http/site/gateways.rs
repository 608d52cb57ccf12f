//! A route's programs, from the config.

use std::{path::PathBuf, sync::Arc};

use omnid_config::{Problem, Problems, Spanned};
use tokio::sync::Semaphore;

use super::{Action, actions::files};
use crate::{
    config::{CgiConfig, FastCgiConfig, SiteConfig},
    data::Shelf,
    files::Files,
    gateway::{CgiLimits, Runner, Scripts, Where, Workers},
    proxy::{Protocol, Target, parse_upstream},
};

/// What a FastCGI application makes of the files of a root: the route's or the site's, with whether
/// it is the site's.
pub(super) fn fastcgi(
    config: &FastCgiConfig,
    root: Option<(&Files, bool)>,
    problems: &mut Problems,
) -> Action {
    let text = config.to.value.as_str();
    let url = if text.starts_with("unix:") {
        text.to_owned()
    } else {
        format!("http://{text}")
    };
    let target = parse_upstream(&url)
        .ok()
        .filter(|parsed| parsed.base.is_empty() && parsed.protocol == Protocol::Http1)
        .map(|parsed| parsed.target)
        // A port is nothing to be guessed here.
        .filter(|target| matches!(target, Target::Unix(_)) || has_port(text));
    let Some(target) = target else {
        problems.push(
            Problem::error(format!(
                "\"{text}\" is no place where an application listens"
            ))
            .at(config.to.span, "")
            .help("\"unix:/run/php/php-fpm.sock\" or \"127.0.0.1:9000\""),
        );
        return Action::Nothing;
    };
    Action::Scripts(Box::new(Scripts {
        place: match (&config.program, root) {
            (Some(program), _) => Where::File(PathBuf::from(&program.value)),
            (None, Some((files, whole))) => {
                among(files, whole, suffixes(&config.suffixes, problems))
            }
            (None, None) => {
                problems.push(
                    Problem::error("there is no root whose files could be programs")
                        .at(config.place, "")
                        .help("give the route a root, or fastcgi a program"),
                );
                return Action::Nothing;
            }
        },
        runner: Runner::FastCgi {
            workers: Arc::new(Workers::new(target, config.keep)),
            connect: config.connect,
        },
        variables: pairs(&config.params),
        timeout: config.timeout,
    }))
}

/// Programs among files, none of which is sent.
fn among(files: &Files, whole: bool, suffixes: Vec<String>) -> Where {
    let files = Arc::new(Files {
        programs: suffixes,
        ..files.clone()
    });
    Where::Suffixes { files, whole }
}

fn has_port(text: &str) -> bool {
    text.rsplit_once(':')
        .is_some_and(|(_, port)| port.parse::<u16>().is_ok())
}

/// CGI programs. `root` is the route's or the site's, with whether it is the site's.
pub(super) fn cgi(
    config: &CgiConfig,
    site: &SiteConfig,
    root: Option<(&Files, bool)>,
    shelf: &Shelf,
    problems: &mut Problems,
) -> Action {
    let suffixes = suffixes(&config.suffixes, problems);
    let place = match (&config.program, &config.directory, suffixes.is_empty()) {
        (Some(program), None, true) => {
            if !program.is_file() {
                problems.push(
                    Problem::error(format!("there is no program {}", program.display()))
                        .at(program.span, ""),
                );
            }
            Where::File(program.value.clone())
        }
        (None, Some(directory), true) => {
            match files(directory, &[], None, None, site, shelf, problems) {
                Some(files) => Where::Directory(Arc::new(files)),
                None => return Action::Nothing,
            }
        }
        (None, None, false) => match root {
            Some((files, whole)) => among(files, whole, suffixes),
            None => {
                problems.push(
                    Problem::error("there is no root whose files could be programs")
                        .at(config.place, ""),
                );
                return Action::Nothing;
            }
        },
        _ => {
            problems.push(
                Problem::error("cgi is told in one way which programs it is about")
                    .at(config.place, "")
                    .help("give it one of program, directory, suffixes"),
            );
            return Action::Nothing;
        }
    };
    Action::Scripts(Box::new(Scripts {
        place,
        runner: Runner::Cgi(CgiLimits {
            processes: Arc::new(Semaphore::new(config.processes)),
            output: config.max_output.bytes(),
        }),
        variables: pairs(&config.env),
        timeout: config.timeout,
    }))
}

fn suffixes(suffixes: &[Spanned<String>], problems: &mut Problems) -> Vec<String> {
    for suffix in suffixes {
        if !suffix.starts_with('.')
            || suffix.len() < 2
            || suffix.contains('/')
            || !suffix.is_ascii()
        {
            problems.push(
                Problem::error(format!(
                    "\"{}\" is no suffix of a file's name",
                    suffix.value
                ))
                .at(suffix.span, "")
                .help("such as \".php\""),
            );
        }
    }
    suffixes.iter().map(|suffix| suffix.value.clone()).collect()
}

fn pairs(config: &std::collections::BTreeMap<String, String>) -> Vec<(String, String)> {
    config
        .iter()
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect()
}

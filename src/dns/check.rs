//! What is wrong with the files of zones, as problems of the configuration that names them.

use omnid_config::{Problem, Problems};

use crate::config::ZoneConfig;
use crate::data::{self, HeldError, Loaded};
use crate::engine::zones::ZoneId;
use crate::wire::master::{Fault, Severity};

/// Faults of one zone that are shown.
const SHOWN_FAULTS: usize = 20;

/// Faults of a zone file as problems of the key that names it; the place in the zone file stands
/// in the message.
pub(crate) fn report(
    faults: &[Fault],
    zone: &ZoneConfig,
    at: Option<omnid_config::Span>,
    problems: &mut Problems,
) {
    for fault in faults.iter().take(SHOWN_FAULTS) {
        let mut places = fault.at.iter();
        let message = match places.next() {
            Some(place) => format!("{place}: {}", fault.message),
            None => format!("zone {}: {}", zone.name.value, fault.message),
        };
        let mut problem = match fault.severity {
            Severity::Error => Problem::error(message),
            Severity::Warning => Problem::warning(message),
        };
        problem = problem.at(at, format!("the file of zone {}", zone.name.value));
        for place in places {
            problem = problem.help(format!("included from {place}"));
        }
        problems.push(problem);
    }
    if let Some(more) = faults
        .len()
        .checked_sub(SHOWN_FAULTS)
        .filter(|more| *more > 0)
    {
        let message = format!("zone {}: and {more} more of these", zone.name.value);
        let errors = faults.iter().any(|fault| fault.severity == Severity::Error);
        let problem = if errors {
            Problem::error(message)
        } else {
            Problem::warning(message)
        };
        problems.push(problem.at(at, "this file"));
    }
}

/// A zone that has been changed by updates says so before its file counts alone.
pub(crate) fn check_journal(
    id: &ZoneId,
    zone: &ZoneConfig,
    loaded: &Loaded,
    data_dir: &std::path::Path,
    problems: &mut Problems,
) {
    let path = data::journal_path(data_dir, id);
    let name = id;
    let at = zone.file.as_ref().and_then(|file| file.span);
    match data::peek(&loaded.zone, &path) {
        Ok((_, unsaved)) if unsaved > 0 && !zone.is_dynamic() => problems.push(
            Problem::error(format!(
                "zone {name} takes no updates any more, but {unsaved} of them are not in its file"
            ))
            .at(at, "the file")
            .help(format!("run `omnid zone sync {name}` while it still does"))
            .help(format!(
                "or remove {}, and with it those updates",
                path.display()
            )),
        ),
        Ok(_) => {}
        Err(error) => {
            let mut problem =
                Problem::error(format!("zone {name}: {error}")).at(at, "the file of the zone");
            if matches!(error, HeldError::Edited { .. }) {
                problem = problem
                    .help(format!(
                        "undo the edit, then `omnid zone freeze {name}`, edit, `omnid zone thaw {name}`"
                    ))
                    .help(format!(
                        "or remove {}, and with it those changes",
                        path.display()
                    ));
            }
            problems.push(problem);
        }
    }
}

//! A call's way in words: each step, and what follows where nobody takes it.

use serde_json::{Value, json};

use super::{Cause, End, Office, Plan, Way};

/// How far what follows what follows is told.
const DEPTH: usize = 6;

/// The way, and those after it, as an answer to `omnid explain call`.
pub(crate) fn explain(plan: &Plan, way: &Way, office: &dyn Office) -> Value {
    let mut steps = Vec::new();
    tell(plan, way, office, 0, &mut steps);
    let mut answer = json!({ "steps": steps });
    if let Some((status, reason)) = way.refusal {
        answer["status"] = json!(status);
        let usual = crate::wire::reason_phrase(status);
        answer["reason"] = json!(if reason.is_empty() { usual } else { reason });
        return answer;
    }
    let legs = way.stages.iter().flat_map(|stage| &stage.legs);
    let route = legs.map(|leg| match &leg.end {
        End::Account(account) => format!("the registered phones of {account}"),
        End::Trunk { trunk, number } => {
            let name = plan.trunks.get(*trunk).map_or("", String::as_str);
            format!("{number} through trunk {name}")
        }
    });
    answer["route"] = route.collect();
    answer
}

fn tell(plan: &Plan, way: &Way, office: &dyn Office, depth: usize, steps: &mut Vec<String>) {
    let indent = "  ".repeat(depth);
    steps.extend(way.steps.iter().map(|step| format!("{indent}{step}")));
    if depth >= DEPTH || way.stages.is_empty() {
        return;
    }
    let mut told: Vec<(String, Vec<String>)> = Vec::new();
    for (cause, words) in [
        (Cause::Busy, "if busy"),
        (Cause::NoAnswer, "if not answered"),
        (Cause::Failed, "if not reached"),
    ] {
        let next = plan.next(way.then.clone(), cause, office);
        if next.stages.is_empty() && next.steps.is_empty() {
            continue;
        }
        let mut lines = Vec::new();
        tell(plan, &next, office, depth + 1, &mut lines);
        match told.iter_mut().find(|(_, known)| *known == lines) {
            Some((others, _)) => {
                others.push_str(
                    words
                        .trim_start_matches("if")
                        .replacen(' ', " or ", 1)
                        .as_str(),
                );
            }
            None => told.push((words.to_owned(), lines)),
        }
    }
    for (words, lines) in told {
        steps.push(format!("{indent}{words}:"));
        steps.extend(lines);
    }
}

//! `omnid top`: the tree and what goes through it, looked at again and again.

use std::{
    collections::BTreeMap,
    io::{self, IsTerminal, Write},
    process::ExitCode,
    time::{Duration, Instant},
};

use crossterm::{
    cursor, event,
    event::{Event, KeyCode, KeyModifiers},
    execute, queue,
    style::{Attribute, Print, SetAttribute},
    terminal::{self, ClearType},
};
use omnid_admin::Client;
use serde_json::Value;

use super::{CommandError, Context, Outcome, control, print};

/// One look at the daemon.
struct Look {
    at: Instant,
    status: Value,
    totals: BTreeMap<String, f64>,
}

pub(super) fn run(context: &Context, interval: f64, once: bool) -> Outcome {
    let interval = Duration::try_from_secs_f64(interval)
        .ok()
        .filter(|interval| {
            (Duration::from_millis(100)..=Duration::from_secs(3600)).contains(interval)
        })
        .ok_or("--interval is from 0.1 to 3600 seconds")?;
    let mut client = control::connect(context)?;
    if context.json || once {
        let earlier = look(&mut client)?;
        std::thread::sleep(interval);
        let now = look(&mut client)?;
        if context.json {
            let rates: serde_json::Map<_, _> = rates(&earlier, &now)
                .into_iter()
                .map(|(name, rate)| (name, rate.into()))
                .collect();
            super::out(serde_json::json!({"status": now.status, "rates": rates}))?;
        } else {
            super::out(screen(&earlier, &now, usize::MAX, usize::MAX).join("\n"))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    if !io::stdout().is_terminal() {
        return Err("top needs a terminal; --once prints one look".into());
    }
    terminal::enable_raw_mode()?;
    execute!(io::stdout(), terminal::EnterAlternateScreen, cursor::Hide)?;
    let outcome = watch(&mut client, interval);
    execute!(io::stdout(), cursor::Show, terminal::LeaveAlternateScreen)?;
    terminal::disable_raw_mode()?;
    outcome.map(|()| ExitCode::SUCCESS)
}

fn watch(client: &mut Client, interval: Duration) -> Result<(), CommandError> {
    let mut earlier = look(client)?;
    loop {
        let now = look(client)?;
        draw(&earlier, &now)?;
        earlier = now;
        let deadline = Instant::now() + interval;
        while let Some(left) = deadline.checked_duration_since(Instant::now()) {
            if !event::poll(left)? {
                break;
            }
            match event::read()? {
                Event::Key(key)
                    if matches!(key.code, KeyCode::Char('q') | KeyCode::Esc)
                        || key.code == KeyCode::Char('c')
                            && key.modifiers.contains(KeyModifiers::CONTROL) =>
                {
                    return Ok(());
                }
                Event::Resize(..) => break,
                _ => {}
            }
        }
    }
}

fn look(client: &mut Client) -> Result<Look, CommandError> {
    let status = client.call("status", Value::Null)?;
    let metrics = client.call("metrics", Value::Null)?;
    Ok(Look {
        at: Instant::now(),
        status,
        totals: totals(metrics.as_str().unwrap_or_default()),
    })
}

/// Sums every `…_total` of a metrics text over its labels.
fn totals(text: &str) -> BTreeMap<String, f64> {
    let mut totals = BTreeMap::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let Some((series, value)) = line.rsplit_once(' ') else {
            continue;
        };
        let name = series.split('{').next().unwrap_or(series);
        if let (Some(name), Ok(value)) = (name.strip_suffix("_total"), value.parse::<f64>()) {
            *totals.entry(name.to_owned()).or_insert(0.0) += value;
        }
    }
    totals
}

fn rates(earlier: &Look, now: &Look) -> BTreeMap<String, f64> {
    let seconds = now.at.duration_since(earlier.at).as_secs_f64().max(0.001);
    let rate = |(name, total): (&String, &f64)| {
        let before = earlier.totals.get(name).copied().unwrap_or(0.0);
        (name.clone(), (total - before).max(0.0) / seconds)
    };
    now.totals.iter().map(rate).collect()
}

fn screen(earlier: &Look, now: &Look, width: usize, height: usize) -> Vec<String> {
    let count = |value: Option<&Value>| value.map_or_else(|| "-".to_owned(), ToString::to_string);
    let mut lines = vec![format!(
        "omnid {}  pid {}  connections {}",
        print::text(now.status.get("version")),
        count(now.status.get("pid")),
        count(now.status.get("connections")),
    )];
    let mut tree = String::new();
    if let Some(root) = now.status.get("tree") {
        control::tree_lines(root, 0, &mut tree);
    }
    lines.push(String::new());
    lines.extend(tree.lines().map(str::to_owned));
    lines.push(String::new());
    for (name, rate) in rates(earlier, now) {
        let total = now.totals.get(&name).copied().unwrap_or_default();
        lines.push(format!("{name:<48} {rate:>10.1}/s {total:>14}"));
    }
    lines.truncate(height);
    lines
        .into_iter()
        .map(|line| line.chars().take(width).collect())
        .collect()
}

fn draw(earlier: &Look, now: &Look) -> io::Result<()> {
    let (width, height) = terminal::size()?;
    let lines = screen(earlier, now, width.into(), height.saturating_sub(1).into());
    let mut out = io::stdout().lock();
    queue!(out, cursor::MoveTo(0, 0), terminal::Clear(ClearType::All))?;
    for (row, line) in (0_u16..).zip(&lines) {
        let attribute = if row == 0 {
            Attribute::Bold
        } else {
            Attribute::Reset
        };
        queue!(
            out,
            cursor::MoveTo(0, row),
            SetAttribute(attribute),
            Print(line)
        )?;
    }
    let foot = height.saturating_sub(1);
    queue!(
        out,
        cursor::MoveTo(0, foot),
        SetAttribute(Attribute::Dim),
        Print("q ends")
    )?;
    queue!(out, SetAttribute(Attribute::Reset))?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_are_summed_over_labels() {
        let text = "# TYPE q counter\nq_total{t=\"A\"} 2\nq_total{t=\"B\"} 3\ng 7\n";
        assert_eq!(totals(text), BTreeMap::from([("q".to_owned(), 5.0)]));
    }
}

//! What every benchmark stands on: servers that run in turns on the same machine, the CPU time of
//! their whole process tree, and a table with the ratios.
//!
//! A benchmark prints; no test depends on a timing. CPU per operation is the figure to trust:
//! the load generator runs on the same cores, so rates depend on it too.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

use std::{
    fs,
    time::{Duration, Instant},
};

/// User and system time of a process tree, in seconds.
#[derive(Debug, Clone, Copy, Default)]
pub struct Cpu {
    pub user: f64,
    pub system: f64,
}

/// CPU time that `pid` and all its living descendants have used so far.
pub fn cpu(pid: u32) -> Cpu {
    // USER_HZ is 100 on every Linux that Rust runs on.
    let tick = 0.01;
    let mut total = Cpu::default();
    for pid in tree(pid) {
        let Some(fields) = stat(pid) else { continue };
        // Fields 14 and 15 of proc(5) stat, counted from behind the name.
        total.user += fields[11].parse::<f64>().unwrap() * tick;
        total.system += fields[12].parse::<f64>().unwrap() * tick;
    }
    total
}

/// Memory that `pid` and its descendants hold, shared pages counted in part (PSS), in KiB.
pub fn memory_kib(pid: u32) -> u64 {
    let of_one = |pid: u32| -> u64 {
        let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = rollup.lines().find(|line| line.starts_with("Pss:"));
        line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok())
            .unwrap_or(0)
    };
    tree(pid).into_iter().map(of_one).sum()
}

/// The fields of /proc/PID/stat behind the process's name, which may hold spaces.
fn stat(pid: u32) -> Option<Vec<String>> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = text.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// `pid` and its living descendants.
pub fn tree(pid: u32) -> Vec<u32> {
    let mut parents = Vec::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse::<u32>().ok())
        else {
            continue;
        };
        if let Some(fields) = stat(pid) {
            parents.push((pid, fields[1].parse::<u32>().unwrap()));
        }
    }
    let mut found = vec![pid];
    let mut next = 0;
    while next < found.len() {
        let parent = found[next];
        found.extend(
            parents
                .iter()
                .filter(|(_, of)| *of == parent)
                .map(|(pid, _)| *pid),
        );
        next += 1;
    }
    found
}

/// What one run of one load against one server came to.
#[derive(Debug, Clone)]
pub struct Figure {
    pub server: &'static str,
    /// Operations done, and how long they took.
    pub operations: f64,
    pub elapsed: Duration,
    pub cpu: Cpu,
    /// As the load generator tells it, such as `p99 1.2 ms`.
    pub latency: String,
    pub memory_kib: u64,
}

impl Figure {
    /// Runs a load and measures the server around it. The load returns how many operations it
    /// did and what it says about latency.
    pub fn measure(server: &'static str, pid: u32, load: impl FnOnce() -> (f64, String)) -> Self {
        let before = cpu(pid);
        let since = Instant::now();
        let (operations, latency) = load();
        let elapsed = since.elapsed();
        let after = cpu(pid);
        let cpu = Cpu {
            user: after.user - before.user,
            system: after.system - before.system,
        };
        let memory_kib = memory_kib(pid);
        Self {
            server,
            operations,
            elapsed,
            cpu,
            latency,
            memory_kib,
        }
    }

    fn microseconds(&self, seconds: f64) -> f64 {
        seconds * 1e6 / self.operations
    }

    /// User and system time of one operation, in µs.
    pub fn cost(&self) -> f64 {
        self.microseconds(self.cpu.user + self.cpu.system)
    }
}

/// Prints one load's figures; ratios are to the last server, the peer.
pub fn print(load: &str, figures: &[Figure]) {
    println!("\n{load}");
    println!(
        "  {:<10} {:>12} {:>12} {:>12} {:>12} {:>10} {:>8}  latency",
        "server", "ops/s", "user µs/op", "sys µs/op", "µs/op", "MiB", "ratio"
    );
    let peer = figures.last().map_or(f64::NAN, Figure::cost);
    for figure in figures {
        println!(
            "  {:<10} {:>12.0} {:>12.2} {:>12.2} {:>12.2} {:>10.1} {:>8.2}  {}",
            figure.server,
            figure.operations / figure.elapsed.as_secs_f64(),
            figure.microseconds(figure.cpu.user),
            figure.microseconds(figure.cpu.system),
            figure.cost(),
            figure.memory_kib as f64 / 1024.0,
            figure.cost() / peer,
            figure.latency
        );
    }
}

/// The number behind a label in a tool's output: `number("Queries per second:", text)`.
pub fn number(label: &str, text: &str) -> f64 {
    let line = text.lines().find(|line| line.contains(label));
    let line = line.unwrap_or_else(|| panic!("no \"{label}\" in\n{text}"));
    let rest = &line[line.find(label).unwrap() + label.len()..];
    let digits: String = rest
        .trim_start()
        .chars()
        .take_while(|character| character.is_ascii_digit() || *character == '.')
        .collect();
    digits
        .parse()
        .unwrap_or_else(|_| panic!("no number behind \"{label}\" in {line:?}"))
}

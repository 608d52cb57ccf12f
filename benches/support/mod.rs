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
    path::Path,
    thread,
    time::{Duration, Instant},
};

use omnid_admin::Client;

/// Creates the accounts user0, user1 … of bench.test, all with one password, over the control socket.
pub fn add_users(socket: &Path, count: usize, password: &str) {
    // Hashing passwords is what takes the time, so each processor is given a part.
    let parts = thread::available_parallelism().map_or(1, usize::from);
    thread::scope(|scope| {
        for part in 0..parts {
            scope.spawn(move || {
                let mut client = Client::connect(socket).unwrap();
                for user in (part..count).step_by(parts) {
                    let address = format!("user{user}@bench.test");
                    let arguments = serde_json::json!({"address": address, "password": password});
                    client.call("user.add", arguments).unwrap();
                }
            });
        }
    });
}

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

    /// User time of one operation, in µs.
    pub fn user_cost(&self) -> f64 {
        self.microseconds(self.cpu.user)
    }
}

/// How often each server is loaded; `OMNID_BENCH_ROUNDS` says otherwise.
pub fn rounds() -> usize {
    let said = std::env::var("OMNID_BENCH_ROUNDS").ok();
    said.and_then(|said| said.parse().ok()).unwrap_or(3)
}

/// Whether this load is to be run: `cargo bench --bench NAME -- TEXT` runs those that have the text
/// in their name.
pub fn wanted(load: &str) -> bool {
    // Cargo itself passes `--bench`.
    let mut texts = std::env::args()
        .skip(1)
        .filter(|text| !text.starts_with('-'))
        .peekable();
    texts.peek().is_none() || texts.any(|text| load.contains(&text))
}

/// Loads the servers in turns, several times over, and prints of each the run whose cost was the
/// median. Ratios are to the last server, the peer.
pub fn in_turns<const N: usize>(
    load: &str,
    servers: [(&'static str, u32); N],
    mut run: impl FnMut(usize) -> (f64, String),
) {
    if !wanted(load) {
        return;
    }
    let mut figures: [Vec<Figure>; N] = std::array::from_fn(|_| Vec::new());
    for _ in 0..rounds() {
        for (index, (name, pid)) in servers.into_iter().enumerate() {
            figures[index].push(Figure::measure(name, pid, || run(index)));
        }
    }
    print(load, &figures);
}

/// Prints one load's figures; see [`in_turns`].
pub fn print<const N: usize>(load: &str, figures: &[Vec<Figure>; N]) {
    let busy = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let busy = busy.split(' ').next().unwrap_or_default();
    println!("\n{load} (load average {busy})");
    println!(
        "  {:<9} {:>9} {:>9} {:>9} {:>9} {:>15} {:>7} {:>11} {:>7}  latency",
        "server",
        "ops/s",
        "user µs",
        "sys µs",
        "µs/op",
        "lowest-highest",
        "MiB",
        "ratio: user",
        "µs/op"
    );
    let medians = figures.each_ref().map(|runs| {
        let mut runs: Vec<&Figure> = runs.iter().collect();
        runs.sort_by(|a, b| a.cost().total_cmp(&b.cost()));
        let spread = format!("{:.1}-{:.1}", runs[0].cost(), runs[runs.len() - 1].cost());
        (runs[runs.len() / 2], spread)
    });
    let (peer, _) = &medians[N - 1];
    for (figure, spread) in &medians {
        println!(
            "  {:<9} {:>9.0} {:>9.2} {:>9.2} {:>9.2} {:>15} {:>7.1} {:>11.2} {:>7.2}  {}",
            figure.server,
            figure.operations / figure.elapsed.as_secs_f64(),
            figure.user_cost(),
            figure.microseconds(figure.cpu.system),
            figure.cost(),
            spread,
            figure.memory_kib as f64 / 1024.0,
            figure.user_cost() / peer.user_cost(),
            figure.cost() / peer.cost(),
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

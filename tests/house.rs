//! The house rules of ARCHITECTURE.md, checked: which crate may stand on which, what the protocol
//! rooms must not name, and what no code in service may say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::indexing_slicing)]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

/// Floors, bottom first, as ARCHITECTURE.md draws them.
const FLOORS: [&[&str]; 5] = [
    &["supervisor", "config", "net", "store", "telemetry"],
    &["hub", "identity", "media", "script", "tls", "ground"],
    &["dns", "http", "sip", "xmpp"],
    &["admin", "import"],
    &["omnid"],
];

/// Arrows between crates of one floor. Each is named in ARCHITECTURE.md with its reason.
const SIDEWAYS: [(&str, &[&str]); 8] = [
    ("net", &["config"]),
    ("store", &["config"]),
    ("telemetry", &["config"]),
    ("hub", &[]),
    ("identity", &["hub"]),
    ("script", &["hub"]),
    ("tls", &["hub"]),
    ("ground", &["hub", "identity", "script", "tls"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn floor(name: &str) -> Option<usize> {
    FLOORS.iter().position(|floor| floor.contains(&name))
}

/// Our crates and the crates of ours that each depends on outside its tests.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let output = Command::new(env!("CARGO"))
        .args(["metadata", "--format-version=1", "--no-deps", "--offline"])
        .current_dir(root())
        .output()
        .unwrap();
    let metadata: Value = serde_json::from_slice(&output.stdout).unwrap();
    let short = |name: &str| name.strip_prefix("omnid-").unwrap_or(name).to_owned();
    let mut arrows = BTreeMap::new();
    for package in metadata["packages"].as_array().unwrap() {
        let of_ours = |dependency: &&Value| {
            dependency["kind"].as_str() != Some("dev")
                && dependency["name"].as_str().unwrap().starts_with("omnid")
        };
        let targets = package["dependencies"]
            .as_array()
            .unwrap()
            .iter()
            .filter(of_ours);
        let targets = targets.map(|dependency| short(dependency["name"].as_str().unwrap()));
        arrows.insert(short(package["name"].as_str().unwrap()), targets.collect());
    }
    arrows
}

#[test]
fn arrows_between_crates_run_down() {
    let sideways = BTreeMap::from(SIDEWAYS);
    let mut forbidden = Vec::new();
    for (from, targets) in arrows() {
        let from_floor = floor(&from).unwrap_or_else(|| panic!("{from} stands on no floor"));
        for to in targets {
            let to_floor = floor(&to).unwrap_or_else(|| panic!("{to} stands on no floor"));
            let named = sideways
                .get(&*from)
                .is_some_and(|targets| targets.contains(&&*to));
            if to_floor > from_floor || to_floor == from_floor && !named {
                forbidden.push(format!("{from} -> {to}"));
            }
        }
    }
    assert!(
        forbidden.is_empty(),
        "arrows that run up or sideways: {forbidden:?}"
    );
}

#[test]
fn every_sideways_arrow_is_named_in_architecture_md() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for (from, targets) in SIDEWAYS {
        for to in targets {
            let arrow = format!("`{from} → {to}`");
            assert!(
                text.contains(&arrow),
                "ARCHITECTURE.md does not name {arrow}"
            );
        }
    }
}

#[test]
fn every_crate_is_on_the_map() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            floor(&name).is_some(),
            "src/{name} stands on no floor of this test"
        );
        assert!(
            text.contains(&format!("`src/{name}`")),
            "ARCHITECTURE.md does not name src/{name}"
        );
    }
}

/// Rust files below `src`, with the code that is not under `#[cfg(test)]`.
fn code() -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    let mut folders = vec![root().join("src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() {
                if !["tests", "examples", "benches", "corpus"].contains(&name) {
                    folders.push(path);
                }
            } else if path.extension().is_some_and(|extension| extension == "rs")
                && !["tests.rs", "fixtures.rs", "build.rs"].contains(&name)
            {
                let text = fs::read_to_string(&path).unwrap();
                files.push((
                    path.strip_prefix(root()).unwrap().to_owned(),
                    without_tests(&text),
                ));
            }
        }
    }
    assert!(files.len() > 50, "found only {} files", files.len());
    files
}

/// Blanks the `#[cfg(test)]` items and comments, and keeps the lines in place.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    // The indentation of the `#[cfg(test)]` item that is being left out, until its closing brace.
    let mut leaving_out: Option<(usize, bool)> = None;
    for line in text.lines() {
        let indentation = line.len() - line.trim_start().len();
        let trimmed = line.trim();
        match leaving_out {
            Some((at, opened)) => {
                let opens = opened || trimmed.ends_with('{');
                let ends =
                    indentation == at && (trimmed == "}" || !opens && trimmed.ends_with(';'));
                leaving_out = if ends { None } else { Some((at, opens)) };
            }
            None if trimmed.starts_with("#[cfg(test)]") => leaving_out = Some((indentation, false)),
            None if trimmed.starts_with("//") => {}
            None => kept.push_str(line),
        }
        kept.push('\n');
    }
    kept
}

#[track_caller]
fn nowhere(files: &[(PathBuf, String)], words: &[&str], why: &str) {
    let mut found = Vec::new();
    for (path, text) in files {
        for (number, line) in text.lines().enumerate() {
            if words.iter().any(|word| line.contains(word)) {
                found.push(format!(
                    "{}:{}: {}",
                    path.display(),
                    number + 1,
                    line.trim()
                ));
            }
        }
    }
    assert!(found.is_empty(), "{why}:\n{}", found.join("\n"));
}

#[test]
fn wire_and_engine_know_no_runtime_no_socket_and_no_file() {
    let pure: Vec<_> = code()
        .into_iter()
        .filter(|(path, _)| path.iter().any(|part| part == "wire" || part == "engine"))
        .collect();
    assert!(
        pure.len() > 20,
        "found only {} files in wire/ and engine/",
        pure.len()
    );
    nowhere(&pure, &["tokio"], "wire/ and engine/ are sans-IO: no tokio");
    nowhere(
        &pure,
        &[
            "std::fs",
            "std::net::Tcp",
            "std::net::Udp",
            "TcpStream",
            "UdpSocket",
        ],
        "wire/ and engine/ open nothing",
    );
    nowhere(
        &pure,
        &["Instant::now()", "SystemTime::now()"],
        "wire/ and engine/ are told the time",
    );
}

#[test]
fn code_in_service_does_not_give_up() {
    let files = code();
    nowhere(
        &files,
        // `.expect(` alone is also what parsers call their next token; clippy knows the difference.
        &[".unwrap()", ".unwrap_err()", ".expect(\""],
        "what fails is handled or passed on",
    );
    nowhere(
        &files,
        &["todo!(", "unimplemented!(", "dbg!("],
        "half-done code and debugging leftovers stay out",
    );
}

#[test]
fn only_the_command_line_prints() {
    let files: Vec<_> = code()
        .into_iter()
        .filter(|(path, _)| !path.starts_with("src/omnid"))
        .collect();
    nowhere(
        &files,
        &["println!(", "eprintln!("],
        "crates log; only the command line prints",
    );
}

#[test]
fn unsafe_code_is_allowed_only_where_it_says_why() {
    let mut allowed = Vec::new();
    for (path, text) in code() {
        if text.contains("allow(unsafe_code") {
            allowed.push(path.display().to_string());
        }
    }
    assert!(
        allowed.len() <= 1,
        "more than one module allows unsafe code: {allowed:?}"
    );
}

#[test]
fn every_service_has_the_same_rooms() {
    for service in FLOORS[2] {
        // A service that keeps nothing (http) has no room for data.
        for room in ["lib.rs", "config.rs", "service.rs", "wire", "engine", "io"] {
            let path = root().join("src").join(service).join(room);
            assert!(path.exists(), "{} is missing", path.display());
        }
    }
}

#[test]
fn dependencies_are_sorted_and_versioned_in_one_place() {
    for entry in fs::read_dir(root().join("src")).unwrap() {
        let manifest = entry.unwrap().path().join("Cargo.toml");
        let Ok(text) = fs::read_to_string(&manifest) else {
            continue;
        };
        let section = |name: &str| -> Vec<String> {
            let lines = text.lines().skip_while(|line| *line != name).skip(1);
            let lines = lines.take_while(|line| !line.starts_with('['));
            lines
                .filter(|line| !line.is_empty())
                .map(str::to_owned)
                .collect()
        };
        for name in ["[dependencies]", "[dev-dependencies]"] {
            let names = section(name);
            assert!(
                names.is_sorted_by_key(|line| line.split(['.', ' ']).next()),
                "{}: {name} is not sorted",
                manifest.display()
            );
            let own = names.iter().find(|line| !line.contains("workspace = true"));
            assert_eq!(
                own,
                None,
                "{}: versions stand in the root manifest",
                manifest.display()
            );
        }
    }
}

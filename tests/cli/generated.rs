//! What is generated from the one definition: completions, manual pages, schema, reference.

use std::fs;

use serde_json::Value;

use super::{LIMIT, omnid, support};
use support::run;

#[test]
fn completions_are_made_for_each_shell() {
    let directory = tempfile::tempdir().unwrap();
    for shell in ["bash", "zsh", "fish"] {
        let script = omnid(&["completions", shell]).success().stdout;
        for word in ["status", "reload", "dry-run", "app-password"] {
            assert!(script.contains(word), "{shell}: no {word}");
        }
        let path = directory.path().join(shell);
        fs::write(&path, script).unwrap();
        let path = path.to_str().unwrap();
        if shell == "bash" {
            run("bash", &["-n", path], LIMIT).success();
            // And it completes.
            let script = format!(
                "source {path}; COMP_WORDS=(omnid rel); COMP_CWORD=1; _omnid omnid rel omnid; \
                 echo \"${{COMPREPLY[*]}}\""
            );
            assert_eq!(
                run("bash", &["-c", &script], LIMIT).success().stdout.trim(),
                "reload"
            );
        }
    }
}

#[test]
fn manual_pages_are_written_and_render_without_a_warning() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("man");
    omnid(&["man", "--dir", path.to_str().unwrap()]).success();
    let mut pages: Vec<_> = fs::read_dir(&path)
        .unwrap()
        .map(|e| e.unwrap().path())
        .collect();
    pages.sort();
    let names: Vec<_> = pages
        .iter()
        .map(|p| p.file_name().unwrap().to_str().unwrap())
        .collect();
    for name in [
        "omnid.1",
        "omnid.toml.5",
        "omnid-check.1",
        "omnid-reload.1",
        "omnid-user-add.1",
    ] {
        assert!(names.contains(&name), "no {name}: {names:?}");
    }
    for page in &pages {
        let page = page.to_str().unwrap();
        let linted = run("groff", &["-ww", "-man", "-Tutf8", "-z", page], LIMIT).success();
        assert_eq!(linted.stderr, "", "{page}");
        let rendered = run("man", &["-l", page], LIMIT).success().stdout;
        assert!(rendered.contains("NAME"), "{page}: {rendered}");
    }
    let page = omnid(&["man"]).success().stdout;
    assert!(page.contains(".TH omnid 1"), "{page}");
}

#[test]
fn the_schema_accepts_what_we_ship_and_refuses_what_is_wrong() {
    let directory = tempfile::tempdir().unwrap();
    let schema = omnid(&["config", "schema"]).success().stdout;
    let parsed: Value = serde_json::from_str(&schema).unwrap();
    assert!(parsed["properties"]["log"].is_object());
    let schema_path = directory.path().join("schema.json");
    fs::write(&schema_path, schema).unwrap();
    let validate = |config: &std::path::Path| {
        support::python(
            "validate_config.py",
            &[schema_path.as_path(), config],
            LIMIT,
        )
    };
    let root = support::tests().parent().unwrap().to_owned();
    let mut shipped = vec![root.join("config/omnid.toml")];
    shipped.extend(
        fs::read_dir(root.join("config/examples"))
            .unwrap()
            .map(|e| e.unwrap().path())
            .filter(|path| {
                path.extension()
                    .is_some_and(|extension| extension == "toml")
            }),
    );
    assert!(shipped.len() >= 5, "{shipped:?}");
    for config in &shipped {
        validate(config).success();
    }
    let wrong = directory.path().join("wrong.toml");
    for text in [
        "[log]\nlevle = \"info\"\n",
        "[log]\nlevel = 3\n",
        "[net]\nmax_connections = \"many\"\n",
    ] {
        fs::write(&wrong, text).unwrap();
        validate(&wrong).failure();
    }
}

const HEADING: &str = "# Key reference\n\n\
    Every key of omnid.toml with its default, as `omnid config reference` prints it; \
    [config.md](config.md) says how the file is written.\n\n";

#[test]
fn the_reference_in_the_manual_is_current() {
    let path = support::tests().parent().unwrap().join("docs/reference.md");
    let generated = HEADING.to_owned() + &omnid(&["config", "reference"]).success().stdout;
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &generated).unwrap();
    }
    let kept = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == generated,
        "docs/reference.md is old; UPDATE_EXPECT=1 cargo test --test cli writes it anew"
    );
}

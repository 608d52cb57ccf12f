//! Configs with faults beside what is to be said about them: the runner that this crate's tests
//! and the daemon's share.

use std::fs;
use std::path::Path;

use crate::load::load;
use crate::reader::Section;

/// What loading a config says on standard error: the report, or the warnings.
pub fn load_output<R: Section>(path: &Path) -> String {
    match load::<R>(path) {
        Ok(loaded) => loaded.sources.render(&loaded.warnings, false),
        Err(report) => report.to_string(),
    }
}

/// Compares, for every `NAME.toml` in a directory, what `output` returns for it with
/// `NAME.expected`, and returns how many there are. With `UPDATE_EXPECT=1` in the environment the
/// expected files are rewritten instead.
///
/// The directory should be relative, so that the names in the output are the same everywhere.
pub fn run(directory: &Path, output: impl Fn(&Path) -> String) -> Result<usize, String> {
    let update = std::env::var_os("UPDATE_EXPECT").is_some_and(|value| value == "1");
    let show = |error: std::io::Error| format!("{}: {error}", directory.display());
    let mut configs = Vec::new();
    for entry in fs::read_dir(directory).map_err(show)? {
        let path = entry.map_err(show)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            configs.push(path);
        }
    }
    configs.sort();
    let mut different = Vec::new();
    for config in &configs {
        let actual = output(config);
        let expected_path = config.with_extension("expected");
        if update {
            fs::write(&expected_path, &actual).map_err(show)?;
            continue;
        }
        let expected = fs::read_to_string(&expected_path).unwrap_or_default();
        if actual != expected {
            different.push(format!(
                "{}: expected\n{expected}\nbut got\n{actual}",
                config.display()
            ));
        }
    }
    if different.is_empty() {
        return Ok(configs.len());
    }
    different.push("if the new output is right, run again with UPDATE_EXPECT=1".into());
    Err(different.join("\n"))
}

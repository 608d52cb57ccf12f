//! What the operator is told about a broken configuration: for each file of tests/config_errors,
//! what `omnid check` says, word for word. `UPDATE_EXPECT=1` writes it anew.
#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::{path::Path, time::Duration};

use support::{binary, run};

#[test]
fn every_broken_configuration_is_explained() {
    // Relative, so that what is printed is the same everywhere.
    let directory = Path::new("tests/config_errors");
    let count = omnid_config::golden::run(directory, |path| {
        let arguments = ["-c", path.to_str().unwrap(), "check"];
        let output = run(binary(), &arguments, Duration::from_secs(60));
        assert_eq!(
            output.code,
            Some(1),
            "{} is good: {output:?}",
            path.display()
        );
        assert_eq!(output.stdout, "", "{}", path.display());
        output.stderr
    });
    match count {
        Ok(count) => assert!(count >= 60, "only {count}"),
        Err(different) => panic!("{different}"),
    }
}

//! Broken configs, and what is said about each.

#![allow(clippy::unwrap_used, clippy::expect_used)]

mod support;

use std::path::Path;

use omnid_config::{golden, load};

#[test]
fn broken_configs_are_explained() {
    let directory = Path::new("tests/broken");
    let count = golden::run(directory, |path| {
        assert!(
            load::<support::Root>(path).is_err(),
            "{} loads",
            path.display()
        );
        golden::load_output::<support::Root>(path)
    });
    match count {
        Ok(count) => assert!(count >= 45, "only {count}"),
        Err(different) => panic!("{different}"),
    }
}

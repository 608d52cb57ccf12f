//! A server that moved here: its rules mean what they meant.

use std::time::Duration;

use super::support::{binary, python};

/// Over 250 rule sets of Apache's, imported, and the same requests asked of both servers.
#[test]
fn rules_that_were_imported_answer_as_they_did() {
    let directory = tempfile::Builder::new()
        .prefix("omnid-moved-")
        .tempdir()
        .unwrap();
    let base = directory.path().join("both");
    let arguments = [binary().as_os_str(), base.as_os_str()];
    let output = python("apache_replay.py", &arguments, Duration::from_secs(300)).success();
    println!("{}", output.stdout);
}

//! `omnid top`: one look, and the live view on a terminal of tmux's.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{LIMIT, daemon, support};
use support::{binary, run, wait_until};

/// A terminal with a command in it; what it shows is read back as text.
struct Terminal {
    socket: PathBuf,
}

impl Terminal {
    fn start(directory: &Path, command: &str) -> Self {
        let terminal = Self {
            socket: directory.join("tmux.sock"),
        };
        // The pane stays after the command has ended, with its exit code.
        terminal.tmux(&[
            "-f",
            "/dev/null",
            "new-session",
            "-d",
            "-x",
            "100",
            "-y",
            "30",
            // tmux gives it to a shell.
            &format!(
                "{command}; echo $? >{}",
                directory.join("tmux.code").display()
            ),
            ";",
            "set-option",
            "-g",
            "remain-on-exit",
            "on",
        ]);
        terminal
    }

    fn tmux(&self, arguments: &[&str]) -> String {
        let mut all = vec!["-S", self.socket.to_str().unwrap()];
        all.extend(arguments);
        run("tmux", &all, LIMIT).success().stdout
    }

    fn shows(&self) -> String {
        self.tmux(&["capture-pane", "-p"])
    }

    /// The exit code that the command left behind: tmux itself does not always know it.
    fn ended(&self) -> Option<String> {
        let code = fs::read_to_string(self.socket.with_extension("code")).ok()?;
        Some(code.trim().to_owned()).filter(|code| !code.is_empty())
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let socket = self.socket.to_str().unwrap();
        let _ended = run("tmux", &["-S", socket, "kill-server"], LIMIT);
    }
}

#[test]
fn one_look_needs_no_terminal() {
    let daemon = daemon();
    let printed = daemon
        .omnid(&["top", "--once", "--interval", "0.2"])
        .success()
        .stdout;
    assert!(
        printed.starts_with(&format!(
            "omnid {}  pid {}",
            env!("CARGO_PKG_VERSION"),
            daemon.pid()
        )),
        "{printed}"
    );
    assert!(
        printed.contains("certificates") && printed.contains("/s "),
        "{printed}"
    );
    let json = daemon.json(&["top", "--interval", "0.2"]);
    assert!(
        json["rates"].is_object() && json["status"]["tree"].is_object(),
        "{json}"
    );
    let output = daemon.omnid(&["top"]);
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("--once"), "{}", output.stderr);
    for interval in ["0", "-1", "1e9", "NaN", "inf"] {
        let flag = format!("--interval={interval}");
        assert_eq!(
            daemon.omnid(&["top", "--once", &flag]).code,
            Some(1),
            "{interval}"
        );
    }
}

#[test]
fn the_live_view_follows_fits_and_ends() {
    let daemon = daemon();
    let command = format!(
        "{} -c {} top --interval 0.2",
        binary().display(),
        daemon.path("omnid.toml").display()
    );
    let terminal = Terminal::start(daemon.directory(), &command);
    wait_until("the view shows the tree", LIMIT, || {
        let shown = terminal.shows();
        shown.contains(&format!("pid {}", daemon.pid()))
            && shown.contains("certificates")
            && shown.contains("q ends")
    });
    // A small window is no reason to fail.
    terminal.tmux(&["resize-window", "-x", "20", "-y", "4"]);
    wait_until("the view fits the small window", LIMIT, || {
        let shown = terminal.shows();
        shown.contains("q ends") && shown.lines().all(|line| line.chars().count() <= 20)
    });
    terminal.tmux(&["resize-window", "-x", "100", "-y", "30"]);
    wait_until("and the large one again", LIMIT, || {
        terminal.shows().contains("watchdog")
    });
    assert_eq!(terminal.ended(), None);
    terminal.tmux(&["send-keys", "q"]);
    wait_until("q ends it", LIMIT, || terminal.ended().is_some());
    assert_eq!(terminal.ended().as_deref(), Some("0"));
}

#[test]
fn the_live_view_ends_with_the_daemon_and_leaves_the_terminal_whole() {
    let daemon = daemon();
    let command = format!(
        "sh -c '{} -c {} top --interval 0.2; echo code $?; stty -a; sleep 60'",
        binary().display(),
        daemon.path("omnid.toml").display()
    );
    let directory = tempfile::tempdir().unwrap();
    let terminal = Terminal::start(directory.path(), &command);
    wait_until("the view is there", LIMIT, || {
        terminal.shows().contains("q ends")
    });
    daemon.stop();
    wait_until(
        "it says why it ended, on a terminal that echoes",
        LIMIT,
        || {
            let shown = terminal.shows();
            shown.contains("code 1")
                && shown.contains("omnid: ")
                && shown.contains(" echo ")
                && shown.contains(" icanon ")
        },
    );
}

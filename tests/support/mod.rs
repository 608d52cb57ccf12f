//! What every end-to-end test stands on: the built daemon in a directory of its own on free
//! loopback ports, and real clients with a time limit.
//!
//! Each test file is its own crate and uses a part of this.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing
)]

pub mod whole;

use std::{
    ffi::OsStr,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    os::unix::{net::UnixDatagram, process::CommandExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU16, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// How long the daemon may take to become ready. Generous: several run at once on two cores.
const READY: Duration = Duration::from_secs(60);

/// A running daemon. Dropped, it is killed; its log is printed where the test failed.
pub struct Daemon {
    child: Child,
    directory: tempfile::TempDir,
    manager: Manager,
}

/// Stands in for the service manager. It reads all the time, as that does: a message that nobody
/// reads holds on to the socket that came with it, and so to its port.
struct Manager {
    notices: mpsc::Receiver<String>,
    over: Arc<AtomicBool>,
}

impl Manager {
    fn listen(path: &Path) -> Self {
        let socket = UnixDatagram::bind(path).unwrap();
        socket
            .set_read_timeout(Some(Duration::from_millis(100)))
            .unwrap();
        let (sender, notices) = mpsc::channel();
        let over = Arc::new(AtomicBool::new(false));
        let ended = over.clone();
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while !ended.load(Ordering::Relaxed) {
                if let Ok(length) = socket.recv(&mut buffer) {
                    let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
                    if sender.send(text).is_err() {
                        return;
                    }
                }
            }
        });
        Self { notices, over }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Relaxed);
    }
}

impl Daemon {
    /// Runs `omnid run` with this configuration. `{dir}` stands for the daemon's directory; the
    /// sections [server] (data_dir), [admin] (socket) are written by this function, so the text
    /// begins with keys of no section or with other sections.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, &[], |_| {})
    }

    /// Like [`Daemon::start`], with more environment, and files laid out before the start.
    pub fn start_with(
        config: &str,
        environment: &[(&str, &str)],
        lay_out: impl FnOnce(&Path),
    ) -> Self {
        let directory = tempfile::Builder::new()
            .prefix("omnid-test-")
            .tempdir()
            .unwrap();
        let path = directory.path();
        lay_out(path);
        write_config(path, config);
        let manager = Manager::listen(&path.join("notify.sock"));
        let child = spawn(path, environment);
        let mut daemon = Self {
            child,
            directory,
            manager,
        };
        daemon.wait_for_notice("READY=1", READY);
        daemon
    }

    /// The daemon's directory: configuration, data, log, control socket.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// A path below the daemon's directory.
    pub fn path(&self, below: &str) -> PathBuf {
        self.directory.path().join(below)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What the daemon has logged so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Replaces the configuration file; `omnid reload` or SIGHUP makes it count.
    pub fn write_config(&self, config: &str) {
        write_config(self.directory.path(), config);
    }

    /// Runs the command line against this daemon.
    pub fn omnid<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Output {
        let config = self.path("omnid.toml");
        let mut all: Vec<&OsStr> = vec![OsStr::new("-c"), config.as_os_str()];
        all.extend(arguments.iter().map(AsRef::as_ref));
        run(binary(), &all, Duration::from_secs(60))
    }

    /// Runs a control command with `--json` and returns its answer.
    pub fn json(&self, arguments: &[&str]) -> Value {
        let mut all = vec!["--json"];
        all.extend(arguments);
        let output = self.omnid(&all).success();
        serde_json::from_str(&output.stdout)
            .unwrap_or_else(|error| panic!("{error} in the answer to {arguments:?}: {output:?}"))
    }

    /// Creates an account.
    pub fn add_user(&self, address: &str, password: &str) {
        let config = self.path("omnid.toml");
        let config = config.to_str().unwrap();
        let arguments = ["-c", config, "user", "add", address, "--stdin"];
        run_with(binary(), &arguments, password, &[], Duration::from_secs(60)).success();
    }

    /// Sends a signal by name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        run(
            "kill",
            &["-s", name, &self.pid().to_string()],
            Duration::from_secs(5),
        )
        .success();
    }

    /// Waits until the daemon tells the service manager `notice`.
    pub fn wait_for_notice(&mut self, notice: &str, limit: Duration) {
        let deadline = Instant::now() + limit;
        loop {
            let said = self
                .manager
                .notices
                .recv_timeout(Duration::from_millis(100));
            if said.is_ok_and(|text| text.lines().any(|line| line == notice)) {
                return;
            }
            if let Some(status) = self.child.try_wait().unwrap() {
                panic!(
                    "the daemon ended ({status}) before it said {notice}:\n{}",
                    self.log()
                );
            }
            assert!(
                Instant::now() < deadline,
                "no {notice} in {limit:?}:\n{}",
                self.log()
            );
        }
    }

    /// Ends the daemon with SIGTERM and returns its exit code and how long it took.
    pub fn stop(mut self) -> (Option<i32>, Duration) {
        let since = Instant::now();
        self.signal("TERM");
        let log = self.path("log");
        let code = wait(&mut self.child, Duration::from_secs(60), &log);
        (code, since.elapsed())
    }

    /// Kills the daemon as a power cut would.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same directory, after [`Daemon::kill`].
    pub fn start_again(&mut self) {
        self.spawn_again();
        self.wait_for_notice("READY=1", READY);
    }

    /// The same, without a wait until it is ready.
    pub fn spawn_again(&mut self) {
        // What an earlier run said is no news of this one.
        while self.manager.notices.try_recv().is_ok() {}
        self.child = spawn(self.directory.path(), &[]);
    }

    /// Kills it and starts it again.
    pub fn kill_and_start(mut self) -> Self {
        self.kill();
        self.start_again();
        self
    }

    /// How the process ended, where it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Resident memory, in KiB.
    pub fn resident_kib(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS:"))
            .unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
        if thread::panicking() {
            eprintln!("--- the daemon's log\n{}", self.log());
        }
    }
}

fn write_config(directory: &Path, config: &str) {
    let path = directory.display().to_string();
    let own = format!(
        "[server]\nhostname = \"localhost\"\ndata_dir = \"{path}/data\"\n\
         [admin]\nsocket = \"{path}/omnid.sock\"\n"
    );
    // A test that says more about these sections says all of them.
    let own = if config.contains("[server]") {
        String::new()
    } else {
        own
    };
    fs::write(
        directory.join("omnid.toml"),
        config.replace("{dir}", &path) + "\n" + &own,
    )
    .unwrap();
}

fn spawn(directory: &Path, environment: &[(&str, &str)]) -> Child {
    let log = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(directory.join("log"))
        .unwrap();
    Command::new(binary())
        .arg("-c")
        .arg(directory.join("omnid.toml"))
        .arg("run")
        .env("NOTIFY_SOCKET", directory.join("notify.sock"))
        .env("RUST_BACKTRACE", "1")
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// The demonstration, with what it says it offers.
pub struct Demo {
    child: Child,
    directory: tempfile::TempDir,
    /// The first line of `omnid demo --json`.
    pub offer: Value,
}

impl Demo {
    /// Runs `omnid demo --json` in a directory of its own.
    pub fn start() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("omnid-demo-")
            .tempdir()
            .unwrap();
        let log = fs::File::create(directory.path().join("log")).unwrap();
        let mut child = Command::new(binary())
            .args(["demo", "--json", "--dir"])
            .arg(directory.path().join("demo"))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let offer = serde_json::from_str(&line).unwrap_or_else(|error| {
            let log = fs::read_to_string(directory.path().join("log")).unwrap_or_default();
            panic!("{error}: the demonstration said {line:?}, and logged\n{log}")
        });
        Self {
            child,
            directory,
            offer,
        }
    }

    /// A member of the offer as text.
    pub fn text(&self, member: &str) -> &str {
        self.offer[member].as_str().unwrap()
    }

    /// A listener of the offer.
    pub fn address(&self, member: &str) -> SocketAddr {
        self.text(member).parse().unwrap()
    }

    /// Address and password of the n-th account.
    pub fn account(&self, index: usize) -> (&str, &str) {
        let account = &self.offer["accounts"][index];
        (
            account["address"].as_str().unwrap(),
            account["password"].as_str().unwrap(),
        )
    }

    /// Ends it with SIGINT, as Ctrl-C does.
    pub fn stop(mut self) -> Option<i32> {
        run(
            "kill",
            &["-s", "INT", &self.child.id().to_string()],
            Duration::from_secs(5),
        )
        .success();
        let log = self.directory.path().join("log");
        wait(&mut self.child, Duration::from_secs(60), &log)
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait() {
            let _ended = self.child.kill().and_then(|()| self.child.wait());
        }
        if thread::panicking() {
            let log = fs::read_to_string(self.directory.path().join("log")).unwrap_or_default();
            eprintln!("--- the demonstration's log\n{log}");
        }
    }
}

fn wait(child: &mut Child, limit: Duration, log: &Path) -> Option<i32> {
    let deadline = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        if Instant::now() > deadline {
            let log = fs::read_to_string(log).unwrap_or_default();
            panic!("the process did not end in {limit:?}; its log:\n{log}");
        }
        thread::sleep(Duration::from_millis(10));
    }
}

/// What a program printed and how it ended.
#[derive(Debug)]
pub struct Output {
    pub command: String,
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    /// Itself, where the program ended well; a failed test otherwise.
    #[track_caller]
    pub fn success(self) -> Self {
        assert_eq!(
            self.code,
            Some(0),
            "{} failed:\n{}\n{}",
            self.command,
            self.stdout,
            self.stderr
        );
        self
    }

    /// Itself, where the program ended badly; a failed test otherwise.
    #[track_caller]
    pub fn failure(self) -> Self {
        assert_ne!(
            self.code,
            Some(0),
            "{} did not fail:\n{}",
            self.command,
            self.stdout
        );
        self
    }
}

/// Runs a program with a time limit. A program that is not there is a failed test.
#[track_caller]
pub fn run<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: &[S],
    limit: Duration,
) -> Output {
    run_with(program, arguments, "", &[], limit)
}

/// Runs a program with standard input and more environment.
#[track_caller]
pub fn run_with<S: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    arguments: &[S],
    input: &str,
    environment: &[(&str, &str)],
    limit: Duration,
) -> Output {
    let program = program.as_ref();
    let mut command = Command::new(program);
    command.args(arguments).envs(environment.iter().copied());
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let shown = format!("{command:?}");
    let mut child = command.spawn().unwrap_or_else(|error| {
        panic!("{}: {error}; tests/install installs it", program.display())
    });
    let mut stdin = child.stdin.take().unwrap();
    // A program that reads nothing closes its end; that is its right.
    let _closed = stdin.write_all(input.as_bytes());
    drop(stdin);
    let reader = |mut pipe: Box<dyn Read + Send>| {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            pipe.read_to_end(&mut bytes).unwrap();
            String::from_utf8_lossy(&bytes).into_owned()
        })
    };
    let stdout = reader(Box::new(child.stdout.take().unwrap()));
    let stderr = reader(Box::new(child.stderr.take().unwrap()));
    let deadline = Instant::now() + limit;
    let code = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status.code();
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            child.wait().unwrap();
            let (stdout, stderr) = (stdout.join().unwrap(), stderr.join().unwrap());
            panic!("{shown} did not end in {limit:?}:\n{stdout}\n{stderr}");
        }
        thread::sleep(Duration::from_millis(5));
    };
    Output {
        command: shown,
        code,
        stdout: stdout.join().unwrap(),
        stderr: stderr.join().unwrap(),
    }
}

/// Runs a client of `tests/clients`, written in Python, with the packages that tests/install puts
/// into its virtual environment.
#[track_caller]
pub fn python<S: AsRef<OsStr>>(client: &str, arguments: &[S], limit: Duration) -> Output {
    let script = tests().join("clients").join(client);
    let mut all: Vec<&OsStr> = vec![script.as_os_str()];
    all.extend(arguments.iter().map(AsRef::as_ref));
    run(python_binary(), &all, limit)
}

/// The Python of the tests' virtual environment.
pub fn python_binary() -> PathBuf {
    tests().join(".venv/bin/python")
}

/// The `tests` folder.
pub fn tests() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests")
}

/// The built daemon.
pub fn binary() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_omnid"))
}

/// A process that is killed when the test ends.
pub struct Background(pub Child);

impl Background {
    /// Starts a peer; its output goes to `log`.
    #[track_caller]
    pub fn start<S: AsRef<OsStr>>(program: &str, arguments: &[S], log: &Path) -> Self {
        let log = fs::File::create(log).unwrap();
        let child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            // A peer's workers end with it: killed alone, it would leave them behind.
            .process_group(0)
            .spawn()
            .unwrap_or_else(|error| panic!("{program}: {error}; tests/install installs it"));
        Self(child)
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        if let Some(group) = rustix::process::Pid::from_raw(self.0.id() as i32) {
            let _gone = rustix::process::kill_process_group(group, rustix::process::Signal::KILL);
        }
        let _ended = self.0.kill().and_then(|()| self.0.wait());
    }
}

/// A loopback port that is free for TCP and UDP, and that no other test of this process was given.
pub fn free_port() -> u16 {
    free_ports(1)
}

/// The first of so many free ports in a row.
pub fn free_ports(count: u16) -> u16 {
    // Below the range that the kernel hands out for outgoing connections, each process starting
    // elsewhere, so that tests that run side by side seldom try the same port.
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = (std::process::id() % 1_000 * 20) as u16;
    let is_free = |port| {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        TcpListener::bind(address).is_ok() && UdpSocket::bind(address).is_ok()
    };
    for _ in 0..20_000 {
        let next = NEXT.fetch_add(count, Ordering::Relaxed);
        let first = 10_000 + start.wrapping_add(next) % 20_000;
        if (first..first + count).all(is_free) {
            return first;
        }
    }
    panic!("no free port");
}

/// Waits until `condition` holds; a failed test where it does not within `limit`.
#[track_caller]
pub fn wait_until(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + limit;
    while !condition() {
        assert!(Instant::now() < deadline, "not within {limit:?}: {what}");
        thread::sleep(Duration::from_millis(20));
    }
}

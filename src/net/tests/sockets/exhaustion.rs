//! The descriptor limit, reached on purpose in a process of its own.

use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use omnid_net::NetConfig;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::support::{alone, connect, is_alone, logged, loopback, net, soon};

#[test]
fn at_the_descriptor_limit_accept_waits_and_then_goes_on() {
    let printed = alone("exhaustion::starving");
    assert!(printed.contains("went on"), "{printed}");
}

#[test]
fn starving() {
    if !is_alone("exhaustion::starving") {
        return;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let net = net(&NetConfig::default());
        let listener = net.listen("starved", &loopback()).unwrap();
        let limit = Rlimit {
            current: Some(128),
            ..getrlimit(Resource::Nofile)
        };
        setrlimit(Resource::Nofile, limit).unwrap();

        let clock = Clock::new();
        let waiting = connect(&listener).await;
        let mut fillers = Vec::new();
        while let Ok(file) = std::fs::File::open("/dev/null") {
            fillers.push(file);
        }

        // Two seconds at the limit: one line of log, and hardly any work.
        let before = clock.now();
        let wait = tokio::time::timeout(Duration::from_secs(2), listener.accept()).await;
        assert!(wait.is_err(), "there was no descriptor to accept with");
        let worked = clock.now() - before;
        assert!(
            worked < Duration::from_millis(100),
            "{worked:?} of work while waiting"
        );
        let lines = logged(&["cannot accept connections"]);
        assert_eq!(lines.len(), 1, "{lines:#?}");
        assert!(lines[0].contains("Too many open files"), "{lines:?}");

        fillers.clear();
        let start = Instant::now();
        let accepted = soon(listener.accept()).await;
        assert_eq!(accepted.peer, waiting.local_addr().unwrap());
        println!(
            "went on after {:?}, {worked:?} of work while waiting",
            start.elapsed()
        );
    });
}

/// Processor time of this thread in nanoseconds. Opened before there are no more descriptors.
struct Clock(std::fs::File);

impl Clock {
    fn new() -> Self {
        Self(std::fs::File::open("/proc/thread-self/schedstat").unwrap())
    }

    fn now(&self) -> Duration {
        let mut text = [0; 128];
        let read = self.0.read_at(&mut text, 0).unwrap();
        let text = std::str::from_utf8(&text[..read]).unwrap();
        Duration::from_nanos(text.split(' ').next().unwrap().parse().unwrap())
    }
}

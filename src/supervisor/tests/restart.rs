use super::*;

/// Waits without chance in them would be exact; with it they are at least half.
fn assert_waits(times: &[u128], waits: &[u128]) {
    let gaps: Vec<u128> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
    assert_eq!(gaps.len(), waits.len(), "{gaps:?} against {waits:?}");
    for (gap, wait) in gaps.iter().zip(waits) {
        assert!(
            *gap <= wait + 1 && *gap + 1 >= wait / 2,
            "{gaps:?} against {waits:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn children_start_after_their_elders_are_ready() {
    let journal = Journal::new();
    let slow = {
        let journal = journal.clone();
        ChildSpec::worker("slow", move |child| {
            let journal = journal.clone();
            async move {
                tokio::time::sleep(seconds(2)).await;
                journal.note("slow is ready");
                child.ready();
                child.draining().await;
                Ok(())
            }
        })
    };
    let silent = ChildSpec::worker("silent", |child| async move {
        child.draining().await;
        Ok(())
    });
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .child(slow)
            .child(journal.worker("b"))
            .child(silent)
            .child(journal.worker("c")),
    );
    handle
        .wait(|status| status.find("b").is_some_and(|b| b.state == State::Ready))
        .await;
    assert_eq!(journal.times("slow is ready"), [2000]);
    assert_eq!(journal.times("+b"), [2000]);
    assert_eq!(handle.status().state, State::Starting);
    handle
        .wait(|status| status.find("c").is_some_and(|c| c.state == State::Ready))
        .await;
    assert_eq!(
        journal.times("+c"),
        [7000],
        "patience with who never says that it is ready: 5 s"
    );
    assert!(!handle.status().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_is_waited_for_until_its_children_are_ready() {
    let journal = Journal::new();
    let slow = ChildSpec::worker("slow", |child| async move {
        tokio::time::sleep(seconds(1)).await;
        child.ready();
        child.draining().await;
        Ok(())
    });
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .child(ChildSpec::supervisor(
                SupervisorSpec::new("service").child(slow),
            ))
            .child(journal.worker("next")),
    );
    assert!(handle.wait_ready().await);
    assert_eq!(journal.times("+next"), [1000]);
}

#[tokio::test(start_paused = true)]
async fn one_for_one_restarts_only_who_failed() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .child(journal.worker("a"))
            .child(journal.worker("b")),
    );
    handle.wait_ready().await;
    assert_eq!(journal.take(), ["+a", "+b"]);

    assert!(handle.inject_panic("a"));
    handle.wait(|status| !status.is_ready()).await;
    let status = handle.status();
    assert_eq!(
        status.state,
        State::Degraded("a is restarting (1)".to_owned())
    );
    let a = status.find("a").expect("it is there");
    assert_eq!((&a.state, a.restarts), (&State::Restarting(1), 1));
    assert_eq!(
        a.last_error.as_deref(),
        Some("panicked: injected by a test")
    );

    handle.wait_ready().await;
    assert_eq!(journal.take(), ["+a"]);
    assert_eq!(handle.status().find("b").map(|b| b.restarts), Some(0));
}

#[tokio::test(start_paused = true)]
async fn one_for_all_stops_in_reverse_and_starts_in_order() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .strategy(Strategy::OneForAll)
            .child(journal.worker("a"))
            .child(journal.worker("b"))
            .child(journal.worker("c")),
    );
    handle.wait_ready().await;
    assert_eq!(journal.take(), ["+a", "+b", "+c"]);
    handle.inject_panic("b");
    handle.wait(|status| !status.is_ready()).await;
    handle.wait_ready().await;
    assert_eq!(journal.take(), ["-c", "-a", "+a", "+b", "+c"]);
    assert_eq!(handle.status().find("b").map(|b| b.restarts), Some(1));
    assert_eq!(handle.status().find("a").map(|a| a.restarts), Some(0));
}

#[tokio::test(start_paused = true)]
async fn rest_for_one_leaves_the_elders_alone() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .strategy(Strategy::RestForOne)
            .child(journal.worker("a"))
            .child(journal.worker("b"))
            .child(journal.worker("c"))
            .child(journal.worker("d")),
    );
    handle.wait_ready().await;
    journal.take();
    handle.inject_panic("b");
    handle.wait(|status| !status.is_ready()).await;
    handle.wait_ready().await;
    assert_eq!(journal.take(), ["-d", "-c", "+b", "+c", "+d"]);
}

#[tokio::test(start_paused = true)]
async fn waits_grow_and_begin_anew_after_a_long_run() {
    let journal = Journal::new();
    let backoff = Backoff {
        first: millis(100),
        max: seconds(2),
    };
    let root = |child| {
        SupervisorSpec::new("root")
            .intensity(Intensity::UNLIMITED)
            .backoff(backoff)
            .child(child)
    };
    let (handle, _exit) = Supervisor::start(root(journal.failing("a", Duration::ZERO)));
    handle
        .wait(|status| status.find("a").is_some_and(|a| a.restarts == 7))
        .await;
    assert_waits(&journal.times("+a"), &[100, 200, 400, 800, 1600, 2000]);
    handle.shutdown(seconds(1)).await;

    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(root(journal.failing("a", seconds(2))));
    handle
        .wait(|status| status.find("a").is_some_and(|a| a.restarts == 4))
        .await;
    assert_waits(&journal.times("+a"), &[2100, 2100, 2100]);
}

#[tokio::test(start_paused = true)]
async fn restart_policies() {
    let ends = |result: fn() -> ChildResult| {
        move |child: Child| async move {
            child.ready();
            result()
        }
    };
    let fine: fn() -> ChildResult = || Ok(());
    let broken: fn() -> ChildResult = || Err(ChildError::new("broken"));
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .intensity(Intensity::UNLIMITED)
            .child(ChildSpec::worker("permanent", ends(fine)))
            .child(ChildSpec::worker("transient fine", ends(fine)).restart(Restart::Transient))
            .child(ChildSpec::worker("transient broken", ends(broken)).restart(Restart::Transient))
            .child(ChildSpec::worker("temporary", ends(broken)).restart(Restart::Temporary)),
    );
    tokio::time::sleep(seconds(10)).await;
    let status = handle.status();
    let restarts = |name| status.find(name).map(|child| child.restarts);
    assert!(restarts("permanent") > Some(3));
    assert!(restarts("transient broken") > Some(3));
    assert_eq!(restarts("transient fine"), Some(0));
    assert_eq!(
        status.find("transient fine").map(|child| &child.state),
        Some(&State::Stopped)
    );
    assert_eq!(restarts("temporary"), None);
}

#[tokio::test(start_paused = true)]
async fn past_its_intensity_the_root_gives_up() {
    let journal = Journal::new();
    let intensity = Intensity {
        restarts: 3,
        within: seconds(60),
    };
    let (handle, exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .intensity(intensity)
            .child(journal.worker("a"))
            .child(journal.failing("b", Duration::ZERO)),
    );
    let exit = exit.await.expect("the root does not panic");
    assert_eq!(
        exit,
        Exit::Escalated("more than 3 restarts within 60s, the last because b: no luck".to_owned())
    );
    assert_eq!(journal.take(), ["+a", "+b", "+b", "+b", "+b", "-a"]);
    assert!(!handle.wait_ready().await);
    assert!(matches!(handle.status().state, State::Failed(_)));
}

#[tokio::test(start_paused = true)]
async fn many_independent_children_that_each_fail_once_do_not_escalate() {
    let names: Vec<String> = (0..20).map(|number| format!("child {number}")).collect();
    for strategy in [Strategy::OneForOne, Strategy::OneForAll] {
        let worker = |name: &String| {
            ChildSpec::worker(name, |child| async move {
                child.ready();
                child.draining().await;
                Ok(())
            })
        };
        let spec = SupervisorSpec::new("root").strategy(strategy);
        let (handle, exit) =
            Supervisor::start(names.iter().map(worker).fold(spec, SupervisorSpec::child));
        for name in &names {
            handle.wait_ready().await;
            handle.inject_panic(name);
            handle.wait(|status| !status.is_ready()).await;
        }
        let independent = strategy == Strategy::OneForOne;
        assert_eq!(handle.wait_ready().await, independent);
        assert_eq!(exit.is_finished(), !independent);
    }
}

#[tokio::test(start_paused = true)]
async fn failures_far_enough_apart_never_escalate() {
    let journal = Journal::new();
    let intensity = Intensity {
        restarts: 3,
        within: seconds(60),
    };
    let (handle, exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .intensity(intensity)
            .child(journal.failing("a", seconds(20))),
    );
    tokio::time::sleep(seconds(3600)).await;
    assert!(!exit.is_finished());
    assert!(journal.times("+a").len() > 50);
    handle.shutdown(seconds(1)).await;
    assert_eq!(exit.await.ok(), Some(Exit::Stopped));
}

#[tokio::test(start_paused = true)]
async fn failures_escalate_level_by_level() {
    let journal = Journal::new();
    let once = Intensity {
        restarts: 1,
        within: seconds(60),
    };
    let inner = SupervisorSpec::new("inner")
        .intensity(once)
        .child(journal.worker("elder"))
        .child(journal.failing("leaf", Duration::ZERO));
    let middle = SupervisorSpec::new("middle")
        .intensity(once)
        .child(ChildSpec::supervisor(inner));
    let root = SupervisorSpec::new("root")
        .intensity(once)
        .child(journal.worker("other"))
        .child(ChildSpec::supervisor(middle));
    let (_handle, exit) = Supervisor::start(root);
    let Ok(Exit::Escalated(reason)) = exit.await else {
        panic!("it must give up")
    };
    assert!(reason.contains("middle: more than 1 restarts"), "{reason}");
    assert!(
        reason.contains("middle/inner: more than 1 restarts"),
        "{reason}"
    );
    assert!(reason.ends_with("middle/inner/leaf: no luck"), "{reason}");
    let lines = journal.take();
    let count = |wanted: &str| lines.iter().filter(|line| *line == wanted).count();
    // Each level tries twice: two runs of the leaf in each of two runs of inner in each of two of middle.
    assert_eq!(count("+leaf"), 2 * 2 * 2);
    assert_eq!((count("+elder"), count("-elder")), (2 * 2, 2 * 2));
    assert_eq!((count("+other"), count("-other")), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_future_is_the_childs_too() {
    let (handle, _exit) = Supervisor::start(SupervisorSpec::new("root").child(ChildSpec::worker(
        "a",
        |_child| -> std::future::Ready<ChildResult> { panic!("in the closure") },
    )));
    handle
        .wait(|status| status.find("a").is_some_and(|a| a.restarts == 2))
        .await;
    let error = handle.status().find("a").and_then(|a| a.last_error.clone());
    assert_eq!(error.as_deref(), Some("panicked: in the closure"));
}

#[tokio::test(start_paused = true)]
async fn a_child_added_while_its_supervisor_is_down_is_started_with_it() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(SupervisorSpec::new("root").child(
        ChildSpec::supervisor(SupervisorSpec::new("service").child(journal.worker("a"))),
    ));
    handle.wait_ready().await;
    let service = handle.child("service").expect("it is there");
    assert!(handle.inject_panic("service"));
    handle.wait(|status| !status.is_ready()).await;
    assert_eq!(service.add(journal.worker("b")).await, Ok(()));
    handle.wait_ready().await;
    assert_eq!(journal.take(), ["+a", "-a", "+a", "+b"]);
    let names: Vec<_> = service
        .status()
        .children
        .iter()
        .map(|child| child.name.clone())
        .collect();
    assert_eq!(names, ["a", "b"]);
}

#[tokio::test(start_paused = true)]
async fn a_child_added_while_its_siblings_are_restarted_is_started_after_them() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .strategy(Strategy::OneForAll)
            .child(journal.worker("a"))
            .child(journal.worker("b")),
    );
    handle.wait_ready().await;
    handle.inject_panic("a");
    handle.wait(|status| !status.is_ready()).await;
    assert_eq!(handle.add(journal.worker("c")).await, Ok(()));
    handle.wait_ready().await;
    assert_eq!(journal.take(), ["+a", "+b", "-b", "+a", "+b", "+c"]);
}

#[tokio::test(start_paused = true)]
async fn a_name_is_taken_once() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(SupervisorSpec::new("root").child(journal.worker("a")));
    handle.wait_ready().await;
    let duplicate = AddError::Duplicate("root".to_owned(), "a".to_owned());
    assert_eq!(handle.add(journal.worker("a")).await, Err(duplicate));
    let a = handle.child("a").expect("it is there");
    assert_eq!(
        a.add(journal.worker("b")).await,
        Err(AddError::NotASupervisor("a".to_owned()))
    );
    handle.shutdown(seconds(1)).await;
    assert_eq!(
        handle.add(journal.worker("b")).await,
        Err(AddError::Stopping("root".to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_supervisor_that_panics_does_not_leave_children_behind() {
    let journal = Journal::new();
    let stubborn = {
        let journal = journal.clone();
        ChildSpec::worker("stubborn", move |child| {
            let journal = journal.clone();
            async move {
                journal.note("+stubborn");
                child.ready();
                child.cancelled().await;
                tokio::time::sleep(millis(200)).await;
                journal.note("-stubborn");
                Ok(())
            }
        })
    };
    let (handle, _exit) = Supervisor::start(SupervisorSpec::new("root").child(
        ChildSpec::supervisor(SupervisorSpec::new("service").child(stubborn)),
    ));
    handle.wait_ready().await;
    assert!(handle.inject_panic("service"));
    handle.wait(|status| !status.is_ready()).await;
    handle.wait_ready().await;
    assert_eq!(journal.take(), ["+stubborn", "-stubborn", "+stubborn"]);
}

#[tokio::test(start_paused = true)]
async fn panics_are_injected_by_path() {
    let journal = Journal::new();
    let (handle, exit) =
        Supervisor::start(SupervisorSpec::new("root").child(ChildSpec::supervisor(
            SupervisorSpec::new("xmpp").child(journal.worker("unix:/run/x.sock")),
        )));
    handle.wait_ready().await;
    for unknown in [
        "dns",
        "xmpp/",
        "xmpp/unix:",
        "xmpp/unix:/run/x.sock/connection",
        "/",
    ] {
        assert!(!handle.inject_panic(unknown), "{unknown:?}");
    }
    assert!(handle.inject_panic("xmpp/unix:/run/x.sock"));
    handle.wait(|status| !status.is_ready()).await;
    handle.wait_ready().await;
    let status = handle.status();
    assert_eq!(
        status
            .find("xmpp/unix:/run/x.sock")
            .map(|child| child.restarts),
        Some(1)
    );

    assert!(handle.inject_panic(""));
    let exit = exit.await.ok();
    assert_eq!(
        exit,
        Some(Exit::Escalated("panicked: injected by a test".to_owned()))
    );
}

#[tokio::test(start_paused = true)]
async fn a_degraded_child_says_so_up_the_tree() {
    let worker = ChildSpec::worker("udp", |child| async move {
        child.degraded("address in use");
        tokio::time::sleep(seconds(3)).await;
        child.ready();
        child.load(7);
        child.draining().await;
        child.degraded("nobody hears this");
        tokio::time::sleep(seconds(1)).await;
        Ok(())
    });
    let (handle, _exit) = Supervisor::start(SupervisorSpec::new("root").child(
        ChildSpec::supervisor(SupervisorSpec::new("dns").child(worker)),
    ));
    handle.wait(|status| status.state != State::Starting).await;
    let degraded = "dns is degraded (udp is degraded (address in use))".to_owned();
    assert_eq!(handle.status().state, State::Degraded(degraded));
    assert!(!handle.status().is_ready());
    assert!(handle.wait_ready().await);
    settle().await;
    let status = handle.status();
    assert_eq!(status.total_load(), 7);
    let json = serde_json::to_value(&status).expect("it is plain data");
    assert_eq!(json["state"], "ready");
    assert_eq!(json["children"][0]["children"][0]["name"], "udp");
    let back: Status = serde_json::from_value(json).expect("what was written can be read");
    assert_eq!(back, status);
    let stopping = tokio::spawn({
        let handle = handle.clone();
        async move { handle.shutdown(seconds(10)).await }
    });
    tokio::time::sleep(millis(500)).await;
    assert_eq!(
        handle.status().find("dns/udp").map(|udp| udp.state.clone()),
        Some(State::Draining)
    );
    stopping.await.expect("no panic");
}

use super::*;

/// A worker that takes `time` to finish, and notes `-name` when it has and `!name` when cancelled.
fn slow(journal: &Journal, name: &'static str, time: Duration) -> ChildSpec {
    let journal = journal.clone();
    ChildSpec::worker(name, move |child| {
        let journal = journal.clone();
        async move {
            child.ready();
            child.draining().await;
            tokio::select! {
                () = tokio::time::sleep(time) => journal.note(format!("-{name}")),
                () = child.cancelled() => journal.note(format!("!{name}")),
            }
            Ok(())
        }
    })
}

#[tokio::test(start_paused = true)]
async fn the_youngest_is_drained_first_and_each_within_its_time() {
    let journal = Journal::new();
    let service = SupervisorSpec::new("service")
        .child(slow(&journal, "b", seconds(1)))
        .child(slow(&journal, "c", seconds(60)).shutdown(seconds(3)));
    let (handle, exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .child(slow(&journal, "a", seconds(1)))
            .child(ChildSpec::supervisor(service))
            .child(slow(&journal, "d", seconds(2))),
    );
    handle.wait_ready().await;
    handle.shutdown(seconds(30)).await;
    assert_eq!(journal.times("-d"), [2000]);
    assert_eq!(journal.times("!c"), [5000], "cut off after its 3 s");
    assert_eq!(journal.times("-b"), [6000]);
    assert_eq!(journal.times("-a"), [7000]);
    assert_eq!(journal.take(), ["-d", "!c", "-b", "-a"]);
    assert_eq!(exit.await.ok(), Some(Exit::Stopped));
    assert!(
        handle
            .status()
            .children
            .iter()
            .all(|child| child.state == State::Stopped)
    );
}

#[tokio::test(start_paused = true)]
async fn the_deadline_cuts_off_all_that_are_left() {
    let journal = Journal::new();
    let service = SupervisorSpec::new("service")
        .child(slow(&journal, "b", seconds(60)).shutdown(seconds(60)))
        .child(slow(&journal, "c", seconds(60)).shutdown(seconds(60)));
    let (handle, exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .child(slow(&journal, "a", seconds(60)).shutdown(seconds(60)))
            .child(ChildSpec::supervisor(service)),
    );
    handle.wait_ready().await;
    handle.shutdown(seconds(10)).await;
    assert_eq!(journal.take(), ["!c", "!b", "!a"]);
    assert!(
        journal.begin.elapsed() < millis(10_500),
        "{:?}",
        journal.begin.elapsed()
    );
    assert_eq!(exit.await.ok(), Some(Exit::Stopped));
}

#[tokio::test(start_paused = true)]
async fn running_out_of_time_is_no_failure_of_those_not_yet_asked() {
    let journal = Journal::new();
    let services = ["first", "second"].map(|name| {
        ChildSpec::supervisor(
            SupervisorSpec::new(name).child(slow(&journal, "a", seconds(60)).shutdown(seconds(60))),
        )
    });
    let root = services
        .into_iter()
        .fold(SupervisorSpec::new("root"), SupervisorSpec::child);
    let (handle, exit) = Supervisor::start(root);
    handle.wait_ready().await;
    handle.shutdown(seconds(10)).await;
    assert_eq!(exit.await.ok(), Some(Exit::Stopped));
    for path in ["first/a", "second/a"] {
        let status = handle.status();
        let child = status.find(path).expect("it is there");
        assert_eq!((child.restarts, &child.last_error), (0, &None), "{path}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_elder_removed_while_the_rest_restarts_leaves_no_one_out() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .strategy(Strategy::RestForOne)
            .child(journal.worker("a"))
            .child(journal.worker("b"))
            .child(slow(&journal, "c", seconds(3))),
    );
    handle.wait_ready().await;
    handle.inject_panic("b");
    settle().await; // c is being drained
    assert_eq!(handle.remove("a").await, Ok(()));
    journal.take();
    handle.wait_ready().await;
    assert_eq!(journal.take(), ["-c", "+b"]);
    tokio::time::sleep(seconds(1)).await;
    assert!(handle.status().is_ready());
    assert_eq!(handle.status().find("b").map(|b| b.restarts), Some(1));
}

#[tokio::test(start_paused = true)]
async fn drained_together_takes_as_long_as_the_slowest() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .drain(Drain::Together)
            .child(slow(&journal, "a", seconds(2)))
            .child(slow(&journal, "b", seconds(3)))
            .child(slow(&journal, "c", seconds(1))),
    );
    handle.wait_ready().await;
    handle.shutdown(seconds(30)).await;
    assert_eq!(journal.begin.elapsed().as_secs(), 3);
    assert_eq!(journal.take(), ["-c", "-a", "-b"]);
}

#[tokio::test(start_paused = true)]
async fn who_does_not_listen_is_dropped() {
    let (handle, exit) = Supervisor::start(SupervisorSpec::new("root").child(ChildSpec::worker(
        "deaf",
        |child| async move {
            child.ready();
            std::future::pending().await
        },
    )));
    handle.wait_ready().await;
    let begin = Instant::now();
    handle.shutdown(seconds(30)).await;
    assert_eq!(
        begin.elapsed().as_millis() / 10,
        525,
        "5 s to finish and 250 ms to say goodbye"
    );
    assert_eq!(exit.await.ok(), Some(Exit::Stopped));
}

#[tokio::test(start_paused = true)]
async fn removal_drains_and_frees_the_name_at_once() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .child(slow(&journal, "a", seconds(3)))
            .child(journal.worker("b")),
    );
    handle.wait_ready().await;
    let removal = tokio::spawn({
        let handle = handle.clone();
        async move { handle.remove("a").await }
    });
    settle().await;
    assert_eq!(
        handle
            .status()
            .find("a")
            .map(|a| a.state == State::Draining),
        Some(true)
    );
    assert_eq!(handle.add(journal.worker("a")).await, Ok(()));
    handle
        .wait(|status| {
            status
                .children
                .iter()
                .filter(|child| child.name == "a")
                .count()
                == 1
        })
        .await;
    assert_eq!(journal.begin.elapsed().as_secs(), 3);
    assert_eq!(removal.await.ok(), Some(Ok(())));
    assert_eq!(journal.take(), ["+b", "+a", "-a"]);
    let unknown = RemoveError::Unknown("root".to_owned(), "x".to_owned());
    assert_eq!(handle.remove("x").await, Err(unknown));
}

#[tokio::test(start_paused = true)]
async fn a_drain_waits_for_who_is_leaving() {
    let journal = Journal::new();
    let (handle, _exit) =
        Supervisor::start(SupervisorSpec::new("root").child(slow(&journal, "a", seconds(3))));
    handle.wait_ready().await;
    let a = handle.child("a").expect("it is there");
    tokio::spawn(async move { a.shutdown(seconds(30)).await });
    settle().await;
    handle.shutdown(seconds(30)).await;
    assert_eq!(journal.take(), ["-a"]);
    assert_eq!(journal.begin.elapsed().as_secs(), 3);
}

#[tokio::test(start_paused = true)]
async fn siblings_are_restarted_while_another_drains() {
    let journal = Journal::new();
    let (handle, _exit) = Supervisor::start(
        SupervisorSpec::new("root")
            .child(slow(&journal, "a", seconds(60)).shutdown(seconds(60)))
            .child(journal.worker("b")),
    );
    handle.wait_ready().await;
    let leaving = handle.clone();
    tokio::spawn(async move { leaving.remove("a").await });
    settle().await;
    handle.inject_panic("b");
    handle
        .wait(|status| status.find("b").is_some_and(|b| b.restarts == 1))
        .await;
    handle
        .wait(|status| status.find("b").is_some_and(|b| b.state == State::Ready))
        .await;
    assert!(journal.begin.elapsed() < seconds(1));
}

/// A worker with temporary children: one that panics, one that fails, one that works for `time`.
fn accepting(journal: &Journal, time: Duration) -> ChildSpec {
    let journal = journal.clone();
    ChildSpec::worker("tcp", move |child| {
        let journal = journal.clone();
        async move {
            let span = tracing::Span::none;
            child.spawn("connection", span(), async { panic!("bad packet") });
            child.spawn("connection", span(), async {
                Err(ChildError::new("worse packet"))
            });
            let (connection, notes) = (child.clone(), journal.clone());
            child.spawn("connection", span(), async move {
                connection.draining().await;
                tokio::time::sleep(time).await;
                notes.note("served");
                Ok(())
            });
            child.ready();
            child.draining().await;
            journal.note("accepts no more");
            Ok(())
        }
    })
}

fn connections(status: &Status) -> Temporary {
    let tcp = status.find("tcp").expect("it is there");
    assert_eq!(tcp.load, tcp.temporary[0].alive);
    tcp.temporary[0].clone()
}

#[tokio::test(start_paused = true)]
async fn temporary_children_fail_alone_and_are_waited_for() {
    let journal = Journal::new();
    let (handle, _exit) =
        Supervisor::start(SupervisorSpec::new("root").child(accepting(&journal, seconds(3))));
    handle.wait_ready().await;
    settle().await;
    let kind = "connection".to_owned();
    assert_eq!(
        connections(&handle.status()),
        Temporary {
            kind: kind.clone(),
            alive: 1,
            total: 3,
            failed: 2
        }
    );
    assert_eq!(handle.status().find("tcp").map(|tcp| tcp.restarts), Some(0));

    assert!(handle.inject_panic("tcp"));
    handle.wait(|status| !status.is_ready()).await;
    assert_eq!(
        connections(&handle.status()).alive,
        1,
        "it outlives its acceptor"
    );
    handle.wait_ready().await;
    settle().await;
    assert_eq!(
        connections(&handle.status()),
        Temporary {
            kind: kind.clone(),
            alive: 2,
            total: 6,
            failed: 4
        }
    );

    handle.shutdown(seconds(30)).await;
    assert_eq!(journal.take(), ["accepts no more", "served", "served"]);
    assert_eq!(connections(&handle.status()).alive, 0);
}

#[tokio::test(start_paused = true)]
async fn temporary_children_are_cut_off_with_their_parent() {
    let journal = Journal::new();
    let (handle, _exit) =
        Supervisor::start(SupervisorSpec::new("root").child(accepting(&journal, seconds(60))));
    handle.wait_ready().await;
    handle.shutdown(seconds(30)).await;
    assert_eq!(journal.take(), ["accepts no more"]);
    assert_eq!(journal.begin.elapsed().as_millis() / 10, 525);
    assert_eq!(connections(&handle.status()).alive, 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_injected_into_a_temporary_child() {
    let worker = ChildSpec::worker("tcp", |child| async move {
        child.spawn("connection", tracing::Span::none(), async {
            loop {
                tokio::time::sleep(seconds(1)).await;
            }
        });
        child.ready();
        child.draining().await;
        Ok(())
    });
    let (handle, _exit) = Supervisor::start(SupervisorSpec::new("root").child(worker));
    handle.wait_ready().await;
    assert!(handle.inject_panic("tcp/connection"));
    tokio::time::sleep(seconds(2)).await;
    let connections = connections(&handle.status());
    assert_eq!((connections.alive, connections.failed), (0, 1));
    assert!(!handle.inject_panic("tcp/connection"), "there is none left");
    assert_eq!(handle.status().find("tcp").map(|tcp| tcp.restarts), Some(0));
}

#![allow(clippy::unwrap_used)]
use std::sync::atomic::{AtomicU32, Ordering};

use super::*;
use crate::wire::{Element, ns};

fn outbox(limit: usize) -> Arc<Outbox> {
    let facts = Facts {
        jid: Jid::new("a@b/c").unwrap(),
        peer: ([127, 0, 0, 1], 1).into(),
        listener: "test".into(),
        mechanism: "PLAIN",
        since: SystemTime::UNIX_EPOCH,
    };
    Outbox::new(facts, limit)
}

fn stanza(id: &str) -> Stanza {
    Stanza::from_element(&Element::new("message", ns::CLIENT).attr("id", id)).unwrap()
}

/// What connection `connection` would write.
fn take(outbox: &Outbox, connection: u32) -> String {
    match outbox.take(connection) {
        Taken::Bytes(bytes) => {
            outbox.wrote(connection, bytes.len());
            String::from_utf8(bytes).unwrap()
        }
        Taken::Last(bytes) => format!("last:{}", String::from_utf8(bytes).unwrap()),
        Taken::Nothing => "nothing".into(),
        Taken::Lost => "lost".into(),
    }
}

#[test]
fn coalesces() {
    let outbox = outbox(1000);
    assert_eq!(take(&outbox, 0), "nothing");
    assert!(outbox.send(&stanza("1")) && outbox.send(&stanza("2")));
    assert_eq!(take(&outbox, 0), "<message id='1'/><message id='2'/>");
    outbox.goodbye();
    assert!(!outbox.send(&stanza("3")));
    assert_eq!(take(&outbox, 0), "last:</stream:stream>");
    assert_eq!(take(&outbox, 0), "lost");
}

#[test]
fn a_slow_reader_is_cut_off() {
    let outbox = outbox(40);
    assert!(outbox.send(&stanza("1")) && outbox.send(&stanza("2")));
    assert!(!outbox.send(&stanza("3")));
    let seen = take(&outbox, 0);
    assert!(seen.starts_with("last:<message id='1'/>") && seen.contains("<resource-constraint "));
    assert!(seen.ends_with("</stream:stream>"));
}

#[test]
fn callbacks_follow_what_is_written() {
    let outbox = outbox(1000);
    let count = Arc::new(AtomicU32::new(0));
    let add = |by: u32| {
        let count = count.clone();
        Box::new(move |done: bool| {
            count.fetch_add(if done { by } else { 1000 * by }, Ordering::Relaxed);
        })
    };
    let count = || count.load(Ordering::Relaxed);
    outbox.then(add(1));
    assert_eq!(count(), 1);
    outbox.send(&stanza("1"));
    outbox.then(add(10));
    assert_eq!(count(), 1);
    take(&outbox, 0);
    assert_eq!(count(), 11);
    outbox.send(&stanza("2"));
    outbox.then(add(2));
    outbox.finish();
    assert_eq!(count(), 2011);
}

#[tokio::test]
async fn resuming() {
    let outbox = outbox(1000);
    assert!(outbox.manage(Some("token".into()), "") && !outbox.manage(None, ""));
    let done = Arc::new(AtomicU32::new(0));
    for id in ["1", "2", "3"] {
        outbox.send(&stanza(id));
    }
    let counted = done.clone();
    outbox.then(Box::new(move |done| {
        counted.fetch_add(if done { 1 } else { 100 }, Ordering::Relaxed);
    }));
    outbox.handled();
    let seen = take(&outbox, 0);
    assert_eq!(seen.matches("<message").count(), 3);
    assert!(
        seen.ends_with("<r xmlns='urn:xmpp:sm:3'/>"),
        "somebody waits: {seen}"
    );
    assert_eq!(
        done.load(Ordering::Relaxed),
        0,
        "written is not acknowledged"
    );
    assert!(outbox.sleep(0) && outbox.sleep(0));
    // While nobody is there.
    assert!(outbox.send(&stanza("4")));
    assert_eq!(take(&outbox, 0), "lost");
    assert!(
        outbox
            .resume(&outbox.turn().await, 9, |_| String::new())
            .is_err()
    );
    let connection = outbox
        .resume(&outbox.turn().await, 2, |handled| {
            format!("<resumed h='{handled}'/>")
        })
        .unwrap();
    assert_eq!(
        take(&outbox, connection),
        "<resumed h='1'/><message id='3'/><message id='4'/><r xmlns='urn:xmpp:sm:3'/>"
    );
    // An old connection that is still there loses it, and can't put it to sleep.
    assert_eq!(take(&outbox, 0), "lost");
    assert!(outbox.sleep(0));
    assert_eq!(done.load(Ordering::Relaxed), 0);
    outbox.acknowledge(3).unwrap();
    assert_eq!(done.load(Ordering::Relaxed), 1);
    assert!(outbox.acknowledge(5).is_err());
    let left: Vec<_> = outbox
        .finish()
        .into_iter()
        .map(|sent| sent.stanza.id().unwrap().into_owned())
        .collect();
    assert_eq!(left, ["4"]);
}

/// What is being handled when another connection comes is counted before it has the session, and
/// what comes after is not handled: its client sends it again.
#[tokio::test]
async fn one_connection_at_a_time_is_handled() {
    let outbox = outbox(1000);
    assert!(outbox.manage(Some("token".into()), ""));
    let turn = outbox.turn_of(0).await.unwrap();
    let resumed = async {
        let turn = outbox.turn().await;
        outbox.resume(&turn, 0, |handled| handled.to_string())
    };
    let handled = async {
        tokio::task::yield_now().await;
        outbox.handled();
        drop(turn);
        tokio::task::yield_now().await;
        assert!(outbox.turn_of(0).await.is_none());
    };
    let (connection, ()) = tokio::join!(resumed, handled);
    assert_eq!(take(&outbox, connection.unwrap()), "1");
    assert!(outbox.turn_of(1).await.is_some());
}

#[tokio::test]
async fn without_management_nothing_sleeps() {
    let outbox = outbox(1000);
    assert!(!outbox.sleep(0));
    outbox.manage(None, "");
    assert!(!outbox.sleep(0));
    assert!(
        outbox
            .resume(&outbox.turn().await, 0, |_| String::new())
            .is_ok_and(|connection| connection == 1)
    );
}

#[test]
fn tending() {
    let outbox = outbox(1000);
    let patience = Patience {
        asleep: Duration::from_secs(600),
        write: Duration::from_secs(60),
        silence: Duration::from_secs(180),
    };
    let later = |seconds| Instant::now() + Duration::from_secs(seconds);
    assert_eq!(outbox.tend(later(100), &patience), Fate::Awake);
    assert_eq!(take(&outbox, 0), "nothing");
    assert_eq!(outbox.tend(later(200), &patience), Fate::Awake);
    assert_eq!(take(&outbox, 0), " ");
    // A write that doesn't get done.
    outbox.send(&stanza("1"));
    assert!(matches!(outbox.take(0), Taken::Bytes(_)));
    let mut cx = Context::from_waker(Waker::noop());
    assert!(outbox.watch(0, &mut cx) && !outbox.watch(1, &mut cx));
    assert_eq!(outbox.tend(later(100), &patience), Fate::Awake);
    assert_eq!(take(&outbox, 0), "lost");
    assert!(
        !outbox.watch(0, &mut cx),
        "a task in the middle of a write must stop too"
    );
    assert_eq!(outbox.tend(later(101), &patience), Fate::Over);
}

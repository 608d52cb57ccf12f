#![allow(clippy::unwrap_used)]
use std::time::SystemTime;

use bytes::Bytes;
use omnid_store::StoreConfig;

use super::*;
use crate::{
    engine::{roster::Roster, subscription::Request},
    wire::BareJid,
};

async fn database() -> (tempfile::TempDir, Database) {
    let directory = tempfile::tempdir().unwrap();
    let database = Database::open(&StoreConfig::default(), directory.path())
        .await
        .unwrap();
    migrate(&database).await.unwrap();
    (directory, database)
}

#[tokio::test]
async fn rosters() {
    let (_directory, database) = database().await;
    let read = |database: Database| async move {
        database
            .read(|reader| roster::load(reader, "a@b"))
            .await
            .unwrap()
    };
    assert_eq!(read(database.clone()).await, Roster::default());
    let jid = |text: &str| BareJid::new(text).unwrap();
    let mut kept = Roster::default();
    let now = SystemTime::now();
    let groups = vec!["x".into(), "y, z".into()];
    let stanza = Bytes::from_static(b"<presence/>");
    let mut changes = vec![
        kept.update(jid("c@d"), Some("C".into()), groups, now)
            .unwrap(),
    ];
    kept.apply(&changes[0]);
    let out = kept
        .outbound(&jid("e@f"), Request::Subscribe, now)
        .unwrap()
        .change
        .unwrap();
    kept.apply(&out);
    let asked = kept
        .inbound(&jid("g@h"), Request::Subscribe, &stanza, now)
        .unwrap();
    let asked = asked.change.unwrap();
    kept.apply(&asked);
    changes.extend([out, asked]);
    let write = changes.clone();
    database
        .write(move |tx| roster::write(tx, "a@b", &write))
        .await
        .unwrap();
    assert_eq!(read(database.clone()).await, kept);

    let (gone, _) = kept.remove(&jid("c@d"), now).unwrap();
    kept.apply(&gone);
    let gone = [gone];
    database
        .write(move |tx| roster::write(tx, "a@b", &gone))
        .await
        .unwrap();
    assert_eq!(read(database.clone()).await, kept);
    let other = database
        .read(|reader| roster::load(reader, "x@b"))
        .await
        .unwrap();
    assert_eq!(other, Roster::default());
}

#[tokio::test]
async fn offline_messages_are_bounded_and_in_order() {
    let (_directory, database) = database().await;
    for n in 0..4_u64 {
        let stanza = n.to_string();
        let kept = database
            .write(move |tx| offline::keep(tx, "a@b", n, stanza.as_bytes(), 3))
            .await
            .unwrap();
        assert_eq!(kept, n < 3);
    }
    let seen = database
        .read(|reader| offline::kept(reader, "a@b"))
        .await
        .unwrap();
    let texts: Vec<_> = seen
        .iter()
        .map(|kept| (kept.at, kept.stanza.clone()))
        .collect();
    assert_eq!(texts, [(0, "0".into()), (1, "1".into()), (2, "2".into())]);
    let second = seen[1].id;
    database
        .write(move |tx| offline::forget(tx, "a@b", second))
        .await
        .unwrap();
    let seen = database
        .read(|reader| offline::kept(reader, "a@b"))
        .await
        .unwrap();
    assert_eq!(seen.len(), 1);
}

/// A batch is written again when it is not known whether it was; and ids that others took, in
/// another process, don't stop it.
#[tokio::test]
async fn archives_take_a_batch_twice() {
    let (_directory, database) = database().await;
    let entry = |owner: &str, id, text: &'static str| archive::Entry {
        owner: owner.into(),
        id,
        peer: "c@d".into(),
        resource: "".into(),
        stanza: Bytes::from_static(text.as_bytes()),
    };
    let batches = [
        vec![entry("a@b", 1, "one"), entry("a@b", 2, "two")],
        vec![entry("a@b", 1, "one"), entry("a@b", 2, "two")],
        vec![entry("x@b", 2, "other"), entry("a@b", 3, "three")],
    ];
    for batch in batches {
        database
            .write(move |tx| archive::append(tx, &batch))
            .await
            .unwrap();
    }
    let all = |owner: &'static str| {
        let filter = archive::Filter {
            limit: 10,
            ..archive::Filter::default()
        };
        database.read(move |reader| archive::page(reader, owner, &filter))
    };
    let texts = |page: Vec<(u64, Bytes)>| -> Vec<_> {
        page.into_iter()
            .map(|(_, text)| String::from_utf8(text.to_vec()).unwrap())
            .collect()
    };
    assert_eq!(texts(all("a@b").await.unwrap()), ["one", "two", "three"]);
    assert_eq!(texts(all("x@b").await.unwrap()), ["other"]);
}

/// Archives from elsewhere keep their order, times and ids, and don't come twice.
#[tokio::test]
async fn archives_from_elsewhere_keep_their_names() {
    let (_directory, database) = database().await;
    let message = |name: &str, at| whole::Archived {
        name: name.into(),
        at,
        peer: "c@d".into(),
        resource: "".into(),
        stanza: Bytes::from(format!("<message id='{name}'/>")),
    };
    // All within one second, as servers that count in seconds have it; an id as ours are; and one
    // that another archive has.
    let messages = [
        message("x", 1_000_000),
        message("y", 1_000_000),
        message("z", 1_000_000),
        message("2000000", 2_000_000),
        message("3000000", 3_000_001),
    ];
    for (owner, is_new) in [("a@b", true), ("x@b", true), ("a@b", false)] {
        for message in messages.clone() {
            let restored = database
                .write(move |tx| archive::restore(tx, owner, &message))
                .await
                .unwrap();
            assert_eq!(restored, is_new);
        }
    }
    for owner in ["a@b", "x@b"] {
        let whole = database.read(move |reader| archive::whole(reader, owner));
        assert_eq!(whole.await.unwrap(), messages, "{owner}");
        let named = database.read(move |reader| {
            let found = ["x", "2000000", "3000000", "02000000", "w"];
            let found = found.map(|name| archive::named(reader, owner, name));
            found.into_iter().collect::<Result<Vec<_>, _>>()
        });
        let found: Vec<_> = named.await.unwrap().iter().map(Option::is_some).collect();
        assert_eq!(found, [true, true, true, false, false], "{owner}");
    }
    let gone = database
        .write(|tx| archive::expire(tx, 2_000_000, 100))
        .await;
    assert_eq!(gone.unwrap(), 6);
    database
        .write(|tx| archive::clear(tx, "a@b"))
        .await
        .unwrap();
    let left = |owner| database.read(move |reader| archive::names(reader, owner, 0, u64::MAX));
    assert_eq!(left("a@b").await.unwrap().len(), 0);
    assert_eq!(left("x@b").await.unwrap().len(), 2);
}

/// An account can have so many bytes, and small files are not free.
#[tokio::test]
async fn uploads_are_bounded() {
    let (_directory, database) = database().await;
    let give = |token: &'static str, size| {
        let slot = upload::Slot {
            name: "x".into(),
            kind: String::new(),
            size,
            at: 0,
            blob: None,
        };
        database.write(move |tx| upload::give(tx, token, "a@b", &slot, 12_000))
    };
    assert!(give("1", 1).await.unwrap());
    assert!(give("2", 1).await.unwrap());
    assert!(!give("3", 1).await.unwrap());
    assert!(!give("4", 12_000).await.unwrap());
}

#[tokio::test]
async fn small_things() {
    let (_directory, database) = database().await;
    database
        .write(|tx| last::left(tx, "a@b", 5, "bye"))
        .await
        .unwrap();
    database
        .write(|tx| last::left(tx, "a@b", 6, "bye!"))
        .await
        .unwrap();
    let when = database
        .read(|reader| last::when(reader, "a@b"))
        .await
        .unwrap();
    assert_eq!(when, Some((6, "bye!".into())));

    database
        .write(|tx| storage::set_vcard(tx, "a@b", "<x/>"))
        .await
        .unwrap();
    database
        .write(|tx| storage::set_vcard(tx, "a@b", "<y/>"))
        .await
        .unwrap();
    let vcard = database
        .read(|reader| storage::vcard(reader, "a@b"))
        .await
        .unwrap();
    assert_eq!(vcard.as_deref(), Some("<y/>"));

    for (element, content, kept) in [
        ("a", "12345", true),
        ("b", "12345", true),
        ("c", "1", false),
        ("a", "54321", true),
    ] {
        let done = database
            .write(move |tx| storage::set_private(tx, "a@b", "u", element, content, 10))
            .await
            .unwrap();
        assert_eq!(done, kept, "{element}");
    }
    let seen = database
        .read(|reader| storage::private(reader, "a@b", "u", "a"))
        .await
        .unwrap();
    assert_eq!(seen.as_deref(), Some("54321"));
}

#[tokio::test]
async fn tokens_follow_each_other() {
    use tokens::{Holder, expire, find, give, used};
    let (_directory, database) = database().await;
    let holder = |mark: &str, mechanism| Holder {
        account: "a@b".to_owned(),
        agent: "phone".to_owned(),
        mechanism,
        mark: mark.to_owned(),
    };
    let give = |secret: &'static str, used: Option<i64>| {
        let to = holder("1", "HT");
        database.write(move |tx| give(tx, &to, secret, 100, 200, used))
    };
    let seen = |of: Holder, now: u64| {
        let found = database.read(move |reader| find(reader, &of, now));
        async { found.await.unwrap() }
    };
    let secrets = |found: &[tokens::Kept]| -> Vec<String> {
        found.iter().map(|kept| kept.secret.clone()).collect()
    };
    give("first", None).await.unwrap();
    // Whoever did not use the first gets the second in its place.
    give("second", None).await.unwrap();
    let found = seen(holder("1", "HT"), 150).await;
    assert_eq!(secrets(&found), ["second"]);
    let id = found[0].id;
    // For the mechanism, the password and the time that it was given for.
    for (of, now) in [
        (holder("1", "other"), 150),
        (holder("2", "HT"), 150),
        (holder("1", "HT"), 200),
    ] {
        assert!(seen(of, now).await.is_empty());
    }
    // The one that follows leaves the one in use alone, until it is used itself.
    give("third", Some(id)).await.unwrap();
    let found = seen(holder("1", "HT"), 150).await;
    assert_eq!(secrets(&found), ["third", "second"]);
    let third = found[0].id;
    let use_it = |id, last| database.write(move |tx| used(tx, "a@b", "phone", id, last));
    use_it(third, false).await.unwrap();
    assert_eq!(secrets(&seen(holder("1", "HT"), 150).await), ["third"]);
    use_it(third, true).await.unwrap();
    assert!(seen(holder("1", "HT"), 150).await.is_empty());
    give("fourth", None).await.unwrap();
    database.write(|tx| expire(tx, 200)).await.unwrap();
    assert!(seen(holder("1", "HT"), 150).await.is_empty());
}
